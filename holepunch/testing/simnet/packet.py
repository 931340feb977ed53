"""One IP packet of the simulated internet: a UDP datagram, or an ICMP error about one."""

from dataclasses import dataclass

from ...proto.machine import Address

# RFC 791 and RFC 8200: what IP and UDP add to a payload.
HEADERS_IPV4 = 28  # bytes
HEADERS_IPV6 = 48  # bytes
DEFAULT_TTL = 64  # RFC 1700; what Linux uses
# RFC 1812, 4.3.2.3: an error carries as much of the datagram as fits in 576 bytes, as Linux does.
ICMP_QUOTE = 576 - HEADERS_IPV4 * 2  # bytes of the datagram's payload


@dataclass(frozen=True, slots=True)
class IcmpCode:
    """An ICMP error in both families (RFC 792, RFC 4443): (type, code)."""

    name: str
    ipv4: tuple[int, int]
    ipv6: tuple[int, int]


TIME_EXCEEDED = IcmpCode("time exceeded", (11, 0), (3, 0))
PORT_UNREACHABLE = IcmpCode("port unreachable", (3, 3), (1, 4))
HOST_UNREACHABLE = IcmpCode("host unreachable", (3, 1), (1, 3))
TOO_BIG = IcmpCode("packet too big", (3, 4), (2, 0))


@dataclass(frozen=True, slots=True)
class Quote:
    """What an ICMP error says: what is wrong, and with which datagram."""

    code: IcmpCode
    sender: Address
    """Source of the datagram, as the finder of the fault saw it and as NATs translate it back."""
    target: Address
    """Destination of the datagram, likewise."""

    def __str__(self) -> str:
        return f"ICMP {self.code.name} about {self.sender} > {self.target}"


class Packet:
    """A datagram on its way; routers and NATs change it in place, so it is never shared."""

    __slots__ = ("data", "dst", "icmp", "serial", "src", "ttl")

    def __init__(self, src: Address, dst: Address, data: bytes, ttl: int = DEFAULT_TTL, serial: int = 0) -> None:
        self.src = src
        """Source; of an ICMP error the router that sent it, with port 0."""
        self.dst = dst
        self.data = data
        self.ttl = ttl
        self.serial = serial
        """Number of the datagram, the same from host to host and in its copies; for the trace."""
        self.icmp: Quote | None = None
        """What this says as an ICMP error; None for a datagram."""

    @property
    def is_ipv6(self) -> bool:
        """Whether this is an IPv6 packet."""
        return ":" in self.dst[0]

    @property
    def size(self) -> int:
        """Bytes on the wire, IP header included."""
        return len(self.data) + (HEADERS_IPV6 if ":" in self.dst[0] else HEADERS_IPV4)

    def copy(self) -> "Packet":
        """Returns a packet of its own with the same content."""
        twin = Packet(self.src, self.dst, self.data, self.ttl, self.serial)
        twin.icmp = self.icmp
        return twin

    def error(self, code: IcmpCode, source: str) -> "Packet | None":
        """Returns the ICMP error that `source` sends about this packet.

        None where there must be none: about another ICMP error (RFC 1122, 3.2.2).
        """
        if self.icmp is not None:
            return None
        answer = Packet((source, 0), self.src, self.data[:ICMP_QUOTE], DEFAULT_TTL, self.serial)
        answer.icmp = Quote(code, self.src, self.dst)
        return answer

    def __str__(self) -> str:
        what = f"{len(self.data)} bytes" if self.icmp is None else str(self.icmp)
        return f"#{self.serial} {self.src[0]}:{self.src[1]} > {self.dst[0]}:{self.dst[1]} ttl {self.ttl} {what}"
