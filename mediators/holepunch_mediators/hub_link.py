"""What the two ways to a hub's mailbox have in common: where it is, and how it fails."""

import asyncio
import errno
import os
import re
import socket
import ssl
from collections.abc import AsyncIterator
from dataclasses import dataclass
from functools import cache
from typing import Protocol
from urllib.parse import SplitResult

from holepunch.errors import ConfigurationError
from holepunch.mediator import Mailbox
from holepunch.proto.mailbox import Delivery, Login, Reason, Refused, login_statement

DEFAULT_PORT = {"http": 80, "https": 443}


@dataclass(frozen=True, slots=True)
class HubAddress:
    """A hub's URL, taken apart."""

    secure: bool
    audience: str
    """`host` or `host:port`, as an HTTP Host header has it: the name that logins are signed for."""
    prefix: str
    """Path before /v1/mailbox, for hubs below a folder of a web server; empty or `/path`."""

    @classmethod
    def of(cls, url: SplitResult) -> "HubAddress":
        """Reads a URL.

        Raises:
            ConfigurationError: it is not http(s)://host[:port][/prefix].
        """
        try:
            host, port = url.hostname, url.port
        except ValueError as error:
            raise ConfigurationError(f"{url.geturl()!r}: {error}", hint="Write https://host[:port].") from error
        if not host or url.query or url.fragment or url.username is not None:
            raise ConfigurationError(f"{_shown(url)!r} is not the URL of a hub", hint="Write https://host[:port].")
        try:
            name = host if ":" in host else host.encode("idna").decode().lower()
        except UnicodeError as error:
            raise ConfigurationError(f"{host!r} is not a host name: {error}") from error
        if ":" in name:
            name = f"[{name}]"
        audience = name if port in (None, DEFAULT_PORT[url.scheme]) else f"{name}:{port}"
        return cls(url.scheme == "https", audience, url.path.rstrip("/"))

    def url(self, scheme: str) -> str:
        """Returns the mailbox's URL; `scheme` is http or ws, made secure where the hub is."""
        return f"{scheme}{'s' if self.secure else ''}://{self.audience}{self.prefix}/v1/mailbox"

    def __str__(self) -> str:
        return f"{'https' if self.secure else 'http'}://{self.audience}{self.prefix}"

    def login(self, mailbox: Mailbox, challenge: bytes) -> Login:
        """Returns the answer to a challenge."""
        return Login(mailbox.owner, mailbox.sign(login_statement(challenge, self.audience)))


class LinkError(Exception):
    """The way to the hub does not work at the moment.

    Args:
        text: what happened, to follow "the hub ... ".
        hint: what a person can do.
        wait: seconds that the hub asks us to wait.
        wrong_way: whether the other way may work, since what is broken is not the hub.
    """

    def __init__(self, text: str, *, hint: str = "", wait: float = 0.0, wrong_way: bool = False) -> None:
        super().__init__(text)
        self.hint = hint
        self.wait = wait
        self.wrong_way = wrong_way


class HubRefusalError(Exception):
    """The hub answered no."""

    def __init__(self, refused: Refused) -> None:
        super().__init__(f"refuses: {refused.text}")
        self.reason = refused.reason
        self.wait = refused.wait

    @property
    def passes(self) -> bool:
        """Whether the same may be tried again after `wait` seconds."""
        return self.reason is Reason.RATE

    @property
    def hint(self) -> str:
        """What a person can do."""
        return {
            Reason.NOT_AUTHENTIC: "A proxy before the hub must pass the Host header on; see also its option --name.",
            Reason.MAILBOX_FULL: "The peer does not collect its mail: is `holepunch --accept` running there?",
            Reason.SENDER_LIMIT: "Earlier offers still wait; they expire within minutes.",
            Reason.HUB_FULL: "Try again in a minute, or use another hub.",
        }.get(self.reason, "")


class Link(Protocol):
    """One way to the mailbox, logged in.  Every method raises LinkError when the way breaks."""

    epoch: bytes

    async def post(self, envelope: bytes, life: int) -> None:
        """Posts; returns when the hub has it.

        Raises:
            HubRefusalError: the hub does not take it.
        """

    async def discard(self, message_id: bytes) -> None:
        """Removes a message from our mailbox."""

    def deliveries(self, epoch: bytes, cursor: int) -> AsyncIterator[Delivery]:
        """Yields what comes after the cursor, waiting and new."""

    async def welcomed(self) -> None:
        """Returns when the hub has accepted our login.

        Raises:
            HubRefusalError: it has not.
        """

    async def lost(self) -> None:
        """Returns when the way is broken."""

    async def close(self) -> None:
        """Ends it; harmless twice."""


@cache
def tls_context() -> ssl.SSLContext:
    """Returns the one context for all hubs: the system's authorities, or those of SSL_CERT_FILE; always verified."""
    return ssl.create_default_context()


def unreachable(error: BaseException) -> LinkError:
    """Says in one sentence why a hub cannot be reached."""
    while error.__cause__ is not None and not isinstance(error, OSError):
        error = error.__cause__
    if isinstance(error, ssl.SSLCertVerificationError):
        hint = "If you trust its authority, name that one's PEM file in SSL_CERT_FILE; else correct the host name."
        return LinkError(f"shows a certificate that is not valid: {error.verify_message}", hint=hint)
    if isinstance(error, ssl.SSLError):
        return LinkError(f"does not speak TLS: {error.reason or error}", hint="Is it http:// instead of https://?")
    if isinstance(error, socket.gaierror):
        return LinkError(f"cannot be found: {error.strerror}", hint="Check its name, and this machine's DNS.")
    if isinstance(error, OSError) and _errno(error) == errno.ECONNREFUSED:
        return LinkError("cannot be reached: connection refused", hint="Is `holepunch hub run` running there?")
    if isinstance(error, TimeoutError | asyncio.TimeoutError):
        return LinkError("does not answer", hint="Check its address, and whether a firewall is between.")
    words = (
        os.strerror(error.errno) if isinstance(error, OSError) and error.errno else str(error) or type(error).__name__
    )
    return LinkError(f"cannot be reached: {words}", hint="`holepunch doctor` tries it.")


def _errno(error: OSError) -> int | None:
    """Returns the code of an error; asyncio joins those of several addresses into a text."""
    match = re.search(r"\[Errno (\d+)\]", str(error))
    return error.errno or (int(match[1]) if match else None)


def _shown(url: SplitResult) -> str:
    """Returns a URL without what may be a password."""
    return url._replace(netloc=url.netloc.rpartition("@")[2]).geturl()
