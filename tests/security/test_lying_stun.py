"""STUN servers that lie: what they can make us offer, believe, and send."""

import pytest

from holepunch.proto.candidate import Candidate, CandidateKind
from holepunch.proto.events import StunAnswered
from holepunch.proto.gather import (
    KEEPALIVE,
    MappingChanged,
)
from holepunch.proto.machine import Address
from holepunch.proto.nat import Mapping
from holepunch.proto.stun.attributes import Attribute, encode_mapped_address
from holepunch.proto.stun.message import Message, MessageClass, decode_message

from ..proto.gathering import OUTER, SERVERS, Bench, says

LIAR = SERVERS[0]
VICTIM: Address = ("9.9.9.9", 53)


def test_a_liar_adds_a_candidate_and_takes_none_away() -> None:
    bench = Bench(lambda server, _local, tid: says(VICTIM if server == LIAR else OUTER, tid)).start()
    found = [c.address for c in bench.gatherer.candidates if c.kind is CandidateKind.SERVER_REFLEXIVE]
    assert sorted(found) == [OUTER, VICTIM]


def test_a_liar_that_changes_its_mind_takes_none_away_either() -> None:
    bench = Bench().start(1.0)
    lies = iter(range(1, 1000))
    bench.answer = lambda server, _local, tid: says(("9.9.9.9", next(lies)) if server == LIAR else OUTER, tid)
    bench.gatherer.keep_alive(bench.now)
    bench.run(300.0)
    assert OUTER in [c.address for c in bench.gatherer.candidates]
    assert len(bench.of(MappingChanged)) <= 300 / KEEPALIVE
    assert len([c for c in bench.gatherer.candidates if c.kind is CandidateKind.SERVER_REFLEXIVE]) <= 2


@pytest.mark.parametrize(
    "claim",
    [
        ("0.0.0.0", 5),
        ("224.0.0.1", 5),
        ("255.255.255.255", 5),
        ("192.0.2.1", 5),
        ("240.1.1.1", 5),
        ("45.0.0.1", 0),
        ("2600::7", 5),
        ("ff02::1", 5),
    ],
)
def test_an_address_that_nobody_can_have_is_not_believed(claim: Address) -> None:
    bench = Bench(lambda _server, _local, tid: says(claim, tid)).start()
    assert [candidate.kind for candidate in bench.gatherer.candidates] == [CandidateKind.HOST]
    assert not bench.of(StunAnswered)


@pytest.mark.parametrize("change", ["id", "source", "socket"])
def test_an_answer_with_another_id_or_from_another_source_is_ignored(change: str) -> None:
    bench = Bench(lambda *_: None)
    bench.gatherer.start(bench.now)
    bench.run(0.0)
    _, transmit = bench.sent[0]
    transaction_id = decode_message(transmit.data).transaction_id
    response = says(VICTIM, bytes(12) if change == "id" else transaction_id)
    source = ("46.0.0.9", 3478) if change == "source" else transmit.remote
    bench.gatherer.receive_datagram(response, source, bench.now, 1 if change == "socket" else transmit.local)
    assert not bench.gatherer.answered
    bench.gatherer.receive_datagram(says(OUTER, transaction_id), transmit.remote, bench.now, transmit.local)
    assert bench.gatherer.answered


@pytest.mark.parametrize("length", [4, 500, 60_000])
def test_huge_and_strange_attributes_are_passed_over(length: int) -> None:
    bench = Bench(lambda _server, _local, tid: says(OUTER, tid, (0x8022, bytes(length)), (0xC0DE, bytes(4)))).start()
    assert Candidate(CandidateKind.SERVER_REFLEXIVE, OUTER) in bench.gatherer.candidates


def test_errors_and_junk_are_no_answers() -> None:
    def answer(server: Address, _local: int, transaction_id: bytes) -> bytes | None:
        if server == SERVERS[0]:
            return Message(message_class=MessageClass.ERROR, transaction_id=transaction_id).encode()
        return b"\x01\x01\x00\x10" + b"\x21\x12\xa4\x42" + transaction_id + b"junk" if server == SERVERS[1] else None

    bench = Bench(answer).start()
    assert not bench.gatherer.answered
    assert bench.gatherer.is_done


def test_another_address_is_asked_where_there_is_one_server_only() -> None:
    other = ("46.0.0.77", 3479)

    def answer(_server: Address, _local: int, transaction_id: bytes) -> bytes | None:
        return says(OUTER, transaction_id, (Attribute.OTHER_ADDRESS, encode_mapped_address(other)))

    bench = Bench(answer, servers=SERVERS[:1]).start()
    assert bench.asked() == [SERVERS[0], other]
    assert bench.gatherer.report.mapping is Mapping.ENDPOINT_INDEPENDENT
    assert set(Bench(answer).start().asked()) == set(SERVERS)


@pytest.mark.parametrize("other", [("127.0.0.1", 22), ("192.168.1.1", 53), ("224.0.0.1", 9), ("46.0.0.2", 0)])
def test_a_server_cannot_send_us_into_our_own_network(other: Address) -> None:
    def answer(_server: Address, _local: int, transaction_id: bytes) -> bytes | None:
        return says(OUTER, transaction_id, (Attribute.OTHER_ADDRESS, encode_mapped_address(other)))

    bench = Bench(answer, servers=SERVERS[:1]).start()
    assert set(bench.asked()) == {SERVERS[0]}


def test_a_chain_of_other_addresses_ends_after_one() -> None:
    def answer(server: Address, _local: int, transaction_id: bytes) -> bytes | None:
        following = (f"46.0.0.{int(server[0].rpartition('.')[2]) + 1}", 3478)
        return says(OUTER, transaction_id, (Attribute.OTHER_ADDRESS, encode_mapped_address(following)))

    bench = Bench(answer, servers=SERVERS[:1]).start()
    assert len(set(bench.asked())) == 2
