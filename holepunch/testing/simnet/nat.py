"""A box between two networks: a router that translates, filters, or does both (RFC 4787, RFC 6092)."""

from random import Random

from ...errors import ConfigurationError
from ...proto.nat import Mapping
from .behaviour import Behaviour, Unsolicited
from .clock import Clock
from .network import Attachment, Network
from .packet import PORT_UNREACHABLE, TIME_EXCEEDED, IcmpCode, Packet, Quote
from .table import Counters, Table
from .trace import Trace


class Nat:
    """A NAT or a firewall; for a family without a behaviour it is a plain router.

    A packet from inside with a TTL of 1 dies here without leaving a mapping, as on Linux, where a
    flow that is not forwarded is not remembered.
    """

    def __init__(
        self, name: str, clock: Clock, rng: Random, ipv4: Behaviour | None, ipv6: Behaviour | None = None
    ) -> None:
        """Makes a box that is not plugged in yet.

        Args:
            name: for the trace.
            clock: virtual time.
            rng: the luck of its port allocation.
            ipv4: how it treats IPv4; None forwards.
            ipv6: how it treats IPv6; None forwards.  A firewall (Mapping.NONE) is usual.
        """
        self.name = name
        self.trace: Trace | None = None
        self._clock = clock
        self._rng = rng
        self._behaviours = (ipv4, ipv6)
        self._tables: list[Table | None] = [None, None]
        self._outer: Attachment | None = None
        self._inner: Attachment | None = None
        self._outer_hosts: frozenset[str] = frozenset()

    def plug_outer(self, attachment: Attachment) -> None:
        """Says where outside is; its addresses are the pool of the NAT."""
        self._outer = attachment
        self._outer_hosts = frozenset(attachment.hosts)
        for ipv6, behaviour in enumerate(self._behaviours):
            if behaviour is not None:
                pool = tuple(host for host in attachment.hosts if (":" in host) == bool(ipv6))
                self._tables[ipv6] = Table(behaviour, pool, self._rng)

    def plug_inner(self, attachment: Attachment) -> None:
        """Says where inside is."""
        self._inner = attachment

    @property
    def outer(self) -> Attachment:
        """Its place on the outer network."""
        if self._outer is None:
            raise ConfigurationError(f"{self.name} has no outer network")
        return self._outer

    @property
    def inner(self) -> Attachment:
        """Its place on the inner network."""
        if self._inner is None:
            raise ConfigurationError(f"{self.name} has no inner network")
        return self._inner

    @property
    def inside(self) -> Network:
        """The network behind it."""
        return self.inner.network

    def table(self, *, ipv6: bool = False) -> Table:
        """Returns the table of a family that it translates or filters."""
        table = self._tables[ipv6]
        if table is None:
            raise ConfigurationError(f"{self.name} only forwards IPv{6 if ipv6 else 4}")
        return table

    def translates(self, *, ipv6: bool = False) -> bool:
        """Tells whether it changes the addresses of a family, rather than only filters or forwards."""
        behaviour = self._behaviours[ipv6]
        return behaviour is not None and behaviour.mapping is not Mapping.NONE

    def counters(self, *, ipv6: bool = False) -> Counters:
        """Returns what it has done in one family; zeros where it only forwards."""
        table = self._tables[ipv6]
        return Counters() if table is None else table.counters

    def reboot(self) -> None:
        """Loses every mapping."""
        for table in self._tables:
            if table is not None:
                table.flush()

    def receive(self, attachment: Attachment, packet: Packet) -> None:
        """Takes a packet from one side, and forwards it to the other or drops it."""
        if packet.icmp is not None:
            self._receive_icmp(attachment, packet, packet.icmp)
        elif attachment is self._outer:
            self._receive_outside(packet)
        else:
            self._receive_inside(packet)

    def _receive_inside(self, packet: Packet) -> None:
        table = self._tables[packet.is_ipv6]
        own = packet.dst[0] in self._outer_hosts or packet.dst[0] in self.inner.hosts
        if own and (table is None or not table.behaviour.hairpin):
            self._refuse(packet, self.inner, packet.dst[0], "hairpin refused")
            return
        if packet.ttl <= 1:
            self._expire(packet, self.inner)
            return
        packet.ttl -= 1
        if table is None:
            self.outer.send(packet)
            return
        outer = table.outbound(packet.src, packet.dst, self._clock.now)
        if outer is None:
            self._note("refused: table full", packet)
            return
        packet.src = outer
        if own:
            table.counters.hairpinned += 1
            self._deliver(packet, table, packet.ttl)
        else:
            self._note("out", packet)
            self.outer.send(packet)

    def _receive_outside(self, packet: Packet) -> None:
        table = self._tables[packet.is_ipv6]
        if table is None or table.behaviour.mapping is Mapping.NONE:
            if packet.dst[0] in self._outer_hosts:
                self._refuse(packet, self.outer, packet.dst[0], "for the router itself")
            elif packet.ttl <= 1:  # looked at before the filter, as on Linux
                self._expire(packet, self.outer)
            elif table is not None and table.inbound(packet.dst, packet.src, self._clock.now) is None:
                self._note("unsolicited", packet)
            else:
                packet.ttl -= 1
                self._note("in", packet)
                self.inner.send(packet)
        else:
            self._deliver(packet, table, packet.ttl - 1)

    def _deliver(self, packet: Packet, table: Table, ttl: int) -> None:
        """Forwards a packet for an outer endpoint to whoever has it; `ttl` is what it has left."""
        now = self._clock.now
        inner = table.inbound(packet.dst, packet.src, now) if packet.dst[0] in self._outer_hosts else None
        if inner is None:
            table.suffer(packet.dst, packet.src, now)
            if table.behaviour.unsolicited is Unsolicited.CLASH:
                self._refuse(packet, self.outer, packet.dst[0], "unsolicited: now ours")
            else:
                self._note("unsolicited", packet)
        elif ttl < 1:
            self._expire(packet, self.outer)
        else:
            packet.dst, packet.ttl = inner, ttl
            self._note("in", packet)
            self.inner.send(packet)

    def _receive_icmp(self, attachment: Attachment, packet: Packet, quote: Quote) -> None:
        """Translates an ICMP error and what it quotes (RFC 5508, section 4)."""
        table, now = self._tables[packet.is_ipv6], self._clock.now
        code, sender, target = quote.code, quote.sender, quote.target
        if packet.ttl <= 1:
            self._note("TTL ran out", packet)
            return
        packet.ttl -= 1
        if attachment is self._outer:
            if table is not None:
                inner = table.inner_of(sender, target, now)
                if inner is None:
                    self._note("error about no flow", packet)
                    return
                packet.dst, packet.icmp = inner, Quote(code, inner, target)
            self.inner.send(packet)
            return
        if table is not None:
            outer = table.outer_of(target, sender, now)
            if outer is None:
                self._note("error about no flow", packet)
                return
            # The error of the host itself gets the host's outer address; one of a router in between
            # gets it too, as its own means nothing outside (RFC 5508, REQ-5).
            packet.src, packet.icmp = (outer[0], 0), Quote(code, sender, outer)
        self.outer.send(packet)

    def _expire(self, packet: Packet, towards: Attachment) -> None:
        self._note("TTL ran out", packet)
        self._answer(packet, towards, TIME_EXCEEDED, towards.host(packet.is_ipv6))

    def _refuse(self, packet: Packet, towards: Attachment, source: str, why: str) -> None:
        self._note(why, packet)
        self._answer(packet, towards, PORT_UNREACHABLE, source)

    def _answer(self, packet: Packet, towards: Attachment, code: IcmpCode, source: str | None) -> None:
        error = packet.error(code, source) if source is not None else None
        if error is not None:
            towards.send(error)

    def _note(self, what: str, packet: Packet) -> None:
        if self.trace is not None:
            self.trace.note(self._clock.now, self.name, what, packet)
