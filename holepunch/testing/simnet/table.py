"""A NAT's memory: flows, the mappings they belong to, and what may come in.

A *flow* is one 5-tuple (inner endpoint, outer endpoint, remote endpoint) with its own timer, as a
Linux conntrack entry is.  A *mapping* is the flows that share an outer endpoint by RFC 4787's rule;
it lives as long as one of them.  A flow without an inner endpoint belongs to the router itself: it
is what an unsolicited packet leaves behind on a NAT that clashes.
"""

from dataclasses import dataclass
from random import Random

from ...proto.machine import Address
from ...proto.nat import Filtering, Mapping
from .allocator import Allocator
from .behaviour import STREAM_AGE, Behaviour, Unsolicited

_SWEEP_INTERVAL = 1.0  # seconds between removals of dead flows


@dataclass(slots=True)
class Counters:
    """What a NAT has done."""

    packets_out: int = 0
    """From inside to outside, translated."""
    packets_in: int = 0
    """From outside to inside, let in."""
    unsolicited: int = 0
    """From outside, and not let in."""
    created: int = 0
    """Flows ever made: new 5-tuples."""
    peak: int = 0
    """Most flows alive at once; dead ones count for up to a second more."""
    refused: int = 0
    """Packets from inside dropped because the table or the ports were used up."""
    spoiled: int = 0
    """Mappings that an unsolicited packet removed (strict)."""
    clashes: int = 0
    """Flows of inside hosts given another port because the router had taken theirs."""
    hairpinned: int = 0
    """Packets from inside to inside by an outer endpoint."""


class Flow:
    """One 5-tuple."""

    __slots__ = ("born", "expires", "from_outside", "inner", "mapping", "outer", "remote", "replied")

    def __init__(self, inner: Address | None, outer: Address, remote: Address, now: float, expires: float) -> None:
        self.inner = inner
        self.outer = outer
        self.remote = remote
        self.born = now
        self.expires = expires
        self.from_outside = False
        """Whether its first packet came from outside, so that one from inside is the answer."""
        self.replied = False
        self.mapping: MappingEntry | None = None


class MappingEntry:
    """The flows of one inner endpoint that share an outer one."""

    __slots__ = ("flows", "hosts", "inner", "key")

    def __init__(self, key: tuple[object, ...], inner: Address) -> None:
        self.key = key
        self.inner = inner
        self.flows: dict[Address, Flow] = {}
        """By remote endpoint, oldest first."""
        self.hosts: dict[str, float] = {}
        """Until when each remote host may send, for address-dependent filtering."""

    def newest(self, now: float) -> Flow | None:
        """Returns the youngest live flow, whose outer endpoint the next flow will share."""
        for flow in reversed(self.flows.values()):
            if flow.expires > now:
                return flow
        return None


class Table:
    """The translation table of one NAT, or of one firewall, for one address family."""

    def __init__(self, behaviour: Behaviour, pool: tuple[str, ...], rng: Random) -> None:
        """Starts empty; `pool` are the outer addresses, of which a firewall has none."""
        self.behaviour = behaviour
        self.counters = Counters()
        self._allocator = Allocator(behaviour, pool, rng)
        self._by_inner: dict[tuple[Address, Address], Flow] = {}
        self._by_outer: dict[tuple[Address, Address], Flow] = {}
        self._mappings: dict[tuple[object, ...], MappingEntry] = {}
        self._owners: dict[Address, MappingEntry] = {}
        self._unusable: dict[Address, float] = {}
        self._next_sweep = 0.0

    def alive(self, now: float) -> int:
        """Returns how many flows are remembered."""
        return sum(flow.expires > now for flow in self._by_outer.values())

    def outbound(self, inner: Address, remote: Address, now: float) -> Address | None:
        """Returns the outer endpoint for a packet from inside; None: refused."""
        flow = self._by_inner.get((inner, remote))
        if flow is None or flow.expires <= now:
            flow = self._create_outbound(inner, remote, now)
            if flow is None:
                self.counters.refused += 1
                return None
        else:
            flow.replied = flow.replied or flow.from_outside
            self._refresh(flow, now)
        self.counters.packets_out += 1
        return flow.outer

    def inbound(self, outer: Address, remote: Address, now: float) -> Address | None:
        """Returns whom a packet from outside is for; None: nobody, it is unsolicited."""
        flow = self._by_outer.get((outer, remote))
        if flow is not None and flow.expires > now:
            if flow.inner is None:
                flow.expires = now + self.behaviour.unreplied_timeout
                self.counters.unsolicited += 1
                return None
            flow.replied = flow.replied or not flow.from_outside
            if self.behaviour.inbound_refresh:
                self._refresh(flow, now)
            self.counters.packets_in += 1
            return flow.inner
        entry = self._admitting(outer, remote, now)
        if entry is not None:
            self.counters.packets_in += 1
            if self.behaviour.key(entry.inner, remote) == entry.key:
                self._add(entry, outer, remote, now).from_outside = True
            return entry.inner
        self.counters.unsolicited += 1
        return None

    def inner_of(self, outer: Address, remote: Address, now: float) -> Address | None:
        """Returns the inside end of a live flow, for an ICMP error that quotes it."""
        flow = self._by_outer.get((outer, remote))
        return flow.inner if flow is not None and flow.expires > now else None

    def outer_of(self, inner: Address, remote: Address, now: float) -> Address | None:
        """Returns the outside end of a live flow, for an ICMP error that the inside host sends."""
        flow = self._by_inner.get((inner, remote))
        return flow.outer if flow is not None and flow.expires > now else None

    def suffer(self, outer: Address, remote: Address, now: float) -> None:
        """Lets an unsolicited packet do to the NAT what such packets do to it."""
        manner = self.behaviour.unsolicited
        if manner is Unsolicited.CLASH:
            flow = self._by_outer.get((outer, remote))
            if flow is None or flow.expires <= now:
                flow = Flow(None, outer, remote, now, now + self.behaviour.unreplied_timeout)
                self._remember(flow, now)
        elif manner in (Unsolicited.FORGET, Unsolicited.MOVE):
            entry = self._owners.get(outer)
            if entry is not None and entry.newest(now) is not None:
                self.counters.spoiled += 1
                for flow in list(entry.flows.values()):
                    self._forget(flow)
                if manner is Unsolicited.MOVE:
                    self._unusable[outer] = now + self.behaviour.stream_timeout

    def flush(self) -> None:
        """Forgets everything, as a NAT that is rebooted does."""
        for table in (self._by_inner, self._by_outer, self._mappings, self._owners, self._unusable):
            table.clear()

    def _admitting(self, outer: Address, remote: Address, now: float) -> MappingEntry | None:
        """Returns the mapping of an outer endpoint if its filter lets a new remote endpoint in."""
        filtering = self.behaviour.filtering
        if filtering is Filtering.ADDRESS_AND_PORT_DEPENDENT:
            return None
        entry = self._owners.get(outer)
        if entry is None or entry.newest(now) is None:
            return None
        if filtering is Filtering.ADDRESS_DEPENDENT and entry.hosts.get(remote[0], 0.0) <= now:
            return None
        return entry

    def _create_outbound(self, inner: Address, remote: Address, now: float) -> Flow | None:
        if len(self._by_outer) >= self.behaviour.max_entries:
            self._sweep(now)
            if len(self._by_outer) >= self.behaviour.max_entries:
                return None
        key = self.behaviour.key(inner, remote)
        entry = self._mappings.get(key)
        newest = entry.newest(now) if entry is not None else None
        outer: Address | None
        if self.behaviour.mapping is Mapping.NONE:
            outer = inner
        elif newest is not None and self._untaken(newest.outer, remote, now):
            outer = newest.outer
        else:
            port = newest.outer[1] if newest is not None else inner[1]
            outer = self._allocator.allocate(inner, now, lambda endpoint: self._is_free(endpoint, remote, now))
            if outer is not None and self._is_routers((outer[0], port), remote, now):
                self.counters.clashes += 1
        if outer is None:
            return None
        if entry is None or newest is None:
            entry = self._mappings[key] = MappingEntry(key, inner)
        return self._add(entry, outer, remote, now)

    def _add(self, entry: MappingEntry, outer: Address, remote: Address, now: float) -> Flow:
        old = entry.flows.pop(remote, None)  # a dead one: the new flow is the youngest
        if old is not None:
            self._forget(old)
        flow = Flow(entry.inner, outer, remote, now, now + self.behaviour.unreplied_timeout)
        flow.mapping = entry
        entry.flows[remote] = flow
        entry.hosts[remote[0]] = max(entry.hosts.get(remote[0], 0.0), flow.expires)
        self._mappings[entry.key] = entry
        if not self.behaviour.overloading:
            self._owners[outer] = entry
        self._remember(flow, now)
        return flow

    def _remember(self, flow: Flow, now: float) -> None:
        self._by_outer[flow.outer, flow.remote] = flow
        if flow.inner is not None:
            self._by_inner[flow.inner, flow.remote] = flow
        self.counters.created += 1
        if now >= self._next_sweep:
            self._sweep(now)
        self.counters.peak = max(self.counters.peak, len(self._by_outer))

    def _refresh(self, flow: Flow, now: float) -> None:
        stream = flow.replied and now - flow.born > STREAM_AGE
        flow.expires = now + (self.behaviour.stream_timeout if stream else self.behaviour.unreplied_timeout)
        if flow.mapping is not None:
            flow.mapping.hosts[flow.remote[0]] = flow.expires

    def _untaken(self, outer: Address, remote: Address, now: float) -> bool:
        flow = self._by_outer.get((outer, remote))
        return flow is None or flow.expires <= now

    def _is_routers(self, outer: Address, remote: Address, now: float) -> bool:
        flow = self._by_outer.get((outer, remote))
        return flow is not None and flow.inner is None and flow.expires > now

    def _is_free(self, outer: Address, remote: Address, now: float) -> bool:
        if not self._untaken(outer, remote, now) or self._unusable.get(outer, 0.0) > now:
            return False
        if self.behaviour.overloading:
            return True
        owner = self._owners.get(outer)
        return owner is None or owner.newest(now) is None

    def _forget(self, flow: Flow) -> None:
        if self._by_outer.get((flow.outer, flow.remote)) is flow:
            del self._by_outer[flow.outer, flow.remote]
        if flow.inner is not None and self._by_inner.get((flow.inner, flow.remote)) is flow:
            del self._by_inner[flow.inner, flow.remote]
        entry = flow.mapping
        if entry is None:
            return
        if entry.flows.get(flow.remote) is flow:
            del entry.flows[flow.remote]
        if not entry.flows:
            if self._mappings.get(entry.key) is entry:
                del self._mappings[entry.key]
            if self._owners.get(flow.outer) is entry:
                del self._owners[flow.outer]

    def _sweep(self, now: float) -> None:
        self._next_sweep = now + _SWEEP_INTERVAL
        for flow in [flow for flow in self._by_outer.values() if flow.expires <= now]:
            self._forget(flow)
        for outer in [outer for outer, until in self._unusable.items() if until <= now]:
            del self._unusable[outer]
