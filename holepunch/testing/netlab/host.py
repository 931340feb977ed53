"""A machine of the laboratory: one network namespace, in which commands run and sockets open."""

import os
import subprocess
from collections.abc import Callable, Mapping, Sequence
from typing import IO, Any, ParamSpec, TypeVar

from . import namespace

P = ParamSpec("P")
R = TypeVar("R")


class Host:
    """One host.

    Attributes:
        name: its name in the laboratory, `a.host`.
        namespace: the name of its network namespace.
        addresses: its IPv4 addresses, the first one first.
        addresses6: its global IPv6 addresses.
        processes: what popen started.
    """

    def __init__(self, name: str, namespace_name: str, addresses: Sequence[str], addresses6: Sequence[str]) -> None:
        self.name = name
        self.namespace = namespace_name
        self.addresses = list(addresses)
        self.addresses6 = list(addresses6)
        self.processes: list[subprocess.Popen[Any]] = []

    @property
    def address(self) -> str:
        """Its first IPv4 address."""
        return self.addresses[0]

    def __repr__(self) -> str:
        return f"<Host {self.name} {' '.join([*self.addresses, *self.addresses6])}>"

    def call(self, function: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
        """Calls a function inside, in a thread of its own; a socket that it opens stays there."""
        return namespace.call(self.namespace, function, *args, **kwargs)

    def popen(
        self,
        argv: Sequence[str | os.PathLike[str]],
        *,
        env: Mapping[str, str] | None = None,
        cwd: str | os.PathLike[str] | None = None,
        stdin: int | IO[Any] | None = subprocess.DEVNULL,
        stdout: int | IO[Any] | None = None,
        stderr: int | IO[Any] | None = None,
        text: bool = True,
        pass_fds: Sequence[int] = (),
        start_new_session: bool = False,
    ) -> subprocess.Popen[Any]:
        """Starts a command inside; it ends with the laboratory at the latest.

        Args:
            argv: the command, without a shell.
            env: its whole environment; None: ours.
            cwd: its folder; None: ours.
            stdin: as in subprocess.Popen.
            stdout: as in subprocess.Popen.
            stderr: as in subprocess.Popen.
            text: as in subprocess.Popen.
            pass_fds: as in subprocess.Popen.
            start_new_session: as in subprocess.Popen.
        """
        process: subprocess.Popen[Any] = self.call(
            subprocess.Popen,
            [os.fspath(part) for part in argv],
            env=env,
            cwd=cwd,
            stdin=stdin,
            stdout=stdout,
            stderr=stderr,
            text=text,
            pass_fds=pass_fds,
            start_new_session=start_new_session,
        )
        self.processes.append(process)
        return process

    def run(
        self,
        argv: Sequence[str | os.PathLike[str]],
        *,
        env: Mapping[str, str] | None = None,
        cwd: str | os.PathLike[str] | None = None,
        timeout: float | None = 60.0,
        check: bool = True,
    ) -> "subprocess.CompletedProcess[str]":
        """Runs a command inside to its end and returns its status and output.

        Raises:
            subprocess.CalledProcessError: it failed, where check is set.
            subprocess.TimeoutExpired: it did not end in time, and was killed.
        """
        return self.call(
            subprocess.run,
            [os.fspath(part) for part in argv],
            env=env,
            cwd=cwd,
            timeout=timeout,
            check=check,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
        )

    def argv(self, argv: Sequence[str]) -> list[str]:
        """Returns a command line that runs a command inside, for those who start processes themselves (asyncio)."""
        return ["nsenter", f"--net={namespace.DIRECTORY / self.namespace}", "--", *argv]

    def stop(self, patience: float = 2.0) -> None:
        """Ends what popen started: asks, waits that many seconds, then kills."""
        running = [process for process in self.processes if process.poll() is None]
        for process in running:
            process.terminate()
        for process in running:
            try:
                process.wait(patience)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        for process in self.processes:
            for stream in (process.stdin, process.stdout, process.stderr):
                if stream is not None:
                    stream.close()
        self.processes.clear()
