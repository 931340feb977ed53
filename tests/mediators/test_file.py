"""The file mediator on real folders: two readers, junk, faults, two processes at once."""

import asyncio
import errno
import os
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import BinaryIO, Literal

import pytest

from holepunch.errors import ConfigurationError, MediatorError
from holepunch.mediator import Mailbox, make_mediator
from holepunch.proto.envelope import Envelope, Kind
from holepunch_mediators import file as file_module
from holepunch_mediators.file import FileMediator, file_name, recipient_tag

ALICE, BOB = b"A" * 32, b"B" * 32
NOW = int(time.time())


def unsigned(data: bytes) -> bytes:
    raise AssertionError("a folder asks for no proof")


def mediator(folder: Path, owner: bytes = ALICE, query: str = "") -> FileMediator:
    made = make_mediator(folder.as_uri() + query, Mailbox(owner=owner, sign=unsigned))
    assert isinstance(made, FileMediator)
    return made


def envelope(number: int, recipient: bytes = ALICE, *, life: int = 900, body: bytes = b"sealed") -> Envelope:
    return Envelope(
        kind=Kind.INVITE,
        session=bytes(16),
        id=number.to_bytes(16),
        recipient=recipient,
        expires=NOW + life,
        body=body,
    )


@asynccontextmanager
async def receiving(reader: FileMediator) -> AsyncIterator[asyncio.Queue[Envelope]]:
    """Gives a queue of what the mediator yields."""
    queue: asyncio.Queue[Envelope] = asyncio.Queue()

    async def pump() -> None:
        async for item in reader.receive():
            queue.put_nowait(item)

    await reader.open()
    task = asyncio.create_task(pump())
    try:
        yield queue
    finally:
        await reader.close()
        await task


async def test_what_waits_and_what_comes_is_received_by_every_reader_of_the_mailbox(tmp_path: Path) -> None:
    sender = mediator(tmp_path, BOB)
    await sender.post(envelope(1))
    async with receiving(mediator(tmp_path)) as first, receiving(mediator(tmp_path)) as second:
        await sender.post(envelope(2))
        for queue in (first, second):
            assert {(await queue.get()).id, (await queue.get()).id} == {bytes(15) + b"\1", bytes(15) + b"\2"}


async def test_discard_deletes_the_file_and_may_be_said_twice(tmp_path: Path) -> None:
    reader = mediator(tmp_path)
    await reader.post(envelope(1))
    async with receiving(reader) as queue:
        got = await queue.get()
        await reader.discard(got)
        await reader.discard(got)
    assert list(tmp_path.iterdir()) == []


async def test_another_ones_files_are_never_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    await mediator(tmp_path).post(envelope(1, BOB))
    opened: list[str] = []
    real_open = open

    def noted_open(path: str, mode: Literal["rb"]) -> BinaryIO:
        opened.append(str(path))
        return real_open(path, mode)

    monkeypatch.setattr(file_module, "open", noted_open, raising=False)
    async with receiving(mediator(tmp_path)) as queue:
        await mediator(tmp_path).post(envelope(2))
        assert (await queue.get()).id == bytes(15) + b"\2"
    assert [Path(path).name for path in opened] == [file_name(envelope(2))] or len(opened) == 1
    assert all(recipient_tag(ALICE) in path for path in opened)


async def test_polling_alone_delivers_where_no_notification_comes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def nothing(self: FileMediator) -> None:
        await asyncio.Event().wait()

    monkeypatch.setattr(FileMediator, "_watch", nothing)
    async with receiving(mediator(tmp_path)) as queue:
        await mediator(tmp_path, BOB).post(envelope(1))
        assert (await queue.get()).body == b"sealed"


async def test_a_notification_delivers_long_before_the_folder_would_be_read_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(file_module, "_FIRST_INTERVAL", 1000.0)
    monkeypatch.setattr(file_module, "_LAST_INTERVAL", 1000.0)
    async with receiving(mediator(tmp_path)) as queue:
        number = 0
        while queue.empty():  # until the watcher is at work
            number += 1
            await mediator(tmp_path, BOB).post(envelope(number))
            await asyncio.sleep(0.1)


async def test_a_second_post_of_the_same_envelope_changes_nothing(tmp_path: Path) -> None:
    sender, message = mediator(tmp_path, BOB), envelope(1)
    await sender.post(message)
    before = (tmp_path / file_name(message)).stat()
    await sender.post(message)
    after = (tmp_path / file_name(message)).stat()
    assert (before.st_ino, before.st_mtime_ns) == (after.st_ino, after.st_mtime_ns)
    assert len(list(tmp_path.iterdir())) == 1


async def test_a_disk_without_hard_links_is_served_by_renaming(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_links(source: object, target: object) -> None:
        raise OSError(errno.EPERM, os.strerror(errno.EPERM))

    monkeypatch.setattr(os, "link", no_links)
    message = envelope(1)
    await mediator(tmp_path).post(message)
    await mediator(tmp_path).post(message)
    assert [path.name for path in tmp_path.iterdir()] == [file_name(message)]


async def test_junk_is_ignored_and_a_file_still_being_synced_is_read_when_whole(tmp_path: Path) -> None:
    tag, late = recipient_tag(ALICE), envelope(7)
    expires = NOW + 900
    (tmp_path / "notes.txt").write_text("hello")
    (tmp_path / f"{tag}-{expires}-{'0' * 32}.hp").write_bytes(b"junk")
    (tmp_path / f"{tag}-{expires}-{'1' * 32}.hp").write_bytes(bytes(20000))
    (tmp_path / f"{tag}-{expires}-{'2' * 32}.hp").mkdir()
    (tmp_path / f"{tag}-{expires}-{'3' * 32}.hp").symlink_to("/etc/hostname")
    (tmp_path / f"{tag}-{expires}-{'4' * 32}.hp").write_bytes(envelope(1).encode())  # not the id its name says
    (tmp_path / f"{tag}-{expires}-{'5' * 32}.sync-conflict-20261121.hp").write_bytes(envelope(5).encode())
    os.mkfifo(tmp_path / f"{tag}-{expires}-{'6' * 32}.hp")
    other = envelope(8, BOB)
    (tmp_path / file_name(other).replace(recipient_tag(BOB), tag)).write_bytes(other.encode())  # not for us
    (tmp_path / file_name(late)).write_bytes(late.encode()[:50])
    async with receiving(mediator(tmp_path)) as queue:
        await mediator(tmp_path, BOB).post(envelope(2))
        assert (await queue.get()).id == bytes(15) + b"\2"
        (tmp_path / file_name(late)).write_bytes(late.encode())
        assert (await queue.get()).id == late.id
        assert queue.empty()


async def test_what_expired_long_ago_is_collected_and_what_expired_lately_is_not(tmp_path: Path) -> None:
    old, recent, foreign = envelope(1, life=-2000), envelope(2, life=-1000), envelope(3, BOB, life=-2000)
    for message in (old, recent, foreign):
        await mediator(tmp_path).post(message)
    stale, fresh = tmp_path / f"~syncthing~hp-{'a' * 32}.tmp", tmp_path / f"~syncthing~hp-{'b' * 32}.tmp"
    stale.touch()
    fresh.touch()
    os.utime(stale, (time.time() - 4000, time.time() - 4000))
    (tmp_path / "keep.txt").touch()
    os.utime(tmp_path / "keep.txt", (0, 0))
    async with receiving(mediator(tmp_path)) as queue:
        assert (await queue.get()).id == recent.id  # ten minutes of clock skew do not lose an offer
    assert {path.name for path in tmp_path.iterdir()} == {file_name(recent), fresh.name, "keep.txt"}


async def test_a_missing_folder_is_a_configuration_error_with_the_command_that_makes_it(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="does not exist") as caught:
        await mediator(tmp_path / "absent").open()
    assert "mkdir -p" in caught.value.hint
    (tmp_path / "file").touch()
    with pytest.raises(ConfigurationError, match="is not a folder"):
        await mediator(tmp_path / "file").open()


@pytest.mark.parametrize(
    ("code", "hint"),
    [(errno.ENOSPC, "space"), (errno.EDQUOT, "quota"), (errno.EROFS, "read-only"), (errno.EACCES, "permission")],
)
async def test_a_full_or_read_only_folder_fails_at_once_with_a_hint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int, hint: str
) -> None:
    real_write = os.write

    def refuse(descriptor: int, data: bytes) -> int:
        real_write(descriptor, data[:10])
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(os, "write", refuse)
    with pytest.raises(MediatorError, match="did not take the offer") as caught:
        await mediator(tmp_path).post(envelope(1))
    assert hint in caught.value.hint
    assert list(tmp_path.iterdir()) == []  # nothing half-written stays


FULL_AND_READ_ONLY = """
import asyncio, subprocess, sys, time
from pathlib import Path
from holepunch.errors import MediatorError
from holepunch.mediator import Mailbox, make_mediator
from holepunch.proto.envelope import Envelope, Kind

async def main(folder):
    made = make_mediator(folder.as_uri(), Mailbox(owner=b"A" * 32, sign=None))
    message = Envelope(kind=Kind.INVITE, session=bytes(16), id=bytes(16), recipient=b"A" * 32,
                       expires=int(time.time()) + 900, body=b"x")
    for prepare in (["mount", "-t", "tmpfs", "-o", "size=4k", "tmpfs", folder], ["mount", "-o", "remount,ro", folder]):
        subprocess.run(prepare, check=True)
        if "size=4k" in prepare:
            (folder / "filler").write_bytes(bytes(4096))
        try:
            await made.post(message)
        except MediatorError as error:
            print(str(error).rpartition(": ")[2], "|", error.hint, "|", (await made.check())[0].level)

asyncio.run(main(Path(sys.argv[1])))
"""


@pytest.mark.lab
def test_a_really_full_disk_and_a_really_read_only_one(tmp_path: Path) -> None:
    program = [sys.executable, "-c", FULL_AND_READ_ONLY, str(tmp_path)]
    command = ["unshare", "--user", "--map-root-user", "--mount", *program]
    said = subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()
    assert said == [
        "No space left on device | Free some space there. | problem",
        "Read-only file system | The file system is mounted read-only: mount it for writing. | problem",
    ]


async def test_a_fault_that_passes_is_retried(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    faults = [errno.ESTALE, errno.EIO]
    real_link = os.link

    def flaky(source: str, target: str) -> None:
        if faults:
            raise OSError(faults.pop(), "passing")
        real_link(source, target)

    monkeypatch.setattr(os, "link", flaky)
    await mediator(tmp_path).post(envelope(1))
    assert [path.name for path in tmp_path.iterdir()] == [file_name(envelope(1))]
    assert not faults


async def test_a_folder_that_goes_and_comes_back_is_read_again(tmp_path: Path) -> None:
    folder = tmp_path / "share"
    folder.mkdir()
    async with receiving(mediator(folder)) as queue:
        await mediator(folder).post(envelope(1))
        await queue.get()
        folder.rename(tmp_path / "away")
        (tmp_path / "away" / "mark").touch()
        (tmp_path / "away").rename(folder)
        await mediator(folder).post(envelope(2))
        assert (await queue.get()).id == bytes(15) + b"\2"


@pytest.mark.parametrize(
    "url", ["file:relative", "file://elsewhere/folder", "file:///x?delay=soon", "file:///x?wait=1"]
)
def test_a_url_that_names_no_folder_of_ours_is_refused(url: str) -> None:
    with pytest.raises(ConfigurationError):
        make_mediator(url, Mailbox(owner=ALICE, sign=unsigned))


def test_percent_signs_and_the_delay_are_read_from_the_url(tmp_path: Path) -> None:
    folder = tmp_path / "a b%c#d"
    folder.mkdir()
    slow = mediator(folder, query="?delay=20")
    assert slow.folder == folder
    assert slow.latency_hint == 20
    assert mediator(folder).latency_hint == 0.5


async def test_doctor_finds_a_good_folder_good_and_a_missing_one_bad(tmp_path: Path) -> None:
    await mediator(tmp_path).post(envelope(1))
    (good,) = await mediator(tmp_path).check()
    assert (good.level, "1 envelopes wait" in good.text) == ("ok", True)
    (bad,) = await mediator(tmp_path / "absent").check()
    assert (bad.level, bool(bad.fix)) == ("problem", True)


WRITER = """
import asyncio, sys, time
from holepunch.mediator import Mailbox, make_mediator
from holepunch.proto.envelope import Envelope, Kind

async def main(url, first):
    sender = make_mediator(url, Mailbox(owner=b"B" * 32, sign=None))
    for number in range(first, first + 50):
        await sender.post(Envelope(kind=Kind.INVITE, session=bytes(16), id=number.to_bytes(16), recipient=b"A" * 32,
                                   expires=int(time.time()) + 900, body=number.to_bytes(2) * 1000))

asyncio.run(main(sys.argv[1], int(sys.argv[2])))
"""


async def test_two_processes_write_at_once_and_every_envelope_arrives_whole(tmp_path: Path) -> None:
    async with receiving(mediator(tmp_path)) as queue:
        writers = [
            await asyncio.create_subprocess_exec(sys.executable, "-c", WRITER, tmp_path.as_uri(), first)
            for first in ("0", "100")
        ]
        got = [await queue.get() for _ in range(100)]
        assert [await writer.wait() for writer in writers] == [0, 0]
    assert {int.from_bytes(item.id) for item in got} == {*range(50), *range(100, 150)}
    assert all(item.body == int.from_bytes(item.id).to_bytes(2) * 1000 for item in got)


def test_importing_the_mediator_does_not_load_the_watcher() -> None:
    code = "import sys, holepunch_mediators.file; sys.exit('watchfiles' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
