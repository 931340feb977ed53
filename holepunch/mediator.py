"""A mediator: any channel that carries opaque envelopes between two peers.

To add one, subclass Mediator and name the class under the entry-point group `holepunch.mediators`,
by the scheme of its URLs.  That is all: ours (the package holepunch_mediators) are loaded the same
way, and nothing in holepunch imports them.  examples/custom_mediator is one in under 60 lines.

A mailbox belongs to one PeerId and may be read by several processes of that machine at once (an
`--accept` and a `--peer`), so reading takes nothing away: each process yields every envelope that is
waiting or arrives, and `discard`s those that were for it.  What nobody discards goes at its expiry.
"""

import abc
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, field
from importlib.metadata import EntryPoint, entry_points
from typing import ClassVar, Literal
from urllib.parse import SplitResult, urlsplit

from .errors import ConfigurationError
from .proto.envelope import Envelope

ENTRY_POINT_GROUP = "holepunch.mediators"


@dataclass(frozen=True, slots=True)
class Mailbox:
    """Whose mailbox a mediator reads, and how to prove it."""

    owner: bytes
    """The 32 raw bytes of a PeerId, an Ed25519 public key."""
    sign: Callable[[bytes], bytes]
    """Signs with the owner's key (Ed25519, 64 bytes); for channels that ask for a proof."""
    environment: Mapping[str, str] = field(default_factory=dict, repr=False)
    """Where secrets such as passwords come from; never a URL."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of `holepunch doctor`: what was looked at, how it is, and what to do."""

    subject: str
    level: Literal["ok", "warning", "problem"]
    text: str
    fix: str = ""
    """What the person can do; empty where nothing needs doing."""


class Mediator(abc.ABC):
    """A channel that carries envelopes; asyncio, one instance per process and URL.

    Args:
        url: what the person configured, split.
        mailbox: whose mailbox to read.

    Raises:
        ConfigurationError: the URL makes no sense for this mediator.
    """

    latency_hint: float = 1.0
    """Seconds a message usually takes, one way; above 5 the mapping is kept alive for a long wait."""
    max_size: ClassVar[int] = 16384
    """Bytes of the largest encoded envelope it carries."""
    interactive: ClassVar[bool] = False
    """Whether a person carries the messages, and so must be at the terminal."""

    def __init__(self, url: SplitResult, mailbox: Mailbox) -> None:
        self.url = url
        self.mailbox = mailbox

    async def open(self) -> None:
        """Connects, where there is something to connect; called once, before anything else.

        Raises:
            MediatorError: it cannot be reached, or refuses us.
        """

    @abc.abstractmethod
    async def post(self, envelope: Envelope) -> None:
        """Sends one envelope; returns when the channel has it.

        A passing fault is retried inside, for as long as the envelope is worth sending.

        Raises:
            MediatorError: it cannot be sent.
        """

    @abc.abstractmethod
    def receive(self) -> AsyncIterator[Envelope]:
        """Yields every envelope addressed to the mailbox, waiting and new, until closed.

        The same envelope may come twice; the reader drops duplicates by id.  What does not decode
        is skipped.  A passing fault is healed inside.

        Raises:
            MediatorError: the channel is gone for good.
        """

    async def discard(self, envelope: Envelope) -> None:
        """Says that this process has used the envelope: it may be removed."""

    async def check(self) -> list[Finding]:
        """Tries the channel for `holepunch doctor`; a problem is a Finding, not an exception."""
        return []

    async def close(self) -> None:
        """Releases everything; harmless twice."""


def installed() -> dict[str, EntryPoint]:
    """Returns the mediators installed on this machine, by URL scheme."""
    return {point.name: point for point in entry_points(group=ENTRY_POINT_GROUP)}


def make_mediator(url: str, mailbox: Mailbox) -> Mediator:
    """Makes the mediator that serves a URL.

    Raises:
        ConfigurationError: the scheme is unknown, its plug-in cannot be loaded, or it refuses the URL.
    """
    parts = urlsplit(url)
    known = installed()
    if parts.scheme not in known:
        raise ConfigurationError(
            f"no mediator serves {parts.scheme or url!r}", hint=f"Installed here: {', '.join(sorted(known)) or 'none'}."
        )
    try:
        factory = known[parts.scheme].load()
    except ImportError as error:
        raise ConfigurationError(
            f"the mediator for {parts.scheme}: cannot be loaded: {error}",
            hint=f"Install its extra: pip install 'holepunch-p2p[{parts.scheme}]'.",
        ) from error
    mediator = factory(parts, mailbox)
    if not isinstance(mediator, Mediator):
        raise ConfigurationError(f"the plug-in for {parts.scheme}: is not a Mediator")
    return mediator
