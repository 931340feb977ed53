"""How long a NAT remembers: 30 s without an answer, longer as a stream; and what refreshes it."""

import pytest

from holepunch.proto.nat import Allocation
from holepunch.testing.simnet import LINUX, Behaviour

from .probes import Bench, Ear, bench, ear

HOME = Behaviour(allocation=Allocation.RANDOM)


def converse(test: Bench, source: Ear, duration: float) -> tuple[str, int]:
    """Lets both sides send for a while; returns the outer endpoint."""
    end = test.net.now + duration
    outer = test.seen_by(0, source.socket)
    while test.net.now < end:
        test.passes(0, outer, source)
        assert test.seen_by(0, source.socket) == outer
    return outer


@pytest.mark.parametrize(("age", "alive"), [(29.0, True), (31.0, False)])
def test_a_flow_without_an_answer_lives_30_seconds(age: float, alive: bool) -> None:
    test = bench(HOME)
    source = ear(test.inside)
    outer = test.seen_by(0, source.socket)
    test.net.run(age - 0.5)
    assert test.passes(0, outer, source) == alive


@pytest.mark.parametrize(("age", "alive"), [(110.0, True), (125.0, False)])
def test_an_answered_flow_older_than_two_seconds_lives_120(age: float, alive: bool) -> None:
    test = bench(HOME)
    source = ear(test.inside)
    outer = converse(test, source, 4.0)
    test.net.run(age)
    assert test.passes(0, outer, source) == alive


def test_a_short_exchange_stays_in_the_30_second_class() -> None:
    test = bench(HOME)
    source = ear(test.inside)
    outer = test.seen_by(0, source.socket)
    assert test.passes(0, outer, source)
    test.net.run(35)
    assert not test.passes(0, outer, source)


def test_sending_every_12_seconds_keeps_a_mapping_for_a_long_wait() -> None:
    test = bench(HOME)
    source = ear(test.inside)
    outer = test.seen_by(0, source.socket)
    for _ in range(20):
        test.net.run(12)
        assert test.seen_by(0, source.socket) == outer


@pytest.mark.parametrize("refresh", [True, False])
def test_packets_from_outside_keep_a_mapping_only_with_inbound_refresh(refresh: bool) -> None:
    test = bench(HOME.but(inbound_refresh=refresh))
    source = ear(test.inside)
    outer = test.seen_by(0, source.socket)
    for _ in range(3):
        test.net.run(20)
        alive = test.passes(0, outer, source)
    assert alive == refresh


def test_a_mapping_lives_as_long_as_one_of_its_flows() -> None:
    test = bench(HOME)
    source = ear(test.inside)
    outer = test.seen_by(0, source.socket)
    for _ in range(4):
        test.net.run(20)
        assert test.seen_by(1, source.socket) == outer
    assert not test.passes(0, outer, source)  # this flow is dead, though its mapping is not


def test_timeouts_are_configurable() -> None:
    test = bench(LINUX.but(unreplied_timeout=5.0, stream_timeout=10.0))
    source = ear(test.inside)
    outer = converse(test, source, 4.0)
    test.net.run(9.0)
    assert test.passes(0, outer, source)
    test.net.run(10.5)
    assert not test.passes(0, outer, source)
