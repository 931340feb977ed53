"""Independent checks of a simulated NAT: sockets and observers, nothing of the product's probe."""

from dataclasses import dataclass, field

from holepunch.proto.machine import Address, IcmpError
from holepunch.testing.simnet import LAN_LINK, Behaviour, Host, Internet, Link, Nat, SimSocket


@dataclass
class Ear:
    """A socket that remembers what it hears."""

    socket: SimSocket
    heard: list[tuple[bytes, Address]] = field(default_factory=list)
    errors: list[IcmpError] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.socket.on_datagram = lambda data, remote: self.heard.append((data, remote))
        self.socket.on_icmp = self.errors.append

    @property
    def address(self) -> Address:
        """Where it is bound."""
        return self.socket.address

    @property
    def last(self) -> Address:
        """Who was heard last."""
        return self.heard[-1][1]

    def sources(self) -> list[Address]:
        """Everyone heard, in order."""
        return [remote for _, remote in self.heard]


def ear(host: Host, port: int = 0, address: str = "", family: int = 4) -> Ear:
    """Opens a socket that remembers."""
    return Ear(host.open(family, address, port))


@dataclass
class Bench:
    """An inside host behind one NAT, and two observers outside with two ports each."""

    net: Internet
    nat: Nat
    inside: Host
    observers: list[Ear]
    """Two on one address, then two on another."""

    def endpoint(self, index: int) -> Address:
        """Where an observer is."""
        return self.observers[index].address

    def seen_by(self, index: int, socket: SimSocket) -> Address:
        """Sends from inside to an observer, and returns whom the observer heard."""
        before = len(self.observers[index].heard)
        socket.send(b"who am I", self.endpoint(index))
        self.net.run(0.5)
        assert len(self.observers[index].heard) == before + 1
        return self.observers[index].last

    def passes(self, index: int, outer: Address, listener: Ear) -> bool:
        """Sends from an observer to an outer endpoint; tells whether the inside socket hears it."""
        before = len(listener.heard)
        self.observers[index].socket.send(b"knock", outer)
        self.net.run(0.5)
        return len(listener.heard) > before


def bench(behaviour: Behaviour | None, *, seed: int = 1, pool: int = 1, inside: str = "192.168.1.10") -> Bench:
    """Builds a Bench around a NAT of that behaviour."""
    net = Internet(seed)
    outer = tuple(net.public_ipv4() for _ in range(pool))
    nat = net.nat("nat", behaviour, outer_hosts=outer, link=Link(delay=0.01, hops=4))
    host = net.host("inside", nat.inside, inside, link=LAN_LINK)
    outside = net.public("outside", addresses=2, link=Link(delay=0.01, hops=2))
    first, second = outside.addresses(4)
    ears = [ear(outside, port, address) for address in (first, second) for port in (3478, 3479)]
    return Bench(net, nat, host, ears)
