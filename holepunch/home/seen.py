"""The replay cache: which messages this machine has acted on, shared by all its processes.

One empty file for each message, named by its id and made with O_EXCL, so the file system decides who was
first; its modification time is the message's expiry.  After that a message is refused for its age, so the
file goes ten minutes later.
"""

import contextlib
import os
from pathlib import Path

from . import files

# A clock that is set back by up to this much makes no expired message acceptable again.
GRACE = 600  # seconds
_COLLECT_EVERY = 60  # seconds
_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_CLOEXEC", 0)


class Seen:
    """Remembers messages until nobody would accept them any more.

    Args:
        folder: where its files are; made when first needed.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._collected = float("-inf")

    def claim(self, message_id: bytes, expires: int, now: float) -> bool:
        """Tells whether the caller is the first, of all processes, to act on a message.

        Ask only about what has proved authentic: a claim by a forgery would shut out the true message.

        Args:
            message_id: up to 64 bytes.
            expires: when the message loses its worth, seconds since 1970.
            now: seconds since 1970.

        Returns:
            True for exactly one caller, False for every other, and False for all when the message expired
            so long ago that the record may be gone.

        Raises:
            ConfigurationError: it cannot be recorded, so the message must not be acted on.
        """
        if expires + GRACE <= now:
            return False
        if not self._collected <= now < self._collected + _COLLECT_EVERY:
            self._collected = now
            self._collect(now)
        path = self.folder / message_id.hex()
        with files.refusals("record a message in", self.folder):
            try:
                try:
                    descriptor = os.open(path, _NEW, 0o600)
                except FileNotFoundError:
                    files.make_folder(self.folder.parent)
                    files.make_folder(self.folder)
                    descriptor = os.open(path, _NEW, 0o600)
            except FileExistsError:
                return False
            try:
                os.utime(path, (expires, expires))
            finally:
                os.close(descriptor)
        return True

    def _collect(self, now: float) -> None:
        """Deletes the records of messages that are refused for their age.  O(records), once a minute."""
        # Several processes may collect at once: a file already gone is what was wanted.
        with contextlib.suppress(OSError), os.scandir(self.folder) as entries:
            for entry in entries:
                with contextlib.suppress(OSError):
                    status = entry.stat(follow_symlinks=False)
                    # Both times are equal while a record is being made.  They stay so if its maker dies that very
                    # moment: one empty file too many, for ever, rather than one message acted on twice.
                    if status.st_mtime_ns != status.st_ctime_ns and status.st_mtime + GRACE <= now:
                        os.unlink(entry.path)
