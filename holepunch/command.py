"""Runs the user's command on a session: arguments, environment, socket, signals, exit status.

    hand-over   our socket is closed just before the command binds the same inner endpoint
    pass-fd     the command inherits our open socket, by number
    proxy       we keep the socket; the command talks to a loopback pair (holepunch.proxy)

There is no shell: CMD is split into words as a shell would (shlex), placeholders are replaced inside
words, and the program is started with that list.  The secret is in the environment only.

A command started from a terminal shares our process group, so that it can read the terminal and Ctrl-C
and Ctrl-Z reach it from there.  Otherwise it leads a group of its own, and `deliver` passes signals on
to the whole group: a wrapper script need not pass them on itself.
"""

import asyncio
import contextlib
import enum
import os
import re
import shlex
import shutil
import signal
import socket
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from .errors import ConfigurationError
from .log import get_logger
from .proto.address import format_address
from .proto.events import CommandExited, CommandStarted, Event
from .proto.machine import Address
from .proxy import Proxy, ProxySession

log = get_logger("command")

_PLACEHOLDER = re.compile(r"\{((?:inner|outer|peer)(?:_ip|_port)?|peer_name|role)\}")
# Where the session is over because the peer's command has ended, ours may be about to end by itself.
_LEAVE_GRACE = 2.0  # seconds
# A command that is told to end has this long to take leave of its own peer.
_TERMINATION_GRACE = 10.0  # seconds


class Mode(enum.Enum):
    """How the command gets the path."""

    HAND_OVER = "hand-over"
    PASS_FD = "pass-fd"  # noqa: S105 - no password
    PROXY = "proxy"


class CommandSession(ProxySession, Protocol):
    """What a command needs of a session (holepunch.session.Session has it)."""

    @property
    def id(self) -> str:
        """The session id in hex."""

    @property
    def role(self) -> str:
        """`accept` or `connect`."""

    @property
    def peer_name(self) -> str:
        """The peer's name in our book."""

    @property
    def inner(self) -> Address:
        """Our socket, with the host this machine sends from."""

    @property
    def outer(self) -> Address:
        """Our socket as the peer sees it."""

    @property
    def peer(self) -> Address:
        """The peer as we see it."""

    @property
    def path(self) -> str:
        """`direct` or `relay`."""

    @property
    def secret(self) -> bytes:
        """32 bytes that only the two sides know."""

    @property
    def peer_fingerprint(self) -> bytes:
        """SHA-256 of the peer's certificate; empty where its offer had none."""

    async def confirmed(self) -> None:
        """Waits until both sides have selected the path."""

    async def ready(self) -> None:
        """Waits until both sides are about to use the path, the acceptor first."""

    def announce(self) -> None:
        """Tells the peer that our command is up."""

    async def hand_over(self) -> None:
        """As ready(), and closes our socket at the very end: the command must bind the inner endpoint at once."""

    async def detach(self) -> socket.socket:
        """As ready(), and gives our open socket away."""

    async def closed(self) -> None:
        """Waits until the session is over."""


class CertificateFiles(Protocol):
    """This machine's certificate, for commands that speak TLS (holepunch.home.Certificate)."""

    @property
    def cert_path(self) -> Path:
        """The certificate, PEM."""

    @property
    def key_path(self) -> Path:
        """Its private key, PEM, 0600."""

    @property
    def fingerprint(self) -> bytes:
        """SHA-256 of the certificate in DER, 32 bytes."""


class CertificateHome(Protocol):
    """Where the certificate lives (holepunch.home.Home)."""

    def certificate(self) -> CertificateFiles:
        """Returns the certificate, made when first asked for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoints:
    """What placeholders and classic arguments are made of."""

    inner: Address
    outer: Address
    peer: Address
    peer_name: str
    role: str

    def values(self) -> dict[str, str]:
        """Returns the value of each placeholder."""
        values = {"peer_name": self.peer_name, "role": self.role}
        for name, address in (("inner", self.inner), ("outer", self.outer), ("peer", self.peer)):
            values[name] = format_address(address)
            values[f"{name}_ip"], values[f"{name}_port"] = address[0], str(address[1])
        return values


# Before the network ------------------------------------------------------------------------------


def parse_command(text: str) -> list[str]:
    """Splits CMD into words, as a shell would, without expanding anything.

    Raises:
        ConfigurationError: it is empty, or a quotation mark has no partner.
    """
    try:
        argv = shlex.split(text)
    except ValueError as error:
        raise ConfigurationError(f"cannot read the command {text!r}: {error}") from error
    if not argv:
        raise ConfigurationError("the command of --exec is empty")
    return argv


def check_command(argv: Sequence[str]) -> None:
    """Makes sure that the command can be started, before any work on the network.

    Raises:
        ConfigurationError: the program is not there, or is not executable.
    """
    program = argv[0]
    if shutil.which(program) is not None:
        return
    path = Path(program)
    if path.is_dir():
        raise ConfigurationError(f"the command {program} is a folder")
    if path.exists() and path.name != program:
        raise ConfigurationError(f"the command {program} is not executable", hint=f"chmod +x {shlex.quote(program)}")
    hint = f"Write ./{program} for the one in this folder." if path.is_file() else "Check its name and PATH."
    raise ConfigurationError(f"the command {program} is not found", hint=hint)


def expand(argv: Sequence[str], endpoints: Endpoints) -> list[str]:
    """Replaces placeholders; where there is none, appends the six classic arguments.

    Other braces stay as they are: they may be the command's own.
    """
    values = endpoints.values()
    if any(_PLACEHOLDER.search(word) for word in argv):
        return [_PLACEHOLDER.sub(lambda match: values[match[1]], word) for word in argv]
    classic = [values[f"{name}_{part}"] for name in ("inner", "outer", "peer") for part in ("ip", "port")]
    return [*argv, *classic]


def environment(
    session: CommandSession, endpoints: Endpoints, mode: Mode, home: CertificateHome | None, base: Mapping[str, str]
) -> dict[str, str]:
    """Returns the command's environment: `base` and what the session adds.

    Fingerprints are written as OpenVPN and OpenSSL do: `AB:CD:...`.
    """
    added = {
        "INNER": format_address(endpoints.inner),
        "OUTER": format_address(endpoints.outer),
        "PEER": format_address(endpoints.peer),
        "PEER_NAME": endpoints.peer_name,
        "ROLE": endpoints.role,
        "MODE": mode.value,
        "PATH": session.path,
        "SESSION": session.id,
        "SECRET": session.secret.hex(),
    }
    if home is not None:
        certificate = home.certificate()
        added |= {"CERT": str(certificate.cert_path), "KEY": str(certificate.key_path)}
        added["FINGERPRINT"] = certificate.fingerprint.hex(":").upper()
    if session.peer_fingerprint:
        added["PEER_FINGERPRINT"] = session.peer_fingerprint.hex(":").upper()
    # Of a holepunch around us nothing may be left over, a number of a socket least of all.
    ours = {f"HOLEPUNCH_{name}" for name in ("FD", "CERT", "KEY", "FINGERPRINT", "PEER_FINGERPRINT")}
    out = {name: value for name, value in base.items() if name not in ours}
    return out | {f"HOLEPUNCH_{name}": value for name, value in added.items()}


# While it runs -----------------------------------------------------------------------------------


@dataclass(eq=False, slots=True)
class _Running:
    """A command that has been started and has not ended."""

    process: asyncio.subprocess.Process
    leads_group: bool

    def send(self, number: int) -> None:
        """Signals the command, its whole group where it leads one; harmless once it has ended."""
        if self.process.returncode is not None:
            return
        with contextlib.suppress(ProcessLookupError):
            if self.leads_group:
                os.killpg(self.process.pid, number)
            else:
                self.process.send_signal(number)


_running: set[_Running] = set()


def deliver(number: int) -> bool:
    """Passes a signal that this process received on to every running command.

    Where the terminal has sent it to the command already (Ctrl-C, hang-up), it is not sent twice.

    Returns:
        Whether a command runs that has the signal now; else the caller should end by itself.
    """
    for running in _running:
        if running.leads_group or not _came_from_terminal(number):
            running.send(number)
    return bool(_running)


def _came_from_terminal(number: int) -> bool:
    """Whether the terminal sends this signal to everybody in our process group."""
    if number == signal.SIGINT:
        return True
    # At a hang-up the terminal is gone when the signal comes; `kill -HUP` leaves it in place.
    return sys.platform != "win32" and number == signal.SIGHUP and not _in_foreground()


def _in_foreground() -> bool:
    """Whether standard input is a terminal, and ours at the moment."""
    try:
        return sys.platform != "win32" and os.tcgetpgrp(0) == os.getpgrp()
    except OSError:
        return False


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

    async def start(self, inner: Address, peer: Address, fd: int | None = None) -> _Running:
        session = self.session
        endpoints = Endpoints(
            inner=inner, outer=session.outer, peer=peer, peer_name=session.peer_name, role=session.role
        )
        variables = environment(session, endpoints, self.mode, self.home, os.environ)
        options: dict[str, Any] = {}
        if fd is not None:
            variables["HOLEPUNCH_FD"] = str(fd)
            options["pass_fds"] = (fd,)
        leads_group = sys.platform != "win32" and not _in_foreground()
        if leads_group:
            options["process_group"] = 0
        argv = expand(self.argv, endpoints)
        try:
            process = await asyncio.create_subprocess_exec(*argv, env=variables, **options)
        except (OSError, ValueError) as error:  # ValueError: a zero byte inside
            reason = getattr(error, "strerror", None) or error
            raise ConfigurationError(f"the command {argv[0]} cannot be started: {reason}") from error
        running = _Running(process, leads_group)
        _running.add(running)
        self.on_event(CommandStarted(session=session.id[:8], pid=process.pid, mode=self.mode.value))
        return running


async def _run_handed_over(launch: _Launch) -> int:
    if launch.home is not None:
        launch.home.certificate()  # made now if ever: afterwards each moment counts
    await launch.session.hand_over()
    return await _wait(await launch.start(launch.session.inner, launch.session.peer))


async def _run_with_socket(launch: _Launch) -> int:
    if sys.platform == "win32":
        raise ConfigurationError("--pass-fd does not exist on Windows", hint="Use --proxy, or neither.")
    sock = await launch.session.detach()
    with sock:  # our copy; the command's stays open
        sock.setblocking(True)  # a property of the open socket, not of the copy: commands expect it so
        running = await launch.start(launch.session.inner, launch.session.peer, sock.fileno())
    return await _wait(running)


async def _run_proxied(launch: _Launch) -> int:
    session = launch.session
    await (session.confirmed() if session.role == "accept" else session.ready())
    with Proxy(session) as proxy:
        inner = proxy.reserve()
        running = await launch.start(inner, proxy.address)
        session.announce()
        over = asyncio.create_task(_end_with_session(launch.session, running))
        try:
            return await _wait(running)
        finally:
            over.cancel()
            await asyncio.gather(over, return_exceptions=True)


_MODES = {Mode.HAND_OVER: _run_handed_over, Mode.PASS_FD: _run_with_socket, Mode.PROXY: _run_proxied}


async def _end_with_session(session: CommandSession, running: _Running) -> None:
    """Ends the command when there is nobody left to talk to."""
    await session.closed()
    await asyncio.sleep(_LEAVE_GRACE)
    log.info("session over, ending the command", pid=running.process.pid)
    await _terminate(running)


async def _wait(running: _Running) -> int:
    """Waits for the end; cancelled, it makes one."""
    try:
        status = await running.process.wait()
    except asyncio.CancelledError:
        await _terminate(running)
        raise
    finally:
        _running.discard(running)
    return status if status >= 0 else 128 - status


async def _terminate(running: _Running) -> None:
    """Asks the command to end, and after a while makes it."""
    running.send(signal.SIGTERM)
    try:
        async with asyncio.timeout(_TERMINATION_GRACE):
            await running.process.wait()
    except TimeoutError:
        running.send(signal.SIGKILL if sys.platform != "win32" else signal.SIGTERM)
        await running.process.wait()
