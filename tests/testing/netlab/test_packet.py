"""Packets of the laboratory's wire: checksums that are kept right, errors that quote, fragments that add up."""

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holepunch.testing.netlab import packet as p

HERE, THERE, HOP = bytes([10, 0, 0, 1]), bytes([11, 2, 3, 4]), bytes([11, 0, 0, 1])
HERE6, HOP6 = bytes.fromhex("3ffe0001000000000000000000000001"), bytes.fromhex("3ffe0000000000000000000000000001")


def udp4(payload: bytes, ttl: int = 64, flags: int = 0) -> bytearray:
    """An IPv4 packet with a UDP datagram."""
    header = p.ipv4_header(HERE, THERE, p.UDP, 8 + len(payload), ttl)
    header[6:8] = flags.to_bytes(2, "big")
    header[10:12] = b"\0\0"
    header[10:12] = p.checksum(header).to_bytes(2, "big")
    return header + struct.pack("!HHHH", 5000, 6000, 8 + len(payload), 0) + payload


def udp6(payload: bytes, ttl: int = 64) -> bytearray:
    """An IPv6 packet with a UDP datagram."""
    return p.ipv6_header(HERE6, HOP6, p.UDP, 8 + len(payload), ttl) + bytes(8) + payload


def test_checksum_is_that_of_rfc_1071() -> None:
    # RFC 1071, section 3: the sum of these is ddf2.
    assert p.checksum(bytes.fromhex("0001f203f4f5f6f7")) == 0xDDF2 ^ 0xFFFF
    assert p.checksum(b"\x01") == 0xFEFF


@given(st.binary(min_size=8, max_size=64).filter(lambda data: len(data) % 2 == 0), st.data())
def test_an_adjusted_checksum_is_the_one_computed_anew(data: bytes, draw: st.DataObject) -> None:
    at = draw.draw(st.integers(0, len(data) // 2 - 2)) * 2
    added = draw.draw(st.binary(min_size=4, max_size=4))
    changed = data[:at] + added + data[at + 4 :]
    mended = p.adjust_checksum(p.checksum(data), data[at : at + 4], added)
    # Ones' complement has two zeros; both verify.
    assert mended % 0xFFFF == p.checksum(changed) % 0xFFFF


@given(st.integers(2, 255), st.data())
def test_a_smaller_ttl_leaves_a_right_header(ttl: int, draw: st.DataObject) -> None:
    packet = udp4(b"x", ttl)
    hops = draw.draw(st.integers(1, ttl - 1))
    p.decrease_ttl(packet, hops)
    assert packet[8] == ttl - hops
    assert p.checksum(packet[:20]) in (0, 0xFFFF)


def test_a_hop_limit_has_no_checksum_to_mend() -> None:
    packet = udp6(b"x", 9)
    p.decrease_ttl(packet, 3)
    assert packet[7] == 6
    assert packet[:7] == udp6(b"x", 9)[:7]


@pytest.mark.parametrize("size", [0, 100, 1400])
def test_an_icmp_error_quotes_the_packet_and_is_well_formed(size: int) -> None:
    packet = udp4(bytes(size))
    error = p.time_exceeded(packet, HOP)
    assert p.is_well_formed(error)
    assert error[12:20] == HOP + HERE
    assert p.checksum(error[:20]) == 0
    assert p.checksum(error[20:]) == 0
    assert tuple(error[20:22]) == (p.ICMP_TIME_EXCEEDED, 0)
    assert error[28:] == packet[: len(error) - 28]
    assert len(error) <= 576
    assert p.is_icmp_error(error)


@pytest.mark.parametrize("size", [0, 100, 1400])
def test_an_icmpv6_error_quotes_the_packet_and_is_well_formed(size: int) -> None:
    packet = udp6(bytes(size))
    error = p.too_big(packet, HOP6, 1280)
    assert p.is_well_formed(error)
    assert error[8:24] == HOP6
    assert error[24:40] == HERE6
    pseudo = error[8:40] + struct.pack("!II", len(error) - 40, p.ICMPV6)
    assert p.checksum(pseudo + error[40:]) == 0
    assert (error[40], int.from_bytes(error[44:48], "big")) == (p.ICMPV6_TOO_BIG, 1280)
    assert len(error) <= 1280
    assert p.is_icmp_error(error)


def test_no_error_answers_an_error_or_a_later_fragment() -> None:
    assert not p.is_icmp_error(udp4(b"x"))
    assert p.is_icmp_error(udp4(b"x", flags=0x0001))
    echo = p.ipv4_header(HERE, THERE, p.ICMP, 8) + bytes([p.ICMP_ECHO_REQUEST]) + bytes(7)
    assert not p.is_icmp_error(echo)


@given(st.binary(min_size=1, max_size=1400), st.integers(68, 600))
def test_fragments_add_up_to_the_packet(payload: bytes, mtu: int) -> None:
    packet = udp4(payload)
    pieces = list(p.fragments(packet, mtu))
    body = bytearray()
    for n, piece in enumerate(pieces):
        assert p.is_well_formed(piece)
        assert len(piece) <= mtu
        assert p.checksum(piece[:20]) == 0
        flags = piece[6] << 8 | piece[7]
        assert (flags & 0x1FFF) * 8 == len(body)
        assert bool(flags & 0x2000) == (n < len(pieces) - 1)
        body += piece[20:]
    assert body == packet[20:]


def test_a_fragment_cut_again_keeps_its_place() -> None:
    first, last = p.fragments(udp4(bytes(1000)), 600)
    assert [(piece[6] << 8 | piece[7]) for piece in p.fragments(first, 300)][-1] & 0x2000
    again = [(piece[6] << 8 | piece[7]) for piece in p.fragments(last, 300)]
    assert again[0] & 0x1FFF == (last[6] << 8 | last[7]) & 0x1FFF
    assert not again[-1] & 0x2000


@given(st.binary(max_size=80))
def test_any_bytes_can_be_looked_at(data: bytes) -> None:
    packet = bytearray(data)
    if p.is_well_formed(packet):
        p.is_icmp_error(packet)
        p.may_fragment(packet)


@pytest.mark.parametrize("cut", [1, 8, 19])
def test_a_packet_that_is_not_as_long_as_it_says_is_not_well_formed(cut: int) -> None:
    assert p.is_well_formed(udp4(b"hello"))
    assert not p.is_well_formed(udp4(b"hello")[:-cut])
    assert not p.is_well_formed(udp6(b"hello")[:-cut])
    assert not p.is_well_formed(udp4(b"hello") + b"x")
