"""The probe's machines name every kind of site of the simulated internet rightly, near and far, over IPv4 and IPv6."""

import pytest

from holepunch.proto.nat import Filtering, Mapping
from holepunch.proto.stun.behaviour import BehaviourProbe
from holepunch.proto.stun.findings import BehaviourFound, EarlyPacket
from holepunch.proto.stun.lifetime import LifetimeFound, LifetimeProbe
from holepunch.testing.simnet import KINDS, Behaviour, Conditions, Internet, Kind, SimDriver, Unsolicited, build

MANNERS = {
    Unsolicited.DROP: EarlyPacket.HARMLESS,
    Unsolicited.FORGET: EarlyPacket.HARMLESS,
    Unsolicited.MOVE: EarlyPacket.COSTS_MAPPING,
    Unsolicited.CLASH: EarlyPacket.MOVES_US,
}


def probe(kind: str | Kind, conditions: Conditions, *, family: int = 4, seed: int = 0) -> BehaviourFound:
    """Probes from a host at a site of this kind."""
    net = Internet(seed)
    world = build(net, kind, "public", conditions)
    own_hosts = world.a.addresses()
    machine = BehaviourProbe(world.stun, net.entropy("probe"), family=family, own_hosts=own_hosts)
    machine.start(net.now)
    driver = SimDriver(world.a, machine)
    net.run(60, until=lambda: bool(driver.take(BehaviourFound)))
    (found,) = driver.take(BehaviourFound)
    assert isinstance(found, BehaviourFound)
    assert driver.sockets == {}
    return found


@pytest.mark.parametrize("rtt", [0.01, 0.08, 0.3])
@pytest.mark.parametrize("name", KINDS)
def test_every_kind_is_named_rightly(name: str, rtt: float) -> None:
    kind = KINDS[name]
    found = probe(name, Conditions(rtt=rtt, jitter=rtt / 20))
    nat, side = found.nat, kind.side(False)
    assert (nat.mapping, nat.filtering) == side
    assert found.mapping.is_exact
    assert nat.allocation is (kind.ipv4.allocation if kind.ipv4 else nat.allocation.PRESERVING)
    boxes = [box for box in (kind.ipv4, kind.carrier) if box]
    assert nat.hops == (0, 2, 6)[len(boxes)]
    if nat.mapping.is_dependent:
        assert found.early_packet is EarlyPacket.UNKNOWN
    else:
        assert found.early_packet is MANNERS[kind.ipv4.unsolicited if kind.ipv4 else Unsolicited.DROP]


def test_an_ipv6_firewall_is_measured_like_any_other() -> None:
    found = probe("ipv6", Conditions(), family=6)
    assert (found.nat.mapping, found.nat.filtering) == (Mapping.NONE, Filtering.ADDRESS_AND_PORT_DEPENDENT)
    assert found.nat.hops == 2
    assert found.early_packet is EarlyPacket.HARMLESS


@pytest.mark.parametrize("hairpin", [False, True])
def test_hairpinning_is_seen(hairpin: bool) -> None:
    kind = Kind(name="home", summary="", ipv4=Behaviour(hairpin=hairpin))
    assert probe(kind, Conditions()).nat.hairpin is hairpin


@pytest.mark.parametrize("hops", [1, 3, 6])
def test_a_carrier_far_away_is_left_by_as_many_hops(hops: int) -> None:
    found = probe("double", Conditions(carrier_hops=hops))
    assert found.nat.hops == 3 + hops


@pytest.mark.parametrize("name", ["eim-apdf", "strict", "clash", "sequential-apdf", "random-adf"])
def test_loss_and_disorder_rarely_change_a_name(name: str) -> None:
    side, wrong, unknown = KINDS[name].side(False), 0, 0
    assert side is not None
    for seed in range(20):
        conditions = Conditions(rtt=0.08, jitter=0.02, loss=0.05, reorder=0.05, duplicate=0.05)
        nat = probe(name, conditions, seed=seed).nat
        wrong += nat.mapping is not side[0] or nat.filtering not in (side[1], Filtering.UNKNOWN)
        unknown += nat.filtering is Filtering.UNKNOWN
    assert wrong == 0
    assert unknown <= 2


@pytest.mark.parametrize(("timeout", "alive", "dead"), [(30.0, 28.0, 32.0), (60.0, 58.0, 65.0)])
def test_the_lifetime_of_an_idle_mapping_is_measured(timeout: float, alive: float, dead: float) -> None:
    net = Internet(1)
    kind = Kind(name="home", summary="", ipv4=Behaviour(unreplied_timeout=timeout, stream_timeout=timeout))
    world = build(net, kind, "public")
    machine = LifetimeProbe(world.stun[0], net.entropy("probe"))
    machine.start(net.now)
    driver = SimDriver(world.a, machine)
    net.run(400, until=lambda: bool(driver.take(LifetimeFound)))
    assert driver.take(LifetimeFound) == [LifetimeFound(alive, dead)]
