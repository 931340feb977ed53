"""Noise_IK_25519_ChaChaPoly_BLAKE2s: one message each way, and both sides know and trust each other.

    <- s                          the initiator knows the responder's static key beforehand
    -> e, es, s, ss, payload      message 1: 96 bytes more than its payload
    <- e, ee, se, payload         message 2: 48 bytes more than its payload

(The Noise Protocol Framework, revision 34, section 7.5.)  Message 1 hides who the initiator is from all
but the responder.  Its payload is not forward secret on the responder's side and can be replayed, so
its reader keeps a replay cache; message 2 and all that follows are forward secret.

Ephemeral private keys are arguments: 32 fresh random bytes for each handshake, never used twice.  A read
that fails changes nothing, so junk delivered before the real message does no harm.
"""

import hashlib
import hmac
from dataclasses import dataclass

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

from ..errors import AuthenticationError

PROTOCOL_NAME = b"Noise_IK_25519_ChaChaPoly_BLAKE2s"
KEY_LENGTH = 32
TAG_LENGTH = 16
MAX_MESSAGE = 65535  # section 3: no Noise message is longer
MESSAGE_1_OVERHEAD = KEY_LENGTH + KEY_LENGTH + TAG_LENGTH + TAG_LENGTH
MESSAGE_2_OVERHEAD = KEY_LENGTH + TAG_LENGTH


def _hash(data: bytes) -> bytes:
    return hashlib.blake2s(data).digest()


def _hmac(key: bytes, data: bytes) -> bytes:
    return hmac.digest(key, data, "blake2s")


def _hkdf(chaining_key: bytes, material: bytes) -> tuple[bytes, bytes, bytes]:
    """Returns the three outputs of HKDF (section 4.3); a use of two takes the first two."""
    temporary = _hmac(chaining_key, material)
    first = _hmac(temporary, b"\x01")
    second = _hmac(temporary, first + b"\x02")
    return first, second, _hmac(temporary, second + b"\x03")


def public_key(private: bytes) -> bytes:
    """Returns the X25519 public key of a private one; 32 bytes each."""
    return X25519PrivateKey.from_private_bytes(private).public_key().public_bytes_raw()


def _dh(private: bytes, public: bytes) -> bytes:
    try:
        return X25519PrivateKey.from_private_bytes(private).exchange(X25519PublicKey.from_public_bytes(public))
    except ValueError as error:  # RFC 7748, 6.1: the shared secret is zero, so the key is of small order
        raise AuthenticationError("the handshake carries a key of small order") from error


@dataclass(frozen=True, slots=True, repr=False)
class SessionKeys:
    """What a finished handshake leaves; every field but handshake_hash is secret."""

    send: bytes
    """32 bytes: encrypts from our side to the peer (the output of Split that is ours)."""
    receive: bytes
    """32 bytes: the peer's."""
    handshake_hash: bytes
    """32 bytes, equal on both sides and different for every handshake; public."""
    exporter: bytes
    """32 bytes, equal on both sides: the third output of the last HKDF; `derive` from it."""

    def derive(self, label: bytes, length: int = 32) -> bytes:
        """Returns `length` secret bytes for one purpose; equal on both sides for the same label.

        HKDF-Expand of RFC 5869 with HMAC-BLAKE2s, keyed by the exporter bound to the handshake hash.

        Raises:
            ValueError: more than 8160 bytes are wanted (RFC 5869 section 2.3).
        """
        if not 0 <= length <= 255 * 32:
            raise ValueError(f"{length} bytes wanted, HKDF gives at most {255 * 32}")
        key = _hmac(self.exporter, self.handshake_hash)
        out, block = b"", b""
        for counter in range(1, -(-length // 32) + 1):
            block = _hmac(key, block + label + bytes([counter]))
            out += block
        return out[:length]

    def __repr__(self) -> str:
        return f"SessionKeys({self.handshake_hash.hex()[:16]})"


@dataclass(slots=True)
class _State:
    """The SymmetricState and CipherState of sections 5.1 and 5.2, of which a handshake has one."""

    chaining_key: bytes
    hash: bytes
    key: bytes = b""
    nonce: int = 0

    def copy(self) -> "_State":
        return _State(self.chaining_key, self.hash, self.key, self.nonce)

    def mix_hash(self, data: bytes) -> None:
        self.hash = _hash(self.hash + data)

    def mix_key(self, material: bytes) -> None:
        self.chaining_key, self.key, _ = _hkdf(self.chaining_key, material)
        self.nonce = 0

    def _next_nonce(self) -> bytes:
        nonce = bytes(4) + self.nonce.to_bytes(8, "little")  # section 12.3
        self.nonce += 1
        return nonce

    def seal(self, plaintext: bytes) -> bytes:
        sealed = ChaCha20Poly1305(self.key).encrypt(self._next_nonce(), plaintext, self.hash)
        self.mix_hash(sealed)
        return sealed

    def open(self, sealed: bytes) -> bytes:
        try:
            plaintext = ChaCha20Poly1305(self.key).decrypt(self._next_nonce(), sealed, self.hash)
        except InvalidTag as error:
            raise AuthenticationError("the handshake message is not for us, not from this peer, or altered") from error
        self.mix_hash(sealed)
        return plaintext

    def split(self, *, initiator: bool) -> SessionKeys:
        first, second, exporter = _hkdf(self.chaining_key, b"")
        send, receive = (first, second) if initiator else (second, first)
        return SessionKeys(send, receive, self.hash, exporter)


def _begin(prologue: bytes, responder_static: bytes) -> _State:
    """Returns the state after Initialize: protocol name, prologue, pre-message `<- s` (section 5.3)."""
    name_hash = _hash(PROTOCOL_NAME)  # 33 bytes, one more than a hash: section 5.2 says to hash it
    state = _State(name_hash, name_hash)
    state.mix_hash(prologue)
    state.mix_hash(responder_static)
    return state


def _check_length(message: bytes, overhead: int) -> None:
    if not overhead <= len(message) <= MAX_MESSAGE:
        raise AuthenticationError(
            f"the handshake message has {len(message)} bytes, expected {overhead} to {MAX_MESSAGE}"
        )


class Initiator:
    """The side that writes message 1: `write`, `read`, then `keys`.

    Args:
        static_private: our X25519 private key, 32 bytes (Identity.noise_private).
        remote_static: the responder's X25519 public key, 32 bytes (PeerId.noise_key).
        ephemeral_private: 32 fresh random bytes.
        prologue: what both sides must agree on, such as version and session id.
    """

    def __init__(self, static_private: bytes, remote_static: bytes, ephemeral_private: bytes, prologue: bytes) -> None:
        self._static = static_private
        self._remote_static = remote_static
        self._ephemeral = ephemeral_private
        self._state = _begin(prologue, remote_static)
        self._written = False
        self._keys: SessionKeys | None = None

    def write(self, payload: bytes) -> bytes:
        """Returns message 1 with its payload; once only, for a second would use the ephemeral key twice.

        Raises:
            AuthenticationError: the responder's key is of small order.
        """
        if self._written:
            raise RuntimeError("message 1 is already written")
        if len(payload) + MESSAGE_1_OVERHEAD > MAX_MESSAGE:
            raise ValueError(
                f"the payload has {len(payload)} bytes, expected at most {MAX_MESSAGE - MESSAGE_1_OVERHEAD}"
            )
        state = self._state
        ephemeral = public_key(self._ephemeral)
        state.mix_hash(ephemeral)
        state.mix_key(_dh(self._ephemeral, self._remote_static))
        static = state.seal(public_key(self._static))
        state.mix_key(_dh(self._static, self._remote_static))
        self._written = True
        return ephemeral + static + state.seal(payload)

    def read(self, message: bytes) -> bytes:
        """Returns the payload of message 2; `keys` are known from here on.

        Raises:
            AuthenticationError: it does not answer our message 1; another may still be tried.
        """
        if not self._written or self._keys is not None:
            raise RuntimeError("message 2 is read once, after message 1 is written")
        _check_length(message, MESSAGE_2_OVERHEAD)
        state = self._state.copy()
        remote_ephemeral = message[:KEY_LENGTH]
        state.mix_hash(remote_ephemeral)
        state.mix_key(_dh(self._ephemeral, remote_ephemeral))
        state.mix_key(_dh(self._static, remote_ephemeral))
        payload = state.open(message[KEY_LENGTH:])
        self._state, self._keys = state, state.split(initiator=True)
        return payload

    @property
    def keys(self) -> SessionKeys:
        """The session's keys; only after `read`."""
        if self._keys is None:
            raise RuntimeError("the handshake is not finished")
        return self._keys


class Responder:
    """The side that reads message 1: `read`, look at `remote_static`, `write`, then `keys`.

    Args:
        static_private: our X25519 private key, 32 bytes.
        prologue: as the initiator's.
    """

    def __init__(self, static_private: bytes, prologue: bytes) -> None:
        self._static = static_private
        self._state = _begin(prologue, public_key(static_private))
        self._remote_static = b""
        self._remote_ephemeral = b""
        self._keys: SessionKeys | None = None

    def read(self, message: bytes) -> bytes:
        """Returns the payload of message 1.

        Raises:
            AuthenticationError: it is not for us, or altered; another may still be tried.
        """
        if self._remote_static:
            raise RuntimeError("message 1 is already read")
        _check_length(message, MESSAGE_1_OVERHEAD)
        state = self._state.copy()
        remote_ephemeral = message[:KEY_LENGTH]
        end_of_static = KEY_LENGTH + KEY_LENGTH + TAG_LENGTH
        state.mix_hash(remote_ephemeral)
        state.mix_key(_dh(self._static, remote_ephemeral))
        remote_static = state.open(message[KEY_LENGTH:end_of_static])
        state.mix_key(_dh(self._static, remote_static))
        payload = state.open(message[end_of_static:])
        self._state, self._remote_ephemeral, self._remote_static = state, remote_ephemeral, remote_static
        return payload

    @property
    def remote_static(self) -> bytes:
        """The initiator's X25519 public key, proven by message 1: the reader decides who that is."""
        if not self._remote_static:
            raise RuntimeError("message 1 is not read")
        return self._remote_static

    def write(self, payload: bytes, ephemeral_private: bytes) -> bytes:
        """Returns message 2 with its payload; `keys` are known from here on.

        Args:
            payload: what to say.
            ephemeral_private: 32 fresh random bytes.

        Raises:
            AuthenticationError: the initiator's keys are of small order.
        """
        if self._keys is not None:
            raise RuntimeError("message 2 is already written")
        if len(payload) + MESSAGE_2_OVERHEAD > MAX_MESSAGE:
            raise ValueError(
                f"the payload has {len(payload)} bytes, expected at most {MAX_MESSAGE - MESSAGE_2_OVERHEAD}"
            )
        remote_static = self.remote_static
        state = self._state
        ephemeral = public_key(ephemeral_private)
        state.mix_hash(ephemeral)
        state.mix_key(_dh(ephemeral_private, self._remote_ephemeral))
        state.mix_key(_dh(ephemeral_private, remote_static))
        sealed = state.seal(payload)
        self._keys = state.split(initiator=False)
        return ephemeral + sealed

    @property
    def keys(self) -> SessionKeys:
        """The session's keys; only after `write`."""
        if self._keys is None:
            raise RuntimeError("the handshake is not finished")
        return self._keys
