"""Offers: fields on the wire, padding, and everything that a malformed one may be."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holepunch.errors import WireError
from holepunch.proto.candidate import MAX_CANDIDATES, Candidate, CandidateKind
from holepunch.proto.envelope import MAX_BODY
from holepunch.proto.nat import Mapping, NatReport
from holepunch.proto.offer import PADDED_LENGTH, Carry, Offer, OfferType, decode_offer, encode_offer
from holepunch.proto.wire import Writer

hosts = st.one_of(st.ip_addresses(v=4), st.ip_addresses(v=6)).map(str)
candidates = st.builds(Candidate, st.sampled_from(CandidateKind), st.tuples(hosts, st.integers(0, 65535)))
printable = st.text(
    st.characters(codec="utf-8", categories=["L", "N", "P", "Zs"], exclude_characters="\xa0"), max_size=40
)
offers = st.builds(
    Offer,
    type=st.sampled_from(OfferType),
    sender=st.binary(min_size=32, max_size=32),
    created=st.integers(0, 2**64 - 1),
    header=st.binary(max_size=16),
    round=st.integers(0, 255),
    candidates=st.lists(candidates, max_size=MAX_CANDIDATES).map(tuple),
    report=st.builds(NatReport, mapping=st.sampled_from(Mapping), hops=st.integers(0, 255)),
    carry=st.sampled_from(Carry),
    keeps_socket=st.booleans(),
    started=st.booleans(),
    answer=st.booleans(),
    latency=st.integers(0, 0xFFFF).map(lambda tenths: tenths / 10),
    fingerprint=st.sampled_from([b"", bytes(32)]),
    reason=printable.filter(str.isprintable),
)
PLAIN = Offer(type=OfferType.INVITE, sender=bytes(32), created=1_700_000_000)


def field(tag: int, value: bytes) -> bytes:
    """One field as it is on the wire."""
    return Writer().u8(tag).block(value).getvalue()


@given(offers)
def test_an_offer_survives_the_wire(offer: Offer) -> None:
    assert decode_offer(encode_offer(offer)) == offer


@given(offers)
def test_its_length_tells_nothing_but_a_multiple_of_256(offer: Offer) -> None:
    assert len(encode_offer(offer)) % PADDED_LENGTH == 0
    assert len(encode_offer(offer)) <= MAX_BODY / 4


@given(st.binary(max_size=400))
def test_any_bytes_are_an_offer_or_a_wire_error(data: bytes) -> None:
    try:
        offer = decode_offer(data)
    except WireError:
        return
    assert isinstance(offer, Offer)


@given(offers, st.data())
def test_a_damaged_offer_is_an_offer_or_a_wire_error(offer: Offer, data: st.DataObject) -> None:
    bits = bytearray(encode_offer(offer))
    for _ in range(data.draw(st.integers(1, 4))):
        bits[data.draw(st.integers(0, len(bits) - 1))] = data.draw(st.integers(0, 255))
    try:
        decoded = decode_offer(bytes(bits))
    except WireError:
        return
    assert len(decoded.candidates) <= MAX_CANDIDATES
    assert decoded.reason.isprintable()


@given(offers, st.integers(12, 255), st.binary(max_size=40))
def test_a_field_of_a_later_version_is_passed_over(offer: Offer, tag: int, value: bytes) -> None:
    assert decode_offer(field(tag, value) + encode_offer(offer)) == offer


def test_a_field_that_comes_twice_is_refused() -> None:
    with pytest.raises(WireError, match="field 3 comes twice"):
        decode_offer(encode_offer(PLAIN) + field(3, bytes(8)))


@pytest.mark.parametrize(("tag", "name"), [(1, "TYPE"), (2, "SENDER"), (3, "CREATED")])
def test_a_field_that_every_offer_has_may_not_be_missing(tag: int, name: str) -> None:
    fields = {1: b"\1", 2: bytes(32), 3: bytes(8)}
    del fields[tag]
    with pytest.raises(WireError, match=f"has no {name}"):
        decode_offer(b"".join(field(each, value) for each, value in fields.items()))


@pytest.mark.parametrize(
    ("tag", "value"),
    [
        (1, b"\5"),
        (1, b"\1\1"),
        (1, b""),
        (2, bytes(31)),
        (3, bytes(7)),
        (5, b""),
        (6, b"\0\4\0\1"),
        (6, b"\7\4\0\1" + bytes(4)),
        (7, bytes(15)),
        (8, b"\1\1"),
        (9, b"\1"),
        (10, bytes(31)),
    ],
)
def test_a_field_of_the_wrong_length_or_value_is_refused(tag: int, value: bytes) -> None:
    fields = {1: b"\1", 2: bytes(32), 3: bytes(8), tag: value}
    with pytest.raises(WireError):
        decode_offer(b"".join(field(each, content) for each, content in fields.items()))


def test_more_than_16_candidates_are_not_even_kept() -> None:
    many = tuple(Candidate(CandidateKind.HOST, ("45.0.0.1", port)) for port in range(1, 100))
    listed = b"".join(field(6, b"\0\4" + port.to_bytes(2) + bytes([45, 0, 0, 1])) for port in range(1, 100))
    assert decode_offer(encode_offer(PLAIN) + listed).candidates == many[:MAX_CANDIDATES]
    assert decode_offer(encode_offer(replace(PLAIN, candidates=many))).candidates == many[:MAX_CANDIDATES]


@pytest.mark.parametrize("reason", ["\x1b[2Jgone", "a\nb", "\u202egone", "\x00"])
def test_nothing_in_a_reason_moves_the_readers_cursor(reason: str) -> None:
    shown = decode_offer(encode_offer(replace(PLAIN, reason=reason))).reason
    assert shown.isprintable()
    assert len(shown) == len(reason)


def test_a_long_reason_is_cut_and_stays_text() -> None:
    shown = decode_offer(encode_offer(replace(PLAIN, reason="ü" * 500))).reason
    assert shown.startswith("ü" * 99)
    assert len(shown) <= 200


def test_an_offer_without_a_word_on_it_has_the_plain_values() -> None:
    offer = decode_offer(field(1, b"\1") + field(2, bytes(32)) + field(3, bytes(8)))
    assert offer == Offer(type=OfferType.INVITE, sender=bytes(32), created=0)


def test_an_offer_has_the_bytes_that_the_protocol_says() -> None:
    offer = replace(
        PLAIN,
        type=OfferType.UPDATE,
        header=b"h" * 16,
        round=2,
        candidates=(Candidate(CandidateKind.SERVER_REFLEXIVE, ("192.0.2.1", 0x1234)),),
        report=NatReport(mapping=Mapping.ENDPOINT_INDEPENDENT, hops=3),
        carry=Carry.SEALED,
        keeps_socket=True,
        started=True,
        answer=True,
        latency=1.5,
        fingerprint=b"f" * 32,
        reason="x",
    )
    fields = [
        field(1, b"\x03"),
        field(2, bytes(32)),
        field(3, (1_700_000_000).to_bytes(8)),
        field(4, b"h" * 16),
        field(5, b"\x02"),
        field(8, b"\x0f"),
        field(9, b"\x00\x0f"),
        field(10, b"f" * 32),
        field(11, b"x"),
        field(7, b"\x02\0\0" + bytes(7) + b"\x03" + bytes(5)),
        field(6, b"\x02\x04\x12\x34\xc0\x00\x02\x01"),
    ]
    data = b"".join(fields)
    assert encode_offer(offer) == data + field(0, bytes(256 - len(data) - 3))
    assert {kind.name: kind.value for kind in OfferType} == {"INVITE": 1, "ACCEPT": 2, "UPDATE": 3, "BYE": 4}
