"""A hub's mailbox by plain requests, for networks where WebSocket does not get through.

urllib, since it goes through the proxies that such networks have (HTTPS_PROXY and the like).  It blocks,
so each request has a thread of its own; they are daemons, so a request that waits keeps nobody from exiting.
"""

import asyncio
import contextlib
import http.client
import threading
import urllib.error
import urllib.request
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections import deque
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from email.message import Message
from typing import TypeVar

from holepunch import __version__
from holepunch.errors import WireError
from holepunch.mediator import Mailbox
from holepunch.proto.mailbox import (
    CHALLENGE_LENGTH,
    EPOCH_LENGTH,
    MAX_FRAME,
    Delivery,
    Reason,
    Refused,
    decode_deliveries,
    decode_hub_frame,
)

from .hub_link import HubAddress, HubRefusalError, LinkError, tls_context, unreachable

POLL = 25  # seconds the hub holds a poll open; proxies commonly cut a silent request after 30 or 60
TIMEOUT = 15.0  # seconds for the network, beside what the hub waits
MAX_ANSWER = 64 * MAX_FRAME  # bytes; a hub sends fewer at once
_MOST_CHALLENGES = 4

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class _Answer:
    status: int
    headers: Message
    body: bytes


class HubPoll:
    """A Link by long poll; made by `open_poll`."""

    def __init__(self, address: HubAddress, mailbox: Mailbox) -> None:
        self.epoch = b""
        self._address = address
        self._mailbox = mailbox
        self._challenges: deque[bytes] = deque(maxlen=_MOST_CHALLENGES)
        self._over = asyncio.Event()
        self._opener = urllib.request.build_opener(
            urllib.request.HTTPSHandler(context=tls_context() if address.secure else None), _NoRedirects()
        )

    async def open(self) -> None:
        """Asks for the first challenge.

        Raises:
            LinkError: the hub cannot be reached, or is none.
        """
        answer = await _in_daemon(lambda: self._send("GET", "", b"", "", TIMEOUT))
        if not self._learn(answer):
            raise LinkError(
                f"answers {answer.status} and is not a hub", hint="Check the URL: it is that of `holepunch hub run`."
            )

    async def post(self, envelope: bytes, life: int) -> None:
        """Posts; returns when the hub has it."""
        await self._ask("POST", f"?life={life}", envelope)

    async def discard(self, message_id: bytes) -> None:
        """Removes a message from our mailbox."""
        await self._ask("DELETE", f"/{message_id.hex()}")

    async def deliveries(self, epoch: bytes, cursor: int) -> AsyncIterator[Delivery]:
        """Yields what comes after the cursor, one poll after the other."""
        while not self._over.is_set():
            answer = await self._ask("GET", f"?epoch={epoch.hex()}&cursor={cursor}&wait={POLL}", wait=POLL)
            if epoch != self.epoch:
                epoch, cursor = self.epoch, 0
            try:
                found = decode_deliveries(answer.body)
            except WireError as error:
                raise self._broken(LinkError(f"sends something that is no delivery: {error}")) from error
            for delivery in found:
                cursor = max(cursor, delivery.cursor)
                yield delivery
        raise LinkError("is not asked any more")

    async def welcomed(self) -> None:
        """Tries whether our login is accepted."""
        await self._ask("GET", f"?cursor={2**63 - 1}&epoch={self.epoch.hex()}&wait=0")

    async def lost(self) -> None:
        """Returns after the first request that failed."""
        await self._over.wait()

    async def close(self) -> None:
        """Sends nothing more."""
        self._over.set()

    async def _ask(self, method: str, tail: str, body: bytes = b"", *, wait: float = 0.0) -> _Answer:
        """Sends a signed request; a challenge that has become stale is replaced once."""
        for attempt in (1, 2):
            if not self._challenges:
                await self._guarded(lambda: self._send("GET", "", b"", "", TIMEOUT))
            if not self._challenges:
                break
            challenge = self._challenges.popleft()
            login = self._address.login(self._mailbox, challenge)
            token = urlsafe_b64encode(challenge + login.owner + login.signature).decode()
            answer = await self._guarded(lambda: self._send(method, tail, body, token, wait + TIMEOUT))  # noqa: B023
            if answer.status < 300:
                return answer
            refused = _refusal(answer)
            if refused is None:
                break
            if attempt == 1 and refused.reason is Reason.NOT_AUTHENTIC:
                self._challenges = deque([self._challenges[-1]] if self._challenges else [], _MOST_CHALLENGES)
                continue
            raise HubRefusalError(refused)
        raise self._broken(LinkError("does not answer as a hub does"))

    async def _guarded(self, request: Callable[[], _Answer]) -> _Answer:
        """Sends a request, unless the link is broken or closed, then or meanwhile."""
        asking, over = asyncio.create_task(_in_daemon(request)), asyncio.create_task(self._over.wait())
        try:
            await asyncio.wait([asking, over], return_when=asyncio.FIRST_COMPLETED)
            if over.done():
                raise LinkError("is not asked any more")
            answer = asking.result()
        except LinkError as error:
            raise self._broken(error) from error
        finally:
            asking.cancel()
            over.cancel()
        self._learn(answer)
        return answer

    def _broken(self, error: LinkError) -> LinkError:
        self._over.set()
        return error

    def _learn(self, answer: _Answer) -> bool:
        """Keeps the challenge that came with an answer; tells whether there was one."""
        with contextlib.suppress(ValueError):
            challenge = urlsafe_b64decode(answer.headers.get("Holepunch-Challenge", ""))
            epoch = bytes.fromhex(answer.headers.get("Holepunch-Epoch", ""))
            if len(challenge) == CHALLENGE_LENGTH and len(epoch) == EPOCH_LENGTH:
                self.epoch = epoch
                self._challenges.append(challenge)
                return True
        return False

    def _send(self, method: str, tail: str, body: bytes, token: str, timeout: float) -> _Answer:
        """Sends one request; blocks.

        Raises:
            LinkError: no answer came.
        """
        headers = {"User-Agent": f"holepunch/{__version__}", "Content-Type": "application/octet-stream"}
        if token:
            headers["Authorization"] = f"Holepunch {token}"
        request = urllib.request.Request(  # noqa: S310 - the scheme is http or https: HubAddress sees to it
            self._address.url("http") + tail, body if method == "POST" else None, headers, method=method
        )
        try:
            try:
                response = self._opener.open(request, timeout=timeout)
            except urllib.error.HTTPError as error:
                response = error
            with response:
                return _Answer(response.status, response.headers, response.read(MAX_ANSWER))
        except urllib.error.URLError as error:
            reason = error.reason
            raise unreachable(reason if isinstance(reason, OSError) else OSError(str(reason))) from error
        except (OSError, http.client.HTTPException) as error:
            raise unreachable(error) from error


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    """A login is signed for one hub's name."""

    def redirect_request(self, *_: object) -> None:
        return None


async def open_poll(address: HubAddress, mailbox: Mailbox) -> HubPoll:
    """Reaches the hub by plain requests.

    Raises:
        LinkError: it cannot be reached so either.
    """
    link = HubPoll(address, mailbox)
    await link.open()
    return link


def _refusal(answer: _Answer) -> Refused | None:
    """Returns the hub's REFUSED; None where something else than the hub answered."""
    try:
        frame = decode_hub_frame(answer.body)
    except WireError:
        return None
    return frame if isinstance(frame, Refused) else None


async def _in_daemon(call: Callable[[], _T]) -> _T:
    """Calls something that blocks, in a thread that nobody waits for when the program ends."""
    loop = asyncio.get_running_loop()
    future: asyncio.Future[_T] = loop.create_future()

    def settle(result: _T | None, error: BaseException | None) -> None:
        if future.done():
            return
        if error is not None:
            future.set_exception(error)
        else:
            future.set_result(result)  # type: ignore[arg-type]  # None only where _T is None

    def work() -> None:
        try:
            outcome: tuple[_T | None, BaseException | None] = (call(), None)
        except Exception as error:  # noqa: BLE001 - it is raised where it is awaited
            outcome = (None, error)
        with contextlib.suppress(RuntimeError):  # the loop has ended meanwhile
            loop.call_soon_threadsafe(settle, *outcome)

    threading.Thread(target=work, name="holepunch-hub-poll", daemon=True).start()
    return await future
