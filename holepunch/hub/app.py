"""The hub's routes.

WS      /v1/mailbox       the frames of holepunch.proto.mailbox
*       /v1/mailbox       the same mailbox without WebSocket (holepunch.hub.longpoll)
GET     /healthz          200 while the store answers
"""

import contextlib
from http import HTTPStatus

from fastapi import FastAPI, Response, WebSocket, WebSocketDisconnect

from .. import __version__
from ..proto.mailbox import Reason
from .conversation import converse
from .limits import network_of
from .longpoll import LongPoll, refusal
from .mailboxes import Mailboxes
from .refusal import RefusedError

CLOSE_CODE = {Reason.MALFORMED: 1002, Reason.TOO_LARGE: 1009, Reason.RATE: 1013, Reason.HUB_FULL: 1013}
"""Of RFC 6455 section 7.4.1 and its registry; 1008, policy violation, for the other reasons."""


def make_app(mailboxes: Mailboxes) -> FastAPI:
    """Returns the ASGI application that serves these mailboxes."""
    app = FastAPI(title="holepunch hub", version=__version__, openapi_url=None, docs_url=None, redoc_url=None)
    polling = LongPoll(mailboxes)
    app.add_api_route("/v1/mailbox", polling.poll, methods=["GET"])
    app.add_api_route("/v1/mailbox", polling.post, methods=["POST"])
    app.add_api_route("/v1/mailbox/{message_id}", polling.discard, methods=["DELETE"])

    @app.websocket("/v1/mailbox")
    async def mailbox(socket: WebSocket) -> None:
        network = network_of(socket.client.host if socket.client else "")
        with contextlib.ExitStack() as stack:
            try:
                stack.enter_context(mailboxes.visit(network))
            except RefusedError as error:
                await socket.send_denial_response(refusal(error))
                return
            await socket.accept()
            with contextlib.suppress(ConnectionError):
                channel = _Channel(socket, network)
                try:
                    await converse(channel, mailboxes)
                except RefusedError as error:
                    await channel.send(error.frame().encode())
                    await socket.close(CLOSE_CODE.get(error.reason, 1008), str(error)[:120])

    @app.get("/healthz")
    async def healthz() -> Response:
        try:
            waiting = await mailboxes.healthy()
        except RefusedError as error:
            return Response(f"{error}\n", HTTPStatus.SERVICE_UNAVAILABLE, media_type="text/plain")
        return Response(f"ok, {waiting} envelopes wait\n", media_type="text/plain")

    return app


class _Channel:
    """A Starlette WebSocket as a conversation's Channel."""

    def __init__(self, socket: WebSocket, network: bytes) -> None:
        self._socket = socket
        self.host = socket.headers.get("host", "")
        self.network = network

    async def receive(self) -> bytes | None:
        message = await self._socket.receive()
        if message["type"] == "websocket.disconnect":
            return None
        data = message.get("bytes")
        if data is None:
            raise RefusedError(Reason.MALFORMED, "a text message; frames are binary")
        return bytes(data)

    async def send(self, data: bytes) -> None:
        try:
            await self._socket.send_bytes(data)
        except (WebSocketDisconnect, RuntimeError) as error:  # gone, or closed by us in the meantime
            raise ConnectionError(str(error)) from error
