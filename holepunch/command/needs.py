"""What a command needs of a session and of a home: the two seams to the rest of the program."""

import socket
from pathlib import Path
from typing import Protocol

from ..proto.machine import Address
from ..proxy import ProxySession


class CommandSession(ProxySession, Protocol):
    """What a command needs of a session (holepunch.session.Session has it)."""

    @property
    def id(self) -> str:
        """The session id in hex."""

    @property
    def role(self) -> str:
        """`accept` or `connect`."""

    @property
    def peer_name(self) -> str:
        """The peer's name in our book."""

    @property
    def inner(self) -> Address:
        """Our socket, with the host this machine sends from."""

    @property
    def outer(self) -> Address:
        """Our socket as the peer sees it."""

    @property
    def peer(self) -> Address:
        """The peer as we see it."""

    @property
    def path(self) -> str:
        """`direct` or `relay`."""

    @property
    def secret(self) -> bytes:
        """32 bytes that only the two sides know."""

    @property
    def peer_fingerprint(self) -> bytes:
        """SHA-256 of the peer's certificate; empty where its offer had none."""

    async def confirmed(self) -> None:
        """Waits until both sides have selected the path."""

    async def ready(self) -> None:
        """Waits until both sides are about to use the path, the acceptor first."""

    def announce(self) -> None:
        """Tells the peer that our command is up."""

    async def hand_over(self) -> None:
        """As ready(), and closes our socket at the very end: the command must bind the inner endpoint at once."""

    async def detach(self) -> socket.socket:
        """As ready(), and gives our open socket away."""

    async def closed(self) -> None:
        """Waits until the session is over."""


class CertificateFiles(Protocol):
    """This machine's certificate, for commands that speak TLS (holepunch.home.Certificate)."""

    @property
    def cert_path(self) -> Path:
        """The certificate, PEM."""

    @property
    def key_path(self) -> Path:
        """Its private key, PEM, 0600."""

    @property
    def fingerprint(self) -> bytes:
        """SHA-256 of the certificate in DER, 32 bytes."""


class CertificateHome(Protocol):
    """Where the certificate lives (holepunch.home.Home)."""

    def certificate(self) -> CertificateFiles:
        """Returns the certificate, made when first asked for."""
