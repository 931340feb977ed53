"""The ready-made internets are what they say; `expected` is checked against a plain puncher."""

import pytest

from holepunch.errors import ConfigurationError
from holepunch.proto.address import Scope, scope_of
from holepunch.proto.machine import Address
from holepunch.proto.stun.message import Message, binding_request, decode_message, mapped_address
from holepunch.testing.simnet import (
    KINDS,
    RELATIONS,
    Conditions,
    Host,
    Internet,
    World,
    build,
    build_relation,
    expected,
)

from .probes import Ear, ear

HOPS = 2  # from a peer to beyond its NAT, as the conditions below have it


class Puncher:
    """The plainest puncher there is: one socket per family, sends to what the peer announced, and to
    whoever it hears; first so that nothing arrives, then for good."""

    def __init__(self, world: World, host: Host) -> None:
        self.world = world
        self.ears = {family: ear(host, family=family) for family in (4, 6) if host.addresses(family)}
        self.host = host
        self.announced: list[Address] = []

    def learn(self) -> None:
        """Asks the STUN servers, and announces what they say beside the host's own addresses."""
        for family, listener in self.ears.items():
            self.announced += [(host, listener.address[1]) for host in self.host.addresses(family)]
            for server in self.world.stun:
                listener.socket.send(binding_request(bytes(12)), server)
        self.world.net.run(1)
        for listener in self.ears.values():
            answers = [decode_message(data) for data, _ in listener.heard]
            assert all(isinstance(answer, Message) for answer in answers)
            self.announced += [mapped for answer in answers if (mapped := mapped_address(answer))]
            listener.heard.clear()

    def send(self, data: bytes, targets: list[Address], ttl: int | None = None) -> None:
        """Sends to every target of a family that we have."""
        for host, port in dict.fromkeys(targets):
            listener = self.ears.get(6 if ":" in host else 4)
            if listener is not None:
                listener.socket.send(data, (host, port), ttl)

    def heard(self) -> list[Address]:
        """Everyone who was heard."""
        return [remote for listener in self.ears.values() for _, remote in listener.heard]


def punch(world: World, ttl: int) -> bool:
    """Tells whether the two peers of a world hear each other after a plain punch."""
    waiting, coming = Puncher(world, world.a), Puncher(world, world.b)
    waiting.learn()
    coming.learn()
    waiting.send(b"prime", coming.announced, ttl)
    world.net.run(1)
    coming.send(b"punch", waiting.announced)
    world.net.run(1)
    for _ in range(4):
        for one, other in ((waiting, coming), (coming, waiting)):
            one.send(b"punch", one.heard() or other.announced)
            world.net.run(1)
    for listener in [*waiting.ears.values(), *coming.ears.values()]:
        listener.heard.clear()
    waiting.send(b"data", waiting.heard() or coming.announced)
    return _hear_each_other(world, waiting, coming)


def _hear_each_other(world: World, waiting: Puncher, coming: Puncher) -> bool:
    coming.send(b"data", waiting.announced)
    world.net.run(1)
    for _ in range(2):
        for one in (waiting, coming):
            one.send(b"data", one.heard())
        world.net.run(1)
    return bool(waiting.heard()) and bool(coming.heard())


@pytest.mark.parametrize("kind_b", KINDS)
@pytest.mark.parametrize("kind_a", KINDS)
def test_a_plain_puncher_opens_exactly_the_pairs_that_are_expected(kind_a: str, kind_b: str) -> None:
    conditions = Conditions(hops_a=4, hops_b=4, carrier_hops=1)
    world = build(Internet(f"{kind_a} {kind_b}"), kind_a, kind_b, conditions)
    ttl = 4 if kind_a == "double" else HOPS
    assert punch(world, ttl) == expected(kind_a, kind_b) == world.expected


def test_expectations_do_not_depend_on_who_is_first() -> None:
    assert all(expected(a, b) == expected(b, a) for a in KINDS for b in KINDS)


@pytest.mark.parametrize("relation", RELATIONS)
def test_relations_open_as_they_say(relation: str) -> None:
    world = build_relation(Internet(1), relation, Conditions(carrier_hops=1))
    assert punch(world, HOPS) == RELATIONS[relation] == world.expected


@pytest.mark.parametrize("relation", RELATIONS)
def test_bystanders_at_a_claimed_address_are_there_to_be_counted(relation: str) -> None:
    world = build_relation(Internet(1), relation)
    assert len(world.bystanders) == (2 if relation == "equal-networks" else 0)
    assert (world.a.address == world.b.address) == (relation == "equal-networks")


@pytest.mark.parametrize("rtt", [0.02, 0.08, 0.25])
@pytest.mark.parametrize("kind", ["public", "eim-eif", "double"])
def test_the_round_trip_takes_as_long_as_asked(kind: str, rtt: float) -> None:
    world = build(Internet(), kind, "public", Conditions(rtt=rtt))
    source, target = ear(world.a), ear(world.b, 1000)
    source.socket.send(b"there", (world.b.address, 1000))
    world.net.run(until=lambda: bool(target.heard))
    target.socket.send(b"back", target.last)
    world.net.run(until=lambda: bool(source.heard))
    assert world.net.now == pytest.approx(rtt, abs=0.001)


def test_loss_between_the_peers_is_as_asked_one_way() -> None:
    world = build(Internet(), "public", "public", Conditions(loss=0.1))
    source, target = ear(world.a), ear(world.b, 1000)
    for _ in range(3000):
        source.socket.send(b"x", (world.b.address, 1000))
    world.net.run()
    assert 2600 < len(target.heard) < 2800


@pytest.mark.parametrize(("hops_a", "hops_b"), [(0, 0), (5, 6), (12, 3)])
def test_paths_are_as_long_as_configured(hops_a: int, hops_b: int) -> None:
    world = build(Internet(), "eim-eif", "public", Conditions(hops_a=hops_a, hops_b=hops_b))
    source, target = ear(world.a), ear(world.b, 1000)
    for ttl in range(1, 40):
        source.socket.send(bytes([ttl]), (world.b.address, 1000), ttl)
    world.net.run()
    assert target.heard[0][0][0] == hops_a + hops_b + 2  # the NAT is a hop, and so is the peer


def test_every_outer_address_is_global_and_every_inner_one_is_not() -> None:
    for kind_a in KINDS:
        world = build(Internet(), kind_a, "double")
        outermost = [nats[-1].outer.hosts for nats in (world.nats_a, world.nats_b) if nats]
        stun = [server.host.addresses() for server in world.servers]
        assert all(scope_of(host) is Scope.GLOBAL for hosts in (*outermost, *stun) for host in hosts)
        assert scope_of(world.nats_b[0].outer.hosts[0]) is Scope.CGNAT
        assert scope_of(world.b.address) is Scope.PRIVATE


def test_stun_servers_tell_both_families_how_they_see_a_host() -> None:
    world = build(Internet(), "ipv6", "public")
    puncher = Puncher(world, world.a)
    puncher.learn()
    assert (world.a.addresses(6)[0], puncher.ears[6].address[1]) in puncher.announced
    assert {host for host, _ in puncher.announced} == {*world.a.addresses(), world.nats_a[0].outer.hosts[0]}


def test_unknown_kinds_and_relations_are_refused_with_a_hint() -> None:
    with pytest.raises(ConfigurationError, match="symmetric") as caught:
        build(Internet(), "symmetric", "public")
    assert "random-apdf" in caught.value.hint
    with pytest.raises(ConfigurationError, match="same-planet"):
        build_relation(Internet(), "same-planet")


def test_one_listener_of_the_probes_hears_what_another_sends() -> None:
    world = build(Internet(), "public", "public")
    listener: Ear = ear(world.b, 1000)
    ear(world.a, 2000).socket.send(b"x", (world.b.address, 1000))
    world.net.run()
    assert listener.last == (world.a.address, 2000)
