"""Meets a peer over mediators, by a code (holepunch.proto.pairing), and puts it into the book."""

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable, Sequence

from ..errors import AuthenticationError, ConfigurationError, HolepunchError, MediatorError, PeerTimeoutError
from ..log import get_logger
from ..mediator import Mediator
from ..proto.envelope import Envelope
from ..proto.pairing import Paired, Pairing, Profile, Refused, Role
from . import Home
from .peers import MAX_NAME, Peer, check_name, check_url

log = get_logger("meeting")

# Places that mean something on one machine only: never taken from a peer, never told to one.
_LOCAL_SCHEMES = {"file", "paste"}
_TIDY_TIME = 2.0  # seconds; a mailbox that is not tidied is only emptied later, at the expiry
_QUEUE = 64  # envelopes that wait for us; a flood then waits in the mediator


def is_local(url: str) -> bool:
    """Tells whether a mediator URL means nothing on another machine, as a folder does."""
    return url.partition(":")[0].lower() in _LOCAL_SCHEMES


async def meet(pairing: Pairing, mediators: Sequence[Mediator], timeout: float, ready: Callable[[], None]) -> Profile:
    """Runs one side of an exchange over several mediators at once.

    Args:
        pairing: the machine, new.
        mediators: for the code's mailbox, not opened; they are closed when this returns.
        timeout: seconds.
        ready: called once, when our side is where the other can find it.

    Returns:
        Who the peer is; it has proved that it has the code and that the id is what it sent.

    Raises:
        AuthenticationError: the code was wrong, or someone disturbed the exchange.
        ConfigurationError: no mediator can be used as it is configured.
        MediatorError: no mediator works.
        PeerTimeoutError: the other side did not come in time.
    """
    meeting = _Meeting(pairing, mediators)
    async with contextlib.AsyncExitStack() as stack:
        for mediator in mediators:
            stack.push_async_callback(mediator.close)
        await meeting.open()
        stack.push_async_callback(meeting.stop)
        meeting.listen()
        await meeting.post()
        ready()
        try:
            async with asyncio.timeout(timeout):
                return await meeting.run()
        except TimeoutError:
            raise PeerTimeoutError(
                f"the other machine did not come within {timeout:g} s", hint=_why_late(pairing)
            ) from None


def _why_late(pairing: Pairing) -> str:
    if pairing.role is Role.CREATOR:
        return "Was the code typed on the other machine, with the same mediator?  A new one is made each time."
    if not pairing.heard:
        return "Check the four digits and the mediator, and that the other machine still waits."
    return "The other machine may have this one in its book already: `holepunch peer ls` there tells."


class _Meeting:
    """One exchange and the mediators that carry it."""

    def __init__(self, pairing: Pairing, mediators: Sequence[Mediator]) -> None:
        self._pairing = pairing
        self._mediators = list(mediators)
        self._arrived: asyncio.Queue[tuple[Mediator, Envelope] | HolepunchError] = asyncio.Queue(_QUEUE)
        self._readers: list[asyncio.Task[None]] = []
        self._sent: list[Envelope] = []
        self._used: list[tuple[Mediator, Envelope]] = []

    async def open(self) -> None:
        """Opens the mediators; those that cannot be opened are left out, unless it is all of them."""
        self._mediators = await self._by_all([mediator.open() for mediator in self._mediators])

    def listen(self) -> None:
        """Begins to read the mailbox."""
        self._readers = [asyncio.create_task(self._read(mediator)) for mediator in self._mediators]

    async def post(self) -> None:
        """Posts what the machine wants to say, by every mediator; one that takes it is enough."""
        for envelope in self._pairing.envelopes_to_send():
            self._sent.append(envelope)
            await self._by_all([mediator.post(envelope) for mediator in self._mediators])

    async def run(self) -> Profile:
        """Gives the machine what arrives until it ends."""
        lost = 0
        while True:
            item = await self._arrived.get()
            if isinstance(item, HolepunchError):
                if (lost := lost + 1) == len(self._mediators):
                    raise item
                log.warning("mediator lost", reason=item)
                continue
            _, envelope = item
            self._pairing.receive_envelope(envelope, time.time())
            if envelope.session == self._pairing.session:
                self._used.append(item)
            # What the machine still has to say goes out even when it has ended: it tells the other side so.
            await self.post()
            event = self._pairing.next_event()
            if isinstance(event, Refused):
                raise AuthenticationError(
                    event.reason.value, hint="A code is good for one try: begin again with a new one, `holepunch pair`."
                )
            if isinstance(event, Paired):
                return event.profile

    async def stop(self) -> None:
        """Stops reading, and takes out of the mailbox what nobody needs any more."""
        for task in self._readers:
            task.cancel()
        await asyncio.gather(*self._readers, return_exceptions=True)
        # HELLO and REPLY are read by now, or nobody waits behind them any more: who takes up a REPLY whose sender has
        # gone would have a peer that does not know it.  FINAL stays, since the joiner may not have it yet.
        ours = self._sent[:1]
        unneeded = self._used + [(mediator, envelope) for mediator in self._mediators for envelope in ours]
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_TIDY_TIME):
                discards = [mediator.discard(envelope) for mediator, envelope in unneeded]
                await asyncio.gather(*discards, return_exceptions=True)

    async def _read(self, mediator: Mediator) -> None:
        """Puts what a mediator delivers into the queue, and at last its end."""
        try:
            async for envelope in mediator.receive():
                await self._arrived.put((mediator, envelope))
            await self._arrived.put(MediatorError(f"the mediator {mediator.url.geturl()} has ended"))
        except HolepunchError as error:
            await self._arrived.put(error)

    async def _by_all(self, actions: Sequence[Awaitable[None]]) -> list[Mediator]:
        """Does something with every mediator; returns those with which it worked, one at least."""
        results = await asyncio.gather(*actions, return_exceptions=True)
        worked, failures = [], []
        for mediator, result in zip(self._mediators, results, strict=True):
            if isinstance(result, HolepunchError):
                failures.append(result)
            elif result is not None:
                raise result
            else:
                worked.append(mediator)
        if not worked:
            raise failures[0]
        for failure in failures:
            log.warning("mediator not usable", reason=failure)
        return worked


def remember(home: Home, profile: Profile, *, name: str | None, chosen: Sequence[str], ours: Sequence[str]) -> Peer:
    """Puts a peer that was just met into the book.

    Args:
        home: our home.
        profile: what the peer says of itself; it has proved the id, the rest is text of a stranger.
        name: what we want to call it; None for its own proposal, made unique.
        chosen: the URLs to reach it by that a person has named.
        ours: the URLs of our settings.

    Returns:
        What is in the book now; a peer that was there already keeps its name.

    Raises:
        ConfigurationError: the peer is this very machine, or the book cannot be written.
    """
    if profile.id == home.identity().peer_id:
        raise ConfigurationError("the code was typed on the machine that made it", hint="Type it on the other machine.")
    told = [url for url in profile.mediators if not is_local(url) and _is_url(url)]
    mediators = tuple(dict.fromkeys([*chosen, *told]))
    if not chosen and set(mediators) <= set(ours):
        mediators = ()  # those of our settings, whatever they are later
    known = home.peers.find_id(profile.id)
    peer = Peer(known.name if known else _free_name(home, name or profile.name), profile.id, mediators)
    home.peers.add(peer)
    return peer


def _is_url(url: str) -> bool:
    try:
        check_url(url)
    except ConfigurationError:
        return False
    return True


def _free_name(home: Home, wanted: str) -> str:
    """Returns a name that the book does not have: `wanted`, or it with a number; `peer` for what is no name."""
    try:
        check_name(wanted)
    except ConfigurationError:
        wanted = "peer"
    taken = {peer.name for peer in home.peers.list()}
    name, number = wanted, 1
    while name in taken:
        number += 1
        suffix = f"-{number}"
        name = wanted[: MAX_NAME - len(suffix)] + suffix
    return name
