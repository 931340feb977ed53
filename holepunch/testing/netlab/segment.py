"""One network of the wire: routes, hops, and what befalls a packet between two ports.

Pure: packets and the current time go in, and packets with the time they are due come out.  The wire
(holepunch.testing.netlab.wire) reads, waits and writes.
"""

import ipaddress
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random

from .conditions import Conditions
from .packet import decrease_ttl, fragments, is_icmp_error, is_well_formed, may_fragment, time_exceeded, too_big
from .usernat import UserNat

# Routes already looked up; a scan of the address space must not grow the table without bound.
_ROUTE_CACHE = 16384

Network = ipaddress.IPv4Network | ipaddress.IPv6Network


@dataclass(slots=True, eq=False)
class Port:
    """Where a router is attached to a segment."""

    name: str
    networks: list[Network]
    """What is reached through this port, and may come from it."""
    conditions: Conditions | None = None
    """In place of the segment's, for what leaves or enters here."""
    blocked: bool = False
    """Whether the cable is pulled."""
    nat: UserNat | None = None
    """What translates there, between the router and the segment."""
    last_due: float = 0.0
    """When the latest packet towards this port is due, so that jitter keeps the order."""
    counts: Counter[str] = field(default_factory=Counter)
    """Packets by fate: in, out, lost, duplicated, no-route, spoofed, expired, too-big, blocked, malformed, and `link`
    for those that concern the link only, as the kernel's listener reports do."""


Schedule = Callable[[float, Port, bytearray], None]


class Segment:
    """A network of point-to-point attachments with a few hops in the middle.

    Args:
        conditions: what befalls packets where neither end says otherwise.
        hops: the addresses (IPv4, IPv6) of the routers that a packet passes from any port to any other; each takes
            one from its TTL and answers with an ICMP error when nothing is left.
        schedule: called with the time a packet is due, the port it leaves by, and the packet.
        random: where chance comes from.
    """

    def __init__(
        self, conditions: Conditions, hops: list[tuple[bytes, bytes]], schedule: Schedule, random: Random
    ) -> None:
        self.conditions = conditions
        self._hops = hops
        self._schedule = schedule
        self._random = random.random
        self._routes: list[tuple[Network, Port]] = []
        self._cache: dict[bytes, Port | None] = {}
        self._allowed: set[tuple[Port, bytes]] = set()

    def attach(self, port: Port) -> None:
        """Adds a port; longer prefixes win over shorter ones."""
        self._routes += [(network, port) for network in port.networks]
        self._routes.sort(key=lambda route: -route[0].prefixlen)
        self._cache.clear()
        self._allowed.clear()

    def detach(self, port: Port) -> None:
        """Removes a port."""
        self._routes = [route for route in self._routes if route[1] is not port]
        self._cache.clear()
        self._allowed.clear()

    def receive(self, port: Port, packet: bytearray, now: float) -> None:
        """Takes a packet that came in by a port."""
        port.counts["in"] += 1
        if not is_well_formed(packet):
            port.counts["malformed"] += 1
            return
        if packet[0] >> 4 == 4:
            source, target, ttl = bytes(packet[12:16]), bytes(packet[16:20]), packet[8]
        else:
            source, target, ttl = bytes(packet[8:24]), bytes(packet[24:40]), packet[7]
        # BCP 38: a site's packets carry the site's addresses, so a NAT that leaks is seen.
        if (port, source) not in self._allowed:
            if not self._is_from(port, source):
                port.counts["link" if _is_for_the_link(source, target) else "spoofed"] += 1
                return
            self._allowed.add((port, source))
        try:
            out = self._cache[target]
        except KeyError:
            out = self._look_up(target)
        if out is None:
            port.counts["no-route"] += 1
            return
        if port.blocked or out.blocked:
            port.counts["blocked"] += 1
            return
        conditions = port.conditions or out.conditions or self.conditions
        if conditions.loss and self._random() < conditions.loss:
            port.counts["lost"] += 1
            return
        hops = self._hops
        if ttl <= len(hops):
            port.counts["expired"] += 1
            self._expire(port, packet, max(ttl, 1), conditions, now)
            return
        if hops:
            decrease_ttl(packet, len(hops))
        if len(packet) > conditions.mtu:
            self._shrink(port, out, packet, conditions, now)
            return
        self._send(out, packet, conditions, now)

    def _send(self, out: Port, packet: bytearray, conditions: Conditions, now: float) -> None:
        chance = self._random
        copies = 1
        if conditions.duplicate and chance() < conditions.duplicate:
            out.counts["duplicated"] += 1
            copies = 2
        for copy in range(copies):
            if copy:
                packet = packet[:]  # a NAT at the far end writes into its own
            if conditions.reorder and chance() < conditions.reorder:
                self._schedule(now + conditions.delay / 2, out, packet)
                continue
            due = now + conditions.delay
            if conditions.jitter:
                due = max(due + chance() * conditions.jitter, out.last_due)
                out.last_due = due
            self._schedule(due, out, packet)

    def _expire(self, port: Port, packet: bytearray, hop: int, conditions: Conditions, now: float) -> None:
        """Answers a packet whose TTL ended at the hop of that number, 1 being the nearest."""
        if not is_icmp_error(packet):
            router = self._hops[hop - 1][packet[0] >> 4 == 6]
            there_and_back = 2 * conditions.delay * hop / (len(self._hops) + 1)
            self._schedule(now + there_and_back, port, time_exceeded(packet, router))

    def _shrink(self, port: Port, out: Port, packet: bytearray, conditions: Conditions, now: float) -> None:
        """Cuts a packet that is too big for the way, or says so to its sender."""
        if may_fragment(packet):
            for fragment in fragments(packet, conditions.mtu):
                self._send(out, fragment, conditions, now)
            return
        port.counts["too-big"] += 1
        if self._hops and not is_icmp_error(packet):
            router = self._hops[0][packet[0] >> 4 == 6]
            self._schedule(now + conditions.delay / 2, port, too_big(packet, router, conditions.mtu))

    def _look_up(self, target: bytes) -> Port | None:
        address = ipaddress.ip_address(target)
        if len(self._cache) >= _ROUTE_CACHE:
            self._cache.clear()
        found = next((port for network, port in self._routes if address in network), None)
        self._cache[target] = found
        return found

    def _is_from(self, port: Port, source: bytes) -> bool:
        if len(self._allowed) >= _ROUTE_CACHE:
            self._allowed.clear()
        address = ipaddress.ip_address(source)
        return any(address in network for network in port.networks)


def _is_for_the_link(source: bytes, target: bytes) -> bool:
    """Tells whether a packet is for the link only: IPv6 multicast, or from an unspecified or link-local address."""
    return len(source) == 16 and (target[0] == 0xFF or not any(source) or source[:2] == b"\xfe\x80")
