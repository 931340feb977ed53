"""A person carries the offer: one line to copy into a chat, one line to paste from it.  `paste:` or `paste:?qr`.

    hp-offer: and base64url, without padding, of the envelope and 4 bytes of its BLAKE2s

The line may come back wrapped, quoted or with a name before it, as chats do.  A QR code of it is shown
with `?qr`, or when `qr` is typed.  Lines are printed to stderr; pasted ones are read from stdin, and no
more than them, so that what follows in a pipe is left for the command.
"""

import asyncio
import atexit
import contextlib
import os
import re
import sys
import time
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import AsyncIterator
from hashlib import blake2s
from typing import Any
from urllib.parse import SplitResult, parse_qsl

from holepunch.errors import ConfigurationError, MediatorError, WireError
from holepunch.log import get_logger
from holepunch.mediator import Finding, Mailbox, Mediator
from holepunch.proto.envelope import HEADER_LENGTH, MAX_BODY, Envelope, Kind, decode_envelope

try:
    import termios
except ImportError:  # Windows: its console has no limit that would have to be lifted
    termios = None  # type: ignore[assignment]

log = get_logger("mediator.paste")

PREFIX = "hp-offer:"
CHECKSUM_LENGTH = 4  # bytes: enough to tell a slip of the mouse; the seal of the body is what protects
SKEW = 900  # seconds that clocks may disagree before a line is called expired
LONGEST_LINE = 16384  # characters; what is longer than any offer is not kept

_INTRODUCTIONS = {
    Kind.INVITE: "Send this line to the peer, and paste here what comes back:",
    Kind.ACCEPT: "Send this line back to the peer; that is all:",
}
_HEADER_CHARACTERS = HEADER_LENGTH * 8 // 6
# What chats and mail programs put in: blanks, invisible joiners, quote marks at the beginning of a line.
_NOISE = re.compile(r"^\s*(?:[>|]\s*)+|[\s\u00ad\u200b-\u200f\u2060\ufeff]", re.MULTILINE)
_BEGINNING = re.compile(re.escape(PREFIX), re.IGNORECASE)


class IncompleteError(WireError):
    """The rest of the line has yet to come."""


def encode_line(envelope: Envelope) -> str:
    """Returns the line for an envelope."""
    data = envelope.encode()
    return PREFIX + urlsafe_b64encode(data + _checksum(data)).rstrip(b"=").decode()


def decode_line(text: str) -> Envelope:
    """Reads a line, or several into which it was wrapped, with whatever precedes it.

    Raises:
        IncompleteError: it is right so far, but too short.
        WireError: it is no offer; the text says why, to a person.
    """
    *_, rest = _BEGINNING.split(text)
    if rest == text:
        raise WireError(f"that is not an offer: it does not begin with {PREFIX}")
    body = _NOISE.sub("", rest).rstrip("=").replace("+", "-").replace("/", "_")
    if wrong := re.search(r"[^A-Za-z0-9_-]", body):
        raise WireError(f"the offer contains {wrong[0]!r}, which an offer never does")
    if len(body) < _HEADER_CHARACTERS:
        raise IncompleteError(f"the offer has {len(body)} characters, expected more")
    header = urlsafe_b64decode(body[:_HEADER_CHARACTERS])
    length = int.from_bytes(header[-2:])
    if not header.startswith(b"HP") or length > MAX_BODY:
        raise WireError("the offer is damaged: its beginning is not right")
    expected = -(-(HEADER_LENGTH + length + CHECKSUM_LENGTH) * 8 // 6)
    if len(body) < expected:
        raise IncompleteError(f"the offer has {len(body)} characters, expected {expected}")
    if len(body) > expected:
        raise WireError(f"the offer has {len(body)} characters, expected {expected}: something follows it")
    data = urlsafe_b64decode(body + "=" * (-len(body) % 4))
    data, checksum = data[:-CHECKSUM_LENGTH], data[-CHECKSUM_LENGTH:]
    if checksum != _checksum(data):
        raise WireError("the offer is damaged: some of it was changed on the way")
    return decode_envelope(data)


class PasteMediator(Mediator):
    """Shows offers to a person and takes the peer's from them."""

    latency_hint = 60.0
    max_size = 4096
    interactive = True

    def __init__(self, url: SplitResult, mailbox: Mailbox) -> None:
        super().__init__(url, mailbox)
        options = {name for name, _ in parse_qsl(url.query, keep_blank_values=True)}
        if url.netloc or url.path or options - {"qr"}:
            raise ConfigurationError(f"{url.geturl()!r} is not understood", hint="Write `paste:` or `paste:?qr`.")
        self._qr = "qr" in options
        self._posted: dict[bytes, str] = {}
        self._input: LineInput | None = None

    async def open(self) -> None:
        """Takes hold of stdin.

        Raises:
            MediatorError: there is none.
        """
        if self._input is None:
            self._input = LineInput()

    async def post(self, envelope: Envelope) -> None:
        """Prints the line for a person to send."""
        line = encode_line(envelope)
        self._posted[envelope.id] = line
        _say(f"\n{_INTRODUCTIONS.get(envelope.kind, 'Send this line to the peer:')}\n\n{line}\n")
        if self._qr:
            _show_qr(line)

    async def receive(self) -> AsyncIterator[Envelope]:
        """Asks for the peer's line, and again until it is one for us; yields each that is."""
        await self.open()
        pending = ""
        _say("Paste the peer's line here and press Enter.")
        while self._input is not None and (line := await self._input.next()) is not None:
            text = line if _BEGINNING.search(line) else f"{pending}\n{line}" if pending else line
            pending = ""
            if not text.strip():
                continue
            if text.strip().lower() in ("qr", "?qr"):
                self._show_last()
                continue
            try:
                envelope = decode_line(text)
            except IncompleteError as error:
                if line.strip() and len(text) < LONGEST_LINE:
                    pending = text  # the chat wrapped it: the rest is in the next line
                else:
                    _say(f"Refused: {error}. Copy the whole line and paste it again.")
                continue
            except WireError as error:
                _say(f"Refused: {error}. Paste the peer's line again.")
                continue
            if reason := self._foreign(envelope):
                _say(f"Refused: {reason}. Paste the peer's line again.")
                continue
            _say("Taken.")
            yield envelope
        if self._input is not None:
            raise MediatorError(
                "the input ended, and with it the mediator paste:",
                hint="Run holepunch on a terminal, or keep the pipe open until the peer's line has come.",
            )

    async def check(self) -> list[Finding]:
        """Looks whether there is a person."""
        if sys.stdin is not None and sys.stdin.isatty() and sys.stderr.isatty():
            return [Finding("mediator paste:", "ok", "a terminal is there to copy from and paste to")]
        text = "this is not a terminal: offers are read from stdin and written to stderr"
        return [Finding("mediator paste:", "warning", text, "Run it where a person can copy and paste.")]

    async def close(self) -> None:
        """Gives stdin back as it was."""
        source, self._input = self._input, None
        if source is not None:
            source.close()

    def _foreign(self, envelope: Envelope) -> str:
        """Says why an offer is of no use here; empty where it is."""
        if envelope.id in self._posted:
            return "that is our own line"
        if envelope.recipient != self.mailbox.owner:
            return "that line is for another machine"
        late = time.time() - envelope.expires
        return f"that line expired {late / 60:.0f} minutes ago" if late > SKEW else ""

    def _show_last(self) -> None:
        if self._posted:
            _show_qr(list(self._posted.values())[-1])
        else:
            _say("There is no line to show yet.")


class LineInput:
    """Lines from stdin without blocking the event loop, and without reading past the one that is asked for.

    A terminal gives a line only up to some limit, 4095 characters on Linux and 1023 on macOS (termios,
    canonical mode).  So while we read, it is taken out of that mode, and Backspace, Ctrl-U and Ctrl-D are
    understood here.

    Raises:
        MediatorError: there is no stdin.
    """

    def __init__(self) -> None:
        try:
            self._descriptor = sys.stdin.fileno()
            self._before: list[Any] | None = None
            if termios is not None and os.isatty(self._descriptor):
                self._before = termios.tcgetattr(self._descriptor)
                raw = termios.tcgetattr(self._descriptor)
                raw[3] &= ~termios.ICANON  # local modes
                raw[6][termios.VMIN], raw[6][termios.VTIME] = 1, 0
                termios.tcsetattr(self._descriptor, termios.TCSADRAIN, raw)
                atexit.register(self.close)
        except (AttributeError, OSError, ValueError) as error:
            raise MediatorError("there is no input to paste into", hint="Run holepunch on a terminal.") from error
        self._closed = False
        self._wake = asyncio.Event()

    async def next(self) -> str | None:
        """Returns the next line without its end; None at the end of the input or after close."""
        line = bytearray()
        while (byte := await self._byte()) not in (b"", b"\x04"):
            if byte in (b"\n", b"\r"):
                return line.decode(errors="replace")
            if byte in (b"\x7f", b"\x08"):
                line = line[:-1]
            elif byte == b"\x15":
                line.clear()
            elif len(line) <= LONGEST_LINE:
                line += byte
        return line.decode(errors="replace") if line else None

    async def _byte(self) -> bytes:
        """Waits for one byte; empty at the end."""
        if self._closed:
            return b""
        if sys.platform == "win32":
            return await asyncio.to_thread(os.read, self._descriptor, 1)
        loop = asyncio.get_running_loop()
        self._wake.clear()
        try:
            loop.add_reader(self._descriptor, self._wake.set)
        except PermissionError:  # a file: it never waits
            return os.read(self._descriptor, 1)
        try:
            await self._wake.wait()
            return b"" if self._closed else os.read(self._descriptor, 1)
        except OSError:  # the terminal is gone
            return b""
        finally:
            loop.remove_reader(self._descriptor)

    def close(self) -> None:
        """Gives the terminal its mode back; harmless twice."""
        self._closed = True
        self._wake.set()
        before, self._before = self._before, None
        if before is not None:
            atexit.unregister(self.close)
            with contextlib.suppress(OSError, termios.error):
                termios.tcsetattr(self._descriptor, termios.TCSADRAIN, before)


def _checksum(data: bytes) -> bytes:
    return blake2s(data, digest_size=CHECKSUM_LENGTH, person=b"hp-paste").digest()


def _say(text: str) -> None:
    sys.stderr.write(text + "\n")
    sys.stderr.flush()


def _show_qr(line: str) -> None:
    import segno  # noqa: PLC0415 - only who asks for a code pays for it

    try:
        code = segno.make(line, error="l", micro=False, boost_error=False)
    except segno.DataOverflowError:
        _say(f"The line has {len(line)} characters, too many for a QR code.")
        return
    code.terminal(out=sys.stderr, compact=True)
    sys.stderr.flush()
