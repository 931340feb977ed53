"""Each kind of site does what its name says, as an observer outside sees it."""

import itertools
import time
from collections.abc import Iterator

import pytest

from holepunch.proto.nat import Allocation, Filtering, Mapping
from holepunch.testing.netlab import KINDS, Lab
from holepunch.testing.simnet.behaviour import Unsolicited

from .outside import Inside, Observer, observer

pytestmark = pytest.mark.lab

TRANSLATING = [name for name, kind in KINDS.items() if kind.ipv4 and kind.ipv4.mapping is not Mapping.NONE]


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    with Lab(rtt=0.01) as lab:
        yield lab


@pytest.fixture(scope="module")
def outside(lab: Lab) -> Iterator[Observer]:
    with observer(lab) as outside:
        yield outside


@pytest.mark.parametrize("kind", KINDS)
def test_a_kind_maps_and_filters_as_it_says(lab: Lab, outside: Observer, kind: str) -> None:
    host = lab.site(kind).host()
    with Inside(host) as mapped, Inside(host) as filtered:
        assert (outside.mapping(mapped), outside.filtering(filtered)) == KINDS[kind].side(False)


@pytest.mark.parametrize("kind", TRANSLATING)
def test_a_kind_chooses_ports_as_it_says(lab: Lab, outside: Observer, kind: str) -> None:
    host = lab.site(kind).host()
    inner, outer = [], []
    for _ in range(8):
        with Inside(host) as inside:
            inner.append(inside.endpoint[1])
            outer.append(outside.outer_of(inside, 0)[1])
    behaviour = KINDS[kind].ipv4
    assert behaviour is not None
    steps = {after - before for before, after in itertools.pairwise(outer)}
    match behaviour.allocation:
        case Allocation.PRESERVING:
            assert outer == inner
        case Allocation.SEQUENTIAL:
            assert steps == {behaviour.port_delta}
        case Allocation.BLOCK:
            assert {port // behaviour.block_size for port in outer} == {outer[0] // behaviour.block_size}
            assert len(steps) > 1
        case _:
            assert outer != inner
            assert max(outer) - min(outer) > 1000, "eight random ports so close together are one in a billion"


def test_an_unsolicited_packet_costs_a_strict_nat_its_mapping(lab: Lab, outside: Observer) -> None:
    with Inside(lab.site("strict").host()) as inside:
        before = outside.outer_of(inside, 0)
        assert outside.outer_of(inside, 0) == before
        assert not outside.gets_in(3, before, inside)
        assert outside.outer_of(inside, 0) != before


def test_an_early_packet_moves_the_port_where_input_accepts_it(lab: Lab, outside: Observer) -> None:
    with Inside(lab.site("clash").host()) as inside:
        before = outside.outer_of(inside, 0)
        assert not outside.gets_in(3, before, inside)
        assert outside.outer_of(inside, 3) != before
        assert outside.outer_of(inside, 0) == before, "the flow that was there stays as it is"


@pytest.mark.parametrize(
    "kind", [name for name, kind in KINDS.items() if kind.ipv4 and kind.ipv4.unsolicited is Unsolicited.DROP]
)
def test_an_early_packet_does_nothing_to_the_other_kinds(lab: Lab, outside: Observer, kind: str) -> None:
    with Inside(lab.site(kind).host()) as inside:
        before = outside.outer_of(inside, 0)
        outside.gets_in(3, before, inside)
        behind = outside.outer_of(inside, 3)
        assert outside.outer_of(inside, 0) == before
        mapping = KINDS[kind].side(False)
        assert mapping is not None
        assert (behind == before) == (not mapping[0].is_dependent)


@pytest.mark.parametrize("kind", ["random-apdf", "sequential-apdf"])
def test_a_flushed_router_has_lost_its_mappings(lab: Lab, outside: Observer, kind: str) -> None:
    site = lab.site(kind)
    with Inside(site.host()) as inside:
        before = outside.outer_of(inside, 0)
        assert site.router.conntrack_count() >= 1
        site.router.flush()
        assert not outside.gets_in(0, before, inside)
        assert outside.outer_of(inside, 0) != before


@pytest.mark.parametrize("kind", ["eim-eif", "eim-adf", "eim-apdf", "strict"])
def test_a_flushed_router_lets_nothing_in_until_the_inside_sends(lab: Lab, outside: Observer, kind: str) -> None:
    site = lab.site(kind)
    with Inside(site.host()) as inside:
        before = outside.outer_of(inside, 0)
        site.router.flush()
        assert not outside.gets_in(0, before, inside)
        assert outside.gets_in(0, outside.outer_of(inside, 0), inside)


@pytest.mark.parametrize("kind", ["random-apdf", "sequential-apdf", "eim-eif"])
def test_a_mapping_ends_when_its_time_is_up(lab: Lab, outside: Observer, kind: str) -> None:
    with Inside(lab.site(kind, mapping_timeout=1).host()) as inside:
        outer = outside.outer_of(inside, 0)
        assert outside.gets_in(0, outer, inside)
        time.sleep(2.5)  # the time under test: two and a half times the mapping's life
        assert not outside.gets_in(0, outer, inside)


def test_two_hosts_of_one_site_have_one_outer_address_and_meet_on_their_lan(lab: Lab, outside: Observer) -> None:
    site = lab.site("eim-apdf")
    with Inside(site.host()) as one, Inside(site.host()) as other:
        assert outside.outer_of(one, 0)[0] == outside.outer_of(other, 0)[0] == site.router.outer
        one.send(b"hello", other.endpoint)
        assert other.receive() == (b"hello", one.endpoint)


@pytest.mark.parametrize("hairpin", [False, True])
def test_subscribers_of_one_carrier_reach_each_other_by_hairpin_only(
    lab: Lab, outside: Observer, hairpin: bool
) -> None:
    carrier = lab.carrier(hairpin=hairpin)
    hosts = [lab.site("eim-apdf", carrier=carrier).host() for _ in range(2)]
    with Inside(hosts[0], port=5000) as one, Inside(hosts[1], port=5000) as other:
        outers = [outside.outer_of(each, 0) for each in (one, other)]
        assert outers[0][0] == outers[1][0] == carrier.router.outer
        assert outers[0][1] != outers[1][1]
        one.send(b"opens", outers[1])
        other.send(b"arrives", outers[0])
        if hairpin:
            assert one.receive() == (b"arrives", outers[1])
        else:
            assert one.is_silent()


def test_private_networks_of_two_sites_may_be_equal(lab: Lab, outside: Observer) -> None:
    sites = [lab.site("eim-apdf", network="192.168.1.0/24") for _ in range(2)]
    hosts = [site.host() for site in sites]
    assert hosts[0].address == hosts[1].address
    with Inside(hosts[0], port=5000) as one, Inside(hosts[1], port=5000) as other:
        outers = [outside.outer_of(each, 0) for each in (one, other)]
        assert outers == [(site.router.outer, 5000) for site in sites]
        one.send(b"opens", outers[1])
        other.send(b"arrives", outers[0])
        assert one.receive() == (b"arrives", outers[1])


def test_an_ipv6_firewall_translates_nothing_and_lets_answers_in(lab: Lab) -> None:
    host = lab.site("ipv6").host()
    address = host.addresses6[0]
    with observer(lab, ipv6=True) as outside, Inside(host, address) as mapped, Inside(host, address) as filtered:
        assert outside.mapping(mapped) is Mapping.NONE
        assert outside.filtering(filtered) is Filtering.ADDRESS_AND_PORT_DEPENDENT
