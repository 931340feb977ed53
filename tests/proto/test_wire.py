"""The cursor over bytes: what is written is read, and nothing but WireError comes out of bad bytes."""

import contextlib
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holepunch.errors import WireError
from holepunch.proto.wire import Reader, Writer

READS: list[Callable[[Reader], object]] = [
    Reader.u8,
    Reader.u16,
    Reader.u32,
    Reader.u64,
    Reader.block,
    Reader.text,
    Reader.rest,
    Reader.end,
    lambda reader: reader.take(3),
]


def test_integers_are_big_endian() -> None:
    data = Writer().u8(1).u16(0x0203).u32(0x04050607).u64(0x08090A0B0C0D0E0F).getvalue()
    assert data == bytes(range(1, 16))


@given(st.integers(0, 0xFF), st.integers(0, 0xFFFF), st.integers(0, 0xFFFFFFFF), st.integers(0, 2**64 - 1), st.text())
def test_what_is_written_is_read_in_the_same_order(a: int, b: int, c: int, d: int, text: str) -> None:
    reader = Reader(Writer().u8(a).u16(b).u32(c).u64(d).text(text).raw(b"tail").getvalue())
    assert (reader.u8(), reader.u16(), reader.u32(), reader.u64(), reader.text()) == (a, b, c, d, text)
    assert reader.remaining == 4
    assert reader.rest() == b"tail"
    reader.end()


def test_what_is_left_over_is_an_error_with_its_size() -> None:
    with pytest.raises(WireError, match="2 bytes follow"):
        Reader(b"xy").end()


def test_what_is_missing_is_an_error_with_both_numbers() -> None:
    with pytest.raises(WireError, match="wanted 4 bytes, 3 are left"):
        Reader(b"xyz").u32()


def test_a_failed_read_moves_nothing() -> None:
    reader = Reader(b"xyz")
    with pytest.raises(WireError):
        reader.take(4)
    assert reader.take(3) == b"xyz"


def test_a_negative_length_is_an_error_and_not_a_step_back() -> None:
    reader = Reader(b"xyz")
    reader.u8()
    with pytest.raises(WireError):
        reader.take(-1)


def test_text_that_is_not_utf_8_is_an_error() -> None:
    with pytest.raises(WireError, match="UTF-8"):
        Reader(Writer().block(b"\xff\xfe").getvalue()).text()


@given(st.binary(max_size=64), st.lists(st.sampled_from(READS), max_size=8))
def test_any_reads_of_any_bytes_raise_nothing_but_wire_errors(
    data: bytes, reads: list[Callable[[Reader], object]]
) -> None:
    reader = Reader(data)
    for read in reads:
        with contextlib.suppress(WireError):
            read(reader)
        assert 0 <= reader.remaining <= len(data)
