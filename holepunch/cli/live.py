"""The live view: a picture of every attempt, kept by events and drawn by rich.

The model knows no terminal: events and the time go in, a renderable comes out, so tests look at it
in plain text.  An attempt has three lines, in the order in which things happen - addresses, offer,
path - and each has a mark: not begun, going on, done, failed.
"""

import enum
from collections.abc import Callable
from dataclasses import dataclass, field

from rich.console import Group, RenderableType
from rich.spinner import Spinner
from rich.table import Table
from rich.text import Text

from ..proto import events
from ..proto.address import Scope, format_address, scope_of
from ..proto.machine import Address
from .sentences import count, duration

SHOWN_CANDIDATES = 6  # of each attempt; a machine with twenty addresses must not fill the screen
SHOWN_ATTEMPTS = 6  # of an acceptor; each takes three lines or more


class Mark(enum.Enum):
    """How far a line of an attempt is."""

    IDLE = " "
    BUSY = "busy"
    DONE = "[green]✓[/]"
    FAILED = "[red]✗[/]"


@dataclass(slots=True)
class Attempt:
    """One attempt, or session, and what its events have said so far."""

    began: float
    peer: str = ""
    is_invited: bool = False
    """Whether the peer asked us; its invitation came before the attempt began."""
    candidates: dict[Address, str] = field(default_factory=dict)
    seen_by: list[float] = field(default_factory=list)
    """Round trips to the STUN servers that answered."""
    gathered: events.Gathered | None = None
    sent: dict[str, list[str]] = field(default_factory=dict)
    """Which mediators took each kind of offer."""
    trouble: dict[str, str] = field(default_factory=dict)
    """Why a mediator did not; by its URL."""
    received: events.OfferReceived | None = None
    refused: str = ""
    steps: dict[str, int] = field(default_factory=dict)
    """The steps of the plan that have begun, and how many addresses each has."""
    heard: dict[Address, str] = field(default_factory=dict)
    """Where the peer was heard, and the round trip once the path is proven."""
    selected: events.PathSelected | None = None
    lost: events.PathLost | None = None
    command: str = ""
    ended: float | None = None
    """When there was nothing more to wait for: a path, or none."""
    over: str = ""
    hint: str = ""
    failed: bool = False

    def take(self, event: events.Event) -> None:
        """Learns from one event."""
        if isinstance(event, events.Started | events.OfferReceived) and event.peer:
            self.peer = event.peer
            self.is_invited = self.is_invited or (isinstance(event, events.Started) and event.role == "accept")
        match event:
            case events.CandidateFound():
                self.candidates[event.address] = event.kind
            case events.StunAnswered():
                self.seen_by.append(event.rtt)
            case events.Gathered():
                self.gathered = event
            case events.OfferSent():
                self.sent.setdefault(event.kind, []).append(event.mediator)
                self.trouble.pop(event.mediator, None)
            case events.OfferFailed():
                self.trouble[event.mediator] = event.reason
            case events.OfferReceived():
                self.received = event
            case events.OfferRefused():
                self.refused = f"{event.reason} ({event.mediator})"
            case events.StepBegun():
                self.steps[event.strategy] = max(event.targets, self.steps.get(event.strategy, 0))
            case events.PeerHeard():
                self.heard.setdefault(event.remote, "")
            case events.PathValid():
                self.heard[event.remote] = duration(event.rtt)
            case events.PathSelected():
                self.selected, self.lost = event, None
            case events.PathLost():
                self.selected, self.lost = None, event
            case _:
                self._take_end(event)

    def _take_end(self, event: events.Event) -> None:
        match event:
            case events.CommandStarted():
                self.command = f"the command runs, process {event.pid} ({event.mode})"
            case events.CommandExited():
                self.command = f"the command ended with status {event.status}"
            case events.SessionClosed():
                self.over = self.over or event.reason or "closed"
            case events.Failed():
                self.over, self.hint, self.failed = event.reason, event.hint, True
            case _:
                pass

    # Its lines, each a mark and a text.

    def addresses(self) -> tuple[Mark, Text]:
        """Returns the line about our own addresses."""
        text = Text()
        if self.gathered:
            text.append(f"{count(self.gathered.candidates, 'candidate')} in {duration(self.gathered.elapsed)}")
            text.append(f", mapping {self.gathered.mapping}", "dim")
            if self.gathered.hops:
                text.append(f", {count(self.gathered.hops, 'hop')} to leave our NATs", "dim")
        elif self.candidates or self.seen_by:
            text.append(f"{count(len(self.candidates), 'candidate')}, {count(len(self.seen_by), 'STUN answer')}")
        else:
            text.append("asking STUN servers how they see us", "dim")
        return (Mark.DONE if self.gathered else self._unless_over()), text

    def offer(self) -> tuple[Mark, Text]:
        """Returns the line about the offers and the mediators that carry them."""
        text = Text("invited by the peer" if self.is_invited else "")
        for kind, mediators in self.sent.items():
            text.append(f"{'; ' if text else ''}{kind} sent by ").append(", ".join(mediators), "cyan")
        if self.received:
            text.append(f"{'; ' if text else ''}{self.received.kind} received by ")
            text.append(self.received.mediator, "cyan")
            text.append(f" ({count(self.received.candidates, 'candidate')})", "dim")
        elif self.sent and not self.is_invited:
            text.append("; no answer" if self.over else "; waiting for the answer", "dim")
        for mediator, reason in self.trouble.items():
            text.append(f"{'; ' if text else ''}{mediator}: {reason}", "yellow")
        if self.refused and not self.received:
            text.append(f"{'; ' if text else ''}refused: {self.refused}", "yellow")
        begun = bool(self.sent or self.received or self.trouble)
        is_done = self.received or (self.is_invited and self.sent)
        return (Mark.DONE if is_done else self._unless_over() if begun else Mark.IDLE), text

    def path(self) -> tuple[Mark, Text]:
        """Returns the line about the punch and the path."""
        text = Text()
        if self.selected:
            kind = "relayed" if self.selected.path == "relay" else "direct"
            text.append(f"{kind} to ").append(format_address(self.selected.remote), "bold green")
            text.append(f", {duration(self.selected.rtt)} there and back")
            text.append(f", found in {duration(self.selected.elapsed)}", "dim")
            text.append(f" with {count(self.selected.packets, 'packet')}", "dim")
            return Mark.DONE, text
        if self.lost:
            silent = duration(self.lost.silent)
            text.append(f"lost: {format_address(self.lost.remote)} is silent for {silent}, punching again", "yellow")
        elif self.steps:
            text.append(" → ".join(self.steps)).append(f", {count(max(self.steps.values()), 'target')}", "dim")
        for remote, rtt in self.heard.items():
            text.append("; heard ").append(format_address(remote), "green").append(f" {rtt}" if rtt else "", "dim")
        begun = bool(self.steps) or bool(self.heard) or self.lost is not None
        return (self._unless_over() if begun else Mark.IDLE), text

    def _unless_over(self) -> Mark:
        return Mark.FAILED if self.over else Mark.BUSY


class View:
    """Every attempt of one run.

    Args:
        clock: gives the time, in seconds.
        several: whether peers come side by side, as to an acceptor; else all events are of one attempt.
    """

    def __init__(self, clock: Callable[[], float], *, several: bool) -> None:
        self._clock = clock
        self._several = several
        self._spinner = Spinner("dots", style="cyan")
        self._waiting: events.Waiting | None = None
        self.attempts: dict[str, Attempt] = {"": Attempt(clock())}

    def take(self, event: events.Event) -> None:
        """Learns from one event."""
        if isinstance(event, events.Waiting):
            self._waiting = event
            return
        key = event.session if self._several else ""
        if key not in self.attempts:
            self.attempts[key] = Attempt(self._clock())
        attempt = self.attempts[key]
        attempt.take(event)
        if attempt.ended is None and (attempt.selected or attempt.over):
            attempt.ended = self._clock()
        elif attempt.lost:
            attempt.ended = None

    def forget(self, session: str) -> None:
        """Forgets one of several attempts: what there is to say of it stands above the picture."""
        if self._several and session:
            self.attempts.pop(session, None)

    def picture(self, session: str) -> RenderableType:
        """Returns the picture of one attempt."""
        return self._draw(self.attempts[session if self._several else ""])

    def __rich__(self) -> RenderableType:
        if not self._several:
            return self.picture("")
        keys = [key for key in self.attempts if key]
        parts = [self._draw_common(self.attempts[""]), *(self.picture(key) for key in keys[:SHOWN_ATTEMPTS])]
        if len(keys) > SHOWN_ATTEMPTS:
            parts.append(Text(f"and {count(len(keys) - SHOWN_ATTEMPTS, 'more session')}", "dim"))
        return Group(*parts)

    def _draw_common(self, attempt: Attempt) -> RenderableType:
        """Draws what belongs to no session: an acceptor that waits."""
        grid = _grid()
        elapsed = duration(self._clock() - attempt.began)
        waiting = self._waiting
        text = f"waiting for peers on {count(waiting.mediators, 'mediator')}" if waiting else "getting ready"
        state = Text.assemble(text, (f"  {elapsed}, Ctrl-C ends it", "dim"))
        grid.add_row(self._spinner, Text("accept", "bold"), state)
        if attempt.candidates or attempt.gathered:
            grid.add_row("", Text("addresses"), attempt.addresses()[1])
        for mediator, reason in attempt.trouble.items():
            grid.add_row("", Text("offer"), Text(f"{mediator}: {reason}", "yellow"))
        if attempt.refused:
            grid.add_row("", Text("refused"), Text(attempt.refused, "yellow"))
        return grid

    def _draw(self, attempt: Attempt) -> RenderableType:
        grid = _grid()
        title = Text(attempt.peer or "a peer", "bold")
        ended = self._clock() if attempt.ended is None else attempt.ended
        head = Text(duration(ended - attempt.began), "dim")
        is_vain = bool(attempt.over) and not attempt.selected
        if is_vain and not self._several:  # why is the program's last word
            head = Text(f"{'failed' if attempt.failed else 'stopped'} after {duration(ended - attempt.began)}", "red")
        elif attempt.over:
            head = Text(attempt.over, "red" if attempt.failed else "dim")
        elif attempt.command:
            head = Text(attempt.command)
        state = Mark.FAILED if attempt.failed or is_vain else Mark.DONE if attempt.selected else Mark.BUSY
        grid.add_row(self._mark(state), title, head)
        if attempt.hint and self._several:
            grid.add_row("", "", Text(attempt.hint, "dim"))
        for name, (mark, text) in (
            ("addresses", attempt.addresses()),
            ("offer", attempt.offer()),
            ("path", attempt.path()),
        ):
            if self._several and name == "addresses" and not attempt.gathered:
                continue
            grid.add_row(self._mark(mark), Text(name, "dim" if mark is Mark.IDLE else ""), text)
            if name == "addresses" and not attempt.selected:
                for row in _candidate_rows(attempt):
                    grid.add_row("", "", row)
        return grid

    def _mark(self, mark: Mark) -> RenderableType:
        return self._spinner if mark is Mark.BUSY else Text.from_markup(mark.value)


def _candidate_rows(attempt: Attempt) -> list[Text]:
    # Loopback is a candidate of a machine without a network only.
    known = {address: kind for address, kind in attempt.candidates.items() if scope_of(address[0]) != Scope.LOOPBACK}
    found = list((known or attempt.candidates).items())
    rows = [
        Text.assemble((f"{kind:<17}", "dim"), (format_address(address), "cyan"))
        for address, kind in found[:SHOWN_CANDIDATES]
    ]
    hidden = len(found) - len(rows)
    return [*rows, Text(f"and {hidden} more", "dim")] if hidden > 0 else rows


def _grid() -> Table:
    grid = Table.grid(padding=(0, 1))
    grid.add_column(width=1)
    grid.add_column(min_width=9, no_wrap=True)
    grid.add_column(overflow="fold")
    return grid
