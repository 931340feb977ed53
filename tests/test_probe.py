"""The probe on real sockets of loopback: both families, several servers, and none."""

import json
import socket

import pytest

from holepunch.errors import ConfigurationError, NetworkError
from holepunch.net.classic import ClassicOpinion
from holepunch.probe import FamilyReport, ProbeReport, Reach, probe, reach_of
from holepunch.proto.nat import Filtering, Mapping, NatReport
from holepunch.proto.stun.behaviour import Step, StepBegun
from holepunch.proto.stun.classify import classify_allocation, classify_mapping
from holepunch.proto.stun.findings import BehaviourFound, ServerAnswer
from holepunch.proto.stun.lifetime import LifetimeFound
from tests.stunning import stun_server

SERVER, OTHER, DEAD = "127.83.86.1", "127.83.86.2", "127.83.86.3:3478"
EI, AD, APD = Mapping.ENDPOINT_INDEPENDENT, Mapping.ADDRESS_DEPENDENT, Mapping.ADDRESS_AND_PORT_DEPENDENT


def family_report(
    nat: NatReport, *, family: int = 4, answered: bool = True, lifetime: LifetimeFound | None = None
) -> FamilyReport:
    """Makes up what a probe found."""
    server, mapped = ("192.0.2.1", 3478), ("198.51.100.7", 40000)
    answer = ServerAnswer(server=server, mapped=mapped, other=("192.0.2.2", 3479), rtt=0.02)
    if not answered:
        answer = ServerAnswer(server=server, failure="no answer to 4 requests")
    found = BehaviourFound(
        family=family,
        inner_port=40000,
        nat=nat,
        servers=(answer,),
        mapping=classify_mapping(40000, {server: mapped}),
        allocation=classify_allocation([]),
        seen={server: mapped},
    )
    return FamilyReport(family=family, source="192.168.1.2", found=found, lifetime=lifetime)


async def test_both_families_are_probed_at_once() -> None:
    steps = []
    with stun_server(SERVER, OTHER) as four, stun_server("::1", port=34786) as six:
        report = await probe([four, six, DEAD], on_event=lambda family, event: steps.append((family, event)))
    assert [family.family for family in report.families] == [4, 6]
    assert report.answered
    four_report, six_report = report.families
    assert (four_report.found.nat.mapping, four_report.found.nat.filtering) == (
        Mapping.NONE,
        Filtering.ENDPOINT_INDEPENDENT,
    )
    assert (six_report.found.nat.mapping, six_report.found.nat.filtering) == (Mapping.NONE, Filtering.UNKNOWN)
    assert (four_report.reach, six_report.reach, report.reach) == (Reach.EVERYONE, Reach.MOST, Reach.EVERYONE)
    assert [bool(answer.failure) for answer in four_report.found.servers] == [False, True]
    for family in (4, 6):
        assert (family, StepBegun(Step.FILTERING)) in steps


async def test_every_field_is_in_the_json() -> None:
    with stun_server(SERVER, OTHER) as server:
        report = await probe([server], classic=True)
    fields = json.loads(json.dumps(report.to_json()))
    (family,) = fields["families"]
    assert fields["reach"] == family["reach"] == "everyone"
    assert family["outer"] == f"127.0.0.1:{family['inner_port']}"
    assert family["preserves_port"] is True
    assert family["nat"]["mapping"] == "none"
    assert family["servers"][0]["server"] == f"{SERVER}:3478"
    assert family["servers"][0]["other"] == f"{OTHER}:3479"
    assert len(family["samples"]) == 10
    assert len(family["seen"]) == 4
    assert family["hops"]["is_open"] is True
    assert family["classic"]["nat_type"] == "Open Internet"
    assert family["lifetime"] is None


async def test_a_name_without_an_address_is_reported_beside_the_rest() -> None:
    with stun_server(SERVER) as server:
        report = await probe([server, "no.such.name.invalid"])
    assert report.answered
    ((name, reason),) = report.unresolved
    assert name == "no.such.name.invalid"
    assert "no address" in reason


async def test_silence_is_no_error_but_a_report_without_answers() -> None:
    report = await probe([DEAD])
    assert not report.answered
    assert report.reach is Reach.RELAY
    assert report.families[0].reach is Reach.RELAY
    assert report.to_json()["families"][0]["outer"] is None


async def test_without_servers_there_is_nothing_to_ask() -> None:
    with pytest.raises(NetworkError, match="no STUN server") as failure:
        await probe([])
    assert "--stun" in failure.value.hint
    with pytest.raises(NetworkError, match="has an address"):
        await probe(["no.such.name.invalid"])
    with pytest.raises(ConfigurationError):
        await probe(["127.0.0.1:99999"])


async def test_a_server_may_answer_on_any_port_that_a_person_names() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as free:
        free.bind((SERVER, 0))
        port = free.getsockname()[1]
    with stun_server(SERVER, port=port) as server:
        report = await probe([server])
    assert report.families[0].found.servers[0].server == (SERVER, port)


@pytest.mark.parametrize(
    ("mapping", "filtering", "reach"),
    [
        (Mapping.NONE, Filtering.ENDPOINT_INDEPENDENT, Reach.EVERYONE),
        (Mapping.NONE, Filtering.ADDRESS_AND_PORT_DEPENDENT, Reach.MOST),
        (EI, Filtering.ENDPOINT_INDEPENDENT, Reach.EVERYONE),
        (EI, Filtering.ADDRESS_DEPENDENT, Reach.MOST),
        (EI, Filtering.UNKNOWN, Reach.MOST),
        (AD, Filtering.ENDPOINT_INDEPENDENT, Reach.SOME),
        (APD, Filtering.ADDRESS_AND_PORT_DEPENDENT, Reach.SOME),
        (Mapping.UNKNOWN, Filtering.UNKNOWN, Reach.UNKNOWN),
    ],
)
def test_who_can_reach_us(mapping: Mapping, filtering: Filtering, reach: Reach) -> None:
    assert reach_of(NatReport(mapping=mapping, filtering=filtering)) is reach


def test_the_reach_is_that_of_ipv4_unless_only_ipv6_answers() -> None:
    hard, easy = NatReport(mapping=APD), NatReport(mapping=Mapping.NONE)
    four, six = family_report(hard), family_report(easy, family=6)
    assert ProbeReport(families=(four, six), unresolved=(), elapsed=1.0).reach is Reach.SOME
    silent = family_report(NatReport(), answered=False)
    assert ProbeReport(families=(silent, six), unresolved=(), elapsed=1.0).reach is Reach.MOST
    assert ProbeReport(families=(silent,), unresolved=(), elapsed=1.0).reach is Reach.RELAY


def test_a_classic_failure_is_plain_json() -> None:
    report = family_report(NatReport(mapping=EI), lifetime=LifetimeFound(28.0, 32.0))
    fields = report.to_json()
    assert fields["lifetime"] == {"alive": 28.0, "dead": 32.0, "failure": ""}
    assert fields["classic"] is None
    assert ClassicOpinion(failure="x").nat_type == ""
