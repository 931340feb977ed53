"""IP packets as the wire and the user-space NAT see them: TTL, checksums, ICMP errors, fragments.

A packet is a bytearray that begins with its IP header (RFC 791, RFC 8200), as a TUN device gives it.
"""

import socket
import struct
from collections.abc import Iterator

from ...proto.machine import Address

ICMP, TCP, UDP, ICMPV6 = 1, 6, 17, 58
ICMP_UNREACHABLE, ICMP_TIME_EXCEEDED, ICMP_PARAMETER_PROBLEM = 3, 11, 12
ICMP_ERRORS = frozenset({ICMP_UNREACHABLE, ICMP_TIME_EXCEEDED, ICMP_PARAMETER_PROBLEM})
ICMP_FRAGMENTATION_NEEDED = 4  # code of ICMP_UNREACHABLE
ICMPV6_TOO_BIG, ICMPV6_TIME_EXCEEDED = 2, 3
ICMP_ECHO_REPLY, ICMP_ECHO_REQUEST = 0, 8

_DONT_FRAGMENT, _MORE_FRAGMENTS = 0x4000, 0x2000
# RFC 1812, 4.3.2.3: an ICMP error carries as much of the datagram as fits 576 bytes; RFC 4443, 2.4 (c): 1280.
_ICMP_SIZE, _ICMPV6_SIZE = 576, 1280
_ERROR_TTL = 64


def _sum(data: bytes | bytearray | memoryview) -> int:
    words: tuple[int, ...] = struct.unpack(f"!{len(data) // 2}H", data)
    return sum(words)


def checksum(data: bytes | bytearray | memoryview) -> int:
    """Returns the internet checksum (RFC 1071) of data; 0 over data that carries a right one."""
    if len(data) % 2:
        data = bytes(data) + b"\0"
    total = _sum(data)
    total = (total & 0xFFFF) + (total >> 16)
    return ~(total + (total >> 16)) & 0xFFFF


def adjust_checksum(old: int, removed: bytes | bytearray, added: bytes | bytearray) -> int:
    """Returns a checksum after some of the bytes it covers were replaced (RFC 1624, equation 3).

    Args:
        old: the checksum as it was.
        removed: an even number of bytes, at an even place, as they were.
        added: as many bytes, as they are now.
    """
    # The sum of the complements of n words is n * 0xFFFF less their sum.
    total = (~old & 0xFFFF) + len(removed) // 2 * 0xFFFF - _sum(removed) + _sum(added)
    total = (total & 0xFFFF) + (total >> 16)
    return ~(total + (total >> 16)) & 0xFFFF


def is_well_formed(packet: bytearray) -> bool:
    """Tells whether a packet has a whole IPv4 or IPv6 header and the length it claims."""
    if len(packet) >= 20 and packet[0] >> 4 == 4:
        return (packet[0] & 15) * 4 >= 20 and packet[2] << 8 | packet[3] == len(packet)
    return len(packet) >= 40 and packet[0] >> 4 == 6 and (packet[4] << 8 | packet[5]) + 40 == len(packet)


def decrease_ttl(packet: bytearray, hops: int) -> None:
    """Takes hops from the TTL or hop limit of a packet, which must have more, and mends the header checksum."""
    if packet[0] >> 4 == 4:
        packet[8] -= hops
        # The TTL is the high byte of its word, so the ones' complement sum falls by hops << 8.
        total = (packet[10] << 8 | packet[11]) + (hops << 8)
        total = (total & 0xFFFF) + (total >> 16)
        packet[10], packet[11] = total >> 8, total & 0xFF
    else:
        packet[7] -= hops


def ipv4_header(source: bytes, target: bytes, protocol: int, length: int, ttl: int = _ERROR_TTL) -> bytearray:
    """Returns an IPv4 header of 20 bytes in front of length bytes."""
    header = bytearray(struct.pack("!BBHHHBBH4s4s", 0x45, 0, 20 + length, 0, 0, ttl, protocol, 0, source, target))
    header[10:12] = checksum(header).to_bytes(2, "big")
    return header


def ipv6_header(source: bytes, target: bytes, protocol: int, length: int, ttl: int = _ERROR_TTL) -> bytearray:
    """Returns an IPv6 header of 40 bytes in front of length bytes."""
    return bytearray(struct.pack("!IHBB16s16s", 0x60000000, length, protocol, ttl, source, target))


def udp_datagram(source: Address, target: Address, data: bytes) -> bytearray:
    """Returns an IPv4 packet with a UDP datagram, without the UDP checksum that RFC 768 leaves to the sender."""
    header = struct.pack("!HHHH", source[1], target[1], 8 + len(data), 0)
    addresses = socket.inet_aton(source[0]), socket.inet_aton(target[0])
    return ipv4_header(*addresses, UDP, len(header) + len(data)) + header + data


def is_icmp_error(packet: bytearray) -> bool:
    """Tells whether a packet is an ICMP error or a later fragment, which no error may answer (RFC 1122, 3.2.2)."""
    if packet[0] >> 4 == 4:
        start = (packet[0] & 15) * 4
        if (packet[6] & 0x1F) << 8 | packet[7]:
            return True
        return packet[9] == ICMP and len(packet) > start and packet[start] in ICMP_ERRORS
    return packet[6] == ICMPV6 and len(packet) > 40 and packet[40] < 128


def time_exceeded(packet: bytearray, router: bytes) -> bytearray:
    """Returns the ICMP time exceeded error with which a router answers a packet.

    Args:
        packet: what ran out of TTL.
        router: the router's address, 4 or 16 bytes, of the packet's family.
    """
    if packet[0] >> 4 == 4:
        return _icmp_error(packet, router, ICMP_TIME_EXCEEDED, 0, 0)
    return _icmpv6_error(packet, router, ICMPV6_TIME_EXCEEDED, 0)


def too_big(packet: bytearray, router: bytes, mtu: int) -> bytearray:
    """Returns the ICMP error that says a packet may be mtu bytes at most (RFC 1191, RFC 8201)."""
    if packet[0] >> 4 == 4:
        return _icmp_error(packet, router, ICMP_UNREACHABLE, ICMP_FRAGMENTATION_NEEDED, mtu)
    return _icmpv6_error(packet, router, ICMPV6_TOO_BIG, mtu)


def _icmp_error(packet: bytearray, router: bytes, kind: int, code: int, rest: int) -> bytearray:
    body = bytearray(struct.pack("!BBHI", kind, code, 0, rest)) + packet[: _ICMP_SIZE - 28]
    body[2:4] = checksum(body).to_bytes(2, "big")
    return ipv4_header(router, bytes(packet[12:16]), ICMP, len(body)) + body


def _icmpv6_error(packet: bytearray, router: bytes, kind: int, rest: int) -> bytearray:
    target = bytes(packet[8:24])
    body = bytearray(struct.pack("!BBHI", kind, 0, 0, rest)) + packet[: _ICMPV6_SIZE - 48]
    # RFC 8200, 8.1: the checksum covers a pseudo-header of addresses, length and protocol.
    pseudo = router + target + struct.pack("!II", len(body), ICMPV6)
    body[2:4] = checksum(pseudo + body).to_bytes(2, "big")
    return ipv6_header(router, target, ICMPV6, len(body)) + body


def may_fragment(packet: bytearray) -> bool:
    """Tells whether a router may cut this packet: IPv4 without the don't-fragment flag."""
    return packet[0] >> 4 == 4 and not packet[6] & (_DONT_FRAGMENT >> 8)


def fragments(packet: bytearray, mtu: int) -> Iterator[bytearray]:
    """Cuts an IPv4 packet into packets of at most mtu bytes (RFC 791, 3.2); options are kept in each."""
    start = (packet[0] & 15) * 4
    flags = packet[6] << 8 | packet[7]
    base, more = flags & 0x1FFF, flags & _MORE_FRAGMENTS
    step = (mtu - start) // 8 * 8
    for offset in range(0, len(packet) - start, step):
        body = packet[start + offset : start + offset + step]
        last = start + offset + step >= len(packet)
        header = packet[:start]
        header[2:4] = (start + len(body)).to_bytes(2, "big")
        header[6:8] = (base + offset // 8 | (more if last else _MORE_FRAGMENTS)).to_bytes(2, "big")
        header[10:12] = b"\0\0"
        header[10:12] = checksum(header).to_bytes(2, "big")
        yield header + body
