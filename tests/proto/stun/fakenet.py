"""A path through a few routers, some of them NATs, to STUN servers; in virtual time, for tests of one machine.

Routers are counted from the client: the packet's TTL is spent router by router, and one that ends
at a NAT makes no mapping there, as in a Linux router.
"""

import heapq
import itertools
import random
from collections.abc import Callable
from functools import partial
from typing import Any

from holepunch.proto.machine import Address, CloseSocket, IcmpError, OpenSocket, SocketMachine, Transmit
from holepunch.proto.nat import Allocation, Filtering, Mapping
from holepunch.proto.stun.responder import Responder

CLIENT = "192.168.1.2"
OUTER = "198.51.100.7"


class FakeNat:
    """One NAT by RFC 4787.

    `clash`: an unsolicited datagram takes the tuple, as plain Linux masquerade does when INPUT accepts
    it: what we send to its sender afterwards leaves from another port.  `strict`: it costs the mapping.
    """

    def __init__(
        self,
        mapping: Mapping = Mapping.ENDPOINT_INDEPENDENT,
        filtering: Filtering = Filtering.ADDRESS_AND_PORT_DEPENDENT,
        allocation: Allocation = Allocation.PRESERVING,
        *,
        host: str = OUTER,
        hairpin: bool = False,
        lifetime: float = 120.0,
        delta: int = 1,
        clash: bool = False,
        strict: bool = False,
        seed: int = 1,
    ) -> None:
        self.mapping, self.filtering, self.allocation = mapping, filtering, allocation
        self.host, self.hairpin, self.lifetime, self.clash = host, hairpin, lifetime, clash
        self.strict = strict
        self.random = random.Random(seed)
        self.delta = delta
        self.next_port = 20000
        self.block = 10240
        self.ports: dict[Any, int] = {}
        self.owners: dict[int, Address] = {}
        self.sent: dict[int, set[Address]] = {}
        self.used: dict[int, float] = {}
        self.taken: set[tuple[int, Address]] = set()

    def key(self, source: Address, remote: Address) -> Any:
        if self.mapping is Mapping.ENDPOINT_INDEPENDENT:
            return (source, remote) if (self.ports.get(source), remote) in self.taken else source
        return (source, remote[0]) if self.mapping is Mapping.ADDRESS_DEPENDENT else (source, remote)

    def choose(self, source: Address) -> int:
        if self.allocation is Allocation.PRESERVING and source[1] not in self.owners:
            return source[1]
        if self.allocation is Allocation.SEQUENTIAL:
            self.next_port += self.delta
            return self.next_port
        if self.allocation is Allocation.BLOCK:
            return next(p for p in iter(lambda: self.block + self.random.randrange(512), -1) if p not in self.owners)
        return next(p for p in iter(lambda: self.random.randrange(1024, 65536), -1) if p not in self.owners)

    def outbound(self, source: Address, remote: Address, now: float) -> Address:
        if self.mapping is Mapping.NONE:
            self.owners[source[1]] = source
            self.sent.setdefault(source[1], set()).add(remote)
            return source
        key = self.key(source, remote)
        port = self.ports.get(key)
        if port is None or now - self.used[port] > self.lifetime:
            port = self.ports[key] = self.choose(source)
            self.owners[port], self.sent[port] = source, set()
        self.used[port] = now
        self.sent[port].add(remote)
        return self.host, port

    def inbound(self, port: int, remote: Address, now: float) -> Address | None:
        """Returns who gets a datagram that came to an outer port."""
        if port not in self.owners or now - self.used.get(port, now) > self.lifetime:
            return None
        sent = self.sent[port]
        if (
            self.filtering is Filtering.ENDPOINT_INDEPENDENT
            or remote in sent
            or (self.filtering is Filtering.ADDRESS_DEPENDENT and remote[0] in {host for host, _ in sent})
        ):
            return self.owners[port]
        if self.clash:
            self.taken.add((port, remote))
        if self.strict:
            self.ports = {key: known for key, known in self.ports.items() if known != port}
            self.used[port] = -self.lifetime - 1  # the port itself stays out of use
        return None


class World:
    """A client machine, routers and NATs, and the servers.

    Args:
        machine: what is tested.
        nats: by the number of their router, 1 for the client's own.
        routers: on the way to the servers.
        delay: seconds from client to server, one way.
        icmp: whether routers tell that a TTL is over.
        loses: whether to lose a datagram.
    """

    def __init__(
        self,
        machine: SocketMachine,
        responders: list[Responder],
        nats: dict[int, FakeNat] | None = None,
        *,
        routers: int = 6,
        delay: float = 0.02,
        icmp: bool = True,
        loses: Callable[[], bool] = lambda: False,
        client: str = CLIENT,
        public_routers: bool = False,
    ) -> None:
        self.machine, self.nats, self.routers, self.delay, self.icmp = machine, nats or {}, routers, delay, icmp
        self.loses, self.client, self.public_routers = loses, client, public_routers
        self.servers: dict[Address, tuple[Responder, int]] = {}
        for responder in responders:
            for local, endpoint in enumerate(responder.endpoints):
                responder.socket_opened(local, endpoint, 0.0)
                self.servers[endpoint] = responder, local
        self.now = 0.0
        self.queue: list[tuple[float, int, Callable[[], None]]] = []
        self.order = itertools.count()
        self.ports = itertools.count(50001, 7)
        self.local_of: dict[Address, int] = {}
        self.source_of: dict[int, Address] = {}
        self.events: list[object] = []
        self.sent: list[tuple[float, Transmit]] = []
        self.most_open = 0

    def later(self, delay: float, action: Callable[[], None]) -> None:
        heapq.heappush(self.queue, (self.now + delay, next(self.order), action))

    def run(self, until: float = 60.0) -> list[object]:
        """Runs until nothing is left to do; returns the application's events."""
        for _ in range(200_000):
            self.pump()
            timer = self.machine.get_timer()
            due = min(self.queue[0][0] if self.queue else until, timer if timer is not None else until)
            if due >= until:
                return self.events
            self.now = max(self.now, due)
            if self.queue and self.queue[0][0] <= self.now:
                heapq.heappop(self.queue)[2]()
            if timer is not None and timer <= self.now:
                self.machine.handle_timer(self.now)
        raise AssertionError("the machine never rests")

    def pump(self) -> None:
        self.take_events()
        for transmit in self.machine.datagrams_to_send(self.now):
            self.sent.append((self.now, transmit))
            assert transmit.local in self.source_of, f"socket {transmit.local} is not open"
            self.send(transmit)

    def take_events(self) -> None:
        while (event := self.machine.next_event()) is not None:
            if isinstance(event, OpenSocket):
                address = (self.client, event.port or next(self.ports))
                self.local_of[address], self.source_of[event.local] = event.local, address
                self.most_open = max(self.most_open, len(self.source_of))
                self.machine.socket_opened(event.local, ("0.0.0.0", address[1]), self.now)
            elif isinstance(event, CloseSocket):
                self.local_of.pop(self.source_of.pop(event.local))
            else:
                self.events.append(event)

    def send(self, transmit: Transmit) -> None:
        source, ttl = self.source_of[transmit.local], transmit.ttl or 64
        inner = source
        for router in range(1, self.routers + 1):
            if ttl - router < 1:
                if self.icmp:
                    self.later(
                        2 * self.delay * router / (self.routers + 1), partial(self.tell, inner, transmit, router)
                    )
                return
            if (nat := self.nats.get(router)) is not None:
                if transmit.remote[0] == nat.host:
                    self.hairpin(nat, source, transmit)
                    return
                source = nat.outbound(source, transmit.remote, self.now)
        if transmit.remote in self.servers and not self.loses():
            self.later(self.delay, lambda: self.serve(transmit, source))

    def hairpin(self, nat: FakeNat, source: Address, transmit: Transmit) -> None:
        if not nat.hairpin:
            return
        outer = nat.outbound(source, transmit.remote, self.now)
        target = nat.owners.get(transmit.remote[1])
        if target is not None:
            self.later(0.001, lambda: self.deliver(transmit.data, outer, target))

    def serve(self, transmit: Transmit, source: Address) -> None:
        responder, local = self.servers[transmit.remote]
        responder.receive_datagram(transmit.data, source, self.now, local)
        for answer in responder.datagrams_to_send(self.now):
            if not self.loses():
                remote = responder.endpoints[answer.local]
                self.later(self.delay, partial(self.enter, answer.data, remote, answer.remote))

    def enter(self, data: bytes, remote: Address, target: Address) -> None:
        for router in range(self.routers, 0, -1):
            if (nat := self.nats.get(router)) is not None:
                inner = nat.inbound(target[1], remote, self.now)
                if inner is None:
                    return
                target = inner
        self.deliver(data, remote, target)

    def deliver(self, data: bytes, remote: Address, target: Address) -> None:
        if target in self.local_of:
            self.machine.receive_datagram(data, remote, self.now, self.local_of[target])

    def tell(self, source: Address, transmit: Transmit, router: int) -> None:
        if source in self.local_of:
            inside = router <= max(self.nats, default=0) and not self.public_routers
            host = f"10.0.{router}.1" if inside else f"203.0.113.{router}"
            error = IcmpError(host, transmit.remote, 11, 0, b"")
            self.machine.receive_icmp(error, self.now, self.local_of[source])
