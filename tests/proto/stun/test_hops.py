"""Counting the hops out of our own NATs, in virtual time."""

import random
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest

from holepunch.proto.machine import Address, CloseSocket, OpenSocket
from holepunch.proto.nat import Filtering, Mapping
from holepunch.proto.stun.hops import DEADLINE, MAX_TTL, HopsMeasured, HopsProbe
from holepunch.proto.stun.message import binding_request
from holepunch.proto.stun.responder import Responder
from tests.proto.stun.fakenet import CLIENT, FakeNat, World

A, B = ("192.0.2.1", 3478), ("192.0.2.2", 3479)
FIRST_PORT = 50008  # of the socket that tries a TTL of 1
PLAIN = ("192.0.2.9", 3478)
APD = Filtering.ADDRESS_AND_PORT_DEPENDENT


def seeded(seed: int = 0) -> Callable[[int], bytes]:
    return random.Random(seed).randbytes


def is_lost(rng: random.Random, loss: float) -> bool:
    return rng.random() < loss


def measure(
    nats: dict[int, FakeNat], *, servers: list[Address] | None = None, plain: bool = False, **options: Any
) -> tuple[HopsMeasured, World]:
    """Runs a whole measurement."""
    probe = HopsProbe(servers or [A], seeded(), options.pop("first_local", 0), **options.pop("probe", {}))
    probe.start(0.0)
    responders = [Responder(A)] if plain else [Responder(A, B)]
    world = World(probe, responders, nats, **options)
    (event,) = world.run()
    assert isinstance(event, HopsMeasured)
    assert world.source_of == {}, "every socket is closed at the end"
    assert probe.is_done
    assert (probe.hops, probe.is_open) == (event.hops, event.is_open)
    assert probe.get_timer() is None
    return event, world


@pytest.mark.parametrize("position", [1, 2, 3, 5])
@pytest.mark.parametrize("filtering", [Filtering.ADDRESS_DEPENDENT, APD])
@pytest.mark.parametrize("icmp", [True, False])
def test_the_smallest_ttl_that_leaves_the_nat_is_found(position: int, filtering: Filtering, icmp: bool) -> None:
    event, _ = measure({position: FakeNat(filtering=filtering)}, icmp=icmp)
    assert (event.hops, event.method, event.is_open) == (position + 1, "reply", False)
    assert event.path_length == 7


def test_the_answer_takes_about_three_round_trips_the_first_of_which_finds_the_other_address() -> None:
    event, world = measure({1: FakeNat()}, delay=0.1, icmp=False)
    assert event.elapsed < 3.5 * 0.2 + 0.1
    event, world = measure({1: FakeNat()}, delay=0.1, icmp=False, probe={"others": {A: B}})
    assert event.hops == 2
    assert event.elapsed < 2.5 * 0.2 + 0.1
    assert world.most_open == MAX_TTL + 2


def test_two_methods_that_agree_end_it_soon() -> None:
    event, _ = measure({1: FakeNat()}, delay=0.1)
    assert (event.hops, event.method) == (2, "reply")
    assert event.elapsed == pytest.approx(2 * 0.2 + 0.025)
    event, _ = measure({1: FakeNat()}, delay=0.1, probe={"others": {A: B}})
    assert (event.hops, event.method) == (2, "reply")
    assert event.elapsed == pytest.approx(0.2 + 0.025)


def test_two_nats_in_a_row_are_both_left() -> None:
    event, _ = measure({1: FakeNat(host="100.64.0.9"), 3: FakeNat()})
    assert (event.hops, event.method) == (4, "reply")


def test_a_carrier_that_does_not_filter_needs_no_packet_beyond_our_own_nat() -> None:
    carrier = FakeNat(filtering=Filtering.ENDPOINT_INDEPENDENT)
    event, _ = measure({1: FakeNat(host="100.64.0.9"), 3: carrier})
    assert (event.hops, event.method) == (2, "reply")


def test_a_nat_with_dependent_mapping_is_measured_by_icmp() -> None:
    nats = {2: FakeNat(Mapping.ADDRESS_AND_PORT_DEPENDENT)}
    event, _ = measure(nats)
    assert (event.hops, event.method) == (3, "icmp")
    assert event.routers[:3] == ((1, "10.0.1.1"), (2, "10.0.2.1"), (3, "203.0.113.3"))
    event, _ = measure({2: FakeNat(Mapping.ADDRESS_AND_PORT_DEPENDENT)}, icmp=False)
    assert (event.hops, event.method) == (0, "")


def test_without_rfc_5780_icmp_tells() -> None:
    event, _ = measure({1: FakeNat()}, plain=True)
    assert (event.hops, event.method) == (2, "icmp")
    assert event.elapsed < 0.2, "no server has another address: nothing to wait for"
    event, _ = measure({1: FakeNat()}, plain=True, icmp=False)
    assert (event.hops, event.method) == (0, "")


def test_an_open_nat_is_seen_by_the_control() -> None:
    event, _ = measure({1: FakeNat(filtering=Filtering.ENDPOINT_INDEPENDENT)}, icmp=False)
    assert (event.hops, event.is_open) == (0, True)
    event, _ = measure({1: FakeNat(filtering=Filtering.ENDPOINT_INDEPENDENT)})
    assert (event.hops, event.method, event.is_open) == (2, "icmp", True)


def test_a_public_host_has_no_hops_to_count() -> None:
    event, _ = measure({})
    assert (event.hops, event.is_open) == (0, True)


def test_a_firewall_without_translation_counts_too() -> None:
    firewall = FakeNat(Mapping.NONE, APD)
    event, _ = measure({2: firewall}, client="203.0.113.200", public_routers=True)
    assert (event.hops, event.method, event.is_open) == (3, "reply", False)


def test_a_nat_that_is_spoilt_by_an_unsolicited_answer_is_measured_all_the_same() -> None:
    event, _ = measure({2: FakeNat(clash=True)})
    assert (event.hops, event.method) == (3, "reply")


@pytest.mark.parametrize("mapping", [Mapping.ENDPOINT_INDEPENDENT, Mapping.NONE])
def test_a_flow_that_an_earlier_socket_left_on_the_same_port_does_not_make_it_too_near(mapping: Mapping) -> None:
    nat = FakeNat(mapping)
    nat.outbound((CLIENT, FIRST_PORT), B, 0.0)
    event, _ = measure({1: nat})
    assert (event.hops, event.method) == (2, "reply")


@pytest.mark.parametrize("loss", [0.02, 0.1])
def test_loss_makes_it_at_most_a_little_too_far(loss: float) -> None:
    found = []
    for seed in range(100):
        rng = random.Random(seed)
        event, _ = measure({1: FakeNat()}, icmp=False, loses=partial(is_lost, rng, loss))
        found.append(event.hops)
    assert all(hops == 0 or 2 <= hops <= 5 for hops in found)
    assert sum(hops == 2 for hops in found) >= (97 if loss < 0.05 else 80)


def test_silent_servers_end_it_at_the_deadline() -> None:
    event, _ = measure({1: FakeNat()}, servers=[PLAIN, ("192.0.2.10", 3478)], icmp=False)
    assert (event.hops, event.method, event.path_length) == (0, "", 0)
    assert event.elapsed <= DEADLINE


def test_the_first_server_may_be_silent_if_another_answers() -> None:
    event, _ = measure({1: FakeNat()}, servers=[PLAIN, A])
    assert (event.hops, event.method) == (2, "reply")


def test_without_servers_it_ends_at_once() -> None:
    probe = HopsProbe([], seeded())
    probe.start(0.0)
    event = World(probe, []).run()[0]
    assert isinstance(event, HopsMeasured)
    assert (event.hops, event.elapsed) == (0, 0.0)


def test_its_sockets_are_numbered_from_where_the_agent_says() -> None:
    event, world = measure({1: FakeNat()}, first_local=100)
    assert event.hops == 2
    assert {transmit.local for _, transmit in world.sent} == set(range(100, 100 + MAX_TTL + 2))


def test_its_packets_are_bounded() -> None:
    _, world = measure({1: FakeNat(Mapping.ADDRESS_AND_PORT_DEPENDENT)})
    assert len(world.sent) <= 80
    tuples = {(transmit.local, transmit.remote) for _, transmit in world.sent}
    assert len(tuples) <= 3 * MAX_TTL + 2


def test_a_server_cannot_make_us_knock_inside_our_own_network() -> None:
    for other in (("192.168.1.77", 80), ("192.0.2.1", 80), ("192.0.2.2", 0), ("2001:db8::1", 3479)):
        probe = HopsProbe([A], seeded())
        probe.start(0.0)
        world = World(probe, [Responder(A, B, advertised=None)])
        responder = world.servers[A][0]
        responder._advertised[3] = other
        world.run()
        assert {transmit.remote for _, transmit in world.sent} == {A}


def test_a_socket_that_cannot_be_opened_costs_only_its_own_ttl() -> None:
    probe = HopsProbe([A], seeded())
    probe.start(0.0)
    opened = []
    while isinstance(event := probe.next_event(), OpenSocket):
        opened.append(event.local)
    for local in opened[:-1]:
        if local != 2:
            probe.socket_opened(local, ("0.0.0.0", 50000 + local), 0.0)
    probe.socket_failed(2, "too many open files", 0.0)
    assert probe.datagrams_to_send(0.0) == [], "it begins when every socket is settled"
    probe.socket_opened(opened[-1], ("0.0.0.0", 50000), 0.0)
    sent = probe.datagrams_to_send(0.0)
    assert {transmit.ttl for transmit in sent} == {None, *range(1, MAX_TTL + 1)} - {2}
    probe.stop(0.1)
    probe.stop(0.2)
    closed = []
    while isinstance(event := probe.next_event(), CloseSocket):
        closed.append(event.local)
    assert closed == [local for local in opened if local != 2]
    assert isinstance(event, HopsMeasured)


def test_junk_and_reflections_are_ignored() -> None:
    probe = HopsProbe([A], seeded())
    probe.start(0.0)
    while isinstance(event := probe.next_event(), OpenSocket):
        probe.socket_opened(event.local, ("0.0.0.0", 50000 + event.local), 0.0)
    sent = probe.datagrams_to_send(0.0)
    for local in range(-1, MAX_TTL + 3):
        for data in (b"", bytes(20), b"\xff" * 100, binding_request(bytes(12)), *(transmit.data for transmit in sent)):
            probe.receive_datagram(data, B, 0.01, local)
    assert not probe.is_done
    assert probe.next_event() is None
