"""The mailbox for networks that break WebSocket: plain requests, of which the reading one waits.

    GET     /v1/mailbox?epoch=&cursor=&wait=   what comes after the cursor, or nothing after `wait` seconds
    POST    /v1/mailbox?life=                  one envelope
    DELETE  /v1/mailbox/ID                     discards one

It keeps no session.  Every answer brings a challenge in `Holepunch-Challenge`, every request answers one
in `Authorization`, and what is refused is a REFUSED frame under the HTTP status that says the same.
"""

import asyncio
import binascii
import math
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Awaitable, Callable
from http import HTTPStatus

from fastapi import Request, Response

from ..errors import WireError
from ..proto.mailbox import CHALLENGE_LENGTH, MAX_ENVELOPE, Delivery, Login, Reason, encode_deliveries
from ..proto.wire import Reader
from .limits import network_of
from .mailboxes import Mailboxes
from .refusal import RefusedError

LONGEST_WAIT = 50.0  # seconds; proxies commonly give up an idle request after 60
MAX_AUTHORIZATION = 1024  # characters

STATUS = {
    Reason.MALFORMED: HTTPStatus.BAD_REQUEST,
    Reason.NOT_AUTHENTIC: HTTPStatus.UNAUTHORIZED,
    Reason.TOO_LARGE: HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
    Reason.RATE: HTTPStatus.TOO_MANY_REQUESTS,
    Reason.MAILBOX_FULL: HTTPStatus.INSUFFICIENT_STORAGE,
    Reason.SENDER_LIMIT: HTTPStatus.INSUFFICIENT_STORAGE,
    Reason.HUB_FULL: HTTPStatus.SERVICE_UNAVAILABLE,
}


class LongPoll:
    """The three requests, for one hub's mailboxes."""

    def __init__(self, mailboxes: Mailboxes) -> None:
        self._mailboxes = mailboxes

    async def poll(self, request: Request) -> Response:
        """Answers GET /v1/mailbox."""

        async def answer(owner: bytes, _: bytes) -> Response:
            wait = min(_number(request, "wait"), LONGEST_WAIT)
            same = request.query_params.get("epoch", "") == self._mailboxes.epoch.hex()
            found = await self._next(owner, _number(request, "cursor") if same else 0, wait)
            return Response(encode_deliveries(found), media_type="application/octet-stream")

        return await self._answered(request, answer)

    async def post(self, request: Request) -> Response:
        """Answers POST /v1/mailbox."""

        async def answer(owner: bytes, network: bytes) -> Response:
            data = await _body(request, self._mailboxes.limits.login_time)
            await self._mailboxes.post(data, sender=owner, network=network, life=_number(request, "life"))
            return Response(status_code=HTTPStatus.NO_CONTENT)

        return await self._answered(request, answer)

    async def discard(self, request: Request, message_id: str) -> Response:
        """Answers DELETE /v1/mailbox/ID."""

        async def answer(owner: bytes, network: bytes) -> Response:
            try:
                await self._mailboxes.discard(bytes.fromhex(message_id), owner=owner, network=network)
            except ValueError:
                raise RefusedError(Reason.MALFORMED, "the message id is not hexadecimal") from None
            return Response(status_code=HTTPStatus.NO_CONTENT)

        return await self._answered(request, answer)

    async def _next(self, owner: bytes, cursor: int, wait: float) -> list[Delivery]:
        """Returns what comes after the cursor as soon as there is something; nothing when the time is over."""
        deadline = asyncio.get_running_loop().time() + wait
        with self._mailboxes.reading(owner) as reader:
            while True:
                reader.changed.clear()
                found = await self._mailboxes.fetch(owner, cursor)
                if found or self._mailboxes.stopping:
                    return found
                try:
                    async with asyncio.timeout_at(deadline):
                        await reader.changed.wait()
                except TimeoutError:
                    return []

    async def _answered(self, request: Request, answer: Callable[[bytes, bytes], Awaitable[Response]]) -> Response:
        """Who is it, may it, then what it asked; and the next challenge."""
        network = network_of(request.client.host if request.client else "")
        try:
            with self._mailboxes.visit(network):
                try:
                    challenge, login = decode_authorization(request.headers.get("authorization", ""))
                except WireError as error:
                    raise RefusedError(Reason.NOT_AUTHENTIC, str(error)) from error
                self._mailboxes.login(login, challenge, request.headers.get("host", ""))
                response = await answer(login.owner, network)
        except RefusedError as error:
            response = refusal(error)
        response.headers["Holepunch-Challenge"] = urlsafe_b64encode(self._mailboxes.challenge()).decode()
        response.headers["Holepunch-Epoch"] = self._mailboxes.epoch.hex()
        response.headers["Cache-Control"] = "no-store"
        return response


def decode_authorization(value: str) -> tuple[bytes, Login]:
    """Reads `Holepunch BASE64URL` of challenge (48 bytes), owner (32) and signature (64).

    Raises:
        WireError: it is something else.
    """
    scheme, _, text = value.partition(" ")
    if scheme.lower() != "holepunch" or len(value) > MAX_AUTHORIZATION:
        raise WireError("the Authorization is not of the scheme Holepunch")
    try:
        reader = Reader(urlsafe_b64decode(text))
    except (binascii.Error, ValueError) as error:
        raise WireError(f"the Authorization is not base64: {error}") from error
    challenge, login = reader.take(CHALLENGE_LENGTH), Login(reader.take(32), reader.take(64))
    reader.end()
    return challenge, login


def refusal(error: RefusedError) -> Response:
    """Returns the HTTP answer that says why: a REFUSED frame under the status that means the same."""
    headers = {"Retry-After": str(math.ceil(error.wait))} if error.wait else {}
    if error.reason is Reason.NOT_AUTHENTIC:
        headers["WWW-Authenticate"] = "Holepunch"
    return Response(error.frame().encode(), STATUS[error.reason], headers, "application/octet-stream")


def _number(request: Request, name: str) -> int:
    """Returns a query parameter that is a number; 0 where it is absent."""
    text = request.query_params.get(name, "0")
    if not (text.isascii() and text.isdigit() and len(text) < 20):
        raise RefusedError(Reason.MALFORMED, f"{name} is {text[:20]!r}, expected a number")
    return int(text)


async def _body(request: Request, most_seconds: float) -> bytes:
    """Reads an envelope from a request's body, and no more than one can have."""
    data = bytearray()
    try:
        async with asyncio.timeout(most_seconds):
            async for chunk in request.stream():
                data += chunk
                if len(data) > MAX_ENVELOPE:
                    text = f"the body has more than {MAX_ENVELOPE} bytes"
                    raise RefusedError(Reason.TOO_LARGE, text)
    except TimeoutError:
        raise RefusedError(Reason.MALFORMED, f"the body did not come within {most_seconds:.0f} seconds") from None
    return bytes(data)
