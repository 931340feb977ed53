"""A NAT in user space, for what nftables cannot do; it sits on the wire, at the outer side of a router.

What is mapped to what is decided by the simulator's table (holepunch.testing.simnet.table), one for
each protocol; here are only the packets: reading endpoints, writing others, mending checksums
(RFC 3022, RFC 5508).  IPv6 passes as it is.  Fragments are dropped, as such NATs often do.
"""

import socket
from collections import Counter
from random import Random

from ...proto.machine import Address
from ..simnet.behaviour import Behaviour, Unsolicited
from ..simnet.table import Table
from .packet import (
    ICMP,
    ICMP_ECHO_REPLY,
    ICMP_ECHO_REQUEST,
    ICMP_ERRORS,
    TCP,
    UDP,
    adjust_checksum,
    checksum,
    is_well_formed,
)

# RFC 5382, REQ-5: a TCP connection that is open may not be forgotten before 2 hours and 4 minutes.
_TCP_OPENING, _TCP_OPEN = 240.0, 7440.0
_SOURCE, _TARGET = 12, 16  # offsets in an IPv4 header
_CHECKSUM_AT = {UDP: 6, TCP: 16}
_SHORTEST = {UDP: 8, TCP: 20, ICMP: 8}


class UserNat:
    """Translates the IPv4 packets of one site.

    Args:
        behaviour: of UDP; TCP and echo are mapped alike, but nothing that is unsolicited harms them.
        outer: the only outer address.
        random: the luck of its port allocation.
    """

    def __init__(self, behaviour: Behaviour, outer: str, random: Random) -> None:
        self._outer = outer
        self._hairpin = behaviour.hairpin
        gentle = behaviour.but(unsolicited=Unsolicited.DROP)
        lasting = gentle.but(unreplied_timeout=_TCP_OPENING, stream_timeout=_TCP_OPEN)
        self._tables = {
            UDP: Table(behaviour, (outer,), random),
            TCP: Table(lasting, (outer,), random),
            ICMP: Table(gentle, (outer,), random),
        }
        self.counts: Counter[str] = Counter()
        """Packets dropped: `unsolicited`, `fragment`, `unknown` (protocol, or an error about no flow), `full`."""

    def flows(self, now: float) -> int:
        """Returns how many flows it remembers."""
        return sum(table.alive(now) for table in self._tables.values())

    def flush(self) -> None:
        """Forgets everything."""
        for table in self._tables.values():
            table.flush()

    def outgoing(self, packet: bytearray, now: float) -> tuple[bytearray | None, bool]:
        """Translates a packet from inside, in place.

        Returns:
            The packet, or None where it is dropped; and whether it goes back inside (hairpin).
        """
        if not packet or packet[0] >> 4 != 4:
            return packet, False
        protocol, start = self._examine(packet)
        if not start:
            return None, False
        if protocol == ICMP and packet[start] in ICMP_ERRORS:
            return self._error_out(packet, start, now), False
        remote = _endpoint(packet, _TARGET, protocol, start)
        own = remote[0] == self._outer
        if own and not self._hairpin:
            self.counts["hairpin"] += 1
            return None, False
        outer = self._tables[protocol].outbound(_endpoint(packet, _SOURCE, protocol, start), remote, now)
        if outer is None:
            self.counts["full"] += 1
            return None, False
        _rewrite(packet, _SOURCE, protocol, start, outer)
        return (self.incoming(packet, now), True) if own else (packet, False)

    def incoming(self, packet: bytearray, now: float) -> bytearray | None:
        """Translates a packet from outside, in place; None where it is dropped."""
        if not packet or packet[0] >> 4 != 4:
            return packet
        protocol, start = self._examine(packet)
        if not start:
            return None
        if protocol == ICMP and packet[start] in ICMP_ERRORS:
            return self._error_in(packet, start, now)
        outer, remote = _endpoint(packet, _TARGET, protocol, start), _endpoint(packet, _SOURCE, protocol, start)
        table = self._tables[protocol]
        inner = table.inbound(outer, remote, now)
        if inner is None:
            table.suffer(outer, remote, now)
            self.counts["unsolicited"] += 1
            return None
        _rewrite(packet, _TARGET, protocol, start, inner)
        return packet

    def _examine(self, packet: bytearray) -> tuple[int, int]:
        """Returns the protocol and where its header starts; 0 where the packet cannot be translated."""
        if not is_well_formed(packet):
            self.counts["malformed"] += 1
            return 0, 0
        protocol, start = packet[9], (packet[0] & 15) * 4
        if (packet[6] & 0x3F) << 8 | packet[7]:
            self.counts["fragment"] += 1
            return protocol, 0
        if len(packet) < start + _SHORTEST.get(protocol, 1 << 16):
            self.counts["unknown"] += 1
            return protocol, 0
        if protocol == ICMP and packet[start] not in ICMP_ERRORS | {ICMP_ECHO_REQUEST, ICMP_ECHO_REPLY}:
            self.counts["unknown"] += 1
            return protocol, 0
        return protocol, start

    def _error_in(self, packet: bytearray, start: int, now: float) -> bytearray | None:
        """An ICMP error about a packet we sent quotes its outer source: the inside host must see its own."""
        quoted = self._quoted(packet, start)
        if quoted is None:
            return None
        protocol, sender, target = quoted
        inner = self._tables[protocol].inner_of(sender, target, now)
        if inner is None:
            self.counts["unknown"] += 1
            return None
        _rewrite_error(packet, start, _TARGET, inner)
        return packet

    def _error_out(self, packet: bytearray, start: int, now: float) -> bytearray | None:
        """An ICMP error from inside quotes an inside target, and may come from a router there (RFC 5508, REQ-5)."""
        quoted = self._quoted(packet, start)
        if quoted is None:
            return None
        protocol, sender, target = quoted
        outer = self._tables[protocol].outer_of(target, sender, now)
        if outer is None:
            self.counts["unknown"] += 1
            return None
        _rewrite_error(packet, start, _SOURCE, outer)
        return packet

    def _quoted(self, packet: bytearray, start: int) -> tuple[int, Address, Address] | None:
        """Returns the protocol, sender and target of the packet that an ICMP error quotes."""
        inside = packet[start + 8 :]
        protocol = inside[9] if len(inside) >= 28 else 0
        if protocol not in self._tables:
            self.counts["unknown"] += 1
            return None
        length = (inside[0] & 15) * 4
        if len(inside) < length + 8:
            self.counts["unknown"] += 1
            return None
        return protocol, _endpoint(inside, _SOURCE, protocol, length), _endpoint(inside, _TARGET, protocol, length)


def _port_offset(side: int, protocol: int) -> int:
    """Returns where the port is in the protocol's header; an echo's identifier stands for both ports."""
    if protocol == ICMP:
        return 4
    return 0 if side == _SOURCE else 2


def _endpoint(packet: bytearray, side: int, protocol: int, start: int) -> Address:
    if protocol == ICMP and side == _TARGET and packet[start] == ICMP_ECHO_REQUEST:
        port = 0  # an echo is answered by a host, whatever the identifier
    elif protocol == ICMP and side == _SOURCE and packet[start] == ICMP_ECHO_REPLY:
        port = 0
    else:
        place = start + _port_offset(side, protocol)
        port = packet[place] << 8 | packet[place + 1]
    return socket.inet_ntoa(packet[side : side + 4]), port


def _write_host(packet: bytearray, side: int, host: str) -> tuple[bytearray, bytes]:
    """Writes an address into an IPv4 header; returns what was there, and what is now."""
    old, new = packet[side : side + 4], socket.inet_aton(host)
    packet[side : side + 4] = new
    packet[10:12] = adjust_checksum(packet[10] << 8 | packet[11], old, new).to_bytes(2, "big")
    return old, new


def _rewrite(packet: bytearray, side: int, protocol: int, start: int, endpoint: Address) -> None:
    """Writes an endpoint into a packet and mends both checksums."""
    old, new = _write_host(packet, side, endpoint[0])
    place = start + _port_offset(side, protocol)
    old_port, new_port = packet[place : place + 2], endpoint[1].to_bytes(2, "big")
    packet[place : place + 2] = new_port
    if protocol == ICMP:
        at, removed, added = start + 2, old_port, new_port  # no pseudo-header
    else:
        at, removed, added = start + _CHECKSUM_AT[protocol], old + old_port, new + new_port
    sum_before = packet[at] << 8 | packet[at + 1]
    if protocol == UDP and not sum_before:
        return  # RFC 768: the sender computed none
    mended = adjust_checksum(sum_before, removed, added)
    packet[at : at + 2] = (mended or (0xFFFF if protocol == UDP else 0)).to_bytes(2, "big")


def _rewrite_error(packet: bytearray, start: int, side: int, endpoint: Address) -> None:
    """Writes the host at one side of an ICMP error, and the endpoint at the other side of the packet it quotes."""
    _write_host(packet, side, endpoint[0])
    quoted_side = _SOURCE if side == _TARGET else _TARGET
    quoted = packet[start + 8 :]
    length, protocol = (quoted[0] & 15) * 4, quoted[9]
    _write_host(quoted, quoted_side, endpoint[0])
    place = length + _port_offset(quoted_side, protocol)
    # The quoted checksum of TCP or UDP is left: senders match on endpoints, and often half the packet is missing.
    quoted[place : place + 2] = endpoint[1].to_bytes(2, "big")
    packet[start + 8 :] = quoted
    packet[start + 2 : start + 4] = b"\0\0"
    packet[start + 2 : start + 4] = checksum(packet[start:]).to_bytes(2, "big")
