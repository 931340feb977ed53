"""Runs the user's command on a session: arguments, environment, socket, signals, exit status.

    hand-over   our socket is closed just before the command binds the same inner endpoint
    pass-fd     the command inherits our open socket, by number
    proxy       we keep the socket; the command talks to a loopback pair (holepunch.proxy)

There is no shell: CMD is split into words as a shell would (shlex), placeholders are replaced inside
words, and the program is started with that list.  The secret is in the environment only.
"""

import asyncio
import enum
import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from ..errors import ConfigurationError
from ..log import get_logger
from ..proto.events import CommandExited, CommandStarted, Event
from ..proto.machine import Address
from ..proxy import Proxy
from .environment import environment
from .needs import CertificateHome, CommandSession
from .process import Running, deliver, start, terminate, wait
from .words import Endpoints, check_command, expand, parse_command

__all__ = ["CertificateHome", "CommandSession", "Mode", "check_command", "deliver", "parse_command", "run"]

log = get_logger("command")

# Where the session is over because the peer's command has ended, ours may be about to end by itself.
_LEAVE_GRACE = 2.0  # seconds


class Mode(enum.Enum):
    """How the command gets the path."""

    HAND_OVER = "hand-over"
    PASS_FD = "pass-fd"  # noqa: S105 - no password
    PROXY = "proxy"


async def run(
    session: CommandSession,
    argv: Sequence[str],
    mode: Mode = Mode.HAND_OVER,
    home: CertificateHome | None = None,
    on_event: Callable[[Event], None] = lambda _: None,
) -> int:
    """Waits until the session is ready, runs the command and waits for its end.

    Cancelled, it terminates the command first.  In proxy mode the command is terminated, too, when the
    session is over for good.

    Args:
        session: the session; in hand-over and pass-fd modes its socket is gone afterwards.
        argv: the words of the command, with their placeholders.
        mode: how the command gets the path.
        home: where the certificate for HOLEPUNCH_CERT and HOLEPUNCH_KEY comes from.
        on_event: told when the command starts and ends.

    Returns:
        The command's exit status; 128 + n where signal n ended it.

    Raises:
        ConfigurationError: the command cannot be started.
    """
    check_command(argv)
    status = await _MODES[mode](_Launch(session, argv, mode, home, on_event))
    on_event(CommandExited(session=session.id[:8], status=status))
    return status


@dataclass(slots=True)
class _Launch:
    """What it takes to start a command."""

    session: CommandSession
    argv: Sequence[str]
    mode: Mode
    home: CertificateHome | None
    on_event: Callable[[Event], None]

    async def start(self, inner: Address, peer: Address, fd: int | None = None) -> Running:
        session = self.session
        endpoints = Endpoints(
            inner=inner, outer=session.outer, peer=peer, peer_name=session.peer_name, role=session.role
        )
        variables = environment(session, endpoints, self.mode.value, self.home, os.environ)
        fds: tuple[int, ...] = ()
        if fd is not None:
            variables["HOLEPUNCH_FD"] = str(fd)
            fds = (fd,)
        running = await start(expand(self.argv, endpoints), variables, fds)
        self.on_event(CommandStarted(session=session.id[:8], pid=running.process.pid, mode=self.mode.value))
        return running


async def _run_handed_over(launch: _Launch) -> int:
    if launch.home is not None:
        launch.home.certificate()  # made now if ever: afterwards each moment counts
    await launch.session.hand_over()
    return await wait(await launch.start(launch.session.inner, launch.session.peer))


async def _run_with_socket(launch: _Launch) -> int:
    if sys.platform == "win32":
        raise ConfigurationError("--pass-fd does not exist on Windows", hint="Use --proxy, or neither.")
    sock = await launch.session.detach()
    with sock:  # our copy; the command's stays open
        sock.setblocking(True)  # a property of the open socket, not of the copy: commands expect it so
        running = await launch.start(launch.session.inner, launch.session.peer, sock.fileno())
    return await wait(running)


async def _run_proxied(launch: _Launch) -> int:
    session = launch.session
    # The proxy first: what the peer's command says before ours is up is kept for it.
    with Proxy(session) as proxy:
        await (session.confirmed() if session.role == "accept" else session.ready())
        running = await launch.start(proxy.reserve(), proxy.address)
        session.announce()
        over = asyncio.create_task(_end_with_session(session, running))
        try:
            return await wait(running)
        finally:
            over.cancel()
            await asyncio.gather(over, return_exceptions=True)


_MODES = {Mode.HAND_OVER: _run_handed_over, Mode.PASS_FD: _run_with_socket, Mode.PROXY: _run_proxied}


async def _end_with_session(session: CommandSession, running: Running) -> None:
    """Ends the command when there is nobody left to talk to."""
    await session.closed()
    await asyncio.sleep(_LEAVE_GRACE)
    log.info("session over, ending the command", pid=running.process.pid)
    await terminate(running)
