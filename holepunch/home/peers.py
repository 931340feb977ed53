"""The peer book: one line for each machine we know, `NAME hp1... [MEDIATOR]...`.

    # the office
    printer  hp1...  https://hub.example

The file is made to be read, and may be edited by hand: comments and order are kept.  A peer in the book
may open a session with this machine, so a change of the book is a change of whom we trust; that is why
nothing here replaces the identity of a name.
"""

import contextlib
import difflib
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from urllib.parse import urlsplit

from ..errors import AuthenticationError, ConfigurationError
from ..proto.identity import PREFIX, PeerId
from . import files

MAX_NAME = 63  # characters
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


def check_name(name: str) -> str:
    """Returns a machine's name if it is one: letters, digits and `._-`, at most 63, the first no sign.

    A name stands in arguments, environment variables and file lines, so it holds nothing else.

    Raises:
        ConfigurationError: it is not a name.
    """
    problem = ""
    if not 1 <= len(name) <= MAX_NAME:
        problem = f"has {len(name)} characters, expected 1 to {MAX_NAME}"
    elif not _NAME.fullmatch(name):
        problem = "is not a name"
    elif name.lower().startswith(PREFIX + "1"):
        problem = f"would be taken for an identity: it starts with {PREFIX}1"
    if problem:
        raise ConfigurationError(
            f"{name[:80]!r} {problem}",
            hint="A name has letters, digits, . _ and -, and starts with a letter or a digit.",
        )
    return name


def check_url(url: str) -> str:
    """Returns the URL of a mediator or relay if it looks like one; who serves it is found out when it is used.

    Raises:
        ConfigurationError: it has no scheme, contains spaces, or carries a password.
    """
    problem, hint = "", "Write for example https://hub.example or file:///folder; a space is %20."
    try:
        parts = urlsplit(url)
        if parts.password is not None:
            url = parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()
            problem, hint = (
                "carries a password",
                "Leave it out: passwords come from the environment, a file or a command.",
            )
        elif not parts.scheme or not url.isprintable() or " " in url:
            problem = "is not a URL"
    except ValueError as error:
        problem = f"is not a URL: {error}"
    if problem:
        raise ConfigurationError(f"{url!r} {problem}", hint=hint)
    return url


@dataclass(frozen=True, slots=True)
class Peer:
    """A machine we know."""

    name: str
    """What we call it; the peer may call itself something else."""
    id: PeerId
    mediators: tuple[str, ...] = ()
    """URLs through which it can be reached; empty for those of our own settings."""


_Lines = list[tuple[str, Peer | None]]


class PeerBook:
    """The peers of one home; every call sees what other processes have changed meanwhile.

    Args:
        path: the file; it need not exist.
        lock: the file that writers lock.
    """

    def __init__(self, path: Path, lock: Path) -> None:
        self.path = path
        self._lock = lock

    def list(self) -> "list[Peer]":
        """Returns all peers in the order of the file.

        Raises:
            ConfigurationError: the file cannot be read, others may change it, or a line of it is wrong.
        """
        return [peer for _, peer in self._read() if peer is not None]

    def find(self, name: str) -> Peer | None:
        """Returns the peer of that name."""
        return self._first(lambda peer: peer.name == name)

    def find_id(self, peer_id: PeerId) -> Peer | None:
        """Returns the peer with that identity."""
        return self._first(lambda peer: peer.id == peer_id)

    def find_noise_key(self, noise_key: bytes) -> Peer | None:
        """Returns the peer whose X25519 public key this is: who a Noise message came from."""
        return self._first(lambda peer: peer.id.noise_key == noise_key)

    def get(self, who: str | PeerId) -> Peer:
        """Returns the peer of that name, or with that identity (a PeerId, or its `hp1...` text).

        Raises:
            AuthenticationError: nobody in the book is meant.
            ConfigurationError: the book cannot be read, or the text is a mistyped identity.
        """
        if isinstance(who, str) and who.lower().startswith(PREFIX + "1"):
            who = PeerId.parse(who)
        peer = self.find_id(who) if isinstance(who, PeerId) else self.find(who)
        if peer is None:
            raise self._unknown(who)
        return peer

    def add(self, peer: Peer) -> None:
        """Adds a peer, or gives a known one other mediators.

        Raises:
            ConfigurationError: the name or a mediator is not valid, the name belongs to another identity,
                the identity has another name, or the file cannot be written (then it is as before).
        """
        check_name(peer.name)
        for url in peer.mediators:
            check_url(url)
        line = " ".join((peer.name, str(peer.id), *peer.mediators))
        with self._editing() as lines:
            for index, (_, known) in enumerate(lines):
                if known is None or (known.name != peer.name and known.id.noise_key != peer.id.noise_key):
                    continue
                if known.name != peer.name:
                    raise ConfigurationError(
                        f"this identity is already in the book, as {known.name}",
                        hint=f"To rename it: `holepunch peer rm {known.name}`, then add it again.",
                    )
                if known.id != peer.id:
                    raise ConfigurationError(
                        f"{peer.name} is already in the book with another identity",
                        hint=f"Take another name, or `holepunch peer rm {peer.name}` if that machine is gone.",
                    )
                lines[index] = (line, peer)
                break
            else:
                lines.append((line, peer))

    def remove(self, name: str) -> None:
        """Takes a peer out of the book: it can open no new session from now on.

        Raises:
            AuthenticationError: there is no such peer.
            ConfigurationError: the file cannot be written; then it is as before.
        """
        with self._editing() as lines:
            kept = [(line, peer) for line, peer in lines if peer is None or peer.name != name]
            if len(kept) == len(lines):
                raise self._unknown(name)
            lines[:] = kept

    def _first(self, wanted: Callable[[Peer], bool]) -> Peer | None:
        return next((peer for peer in self.list() if wanted(peer)), None)

    def _unknown(self, who: str | PeerId) -> AuthenticationError:
        names = [peer.name for peer in self.list()]
        near = difflib.get_close_matches(str(who), names, n=1)
        return AuthenticationError(
            f"no peer {who} is in the book",
            hint=f"Did you mean {near[0]}?"
            if near
            else "Introduce it: `holepunch pair`, or `holepunch peer add NAME ID`.",
        )

    @contextlib.contextmanager
    def _editing(self) -> Iterator[_Lines]:
        """Gives the lines to change, and writes them if the block ends well."""
        files.make_folder(self.path.parent)
        with files.locked(self._lock):
            lines = self._read()
            before = list(lines)
            yield lines
            if lines != before:
                files.write_file(self.path, "".join(f"{line}\n" for line, _ in lines).encode())

    def _read(self) -> _Lines:
        """Returns every line of the file and the peer it names, None for comments and empty lines."""
        data = files.read_file(self.path, files.WRITTEN_BY_OTHERS) or b""
        try:
            text = data.decode()
        except UnicodeDecodeError as error:
            number = data[: error.start].count(b"\n") + 1
            raise ConfigurationError(f"{self.path}, line {number}: not UTF-8 text") from error
        lines: _Lines = []
        seen: dict[str | bytes, int] = {}
        for number, line in enumerate(text.removesuffix("\n").split("\n") if text else [], start=1):
            try:
                peer = _parse(line)
            except ConfigurationError as error:
                raise ConfigurationError(f"{self.path}, line {number}: {error}", hint=error.hint) from error
            for key in (peer.name, peer.id.noise_key) if peer else ():
                if seen.setdefault(key, number) != number:
                    raise ConfigurationError(
                        f"{self.path}, line {number}: this {'name' if isinstance(key, str) else 'identity'} stands in "
                        f"line {seen[key]} already",
                        hint="Remove one of the two lines.",
                    )
            lines.append((line, peer))
        return lines


@lru_cache(maxsize=1024)
def _parse(line: str) -> Peer | None:
    """Reads one line of the file."""
    words = line.split()
    if not words or words[0].startswith("#"):
        return None
    if len(words) < 2:
        raise ConfigurationError("expected NAME hp1... [MEDIATOR]...")
    name, text, *mediators = words
    return Peer(check_name(name), PeerId.parse(text), tuple(check_url(url) for url in mediators))
