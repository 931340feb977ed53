"""All mediators of one process: every offer goes out by all of them, and comes in once.

A mediator that fails is a matter of the others until none is left.  Each is opened in the background, at
once, so that connecting takes its time beside gathering and not after it.
"""

import asyncio
import hashlib
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Iterable
from urllib.parse import urlsplit

from .errors import HolepunchError, MediatorError
from .log import get_logger
from .mediator import Mailbox, Mediator, make_mediator
from .proto.envelope import Envelope, Kind
from .proto.events import Event, OfferFailed, OfferRefused, OfferSent

log = get_logger("post")

MAX_REMEMBERED = 4096  # envelopes; more than arrive in the 15 minutes that an offer lives
REOPEN = 30.0  # seconds between tries to open a mediator that was not there
POST_TIMEOUT = 30.0  # seconds for one mediator to take one envelope; a mailbox on the other side of the world does

Deliver = Callable[[Envelope, str], Awaitable[bool]]
"""Takes (envelope, mediator's name); True where it was for this process and has been used."""

_KIND_NAMES = {Kind.INVITE: "invite", Kind.ACCEPT: "accept", Kind.UPDATE: "update", Kind.PAIR: "pair"}


def display_name(url: str) -> str:
    """Returns a mediator's URL without anything that may be secret: no user, query or fragment."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}" if parts.netloc or parts.path else url


class _Line:
    """One mediator, opened in the background."""

    def __init__(self, url: str, mediator: Mediator) -> None:
        self.name = display_name(url)
        self.mediator = mediator
        self.opening: asyncio.Task[None] = asyncio.create_task(mediator.open(), name=f"open {self.name}")
        self.reading: asyncio.Task[None] | None = None
        self.failure: HolepunchError | None = None


class PostOffice:
    """The mediators of one process.

    Args:
        mailbox: whose mail to read.
        deliver: takes what comes in, each envelope once.
        on_event: is told what was sent, and what failed.
    """

    def __init__(self, mailbox: Mailbox, deliver: Deliver, on_event: Callable[[Event], None]) -> None:
        self._mailbox = mailbox
        self._deliver = deliver
        self._on_event = on_event
        self._lines: dict[str, _Line] = {}
        self._seen: OrderedDict[bytes, bool] = OrderedDict()
        self.failed = asyncio.Event()
        """Set when the last mediator has failed for good."""

    def add(self, url: str) -> None:
        """Begins to use a mediator; harmless twice.

        Raises:
            ConfigurationError: no mediator serves the URL, or it refuses it.
        """
        if url not in self._lines:
            line = _Line(url, make_mediator(url, self._mailbox))
            self._lines[url] = line
            line.reading = asyncio.create_task(self._read(line), name=f"read {line.name}")

    def latency(self, urls: Iterable[str]) -> float:
        """Returns the seconds that the fastest of some mediators takes, one way."""
        return min((line.mediator.latency_hint for line in self._some(urls)), default=1.0)

    def signals(self, urls: Iterable[str]) -> bool:
        """Tells whether one of some mediators needs no person's help."""
        return any(not line.mediator.interactive for line in self._some(urls))

    async def post(self, envelope: Envelope, urls: Iterable[str], session: str = "") -> None:
        """Sends an envelope by some mediators at once; one that takes it is enough.

        A person is not asked to carry more than an INVITE and an ACCEPT.

        Raises:
            MediatorError: none took it.
        """
        lines = self._some(urls)
        if envelope.kind is Kind.UPDATE:
            lines = [line for line in lines if not line.mediator.interactive]
            if not lines:
                return
        results = await asyncio.gather(*(self._post_one(line, envelope, session) for line in lines))
        failures = [failure for failure in results if failure is not None]
        if len(failures) == len(lines):
            raise (
                failures[0]
                if failures
                else MediatorError("no mediator is configured", hint="Name one with --mediator URL, or in config.toml.")
            )

    async def close(self) -> None:
        """Closes every mediator."""
        tasks = [task for line in self._lines.values() for task in (line.opening, line.reading) if task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await asyncio.gather(*(line.mediator.close() for line in self._lines.values()), return_exceptions=True)

    @property
    def failure(self) -> HolepunchError | None:
        """Why the first mediator failed, where all have."""
        failures = [line.failure for line in self._lines.values()]
        return failures[0] if failures and all(failures) else None

    @property
    def count(self) -> int:
        """How many mediators are in use."""
        return sum(line.failure is None for line in self._lines.values())

    def _some(self, urls: Iterable[str]) -> list[_Line]:
        return [self._lines[url] for url in dict.fromkeys(urls) if url in self._lines]

    async def _post_one(self, line: _Line, envelope: Envelope, session: str) -> HolepunchError | None:
        kind = _KIND_NAMES[envelope.kind]
        size = len(envelope.encode())
        try:
            if size > line.mediator.max_size:
                raise MediatorError(f"the offer has {size} bytes, {line.name} carries {line.mediator.max_size}")
            async with asyncio.timeout(None if line.mediator.interactive else POST_TIMEOUT):
                await asyncio.shield(line.opening)
                await line.mediator.post(envelope)
        except TimeoutError:
            failure: HolepunchError = MediatorError(f"{line.name} did not take the offer in {POST_TIMEOUT:.0f} s")
        except HolepunchError as error:
            failure = error
        else:
            self._on_event(OfferSent(session=session, kind=kind, mediator=line.name))
            return None
        self._on_event(OfferFailed(session=session, kind=kind, mediator=line.name, reason=str(failure)))
        return failure

    async def _read(self, line: _Line) -> None:
        while not await self._opened(line):
            await asyncio.sleep(REOPEN)
            line.opening = asyncio.create_task(line.mediator.open(), name=f"open {line.name} again")
        try:
            async for envelope in line.mediator.receive():
                if envelope.recipient != self._mailbox.owner or self._was_seen(envelope):
                    continue
                if await self._delivered(envelope, line):
                    await line.mediator.discard(envelope)
        except HolepunchError as error:
            self._give_up(line, error)

    async def _opened(self, line: _Line) -> bool:
        """Waits until a mediator is open; while others work, one that could not be opened is tried again."""
        try:
            await asyncio.shield(line.opening)
        except HolepunchError as error:
            if line.failure is None:
                self._give_up(line, error)
            return False
        line.failure = None
        return True

    def _give_up(self, line: _Line, error: HolepunchError) -> None:
        """Does without a mediator; without the last one, `failed` is set."""
        line.failure = error
        log.info("mediator failed", mediator=line.name, reason=error)
        self._on_event(OfferFailed(kind="", mediator=line.name, reason=str(error)))
        if self.count == 0:
            self.failed.set()

    async def _delivered(self, envelope: Envelope, line: _Line) -> bool:
        """Delivers one envelope; what cannot be acted on is a matter of that envelope, not of the mediator."""
        try:
            return await self._deliver(envelope, line.name)
        except HolepunchError as error:
            self._on_event(OfferRefused(mediator=line.name, reason=str(error)))
        except Exception:
            # A fault of ours that one envelope brings to light must not make us deaf to all that follow.
            log.exception("an envelope could not be delivered", mediator=line.name)
        return False

    def _was_seen(self, envelope: Envelope) -> bool:
        # By all of its bytes: a mediator that delivers something else under the same id must not shut out
        # what another one delivers faithfully.
        digest = hashlib.blake2s(envelope.encode()).digest()
        if digest in self._seen:
            return True
        self._seen[digest] = True
        while len(self._seen) > MAX_REMEMBERED:
            self._seen.popitem(last=False)
        return False
