"""How one simulated NAT or firewall behaves, in the words of RFC 4787."""

import enum
from dataclasses import dataclass, replace
from typing import Any

from ...errors import ConfigurationError
from ...proto.nat import Allocation, Filtering, Mapping

# Linux: net.netfilter.nf_conntrack_udp_timeout and ..._timeout_stream, and the two seconds of
# traffic both ways after which a flow counts as a stream (nf_conntrack_proto_udp.c).
UNREPLIED_TIMEOUT = 30.0  # seconds
STREAM_TIMEOUT = 120.0  # seconds
STREAM_AGE = 2.0  # seconds


class Unsolicited(enum.Enum):
    """What a packet from outside that the filter does not let in does to the NAT."""

    DROP = "drop"
    """Nothing: it is dropped."""
    FORGET = "forget"
    """Strict: the mapping it was for is removed, and the next packet from inside makes it anew."""
    MOVE = "move"
    """Strict: the mapping is removed and its port put out of use, so the next one is elsewhere."""
    CLASH = "clash"
    """Plain Linux masquerade whose INPUT chain accepts the packet: the router takes it for its own,
    and remembers the 5-tuple.  The inside host that sends on that 5-tuple is given another port."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Behaviour:
    """What a NAT does; the defaults are a home router's: endpoint-independent, preserving, APD filtering."""

    mapping: Mapping = Mapping.ENDPOINT_INDEPENDENT
    """NONE: a firewall, which translates nothing."""
    filtering: Filtering = Filtering.ADDRESS_AND_PORT_DEPENDENT
    allocation: Allocation = Allocation.PRESERVING
    port_delta: int = 1
    """SEQUENTIAL: from one new mapping to the next."""
    background: float = 0.0
    """SEQUENTIAL: mappings per second (a Poisson process) that other hosts behind the NAT make."""
    block_size: int = 512
    """BLOCK: ports that an inside host gets at a time (RFC 7422), aligned to this."""
    max_blocks: int = 4
    """BLOCK: how many such blocks one host may have."""
    port_low: int = 1024
    port_high: int = 65535
    paired: bool = True
    """With several outer addresses: whether an inside host keeps one (RFC 4787, 4.1, "paired")."""
    overloading: bool = False
    """Whether two inside endpoints may share an outer one while their destinations differ, as on
    Linux; only with address-and-port-dependent filtering."""
    hairpin: bool = False
    """Whether inside hosts reach each other by their outer endpoints (RFC 4787, section 6)."""
    unsolicited: Unsolicited = Unsolicited.DROP
    unreplied_timeout: float = UNREPLIED_TIMEOUT
    """Seconds that a flow without an answer lives."""
    stream_timeout: float = STREAM_TIMEOUT
    """Seconds that an answered flow older than two seconds lives."""
    inbound_refresh: bool = True
    """Whether packets from outside keep a mapping alive too (RFC 4787, REQ-6)."""
    max_entries: int = 65536
    """Flows remembered at once; above it new ones are refused."""

    def __post_init__(self) -> None:
        for name in ("mapping", "filtering", "allocation"):
            if getattr(self, name).value == "unknown":
                raise ConfigurationError(f"a simulated NAT needs to know its {name}")
        if self.overloading and self.filtering is not Filtering.ADDRESS_AND_PORT_DEPENDENT:
            raise ConfigurationError("port overloading needs address-and-port-dependent filtering")
        if self.unsolicited is Unsolicited.CLASH and not self.overloading:
            raise ConfigurationError("a NAT that clashes tells flows apart by 5-tuple: it needs overloading")
        if not 0 < self.port_low <= self.port_high <= 65535:
            raise ConfigurationError(f"ports {self.port_low} to {self.port_high} are no range")

    def but(self, **changes: Any) -> "Behaviour":
        """Returns a behaviour like this one with some fields changed."""
        return replace(self, **changes)

    def key(self, inner: tuple[str, int], remote: tuple[str, int]) -> tuple[object, ...]:
        """Returns what decides whether two packets from inside share a mapping (RFC 4787, 4.1)."""
        if self.mapping is Mapping.ADDRESS_AND_PORT_DEPENDENT:
            return inner, remote
        if self.mapping is Mapping.ADDRESS_DEPENDENT:
            return inner, remote[0]
        return (inner,)


FIREWALL = Behaviour(mapping=Mapping.NONE)
"""Lets in only what answers something sent from inside."""
LINUX = Behaviour(overloading=True)
"""Linux masquerade with an INPUT chain that drops: what a careful router does."""
