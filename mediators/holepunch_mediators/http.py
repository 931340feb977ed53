"""A mailbox at a hub: `https://host[:port]`, or `http://` inside a network that is trusted.

One WebSocket is kept open for everything, so a message takes half a round trip to the hub and half of one
from it.  Where WebSocket does not get through, plain requests do the same more slowly.  When the hub goes
away the connection comes back by itself: what was posted waits at the hub, and a cursor says what we saw.
"""

import asyncio
import random
import time
from collections.abc import AsyncIterator
from urllib.parse import SplitResult

from holepunch.errors import MediatorError, WireError
from holepunch.log import get_logger
from holepunch.mediator import Finding, Mailbox, Mediator
from holepunch.proto.envelope import Envelope, decode_envelope
from holepunch.proto.mailbox import MAX_ENVELOPE, MAX_LIFE

from .hub_link import HubAddress, HubRefusalError, Link, LinkError
from .hub_socket import open_socket

log = get_logger("mediator.http")

_KEEPER_TURN = 0.01  # seconds for the keeper to take a lost link away, before we look for the next one
FIRST_DELAY, LAST_DELAY = 0.2, 20.0  # seconds between attempts to come back; doubled each time, with jitter


class _ClosedError(MediatorError):
    """The mediator was closed by its owner."""


class HttpMediator(Mediator):
    """Carries envelopes by a hub's mailbox."""

    latency_hint = 0.1
    max_size = MAX_ENVELOPE

    def __init__(self, url: SplitResult, mailbox: Mailbox) -> None:
        super().__init__(url, mailbox)
        self._address = HubAddress.of(url)
        self._link: Link | None = None
        self._linked = asyncio.Event()
        self._fatal: MediatorError | None = None
        self._keeper: asyncio.Task[None] | None = None
        self._welcomed = False
        self._epoch, self._cursor = b"", 0
        self._closed = False

    async def open(self) -> None:
        """Connects; from then on the connection is kept.

        Raises:
            MediatorError: the hub cannot be reached now; open may be called again.
        """
        if self._keeper is None:
            try:
                link = await self._connect()
            except (LinkError, HubRefusalError) as error:
                raise self._error(error) from error
            self._set_link(link)
            self._keeper = asyncio.create_task(self._keep(link))
            self._keeper.add_done_callback(self._keeper_ended)

    async def post(self, envelope: Envelope) -> None:
        """Posts an envelope; returns when the hub has it."""
        data = envelope.encode()
        last: LinkError | HubRefusalError | None = None
        while (life := min(envelope.expires - time.time(), MAX_LIFE)) > 0:
            try:
                async with asyncio.timeout(life):
                    link = await self._current()
                    await link.post(data, max(1, int(life)))
                    return
            except TimeoutError:
                break
            except LinkError as error:
                last = error
                await asyncio.sleep(_KEEPER_TURN)
            except HubRefusalError as error:
                if not error.passes:
                    raise self._error(error) from error
                last = error
                await asyncio.sleep(min(error.wait, life))
        raise self._error(last or LinkError("was not reached while the offer was valid"))

    async def receive(self) -> AsyncIterator[Envelope]:
        """Yields what waits and what comes, across every loss of the connection."""
        while not self._closed:
            try:
                link = await self._current()
                if link.epoch != self._epoch:
                    self._epoch, self._cursor = link.epoch, 0
                async for delivery in link.deliveries(self._epoch, self._cursor):
                    self._cursor = max(self._cursor, delivery.cursor)
                    try:
                        envelope = decode_envelope(delivery.envelope)
                    except WireError as error:
                        log.debug("delivery not usable", reason=error)
                        continue
                    if envelope.recipient == self.mailbox.owner:
                        yield envelope
            except HubRefusalError as error:
                if self._is_fatal(error):
                    raise self._error(error) from error
                await asyncio.sleep(error.wait or FIRST_DELAY)
            except LinkError as error:
                log.debug("link lost", hub=self._address, reason=error)
                await asyncio.sleep(_KEEPER_TURN)
            except _ClosedError:
                return

    async def discard(self, envelope: Envelope) -> None:
        """Removes an envelope from our mailbox; if that fails, it goes at its expiry."""
        try:
            if self._link is not None:
                await self._link.discard(envelope.id)
        except (LinkError, HubRefusalError) as error:
            log.debug("not discarded", hub=self._address, reason=error)

    async def check(self) -> list[Finding]:
        """Connects and logs in, and says by which way."""
        subject = f"http mediator {self._address}"
        start = time.monotonic()
        try:
            link = await self._connect()
            try:
                async with asyncio.timeout(20):
                    await link.welcomed()
            finally:
                await link.close()
        except TimeoutError:
            return [Finding(subject, "problem", "it does not answer a login", "Look at the hub's log.")]
        except (LinkError, HubRefusalError) as error:
            return [Finding(subject, "problem", f"the hub {error}", error.hint)]
        elapsed = time.monotonic() - start
        findings = [Finding(subject, "ok", f"logged in within {elapsed:.2f} s")]
        if type(link).__name__ == "HubPoll":
            text = "WebSocket does not get through; plain requests are used, which take longer"
            findings.append(Finding(subject, "warning", text, "Let the proxy pass `Upgrade: websocket`."))
        if not self._address.secure:
            text = "plain http: who is on the way sees who writes to whom, and can drop it"
            findings.append(Finding(subject, "warning", text, "Use https:// outside a network you trust."))
        return findings

    async def close(self) -> None:
        """Leaves the hub."""
        self._closed = True
        self._fatal = self._fatal or _ClosedError(f"the mediator {self._address} is closed")
        keeper, self._keeper = self._keeper, None
        if keeper is not None:
            keeper.cancel()
            await asyncio.gather(keeper, return_exceptions=True)
        link, self._link = self._link, None
        self._linked.set()
        if link is not None:
            await link.close()

    async def _current(self) -> Link:
        """Returns the link, as soon as there is one.

        Raises:
            MediatorError: there never will be one again.
        """
        while self._link is None:
            if self._fatal is not None:
                raise self._fatal
            await self._linked.wait()
        return self._link

    async def _keep(self, link: Link) -> None:
        """Brings the link back whenever it is lost."""
        delay = FIRST_DELAY
        while True:
            try:
                await link.welcomed()
                self._welcomed, delay = True, FIRST_DELAY
                await link.lost()
            except LinkError as error:
                log.debug("link lost", hub=self._address, reason=error)
            except HubRefusalError as error:
                if self._is_fatal(error):
                    return self._give_up(error)
                delay = max(delay, error.wait)
            self._link = None
            self._linked.clear()
            await link.close()
            while True:
                # After a restart everybody comes back: not all at the same moment.
                await asyncio.sleep(random.uniform(delay / 2, delay))
                delay = min(delay * 2, LAST_DELAY)
                try:
                    link = await self._connect()
                    break
                except LinkError as error:
                    log.debug("hub not reached", hub=self._address, reason=error)
                except HubRefusalError as error:
                    delay = max(delay, error.wait)
            self._set_link(link)

    async def _connect(self) -> Link:
        """Finds a way to the hub: WebSocket, or where that is broken plain requests."""
        try:
            return await open_socket(self._address, self.mailbox)
        except LinkError as error:
            if not error.wrong_way:
                raise
            from .hub_poll import open_poll  # noqa: PLC0415 - urllib is large, and rarely needed

            try:
                link = await open_poll(self._address, self.mailbox)
            except LinkError as second:
                raise (second if "answers" in str(second) else error) from second
            log.info("hub reached by plain requests", hub=self._address, websocket=error)
            return link

    def _set_link(self, link: Link) -> None:
        self._link = link
        self._linked.set()

    def _is_fatal(self, error: HubRefusalError) -> bool:
        """Whether a refusal is about us and will stay; one that was welcomed before only waits."""
        return not self._welcomed and not error.passes and not error.wait

    def _give_up(self, error: HubRefusalError) -> None:
        self._fatal = self._error(error)
        self._link = None
        self._linked.set()

    def _keeper_ended(self, task: asyncio.Task[None]) -> None:
        """Sees to it that nobody waits for a link that nobody brings back."""
        if not task.cancelled() and (error := task.exception()) is not None:
            self._fatal = MediatorError(f"the mediator {self._address} failed: {error}")
            self._link = None
            self._linked.set()

    def _error(self, error: LinkError | HubRefusalError) -> MediatorError:
        return MediatorError(f"the hub {self._address} {error}", hint=error.hint)
