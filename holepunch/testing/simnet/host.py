"""A computer on one or more networks: interfaces, UDP sockets, and the ICMP errors of its system."""

from collections import Counter
from collections.abc import Callable
from random import Random

from ...errors import NetworkError
from ...proto.candidate import Interface
from ...proto.machine import Address, IcmpError
from .clock import Clock
from .network import Attachment
from .packet import DEFAULT_TTL, PORT_UNREACHABLE, Packet, Quote
from .trace import Trace

# Linux: net.ipv4.ip_local_port_range
EPHEMERAL_PORTS = range(32768, 61000)
_ANY = {4: "0.0.0.0", 6: "::"}  # what a socket bound to no address says of itself
_LOOPBACK_DELAY = 0.00002  # seconds from a host to itself


def _ignore_datagram(data: bytes, remote: Address) -> None:
    """Nobody listens."""


def _ignore_icmp(error: IcmpError) -> None:
    """Nobody listens."""


class SimSocket:
    """A UDP socket of a simulated host; its owner sets `on_datagram` and `on_icmp`."""

    __slots__ = ("_host", "address", "family", "is_open", "on_datagram", "on_icmp", "received", "sent")

    def __init__(self, host: "Host", family: int, address: Address) -> None:
        self._host = host
        self.family = family
        self.address = address
        """Where it is bound; the host is 0.0.0.0 or :: for any."""
        self.on_datagram: Callable[[bytes, Address], None] = _ignore_datagram
        self.on_icmp: Callable[[IcmpError], None] = _ignore_icmp
        self.is_open = True
        self.sent = 0
        self.received = 0

    def send(self, data: bytes, remote: Address, ttl: int | None = None) -> None:
        """Sends a datagram; like the product's, it never raises: what cannot go is counted and dropped."""
        if self.is_open and (":" in remote[0]) == (self.family == 6):
            self.sent += 1
            self._host.transmit(self, data, remote, ttl or DEFAULT_TTL)
        else:
            self._host.unsendable += 1

    def close(self) -> None:
        """Closes it; harmless twice."""
        if self.is_open:
            self.is_open = False
            self._host.forget(self)


class Host:
    """A computer."""

    def __init__(self, name: str, clock: Clock, rng: Random) -> None:
        self.name = name
        self.trace: Trace | None = None
        self.unreachable_errors = True
        """Whether a datagram for a closed port is answered by an ICMP error."""
        self.sent = 0
        self.received = 0
        """Datagrams that arrived, whether or not a socket was there for them."""
        self.unsendable = 0
        """Datagrams with no way to their destination, or sent on a closed socket."""
        self.refused = 0
        """Datagrams for a port where no socket was."""
        self.flows: Counter[tuple[Address, Address]] = Counter()
        """Datagrams sent by (source, destination): its length is the new 5-tuples that we cost."""
        self.clock = clock
        self._rng = rng
        self._attachments: list[Attachment] = []
        self._sockets: dict[tuple[str, int], SimSocket] = {}
        self._serial = 0

    def plug(self, attachment: Attachment) -> None:
        """Gives it one more interface; the first one with a gateway is the default route."""
        self._attachments.append(attachment)

    def unplug(self, attachment: Attachment) -> None:
        """Takes an interface away."""
        self._attachments.remove(attachment)

    @property
    def attachments(self) -> list[Attachment]:
        """Its interfaces."""
        return list(self._attachments)

    def addresses(self, family: int | None = None) -> list[str]:
        """Returns its own addresses, of one family (4 or 6) or of both."""
        hosts = [host for attachment in self._attachments for host in attachment.hosts]
        return [host for host in hosts if family is None or (":" in host) == (family == 6)]

    @property
    def address(self) -> str:
        """Its first address."""
        return self.addresses()[0]

    def interfaces(self) -> list[Interface]:
        """Returns its own addresses as a machine wants them, each with the length of its network's prefix."""
        return [Interface(host, 64 if ":" in host else 24) for host in self.addresses()]

    def open(self, family: int = 4, host: str = "", port: int = 0) -> SimSocket:
        """Opens a UDP socket.

        Args:
            family: 4 or 6.
            host: one of the host's addresses; empty for any.
            port: 0 for an ephemeral one.

        Raises:
            NetworkError: the address is not ours, the port is taken, or the family is not there.
        """
        own = self.addresses(family)
        if not own or (host and host not in own):
            raise NetworkError(f"{self.name} has no address {host or f'of IPv{family}'}")
        bound = host or _ANY[family]
        if port == 0:
            port = self._rng.choice(EPHEMERAL_PORTS)
            while self._is_taken(bound, port, family):
                port = self._rng.choice(EPHEMERAL_PORTS)
        elif self._is_taken(bound, port, family):
            raise NetworkError(f"port {port} of {self.name} is in use")
        socket = self._sockets[bound, port] = SimSocket(self, family, (bound, port))
        return socket

    def forget(self, socket: SimSocket) -> None:
        """Frees a closed socket's port."""
        if self._sockets.get(socket.address) is socket:
            del self._sockets[socket.address]

    def route(self, destination: str) -> tuple[Attachment, str] | None:
        """Returns the interface and the source address for a destination; None: there is no way."""
        ipv6 = ":" in destination
        ways = [(each, source) for each in self._attachments if (source := each.host(ipv6)) is not None]
        for attachment, source in ways:
            if attachment.network.knows(destination):
                return attachment, source
        onward = [way for way in ways if way[0].network.gateway is not None]
        return next(iter(onward or ways), None)

    def transmit(self, socket: SimSocket, data: bytes, remote: Address, ttl: int) -> None:
        """Puts a datagram of a socket on the wire."""
        if remote[0] in self.addresses(socket.family):
            self.clock.post(_LOOPBACK_DELAY, self._loop, Packet((remote[0], socket.address[1]), remote, data))
            return
        way = self.route(remote[0])
        if way is None:
            self.unsendable += 1
            return
        attachment, source = way
        bound = socket.address[0]
        if bound not in (_ANY[4], _ANY[6]):
            source = bound
            attachment = next((each for each in self._attachments if bound in each.hosts), attachment)
        self.sent += 1
        self._serial += 1
        packet = Packet((source, socket.address[1]), remote, data, ttl, self._serial)
        self.flows[packet.src, remote] += 1
        if self.trace is not None:
            self.trace.note(self.clock.now, self.name, "sent", packet)
        attachment.send(packet)

    def receive(self, attachment: Attachment, packet: Packet) -> None:
        """Takes a packet from the wire, and gives it to its socket."""
        if packet.icmp is not None:
            self._receive_icmp(packet, packet.icmp)
            return
        if packet.dst[0] not in attachment.hosts:
            return
        self.received += 1
        if self.trace is not None:
            self.trace.note(self.clock.now, self.name, "received", packet)
        socket = self._find(packet.dst)
        if socket is not None:
            socket.received += 1
            socket.on_datagram(packet.data, packet.src)
            return
        self.refused += 1
        error = packet.error(PORT_UNREACHABLE, packet.dst[0]) if self.unreachable_errors else None
        if error is not None:
            attachment.send(error)

    def _loop(self, packet: Packet) -> None:
        socket = self._find(packet.dst)
        if socket is not None:
            socket.on_datagram(packet.data, packet.src)

    def _receive_icmp(self, packet: Packet, quote: Quote) -> None:
        if self.trace is not None:
            self.trace.note(self.clock.now, self.name, "received", packet)
        socket = self._find(quote.sender)
        if socket is not None:
            kind, code = quote.code.ipv6 if packet.is_ipv6 else quote.code.ipv4
            socket.on_icmp(IcmpError(source=packet.src[0], remote=quote.target, type=kind, code=code, data=packet.data))

    def _find(self, address: Address) -> SimSocket | None:
        exact = self._sockets.get(address)
        return exact or self._sockets.get((_ANY[6] if ":" in address[0] else _ANY[4], address[1]))

    def _is_taken(self, bound: str, port: int, family: int) -> bool:
        if bound != _ANY[family]:
            return (bound, port) in self._sockets or (_ANY[family], port) in self._sockets
        return any(socket.family == family and address[1] == port for address, socket in self._sockets.items())
