"""An observer outside: a server with two addresses and two ports, that sees what a NAT does to plain datagrams.

It shares no code with the product's probe, so that the two can disagree.  Whether a datagram gets in is
told without a clock: after it, a bell is rung from inside (one round trip to the server, from a socket of
its own).  The way keeps the order, so when the bell has rung, what was to arrive is there.
"""

import contextlib
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from holepunch.proto.nat import Filtering, Mapping
from holepunch.testing.netlab import Host, Lab

Endpoint = tuple[str, int]
PATIENCE = 20.0  # seconds for what must arrive
SILENCE = 0.3  # seconds without a packet where no bell can be rung


class Inside:
    """A UDP socket inside a host."""

    def __init__(self, host: Host, address: str = "", port: int = 0) -> None:
        self.host = host
        self._address = address or host.address
        self.socket = host.call(self._open, port)
        self.endpoint: Endpoint = self.socket.getsockname()[:2]

    def _open(self, port: int) -> socket.socket:
        made = socket.socket(socket.AF_INET6 if ":" in self._address else socket.AF_INET, socket.SOCK_DGRAM)
        made.bind((self._address, port))
        made.settimeout(PATIENCE)
        return made

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.socket.close()

    def send(self, data: bytes, target: Endpoint) -> None:
        self.socket.sendto(data, target)

    def receive(self) -> tuple[bytes, Endpoint]:
        """Waits for a datagram that must come; returns it and its source."""
        data, source = self.socket.recvfrom(2000)
        return data, source[:2]

    def waiting(self) -> list[bytes]:
        """Takes what has arrived."""
        found = []
        self.socket.setblocking(False)
        with contextlib.suppress(BlockingIOError):
            while True:
                found.append(self.socket.recv(2000))
        self.socket.settimeout(PATIENCE)
        return found

    def is_silent(self) -> bool:
        """Tells whether nothing comes for a while."""
        return is_silent(self.socket)


def is_silent(sock: socket.socket) -> bool:
    """Tells whether nothing comes to a socket for a while."""
    sock.settimeout(SILENCE)
    try:
        sock.recv(2000)
    except TimeoutError:
        return True
    finally:
        sock.settimeout(PATIENCE)
    return False


@dataclass
class Observer:
    """The sockets of the server: two ports at each of two addresses (0:0, 0:1, 1:0, 1:1), and the bell's."""

    sockets: list[Inside]
    bell: Inside

    def outer_of(self, inside: Inside, which: int) -> Endpoint:
        """Returns the endpoint under which one of our sockets sees an inside one that sends to it."""
        inside.send(b"who am I", self.sockets[which].endpoint)
        return self.sockets[which].receive()[1]

    def gets_in(self, which: int, outer: Endpoint, inside: Inside) -> bool:
        """Sends to an outer endpoint from one of our sockets, and tells whether it arrives inside."""
        self.sockets[which].send(b"hello", outer)
        return self.arrived(inside)

    def arrived(self, inside: Inside) -> bool:
        """Tells whether what was sent to an inside socket before has arrived."""
        with Inside(inside.host, inside.endpoint[0]) as ringer:
            ringer.send(b"ring", self.bell.endpoint)
            self.bell.send(b"ding", self.bell.receive()[1])
            ringer.receive()
        return inside.waiting() != []

    def mapping(self, inside: Inside) -> Mapping:
        """Finds the mapping (RFC 4787, section 4.1) with datagrams to all four."""
        outers = [self.outer_of(inside, which) for which in range(4)]
        if outers == [inside.endpoint] * 4:
            return Mapping.NONE
        if len(set(outers)) == 1:
            return Mapping.ENDPOINT_INDEPENDENT
        by_host = outers[0] == outers[1] and outers[2] == outers[3]
        return Mapping.ADDRESS_DEPENDENT if by_host else Mapping.ADDRESS_AND_PORT_DEPENDENT

    def filtering(self, inside: Inside) -> Filtering:
        """Finds the filtering (RFC 4787, section 5) of a socket that has sent to the first only."""
        outer = self.outer_of(inside, 0)
        assert self.gets_in(0, outer, inside), "not even the answer arrives"
        if self.gets_in(3, outer, inside):
            return Filtering.ENDPOINT_INDEPENDENT
        by_host = self.gets_in(1, outer, inside)
        return Filtering.ADDRESS_DEPENDENT if by_host else Filtering.ADDRESS_AND_PORT_DEPENDENT


@contextlib.contextmanager
def observer(lab: Lab, *, ipv6: bool = False) -> Iterator[Observer]:
    """Adds an observer to a laboratory; over IPv6 it is two hosts, as each has one address."""
    with contextlib.ExitStack() as stack:
        if ipv6:
            places = [(server, server.addresses6[0]) for server in (lab.public(), lab.public())]
        else:
            server = lab.public(addresses=2)
            places = [(server, address) for address in server.addresses]
        sockets = [stack.enter_context(Inside(*place, port)) for place in places for port in (7000, 7001)]
        yield Observer(sockets, stack.enter_context(Inside(*places[0], 7002)))
