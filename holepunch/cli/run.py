"""A session from the command line: `--accept` and `--peer`, from settings to exit status.

One task per session; the first SIGINT or SIGTERM goes to the commands that run, which end the session
by ending; where none runs, or at the second, everything is cancelled.
"""

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from .. import command
from ..config import CONNECT_TIMEOUT, Settings
from ..errors import ConfigurationError, HolepunchError, PeerTimeoutError
from ..home import Home
from ..log import get_logger
from ..mediator import installed
from ..proto.address import format_address
from .lazy import unexpected
from .render import Renderer, make_renderer, show_logs

if TYPE_CHECKING:
    from ..session import Session

log = get_logger("cli")


class SessionMaker(Protocol):
    """What a run needs of a Puncher."""

    async def connect(self, who: str, *, timeout: float | None) -> "Session":
        """Opens a session with a peer."""

    def accept(self) -> AsyncIterator["Session"]:
        """Yields sessions with peers that invite us."""


class PuncherFactory(Protocol):
    """Makes the Puncher; a test gives another one."""

    def __call__(
        self, home: Home, settings: Settings, *, keeps_socket: bool, on_event: Renderer
    ) -> AbstractAsyncContextManager[SessionMaker]:
        """Returns a Puncher, to be entered.

        Args:
            home: whose identity, and which peers.
            settings: as configured.
            keeps_socket: whether the socket stays ours while the command runs.
            on_event: told what happens.
        """


def make_puncher(
    home: Home, settings: Settings, *, keeps_socket: bool, on_event: Renderer
) -> AbstractAsyncContextManager[SessionMaker]:
    """Returns the real one; a command brings its own encryption, so nothing is sealed by us."""
    from ..puncher import Puncher

    return Puncher(home, settings, sealed=False, keeps_socket=keeps_socket, on_event=on_event)


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """What the command line asks for, beyond the settings."""

    peer: str
    """Whom to connect to; empty: accept."""
    once: bool
    argv: list[str]
    """The command's words; empty: print the endpoints."""
    mode: command.Mode

    @property
    def single(self) -> bool:
        """Whether the end of the first session is the end."""
        return bool(self.peer) or self.once


class Run:
    """One run of `--accept` or `--peer`.

    Args:
        job: what to do.
        home: this machine's home.
        settings: how to do it.
        renderer: told what happens.
        factory: makes the Puncher.
    """

    def __init__(self, job: Job, home: Home, settings: Settings, renderer: Renderer, factory: PuncherFactory) -> None:
        self._job = job
        self._home = home
        self._settings = settings
        self._renderer = renderer
        self._factory = factory
        self._signal: int | None = None
        self._task: asyncio.Task[int] | None = None
        self._accepting: asyncio.Task[None] | None = None

    async def run(self) -> int:
        """Does it all; returns the exit status.

        Raises:
            HolepunchError: what failed, for a person to read.
        """
        self._task = asyncio.current_task()
        remove = self._catch_signals()
        try:
            keeps_socket = self._job.mode is command.Mode.PROXY
            made = self._factory(self._home, self._settings, keeps_socket=keeps_socket, on_event=self._renderer)
            async with made as puncher:
                status = await (self._connect(puncher) if self._job.peer else self._accept(puncher))
        except asyncio.CancelledError:
            if self._signal is None:
                raise
            return self._stopped(self._signal)
        finally:
            remove()
        return status

    def _stopped(self, number: int) -> int:
        """Returns the exit status of a run that a signal ended."""
        # To wait for peers until told to stop is what was asked for: that is a success.
        return 0 if number == signal.SIGTERM and not self._job.single else 128 + number

    # One side or the other.

    async def _connect(self, puncher: SessionMaker) -> int:
        timeout = self._settings.timeout or CONNECT_TIMEOUT
        return await self._serve(await puncher.connect(self._job.peer, timeout=timeout))

    async def _accept(self, puncher: SessionMaker) -> int:
        sessions = puncher.accept()
        if self._job.once:
            return await self._serve(await self._first(sessions))
        async with asyncio.TaskGroup() as group:
            self._accepting = group.create_task(self._accept_all(sessions, group))
        return self._stopped(self._signal) if self._signal is not None else 0

    async def _first(self, sessions: AsyncIterator["Session"]) -> "Session":
        try:
            async with asyncio.timeout(self._settings.timeout):
                async for session in sessions:
                    return session
        except TimeoutError:
            pass
        raise PeerTimeoutError(
            f"no peer came within {self._settings.timeout:g} s"
            if self._settings.timeout is not None
            else "the mediators ended before a peer came",
            hint="Is the other side running, and does it use the same mediator?",
        )

    async def _accept_all(self, sessions: AsyncIterator["Session"], group: asyncio.TaskGroup) -> None:
        async for session in sessions:
            group.create_task(self._serve_one_of_many(session), name=f"session with {session.peer_name}")

    async def _serve_one_of_many(self, session: "Session") -> None:
        """Serves a peer whose failure is not the others' failure."""
        try:
            await self._serve(session)
        except HolepunchError as error:
            self._renderer.say(f"{session.peer_name}: {error}{f'; {error.hint}' if error.hint else ''}")
        except Exception as error:
            log.info("session failed", exc_info=True)
            self._renderer.say(f"{session.peer_name}: {unexpected(error)}")

    async def _serve(self, session: "Session") -> int:
        try:
            if self._job.argv:
                return await command.run(session, self._job.argv, self._job.mode, self._home, self._renderer)
            await session.ready()
            self._renderer.result(endpoints(session))
            return 0
        finally:
            await session.close()

    # Signals.

    def _catch_signals(self) -> Callable[[], None]:
        if sys.platform == "win32":
            return lambda: None  # it has no add_signal_handler; Ctrl-C cancels the main task by asyncio.Runner
        loop = asyncio.get_running_loop()
        # What we were started to ignore stays ignored: SIGHUP under nohup, SIGINT in a shell's background.
        numbers = [n for n in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP) if signal.getsignal(n) != signal.SIG_IGN]
        for number in numbers:
            loop.add_signal_handler(number, self._receive_signal, number)

        def remove() -> None:
            for number in numbers:
                loop.remove_signal_handler(number)

        return remove

    def _receive_signal(self, number: int) -> None:
        first = self._signal is None
        self._signal = number
        # A command that runs is told, and its end is the end of its session; no new one begins.
        if command.deliver(number) and first:
            if self._accepting is not None:
                self._accepting.cancel()
        elif self._task is not None:
            self._task.cancel()


def endpoints(session: "Session") -> dict[str, Any]:
    """Returns the result of a session without a command, as written to stdout."""
    return {
        "session": session.id[:8],
        "peer_name": session.peer_name,
        "peer_id": str(session.peer_id),
        "role": session.role,
        "path": session.path,
        "rtt": round(session.rtt, 6),
        "inner": format_address(session.inner),
        "outer": format_address(session.outer),
        "peer": format_address(session.peer),
    }


def run(flags: Mapping[str, Any], factory: PuncherFactory = make_puncher) -> int:
    """Runs what the command line says; returns the exit status.

    Everything that can be known to be wrong is said before the network is touched.

    Args:
        flags: the options given, by name.
        factory: makes the Puncher.

    Raises:
        HolepunchError: what failed, for a person to read.
    """
    home = Home.locate(os.environ)
    names = Settings.__dataclass_fields__.keys()
    settings = Settings.load(home.settings_path, os.environ, {n: v for n, v in flags.items() if n in names})
    if settings.relay or settings.relay_only:
        raise ConfigurationError(
            "this version has no relays, so --relay and --relay-only cannot be obeyed",
            hint="Leave them out: a direct path is then found, or the reason why there is none.",
        )
    argv = []
    if (text := flags.get("exec_command")) is not None:
        argv = command.parse_command(text)
        command.check_command(argv)
    mode = (
        command.Mode.PROXY if settings.proxy else command.Mode.PASS_FD if settings.pass_fd else command.Mode.HAND_OVER
    )
    job = Job(peer=flags.get("peer") or "", once=flags.get("once", False), argv=argv, mode=mode)
    home.identity()
    urls = _mediators(home, settings, job)
    renderer = make_renderer(
        as_json=settings.json,
        verbosity=settings.verbosity,
        single=job.single,
        command=bool(argv),
        interactive=any(map(_is_interactive, urls)),
    )
    with show_logs(renderer, settings.verbosity):
        try:
            return asyncio.run(Run(job, home, settings, renderer, factory).run())
        finally:
            renderer.close()


def _mediators(home: Home, settings: Settings, job: Job) -> tuple[str, ...]:
    """Returns the URLs of the mediators that will be used.

    Raises:
        ConfigurationError: there is none.
        AuthenticationError: the peer is unknown.
    """
    peers = [home.peers.get(job.peer)] if job.peer else home.peers.list()
    urls = tuple(dict.fromkeys((*settings.mediators, *(url for peer in peers for url in peer.mediators))))
    if not peers:
        raise ConfigurationError(
            "the peer book is empty, so nobody may connect",
            hint="holepunch peer add NAME hp1...   (the other machine's line: `holepunch id` there)",
        )
    if not urls:
        raise ConfigurationError(
            "no mediator is configured, so no offer can travel",
            hint="Add --mediator URL, for example file:///a/folder/that/both/see, or paste: for copy and paste.",
        )
    return urls


def _is_interactive(url: str) -> bool:
    """Returns whether a mediator talks with the person; what cannot be loaded is for the Puncher to report."""
    point = installed().get(url.partition(":")[0])
    try:
        return bool(point and point.load().interactive)
    except (ImportError, AttributeError):
        return False
