"""A command that runs: signals to it, and its end.

Started from a terminal it shares our process group, so that it can read the terminal, and Ctrl-C and
Ctrl-Z reach it from there.  Otherwise it leads a group of its own, and signals go to the whole group: a
wrapper script need not pass them on itself.
"""

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..errors import ConfigurationError

# A command that is told to end has this long to take leave of its own peer.
_TERMINATION_GRACE = 10.0  # seconds


@dataclass(eq=False, slots=True)
class Running:
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


_running: set[Running] = set()


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


async def start(argv: Sequence[str], variables: Mapping[str, str], fds: Sequence[int] = ()) -> Running:
    """Starts a command.

    Args:
        argv: its words; no shell sees them.
        variables: its whole environment.
        fds: descriptors that it inherits besides 0, 1 and 2, under the same numbers.

    Raises:
        ConfigurationError: it cannot be started.
    """
    options: dict[str, Any] = {"pass_fds": tuple(fds)} if fds else {}
    leads_group = sys.platform != "win32" and not _in_foreground()
    if leads_group:
        options["process_group"] = 0
    try:
        process = await asyncio.create_subprocess_exec(*argv, env=variables, **options)
    except (OSError, ValueError) as error:  # ValueError: a zero byte inside
        reason = getattr(error, "strerror", None) or error
        raise ConfigurationError(f"the command {argv[0]} cannot be started: {reason}") from error
    running = Running(process, leads_group)
    _running.add(running)
    return running


async def wait(running: Running) -> int:
    """Waits for the end and returns the exit status, 128 + n for signal n; cancelled, it makes an end."""
    try:
        status = await running.process.wait()
    except asyncio.CancelledError:
        await terminate(running)
        raise
    finally:
        _running.discard(running)
    return status if status >= 0 else 128 - status


async def terminate(running: Running) -> None:
    """Asks the command to end, and after a while makes it."""
    running.send(signal.SIGTERM)
    try:
        async with asyncio.timeout(_TERMINATION_GRACE):
            await running.process.wait()
    except TimeoutError:
        running.send(signal.SIGKILL if sys.platform != "win32" else signal.SIGTERM)
        await running.process.wait()
