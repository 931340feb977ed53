"""One punch: its plan, its deadline, whom it checks, and when another one is due."""

import random
from dataclasses import replace

import pytest

from holepunch.proto.candidate import Candidate, CandidateKind, Interface
from holepunch.proto.checklist import DEFAULT_TTL
from holepunch.proto.gather import Gatherer
from holepunch.proto.machine import OpenSocket
from holepunch.proto.nat import Mapping, NatReport
from holepunch.proto.offer import Offer, OfferType
from holepunch.proto.options import AgentOptions
from holepunch.proto.round import ROUND_SOCKETS, Round
from holepunch.proto.strategy import CHECK, PRIME, START

from .conversation import BOB, Conversation

HERE = Interface("45.0.0.1", 24)
OPTIONS = AgentOptions(interfaces=(HERE,), latency=1.0, attempt=20.0, expiry=900.0)
OFFER = Offer(
    type=OfferType.ACCEPT,
    sender=bytes(32),
    created=0,
    latency=2.0,
    candidates=(Candidate(CandidateKind.SERVER_REFLEXIVE, BOB), Candidate(CandidateKind.HOST, ("127.0.0.1", 22))),
    report=NatReport(mapping=Mapping.ENDPOINT_INDEPENDENT),
)


def done(*, hops: int = 0) -> Gatherer:
    """A gatherer that has gathered."""
    gatherer = Gatherer([], [HERE], random.Random(1).randbytes, measures_hops=False, hops=hops)
    gatherer.start(0.0)
    gatherer.socket_opened(0, ("0.0.0.0", 1000), 0.0)
    return gatherer


def make(number: int = 0, *, answering: bool = False, options: AgentOptions = OPTIONS, hops: int = 0) -> Round:
    """A round that has gathered."""
    return Round(number, options, random.Random(2).randbytes, answering=answering, gatherer=done(hops=hops))


def names(round_: Round, now: float) -> list[str]:
    """Which steps are due."""
    out = []
    while (step := round_.next_step(now)) is not None:
        out.append(step.name)
    return out


def test_steps_come_when_they_are_due_and_once() -> None:
    round_ = make()
    round_.begin(OFFER, 100.0)
    assert names(round_, 100.0) == [CHECK]
    assert round_.get_timer() == pytest.approx(100.3)
    assert names(round_, 100.2) == []
    assert names(round_, 100.3) == [START]
    assert names(round_, 200.0) == []


def test_nothing_is_due_before_both_offers_are_known() -> None:
    round_ = make()
    assert names(round_, 1e9) == []
    with pytest.raises(ValueError, match="offer"):
        round_.situation()


@pytest.mark.parametrize(
    ("answering", "latency", "deadline"),
    [
        (False, 2.0, 20.0),  # who goes first needs no patience
        (True, 2.0, 28.0),  # who waits gives the mail four times what it takes
        (True, 90.0, 380.0),
        (True, 6000.0, 900.0),  # but not more than an offer lives
    ],
)
def test_an_attempt_is_given_up_in_time(answering: bool, latency: float, deadline: float) -> None:
    round_ = make(answering=answering)
    round_.begin(replace(OFFER, latency=latency), 0.0)
    assert round_.deadline == deadline


def test_later_rounds_have_no_deadline_of_their_own_but_a_time_for_the_next() -> None:
    round_ = Round(3, OPTIONS, random.Random(2).randbytes, answering=True, gatherer=done(), retry_at=50.0)
    round_.begin(OFFER, 10.0)
    names(round_, 10.0)
    assert round_.deadline is None
    assert round_.retry_at == 50.0
    timer = round_.get_timer()
    assert timer is not None
    assert timer <= 50.0


def test_a_selected_path_ends_steps_deadline_and_retry() -> None:
    round_ = make()
    round_.retry_at = 50.0
    round_.begin(OFFER, 0.0)
    round_.settle()
    assert names(round_, 100.0) == []
    assert round_.get_timer() is None


def test_only_admissible_candidates_are_checked() -> None:
    round_, talk = make(), Conversation()
    round_.begin(OFFER, 0.0)
    step = round_.next_step(0.0)
    assert step is not None
    assert round_.take(step, talk.alice, 0.0, lambda: None) == 1
    assert [(t.remote, t.ttl) for t in talk.alice.datagrams_to_send(0.0)] == [(BOB, None)]


@pytest.mark.parametrize(("hops", "ttl"), [(0, DEFAULT_TTL), (3, 3)])
def test_who_answers_primes_with_the_ttl_that_was_measured(hops: int, ttl: int) -> None:
    round_, talk = make(answering=True, hops=hops), Conversation()
    round_.begin(OFFER, 0.0)
    step = round_.next_step(0.0)
    assert step is not None
    assert step.name == PRIME
    round_.take(step, talk.bob, 0.0, lambda: None)
    assert [t.ttl for t in talk.bob.datagrams_to_send(0.0)] == [ttl]


def test_the_start_step_tells_the_peer_and_sends_nothing_itself() -> None:
    round_, talk = make(), Conversation()
    round_.begin(OFFER, 0.0)
    names(round_, 0.0)
    step = round_.next_step(1.0)
    assert step is not None
    told: list[bool] = []
    assert round_.take(step, talk.alice, 1.0, lambda: told.append(True)) == 0
    assert told == [True]
    assert talk.alice.datagrams_to_send(1.0) == []


def opened(round_: Round) -> list[OpenSocket]:
    """The sockets that a round asks for."""
    round_.gatherer.start(0.0)
    out = []
    while (event := round_.gatherer.next_event()) is not None:
        if isinstance(event, OpenSocket):
            out.append(event)
    return out


@pytest.mark.parametrize("number", [0, 1, 7])
def test_each_round_has_sockets_of_its_own_and_only_the_first_the_users_port(number: int) -> None:
    options = replace(OPTIONS, bind_port=5555)
    round_ = Round(number, options, random.Random(1).randbytes, answering=False)
    (socket,) = opened(round_)
    assert socket.local == number * ROUND_SOCKETS
    assert socket.port == (5555 if number == 0 else 0)


def test_a_later_round_looks_at_the_interfaces_again() -> None:
    moved = (Interface("2600::1", 64),)
    options = replace(OPTIONS, look_again=lambda: moved)
    assert [s.family for s in opened(Round(0, options, random.Random(1).randbytes, answering=False))] == [4]
    assert [s.family for s in opened(Round(1, options, random.Random(1).randbytes, answering=False))] == [6]


@pytest.mark.parametrize(("interfaces", "hops"), [((HERE,), 3), ((Interface("45.0.9.9", 24),), 0)])
def test_the_distance_out_of_our_nats_is_measured_anew_on_another_network(
    interfaces: tuple[Interface, ...], hops: int
) -> None:
    options = replace(OPTIONS, look_again=lambda: interfaces)
    round_ = Round(1, options, random.Random(1).randbytes, answering=True, hops=3)
    assert round_.gatherer.hops == hops
