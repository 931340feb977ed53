"""Each kind of NAT does what its name says, found out by plain sockets."""

import statistics
from itertools import pairwise

import pytest

from holepunch.errors import ConfigurationError
from holepunch.proto.nat import Allocation, Filtering, Mapping
from holepunch.testing.simnet import FIREWALL, LINUX, Behaviour, Internet, Link, Unsolicited

from .probes import Bench, bench, ear

HOME = Behaviour()
DEPENDENT = HOME.but(mapping=Mapping.ADDRESS_AND_PORT_DEPENDENT, allocation=Allocation.RANDOM)
MAPPINGS = [Mapping.ENDPOINT_INDEPENDENT, Mapping.ADDRESS_DEPENDENT, Mapping.ADDRESS_AND_PORT_DEPENDENT]
FILTERINGS = [Filtering.ENDPOINT_INDEPENDENT, Filtering.ADDRESS_DEPENDENT, Filtering.ADDRESS_AND_PORT_DEPENDENT]


@pytest.mark.parametrize("filtering", FILTERINGS)
@pytest.mark.parametrize("mapping", MAPPINGS)
def test_outer_endpoints_change_with_the_destination_as_the_mapping_says(
    mapping: Mapping, filtering: Filtering
) -> None:
    test = bench(HOME.but(mapping=mapping, filtering=filtering, allocation=Allocation.RANDOM))
    source = ear(test.inside)
    same, port, address, again = (test.seen_by(index, source.socket) for index in (0, 1, 2, 0))
    assert same == again
    assert (same == port) == (mapping is not Mapping.ADDRESS_AND_PORT_DEPENDENT)
    assert (same == address) == (mapping is Mapping.ENDPOINT_INDEPENDENT)
    assert same[0] == test.nat.outer.hosts[0]


@pytest.mark.parametrize("filtering", FILTERINGS)
@pytest.mark.parametrize("mapping", MAPPINGS)
def test_strangers_get_in_as_the_filtering_says(mapping: Mapping, filtering: Filtering) -> None:
    test = bench(HOME.but(mapping=mapping, filtering=filtering))
    source = ear(test.inside)
    outer = test.seen_by(0, source.socket)
    assert test.passes(0, outer, source)
    assert test.passes(1, outer, source) == (filtering is not Filtering.ADDRESS_AND_PORT_DEPENDENT)
    assert test.passes(2, outer, source) == (filtering is Filtering.ENDPOINT_INDEPENDENT)
    assert source.last != outer  # the true source, untranslated


def test_a_firewall_translates_nothing_and_lets_in_only_answers() -> None:
    net = Internet()
    box = net.nat("box", FIREWALL)
    inside = ear(net.host("inside", box.inside, net.public_ipv4()), 5000)
    outside = net.public("outside")
    friend, stranger = ear(outside, 1000), ear(outside, 2000)
    target = (net.hosts["inside"].address, 5000)
    friend.socket.send(b"too early", target)
    net.run()
    inside.socket.send(b"hello", (outside.address, 1000))
    net.run()
    friend.socket.send(b"answer", target)
    stranger.socket.send(b"stranger", target)
    net.run()
    assert friend.sources() == [target]
    assert [data for data, _ in inside.heard] == [b"answer"]


def test_a_box_without_behaviour_only_forwards() -> None:
    net = Internet()
    box = net.nat("router", None)
    inside = ear(net.host("inside", box.inside, net.public_ipv4()), 5000)
    outside = ear(net.public("outside"), 1000)
    outside.socket.send(b"hello", (net.hosts["inside"].address, 5000))
    net.run()
    assert [data for data, _ in inside.heard] == [b"hello"]


def outer_ports(test: Bench, count: int, pause: float = 0.0) -> list[int]:
    """Outer ports of `count` inside sockets, one after another."""
    ports = []
    for _ in range(count):
        ports.append(test.seen_by(0, ear(test.inside).socket)[1])
        test.net.run(pause)
    return ports


def test_preserving_allocation_keeps_the_inner_port_until_it_is_taken() -> None:
    test = bench(HOME)
    neighbour = test.net.host("neighbour", test.nat.inside, "192.168.1.11")
    first, second = ear(test.inside, 5000), ear(neighbour, 5000)
    assert test.seen_by(0, first.socket)[1] == 5000
    assert test.seen_by(0, second.socket)[1] != 5000


def test_linux_overloads_a_port_for_two_hosts_with_different_destinations() -> None:
    test = bench(LINUX)
    neighbour = test.net.host("neighbour", test.nat.inside, "192.168.1.11")
    first, second = ear(test.inside, 5000), ear(neighbour, 5000)
    assert test.seen_by(0, first.socket)[1] == 5000
    assert test.seen_by(1, second.socket)[1] == 5000
    outer = test.nat.outer.hosts[0], 5000
    assert test.passes(0, outer, first)
    assert test.passes(1, outer, second)
    assert not test.passes(2, outer, first)


@pytest.mark.parametrize("delta", [1, 2, -3])
def test_sequential_allocation_goes_on_by_its_delta(delta: int) -> None:
    test = bench(DEPENDENT.but(allocation=Allocation.SEQUENTIAL, port_delta=delta), seed=5)
    ports = outer_ports(test, 8)
    assert {after - before for before, after in pairwise(ports)} == {delta}


def test_sequential_allocation_gives_each_destination_the_next_port() -> None:
    test = bench(DEPENDENT.but(allocation=Allocation.SEQUENTIAL))
    source = ear(test.inside)
    ports = [test.seen_by(index, source.socket)[1] for index in range(4)]
    assert ports == list(range(ports[0], ports[0] + 4))


def test_flows_of_other_hosts_take_ports_in_between() -> None:
    test = bench(DEPENDENT.but(allocation=Allocation.SEQUENTIAL, background=20.0))
    ports = outer_ports(test, 40, pause=0.5)
    steps = [(after - before) % 64512 for before, after in pairwise(ports)]
    assert 15 < statistics.mean(steps) < 27  # one a second passes between two: 20 strangers and ourselves
    assert len(set(steps)) > 5


def test_random_allocation_covers_the_range() -> None:
    ports = outer_ports(bench(DEPENDENT.but(port_low=10000, port_high=19999)), 60)
    assert all(10000 <= port <= 19999 for port in ports)
    assert len(set(ports)) == 60
    assert max(ports) - min(ports) > 8000


def test_block_allocation_stays_in_the_hosts_blocks_and_then_refuses() -> None:
    test = bench(DEPENDENT.but(allocation=Allocation.BLOCK, block_size=16, max_blocks=2))
    ports = outer_ports(test, 32)
    assert len(set(ports)) == 32
    assert len({port // 16 for port in ports}) == 2
    assert len({port // 16 for port in ports[:16]}) == 1
    ear(test.inside).socket.send(b"one too many", test.endpoint(0))
    test.net.run(1)
    assert test.nat.counters().refused == 1


def test_two_hosts_get_different_blocks() -> None:
    test = bench(DEPENDENT.but(allocation=Allocation.BLOCK, block_size=64))
    neighbour = test.net.host("neighbour", test.nat.inside, "192.168.1.11")
    mine = {test.seen_by(0, ear(test.inside).socket)[1] // 64 for _ in range(8)}
    theirs = {test.seen_by(0, ear(neighbour).socket)[1] // 64 for _ in range(8)}
    assert len(mine) == len(theirs) == 1
    assert mine != theirs


def test_a_paired_pool_keeps_one_address_for_a_host_and_an_arbitrary_one_does_not() -> None:
    for paired, addresses in ((True, 1), (False, 4)):
        test = bench(DEPENDENT.but(paired=paired), pool=4)
        seen = {test.seen_by(0, ear(test.inside).socket)[0] for _ in range(30)}
        assert len(seen) == addresses
        assert seen <= set(test.nat.outer.hosts)


@pytest.mark.parametrize("hairpin", [True, False])
def test_inside_hosts_meet_by_their_outer_endpoints_only_with_hairpin(hairpin: bool) -> None:
    test = bench(HOME.but(hairpin=hairpin))
    neighbour = test.net.host("neighbour", test.nat.inside, "192.168.1.11")
    first, second = ear(test.inside, 5000), ear(neighbour, 6000)
    outer_first, outer_second = test.seen_by(0, first.socket), test.seen_by(0, second.socket)
    first.socket.send(b"punch", outer_second)
    test.net.run(1)
    second.socket.send(b"punch", outer_first)
    test.net.run(1)
    assert first.sources() == ([outer_second] if hairpin else [])
    assert not second.heard  # its filter was not open when the first packet came
    assert test.nat.counters().hairpinned == (2 if hairpin else 0)


def test_a_nat_whose_table_is_full_refuses_new_flows_and_keeps_old_ones() -> None:
    test = bench(HOME.but(max_entries=5))
    sockets = [ear(test.inside).socket for _ in range(6)]
    for socket in sockets[:5]:
        test.seen_by(0, socket)
    sockets[5].send(b"one too many", test.endpoint(0))
    test.net.run(1)
    assert test.nat.counters().refused == 1
    test.seen_by(0, sockets[0])
    test.net.run(31)
    test.seen_by(0, sockets[5])  # the others have died


def test_counters_tell_what_a_nat_did() -> None:
    test = bench(HOME)
    source = ear(test.inside)
    outer = test.seen_by(0, source.socket)
    test.seen_by(1, source.socket)
    test.passes(0, outer, source)
    test.passes(2, outer, source)
    counters = test.nat.counters()
    assert (counters.packets_out, counters.packets_in, counters.unsolicited) == (2, 1, 1)
    assert (counters.created, counters.peak, test.nat.table().alive(test.net.now)) == (2, 2, 2)
    test.net.run(40)
    assert test.nat.table().alive(test.net.now) == 0


def test_a_rebooted_nat_has_forgotten_every_mapping() -> None:
    test = bench(HOME.but(allocation=Allocation.RANDOM))
    source = ear(test.inside)
    outer = test.seen_by(0, source.socket)
    test.nat.reboot()
    assert not test.passes(0, outer, source)
    assert test.seen_by(0, source.socket) != outer


def test_an_error_from_inside_is_translated_on_its_way_out() -> None:
    test = bench(HOME.but(filtering=Filtering.ENDPOINT_INDEPENDENT))
    source = ear(test.inside, 5000)
    outer = test.seen_by(0, source.socket)
    source.socket.close()
    test.observers[0].socket.send(b"anyone there", outer)
    test.net.run(1)
    (error,) = test.observers[0].errors
    assert (error.type, error.code, error.source, error.remote) == (3, 3, outer[0], outer)


def test_packets_through_two_nats_carry_the_outer_ones_address() -> None:
    net = Internet()
    carrier = net.nat("carrier", HOME, inner_hosts=("100.64.0.1",), link=Link(delay=0.01))
    home = net.nat("home", HOME, outside=carrier.inside, outer_hosts=("100.64.1.1",))
    source = ear(net.host("inside", home.inside, "192.168.1.10"), 5000)
    outside = ear(net.public("outside"), 1000)
    source.socket.send(b"hello", (net.hosts["outside"].address, 1000))
    net.run()
    assert outside.sources() == [(carrier.outer.hosts[0], 5000)]
    outside.socket.send(b"answer", outside.last)
    net.run()
    assert [data for data, _ in source.heard] == [b"answer"]
    assert (home.counters().created, carrier.counters().created) == (1, 1)


@pytest.mark.parametrize(
    "wrong",
    [
        {"mapping": Mapping.UNKNOWN},
        {"filtering": Filtering.UNKNOWN},
        {"allocation": Allocation.UNKNOWN},
        {"overloading": True, "filtering": Filtering.ADDRESS_DEPENDENT},
        {"unsolicited": Unsolicited.CLASH},
        {"port_low": 5000, "port_high": 4000},
    ],
)
def test_an_impossible_behaviour_is_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ConfigurationError):
        HOME.but(**wrong)
