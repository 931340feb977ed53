"""The probe names every kind of NAT of the laboratory rightly: mapping, filtering, ports, hops and manners."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from holepunch.proto.nat import Filtering, Mapping
from holepunch.testing.netlab import KINDS, Host, Lab
from holepunch.testing.netlab.lab import CARRIER_HOPS
from holepunch.testing.simnet.behaviour import Unsolicited

pytestmark = pytest.mark.lab

MANNERS = {
    Unsolicited.DROP: "harmless",
    Unsolicited.MOVE: "costs-mapping",
    Unsolicited.CLASH: "moves-us",
}


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    with Lab(rtt=0.02, seed=1) as lab:
        yield lab


def probe(host: Host, home: Path, servers: list[str], *arguments: str) -> "subprocess.CompletedProcess[str]":
    """Runs `holepunch probe` on a host."""
    environ = {"PATH": os.environ["PATH"], "HOLEPUNCH_HOME": str(home), "HOLEPUNCH_STUN": " ".join(servers)}
    command = [sys.executable, "-m", "holepunch", "probe", *arguments]
    return host.run(command, env=environ, check=False, timeout=50)


def read(host: Host, home: Path, servers: list[str], *arguments: str) -> dict[str, Any]:
    """Returns the report of `holepunch probe --json`."""
    done = probe(host, home, servers, "--json", *arguments)
    assert (done.returncode, done.stderr) == (0, "")
    report: dict[str, Any] = json.loads(done.stdout)
    return report


@pytest.mark.parametrize("name", KINDS)
def test_every_kind_is_named_rightly(lab: Lab, tmp_path: Path, name: str) -> None:
    kind = KINDS[name]
    report = read(lab.site(name).host(), tmp_path, lab.stun)
    (family,) = report["families"]
    nat, side = family["nat"], kind.side(False)
    assert side is not None
    mapping, filtering = side
    assert (nat["mapping"], nat["filtering"]) == (mapping.value, filtering.value)
    assert family["mapping_is_exact"]
    assert family["dissenting"] == []
    assert nat["allocation"] == (kind.ipv4.allocation.value if kind.ipv4 else "preserving")
    counts = nat["allocation"] == "sequential"
    assert nat["port_delta"] == (kind.ipv4.port_delta if kind.ipv4 and counts else 0)
    assert nat["hops"] == (0 if kind.ipv4 is None else 3 + CARRIER_HOPS if kind.carrier else 2)
    if mapping.is_dependent:
        assert family["early_packet"] == "unknown"
    else:
        assert family["early_packet"] == MANNERS[kind.ipv4.unsolicited if kind.ipv4 else Unsolicited.DROP]
    assert nat["hairpin"] is (False if mapping is Mapping.ENDPOINT_INDEPENDENT else None)
    easy = "everyone" if filtering is Filtering.ENDPOINT_INDEPENDENT else "most"
    assert report["reach"] == ("some" if mapping.is_dependent else easy)


@pytest.mark.parametrize("hops", [0, 7])
def test_the_hops_reach_beyond_a_carrier_s_network(lab: Lab, tmp_path: Path, hops: int) -> None:
    report = read(lab.site("eim-apdf", carrier=lab.carrier(hops=hops)).host(), tmp_path, lab.stun)
    # The home's router, the carrier's, its NAT, and the first one beyond.
    assert report["families"][0]["nat"]["hops"] == hops + 3


def test_a_carrier_that_hairpins_is_seen(lab: Lab, tmp_path: Path) -> None:
    report = read(lab.site("eim-apdf", carrier=lab.carrier(hairpin=True)).host(), tmp_path, lab.stun)
    assert report["families"][0]["nat"]["hairpin"] is True


def test_an_ipv6_firewall_is_seen_beside_the_ipv4_nat(lab: Lab, tmp_path: Path) -> None:
    report = read(lab.site("ipv6").host(), tmp_path, [*lab.stun, *lab.stun6])
    assert [(family["family"], family["nat"]["mapping"]) for family in report["families"]] == [
        (4, "address-and-port-dependent"),
        (6, "none"),
    ]


@pytest.mark.parametrize(
    ("name", "opinion"),
    [
        ("public", "Open Internet"),
        ("eim-eif", "Full Cone"),
        ("eim-adf", "Restric NAT"),
        ("eim-apdf", "Restric Port NAT"),
        ("random-apdf", "Symmetric NAT"),
    ],
)
def test_the_classic_opinion_agrees_on_the_classic_kinds(lab: Lab, tmp_path: Path, name: str, opinion: str) -> None:
    report = read(lab.site(name).host(), tmp_path, lab.stun, "--classic")
    assert report["families"][0]["classic"]["nat_type"] == opinion


def test_the_lifetime_of_a_mapping_is_measured(lab: Lab, tmp_path: Path) -> None:
    report = read(lab.site("eim-eif", mapping_timeout=12).host(), tmp_path, lab.stun[:1], "--lifetime")
    lifetime = report["families"][0]["lifetime"]
    assert (lifetime["alive"], lifetime["dead"]) == (10, 15)
    assert report["families"][0]["nat"]["lifetime"] == 10


def test_a_loss_of_five_percent_changes_no_name(lab: Lab, tmp_path: Path) -> None:
    lab.change(loss=0.05)
    try:
        for name in ("eim-apdf", "sequential-adf"):
            kind = KINDS[name]
            (family,) = read(lab.site(name).host(), tmp_path, lab.stun)["families"]
            assert kind.ipv4 is not None
            assert family["nat"]["mapping"] == kind.ipv4.mapping.value
            assert family["nat"]["allocation"] == kind.ipv4.allocation.value
            assert family["nat"]["filtering"] in (kind.ipv4.filtering.value, "unknown")
    finally:
        lab.change(loss=0.0)


def test_without_a_stun_server_it_ends_with_status_6(lab: Lab, tmp_path: Path) -> None:
    done = probe(lab.site("eim-apdf").host(), tmp_path, [f"{lab.public().address}:9"])
    assert (done.returncode, done.stdout) == (6, "")
    assert done.stderr.startswith("holepunch: none of 1 STUN servers answered\n  hint: ")
