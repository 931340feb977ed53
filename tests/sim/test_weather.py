"""Whole peers where the way is short, long, crooked or slow, and the routers' memory short."""

from dataclasses import replace

import pytest

from holepunch.proto.agent import AgentOptions
from holepunch.proto.machine import Address
from holepunch.testing.simnet import KINDS, Conditions, Link, StunServer, attempt

from .peers import two

TOUCHY = [("strict", "strict"), ("clash", "clash"), ("clash", "strict"), ("double", "clash"), ("clash", "double")]


@pytest.mark.parametrize("hops", [(1, 0), (0, 1), (1, 1), (2, 1), (3, 8), (12, 12), (20, 20)])
@pytest.mark.parametrize("kinds", TOUCHY)
def test_measured_priming_spoils_nothing_however_long_the_way(kinds: tuple[str, str], hops: tuple[int, int]) -> None:
    conditions = Conditions(rtt=0.08, hops_a=hops[0], hops_b=hops[1])
    outcome = attempt(*kinds, conditions, latency=5.0, seed=1)
    assert outcome.opened
    assert outcome.damage == 0


@pytest.mark.parametrize("carrier_hops", [0, 1, 4, 8])
@pytest.mark.parametrize("kinds", [("double", "clash"), ("clash", "double"), ("double", "double")])
def test_a_carriers_nat_may_be_many_hops_away(kinds: tuple[str, str], carrier_hops: int) -> None:
    outcome = attempt(*kinds, Conditions(rtt=0.08, carrier_hops=carrier_hops), latency=30.0, seed=1)
    assert outcome.opened
    assert outcome.damage == 0


def test_two_touchy_nats_with_no_router_between_cannot_be_primed_and_the_failure_is_told() -> None:
    # The least TTL that leaves one NAT reaches the other: whoever sends first spoils it.
    outcome = attempt("strict", "strict", Conditions(hops_a=0, hops_b=0), seed=1)
    assert not outcome.opened
    assert outcome.statuses == (3, 3)
    assert all(outcome.reasons)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize(
    "kinds",
    [("strict", "clash"), ("eim-apdf", "double"), ("ipv6", "ipv6"), ("eim-adf", "random-adf"), ("same-lan",) * 2],
)
def test_jitter_loss_reordering_and_duplicates_together_stop_nobody(kinds: tuple[str, str], seed: int) -> None:
    weather = Conditions(rtt=0.08, jitter=0.05, loss=0.05, reorder=0.05, duplicate=0.1)
    outcome = attempt(*kinds, weather, latency=5.0, seed=seed)
    assert outcome.opened
    assert outcome.damage == 0


@pytest.mark.parametrize("latency", [5.0, 30.0, 90.0])
@pytest.mark.parametrize("lifetime", [15.0, 20.0])
@pytest.mark.parametrize("name", ["clash", "strict"])
def test_mappings_that_live_15_seconds_outlive_the_mail(name: str, lifetime: float, latency: float) -> None:
    kind = KINDS[name]
    assert kind.ipv4 is not None
    short = replace(kind, name=f"short {name}", ipv4=kind.ipv4.but(unreplied_timeout=lifetime))
    outcome = attempt(short, short, Conditions(rtt=0.08), latency=latency, seed=2)
    assert outcome.opened
    assert outcome.damage == 0


@pytest.mark.parametrize("silent", [False, True])
@pytest.mark.parametrize("kinds", [("strict", "strict"), ("clash", "double")])
def test_where_no_server_has_two_addresses_icmp_or_a_usual_ttl_will_do(kinds: tuple[str, str], silent: bool) -> None:
    pair = two(*kinds, Conditions(rtt=0.08, hops_a=8, hops_b=8))
    plain: list[Address] = []
    for server in pair.world.servers:
        server.stop()
        link = Link(delay=0.005, hops=3, silent=silent)
        plain.append(StunServer(pair.net, f"plain {len(plain)}", behaviour=False, link=link).ipv4)
    for nat in pair.nats:
        nat.outer.link = nat.outer.link.but(silent=silent)
    for peer in (pair.alice, pair.bob):
        peer.options = replace(peer.options, servers=tuple(plain))
    session = pair.connect()
    assert session.is_ready
    gathered = [event for _, event in pair.bob.arrivals[0].log if event.name == "gathered"]
    assert (gathered[0].to_json()["hops"] == 0) == silent
    assert pair.damage == 0


@pytest.mark.parametrize("number", range(12))
def test_an_mtu_of_1280_is_enough(number: int) -> None:
    kinds = list(KINDS)
    outcome = attempt(kinds[number], "eim-eif", Conditions(mtu=1280), seed=number)
    assert outcome.opened


@pytest.mark.parametrize("kinds", [("strict", "eim-apdf"), ("clash", "eim-apdf"), ("clash", "clash")])
def test_the_same_pair_is_lost_to_an_acceptor_that_primes_with_a_full_ttl(kinds: tuple[str, str]) -> None:
    # The control: without the measured TTL the simulator's NATs do what real ones do.
    outcome = attempt(*kinds, Conditions(rtt=0.08), latency=5.0, seed=1, options=AgentOptions(hops=64))
    assert outcome.damage > 0
    assert not outcome.opened
