"""What every protocol machine looks like.

A machine is an ordinary object that never waits.  Datagrams and the current time go in;
datagrams, a deadline and events come out.  It opens no socket, reads no clock and draws no random
number, so a test can play a thousand NATs against it in one second and always get the same answer.

    receive_datagram(data, remote, now)    something arrived
    handle_timer(now)                      the deadline passed
    datagrams_to_send(now)                 what to put on the wire, oldest first
    get_timer()                            when to call handle_timer, or None
    next_event()                           what to tell the application, or None

The five names are those of aioquic's QuicConnection, so QUIC is one more machine.  `now` is seconds
on a monotonic clock of the caller's choice.  A machine that needs random bytes takes `entropy`, a
function from a length to that many bytes: `os.urandom` in production, a seeded one in tests.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple, Protocol

Address = tuple[str, int]
"""(host, port); host in canonical text form, an IPv6 link-local one with its scope (`fe80::1%eth0`)."""

Entropy = Callable[[int], bytes]
"""Gives that many random bytes."""


class Transmit(NamedTuple):
    """One datagram to send."""

    data: bytes
    remote: Address
    ttl: int | None = None
    """IP hop limit, 1-255.  None keeps the socket's default."""
    local: int = 0
    """Which of the machine's sockets it leaves from; 0 where a machine has only one."""


class Machine(Protocol):
    """A machine with one socket."""

    def receive_datagram(self, data: bytes, remote: Address, now: float) -> None:
        """Takes a datagram that arrived."""

    def handle_timer(self, now: float) -> None:
        """Does what is due at `now`; harmless when called early."""

    def datagrams_to_send(self, now: float) -> list[Transmit]:
        """Returns the datagrams to send now and forgets them."""

    def get_timer(self) -> float | None:
        """Returns when handle_timer wants to be called, or None."""

    def next_event(self) -> object | None:
        """Returns the oldest event not yet taken, or None."""


@dataclass(frozen=True, slots=True)
class OpenSocket:
    """Event: the machine wants one more UDP socket; answered by socket_opened or socket_failed."""

    local: int
    """The machine's own number for it, never used again after CloseSocket."""
    family: int
    """4 or 6."""
    host: str = ""
    """Address to bind; empty for any."""
    port: int = 0
    """Port to bind; 0 for one that the system chooses."""


@dataclass(frozen=True, slots=True)
class CloseSocket:
    """Event: the machine is done with a socket."""

    local: int


@dataclass(frozen=True, slots=True)
class IcmpError:
    """An ICMP error that answers a datagram we sent (RFC 792, RFC 4443)."""

    source: str
    """The router or host that sent the error."""
    remote: Address
    """Where our datagram was going."""
    type: int
    """ICMP type; 11 (IPv4) or 3 (IPv6) is time exceeded."""
    code: int
    data: bytes
    """As much of our datagram as came back."""


class SocketMachine(Protocol):
    """A machine that opens and closes sockets of its own; its Transmits name one in `local`.

    Its events include OpenSocket and CloseSocket, which whoever drives it (holepunch.net.driver, or
    holepunch.testing.simnet in virtual time) carries out; all others are for the application.
    """

    def socket_opened(self, local: int, address: Address, now: float) -> None:
        """Says that socket `local` is open and bound; the host is 0.0.0.0 or :: for any."""

    def socket_failed(self, local: int, reason: str, now: float) -> None:
        """Says that socket `local` cannot be opened."""

    def receive_datagram(self, data: bytes, remote: Address, now: float, local: int = 0) -> None:
        """Takes a datagram that arrived on socket `local`."""

    def receive_icmp(self, error: IcmpError, now: float, local: int = 0) -> None:
        """Takes an ICMP error; where the system gives none this is never called."""

    def handle_timer(self, now: float) -> None:
        """Does what is due at `now`; harmless when called early."""

    def datagrams_to_send(self, now: float) -> list[Transmit]:
        """Returns the datagrams to send now and forgets them."""

    def get_timer(self) -> float | None:
        """Returns when handle_timer wants to be called, or None."""

    def next_event(self) -> object | None:
        """Returns the oldest event not yet taken, or None."""
