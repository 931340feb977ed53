"""TTL is taken at every hop, and ICMP time exceeded comes back through NATs to the socket that sent."""

import pytest

from holepunch.proto.address import Scope, scope_of
from holepunch.testing.simnet import LINUX, Conditions, Internet, Link, build

from .probes import bench, ear

# The way of a Bench: NAT (hop 1), four routers, two routers, the observer (hop 8).
PATH_LENGTH = 8


def test_only_a_ttl_as_long_as_the_path_arrives() -> None:
    test = bench(LINUX)
    source = ear(test.inside)
    for ttl in range(1, PATH_LENGTH + 3):
        source.socket.send(bytes([ttl]), test.endpoint(0), ttl)
    test.net.run(1)
    assert [data[0] for data, _ in test.observers[0].heard] == [8, 9, 10]
    assert len(source.errors) == PATH_LENGTH - 1


def test_each_hop_of_the_way_answers_with_an_address_of_its_own() -> None:
    test = bench(LINUX)
    source, routers = ear(test.inside), []
    for ttl in range(1, PATH_LENGTH):
        source.socket.send(b"x", test.endpoint(0), ttl)
        test.net.run(1)
        error = source.errors[-1]
        assert (error.type, error.code, error.remote, error.data) == (11, 0, test.endpoint(0), b"x")
        routers.append(error.source)
    assert routers[0] == "192.168.1.1"
    assert len(set(routers)) == PATH_LENGTH - 1
    assert all(scope_of(router) is Scope.GLOBAL for router in routers[1:])


def test_both_directions_of_a_way_meet_the_same_routers() -> None:
    net = Internet()
    a, b = net.public("a", link=Link(hops=3)), net.public("b", link=Link(hops=2))
    there, back = ear(a, 1000), ear(b, 1000)
    for ttl in range(1, 6):
        there.socket.send(b"x", (b.address, 1000), ttl)
        back.socket.send(b"x", (a.address, 1000), ttl)
    net.run()
    assert [e.source for e in there.errors] == [e.source for e in reversed(back.errors)]
    assert len(there.errors) == 5


def test_silent_routers_say_nothing() -> None:
    net = Internet()
    a, b = net.public("a", link=Link(hops=2, silent=True)), net.public("b", link=Link(hops=2))
    source = ear(a)
    for ttl in range(1, 5):
        source.socket.send(b"x", (b.address, 1000), ttl)
    net.run()
    assert len(source.errors) == 2


def test_a_packet_that_dies_at_the_nat_leaves_no_mapping_and_one_that_passes_does() -> None:
    test = bench(LINUX)
    source = ear(test.inside)
    source.socket.send(b"x", test.endpoint(0), 1)
    test.net.run(1)
    assert test.nat.counters().created == 0
    source.socket.send(b"x", test.endpoint(0), 2)
    test.net.run(1)
    assert test.nat.counters().created == 1


def test_a_low_ttl_packet_opens_our_filter_and_never_reaches_the_far_nat() -> None:
    net = Internet()
    world = build(net, "eim-apdf", "strict", Conditions(hops_a=3, hops_b=3))
    a, b = ear(world.a, 5000), ear(world.b, 6000)
    (nat_a,), (nat_b,) = world.nats_a, world.nats_b
    outer_a, outer_b = (nat_a.outer.hosts[0], 5000), (nat_b.outer.hosts[0], 6000)
    a.socket.send(b"prime", outer_b, ttl=5)
    net.run(1)
    assert nat_b.counters().unsolicited == 0
    b.socket.send(b"punch", outer_a)
    net.run(1)
    assert a.sources() == [outer_b]


def test_ipv6_has_hop_limits_too() -> None:
    net = Internet()
    world = build(net, "ipv6", "ipv6", Conditions(hops_a=2, hops_b=2))
    a, b = ear(world.a, 5000, family=6), ear(world.b, 6000, family=6)
    target = (world.b.addresses(6)[0], 6000)
    for ttl in range(1, 8):
        a.socket.send(b"x", target, ttl)
        net.run(1)
    # Our firewall, four routers, and theirs, which looks at the hop limit before it filters.
    assert [(e.type, e.code) for e in a.errors] == [(3, 0)] * 6
    assert len({e.source for e in a.errors}) == 6
    assert not b.heard  # the last one reached the firewall, which knows no such flow
    assert world.nats_b[0].counters(ipv6=True).unsolicited == 1


@pytest.mark.parametrize("hops", [0, 3, 6])
def test_a_carriers_nat_is_as_many_hops_away_as_configured(hops: int) -> None:
    world = build(Internet(), "double", "public", Conditions(carrier_hops=hops))
    source = ear(world.a)
    for ttl in range(1, hops + 4):
        source.socket.send(b"x", (world.b.address, 1000), ttl)
        world.net.run(1)
    reached = [e.source for e in source.errors if scope_of(e.source) is Scope.GLOBAL]
    assert len(source.errors) == hops + 3
    assert len(reached) == 1  # only the last TTL leaves both NATs
