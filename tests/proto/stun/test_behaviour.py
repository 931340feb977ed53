"""Whole probes through fake NATs of every kind, in virtual time."""

import random
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holepunch.proto.address import Scope, scope_of
from holepunch.proto.machine import Address, OpenSocket, Transmit
from holepunch.proto.nat import Allocation, Filtering, Mapping
from holepunch.proto.stun.attributes import Attribute, encode_mapped_address, encode_xor_mapped_address
from holepunch.proto.stun.behaviour import SAMPLES, BehaviourProbe, Step, StepBegun
from holepunch.proto.stun.findings import BehaviourFound, EarlyPacket
from holepunch.proto.stun.message import Message, MessageClass, decode_message
from holepunch.proto.stun.responder import Responder
from tests.proto.stun.fakenet import CLIENT, OUTER, FakeNat, World
from tests.proto.stun.test_message import addresses

A, B = ("192.0.2.1", 3478), ("192.0.2.2", 3479)
C, D = ("203.0.113.1", 3478), ("203.0.113.2", 3478)
EI, AD, APD = Mapping.ENDPOINT_INDEPENDENT, Mapping.ADDRESS_DEPENDENT, Mapping.ADDRESS_AND_PORT_DEPENDENT
F_EI, F_AD, F_APD = Filtering.ENDPOINT_INDEPENDENT, Filtering.ADDRESS_DEPENDENT, Filtering.ADDRESS_AND_PORT_DEPENDENT


def probe_through(
    *nats: FakeNat, servers: list[Address] | None = None, responders: list[Responder] | None = None, **options: Any
) -> tuple[BehaviourFound, World]:
    """Runs a whole probe through NATs, the nearest first."""
    own_hosts = options.pop("own_hosts", [CLIENT])
    first_local = options.pop("first_local", 0)
    entropy = random.Random(options.pop("seed", 0)).randbytes
    probe = BehaviourProbe(servers or [A, C], entropy, own_hosts=own_hosts, first_local=first_local)
    probe.start(0.0)
    given = [Responder(A, B), Responder(C)] if responders is None else responders
    world = World(probe, given, dict(enumerate(nats, 1)), **options)
    *steps, found = world.run()
    assert isinstance(found, BehaviourFound)
    assert steps == [StepBegun(step) for step in Step]
    assert world.source_of == {}, "every socket is closed at the end"
    assert probe.get_timer() is None
    return found, world


@pytest.mark.parametrize("mapping", [EI, AD, APD])
@pytest.mark.parametrize("filtering", [F_EI, F_AD, F_APD])
@pytest.mark.parametrize(
    ("allocation", "delta"),
    [
        (Allocation.PRESERVING, 1),
        (Allocation.SEQUENTIAL, 1),
        (Allocation.SEQUENTIAL, 4),
        (Allocation.BLOCK, 1),
        (Allocation.RANDOM, 1),
    ],
)
def test_every_kind_of_nat_is_named_rightly(
    mapping: Mapping, filtering: Filtering, allocation: Allocation, delta: int
) -> None:
    found, _ = probe_through(FakeNat(mapping, filtering, allocation, delta=delta))
    assert (found.nat.mapping, found.nat.filtering, found.nat.allocation) == (mapping, filtering, allocation)
    assert found.nat.port_delta == (delta if allocation is Allocation.SEQUENTIAL else 0)
    assert found.mapping.is_exact
    assert len(found.samples) == SAMPLES
    assert found.outer_hosts == (OUTER,)
    assert found.nat.hops == 2


def test_two_nats_look_like_the_stricter_of_both() -> None:
    inner = FakeNat(EI, F_APD, host="100.64.0.9")
    found, _ = probe_through(inner, FakeNat(APD, F_EI, Allocation.RANDOM))
    assert (found.nat.mapping, found.nat.filtering, found.nat.allocation) == (APD, F_APD, Allocation.RANDOM)
    assert found.nat.hops == 2, "the carrier filters nothing: there is nothing to open there"


def test_no_nat_and_no_filter() -> None:
    found, _ = probe_through(own_hosts=[CLIENT, "fd00::1"])
    assert (found.nat.mapping, found.nat.filtering) == (Mapping.NONE, F_EI)
    assert found.outer == (CLIENT, found.inner_port)
    assert found.nat.hairpin is None


def test_a_firewall_is_no_nat_but_filters() -> None:
    found, _ = probe_through(FakeNat(Mapping.NONE, F_APD), client="203.0.113.200", own_hosts=["203.0.113.200"])
    assert (found.nat.mapping, found.nat.filtering, found.nat.hops) == (Mapping.NONE, F_APD, 2)
    assert found.nat.allocation is Allocation.PRESERVING


@pytest.mark.parametrize("hairpin", [True, False])
@pytest.mark.parametrize("filtering", [F_EI, F_APD])
def test_hairpinning_is_tried(hairpin: bool, filtering: Filtering) -> None:
    found, _ = probe_through(FakeNat(EI, filtering, hairpin=hairpin))
    assert found.nat.hairpin is hairpin


def test_hairpinning_cannot_be_denied_with_dependent_mapping() -> None:
    found, _ = probe_through(FakeNat(APD, F_APD, Allocation.RANDOM))
    assert found.nat.hairpin is None


@pytest.mark.parametrize(
    ("nat", "expected"),
    [
        (FakeNat(EI, F_APD), EarlyPacket.HARMLESS),
        (FakeNat(EI, F_AD, Allocation.RANDOM), EarlyPacket.HARMLESS),
        (FakeNat(EI, F_EI), EarlyPacket.HARMLESS),
        (FakeNat(EI, F_APD, clash=True), EarlyPacket.MOVES_US),
        (FakeNat(EI, F_APD, strict=True), EarlyPacket.COSTS_MAPPING),
        (FakeNat(APD, F_APD, Allocation.RANDOM), EarlyPacket.UNKNOWN),
    ],
    ids=["APD", "AD", "open", "clash", "strict", "symmetric"],
)
def test_what_an_early_packet_does_is_found_out(nat: FakeNat, expected: EarlyPacket) -> None:
    found, _ = probe_through(nat)
    assert found.early_packet is expected


@pytest.mark.parametrize("nat", [FakeNat(clash=True), FakeNat(strict=True)], ids=["clash", "strict"])
def test_a_nat_that_is_easily_spoilt_is_named_rightly_all_the_same(nat: FakeNat) -> None:
    found, _ = probe_through(nat)
    assert (found.nat.mapping, found.nat.filtering, found.nat.allocation) == (EI, F_APD, Allocation.PRESERVING)
    assert found.nat.hops == 2


def test_filtering_is_tested_last_and_on_sockets_of_its_own() -> None:
    _, world = probe_through(FakeNat())
    changes = [
        (now, transmit.local)
        for now, transmit in world.sent
        if decode_message(transmit.data).get(Attribute.CHANGE_REQUEST) and transmit.local < 100
    ]
    before = [transmit.local for now, transmit in world.sent if now < min(changes)[0] - 0.1]
    assert {local for _, local in changes}.isdisjoint(before)
    main = [now for now, transmit in world.sent if transmit.local == 0]
    assert max(main) < min(changes)[0]


def test_a_pool_of_outer_addresses_is_reported() -> None:
    class Pool(FakeNat):
        def outbound(self, source: Address, remote: Address, now: float) -> Address:
            host, port = super().outbound(source, remote, now)
            return (host if source[1] % 2 else "198.51.100.8"), port

    found, _ = probe_through(Pool())
    assert found.outer_hosts == ("198.51.100.7", "198.51.100.8")
    assert found.nat.mapping is EI


def test_servers_without_a_second_address_tell_less() -> None:
    plain: dict[str, Any] = {"servers": [A, C, D], "responders": [Responder(A), Responder(C), Responder(D)]}
    found, _ = probe_through(FakeNat(EI, F_EI), **plain)
    assert (found.nat.mapping, found.nat.filtering) == (EI, Filtering.UNKNOWN)
    assert found.early_packet is EarlyPacket.UNKNOWN
    found, _ = probe_through(FakeNat(AD, F_EI), **plain)
    assert (found.nat.mapping, found.mapping.is_exact) == (APD, False)


class Liar(Responder):
    """Says that everybody comes from one place."""

    place: Address = ("198.51.100.99", 9)

    def respond(self, data: bytes, remote: Address, local: int = 0) -> Transmit | None:
        request = decode_message(data)
        value = encode_xor_mapped_address(self.place, request.cookie + request.transaction_id)
        attributes = ((int(Attribute.XOR_MAPPED_ADDRESS), value),)
        message = Message(
            message_class=MessageClass.SUCCESS, transaction_id=request.transaction_id, attributes=attributes
        )
        return Transmit(message.encode(), remote, None, local)


def test_a_lying_server_is_outvoted_and_named() -> None:
    found, _ = probe_through(FakeNat(), servers=[C, A, D], responders=[Liar(C), Responder(A, B), Responder(D)])
    assert (found.nat.mapping, found.mapping.dissenting) == (EI, (C,))
    assert not found.mapping.is_exact
    assert found.outer is not None
    assert found.outer[0] == OUTER


class Malicious(Liar):
    """Says that everybody comes from our own router."""

    place = ("192.168.1.1", 53)


def test_a_lying_server_does_not_make_us_send_into_our_own_network() -> None:
    found, world = probe_through(FakeNat(), servers=[A], responders=[Malicious(A)])
    assert found.outer == ("192.168.1.1", 53)
    assert {transmit.remote for _, transmit in world.sent} == {A}


class Stubborn(Responder):
    """Names a second address and answers there, but never from there: some servers of the wild."""

    def respond(self, data: bytes, remote: Address, local: int = 0) -> Transmit | None:
        answer = super().respond(data, remote, local)
        return answer and answer._replace(local=local)


def test_a_server_that_does_not_change_says_nothing_about_filtering() -> None:
    found, _ = probe_through(FakeNat(EI, F_EI), servers=[A], responders=[Stubborn(A, B)])
    assert (found.nat.mapping, found.nat.filtering) == (EI, Filtering.UNKNOWN)


def test_a_second_address_that_is_dead_says_nothing_about_filtering() -> None:
    responder = Responder(A, B)
    found, world = probe_through(FakeNat(EI, F_APD), servers=[A, C], responders=[responder, Responder(C)])
    assert found.nat.filtering is F_APD
    entropy = random.Random(0).randbytes
    probe = BehaviourProbe([A, C], entropy, own_hosts=[CLIENT])
    probe.start(0.0)
    world = World(probe, [responder, Responder(C)], {1: FakeNat(EI, F_EI)})
    for endpoint in [("192.0.2.2", 3478), B]:
        del world.servers[endpoint]
    found = next(event for event in world.run() if isinstance(event, BehaviourFound))
    assert found.nat.filtering is Filtering.UNKNOWN


def test_two_faces_of_one_server_are_asked_once() -> None:
    _, world = probe_through(FakeNat(), servers=[A, ("192.0.2.2", 3478)], responders=[Responder(A, B)])
    assert {transmit.local for _, transmit in world.sent if 40 <= transmit.local < 100} == {40, 41}


def test_dead_servers_are_reported_and_not_waited_for_long() -> None:
    found, _ = probe_through(FakeNat(), servers=[D, A, C])
    assert [bool(answer.failure) for answer in found.servers] == [True, False, False]
    assert found.nat.mapping is EI
    assert found.elapsed < 3.0


def test_without_any_answer_everything_is_unknown() -> None:
    found, world = probe_through(FakeNat(), servers=[D], responders=[])
    assert found.outer is None
    assert found.preserves_port is None
    assert found.nat.mapping is Mapping.UNKNOWN
    assert found.servers[0].failure.startswith("no answer")
    assert found.elapsed <= 3.0
    assert len(world.sent) == 4


def test_servers_of_another_family_are_left_out() -> None:
    found, world = probe_through(FakeNat(), servers=[("2001:db8::1", 3478), A], responders=[Responder(A, B)])
    assert [answer.server for answer in found.servers] == [A]
    found, world = probe_through(FakeNat(), servers=[("2001:db8::1", 3478)], responders=[])
    assert found.servers == ()
    assert world.sent == []


def test_its_sockets_are_numbered_from_where_it_is_told() -> None:
    found, world = probe_through(FakeNat(), first_local=1000)
    assert found.nat.filtering is F_APD
    assert min(transmit.local for _, transmit in world.sent) == 1000


def lose(rng: random.Random, loss: float) -> bool:
    return rng.random() < loss


@pytest.mark.parametrize("loss", [0.02, 0.1])
@pytest.mark.parametrize(
    "make",
    [
        partial(FakeNat, EI, F_APD),
        partial(FakeNat, EI, F_AD, Allocation.RANDOM),
        partial(FakeNat, APD, F_APD, Allocation.SEQUENTIAL),
        partial(FakeNat, EI, F_EI),
    ],
    ids=["home", "restricted", "symmetric", "open"],
)
def test_loss_rarely_changes_the_names(make: Callable[[], FakeNat], loss: float) -> None:
    wrong = 0
    for seed in range(50):
        nat = make()
        found, _ = probe_through(nat, loses=partial(lose, random.Random(seed), loss))
        wrong += (found.nat.mapping, found.nat.allocation) != (nat.mapping, nat.allocation)
        wrong += found.nat.filtering not in (nat.filtering, Filtering.UNKNOWN)
    assert wrong <= (0 if loss < 0.05 else 2)


def test_the_whole_probe_is_quick_and_modest() -> None:
    found, world = probe_through(FakeNat(), delay=0.04)
    assert found.elapsed < 2.5
    assert len(world.sent) < 160
    assert world.most_open <= 1 + SAMPLES + 14 + 4
    for start, _ in world.sent:
        burst = {(t.local, t.remote) for now, t in world.sent if start <= now < start + 1.0}
        assert len(burst) <= 100, "no more new 5-tuples a second than a NAT can bear"


def test_a_distant_server_is_waited_for() -> None:
    found, _ = probe_through(FakeNat(AD, F_AD, Allocation.RANDOM), delay=0.3)
    assert (found.nat.mapping, found.nat.filtering, found.nat.allocation) == (AD, F_AD, Allocation.RANDOM)


@given(st.lists(st.tuples(st.integers(0, 130), st.binary(max_size=60), st.booleans(), addresses), max_size=30))
def test_no_answer_makes_it_raise_or_send_where_it_should_not(
    answers: list[tuple[int, bytes, bool, Address]],
) -> None:
    """Answers with true transaction ids and whatever else."""
    probe = BehaviourProbe([A, C], random.Random(0).randbytes)
    probe.start(0.0)
    now, asked = 0.0, {}
    for local, junk, as_address, address in answers:
        now += 0.02
        while (event := probe.next_event()) is not None:
            if isinstance(event, OpenSocket):
                probe.socket_opened(event.local, ("0.0.0.0", 50000 + event.local), now)
        for transmit in probe.datagrams_to_send(now):
            asked[transmit.local] = transmit
        if local in asked:
            identifier = decode_message(asked[local].data).transaction_id
            value = encode_mapped_address(address) if as_address else junk
            body = [(int(kind), value) for kind in (Attribute.MAPPED_ADDRESS, Attribute.OTHER_ADDRESS)]
            message = Message(message_class=MessageClass.SUCCESS, transaction_id=identifier, attributes=tuple(body))
            probe.receive_datagram(message.encode(), asked[local].remote, now, local)
            probe.receive_datagram(junk, asked[local].remote, now, local)
        probe.handle_timer(now)
    for transmit in asked.values():
        assert scope_of(transmit.remote[0]) in (Scope.RESERVED, Scope.GLOBAL)


def test_sockets_that_cannot_be_opened_leave_it_with_less() -> None:
    probe = BehaviourProbe([A], random.Random(0).randbytes)
    probe.start(0.0)
    for _ in range(100):
        event = probe.next_event()
        if isinstance(event, OpenSocket):
            probe.socket_failed(event.local, "too many open files", 0.0)
        if isinstance(event, BehaviourFound):
            break
    assert isinstance(event, BehaviourFound)
    assert event.nat.mapping is Mapping.UNKNOWN
