"""Envelopes: what a mediator carries, and everything that is not one."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holepunch.errors import WireError
from holepunch.proto.envelope import HEADER_LENGTH, MAX_BODY, Envelope, Kind, decode_envelope

envelopes = st.builds(
    Envelope,
    kind=st.sampled_from(Kind),
    session=st.binary(min_size=16, max_size=16),
    id=st.binary(min_size=16, max_size=16),
    recipient=st.binary(min_size=32, max_size=32),
    expires=st.integers(0, 2**64 - 1),
    body=st.binary(max_size=MAX_BODY),
)
PLAIN = Envelope(
    kind=Kind.INVITE, session=b"s" * 16, id=b"i" * 16, recipient=b"r" * 32, expires=1_700_000_000, body=b"b"
)


@given(envelopes)
def test_an_envelope_survives_the_wire(envelope: Envelope) -> None:
    assert decode_envelope(envelope.encode()) == envelope


@given(st.binary(max_size=200))
def test_any_bytes_are_an_envelope_or_a_wire_error(data: bytes) -> None:
    try:
        envelope = decode_envelope(data)
    except WireError:
        return
    assert envelope.encode() == data


@given(envelopes, st.data())
def test_a_damaged_envelope_is_refused_or_is_another_one(envelope: Envelope, data: st.DataObject) -> None:
    bits = bytearray(envelope.encode())
    bits[data.draw(st.integers(0, len(bits) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    try:
        decoded = decode_envelope(bytes(bits))
    except WireError:
        return
    assert decoded != envelope


@given(envelopes, st.data())
def test_an_envelope_that_was_cut_is_refused(envelope: Envelope, data: st.DataObject) -> None:
    whole = envelope.encode()
    with pytest.raises(WireError):
        decode_envelope(whole[: data.draw(st.integers(0, len(whole) - 1))])


def test_the_header_has_the_length_that_the_protocol_says() -> None:
    assert len(PLAIN.header()) == HEADER_LENGTH - 2  # and two bytes of the body's length
    assert len(PLAIN.encode()) == HEADER_LENGTH + 1


def test_a_body_that_is_too_long_is_refused_with_both_numbers() -> None:
    data = replace(PLAIN, body=bytes(MAX_BODY + 1)).encode()
    with pytest.raises(WireError, match=f"{MAX_BODY + 1} bytes, expected no more than {MAX_BODY}"):
        decode_envelope(data)


def test_bytes_after_the_end_are_refused() -> None:
    with pytest.raises(WireError, match="follow the end"):
        decode_envelope(PLAIN.encode() + b"x")


@pytest.mark.parametrize(
    ("at", "value", "said"), [(0, 0, "HP"), (2, 2, "version is 2"), (3, 0, "0 is not"), (3, 5, "5")]
)
def test_another_format_version_or_kind_is_refused_by_name(at: int, value: int, said: str) -> None:
    data = bytearray(PLAIN.encode())
    data[at] = value
    with pytest.raises(WireError, match=said):
        decode_envelope(bytes(data))


def test_the_body_is_no_part_of_the_header() -> None:
    assert PLAIN.header() == replace(PLAIN, body=b"another").header()


def test_an_envelope_has_the_bytes_that_the_protocol_says() -> None:
    expected = b"HP" + b"\x01" + b"\x01" + b"s" * 16 + b"i" * 16 + b"r" * 32 + (1_700_000_000).to_bytes(8) + b"\0\1b"
    assert PLAIN.encode() == expected
    assert {kind.name: kind.value for kind in Kind} == {"INVITE": 1, "ACCEPT": 2, "UPDATE": 3, "PAIR": 4}
