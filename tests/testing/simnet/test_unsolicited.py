"""What a packet that comes too early costs: nothing, the mapping, or the port (strict and clash)."""

from holepunch.proto.machine import Address
from holepunch.testing.simnet import LINUX, Behaviour, Unsolicited

from .probes import Bench, Ear, bench, ear

STRICT = Behaviour(unsolicited=Unsolicited.MOVE)
FORGETFUL = Behaviour(unsolicited=Unsolicited.FORGET)
CLASH = LINUX.but(unsolicited=Unsolicited.CLASH)


def prepared(behaviour: Behaviour) -> tuple[Bench, Ear, Address]:
    """A bench whose inside socket, port 5000, has asked observer 0 who it is."""
    test = bench(behaviour)
    source = ear(test.inside, 5000)
    return test, source, test.seen_by(0, source.socket)


def test_a_careful_router_is_not_moved_by_an_early_packet() -> None:
    test, source, outer = prepared(LINUX)
    assert not test.passes(2, outer, source)
    assert test.seen_by(2, source.socket) == outer
    assert test.passes(2, outer, source)
    assert not test.observers[2].errors


def test_a_strict_nat_moves_the_mapping_that_an_early_packet_was_for() -> None:
    test, source, outer = prepared(STRICT)
    assert not test.passes(2, outer, source)
    moved = test.seen_by(2, source.socket)
    assert moved != outer
    assert test.seen_by(0, source.socket) == moved  # for everybody
    assert test.nat.counters().spoiled == 1


def test_a_strict_nat_lets_in_nobody_by_the_old_endpoint() -> None:
    test, source, outer = prepared(STRICT)
    test.passes(2, outer, source)
    test.seen_by(0, source.socket)
    assert not test.passes(0, outer, source)


def test_a_strict_nat_does_not_mind_packets_for_ports_it_has_not_mapped() -> None:
    test, source, outer = prepared(STRICT)
    test.passes(2, (outer[0], 9999), source)
    assert test.seen_by(2, source.socket) == outer


def test_a_forgetful_nat_closes_and_opens_again_at_the_same_port() -> None:
    test, source, outer = prepared(FORGETFUL)
    test.passes(2, outer, source)
    assert not test.passes(0, outer, source)
    assert test.seen_by(0, source.socket) == outer
    assert test.passes(0, outer, source)


def test_a_clashing_nat_gives_another_port_for_the_early_senders_endpoint() -> None:
    test, source, outer = prepared(CLASH)
    assert not test.passes(2, outer, source)
    moved = test.seen_by(2, source.socket)
    assert moved[0] == outer[0]
    assert moved[1] != outer[1]
    assert test.nat.counters().clashes == 1
    assert test.passes(2, moved, source)


def test_on_a_clashing_nat_destinations_that_come_later_get_the_moved_port_too() -> None:
    test, source, outer = prepared(CLASH)
    test.passes(2, outer, source)
    moved = test.seen_by(2, source.socket)
    assert test.seen_by(3, source.socket) == moved
    assert test.seen_by(1, source.socket) == moved
    assert test.seen_by(0, source.socket) == outer  # a flow that was there stays where it is


def test_a_clashing_nat_keeps_the_early_sender_out_of_the_old_port_for_as_long_as_it_knocks() -> None:
    test, source, outer = prepared(CLASH)
    test.passes(2, outer, source)
    test.seen_by(2, source.socket)
    for _ in range(3):
        test.net.run(20)
        assert not test.passes(2, outer, source)


def test_a_clash_is_over_when_the_early_packet_is_forgotten() -> None:
    test, source, outer = prepared(CLASH)
    test.passes(2, outer, source)
    test.net.run(31)
    assert test.seen_by(2, source.socket) == outer


def test_a_packet_that_is_not_early_clashes_with_nothing() -> None:
    test, source, outer = prepared(CLASH)
    assert test.seen_by(2, source.socket) == outer
    assert test.passes(2, outer, source)
    assert test.seen_by(3, source.socket) == outer


def test_a_clashing_nat_remembers_early_packets_for_any_of_its_ports_and_says_so() -> None:
    test = bench(CLASH)
    outer = test.nat.outer.hosts[0], 5000
    source = ear(test.inside, 5000)
    test.passes(2, outer, source)  # before there is a mapping at all
    assert test.seen_by(2, source.socket) != outer
    (error,) = test.observers[2].errors
    assert (error.type, error.code, error.source) == (3, 3, outer[0])
