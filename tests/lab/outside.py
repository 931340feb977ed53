"""An observer outside: a server with two addresses and two ports, that sees what a NAT does to plain datagrams.

It shares no code with the product's probe, so that the two can disagree.
"""

import contextlib
import socket
from collections.abc import Iterator
from dataclasses import dataclass

from holepunch.proto.nat import Filtering, Mapping
from holepunch.testing.netlab import Host, Lab

Endpoint = tuple[str, int]
PATIENCE = 5.0  # seconds for what must arrive
SILENCE = 0.3  # seconds without a packet that show that none comes; the lab's round trip is 10 ms


def udp(host: Host, address: str = "", port: int = 0) -> socket.socket:
    """Opens a UDP socket inside a host."""

    def make() -> socket.socket:
        address_ = address or host.address
        made = socket.socket(socket.AF_INET6 if ":" in address_ else socket.AF_INET, socket.SOCK_DGRAM)
        made.bind((address_, port))
        made.settimeout(PATIENCE)
        return made

    return host.call(make)


def arrives(receiver: socket.socket) -> bool:
    """Tells whether something comes in."""
    receiver.settimeout(SILENCE)
    try:
        receiver.recvfrom(100)
    except TimeoutError:
        return False
    finally:
        receiver.settimeout(PATIENCE)
    return True


@dataclass
class Observer:
    """The sockets of the server: two ports at each of two addresses, in the order 0:0, 0:1, 1:0, 1:1."""

    sockets: list[socket.socket]

    def outer_of(self, inside: socket.socket, which: int) -> Endpoint:
        """Returns the endpoint under which one of our sockets sees an inside one that sends to it."""
        seer = self.sockets[which]
        inside.sendto(b"who am I", seer.getsockname())
        host, port = seer.recvfrom(100)[1][:2]
        return str(host), int(port)

    def send(self, which: int, outer: Endpoint) -> None:
        """Sends to an outer endpoint from one of our sockets."""
        self.sockets[which].sendto(b"hello", outer)

    def mapping(self, inside: socket.socket) -> Mapping:
        """Finds the mapping (RFC 4787, section 4.1) with datagrams to all four."""
        inner = inside.getsockname()[:2]
        outers = [self.outer_of(inside, which) for which in range(4)]
        if outers == [inner] * 4:
            return Mapping.NONE
        if len(set(outers)) == 1:
            return Mapping.ENDPOINT_INDEPENDENT
        by_host = outers[0] == outers[1] and outers[2] == outers[3]
        return Mapping.ADDRESS_DEPENDENT if by_host else Mapping.ADDRESS_AND_PORT_DEPENDENT

    def filtering(self, inside: socket.socket) -> Filtering:
        """Finds the filtering (RFC 4787, section 5) of a socket that has sent to the first only."""
        outer = self.outer_of(inside, 0)
        self.send(0, outer)
        assert arrives(inside), "not even the answer arrives"
        self.send(3, outer)
        if arrives(inside):
            return Filtering.ENDPOINT_INDEPENDENT
        self.send(1, outer)
        return Filtering.ADDRESS_DEPENDENT if arrives(inside) else Filtering.ADDRESS_AND_PORT_DEPENDENT


@contextlib.contextmanager
def observer(lab: Lab, *, ipv6: bool = False) -> Iterator[Observer]:
    """Adds an observer to a laboratory; over IPv6 it is two hosts, as each has one address."""
    with contextlib.ExitStack() as stack:
        if ipv6:
            places = [(server, server.addresses6[0]) for server in (lab.public(), lab.public())]
        else:
            server = lab.public(addresses=2)
            places = [(server, address) for address in server.addresses]
        yield Observer([stack.enter_context(udp(*place, port)) for place in places for port in (7000, 7001)])
