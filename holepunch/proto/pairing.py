"""Two machines meet by a short code: SPAKE2 in three envelopes (RFC 9382 describes the exchange).

    code       7314-amber-falcon: a nameplate, which says where to meet, and two words, the password
    creator -> HELLO   its PAKE element
    joiner  -> REPLY   its PAKE element; its profile, sealed under the key that both now have
    creator -> FINAL   its PAKE element; its profile, sealed, or nothing, sealed, where REPLY did not open

The mailbox belongs to a key that follows from the nameplate, so anyone may read and fill it.  What holds is
SPAKE2: someone who meddles learns nothing of the words, and can try one pair of 65536 with each side, because a
side runs the exchange with one counterpart and then ends, whatever came of it.  So one wrong try ends a code,
and anyone who can write to the mailbox can end it on purpose (docs/topics/trust.md).

A body, big-endian:

    0   1   version, 1
    1   1   role of the sender: 1 creator, 2 joiner
    2  16   id of the envelope that this one answers; zero in HELLO
   18  32   PAKE element
   50   2   length of the sealed profile, then the profile; 0 in HELLO

SPAKE2 is that of the Python package spake2, over Ed25519: side A is the creator, B the joiner; their names are
"holepunch pair creator NNNN" and "holepunch pair joiner NNNN" with the nameplate; the password is "word-word".
The mailbox's Ed25519 seed is BLAKE2s("holepunch pair mailbox" + NNNN).  The session id is the creator's; HELLO's
envelope has it.

The profile is sealed with ChaCha20-Poly1305, nonce zero, since each direction has a key of its own for its one
message: BLAKE2s with person "hp-pair1" and the SPAKE2 key as key, of "creator" or "joiner" (the sender) and the
session id.  The envelope's header and the first 50 bytes of the body are authenticated with it.  A profile is a PeerId
(32 bytes), a name (block), the number of mediators (1 byte), their URLs (blocks), and zeros to a multiple of 512.
"""

import difflib
import enum
import hashlib
from collections import deque
from dataclasses import dataclass, replace

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from spake2 import SPAKE2_A, SPAKE2_B, SPAKEError
from spake2.ed25519_basic import NotOnCurve

from ..errors import ConfigurationError, WireError
from .envelope import Envelope, Kind
from .identity import Identity, PeerId
from .machine import Entropy
from .wire import Reader, Writer
from .words import WORDS

VERSION = 1
NAMEPLATES = 10000
MAX_ENVELOPES = 256  # distinct ones looked at; an exchange needs three, so the rest is someone's flood
MAX_MEDIATORS = 8
MAX_TEXT = 512  # bytes of a name or URL
SKEW = 600  # seconds that clocks may disagree

_PADDING = 512  # bytes; a profile's length says nothing of the name in it
_ELEMENT_LENGTH = 32
_PREFIX_LENGTH = 50
_NO_ANSWER = bytes(16)
_HINT = "A code looks like 7314-amber-falcon; the machine that made it shows it."


@dataclass(frozen=True, slots=True)
class Code:
    """What one person reads to the other."""

    nameplate: int
    """0-9999."""
    words: tuple[str, str]

    @classmethod
    def make(cls, entropy: Entropy) -> "Code":
        """Draws a code: 16 bits of password."""
        first, second = entropy(2)
        return cls(int.from_bytes(entropy(8)) % NAMEPLATES, (WORDS[first], WORDS[second]))

    @classmethod
    def parse(cls, text: str) -> "Code":
        """Reads a code as a person types it: capitals and spaces do not matter.

        A word that is none is refused here, before the one try is spent.

        Raises:
            ConfigurationError: it is not a code; the text says what is wrong with it.
        """
        parts = text.lower().replace("-", " ").split()
        if len(parts) != 3 or len(parts[0]) != 4 or not (parts[0].isascii() and parts[0].isdigit()):
            raise ConfigurationError(f"{text[:40]!r} is not a code of four digits and two words", hint=_HINT)
        for word in parts[1:]:
            if word not in WORDS:
                near = difflib.get_close_matches(word, WORDS, n=1)
                hint = f"Did you mean {near[0]}?" if near else _HINT
                raise ConfigurationError(f"{word[:40]!r} is not one of the words of a code", hint=hint)
        return cls(int(parts[0]), (parts[1], parts[2]))

    def __str__(self) -> str:
        return "-".join((f"{self.nameplate:04}", *self.words))

    def __repr__(self) -> str:
        return f"Code({self.nameplate:04}-...)"

    @property
    def mailbox(self) -> Identity:
        """Whose mailbox both sides use; known to anyone who knows the nameplate."""
        return Identity.from_seed(hashlib.blake2s(b"holepunch pair mailbox" + f"{self.nameplate:04}".encode()).digest())


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """What one machine tells the other of itself."""

    name: str
    """What it calls itself: a proposal, not to be trusted as text."""
    id: PeerId
    mediators: tuple[str, ...] = ()
    """URLs where it reads its mail."""


class Role(enum.IntEnum):
    """Who made the code and who typed it."""

    CREATOR = 1
    JOINER = 2


class Refusal(enum.Enum):
    """Why an exchange ended without a peer."""

    WRONG_CODE = "the two machines did not use the same code"
    TAKEN = "another machine has used this code first"
    MALFORMED = "the peer has the code but sent a profile that makes no sense"
    DISTURBED = "the code was right, but the messages of this machine were altered on the way"
    CROWDED = f"more than {MAX_ENVELOPES} messages came for this code: someone disturbs the exchange"


@dataclass(frozen=True, slots=True)
class Paired:
    """Event: the other side had the code, and this is who it is."""

    profile: Profile


@dataclass(frozen=True, slots=True)
class Refused:
    """Event: it is over, without a peer; this code is spent."""

    reason: Refusal


@dataclass(frozen=True, slots=True)
class _Body:
    role: Role
    answers: bytes
    element: bytes
    sealed: bytes

    def prefix(self) -> bytes:
        """Returns the bytes that are authenticated with the profile."""
        return Writer().u8(VERSION).u8(self.role).raw(self.answers).raw(self.element).getvalue()

    def encode(self) -> bytes:
        return Writer().raw(self.prefix()).block(self.sealed).getvalue()


def _decode_body(data: bytes) -> _Body:
    reader = Reader(data)
    if (version := reader.u8()) != VERSION:
        raise WireError(f"pairing version is {version}, expected {VERSION}")
    role = reader.u8()
    if role not in (Role.CREATOR, Role.JOINER):
        raise WireError(f"pairing role is {role}, expected 1 or 2")
    body = _Body(Role(role), reader.take(16), reader.take(_ELEMENT_LENGTH), reader.block())
    reader.end()
    return body


def encode_profile(profile: Profile) -> bytes:
    """Returns a profile's bytes, padded with zeros to a multiple of 512."""
    writer = Writer().raw(profile.id.raw).text(profile.name).u8(len(profile.mediators))
    for url in profile.mediators:
        writer.text(url)
    data = writer.getvalue()
    return data + bytes(-len(data) % _PADDING)


def decode_profile(data: bytes) -> Profile:
    """Reads what encode_profile wrote.

    Raises:
        WireError: it is not a profile, its id is not usable, or something in it is too long or too many.
    """
    reader = Reader(data)
    try:
        peer_id = PeerId(reader.take(32))
    except ConfigurationError as error:
        raise WireError(str(error)) from error
    name = reader.text()
    count = reader.u8()
    if count > MAX_MEDIATORS:
        raise WireError(f"the profile has {count} mediators, expected at most {MAX_MEDIATORS}")
    mediators = tuple(reader.text() for _ in range(count))
    for text in (name, *mediators):
        if len(text.encode()) > MAX_TEXT:
            raise WireError(f"a text of the profile has {len(text.encode())} bytes, expected at most {MAX_TEXT}")
    if any(reader.rest()):
        raise WireError("the padding of a profile is not zero")
    return Profile(name=name, id=peer_id, mediators=mediators)


class Pairing:
    """One side of one exchange, in the shape of a machine (holepunch.proto.machine) with envelopes for datagrams.

    Who drives it posts envelopes_to_send whenever it has some, gives it every envelope of the mailbox, and
    ends it at the expiry: there is no other timer.

    Args:
        role: who made the code.
        code: the code.
        profile: what to tell the other side, if it has the code.
        entropy: random bytes.
        expires: until when the exchange is worth anything, seconds since 1970.
    """

    def __init__(self, role: Role, code: Code, profile: Profile, *, entropy: Entropy, expires: int) -> None:
        self.role = role
        self.code = code
        self.expires = expires
        self.session = entropy(16) if role is Role.CREATOR else b""
        """The creator draws it; a joiner has none until it has heard the creator."""
        self._recipient = code.mailbox.peer_id.raw
        self._profile = encode_profile(profile)
        self._entropy = entropy
        side = SPAKE2_A if role is Role.CREATOR else SPAKE2_B
        # The nameplate is part of the names of both sides: the words alone are good for no other mailbox.
        names = [f"holepunch pair {who} {code.nameplate:04}".encode() for who in ("creator", "joiner")]
        self._spake = side("-".join(code.words).encode(), *names, entropy_f=entropy)
        self._element = bytes(self._spake.start()[1:])  # less the byte that names the side: the role says it
        self._key = b""
        self._sent = b""  # id of what we sent last, which the other side answers
        self._seen: set[bytes] = set()
        self._over = False
        self._out: deque[Envelope] = deque()
        self._events: deque[Paired | Refused] = deque()
        if role is Role.CREATOR:
            self._send(_NO_ANSWER, b"")

    @property
    def heard(self) -> bool:
        """Whether the other side, or someone in its place, has been heard: from then on this code is spent."""
        return bool(self._key)

    def receive_envelope(self, envelope: Envelope, now: float) -> None:
        """Takes an envelope that arrived in the mailbox.

        Args:
            envelope: any; what is not for this exchange is ignored.
            now: seconds since 1970.
        """
        if self._over or envelope.id in self._seen or envelope.kind is not Kind.PAIR:
            return
        self._seen.add(envelope.id)
        if len(self._seen) > MAX_ENVELOPES:
            self._end(Refused(Refusal.CROWDED))
            return
        if envelope.recipient != self._recipient or envelope.expires + SKEW < now:
            return
        try:
            body = _decode_body(envelope.body)
        except WireError:
            return
        # Our own envelopes come back, since both sides read one mailbox.  Two joiners look the same here; each is
        # told by `answers` whether the creator means it.
        if body.role is self.role:
            return
        if self.role is Role.CREATOR:
            self._receive_as_creator(envelope, body)
        else:
            self._receive_as_joiner(envelope, body)

    def envelopes_to_send(self) -> list[Envelope]:
        """Returns the envelopes to post now and forgets them."""
        out = list(self._out)
        self._out.clear()
        return out

    def next_event(self) -> Paired | Refused | None:
        """Returns the oldest event not yet taken, or None; there is one at most, and it is the end."""
        return self._events.popleft() if self._events else None

    def _receive_as_creator(self, envelope: Envelope, body: _Body) -> None:
        if envelope.session != self.session or body.answers != self._sent or not body.sealed:
            return
        if self._agree(body):
            event = self._open(envelope, body)
            # FINAL goes out whether or not REPLY opened: without it a joiner with wrong words would wait in vain.
            # It is sealed, so such a joiner learns that they are wrong and nothing else; and it is empty then, so
            # that one side never takes for a peer who has refused it.
            self._send(envelope.id, self._profile if isinstance(event, Paired) else b"")
            self._end(event)

    def _receive_as_joiner(self, envelope: Envelope, body: _Body) -> None:
        if not self._key:
            if not body.sealed and body.answers == _NO_ANSWER:
                self.session = envelope.session
                if self._agree(body):
                    self._send(envelope.id, self._profile)
        elif envelope.session == self.session and body.sealed:
            self._end(self._open(envelope, body) if body.answers == self._sent else Refused(Refusal.TAKEN))

    def _agree(self, body: _Body) -> bool:
        """Computes the key with the one counterpart that this side will ever have; False where it gave no point."""
        other = b"B" if self.role is Role.CREATOR else b"A"
        try:
            self._key = self._spake.finish(other + body.element)
        except (SPAKEError, NotOnCurve, ValueError, AssertionError):
            # An element that no honest side sends.  To ignore it would be harmless too, but this costs the
            # disturber as much as a wrong guess, and one rule is easier to trust than two.
            self._end(Refused(Refusal.WRONG_CODE))
            return False
        return True

    def _open(self, envelope: Envelope, body: _Body) -> Paired | Refused:
        """Opens the other side's profile: that is the proof that it has the code."""
        other = Role.JOINER if self.role is Role.CREATOR else Role.CREATOR
        try:
            plaintext = self._cipher(other).decrypt(bytes(12), body.sealed, envelope.header() + body.prefix())
            return Paired(decode_profile(plaintext)) if plaintext else Refused(Refusal.DISTURBED)
        except InvalidTag:
            return Refused(Refusal.WRONG_CODE)
        except WireError:
            return Refused(Refusal.MALFORMED)

    def _cipher(self, sender: Role) -> ChaCha20Poly1305:
        """Returns the cipher of one direction; each seals one profile, so a nonce is never used twice."""
        label = b"creator" if sender is Role.CREATOR else b"joiner"
        return ChaCha20Poly1305(hashlib.blake2s(label + self.session, key=self._key, person=b"hp-pair1").digest())

    def _send(self, answers: bytes, plaintext: bytes) -> None:
        """Queues an envelope, with `plaintext` sealed in it once there is a key."""
        self._sent = self._entropy(16)
        envelope = Envelope(
            kind=Kind.PAIR,
            session=self.session,
            id=self._sent,
            recipient=self._recipient,
            expires=self.expires,
            body=b"",
        )
        body = _Body(self.role, answers, self._element, b"")
        if self._key:
            sealed = self._cipher(self.role).encrypt(bytes(12), plaintext, envelope.header() + body.prefix())
            body = replace(body, sealed=sealed)
        self._out.append(replace(envelope, body=body.encode()))

    def _end(self, event: Paired | Refused) -> None:
        self._over = True
        self._events.append(event)
