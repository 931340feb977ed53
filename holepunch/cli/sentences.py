"""Each event as one sentence a person understands, and how much they must want to know to see it."""

from collections.abc import Callable
from typing import Any

from ..proto import events
from ..proto.address import format_address

ALWAYS, VERBOSE, EVERYTHING = 0, 1, 2
"""How often -v must be given for a sentence to be shown."""


def duration(seconds: float) -> str:
    """Writes a duration with the unit a person would use: 850 us, 23 ms, 1.4 s, 12 min."""
    if seconds < 0.001:
        return f"{seconds * 1e6:.0f} us"
    if seconds < 1:
        return f"{seconds * 1e3:.0f} ms"
    return f"{seconds:.1f} s" if seconds < 120 else f"{seconds / 60:.0f} min"


def count(number: int, noun: str) -> str:
    """Writes a number with its noun: 1 candidate, 2 candidates."""
    return f"{number} {noun}{'' if number == 1 else 's'}"


def _started(event: events.Started) -> str:
    if event.role == "connect":
        return f"connecting to {event.peer}"
    return f"invited by {event.peer}" if event.peer else "accepting peers"


def _gathered(event: events.Gathered) -> str:
    out = f"{count(event.candidates, 'candidate')} in {duration(event.elapsed)}, mapping {event.mapping}"
    return f"{out}, our NATs end after {count(event.hops, 'hop')}" if event.hops else out


def _selected(event: events.PathSelected) -> str:
    way = "direct path to" if event.path == "direct" else "relayed path to"
    return (
        f"{way} {format_address(event.remote)}, {duration(event.rtt)} there and back, "
        f"after {duration(event.elapsed)} ({count(event.packets, 'packet')})"
    )


def _exited(event: events.CommandExited) -> str:
    return f"the command ended with status {event.status}"


# The type of an event, the level from which it is shown, and its sentence.
_SENTENCES: dict[type[events.Event], tuple[int, Callable[[Any], str]]] = {
    events.Started: (ALWAYS, _started),
    events.StunAnswered: (
        VERBOSE,
        lambda e: f"{format_address(e.server)} sees us as {format_address(e.mapped)} ({duration(e.rtt)})",
    ),
    events.CandidateFound: (VERBOSE, lambda e: f"candidate {format_address(e.address)} ({e.kind})"),
    events.Gathered: (VERBOSE, _gathered),
    events.OfferSent: (ALWAYS, lambda e: f"{e.kind} sent by {e.mediator}"),
    events.OfferFailed: (
        ALWAYS,
        lambda e: (
            f"{e.kind} could not be sent by {e.mediator}: {e.reason}" if e.kind else f"without {e.mediator}: {e.reason}"
        ),
    ),
    events.OfferReceived: (
        ALWAYS,
        lambda e: f"{e.kind} of {e.peer} received by {e.mediator} ({count(e.candidates, 'candidate')})",
    ),
    events.OfferRefused: (ALWAYS, lambda e: f"an envelope that came by {e.mediator} was refused: {e.reason}"),
    events.Waiting: (ALWAYS, lambda e: f"waiting for peers on {count(e.mediators, 'mediator')}; Ctrl-C ends it"),
    events.StepBegun: (VERBOSE, lambda e: f"{e.strategy}: {count(e.targets, 'target')}"),
    events.PeerHeard: (VERBOSE, lambda e: f"heard the peer from {format_address(e.remote)}"),
    events.PathValid: (
        VERBOSE,
        lambda e: f"the path to {format_address(e.remote)} works ({e.kind}, {duration(e.rtt)})",
    ),
    events.PathSelected: (ALWAYS, _selected),
    events.SessionReady: (VERBOSE, lambda _: "both sides are ready"),
    events.PathLost: (
        ALWAYS,
        lambda e: f"the path to {format_address(e.remote)} is lost: silent for {duration(e.silent)}; punching again",
    ),
    events.CommandStarted: (VERBOSE, lambda e: f"the command runs as process {e.pid} ({e.mode})"),
    events.CommandExited: (VERBOSE, _exited),
    events.SessionClosed: (ALWAYS, lambda e: f"session closed: {e.reason}" if e.reason else "session closed"),
    events.Failed: (ALWAYS, lambda e: f"{e.reason}{f'; {e.hint}' if e.hint else ''}"),
}


def describe(event: events.Event) -> tuple[int, str]:
    """Returns the level of an event and its sentence, without a full stop.

    An event that has no row yet is shown as its fields, to those who want to know everything.
    """
    row = _SENTENCES.get(type(event))
    if row is not None:
        level, sentence = row
        return level, sentence(event)
    fields = event.to_json()
    return EVERYTHING, " ".join([str(fields.pop("event")), *(f"{name}={value}" for name, value in fields.items())])
