"""A folder that both machines see: `file:///folder`, on a disk, an NFS share, or synced by Syncthing and the like.

One envelope is one file, written whole, never changed and never written over:

    <recipient tag>-<expires>-<message id>.hp

    recipient tag   BLAKE2s of the PeerId, 8 bytes in hex: a reader never opens another one's file
    expires         seconds since 1970 by the sender's clock: collected by name alone, with time to spare
    message id      16 random bytes in hex: the name has never existed before

There are no locks and no file that two machines write, so nothing a sync tool does can conflict.  Being
told of changes is only a hint: network shares tell nothing, so the folder is read at intervals as well.

Options, after a `?`:

    delay=SECONDS   how long the folder takes to reach the other machine (default 0.5); above 5, holepunch
                    keeps its mapping alive for a long wait
"""

import asyncio
import contextlib
import errno
import os
import re
import secrets
import stat
import time
from collections.abc import AsyncIterator, Iterator
from hashlib import blake2s
from itertools import islice
from pathlib import Path
from urllib.parse import SplitResult, parse_qsl, unquote

from holepunch.errors import ConfigurationError, MediatorError, WireError
from holepunch.log import get_logger
from holepunch.mediator import Finding, Mailbox, Mediator
from holepunch.proto.envelope import HEADER_LENGTH, MAX_BODY, Envelope, decode_envelope

log = get_logger("mediator.file")

_NAME = re.compile(r"([0-9a-f]{16})-([0-9]{1,12})-([0-9a-f]{32})\.hp")
# Syncthing skips names that begin with ~syncthing~ on every system and removes them after a day; Nextcloud,
# ownCloud and Dropbox skip ~*.tmp.  So a half-written file stays where it is being written.
_TEMPORARY = re.compile(r"~syncthing~hp-[0-9a-f]{32}\.tmp")
_LARGEST = HEADER_LENGTH + MAX_BODY  # bytes; a longer file is not an envelope and is not opened

_SKEW = 1800.0  # seconds that clocks may disagree before a file that is still wanted would be collected
_STALE = 3600.0  # seconds after which a temporary file has lost its writer
_COLLECT_EVERY = 60.0  # seconds
_MAX_FILES = 4096  # names looked at in one reading, so that a flooded folder costs bounded memory

# Where no notification comes, an answer is noticed by reading again.  An exchange is a burst: read often
# after the start and after each arrival, then slow down.
_FIRST_INTERVAL, _LAST_INTERVAL, _SLOWER = 0.05, 1.0, 1.25  # seconds, seconds, factor

# Faults of a share that may pass: the server reboots, the handle is stale, the mount comes back.
_PASSING = {errno.EIO, errno.ESTALE, errno.ETIMEDOUT, errno.EAGAIN, errno.EINTR, errno.ENOENT, errno.EBUSY}
_RETRIES = (0.1, 0.5, 2.0)  # seconds
_NO_HARD_LINKS = {errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK, errno.EACCES}
_HINTS = {
    errno.ENOSPC: "Free some space there.",
    errno.EDQUOT: "The quota is used up: free some space there.",
    errno.EROFS: "The file system is mounted read-only: mount it for writing.",
    errno.EACCES: "Give this user write permission on the folder.",
    errno.EPERM: "Give this user write permission on the folder.",
    errno.ENOENT: "Is the share still mounted?",
}


def recipient_tag(recipient: bytes) -> str:
    """Returns what stands for a recipient in a file name: 16 hex digits."""
    return blake2s(recipient, digest_size=8, person=b"hp-file").hexdigest()


def file_name(envelope: Envelope) -> str:
    """Returns the name of an envelope's file."""
    return f"{recipient_tag(envelope.recipient)}-{envelope.expires}-{envelope.id.hex()}.hp"


class FileMediator(Mediator):
    """Carries envelopes as files of one folder."""

    latency_hint = 0.5
    max_size = _LARGEST

    def __init__(self, url: SplitResult, mailbox: Mailbox) -> None:
        super().__init__(url, mailbox)
        self.folder = _folder_of(url)
        self.latency_hint = _options(url)
        self._tag = recipient_tag(mailbox.owner)
        self._taken: set[str] = set()
        self._undecodable: dict[str, tuple[int, int, int]] = {}
        self._changed = asyncio.Event()
        self._closed = False
        self._collected = 0.0
        self._watcher: asyncio.Task[None] | None = None

    async def open(self) -> None:
        """Looks whether the folder is there; it is not made, since a missing one may be a share not mounted.

        Raises:
            ConfigurationError: there is no such folder.
        """
        if not await asyncio.to_thread(self.folder.is_dir):
            what = "is not a folder" if await asyncio.to_thread(self.folder.exists) else "does not exist"
            raise ConfigurationError(
                f"the mediator folder {self.folder} {what}", hint=f"Mount it, or make it: mkdir -p '{self.folder}'"
            )

    async def post(self, envelope: Envelope) -> None:
        """Writes the envelope's file; returns when it is on the disk."""
        delays = iter(_RETRIES)
        while True:
            try:
                return await asyncio.to_thread(self._write, envelope)
            except OSError as error:
                delay = next(delays, None)
                if delay is None or error.errno not in _PASSING or self._closed:
                    raise _refused(self.folder, error) from error
                log.debug("write failed", folder=self.folder, reason=error.strerror)
                await asyncio.sleep(delay)

    async def receive(self) -> AsyncIterator[Envelope]:
        """Yields the envelopes that wait, then those that come, until closed."""
        self._watcher = asyncio.create_task(self._watch())
        interval = _FIRST_INTERVAL
        trouble = ""
        while not self._closed:
            self._changed.clear()
            found: list[Envelope] = []
            try:
                found = await asyncio.to_thread(self._read_new)
                trouble = ""
            except OSError as error:
                # The share went away: what was posted is still there when it comes back.
                if trouble != (trouble := str(error.strerror)):
                    log.warning("folder unreadable", folder=self.folder, reason=trouble)
            for envelope in found:
                yield envelope
            interval = _FIRST_INTERVAL if found else min(interval * _SLOWER, _LAST_INTERVAL)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(interval):
                    await self._changed.wait()

    async def discard(self, envelope: Envelope) -> None:
        """Deletes the envelope's file; where that is not permitted, it goes when someone else may."""
        try:
            await asyncio.to_thread((self.folder / file_name(envelope)).unlink, missing_ok=True)
        except OSError as error:
            log.debug("file not deleted", folder=self.folder, reason=error.strerror)

    async def check(self) -> list[Finding]:
        """Writes, reads and deletes a file of our own."""
        return await asyncio.to_thread(self._check)

    async def close(self) -> None:
        """Stops reading."""
        self._closed = True
        self._changed.set()
        if self._watcher is not None:
            self._watcher.cancel()
            await asyncio.gather(self._watcher, return_exceptions=True)
            self._watcher = None

    async def _watch(self) -> None:
        """Sets `_changed` when the system says that one of our files has come."""
        from watchfiles import Change, awatch  # noqa: PLC0415 - 15 ms and a native module, for who waits only

        def ours(change: Change, path: str) -> bool:
            return change != Change.deleted and os.path.basename(path).startswith(self._tag)

        while not self._closed:
            try:
                async for _ in awatch(self.folder, watch_filter=ours, debounce=50, step=1, recursive=False):
                    self._changed.set()
            except Exception as error:  # noqa: BLE001 - an accelerator: whatever ails it, the intervals go on
                log.info("folder not watched", folder=self.folder, reason=error)
            await asyncio.sleep(30)

    # What follows blocks, and runs in a thread.

    def _write(self, envelope: Envelope) -> None:
        final = self.folder / file_name(envelope)
        temporary = self.folder / f"~syncthing~hp-{secrets.token_hex(16)}.tmp"
        data = envelope.encode()
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_BINARY", 0)
        descriptor = os.open(temporary, flags, 0o644)  # sealed content: the peer's user may well be another one
        try:
            try:
                while data:
                    data = data[os.write(descriptor, data) :]
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
            _move(temporary, final)
        finally:
            with contextlib.suppress(OSError):
                temporary.unlink()
        _sync_folder(self.folder)

    def _names(self) -> Iterator[tuple[os.DirEntry[str], str, int]]:
        """Yields the folder's envelopes: entry, recipient tag, expiry."""
        with os.scandir(self.folder) as entries:
            for entry in entries:
                if match := _NAME.fullmatch(entry.name):
                    yield entry, match[1], int(match[2])

    def _read_new(self) -> list[Envelope]:
        """Returns the envelopes for us that were not returned before."""
        now = time.time()
        if now - self._collected > _COLLECT_EVERY or now < self._collected:
            self._collected = now
            self._collect(now)
        ours = (entry for entry, tag, expires in self._names() if tag == self._tag and expires + _SKEW > now)
        entries = {entry.name: entry for entry in islice(ours, _MAX_FILES)}
        self._taken &= entries.keys()
        self._undecodable = {name: seen for name, seen in self._undecodable.items() if name in entries}
        found = []
        for name in entries.keys() - self._taken:
            if (envelope := self._read(entries[name])) is not None:
                self._taken.add(name)
                found.append(envelope)
        return sorted(found, key=lambda envelope: envelope.expires)

    def _read(self, entry: os.DirEntry[str]) -> Envelope | None:
        """Reads one file; None where it is not, or not yet, the envelope that its name says."""
        try:
            status = entry.stat(follow_symlinks=False)
            seen = (status.st_ino, status.st_mtime_ns, status.st_size)
            # What did not decode is looked at again only when it has changed: a sync tool may still be at it.
            if self._undecodable.get(entry.name) == seen:
                return None
            self._undecodable[entry.name] = seen
            if not stat.S_ISREG(status.st_mode) or status.st_size > _LARGEST:
                return None
            with open(entry.path, "rb") as file:
                envelope = decode_envelope(file.read(_LARGEST + 1))
        except (OSError, WireError) as error:
            log.debug("file not usable", name=entry.name, reason=error)
            if isinstance(error, OSError):
                self._undecodable.pop(entry.name, None)
            return None
        if envelope.recipient != self.mailbox.owner or file_name(envelope) != entry.name:
            return None
        del self._undecodable[entry.name]
        return envelope

    def _collect(self, now: float) -> None:
        """Deletes what expired long ago, whoever it was for."""
        for entry, _, expires in list(islice(self._names(), _MAX_FILES)):
            if expires + _SKEW < now:
                with contextlib.suppress(OSError):
                    os.unlink(entry.path)
        with os.scandir(self.folder) as entries:
            for entry in [entry for entry in entries if _TEMPORARY.fullmatch(entry.name)]:
                with contextlib.suppress(OSError):
                    if entry.stat(follow_symlinks=False).st_mtime + _STALE < now:
                        os.unlink(entry.path)

    def _check(self) -> list[Finding]:
        subject = f"file mediator {self.folder}"
        probe = self.folder / f"~syncthing~hp-{secrets.token_hex(16)}.tmp"
        try:
            if not self.folder.is_dir():
                raise FileNotFoundError(errno.ENOENT, "it does not exist, or is not a folder")
            try:
                probe.write_bytes(bytes(_LARGEST))
                written = probe.stat().st_mtime
            finally:
                probe.unlink(missing_ok=True)
            waiting = sum(tag == self._tag for _, tag, _ in self._names())
        except OSError as error:
            fix = _HINTS.get(error.errno or 0, "Look at the folder's permissions.")
            return [Finding(subject, "problem", f"not usable: {error.strerror}", fix)]
        skew = abs(written - time.time())
        if skew > 300:
            text = f"the folder's clock and ours differ by {skew:.0f} seconds"
            return [Finding(subject, "warning", text, "Set both clocks by NTP: offers are valid for 15 minutes.")]
        return [Finding(subject, "ok", f"can be written and read; {waiting} envelopes wait for this machine")]


def _folder_of(url: SplitResult) -> Path:
    """Returns the folder that a file URL names (RFC 8089)."""
    path = unquote(url.path)
    if url.netloc not in ("", "localhost") or not path.startswith("/"):
        raise ConfigurationError(
            f"{url.geturl()!r} does not name a folder of this machine",
            hint="Write file:///folder with three slashes and an absolute path.",
        )
    if os.name == "nt" and re.match(r"/[A-Za-z]:", path):
        path = path[1:]
    return Path(path)


def _options(url: SplitResult) -> float:
    """Returns the delay that a URL states, or the default."""
    delay = FileMediator.latency_hint
    for name, value in parse_qsl(url.query, keep_blank_values=True):
        if name != "delay":
            raise ConfigurationError(
                f"{name!r} is not an option of a file mediator", hint="The only one is delay=SECONDS."
            )
        try:
            delay = float(value)
        except ValueError:
            delay = -1.0
        if not 0 <= delay <= 3600:
            raise ConfigurationError(f"delay is {value!r}, expected seconds from 0 to 3600")
    return delay


def _move(temporary: Path, final: Path) -> None:
    """Gives a complete file its name, which is new; a second post of the same envelope changes nothing."""
    try:
        os.link(temporary, final)
    except FileExistsError:
        return  # our own earlier try: over NFS a link may succeed and its answer be lost
    except OSError as error:
        if error.errno not in _NO_HARD_LINKS:
            raise
        # FAT, SMB and some FUSE have no hard links.  A rename would replace, so look first: only the
        # same envelope can have this name.
        if not final.exists():
            os.rename(temporary, final)


def _sync_folder(folder: Path) -> None:
    """Makes the new name durable, where a folder can be opened."""
    with contextlib.suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _refused(folder: Path, error: OSError) -> MediatorError:
    hint = _HINTS.get(error.errno or 0, "`holepunch doctor` tries the folder.")
    return MediatorError(f"the folder {folder} did not take the offer: {error.strerror}", hint=hint)
