"""What happens in a connection attempt and after, as a person or a program may want to know it.

Each event is a frozen dataclass; `name` is its `event` field in `--json` output and the dataclass
fields are the others, so the names here are a promise (docs/reference.md).  Addresses are
(host, port); durations are seconds.  Nothing here is secret.
"""

from dataclasses import dataclass, fields
from typing import Any, ClassVar

from .address import format_address
from .machine import Address


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """The base of all events."""

    name: ClassVar[str] = ""
    session: str = ""
    """First 8 hex digits of the session id; empty before there is one."""

    def to_json(self) -> dict[str, Any]:
        """Returns the event's fields for one line of JSON; addresses as `host:port` text."""
        out: dict[str, Any] = {"event": self.name}
        for field in fields(self):
            value = getattr(self, field.name)
            if isinstance(value, tuple) and len(value) == 2 and isinstance(value[1], int):
                value = format_address((str(value[0]), value[1]))
            elif isinstance(value, float):
                value = round(value, 6)
            out[field.name] = value
        return out


@dataclass(frozen=True, slots=True, kw_only=True)
class Started(Event):
    """An attempt has begun."""

    name = "started"
    role: str
    """`connect` or `accept`."""
    peer: str
    """The peer's name in our book; empty while an acceptor waits."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StunAnswered(Event):
    """A STUN server told us how it sees our socket."""

    name = "stun-answered"
    server: Address
    mapped: Address
    rtt: float


@dataclass(frozen=True, slots=True, kw_only=True)
class CandidateFound(Event):
    """We have one more address to offer."""

    name = "candidate"
    kind: str
    """host, server-reflexive, peer-reflexive, port-mapped, predicted or relayed (RFC 8445)."""
    address: Address


@dataclass(frozen=True, slots=True, kw_only=True)
class Gathered(Event):
    """Gathering is over."""

    name = "gathered"
    candidates: int
    mapping: str
    hops: int
    elapsed: float


@dataclass(frozen=True, slots=True, kw_only=True)
class OfferSent(Event):
    """A mediator has taken our offer."""

    name = "offer-sent"
    kind: str
    """invite, accept, update or bye."""
    mediator: str
    """The mediator's URL without secrets."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OfferFailed(Event):
    """A mediator did not take our offer, or is gone; others may still carry it."""

    name = "offer-failed"
    kind: str
    """As in OfferSent; empty where the mediator is gone."""
    mediator: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class OfferReceived(Event):
    """The peer's offer has come and is authentic."""

    name = "offer-received"
    kind: str
    mediator: str
    peer: str
    candidates: int


@dataclass(frozen=True, slots=True, kw_only=True)
class OfferRefused(Event):
    """An envelope for us was not usable: unknown peer, expired, replayed, malformed."""

    name = "offer-refused"
    mediator: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Waiting(Event):
    """An acceptor is ready: peers may invite it now."""

    name = "waiting"
    mediators: int


@dataclass(frozen=True, slots=True, kw_only=True)
class StepBegun(Event):
    """A step of the plan has begun (docs/topics/punching.md)."""

    name = "step"
    strategy: str
    """prime, check, reversal ...: a row of holepunch.proto.strategy."""
    targets: int


@dataclass(frozen=True, slots=True, kw_only=True)
class PeerHeard(Event):
    """An authentic packet of the peer has come for the first time on a path."""

    name = "peer-heard"
    remote: Address


@dataclass(frozen=True, slots=True, kw_only=True)
class PathValid(Event):
    """A path works both ways, freshly proven."""

    name = "path-valid"
    remote: Address
    kind: str
    rtt: float


@dataclass(frozen=True, slots=True, kw_only=True)
class PathSelected(Event):
    """The session uses this path from now on."""

    name = "path-selected"
    path: str
    """`direct` or `relay`."""
    inner: Address
    outer: Address
    remote: Address
    rtt: float
    elapsed: float
    """Since both offers were known."""
    packets: int
    """Datagrams this side has sent for it."""
    tuples: int
    """New 5-tuples this side has made for it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionReady(Event):
    """Both sides have selected a path and are about to use it."""

    name = "ready"


@dataclass(frozen=True, slots=True, kw_only=True)
class PathLost(Event):
    """The selected path no longer answers (RFC 7675); a new punch begins."""

    name = "path-lost"
    remote: Address
    silent: float
    """Seconds since the last authentic packet."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CommandStarted(Event):
    """The user's command runs."""

    name = "command-started"
    pid: int
    mode: str
    """hand-over, pass-fd or proxy."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CommandExited(Event):
    """The user's command has ended."""

    name = "command-exited"
    status: int


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionClosed(Event):
    """The session is over."""

    name = "closed"
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Failed(Event):
    """The attempt failed."""

    name = "failed"
    reason: str
    hint: str
    status: int
    """The exit status of this kind of failure."""
