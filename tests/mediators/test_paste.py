"""Offers carried by a person: the line, what chats do to it, terminals and pipes."""

import asyncio
import contextlib
import os
import pty
import re
import subprocess
import sys
import termios
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import IO

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holepunch.errors import ConfigurationError, WireError
from holepunch.mediator import Mailbox, make_mediator
from holepunch.proto.envelope import MAX_BODY, Envelope, Kind
from holepunch_mediators.paste import IncompleteError, decode_line, encode_line

ALICE, BOB = b"A" * 32, b"B" * 32
STARTED = int(time.time())


def envelope(number: int = 1, recipient: bytes = ALICE, *, size: int = 512, life: int = 900) -> Envelope:
    return Envelope(
        kind=Kind.INVITE,
        session=bytes(16),
        id=number.to_bytes(16),
        recipient=recipient,
        expires=STARTED + life,
        body=os.urandom(size),
    )


# The line ----------------------------------------------------------------------------------------


@given(st.binary(max_size=600), st.integers(0, 2**64 - 1))
def test_a_line_survives_what_chats_do_to_it(body: bytes, expires: int) -> None:
    sent = Envelope(kind=Kind.ACCEPT, session=b"s" * 16, id=b"i" * 16, recipient=ALICE, expires=expires, body=body)
    line = encode_line(sent)
    assert re.fullmatch(r"hp-offer:[A-Za-z0-9_-]+", line)
    wrapped = "\n".join(line[start : start + 76] for start in range(0, len(line), 76))
    for seen in (
        line,
        f"  {line}\r\n",
        f"[21:07] Bob: {line}",
        line.replace("hp-offer", "HP-Offer"),
        line.replace("-", "+").replace("hp+", "hp-").replace("_", "/"),
        wrapped,
        "\n".join(f"> {part}" for part in wrapped.split("\n")),
        "\u200b".join((line[:50], line[50:])),
        line + "==",
        f"{line[:40]}\n{line}",
    ):
        assert decode_line(seen) == sent


@pytest.mark.parametrize("size", [0, 1, 2, 512, MAX_BODY])
def test_a_line_cut_anywhere_is_incomplete_and_one_that_goes_on_is_refused(size: int) -> None:
    line = encode_line(envelope(size=size))
    for length in {9, 10, 50, 113, len(line) - 2, len(line) - 1} & set(range(9, len(line))):
        with pytest.raises(IncompleteError, match="characters, expected"):
            decode_line(line[:length])
    with pytest.raises(WireError, match="something follows"):
        decode_line(line + "AA")


def test_each_damaged_character_is_noticed() -> None:
    line = encode_line(envelope(size=40))
    for place in range(9, len(line) - 1):
        changed = line[:place] + ("A" if line[place] != "A" else "B") + line[place + 1 :]
        with pytest.raises(WireError):
            decode_line(changed)


@given(
    st.one_of(st.text(), st.text().map(lambda text: "hp-offer:" + text), st.binary().map(lambda b: b.decode("latin1")))
)
def test_no_paste_raises_anything_but_wire_error(text: str) -> None:
    with contextlib.suppress(WireError):
        decode_line(text)


@pytest.mark.parametrize("url", ["paste://host", "paste:something", "paste:?color"])
def test_a_url_that_says_more_than_qr_is_refused(url: str) -> None:
    with pytest.raises(ConfigurationError):
        make_mediator(url, Mailbox(owner=ALICE, sign=lambda data: data))


# Pipes -------------------------------------------------------------------------------------------

PEER = """
import asyncio, os, sys
from holepunch.errors import MediatorError
from holepunch.mediator import Mailbox, make_mediator
from holepunch.proto.envelope import decode_envelope

async def main(url, outgoing):
    link = make_mediator(url, Mailbox(owner=b"A" * 32, sign=None))
    await link.open()
    if outgoing:
        await link.post(decode_envelope(bytes.fromhex(outgoing)))
    try:
        async for envelope in link.receive():
            print("got", envelope.id.hex(), flush=True)
            await link.discard(envelope)
            break
    except MediatorError as error:
        print("ended:", error, flush=True)
    await link.close()
    print("left:", os.read(0, 100) if "rest" in sys.argv else "", flush=True)

asyncio.run(main(*sys.argv[1:3]))
"""


@contextlib.asynccontextmanager
async def peer(
    url: str = "paste:", outgoing: Envelope | None = None, *more: str, stdin: int | IO[str] = subprocess.PIPE
) -> AsyncIterator[asyncio.subprocess.Process]:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", PEER, url, outgoing.encode().hex() if outgoing else "", *more,
        stdin=stdin, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


def paste(process: asyncio.subprocess.Process, data: bytes) -> None:
    assert process.stdin is not None
    process.stdin.write(data)


async def shown(process: asyncio.subprocess.Process) -> bytes:
    """Reads one line of what the peer shows."""
    assert process.stderr is not None
    return await process.stderr.readline()


async def said(process: asyncio.subprocess.Process) -> tuple[str, str]:
    if process.stdin is not None:
        process.stdin.close()
    stdout, stderr = await process.communicate()
    return stdout.decode(), stderr.decode()


async def test_an_offer_goes_out_as_one_line_of_stderr_and_one_comes_in_by_stdin(tmp_path: Path) -> None:
    ours, theirs = envelope(1, BOB), envelope(2)
    async with peer("paste:", ours) as process:
        lines = [(await shown(process)).decode() for _ in range(4)]
        assert decode_line(next(line for line in lines if line.startswith("hp-offer:"))) == ours
        paste(process, encode_line(theirs).encode() + b"\n")
        stdout, stderr = await said(process)
    assert stdout == f"got {theirs.id.hex()}\nleft: \n"
    assert stderr.endswith("Taken.\n")


async def test_bad_pastes_are_refused_with_a_sentence_and_asked_again() -> None:
    ours, theirs = envelope(1, BOB), envelope(2)
    line = encode_line(theirs)
    pastes = [
        "hello",
        line[:-1] + ("A" if line[-1] != "A" else "Q"),
        encode_line(ours),
        encode_line(envelope(3, BOB)),
        encode_line(envelope(4, life=-3600)),
        line + "AAAA",
        line[:309],
        "",
        line,
    ]
    async with peer("paste:", ours) as process:
        paste(process, "\n".join(pastes).encode() + b"\n")
        stdout, stderr = await said(process)
    assert stdout.startswith(f"got {theirs.id.hex()}")
    refused = [text for text in stderr.splitlines() if text.startswith("Refused: ")]
    for text, expected in zip(
        refused,
        (
            "not an offer",
            "damaged",
            "our own line",
            "another machine",
            "expired 6",
            "something follows",
            "300 ",
        ),
        strict=True,
    ):
        assert expected in text


async def test_a_line_that_the_chat_wrapped_is_put_together() -> None:
    line = encode_line(envelope(2))
    async with peer() as process:
        paste(process, "\n".join(line[at : at + 70] for at in range(0, len(line), 70)).encode() + b"\n")
        stdout, stderr = await said(process)
    assert stdout.startswith(f"got {envelope(2).id.hex()}")
    assert "Refused" not in stderr


async def test_what_follows_the_line_in_a_pipe_is_left_for_the_command() -> None:
    async with peer("paste:", None, "rest") as process:
        paste(process, encode_line(envelope(2)).encode() + b"\nfor the command")
        stdout, _ = await said(process)
    assert stdout.endswith("left: b'for the command'\n")


async def test_the_end_of_the_input_is_an_error_and_a_file_can_be_the_input(tmp_path: Path) -> None:
    (tmp_path / "empty").touch()
    (tmp_path / "line").write_text(encode_line(envelope(2)))
    for name, expected in (("empty", "ended: the input ended"), ("line", f"got {envelope(2).id.hex()}")):
        with open(tmp_path / name) as stdin:
            async with peer(stdin=stdin) as process:
                assert (await said(process))[0].startswith(expected)


async def test_no_stdin_at_all_is_an_error() -> None:
    code = PEER.replace("import asyncio, os, sys", "import asyncio, os, sys; sys.stdin = None")
    ended = await asyncio.to_thread(
        subprocess.run, [sys.executable, "-c", code, "paste:", ""], check=False, capture_output=True, text=True
    )
    assert "there is no input to paste into" in ended.stderr


async def test_a_qr_code_is_shown_by_option_and_on_request() -> None:
    ours = envelope(1, BOB)
    async with peer("paste:?qr", ours) as process:
        paste(process, b"qr\n" + encode_line(envelope(2)).encode() + b"\n")
        _, stderr = await said(process)
    assert stderr.count(encode_line(ours)) == 1
    assert len([text for text in stderr.splitlines() if text.count("\u2580") + text.count("\u2584") > 10]) > 40
    async with peer("paste:?qr", envelope(1, BOB, size=4000)) as process:
        paste(process, b"\n")
        assert "too many for a QR code" in (await said(process))[1]


# Terminals ---------------------------------------------------------------------------------------


async def test_a_terminal_takes_a_line_longer_than_its_own_limit_and_gets_its_mode_back() -> None:
    theirs = envelope(2, size=4000)
    line = encode_line(theirs)
    assert len(line) > 4096  # what Linux takes in canonical mode
    master, slave = pty.openpty()
    before = termios.tcgetattr(slave)
    async with peer(stdin=slave) as process:
        assert b"Paste" in await shown(process)
        assert not termios.tcgetattr(slave)[3] & termios.ICANON
        data = b"wrong\x15hp-offex\x7fr" + line[8:].encode() + b"\r"
        while data:
            data = data[os.write(master, data[:500]) :]
            with contextlib.suppress(BlockingIOError):
                os.set_blocking(master, False)
                os.read(master, 65536)  # the echo
            os.set_blocking(master, True)
            await asyncio.sleep(0.01)
        stdout, _ = await said(process)
    assert stdout.startswith(f"got {theirs.id.hex()}")
    assert termios.tcgetattr(slave) == before
    os.close(master)
    os.close(slave)


async def test_ctrl_d_ends_the_input() -> None:
    master, slave = pty.openpty()
    async with peer(stdin=slave) as process:
        assert b"Paste" in await shown(process)
        os.write(master, b"\x04")
        assert (await said(process))[0].startswith("ended: the input ended")
    os.close(master)
    os.close(slave)


async def test_closing_ends_a_read_that_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    reading, writing = os.pipe()
    with os.fdopen(reading) as stdin:
        monkeypatch.setattr(sys, "stdin", stdin)
        made = make_mediator("paste:", Mailbox(owner=ALICE, sign=lambda data: data))
        await made.open()
        waiting = asyncio.create_task(anext(made.receive(), None))
        await asyncio.sleep(0)
        await made.close()
        assert await waiting is None
        assert [finding.level for finding in await made.check()] == ["warning"]
    os.close(writing)
