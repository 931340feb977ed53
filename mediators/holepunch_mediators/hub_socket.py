"""A hub's mailbox over one WebSocket, kept open."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from itertools import count

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import (
    ConnectionClosed,
    InvalidHandshake,
    InvalidProxy,
    InvalidProxyStatus,
    InvalidStatus,
    InvalidURI,
    WebSocketException,
)

from holepunch import __version__
from holepunch.errors import WireError
from holepunch.log import get_logger
from holepunch.mediator import Mailbox
from holepunch.proto.mailbox import (
    MAX_FRAME,
    Challenge,
    Delivery,
    Discard,
    HubFrame,
    Post,
    Posted,
    Reason,
    Refused,
    Subscribe,
    Welcome,
    decode_hub_frame,
)

from .hub_link import HubAddress, HubRefusalError, LinkError, tls_context, unreachable

log = get_logger("mediator.http.socket")

CONNECT_TIME = 10.0  # seconds for name, TCP, TLS and upgrade
CHALLENGE_TIME = 5.0  # seconds; it comes with the upgrade's answer, so a proxy that holds it back breaks WebSocket
ANSWER_TIME = 15.0  # seconds until a POST is answered
PING_EVERY, PONG_WITHIN = 20.0, 15.0  # seconds
MOST_UNREAD = 1024  # deliveries; a hub keeps far fewer for one mailbox


class _Connect(connect):
    """Does not follow redirects: a login is signed for one hub's name."""

    def process_redirect(self, exc: Exception) -> Exception | str:
        return exc


class HubSocket:
    """A Link by WebSocket; made by `open_socket`."""

    def __init__(self, connection: ClientConnection, challenge: Challenge) -> None:
        self.epoch = challenge.epoch
        self._connection = connection
        self._numbers = count(1)
        self._posts: dict[int, asyncio.Future[None]] = {}
        self._deliveries: asyncio.Queue[Delivery | None] = asyncio.Queue()
        self._welcome: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._failure: Exception | None = None
        self._reading = asyncio.create_task(self._read())

    async def post(self, envelope: bytes, life: int) -> None:
        """Posts; returns when the hub has it."""
        number = next(self._numbers)
        answer = self._posts[number] = asyncio.get_running_loop().create_future()
        try:
            await self._send(Post(number, life, envelope).encode())
            async with asyncio.timeout(ANSWER_TIME):
                await answer
        except TimeoutError:
            await self.close()
            raise LinkError("does not answer") from None
        finally:
            del self._posts[number]
            answer.cancel()

    async def discard(self, message_id: bytes) -> None:
        """Removes a message from our mailbox."""
        await self._send(Discard(message_id).encode())

    async def deliveries(self, epoch: bytes, cursor: int) -> AsyncIterator[Delivery]:
        """Yields what comes after the cursor; may be called once."""
        await self._send(Subscribe(epoch, cursor).encode())
        while (delivery := await self._deliveries.get()) is not None:
            yield delivery
        raise self._failure or LinkError("ended the connection")

    async def welcomed(self) -> None:
        """Returns when the hub has accepted our login."""
        await asyncio.shield(self._welcome)

    async def lost(self) -> None:
        """Returns when the connection is over."""
        await asyncio.wait([self._reading])

    async def close(self) -> None:
        """Ends the connection."""
        await self._connection.close()
        await asyncio.wait([self._reading])

    async def _send(self, data: bytes) -> None:
        try:
            await self._connection.send(data)
        except ConnectionClosed:
            await asyncio.wait([self._reading])  # what the hub said last is the reason
            raise self._failure or LinkError("ended the connection") from None

    async def _read(self) -> None:
        """Takes every frame, until the connection is over; then lets everybody know."""
        failure: Exception = LinkError("ended the connection")
        try:
            async for data in self._connection:
                try:
                    self._take(decode_hub_frame(data if isinstance(data, bytes) else data.encode()))
                except WireError as error:
                    failure = LinkError(f"says something that is no frame: {error}")
                    break
        except ConnectionClosed as error:
            failure = LinkError(
                f"ended the connection: {error.rcvd.reason or error.rcvd.code}" if error.rcvd else str(error)
            )
        finally:
            self._failure = self._failure or failure
            for future in (self._welcome, *self._posts.values()):
                if not future.done():
                    future.set_exception(self._failure)
            if self._welcome.done() and not self._welcome.cancelled():
                self._welcome.exception()  # seen: not everybody waits for the welcome
            self._deliveries.put_nowait(None)

    def _take(self, frame: HubFrame) -> None:
        match frame:
            case Welcome():
                if not self._welcome.done():
                    self._welcome.set_result(None)
            case Posted(number):
                self._settle(number, None)
            case Refused(0):
                self._failure = HubRefusalError(frame)
            case Refused(number):
                self._settle(number, HubRefusalError(frame))
            case Delivery():
                # Never waiting here keeps answers to posts coming.  No honest hub sends this many.
                if self._deliveries.qsize() < MOST_UNREAD:
                    self._deliveries.put_nowait(frame)
            case Challenge():
                raise WireError("a second CHALLENGE")

    def _settle(self, number: int, error: HubRefusalError | None) -> None:
        future = self._posts.get(number)
        if future is None or future.done():
            return
        if error is None:
            future.set_result(None)
        else:
            future.set_exception(error)


async def open_socket(address: HubAddress, mailbox: Mailbox) -> HubSocket:
    """Connects and sends our login; whether it is accepted is known a round trip later.

    Raises:
        LinkError: there is no way to the hub, or WebSocket does not get through.
        HubRefusalError: the hub does not take one more connection.
    """
    connection = await _connect(address)
    try:
        async with asyncio.timeout(CHALLENGE_TIME):
            data = await connection.recv()
        challenge = decode_hub_frame(data if isinstance(data, bytes) else data.encode())
        if isinstance(challenge, Refused):
            raise HubRefusalError(challenge)
        if not isinstance(challenge, Challenge):
            raise LinkError(f"begins with {type(challenge).__name__} instead of a challenge", wrong_way=True)
        await connection.send(address.login(mailbox, challenge.challenge).encode())
        return HubSocket(connection, challenge)
    except (TimeoutError, ConnectionClosed, WireError) as error:
        await _drop(connection)
        raise LinkError("is behind something that breaks WebSocket", wrong_way=True) from error
    except BaseException:
        await _drop(connection)
        raise


async def _connect(address: HubAddress) -> ClientConnection:
    try:
        async with asyncio.timeout(CONNECT_TIME):
            return await _Connect(
                address.url("ws"),
                ssl=tls_context() if address.secure else None,
                compression=None,  # sealed bodies do not compress
                max_size=MAX_FRAME,
                open_timeout=None,
                close_timeout=1,
                ping_interval=PING_EVERY,
                ping_timeout=PONG_WITHIN,
                user_agent_header=f"holepunch/{__version__}",
                happy_eyeballs_delay=0.1,
            )
    except (InvalidProxy, InvalidProxyStatus, ImportError) as error:  # ImportError: SOCKS needs a library of its own
        hint = "Look at HTTPS_PROXY, ALL_PROXY and NO_PROXY."
        raise LinkError(f"cannot be reached by the proxy: {error}", hint=hint, wrong_way=True) from error
    except InvalidStatus as error:
        with contextlib.suppress(WireError):
            refused = decode_hub_frame(bytes(error.response.body or b""))
            # A proxy that drops the Upgrade makes it a plain request, which the hub wants signed.
            if isinstance(refused, Refused) and refused.reason is not Reason.NOT_AUTHENTIC:
                raise HubRefusalError(refused) from error
        status = error.response.status_code
        raise LinkError(f"answers {status} to a WebSocket", hint="Is it a hub?", wrong_way=True) from error
    except (InvalidHandshake, EOFError) as error:
        raise LinkError(f"is behind something that breaks WebSocket: {error}", wrong_way=True) from error
    except TimeoutError as error:
        failure = unreachable(error)
        failure.wrong_way = True
        raise failure from error
    except (InvalidURI, WebSocketException, OSError) as error:
        raise unreachable(error) from error


async def _drop(connection: ClientConnection) -> None:
    with contextlib.suppress(WebSocketException, OSError):
        await connection.close()
