"""One client's WebSocket, from challenge to goodbye."""

import asyncio
from contextlib import ExitStack
from typing import Protocol

from ..errors import WireError
from ..proto.mailbox import (
    Challenge,
    Discard,
    HubFrame,
    Login,
    Post,
    Posted,
    Reason,
    Subscribe,
    Welcome,
    decode_client_frame,
)
from .mailboxes import Mailboxes, Reader
from .refusal import RefusedError


class Channel(Protocol):
    """The WebSocket, as far as a conversation needs it."""

    host: str
    """The Host header of its request."""
    network: bytes
    """What its address counts as."""

    async def receive(self) -> bytes | None:
        """Returns the next binary message, or None at the end."""

    async def send(self, data: bytes) -> None:
        """Sends a binary message; returns when it is on its way.

        Raises:
            ConnectionError: the client is gone.
        """


async def converse(channel: Channel, mailboxes: Mailboxes) -> None:
    """Serves one client until it leaves.

    Raises:
        RefusedError: the client has to go; what is to be said to it.
        ConnectionError: it went while something was being sent.
    """
    try:
        await _converse(channel, mailboxes)
    except BaseExceptionGroup as group:  # reading and delivering are two tasks; the first that failed says why
        raise group.exceptions[0] from None


async def _converse(channel: Channel, mailboxes: Mailboxes) -> None:
    challenge = mailboxes.challenge()
    await channel.send(Challenge(challenge, mailboxes.epoch).encode())
    try:
        async with asyncio.timeout(mailboxes.limits.login_time):
            first = await channel.receive()
    except TimeoutError:
        text = f"no login came within {mailboxes.limits.login_time:.0f} seconds"
        raise RefusedError(Reason.NOT_AUTHENTIC, text) from None
    if first is None:
        return
    login = _decoded(first)
    if not isinstance(login, Login):
        raise RefusedError(Reason.NOT_AUTHENTIC, f"the first frame is {type(login).__name__.upper()}, expected LOGIN")
    mailboxes.login(login, challenge, channel.host)
    await channel.send(Welcome().encode())
    with ExitStack() as stack:
        async with asyncio.TaskGroup() as tasks:
            conversation = _Conversation(channel, mailboxes, login.owner)
            pump: asyncio.Task[None] | None = None
            while (data := await channel.receive()) is not None:
                frame = _decoded(data)
                if isinstance(frame, Subscribe):
                    if pump is not None:
                        raise RefusedError(Reason.MALFORMED, "a second SUBSCRIBE")
                    reader = stack.enter_context(mailboxes.reading(login.owner))
                    cursor = frame.cursor if frame.epoch == mailboxes.epoch else 0
                    pump = tasks.create_task(conversation.deliver(reader, cursor))
                else:
                    await conversation.answer(frame)
            if pump is not None:
                pump.cancel()


class _Conversation:
    """What is said after the login."""

    def __init__(self, channel: Channel, mailboxes: Mailboxes, owner: bytes) -> None:
        self._channel = channel
        self._mailboxes = mailboxes
        self._owner = owner
        self._refusals = 0

    async def answer(self, frame: Login | Post | Discard) -> None:
        """Does what a frame asks, and says so."""
        number = 0
        if isinstance(frame, Login):
            raise RefusedError(Reason.MALFORMED, "a second LOGIN")
        try:
            if isinstance(frame, Discard):
                await self._mailboxes.discard(frame.id, owner=self._owner, network=self._channel.network)
                return
            number = frame.number
            await self._mailboxes.post(
                frame.envelope, sender=self._owner, network=self._channel.network, life=frame.life
            )
        except RefusedError as error:
            self._refusals += 1
            if self._refusals > self._mailboxes.limits.refusals:
                raise
            if number:
                await self._send(error.frame(number))
        else:
            await self._send(Posted(number))

    async def deliver(self, reader: Reader, cursor: int) -> None:
        """Sends what comes after the cursor, as fast as the client takes it, until the hub stops."""
        while not self._mailboxes.stopping:
            await reader.changed.wait()
            reader.changed.clear()  # before the fetch: what is posted during it sets the event again
            while deliveries := await self._mailboxes.fetch(self._owner, cursor):
                for delivery in deliveries:
                    await self._send(delivery)
                cursor = deliveries[-1].cursor

    async def _send(self, frame: HubFrame) -> None:
        await self._channel.send(frame.encode())


def _decoded(data: bytes) -> Login | Subscribe | Post | Discard:
    try:
        return decode_client_frame(data)
    except WireError as error:
        raise RefusedError(Reason.MALFORMED, str(error)) from error
