"""Paths: which of two is better, what an echo proves, and when the next check is due."""

from itertools import pairwise

import pytest

from holepunch.proto.candidate import Candidate, CandidateKind
from holepunch.proto.machine import Address
from holepunch.proto.path import CHECKS, JITTER, PRIMES, Path, best_of, better

LAN: Address = ("192.168.1.20", 5000)
IPV4: Address = ("45.0.0.1", 5000)
IPV6: Address = ("2600::1", 5000)
HOST, REFLEXIVE, RELAYED = CandidateKind.HOST, CandidateKind.SERVER_REFLEXIVE, CandidateKind.RELAYED


def path(kind: CandidateKind, remote: Address, rtt: float | None) -> Path:
    """A path with a round trip, or one that is not valid yet."""
    made = Path(0, remote, kind, Candidate(kind, remote).preference)
    made.rtt, made.valid_at = rtt, None if rtt is None else 1.0
    return made


@pytest.mark.parametrize(
    ("a", "b", "is_better"),
    [
        # What works is better than what may, and never the other way round.
        (path(RELAYED, IPV4, 0.3), path(HOST, LAN, None), True),
        (path(HOST, LAN, None), path(RELAYED, IPV4, 0.3), False),
        # The class decides, whatever the round trip: own network, then IPv6, then IPv4, then a relay.
        (path(HOST, LAN, 0.9), path(REFLEXIVE, IPV4, 0.01), True),
        (path(HOST, IPV6, 0.9), path(REFLEXIVE, IPV4, 0.01), True),
        (path(REFLEXIVE, IPV4, 0.9), path(RELAYED, IPV4, 0.01), True),
        (path(REFLEXIVE, IPV4, 0.01), path(HOST, IPV6, 0.9), False),
        # Within a class a path must be 5 ms faster ...
        (path(REFLEXIVE, IPV4, 0.010), path(REFLEXIVE, IPV4, 0.016), True),
        (path(REFLEXIVE, IPV4, 0.010), path(REFLEXIVE, IPV4, 0.014), False),
        # ... and a fifth.
        (path(REFLEXIVE, IPV4, 0.200), path(REFLEXIVE, IPV4, 0.260), True),
        (path(REFLEXIVE, IPV4, 0.200), path(REFLEXIVE, IPV4, 0.230), False),
        # Equal ones do not take turns.
        (path(REFLEXIVE, IPV4, 0.1), path(REFLEXIVE, IPV4, 0.1), False),
        # Where none is known to work there is only the class.
        (path(HOST, LAN, None), path(REFLEXIVE, IPV4, None), True),
        (path(REFLEXIVE, IPV4, None), path(REFLEXIVE, IPV4, None), False),
    ],
)
def test_one_path_is_better_than_another(a: Path, b: Path, is_better: bool) -> None:
    assert better(a, b) is is_better
    if is_better:
        assert not better(b, a)


def test_the_best_of_some_is_the_first_among_equals() -> None:
    first, second, third = path(REFLEXIVE, IPV4, 0.1), path(REFLEXIVE, IPV4, 0.1), path(HOST, LAN, 0.2)
    assert best_of([first, second]) is first
    assert best_of([first, second, third]) is third
    assert best_of([second]) is second


def test_an_echo_of_what_was_sent_makes_a_path_valid_and_measures_it() -> None:
    it = path(REFLEXIVE, IPV4, None)
    it.note_sent(7, 1.0)
    assert it.note_echo(7, 1.08)
    assert it.is_valid
    assert it.rtt == pytest.approx(0.08)


def test_an_echo_of_what_was_never_sent_on_it_proves_nothing() -> None:
    it = path(REFLEXIVE, IPV4, None)
    it.note_sent(7, 1.0)
    assert not it.note_echo(8, 1.08)
    assert not it.is_valid


def test_an_echo_counts_once_and_takes_the_earlier_ones_with_it() -> None:
    it = path(REFLEXIVE, IPV4, None)
    for counter in (5, 6, 7, 9):
        it.note_sent(counter, counter / 10)
    assert it.note_echo(7, 1.0)
    assert not it.note_echo(7, 1.1)
    assert not it.note_echo(5, 1.1)
    assert list(it.sent) == [9]


def test_the_round_trip_is_smoothed() -> None:
    it = path(REFLEXIVE, IPV4, None)
    it.note_sent(1, 0.0)
    it.note_echo(1, 0.1)
    it.note_sent(2, 1.0)
    assert not it.note_echo(2, 1.3)
    assert it.rtt == pytest.approx(0.75 * 0.1 + 0.25 * 0.3)


def test_it_remembers_the_latest_64_counters() -> None:
    it = path(REFLEXIVE, IPV4, None)
    for counter in range(1000):
        it.note_sent(counter, 0.0)
    assert list(it.sent) == list(range(936, 1000))


def times(*, low: bool, luck: int, until: float = 60.0) -> list[float]:
    """When packets leave a path that nobody answers."""
    it = path(REFLEXIVE, IPV4, None)
    it.begin(0.0)
    out = []
    while it.next_send is not None and it.next_send < until:
        out.append(it.next_send)
        it.schedule(it.next_send, lambda length: bytes([luck]) * length, low=low)
    return out


@pytest.mark.parametrize("luck", [0, 127, 255])
@pytest.mark.parametrize(("low", "intervals"), [(False, CHECKS), (True, PRIMES)])
def test_intervals_grow_to_the_last_and_stay_there(low: bool, intervals: tuple[float, ...], luck: int) -> None:
    waits = [later - earlier for earlier, later in pairwise(times(low=low, luck=luck))]
    for number, wait in enumerate(waits):
        expected = intervals[min(number, len(intervals) - 1)]
        assert expected * (1 - JITTER) <= wait + 1e-9
        assert wait - 1e-9 <= expected * (1 + JITTER)


def test_to_begin_again_is_to_begin_with_the_shortest_interval() -> None:
    it = path(REFLEXIVE, IPV4, None)
    for _ in range(2):
        it.begin(0.0)
        assert it.next_send == 0.0
        for interval in CHECKS:
            it.schedule(0.0, lambda length: bytes([127]) * length, low=False)
            assert it.next_send == pytest.approx(interval, rel=0.01)


def test_primes_come_well_within_the_life_of_an_unanswered_mapping() -> None:
    assert all(later - earlier < 15.0 for earlier, later in pairwise(times(low=True, luck=255)))


def test_a_path_is_heard_from_counter_zero_on() -> None:
    it = path(REFLEXIVE, IPV4, None)
    assert not it.is_heard
    it.heard = 0
    assert it.is_heard
