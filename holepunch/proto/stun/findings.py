"""What a probe of NAT behaviour has found (holepunch.proto.stun.behaviour): all of it, with its evidence."""

import enum
from dataclasses import dataclass, field

from ..machine import Address
from ..nat import NatReport
from .classify import AllocationVerdict, MappingVerdict
from .hops import HopsMeasured


class EarlyPacket(enum.Enum):
    """What a packet from somebody we have not sent to does to our mapping."""

    UNKNOWN = "unknown"
    HARMLESS = "harmless"
    MOVES_US = "moves-us"
    """Its sender sees us at another outer port from then on: Linux masquerade whose INPUT accepts it."""
    COSTS_MAPPING = "costs-mapping"
    """The mapping is gone, for everybody."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerAnswer:
    """What one server said to our main socket."""

    server: Address
    mapped: Address | None = None
    other: Address | None = None
    """Its second address and port, where it says that it has one (RFC 5780)."""
    rtt: float = 0.0
    """Seconds; too low where the request was sent more than once."""
    failure: str = ""
    """Why there is no `mapped`; empty where there is."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BehaviourFound:
    """Event: the probe is over, and this is what it found."""

    family: int
    inner_port: int
    """Port of the main socket; 0 where there was none."""
    nat: NatReport
    """The summary that orders strategies; the fields below are its evidence."""
    servers: tuple[ServerAnswer, ...]
    mapping: MappingVerdict
    allocation: AllocationVerdict
    hops: HopsMeasured | None = None
    early_packet: EarlyPacket = EarlyPacket.UNKNOWN
    samples: tuple[tuple[int, int], ...] = ()
    """(inner port, outer port) of the extra sockets, in the order of sending."""
    outer_hosts: tuple[str, ...] = ()
    """All our outer addresses; more than one is a pool."""
    seen: dict[Address, Address] = field(default_factory=dict)
    """How each destination, other addresses of servers included, saw the main socket."""
    elapsed: float = 0.0

    @property
    def outer(self) -> Address | None:
        """How the world sees the main socket; None where no server answered."""
        odd = self.mapping.dissenting
        agreed = [answer.mapped for answer in self.servers if answer.mapped and answer.server not in odd]
        return agreed[0] if agreed else None

    @property
    def preserves_port(self) -> bool | None:
        """Whether the main socket's outer port is its inner one; None where no server answered."""
        outer = self.outer
        return None if outer is None else outer[1] == self.inner_port
