"""An agent from gathering to the end: states, deadlines, mail, and what it does with nonsense."""

import random
from dataclasses import replace
from typing import Any

import pytest

from holepunch.errors import ConfigurationError, MediatorError, NetworkError, PeerTimeoutError, TraversalError
from holepunch.proto.agent import Agent, AgentOptions, State
from holepunch.proto.candidate import Interface
from holepunch.proto.envelope import Envelope, Kind
from holepunch.proto.events import Event, Failed, OfferRefused, PathSelected, SessionClosed, Started
from holepunch.proto.machine import CloseSocket, IcmpError, OpenSocket
from holepunch.proto.offer import Carry
from holepunch.proto.seal import open_invite
from holepunch.testing.simnet import SimSession

from ..sim.peers import Two, two
from .sealing import ALICE, BOB, WALL

OPTIONS = AgentOptions(interfaces=(Interface("45.0.0.1", 24),), timeout=60.0)


class Hand:
    """One agent, driven by hand."""

    def __init__(self, *, invite: Envelope | None = None, start: bool = True, **options: Any) -> None:
        me, peer = (BOB, ALICE) if invite else (ALICE, BOB)
        self.now = 10.0
        self.events: list[object] = []
        self.posted: list[Envelope] = []
        invitation = open_invite(invite, BOB, WALL + self.now) if invite else None
        self.agent = Agent(
            me,
            peer.peer_id,
            replace(OPTIONS, **options),
            entropy=random.Random(5 if invite else 6).randbytes,
            epoch=WALL,
            peer_name="peer",
            invitation=invitation,
        )
        if start:
            self.agent.start(self.now)
            self.turn()

    def turn(self, seconds: float = 0.0) -> "Hand":
        """Lets time pass, and does what the agent wants."""
        self.now += seconds
        if (timer := self.agent.get_timer()) is not None and timer <= self.now:
            self.agent.handle_timer(self.now)
        while (event := self.agent.next_event()) is not None:
            self.events.append(event)
            if isinstance(event, OpenSocket):
                self.agent.socket_opened(event.local, ("0.0.0.0", 4000 + event.local), self.now)
        self.posted += self.agent.envelopes_to_send(self.now)
        return self

    def of(self, kind: type) -> list[Any]:
        """The events of one kind."""
        return [event for event in self.events if isinstance(event, kind)]


def offers() -> tuple[Hand, Hand]:
    """An inviter and an acceptor that have exchanged their offers."""
    alice = Hand()
    bob = Hand(invite=alice.posted[0])
    alice.agent.receive_envelope(bob.posted[0], alice.now)
    alice.turn()
    return alice, bob


# The way up.


def test_an_inviter_gathers_and_then_offers() -> None:
    alice = Hand()
    assert alice.agent.state is State.OFFERING
    assert [envelope.kind for envelope in alice.posted] == [Kind.INVITE]
    (started,) = alice.of(Started)
    assert (started.role, started.peer) == ("connect", "peer")


def test_an_acceptor_primes_before_its_answer_is_posted() -> None:
    alice = Hand()
    bob = Hand(invite=alice.posted[0])
    assert bob.agent.state is State.PUNCHING
    assert [envelope.kind for envelope in bob.posted] == [Kind.ACCEPT]
    assert {transmit.ttl for transmit in bob.agent.datagrams_to_send(bob.now)} != {None}


def test_an_inviter_that_has_the_answer_checks_at_once() -> None:
    alice, bob = offers()
    assert alice.agent.state is State.PUNCHING
    assert alice.agent.keys is not None
    assert bob.agent.keys is not None
    assert alice.agent.keys.derive(b"x") == bob.agent.keys.derive(b"x")


def test_every_event_names_its_session() -> None:
    alice, bob = offers()
    names = {event.session for hand in (alice, bob) for event in hand.of(Event) if event.name}
    assert names == {alice.agent.session[:4].hex()}


# Time.


def test_a_peer_that_does_not_answer_is_waited_for_as_long_as_told() -> None:
    alice = Hand(timeout=30.0)
    states = [alice.turn(seconds).agent.state for seconds in (29.9, 0.2)]
    assert states == [State.OFFERING, State.CLOSED]
    assert isinstance(alice.agent.error, PeerTimeoutError)
    assert "30 s" in str(alice.agent.error)
    assert str(ALICE.peer_id) in alice.agent.error.hint


def test_an_attempt_without_a_packet_fails_with_a_reason_and_tells_the_peer() -> None:
    alice, bob = offers()
    for _ in range(300):
        alice.turn(0.1)
        alice.agent.datagrams_to_send(alice.now)
    assert isinstance(alice.agent.error, TraversalError)
    assert alice.agent.error.hint
    bye = alice.posted[-1]
    bob.agent.receive_envelope(bye, bob.now)
    bob.turn()
    assert bob.agent.state is State.CLOSED
    assert "gave up" in str(bob.agent.error)


def test_without_any_network_it_ends_at_once() -> None:
    alice = Hand(interfaces=())
    assert alice.agent.state is State.CLOSED
    assert isinstance(alice.agent.error, NetworkError)


def test_nothing_is_due_before_the_start_and_after_the_end() -> None:
    alice = Hand(start=False)
    assert alice.agent.get_timer() is None
    alice.agent.handle_timer(1.0)
    assert alice.agent.state is State.NEW
    ended = Hand()
    ended.agent.close(ended.now)
    assert ended.agent.get_timer() is None
    ended.agent.handle_timer(1e6)
    assert len(ended.turn().of(SessionClosed)) == 1


# Mail.


def test_a_mapping_that_changes_while_the_offer_travels_is_offered_anew() -> None:
    alice = Hand()
    alice.agent._mapping_changed(alice.now)
    alice.turn()
    assert [envelope.kind for envelope in alice.posted] == [Kind.INVITE, Kind.INVITE]
    assert len({envelope.session for envelope in alice.posted}) == 1
    assert len({envelope.id for envelope in alice.posted}) == 2


def test_a_newer_invite_replaces_the_older_one_and_not_the_other_way_round() -> None:
    alice = Hand()
    first = alice.posted[0]
    bob = Hand(invite=first)
    alice.now += 5
    alice.agent._mapping_changed(alice.now)
    alice.turn()
    bob.now += 6
    assert bob.agent.receive_envelope(alice.posted[1], bob.now)
    newer = bob.agent.remote
    assert newer is not None
    assert bob.agent.receive_envelope(first, bob.now)
    assert bob.agent.remote is newer


def test_no_agreement_about_what_is_carried_ends_both_sides() -> None:
    alice = Hand(carry=Carry.SEALED)
    bob = Hand(invite=alice.posted[0], carry=Carry.RAW)
    alice.agent.receive_envelope(bob.posted[0], alice.now)
    alice.turn()
    assert isinstance(alice.agent.error, ConfigurationError)
    bob.agent.receive_envelope(alice.posted[-1], bob.now)
    bob.turn()
    assert bob.agent.state is State.CLOSED
    assert "carries" in str(bob.agent.error)


def test_what_is_not_authentic_is_told_and_changes_nothing() -> None:
    alice, bob = offers()
    state = alice.agent.state
    for envelope in (replace(bob.posted[0], body=b"junk"), bob.posted[0], alice.posted[0]):
        assert not alice.agent.receive_envelope(envelope, alice.now, "a folder")
    alice.turn()
    assert alice.agent.state is state
    refused = alice.of(OfferRefused)
    assert len(refused) == 3
    assert {event.mediator for event in refused} == {"a folder"}


def test_mail_before_the_start_and_after_the_end_is_not_ours_to_use() -> None:
    alice = Hand()
    bob = Hand(invite=alice.posted[0])
    alice.agent.close(alice.now)
    assert not alice.agent.receive_envelope(bob.posted[0], alice.now)
    fresh = Hand(start=False)
    assert not fresh.agent.receive_envelope(bob.posted[0], fresh.now)


# The end.


def test_closing_an_attempt_tells_the_peer_by_mail() -> None:
    alice, bob = offers()
    alice.agent.close(alice.now, "the user has gone")
    alice.turn()
    bob.agent.receive_envelope(alice.posted[-1], bob.now)
    bob.turn()
    assert bob.agent.state is State.CLOSED
    assert "the user has gone" in str(bob.agent.error)


def test_closing_before_there_are_keys_says_nothing() -> None:
    alice = Hand()
    alice.agent.close(alice.now)
    alice.turn()
    assert len(alice.posted) == 1
    assert alice.agent.error is None


def test_closing_twice_is_harmless() -> None:
    alice = Hand()
    alice.agent.close(alice.now)
    alice.agent.close(alice.now)
    assert len(alice.turn().of(SessionClosed)) == 1


def test_a_failure_from_outside_ends_it_with_that_reason() -> None:
    alice = Hand()
    alice.agent.fail(alice.now, MediatorError("every mediator has failed", hint="Look at the folder."))
    (failed,) = alice.turn().of(Failed)
    assert (failed.reason, failed.status, failed.hint) == ("every mediator has failed", 5, "Look at the folder.")


# Nonsense.


def test_datagrams_errors_and_wishes_at_the_wrong_time_do_nothing() -> None:
    alice = Hand(start=False)
    alice.agent.receive_datagram(bytes(96), ("9.9.9.9", 9), 1.0)
    alice.agent.receive_icmp(IcmpError(source="9.9.9.9", remote=("9.9.9.9", 9), type=3, code=3, data=b""), 1.0)
    alice.agent.repunch(1.0)
    alice.agent.hurry(1.0)
    assert not alice.agent.recognises(bytes(96))
    assert alice.agent.state is State.NEW
    with pytest.raises(ValueError, match="offers"):
        _ = alice.agent.checks


def test_asking_for_a_round_while_punching_does_nothing() -> None:
    alice, _ = offers()
    alice.agent.repunch(alice.now)
    assert alice.agent.state is State.PUNCHING
    assert alice.agent.checks.round == 0


# Whole sessions, in the simulator.


def up(**options: Any) -> tuple[Two, SimSession, SimSession]:
    """A session between two homes."""
    pair = two("eim-apdf", "eim-apdf", **options)
    session = pair.connect()
    assert session.is_ready
    return pair, session, pair.bob.arrivals[0]


def test_a_selected_path_is_told_with_all_its_numbers() -> None:
    _, session, other = up(keeps_socket=True)
    (path,) = [event for _, event in session.log if isinstance(event, PathSelected)]
    assert path.inner == other.agent.endpoints[2] or path.remote == other.agent.endpoints[1]
    assert path.outer == other.agent.endpoints[2]
    assert path.rtt == pytest.approx(0.08, abs=0.02)
    assert 0 < path.packets < 20
    assert 0 < path.tuples <= 16


def test_goodbye_on_a_path_needs_no_mail() -> None:
    pair, session, other = up(keeps_socket=True)
    posted = [len(mediator.posted) for mediator in pair.mediators]
    session.close()
    pair.net.run(1)
    assert other.agent.state is State.CLOSED
    assert other.error is None
    assert [len(mediator.posted) for mediator in pair.mediators] == posted


def test_goodbye_without_a_path_goes_by_mail() -> None:
    pair, session, other = up(keeps_socket=True)
    outer = pair.world.nats_a[0].outer
    outer.link = outer.link.but(loss=1.0)
    pair.net.run(12)
    assert not session.is_up
    session.close()
    pair.net.run(3)
    assert other.agent.state is State.CLOSED


def test_a_released_agent_is_silent_and_keeps_one_socket() -> None:
    pair, session, other = up(keeps_socket=False)
    assert {session.agent.state, other.agent.state} == {State.RELEASED}
    sent = pair.world.a.sent, pair.world.b.sent
    pair.net.run(120)
    assert (pair.world.a.sent, pair.world.b.sent) == sent
    assert session.agent.get_timer() is None
    session.agent.close(pair.net.now)
    assert session.agent.state is State.RELEASED


def test_every_socket_that_was_opened_for_measuring_is_closed() -> None:
    pair, session, other = up(keeps_socket=True)
    pair.net.run(10)
    assert [len(each.driver.sockets) for each in (session, other)] == [1, 1]


def test_closing_sockets_are_named_once() -> None:
    alice, _ = offers()
    alice.agent._close_sockets([0])
    alice.turn()
    assert [event.local for event in alice.of(CloseSocket)] == [0]
