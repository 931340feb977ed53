"""Who a machine is: one Ed25519 key, and the X25519 key that follows from it.

A PeerId is the public half, written `hp1...`: it signs (Ed25519, RFC 8032) and, by the birational map
of RFC 7748 section 4.1, is also the static key of the Noise handshake, so a person compares one line
and no more.  Using one key for both is sound because each side hashes what it computes under names of
its own: Noise under its protocol name, signatures under labels (docs/topics/trust.md).
"""

import hashlib
from dataclasses import dataclass
from functools import lru_cache

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey

from ..errors import ConfigurationError

PREFIX = "hp"  # the human-readable part
TEXT_LENGTH = 61  # prefix, separator 1, 52 characters of key, 6 of checksum
SHORT_LENGTH = 12

_CHARSET = "qpzry9x8gf2tvdw0s3jn54khce6mua7l"  # BIP 173: neighbours differ in as few bits as look-alikes allow
_BECH32M = 0x2BC830A3  # BIP 350: the constant that closes the insertion weakness of BIP 173
_GENERATOR = (0x3B6A57B2, 0x26508E6D, 0x1EA119FA, 0x3D4233DD, 0x2A1462B3)

_P = 2**255 - 19  # RFC 7748, 4.1
_D = -121665 * pow(121666, -1, _P) % _P  # RFC 8032, 5.1
_HINT = "Copy the whole line that `holepunch id` prints on the other machine."


def _polymod(values: list[int]) -> int:
    """Returns the BCH remainder of 5-bit values (BIP 173)."""
    check = 1
    for value in values:
        top = check >> 25
        check = (check & 0x1FFFFFF) << 5 ^ value
        for bit, generator in enumerate(_GENERATOR):
            if top >> bit & 1:
                check ^= generator
    return check


_EXPANDED_PREFIX = [ord(c) >> 5 for c in PREFIX] + [0] + [ord(c) & 31 for c in PREFIX]


@lru_cache(maxsize=1024)
def _noise_key(raw: bytes) -> bytes:
    """Maps an Ed25519 public key to X25519: u = (1 + y) / (1 - y) (RFC 7748 section 4.1).

    Raises:
        ConfigurationError: the bytes are not a point of the curve (RFC 8032 section 5.1.3), or one of
            small order, with which every key agreement would give the same, known secret.
    """
    if len(raw) != 32:
        raise ConfigurationError(f"an identity has {len(raw)} bytes, expected 32", hint=_HINT)
    y = int.from_bytes(raw, "little") & (1 << 255) - 1
    # x^2 = (y^2 - 1) / (d y^2 + 1) must be a square; Euler's criterion tells.  The denominator is never 0.
    x_squared = (y * y - 1) * pow(_D * y * y + 1, -1, _P) % _P
    if y >= _P or pow(x_squared, (_P - 1) // 2, _P) == _P - 1:
        raise ConfigurationError("this identity is not a point of the curve Ed25519", hint=_HINT)
    if y != 1:
        u = (1 + y) * pow(1 - y, -1, _P) % _P
        key = u.to_bytes(32, "little")
        try:
            # A clamped scalar is a multiple of the cofactor, so any will do: small-order points give zero.
            X25519PrivateKey.from_private_bytes(bytes(31) + b"\x40").exchange(X25519PublicKey.from_public_bytes(key))
        except ValueError:
            pass
        else:
            return key
    raise ConfigurationError("this identity is a key of small order, which protects nothing", hint=_HINT)


@dataclass(frozen=True, slots=True)
class PeerId:
    """The public half of an identity.

    Raises:
        ConfigurationError: `raw` is not a usable Ed25519 public key, so an unusable PeerId does not exist.
    """

    raw: bytes
    """The Ed25519 public key, 32 bytes."""

    def __post_init__(self) -> None:
        _noise_key(self.raw)

    @classmethod
    def parse(cls, text: str) -> "PeerId":
        """Reads `hp1...` (bech32m, BIP 350), in lower or in upper case; spaces around it do not matter.

        Raises:
            ConfigurationError: prefix, length, alphabet or checksum is wrong; the text says which.
        """
        text = text.strip()
        if not text.lower().startswith(PREFIX + "1"):
            raise ConfigurationError(f"{text[:16]!r} is not an identity: it does not start with {PREFIX}1", hint=_HINT)
        if len(text) != TEXT_LENGTH:
            raise ConfigurationError(f"the identity has {len(text)} characters, expected {TEXT_LENGTH}", hint=_HINT)
        if text not in (text.lower(), text.upper()):
            raise ConfigurationError("the identity mixes small and capital letters", hint=_HINT)
        text = text.lower()
        values = []
        for place, character in enumerate(text[len(PREFIX) + 1 :], start=len(PREFIX) + 2):
            if character not in _CHARSET:
                raise ConfigurationError(
                    f"character {place} of the identity is {character!r}, which an identity never contains", hint=_HINT
                )
            values.append(_CHARSET.index(character))
        if _polymod(_EXPANDED_PREFIX + values) != _BECH32M:
            raise ConfigurationError("the identity's checksum does not match: some of it was mistyped", hint=_HINT)
        number = 0
        for value in values[:-6]:
            number = number << 5 | value
        if number & 0xF:
            raise ConfigurationError("the identity's last 4 bits are not zero", hint=_HINT)
        return cls((number >> 4).to_bytes(32))

    def __str__(self) -> str:
        number = int.from_bytes(self.raw) << 4
        values = [number >> shift & 31 for shift in range(255, -5, -5)]
        check = _polymod(_EXPANDED_PREFIX + values + [0] * 6) ^ _BECH32M
        values += [check >> shift & 31 for shift in range(25, -5, -5)]
        return PREFIX + "1" + "".join(_CHARSET[value] for value in values)

    def __repr__(self) -> str:
        return f"PeerId({self})"

    @property
    def short(self) -> str:
        """The first 12 characters: for a log line, never for a decision."""
        return str(self)[:SHORT_LENGTH]

    @property
    def noise_key(self) -> bytes:
        """The X25519 public key that belongs to it, 32 bytes.

        A key and its negative (the other sign bit) share one: whoever looks a peer up by noise key must
        hold at most one of the two (the peer book sees to it).
        """
        return _noise_key(self.raw)

    def verify(self, signature: bytes, data: bytes) -> bool:
        """Tells whether `signature` (Ed25519, 64 bytes) over `data` is this peer's."""
        try:
            Ed25519PublicKey.from_public_bytes(self.raw).verify(signature, data)
        except InvalidSignature:
            return False
        return True


class Identity:
    """The private half: signs, and opens Noise handshakes.  Made by from_seed."""

    __slots__ = ("_key", "_noise_private", "peer_id")

    def __init__(self, key: Ed25519PrivateKey) -> None:
        self._key = key
        # RFC 8032, 5.1.5: the secret scalar is the first half of SHA-512 of the seed; X25519 clamps it alike.
        self._noise_private = hashlib.sha512(key.private_bytes_raw()).digest()[:32]
        self.peer_id = PeerId(key.public_key().public_bytes_raw())

    @classmethod
    def from_seed(cls, seed: bytes) -> "Identity":
        """Returns the identity of a 32-byte seed, the private key of RFC 8032.

        Raises:
            ConfigurationError: it does not have 32 bytes.
        """
        if len(seed) != 32:
            raise ConfigurationError(f"a seed has {len(seed)} bytes, expected 32")
        return cls(Ed25519PrivateKey.from_private_bytes(seed))

    def sign(self, data: bytes) -> bytes:
        """Returns an Ed25519 signature, 64 bytes; start `data` with a label that says what is signed."""
        return self._key.sign(data)

    @property
    def noise_private(self) -> bytes:
        """The X25519 private key whose public half is `peer_id.noise_key`, 32 bytes."""
        return self._noise_private

    def __repr__(self) -> str:
        return f"Identity({self.peer_id})"
