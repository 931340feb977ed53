"""A home: the folder with everything this machine keeps.

    identity.pem     its name and its key; whoever reads it is this machine
    peers            the peer book
    config.toml      settings (holepunch.config); only a person writes it
    tls.crt tls.key  a certificate for commands that want one
    seen/            ids of messages already acted on
    lock             held while one of these is changed

The folder is private (0700, files 0600).  Several processes may use one home at once.
"""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from ..errors import ConfigurationError
from ..proto.identity import Identity
from . import files
from .peers import Peer, PeerBook, check_name, check_url
from .seen import Seen

if TYPE_CHECKING:
    from .certificate import Certificate

__all__ = ["Home", "Peer", "PeerBook", "check_name", "check_url"]

_BEGIN = "-----BEGIN PRIVATE KEY-----"
_HEAD = "This file is this machine's identity: keep it secret, and keep a copy in a safe place.\n"


class Home:
    """One machine's folder.  Making the object touches nothing.

    Args:
        path: the folder.
    """

    def __init__(self, path: Path | str) -> None:
        self.path = Path(path).expanduser().absolute()
        self.identity_path = self.path / "identity.pem"
        self.settings_path = self.path / "config.toml"
        lock = self.path / "lock"
        self._lock = lock
        self._seen = Seen(self.path / "seen")
        self._identity: tuple[str, Identity] | None = None
        self.peers = PeerBook(self.path / "peers", lock)

    @classmethod
    def locate(cls, environ: Mapping[str, str] | None = None) -> "Home":
        """Returns the home that HOLEPUNCH_HOME names, or the platform's place for configuration.

        Args:
            environ: the environment; None for that of the process.
        """
        if where := (os.environ if environ is None else environ).get("HOLEPUNCH_HOME"):
            return cls(where)
        import platformdirs  # noqa: PLC0415 - only where it is asked

        return cls(platformdirs.user_config_path("holepunch"))

    def create_identity(self, name: str) -> Identity:
        """Makes the identity, once.

        Args:
            name: what this machine calls itself; a proposal to those it pairs with.

        Raises:
            ConfigurationError: there is one already, the name is not valid, or the file cannot be written.
        """
        check_name(name)
        files.make_folder(self.path)
        with files.locked(self._lock):
            if self.identity_path.exists() or self.identity_path.is_symlink():
                raise ConfigurationError(
                    f"{self.path} already holds an identity",
                    hint="`holepunch id` prints it.  For a second one, set HOLEPUNCH_HOME to another folder.",
                )
            key = Ed25519PrivateKey.from_private_bytes(os.urandom(32))
            pem = key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
            files.write_file(self.identity_path, f"{_HEAD}name: {name}\n\n".encode() + pem)
        return self.identity()

    def identity(self) -> Identity:
        """Returns this machine's identity; read once.

        Raises:
            ConfigurationError: there is none, others can read it, or the file is damaged.
        """
        return self._load()[1]

    @property
    def name(self) -> str:
        """What this machine calls itself.

        Raises:
            ConfigurationError: as for identity.
        """
        return self._load()[0]

    def claim(self, message_id: bytes, expires: int, now: float) -> bool:
        """Tells whether the caller is the first of all processes to act on an authentic message; see Seen.claim.

        Raises:
            ConfigurationError: it cannot be recorded, so the message must not be acted on.
        """
        return self._seen.claim(message_id, expires, now)

    def certificate(self) -> "Certificate":
        """Returns the TLS certificate for commands, made the first time.

        Raises:
            ConfigurationError: its files cannot be read or written, or others can read its key.
        """
        from . import certificate  # noqa: PLC0415 - X.509 takes 40 ms to load, and few commands want TLS

        return certificate.load_or_make(self.path, self._lock)

    def _load(self) -> tuple[str, Identity]:
        if self._identity is None:
            data = files.read_file(self.identity_path, files.READ_BY_OTHERS)
            if data is None:
                raise ConfigurationError(
                    f"this machine has no identity yet ({self.identity_path})", hint="Make one: holepunch init"
                )
            files.check_folder(self.path)
            self._identity = _decode(self.identity_path, data)
        return self._identity


def _decode(path: Path, data: bytes) -> tuple[str, Identity]:
    """Reads an identity file: lines of text, one of them `name: NAME`, then a PEM key (RFC 7468 allows that)."""
    hint = "Put back the copy you kept; without one, move the file away and run `holepunch init`."
    try:
        head, found, _ = data.decode().partition(_BEGIN)
        if not found:
            raise ValueError(f"no {_BEGIN} in it")
        key = serialization.load_pem_private_key(data[len(head.encode()) :], None)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise ConfigurationError(f"the identity in {path} is damaged: {error}", hint=hint) from error
    if not isinstance(key, Ed25519PrivateKey):
        raise ConfigurationError(f"the key in {path} is not an Ed25519 key", hint=hint)
    name = next((line[5:].strip() for line in head.splitlines() if line.startswith("name:")), "")
    try:
        check_name(name)
    except ConfigurationError as error:
        raise ConfigurationError(f"{path}, the line `name:`: {error}", hint=error.hint) from error
    return name, Identity(key)
