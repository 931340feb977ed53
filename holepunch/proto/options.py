"""What an agent is told of its machine and of its user's wishes."""

from collections.abc import Callable
from dataclasses import dataclass

from .budget import TokenBucket
from .candidate import Interface
from .machine import Address
from .offer import Carry


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentOptions:
    """See each field; the defaults suit a test."""

    servers: tuple[Address, ...] = ()
    """STUN servers, as addresses."""
    interfaces: tuple[Interface, ...] = ()
    """Our own addresses, without tunnels of our own."""
    look_again: Callable[[], tuple[Interface, ...]] | None = None
    """Gives the interfaces as they are now, for a later round: the machine may have moved."""
    source: Callable[[Address], str] | None = None
    """Gives the address that our packets to a remote leave from (the routing table)."""
    bind_host: str = ""
    bind_port: int = 0
    hops: int = 0
    """TTL that leaves all our NATs; 0 to measure it."""
    gather_deadline: float = 3.0
    """Seconds that gathering may take."""
    latency: float = 1.0
    """Seconds that the fastest mediator takes, one way."""
    signals: bool = True
    """Whether a mediator can carry UPDATEs without a person's help."""
    timeout: float = 60.0
    """Seconds an inviter waits for the ACCEPT."""
    attempt: float = 20.0
    """Seconds a punch may take once both offers are known, beside what a slow mediator costs."""
    expiry: float = 900.0
    """Seconds that an offer is good for."""
    give_up: float = 120.0
    """Seconds that a session whose path was lost tries to find another, beside what a slow mediator costs."""
    carry: Carry = Carry.RAW
    keeps_socket: bool = False
    """Whether the socket stays ours when the path is up (--proxy, library), so that we answer checks."""
    fingerprint: bytes = b""
    allowance: TokenBucket | None = None
    """What all sessions with one peer may send to addresses that it only claims; None: one per session."""
