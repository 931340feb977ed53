"""A network is a star: every box hangs on it by a link, and a packet goes up one link and down another.

The routers of both links are crossed at once, in one step of the simulation, since they keep no
state: only boxes that remember something (NATs, firewalls, hosts) cost a step of their own.
"""

from collections.abc import Callable
from functools import partial
from random import Random
from typing import Protocol

from .clock import Clock
from .link import Link, Path, join
from .packet import TIME_EXCEEDED, TOO_BIG, IcmpCode, Packet
from .trace import Trace


class Node(Protocol):
    """A box on one or more networks."""

    name: str

    def receive(self, attachment: "Attachment", packet: Packet) -> None:
        """Takes a packet that came in over one of its attachments."""


class Attachment:
    """One box's place on one network."""

    __slots__ = ("_link", "deliver", "hosts", "index", "network", "node")

    def __init__(self, network: "Network", node: Node, hosts: tuple[str, ...], link: Link, index: int) -> None:
        self.network = network
        self.node = node
        self.hosts = hosts
        """The box's own addresses here."""
        self.index = index
        self._link = link
        self.deliver: Callable[[Packet], None] = partial(node.receive, self)

    @property
    def link(self) -> Link:
        """How the box is attached; may be changed while packets are on their way."""
        return self._link

    @link.setter
    def link(self, link: Link) -> None:
        self._link = link
        self.network.forget_paths()

    def host(self, ipv6: bool) -> str | None:
        """Returns the box's first address of a family here, or None."""
        return next((host for host in self.hosts if (":" in host) == ipv6), None)

    def send(self, packet: Packet) -> None:
        """Sends a packet into the network."""
        self.network.send(packet, self)


class Network:
    """One network: a LAN, a carrier's network, or the middle of the internet."""

    def __init__(self, name: str, clock: Clock, rng: Random, router_ipv4: str, router_ipv6: str) -> None:
        """Makes an empty network.

        Args:
            name: for the trace.
            clock: virtual time.
            rng: the luck of this network's packets.
            router_ipv4: addresses of routers, a format of two numbers: which link, which router on it.
            router_ipv6: the same for IPv6.
        """
        self.name = name
        self.gateway: Attachment | None = None
        """Where packets for addresses unknown here go."""
        self.trace: Trace | None = None
        self.dropped = 0
        """Packets that met bad luck, had nowhere to go, or were too big."""
        self._clock = clock
        self._rng = rng
        self._routes: dict[str, Attachment] = {}
        self._paths: dict[tuple[Attachment, Attachment], Path] = {}
        self._router_names = (router_ipv4, router_ipv6)
        self._attachments = 0

    def attach(self, node: Node, *hosts: str, link: Link | None = None, gateway: bool = False) -> Attachment:
        """Puts a box on the network under its addresses; `gateway` makes it the way out."""
        attachment = Attachment(self, node, hosts, link or Link(), self._attachments)
        self._attachments += 1
        for host in hosts:
            self.route(host, attachment)
        if gateway:
            self.gateway = attachment
        return attachment

    def route(self, host: str, attachment: Attachment) -> None:
        """Sends what is for `host` to a box, which may be only on the way to it."""
        self._routes[host] = attachment

    def knows(self, host: str) -> bool:
        """Tells whether an address is on this network itself, rather than behind its gateway."""
        return host in self._routes

    def forget_paths(self) -> None:
        """Works paths out anew, because a link has changed."""
        self._paths.clear()

    def router(self, source: Attachment, target: Attachment, number: int, ipv6: bool) -> str:
        """Returns the address of router `number` (0 is the first) between two attachments."""
        index, near = source.index, source.link.hops
        if number >= near:  # routers of the far link are numbered from the far box
            index, number = target.index, target.link.hops - 1 - (number - near)
        return self._router_names[ipv6].format(index, number + 1)

    def send(self, packet: Packet, source: Attachment) -> None:
        """Carries a packet from one box of the network towards another."""
        target = self._routes.get(packet.dst[0]) or self.gateway
        if target is None or target is source:
            self._drop(packet, "no route")
            return
        path = self._paths.get((source, target))
        if path is None:
            path = self._paths[source, target] = join(source.link, target.link)
        delay = path.delay
        if not path.plain:
            lucky = self._luck(packet, path, target)
            if lucky is None:
                return
            delay = lucky
        if packet.size > path.mtu:
            self._drop(packet, "too big")
            self._complain(packet, TOO_BIG, (source, target), 0)
        elif packet.ttl <= path.hops:
            self._drop(packet, "TTL ran out")
            self._complain(packet, TIME_EXCEEDED, (source, target), packet.ttl - 1)
        else:
            packet.ttl -= path.hops
            if self.trace is not None:
                self.trace.note(self._clock.now, self.name, "carried", packet)
            self._clock.post(delay, target.deliver, packet)

    def _luck(self, packet: Packet, path: Path, target: Attachment) -> float | None:
        """Returns how long the packet takes, or None where it is lost."""
        random = self._rng.random
        if path.loss and random() < path.loss:
            self._drop(packet, "lost")
            return None
        delay = path.delay + (path.jitter * random() if path.jitter else 0.0)
        if path.reorder and random() < path.reorder:
            delay += path.reorder_delay
        if path.duplicate and random() < path.duplicate and packet.ttl > path.hops:
            twin = packet.copy()
            twin.ttl -= path.hops
            self._clock.post(delay + path.jitter * random(), target.deliver, twin)
        return delay

    def _complain(self, packet: Packet, code: IcmpCode, way: tuple[Attachment, Attachment], number: int) -> None:
        """Lets router `number` on the way send an ICMP error back; on a LAN the sending box finds the fault."""
        source, target = way
        after, silent = 0.0, False
        sender = source.host(packet.is_ipv6) or packet.src[0]
        if routers := self._paths[way].routers:
            after, silent = routers[number]
            sender = self.router(source, target, number, packet.is_ipv6)
        error = None if silent else packet.error(code, sender)
        if error is not None:
            self._clock.post(2 * after, source.deliver, error)

    def _drop(self, packet: Packet, why: str) -> None:
        self.dropped += 1
        if self.trace is not None:
            self.trace.note(self._clock.now, self.name, why, packet)
