"""The probe names every kind of NAT of the laboratory rightly: mapping, filtering, ports, hops and manners."""

import json
import os
import sys
from collections.abc import Iterator
from typing import Any

import pytest

from holepunch.proto.nat import Allocation
from holepunch.testing.netlab import KINDS, Host, Lab

pytestmark = pytest.mark.lab


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    with Lab(rtt=0.02) as lab:
        yield lab


def probed(lab: Lab, host: Host, family: int = 4) -> dict[str, Any]:
    """Returns what the probe says of the NAT of one family."""
    environment = {**os.environ, "HOLEPUNCH_STUN": " ".join([*lab.stun, *lab.stun6])}
    done = host.run([sys.executable, "-m", "holepunch", "probe", "--json"], env=environment, timeout=50)
    families = {found["family"]: found for found in json.loads(done.stdout)["families"]}
    nat: dict[str, Any] = families[family]["nat"]
    return nat


@pytest.mark.parametrize("kind", KINDS)
def test_the_probe_names_the_nat_as_it_is(lab: Lab, kind: str) -> None:
    nat = probed(lab, lab.site(kind).host())
    side = KINDS[kind].side(False)
    assert side is not None
    assert (nat["mapping"], nat["filtering"]) == (side[0].value, side[1].value)
    box = KINDS[kind].ipv4
    allocation = box.allocation if box else Allocation.PRESERVING
    assert nat["allocation"] == allocation.value
    assert nat["port_delta"] == (box.port_delta if box and allocation is Allocation.SEQUENTIAL else 0)


@pytest.mark.parametrize("hairpin", [False, True])
def test_the_probe_sees_a_hairpin(lab: Lab, hairpin: bool) -> None:
    assert probed(lab, lab.site("eim-apdf", carrier=lab.carrier(hairpin=hairpin)).host())["hairpin"] is hairpin


@pytest.mark.parametrize("hops", [0, 3, 7])
def test_the_probe_measures_how_far_its_own_nats_reach(lab: Lab, hops: int) -> None:
    # The home's router, the carrier's hops, its NAT; one more is the first that the carrier's NAT lets out.
    assert probed(lab, lab.site("eim-apdf", carrier=lab.carrier(hops=hops)).host())["hops"] == hops + 3


def test_the_probe_sees_the_ipv6_firewall(lab: Lab) -> None:
    assert probed(lab, lab.site("ipv6").host(), 6)["mapping"] == "none"
