"""Shows events: a live view on a terminal, plain lines elsewhere, JSON for programs, or nothing.

Results go to stdout and everything else to stderr, so these write to stderr - except JSON, where
the events are the result and go to stdout, unless a command of the user's owns stdout (--exec).
"""

import contextlib
import json
import logging
import os
import sys
import time
from collections.abc import Callable, Iterator
from typing import IO, TYPE_CHECKING, Any, Protocol

import click

from ..proto import events
from .sentences import ALWAYS, describe

if TYPE_CHECKING:
    from rich.live import Live


class Renderer(Protocol):
    """What shows events to a person or a program."""

    def __call__(self, event: events.Event) -> None:
        """Shows one event."""

    def say(self, line: str) -> None:
        """Shows a line that is no event, such as a log record."""

    def result(self, fields: dict[str, Any]) -> None:
        """Writes the result of a session without a command."""

    def close(self) -> None:
        """Leaves the terminal as it should be; harmless twice."""


class JsonRenderer:
    """One JSON object per line: `event`, `t` (Unix time in seconds) and the event's fields."""

    def __init__(self, stream: IO[str], clock: Callable[[], float] = time.time) -> None:
        self._stream = stream
        self._clock = clock

    def __call__(self, event: events.Event) -> None:
        """Writes one event."""
        fields = event.to_json()
        self._write({"event": fields.pop("event"), "t": self._now(), **fields})

    def say(self, line: str) -> None:
        """Writes a log line to stderr, where it disturbs no parser."""
        click.echo(line, err=True)

    def result(self, fields: dict[str, Any]) -> None:
        """Writes the endpoints as one more event."""
        self._write({"event": "endpoints", "t": self._now(), **fields})

    def close(self) -> None:
        """Does nothing: every line is flushed."""

    def _now(self) -> float:
        return round(self._clock(), 6)

    def _write(self, fields: dict[str, Any]) -> None:
        click.echo(json.dumps(fields), file=self._stream)


class PlainRenderer:
    """One line per event, for a log or a pipe.

    Args:
        verbosity: -1 shows nothing, 0 the main steps, 1 each step, 2 every event.
        stream: where lines go.
        single: whether there is one peer; its failure is then the program's, which says it itself.
    """

    def __init__(self, verbosity: int, stream: IO[str], *, single: bool) -> None:
        self._verbosity = verbosity
        self._stream = stream
        self._single = single
        self._peers: dict[str, str] = {}
        self._failed: set[str] = set()

    def __call__(self, event: events.Event) -> None:
        """Writes one event, if it is wanted."""
        self.learn(event)
        level, sentence = describe(event)
        name = "" if self._single else self._peers.get(event.session, event.session)
        if level <= self._verbosity and not self._is_known(event):
            self.say(f"{name}: {sentence}" if name else sentence)
        if isinstance(event, events.SessionClosed):
            self.forget(event.session)

    def _is_known(self, event: events.Event) -> bool:
        """Whether the person has been told, or will be: the end of the only peer is the program's own."""
        if isinstance(event, events.Failed):
            return self._single
        return isinstance(event, events.SessionClosed) and (self._single or event.session in self._failed)

    def forget(self, session: str) -> None:
        """Forgets a session that is over."""
        self._peers.pop(session, None)
        self._failed.discard(session)

    def learn(self, event: events.Event) -> None:
        """Learns the peer's name, so that later lines of its session can begin with it."""
        if isinstance(event, events.Failed):
            self._failed.add(event.session)
        if isinstance(event, events.Started | events.OfferReceived) and event.session and event.peer:
            self._peers[event.session] = event.peer

    def say(self, line: str) -> None:
        """Writes a line."""
        click.echo(f"holepunch: {line}", file=self._stream)

    def result(self, fields: dict[str, Any]) -> None:
        """Writes the endpoints to stdout, one `name address` per line."""
        write_endpoints(fields)

    def close(self) -> None:
        """Does nothing: every line is flushed."""


class LiveRenderer:
    """A picture that changes in place, and stays as a summary.

    It gives the terminal back while a command of the user's runs: then there are plain lines.
    """

    def __init__(self, verbosity: int, *, single: bool, clock: Callable[[], float] = time.monotonic) -> None:
        from rich.console import Console

        from .live import View

        self._console = Console(stderr=True, highlight=False)
        self._plain = PlainRenderer(verbosity, sys.stderr, single=single)
        self._verbosity = verbosity
        self._single = single
        self._running: set[str] = set()
        self._view = View(clock, several=not single)
        self._live: Live | None = None
        self._resume()

    def __call__(self, event: events.Event) -> None:
        """Changes the picture, or writes a line while a command has the terminal."""
        self._view.take(event)
        if isinstance(event, events.SessionReady | events.CommandStarted) and event.session not in self._running:
            # From here on the command writes to this terminal, and a picture would paint over it.
            self._running.add(event.session)
            self._pause()
            self._keep(event.session)
        if self._live is None:
            self._plain(event)
        else:
            self._plain.learn(event)
            level, sentence = describe(event)
            if ALWAYS < level <= self._verbosity:
                self.say(sentence)
        if isinstance(event, events.SessionClosed):
            self._end(event.session)

    def _end(self, session: str) -> None:
        if self._live is not None:
            self._keep(session)
        self._plain.forget(session)
        self._view.forget(session)
        self._running.discard(session)
        if not self._running and not self._single and self._live is None:
            self._resume()

    def _keep(self, session: str) -> None:
        """Leaves the picture of one of several sessions on the terminal; a single one stays by itself."""
        if not self._single and session in self._view.attempts:
            self._console.print(self._view.picture(session))

    def say(self, line: str) -> None:
        """Writes a line above the picture."""
        from rich.text import Text

        self._console.print(Text(f"holepunch: {line}", "dim"))

    def result(self, fields: dict[str, Any]) -> None:
        """Ends the picture and writes the endpoints to stdout."""
        self._pause()
        write_endpoints(fields)

    def close(self) -> None:
        """Leaves the last picture on the terminal."""
        self._pause()

    def _resume(self) -> None:
        from rich.live import Live

        self._live = Live(
            self._view,
            console=self._console,
            refresh_per_second=10,
            redirect_stdout=False,
            transient=not self._single,
        )
        self._live.start()

    def _pause(self) -> None:
        if self._live is not None:
            self._live.stop()
            self._live = None


def write_endpoints(fields: dict[str, Any]) -> None:
    """Writes inner, outer and peer to stdout, one per line: a word and an address."""
    for name in ("inner", "outer", "peer"):
        click.echo(f"{name} {fields[name]}")


def make_renderer(*, as_json: bool, verbosity: int, single: bool, command: bool, interactive: bool) -> Renderer:
    """Returns the renderer that fits the flags and the terminal.

    Args:
        as_json: whether --json was given.
        verbosity: -1 for -q, else how often -v was given.
        single: whether this is `--peer` or `--once`: one peer.
        command: whether a command will own stdout.
        interactive: whether a mediator talks with the person, which a changing picture would disturb.
    """
    if as_json:
        return JsonRenderer(sys.stderr if command else sys.stdout)
    terminal = sys.stderr.isatty() and os.environ.get("TERM", "dumb") != "dumb"
    if terminal and verbosity >= 0 and not interactive:
        return LiveRenderer(verbosity, single=single)
    return PlainRenderer(verbosity, sys.stderr, single=single)


class _Handler(logging.Handler):
    """Shows log records through a renderer, so that they do not tear the picture."""

    def __init__(self, renderer: Renderer) -> None:
        super().__init__()
        self._renderer = renderer
        self._text = logging.Formatter()

    def emit(self, record: logging.LogRecord) -> None:
        try:
            self._renderer.say(f"{record.name.removeprefix('holepunch.')}: {self._text.format(record)}")
        except Exception:  # noqa: BLE001  # logging's own rule: a handler reports its failure and goes on
            self.handleError(record)


@contextlib.contextmanager
def show_logs(renderer: Renderer, verbosity: int) -> Iterator[None]:
    """Sends the log of holepunch to a renderer: warnings, with -v what is done, with -vv everything."""
    logger = logging.getLogger("holepunch")
    handler = _Handler(renderer) if verbosity >= 0 else logging.NullHandler()
    before = logger.level, logger.propagate
    logger.addHandler(handler)
    logger.setLevel({-1: logging.CRITICAL, 0: logging.WARNING, 1: logging.INFO}.get(verbosity, logging.DEBUG))
    logger.propagate = False
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.level, logger.propagate = before
