"""The punch packet: 96 bytes in both directions, all of them random to whoever has no key.

     0   8  tag         tells our packets from all others at the price of one comparison
     8   8  counter     big-endian, XORed with a mask that depends on the ciphertext
    16  64  ciphertext  ChaCha20-Poly1305, nonce = 4 zero bytes + counter, associated data = the tag
    80  16  authenticator

The tag is the first 8 bytes of BLAKE2s(tag key, counter >> 16): the receiver knows the two that can
come next, and drops everything else before any cryptography.  Each direction has its own keys, drawn
from the offers' Noise transcript (holepunch.proto.seal); a counter is never used twice under one key.
An answer has the size of what it answers, so nobody can be flooded through us.

The plaintext, 64 bytes:

     0   1  flags       see Flag
     1   1  version     1
     2   1  round       which punching round of the session
     3   1  reserved, 0
     4   8  echo        the highest counter heard on this path; all ones before any
    12  19  observed    where the packets heard on this path came from: family, port, 16 bytes of address
    31  33  reserved, 0
"""

import enum
import hashlib
import hmac
import ipaddress
from dataclasses import dataclass

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

from ..errors import WireError
from .machine import Address
from .replay import ReplayWindow
from .wire import Reader, Writer

LENGTH = 96
VERSION = 1
NOTHING_HEARD = 0xFFFF_FFFF_FFFF_FFFF
_EPOCH_BITS = 16
_PLAINTEXT_LENGTH = 64


class Flag(enum.IntFlag):
    """What a punch packet says."""

    HEARD = 1
    """I have heard authentic packets from you on this path; `echo` is the counter of the latest."""
    WANT = 2
    """Answer this one: I do not know yet that the path works, or I check that it still does."""
    SELECTED = 4
    """I send the session's data on this path.  From the inviter it is the nomination (RFC 8445, 8.1)."""
    READY = 8
    """My user is ready: the command runs, or is about to."""
    BYE = 16
    """The session is over."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Punch:
    """The content of a punch packet."""

    flags: Flag
    round: int = 0
    echo: int = NOTHING_HEARD
    observed: Address | None = None


def encode_punch(punch: Punch) -> bytes:
    """Returns the 64 bytes of plaintext."""
    writer = Writer().u8(punch.flags).u8(VERSION).u8(punch.round).u8(0).u64(punch.echo)
    if punch.observed is None:
        writer.raw(bytes(19))
    else:
        ip = ipaddress.ip_address(punch.observed[0].partition("%")[0])
        writer.u8(ip.version).u16(punch.observed[1]).raw(ip.packed.ljust(16, b"\0"))
    return writer.getvalue().ljust(_PLAINTEXT_LENGTH, b"\0")


def decode_punch(data: bytes) -> Punch:
    """Reads the plaintext of an authentic packet.

    Raises:
        WireError: the version or the address family is unknown, or bytes are missing.
    """
    reader = Reader(data)
    flags, version, round_, _, echo = reader.u8(), reader.u8(), reader.u8(), reader.u8(), reader.u64()
    if version != VERSION:
        raise WireError(f"punch packet version is {version}, expected {VERSION}")
    family, port, packed = reader.u8(), reader.u16(), reader.take(16)
    observed: Address | None = None
    if family:
        if family not in (4, 6):
            raise WireError(f"address family is {family}, expected 4 or 6")
        observed = str(ipaddress.ip_address(packed[:4] if family == 4 else packed)), port
    return Punch(flags=Flag(flags & 31), round=round_, echo=echo, observed=observed)


class _Direction:
    """The keys of one direction, derived from 32 secret bytes."""

    def __init__(self, secret: bytes) -> None:
        def key(label: bytes) -> bytes:
            return hashlib.blake2s(label, key=secret).digest()

        self.aead = ChaCha20Poly1305(key(b"aead"))
        self._tag_key = key(b"tag")
        self._mask_key = key(b"mask")
        self._tags: dict[int, bytes] = {}

    def tag(self, epoch: int) -> bytes:
        if epoch not in self._tags:
            if len(self._tags) > 4:
                self._tags.clear()
            self._tags[epoch] = hashlib.blake2s(epoch.to_bytes(8), key=self._tag_key, digest_size=8).digest()
        return self._tags[epoch]

    def mask(self, ciphertext: bytes) -> int:
        return int.from_bytes(hashlib.blake2s(ciphertext[:16], key=self._mask_key, digest_size=8).digest())


class Sealer:
    """Seals what this side sends; counts as it goes.

    Args:
        secret: 32 bytes, for this direction and purpose only.
    """

    def __init__(self, secret: bytes) -> None:
        self._keys = _Direction(secret)
        self.next_counter = 0

    def seal(self, plaintext: bytes) -> bytes:
        """Returns a packet, 32 bytes longer than the plaintext."""
        counter = self.next_counter
        self.next_counter += 1
        tag = self._keys.tag(counter >> _EPOCH_BITS)
        ciphertext = self._keys.aead.encrypt(bytes(4) + counter.to_bytes(8), plaintext, tag)
        return tag + (counter ^ self._keys.mask(ciphertext)).to_bytes(8) + ciphertext


class Opener:
    """Opens what the other side sent: each authentic packet once.

    Args:
        secret: the 32 bytes of the other side's Sealer.
    """

    def __init__(self, secret: bytes) -> None:
        self._keys = _Direction(secret)
        self._window = ReplayWindow()
        self._epoch = 0

    def recognises(self, data: bytes) -> bool:
        """Tells cheaply whether a datagram looks like one of ours; a stranger's passes once in 2^63."""
        tag = data[:8]
        return hmac.compare_digest(tag, self._keys.tag(self._epoch)) or hmac.compare_digest(
            tag, self._keys.tag(self._epoch + 1)
        )

    def open(self, data: bytes) -> tuple[int, bytes] | None:
        """Returns (counter, plaintext), or None for anything forged, altered or replayed."""
        if len(data) < 32 or not self.recognises(data):
            return None
        ciphertext = data[16:]
        counter = int.from_bytes(data[8:16]) ^ self._keys.mask(ciphertext)
        try:
            plaintext = self._keys.aead.decrypt(bytes(4) + counter.to_bytes(8), ciphertext, data[:8])
        except InvalidTag:
            return None
        if not self._window.accept(counter):
            return None
        self._epoch = max(self._epoch, counter >> _EPOCH_BITS)
        return counter, plaintext
