"""`holepunch probe` as a person types it, and the words it uses."""

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from holepunch.cli.natwords import explain, known_as, notes, reach_sentence, rows
from holepunch.net.classic import ClassicOpinion
from holepunch.probe import FamilyReport, Reach
from holepunch.proto.nat import Allocation, Filtering, Mapping, NatReport
from holepunch.proto.stun.classify import MappingVerdict
from holepunch.proto.stun.findings import EarlyPacket
from holepunch.proto.stun.hops import HopsMeasured
from holepunch.proto.stun.lifetime import LifetimeFound
from tests.stunning import stun_server
from tests.test_probe import family_report

SERVER, OTHER, DEAD = "127.83.87.1", "127.83.87.2", "127.83.87.3:3478"
EI, AD, APD = Mapping.ENDPOINT_INDEPENDENT, Mapping.ADDRESS_DEPENDENT, Mapping.ADDRESS_AND_PORT_DEPENDENT
STRICT = Filtering.ADDRESS_AND_PORT_DEPENDENT


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOLEPUNCH_HOME", str(tmp_path))
    monkeypatch.delenv("HOLEPUNCH_STUN", raising=False)


def holepunch(*arguments: str) -> "subprocess.CompletedProcess[str]":
    """Runs the real program."""
    return subprocess.run([sys.executable, "-m", "holepunch", *arguments], capture_output=True, text=True, check=False)


def test_the_table_says_who_can_reach_us() -> None:
    with stun_server(SERVER, OTHER) as server:
        done = holepunch("probe", "--stun", server, "--stun", DEAD)
    assert (done.returncode, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    assert lines[0] == "Peers can reach you directly: all of them."
    assert "none: the world sees this machine's own address" in done.stdout
    assert any(line.startswith(DEAD) and "no answer" in line for line in lines)
    assert all(line == line.rstrip() for line in lines)


def test_json_has_one_object() -> None:
    with stun_server(SERVER, OTHER) as server:
        done = holepunch("probe", "--stun", server, "--json", "--classic")
    report = json.loads(done.stdout)
    assert done.returncode == 0
    assert report["families"][0]["nat"]["mapping"] == "none"
    assert report["families"][0]["classic"]["nat_type"] == "Open Internet"


@pytest.mark.parametrize("flags", [(), ("--json",)], ids=["table", "json"])
def test_silence_ends_with_status_6_and_a_hint(flags: tuple[str, ...]) -> None:
    done = holepunch("probe", "--stun", DEAD, *flags)
    assert done.returncode == 6
    assert done.stderr.splitlines() == [
        "holepunch: none of 1 STUN servers answered",
        "  hint: UDP may be blocked here; try a server on another port: --stun HOST:443, or `holepunch doctor`.",
    ]
    assert (json.loads(done.stdout)["reach"] == "relay") if flags else (done.stdout == "")


def test_no_server_at_all_ends_with_status_6(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOLEPUNCH_STUN", "")
    assert holepunch("probe").returncode == 6


def test_the_help_is_complete() -> None:
    text = holepunch("probe", "--help").stdout
    assert all(flag in text for flag in ("--stun", "--json", "--lifetime", "--classic", "Exit status"))


def text_of(family: FamilyReport) -> dict[str, str]:
    return dict(rows(family))


@pytest.mark.parametrize(
    ("mapping", "filtering", "name"),
    [
        (Mapping.NONE, Filtering.ENDPOINT_INDEPENDENT, "open Internet"),
        (Mapping.NONE, STRICT, "stateful firewall"),
        (Mapping.NONE, Filtering.UNKNOWN, ""),
        (EI, Filtering.ENDPOINT_INDEPENDENT, "full-cone NAT"),
        (EI, Filtering.ADDRESS_DEPENDENT, "restricted-cone NAT"),
        (EI, STRICT, "port-restricted-cone NAT"),
        (EI, Filtering.UNKNOWN, "cone NAT"),
        (AD, STRICT, "symmetric NAT"),
        (APD, Filtering.ENDPOINT_INDEPENDENT, "symmetric NAT"),
        (Mapping.UNKNOWN, Filtering.UNKNOWN, ""),
    ],
)
def test_the_old_names_are_told_too(mapping: Mapping, filtering: Filtering, name: str) -> None:
    nat = NatReport(mapping=mapping, filtering=filtering)
    assert known_as(nat) == name
    assert text_of(family_report(nat))["known as"] == name


@pytest.mark.parametrize("mapping", list(Mapping))
@pytest.mark.parametrize("filtering", list(Filtering))
@pytest.mark.parametrize("allocation", list(Allocation))
def test_there_are_words_for_everything(mapping: Mapping, filtering: Filtering, allocation: Allocation) -> None:
    nat = NatReport(mapping=mapping, filtering=filtering, allocation=allocation, port_delta=-2, port_low=5, port_high=9)
    family = family_report(nat)
    assert reach_sentence(family.reach).endswith(".")
    assert explain(family)
    labels = [label for label, _ in rows(family)]
    assert labels == [label for label, _ in rows(family_report(NatReport()))], "columns of two families are one table"
    ports = text_of(family)["outer ports"]
    assert bool(ports) == (mapping is not Mapping.NONE)


def test_ports_are_described() -> None:
    def ports(allocation: Allocation, delta: int = 0) -> str:
        nat = NatReport(mapping=APD, allocation=allocation, port_delta=delta, port_low=10, port_high=90)
        return text_of(family_report(nat))["outer ports"]

    assert ports(Allocation.PRESERVING) == "the same as inside"
    assert ports(Allocation.SEQUENTIAL, 2) == "one after the other, up by 2"
    assert ports(Allocation.SEQUENTIAL, -1) == "one after the other, down by 1"
    assert ports(Allocation.BLOCK) == "from a block; 10 to 90 were seen"
    assert ports(Allocation.RANDOM) == "at random; 10 to 90 were seen"


def test_an_idle_port_is_described() -> None:
    def idle(lifetime: LifetimeFound | None) -> str:
        return text_of(family_report(NatReport(mapping=EI), lifetime=lifetime))["an idle port lives"]

    assert idle(None) == ""
    assert idle(LifetimeFound(28, 32)) == "28 to 32 s"
    assert idle(LifetimeFound(0, 5)) == "less than 5 s"
    assert idle(LifetimeFound(300, 0)) == "longer than 300 s"
    assert idle(LifetimeFound(0, 0, "the server is deaf")) == "not measured: the server is deaf"


def test_hops_and_opinions_are_described() -> None:
    family = family_report(NatReport(mapping=EI))
    hops = HopsMeasured(hops=2, method="icmp", is_open=False, path_length=9, routers=(), elapsed=0.1)

    def with_hops(hops: HopsMeasured) -> str:
        return text_of(replace(family, found=replace(family.found, hops=hops)))["hops out of our NATs"]

    assert with_hops(hops) == "2 (told by ICMP)"
    assert with_hops(replace(hops, method="reply")) == "2 (told by answers that came in)"
    assert with_hops(replace(hops, hops=0)) == "not known"
    assert with_hops(replace(hops, hops=0, is_open=True)) == "nothing filters, so nothing was to be measured"
    opinion = ClassicOpinion(nat_type="Full Cone", external=("192.0.2.1", 5))
    assert text_of(replace(family, classic=opinion))["pystun3 says"] == "Full Cone, 192.0.2.1:5"
    failed = ClassicOpinion(failure="no opinion after 20 s")
    assert text_of(replace(family, classic=failed))["pystun3 says"] == "nothing: no opinion after 20 s"


def test_what_else_is_odd_is_noted() -> None:
    family = family_report(NatReport(mapping=EI))
    assert notes(family) == []
    odd = MappingVerdict(mapping=EI, is_exact=False, dissenting=(("192.0.2.9", 3478),))
    assert "192.0.2.9:3478 sees us elsewhere" in notes(replace(family, found=replace(family.found, mapping=odd)))[0]
    pool = replace(family, found=replace(family.found, outer_hosts=("192.0.2.1", "192.0.2.2")))
    assert notes(pool) == ["IPv4: there are 2 outer addresses: 192.0.2.1, 192.0.2.2."]
    vague = MappingVerdict(mapping=APD, is_exact=False)
    hard = family_report(NatReport(mapping=APD))
    assert "no more than address-dependent" in notes(replace(hard, found=replace(hard.found, mapping=vague)))[0]
    answer = replace(family.found.servers[0], mapped=("100.64.3.4", 5))
    assert "a carrier's" in notes(replace(family, found=replace(family.found, servers=(answer,))))[0]


@pytest.mark.parametrize("early", list(EarlyPacket))
def test_an_early_packet_is_described_unless_unknown(early: EarlyPacket) -> None:
    family = family_report(NatReport(mapping=EI))
    text = text_of(replace(family, found=replace(family.found, early_packet=early)))["a packet that comes early"]
    assert bool(text) == (early is not EarlyPacket.UNKNOWN)


def test_each_reach_has_a_sentence() -> None:
    assert len({reach_sentence(reach) for reach in Reach}) == len(Reach)
