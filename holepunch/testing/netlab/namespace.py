"""Network namespaces that belong to one laboratory and never outlive it for long.

A namespace's name says whose it is: `hp-PID-START-N-ROLE`, with the process that made it, that
process's start time (so a reused PID is not mistaken for it) and the laboratory's number in it.
Whoever starts a laboratory first removes those whose process is gone.
"""

import contextlib
import ctypes
import os
import signal
import subprocess
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import ParamSpec, TypeVar

from ...errors import ConfigurationError, NetworkError

P = ParamSpec("P")
R = TypeVar("R")

DIRECTORY = Path("/run/netns")  # where ip-netns(8) keeps names
_PREFIX = "hp"
_CLONE_NEWNET = 0x40000000
_libc = ctypes.CDLL(None, use_errno=True)


def start_time(pid: int) -> int | None:
    """Returns when a process started, in clock ticks since boot; None where it is gone (proc(5), field 22)."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return None
    # The second field is the command in parentheses and may hold anything, so count from the last one.
    fields = stat.rpartition(")")[2].split()
    return None if fields[0] in "ZX" else int(fields[19])


def lab_prefix(number: int) -> str:
    """Returns what the names of this process's laboratory of that number begin with."""
    return f"{_PREFIX}-{os.getpid()}-{start_time(os.getpid())}-{number}-"


def owner_of(name: str) -> tuple[int, int] | None:
    """Returns (PID, start time) of the process a namespace belongs to; None where it is not a laboratory's."""
    parts = name.split("-")
    if len(parts) < 5 or parts[0] != _PREFIX or not all(part.isdigit() for part in parts[1:4]):
        return None
    return int(parts[1]), int(parts[2])


def enter(name: str) -> None:
    """Moves the calling thread into a namespace.

    Raises:
        NetworkError: there is none of that name, or we may not.
    """
    try:
        with open(DIRECTORY / name, "rb") as file:
            _setns(file.fileno())
    except OSError as error:
        raise NetworkError(f"cannot enter network namespace {name}: {error.strerror}") from error


def _setns(fd: int) -> None:
    if _libc.setns(fd, _CLONE_NEWNET) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


@contextlib.contextmanager
def entered(name: str) -> Iterator[None]:
    """Moves the calling thread into a namespace for a while."""
    with open("/proc/thread-self/ns/net", "rb") as home:
        enter(name)
        try:
            yield
        finally:
            _setns(home.fileno())


def call(name: str, function: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
    """Calls a function in a namespace, from a thread of its own, and returns what it returns.

    A socket that it opens, or a process that it starts, stays in that namespace.
    """

    def run() -> R:
        enter(name)
        return function(*args, **kwargs)

    with ThreadPoolExecutor(1) as pool:
        return pool.submit(run).result()


def batch(commands: Iterable[str], name: str | None = None) -> None:
    """Runs ip(8) commands, in a namespace or here, in one process.

    Raises:
        NetworkError: one of them failed.
    """
    argv = ["ip", *(["-n", name] if name else []), "-batch", "-"]
    run(argv, "\n".join(commands) + "\n")


def run(argv: list[str], text: str = "") -> str:
    """Runs a tool of the system with text as its input and returns its output.

    Raises:
        ConfigurationError: the tool is not installed.
        NetworkError: it failed.
    """
    try:
        done = subprocess.run(argv, input=text, capture_output=True, text=True, check=False)
    except FileNotFoundError as error:
        raise ConfigurationError(
            f"the laboratory needs the program {argv[0]!r}, which is not installed",
            hint="Install iproute2, nftables and conntrack.",
        ) from error
    if done.returncode:
        raise NetworkError(f"{' '.join(argv[:4])} failed: {done.stderr.strip()} (input: {text.strip()[:500]})")
    return done.stdout


def names(prefix: str = f"{_PREFIX}-") -> list[str]:
    """Returns the laboratories' namespaces whose name begins with a prefix."""
    if not DIRECTORY.is_dir():
        return []
    return sorted(name for name in os.listdir(DIRECTORY) if name.startswith(prefix) and owner_of(name))


def processes(of: Iterable[str]) -> list[int]:
    """Returns the PIDs of the processes that live in any of these namespaces."""
    inodes = set()
    for name in of:
        with contextlib.suppress(OSError):
            status = os.stat(DIRECTORY / name)
            inodes.add((status.st_dev, status.st_ino))
    found = []
    for entry in os.listdir("/proc"):
        if entry.isdigit() and int(entry) != os.getpid():
            with contextlib.suppress(OSError):
                status = os.stat(f"/proc/{entry}/ns/net")
                if (status.st_dev, status.st_ino) in inodes:
                    found.append(int(entry))
    return found


def remove(prefix: str) -> None:
    """Kills what runs in the namespaces whose name begins with a prefix, and removes them."""
    doomed = names(prefix)
    if not doomed:
        return
    for pid in processes(doomed):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    for name in doomed:
        # Somebody else may be removing the same stale laboratory at this moment.
        with contextlib.suppress(NetworkError):
            run(["ip", "netns", "del", name])


def remove_stale() -> list[str]:
    """Removes the namespaces of laboratories whose process is gone and returns their names."""
    stale = []
    for name in names():
        owner = owner_of(name)
        if owner is not None and start_time(owner[0]) != owner[1]:
            stale.append(name)
    for prefix in {"-".join(name.split("-")[:4]) + "-" for name in stale}:
        remove(prefix)
    return stale
