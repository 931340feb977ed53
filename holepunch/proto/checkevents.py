"""What a check list tells the agent, beside what a person may want to know (holepunch.proto.events)."""

from dataclasses import dataclass

from .events import Event


class Selected(Event):
    """Event: the session's path is (again) chosen, and valid on our side."""


class PeerReady(Event):
    """Event: the peer's user is ready."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Progressed(Event):
    """Event: `is_confirmed` or `is_ready_known` has become true."""

    ready: bool
    """Which of the two: the peer has our READY."""


class PeerLeft(Event):
    """Event: the peer says BYE."""
