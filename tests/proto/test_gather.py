"""Gathering, played against STUN servers that answer, are silent, late, or moved."""

import random
from itertools import pairwise

import pytest

from holepunch.proto.candidate import Candidate, CandidateKind, Interface
from holepunch.proto.events import CandidateFound, Gathered
from holepunch.proto.gather import (
    GRACE,
    KEEPALIVE,
    KEEPALIVE_JITTER,
    MAX_SERVERS,
    Gatherer,
    GatherFailed,
    MappingChanged,
)
from holepunch.proto.machine import Address
from holepunch.proto.nat import Allocation, Mapping

from .gathering import HERE, HERE_6, OUTER, RTT, SERVERS, Answer, Bench, honest, says


def test_host_and_server_reflexive_candidates_are_found_best_first() -> None:
    bench = Bench().start()
    assert bench.gatherer.candidates == [
        Candidate(CandidateKind.HOST, ("192.168.1.2", 4000)),
        Candidate(CandidateKind.SERVER_REFLEXIVE, OUTER),
    ]
    assert [event.kind for event in bench.of(CandidateFound) if isinstance(event, CandidateFound)] == [
        "host",
        "server-reflexive",
    ]


def test_all_servers_are_asked_at_once_from_one_socket() -> None:
    bench = Bench().start()
    assert [(at, transmit.remote, transmit.local) for at, transmit in bench.sent] == [
        (100.0, server, 0) for server in SERVERS
    ]


def test_it_ends_as_soon_as_all_have_answered() -> None:
    bench = Bench().start()
    (gathered,) = bench.of(Gathered)
    assert isinstance(gathered, Gathered)
    assert gathered.elapsed == pytest.approx(RTT)
    assert gathered.mapping == "endpoint-independent"


def test_one_dead_server_costs_a_moment_of_grace() -> None:
    bench = Bench(lambda server, local, tid: None if server == SERVERS[2] else honest(server, local, tid)).start()
    (gathered,) = bench.of(Gathered)
    assert isinstance(gathered, Gathered)
    assert gathered.elapsed == pytest.approx(RTT + GRACE)


def test_silent_servers_cost_three_seconds_and_no_more() -> None:
    bench = Bench(lambda *_: None).start()
    (gathered,) = bench.of(Gathered)
    assert isinstance(gathered, Gathered)
    assert gathered.elapsed == pytest.approx(3.0)
    assert gathered.mapping == "unknown"
    assert not bench.gatherer.answered
    assert [candidate.kind for candidate in bench.gatherer.candidates] == [CandidateKind.HOST]


def test_without_servers_there_are_host_candidates_at_once() -> None:
    bench = Bench(servers=[]).start()
    (gathered,) = bench.of(Gathered)
    assert isinstance(gathered, Gathered)
    assert gathered.elapsed == 0.0
    assert len(bench.gatherer.candidates) == 1


def test_no_more_than_four_servers_of_a_family_are_asked() -> None:
    bench = Bench(servers=[(f"46.0.0.{number}", 3478) for number in range(1, 20)]).start()
    assert len(set(bench.asked())) == MAX_SERVERS


def test_each_family_has_a_socket_of_its_own_and_servers_of_its_own() -> None:
    bench = Bench(interfaces=[HERE, HERE_6], servers=[*SERVERS, ("2606::1", 3478)])

    def answer(server: Address, local: int, transaction_id: bytes) -> bytes | None:
        return says(("2600::2", 4000) if local == 1 else OUTER, transaction_id)

    bench.answer = answer
    bench.start()
    assert {(transmit.local, ":" in transmit.remote[0]) for _, transmit in bench.sent} == {(0, False), (1, True)}
    assert Candidate(CandidateKind.HOST, ("2600::2", 4000)) in bench.gatherer.candidates
    assert len(bench.gatherer.candidates) == 3


def test_a_machine_without_an_address_fails_in_words() -> None:
    bench = Bench(interfaces=[]).start()
    (failed,) = bench.of(GatherFailed)
    assert isinstance(failed, GatherFailed)
    assert "no interface" in failed.reason


def test_a_socket_that_cannot_be_opened_is_done_without_and_the_last_one_is_not() -> None:
    gatherer = Gatherer([], [HERE, HERE_6], random.Random(1).randbytes, measures_hops=False)
    gatherer.start(0.0)
    gatherer.socket_failed(0, "in use", 0.0)
    gatherer.socket_opened(1, ("::", 4000), 0.0)
    assert gatherer.is_done
    other = Gatherer([], [HERE], random.Random(1).randbytes, measures_hops=False)
    other.start(0.0)
    other.socket_failed(0, "in use", 0.0)
    events = []
    while (event := other.next_event()) is not None:
        events.append(event)
    assert isinstance(events[-1], GatherFailed)
    assert events[-1].reason == "in use"


def test_a_bound_address_is_the_only_one_offered() -> None:
    bench = Bench(interfaces=[HERE, Interface("10.0.0.9", 24), HERE_6], options={"bind_host": "10.0.0.9"}).start()
    hosts = [c.address[0] for c in bench.gatherer.candidates if c.kind is CandidateKind.HOST]
    assert hosts == ["10.0.0.9"]


# What the answers say of the NAT.


def by_server(ports: dict[Address, int]) -> Answer:
    """Each server sees another port."""
    return lambda server, _local, tid: says(("45.0.0.1", ports[server]), tid)


SAME_HOST: list[Address] = [("46.0.0.1", 3478), ("46.0.0.1", 3479), ("46.0.0.2", 3478)]


@pytest.mark.parametrize(
    ("servers", "ports", "mapping"),
    [
        (SERVERS, (40000, 40000, 40000), Mapping.ENDPOINT_INDEPENDENT),
        (SERVERS, (40000, 40001, 40002), Mapping.ADDRESS_AND_PORT_DEPENDENT),
        (SERVERS, (40000, 40000, 41000), Mapping.ADDRESS_AND_PORT_DEPENDENT),
        (SAME_HOST, (40000, 40000, 41000), Mapping.ADDRESS_DEPENDENT),
        (SAME_HOST, (40000, 40001, 41000), Mapping.ADDRESS_AND_PORT_DEPENDENT),
        (SERVERS[:1], (40000,), Mapping.UNKNOWN),
    ],
)
def test_answers_that_differ_tell_the_mapping(servers: list[Address], ports: tuple[int, ...], mapping: Mapping) -> None:
    bench = Bench(by_server(dict(zip(servers, ports, strict=True))), servers=servers).start()
    report = bench.gatherer.report
    assert report.mapping is mapping
    assert (report.port_low, report.port_high) == (min(ports), max(ports))


def test_a_machine_with_a_global_address_has_no_nat() -> None:
    bench = Bench(
        lambda _server, _local, tid: says(("45.0.0.1", 4000), tid), interfaces=[Interface("45.0.0.1", 24)]
    ).start()
    assert bench.gatherer.report.mapping is Mapping.NONE
    assert bench.gatherer.candidates == [Candidate(CandidateKind.HOST, ("45.0.0.1", 4000))]


def test_a_port_that_is_kept_is_noted() -> None:
    bench = Bench(lambda _server, _local, tid: says(("45.0.0.1", 4000), tid)).start()
    assert bench.gatherer.report.allocation is Allocation.PRESERVING


# While the offer travels.


def test_the_mapping_is_refreshed_every_12_seconds_by_one_server_after_the_other() -> None:
    bench = Bench().start(1.0)
    bench.gatherer.keep_alive(bench.now)
    began = len(bench.sent)
    bench.run(120.0)
    times = [at for at, _ in bench.sent[began:]]
    gaps = [later - earlier for earlier, later in pairwise(times)]
    assert all(KEEPALIVE - KEEPALIVE_JITTER <= gap <= KEEPALIVE + KEEPALIVE_JITTER for gap in gaps)
    assert len(gaps) >= 8
    assert set(bench.asked()[began:]) == set(SERVERS)


def test_refreshing_stops_when_told() -> None:
    bench = Bench().start(1.0)
    bench.gatherer.keep_alive(bench.now)
    bench.run(30.0)
    bench.gatherer.keep_alive(bench.now, on=False)
    began = len(bench.sent)
    bench.run(60.0)
    assert len(bench.sent) == began


def test_a_mapping_that_moved_is_told_once_when_every_server_has_been_asked_again() -> None:
    bench = Bench().start(1.0)
    moved = ("45.0.0.1", 50000)
    bench.answer = lambda _server, _local, tid: says(moved, tid)
    bench.gatherer.keep_alive(bench.now)
    bench.run(60.0)
    assert len(bench.of(MappingChanged)) == 1
    assert [c.address for c in bench.gatherer.candidates if c.kind is CandidateKind.SERVER_REFLEXIVE] == [moved]
    assert bench.gatherer.report.mapping is Mapping.ENDPOINT_INDEPENDENT


def test_a_server_that_died_meanwhile_does_not_keep_the_old_mapping_alive() -> None:
    bench = Bench().start(1.0)
    moved = ("45.0.0.1", 50000)
    bench.answer = lambda server, _local, tid: None if server == SERVERS[2] else says(moved, tid)
    bench.gatherer.keep_alive(bench.now)
    bench.run(60.0)
    assert [c.address for c in bench.gatherer.candidates if c.kind is CandidateKind.SERVER_REFLEXIVE] == [moved]
    assert len(bench.of(MappingChanged)) == 1
