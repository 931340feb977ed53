"""Files of a home: private, written whole or not at all, and safe with several processes at once.

Readers take no lock, because a file is only ever replaced by a complete one.  Writers that read first
(the peer book) take the home's lock.  What the system refuses becomes one sentence and one hint.
"""

import contextlib
import errno
import os
import stat
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from ..errors import ConfigurationError

READ_BY_OTHERS = 0o077
WRITTEN_BY_OTHERS = 0o022

_LOCK_WAIT = 10.0  # seconds; an edit takes milliseconds, so a longer wait means a stopped process
_LOCK_INTERVAL = 0.02  # seconds
_ELSEWHERE = "set HOLEPUNCH_HOME to another folder"
_HINTS = {
    errno.ENOSPC: f"Free some space there, or {_ELSEWHERE}.",
    errno.EDQUOT: f"The quota is used up: free some space there, or {_ELSEWHERE}.",
    errno.EROFS: f"Mount it for writing, or {_ELSEWHERE}.",
    errno.EACCES: f"Run as the user it belongs to, or {_ELSEWHERE}.",
    errno.EPERM: f"Run as the user it belongs to, or {_ELSEWHERE}.",
    errno.ENOTDIR: f"Something there is a file where a folder is needed: move it away, or {_ELSEWHERE}.",
    errno.EEXIST: f"Something there is a file where a folder is needed: move it away, or {_ELSEWHERE}.",
    errno.EISDIR: f"Something there is a folder where a file is needed: move it away, or {_ELSEWHERE}.",
}


def refused(verb: str, path: Path, error: OSError) -> ConfigurationError:
    """Returns the error that says what the system refused and what to do."""
    hint = _HINTS.get(error.errno or 0, f"Look at the folder, or {_ELSEWHERE}.")
    return ConfigurationError(f"cannot {verb} {path}: {error.strerror or error}", hint=hint)


@contextlib.contextmanager
def refusals(verb: str, path: Path) -> Iterator[None]:
    """Translates every OSError of the block."""
    try:
        yield
    except OSError as error:
        raise refused(verb, path, error) from error


def make_folder(path: Path) -> None:
    """Makes a folder that only we can enter, with those above it as usual; refuses one that others can change.

    Raises:
        ConfigurationError: it cannot be made, or others may write to it and so could replace our files.
    """
    with refusals("make the folder", path):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.mkdir(mode=0o700, exist_ok=True)
    check_folder(path)


def check_folder(path: Path) -> None:
    """Refuses a folder in which other users could replace our files.

    Raises:
        ConfigurationError: its mode lets others write, or it is not there.
    """
    with refusals("look at", path):
        status = path.stat()
    _refuse_mode(path, status, WRITTEN_BY_OTHERS)


def _refuse_mode(path: Path, status: os.stat_result, forbidden: int) -> None:
    # Windows has no modes; a profile folder is private there.
    if sys.platform != "win32" and status.st_mode & forbidden:
        verb = "read or changed" if forbidden & 0o044 else "changed"
        mode = "700" if stat.S_ISDIR(status.st_mode) else "600"
        raise ConfigurationError(
            f"{path} can be {verb} by other users (mode {stat.S_IMODE(status.st_mode):04o})",
            hint=f"chmod {mode} '{path}'",
        )


def read_file(path: Path, forbidden: int) -> bytes | None:
    """Returns a file's bytes, or None where there is no such file.

    Args:
        path: which file.
        forbidden: mode bits it may not have, READ_BY_OTHERS or WRITTEN_BY_OTHERS.

    Raises:
        ConfigurationError: it cannot be read, or has a forbidden mode.
    """
    with refusals("read", path):
        try:
            with open(path, "rb") as file:
                _refuse_mode(path, os.fstat(file.fileno()), forbidden)  # of what is open, not of what is there later
                return file.read()
        except FileNotFoundError:
            return None


def write_file(path: Path, data: bytes) -> None:
    """Replaces a file's content, mode 0600: after a crash it is the old or the new one, whole.

    Raises:
        ConfigurationError: it cannot be written; then the old one is untouched.
    """
    temporary = path.with_name(f"{path.name}.{os.getpid()}.{os.urandom(4).hex()}.tmp")
    with refusals("write", path):
        try:
            descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0), 0o600)
            with open(descriptor, "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(descriptor)
            os.replace(temporary, path)
        except BaseException:
            with contextlib.suppress(OSError):
                temporary.unlink()
            raise
        _sync_folder(path.parent)


def _sync_folder(folder: Path) -> None:
    """Makes a replaced name durable, where a folder can be opened."""
    with contextlib.suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    """Holds an exclusive lock on a file of its own; freed by the system should we die.

    Raises:
        ConfigurationError: the file cannot be made, or another process holds the lock for 10 seconds.
    """
    with refusals("lock", path):
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | getattr(os, "O_CLOEXEC", 0), 0o600)
    try:
        deadline = time.monotonic() + _LOCK_WAIT
        while not _try_lock(path, descriptor):
            if time.monotonic() > deadline:
                raise ConfigurationError(
                    f"another process has held {path} for {_LOCK_WAIT:.0f} seconds",
                    hint="Is a holepunch command stopped there?  End it and try again.",
                )
            time.sleep(_LOCK_INTERVAL)
        yield
    finally:
        os.close(descriptor)


def _try_lock(path: Path, descriptor: int) -> bool:
    with refusals("lock", path):
        try:
            if sys.platform == "win32":
                import msvcrt  # noqa: PLC0415 - exists on Windows only

                msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
            else:
                import fcntl  # noqa: PLC0415 - exists elsewhere only

                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno in (errno.EACCES, errno.EAGAIN, errno.EDEADLK):
                return False
            raise
    return True
