"""Where an agent is in its course, and the one thing that its driver must know beside events."""

import enum


class OffersWaiting:
    """Event: envelopes_to_send has something, after the datagrams that were due before it."""


class State(enum.Enum):
    """Where an agent is."""

    NEW = "new"
    GATHERING = "gathering"
    OFFERING = "offering"
    PUNCHING = "punching"
    ESTABLISHED = "established"
    RELEASED = "released"
    """The socket was handed over: the agent does nothing any more."""
    CLOSED = "closed"
