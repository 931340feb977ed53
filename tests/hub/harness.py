"""A real hub on loopback, in the test's own event loop or as a process, and clients that may misbehave."""

import asyncio
import contextlib
import json
import socket
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from websockets.asyncio.client import ClientConnection, connect

from holepunch.hub.limits import Limits, Rate
from holepunch.hub.mailboxes import Mailboxes
from holepunch.hub.web import WebOptions, WebService
from holepunch.mediator import Mailbox
from holepunch.proto.envelope import Envelope, Kind
from holepunch.proto.identity import Identity
from holepunch.proto.mailbox import (
    Challenge,
    ClientFrame,
    HubFrame,
    Login,
    Post,
    Subscribe,
    Welcome,
    decode_hub_frame,
    login_statement,
)

ALICE, BOB, MALLORY = (Identity.from_seed(bytes([number]) * 32) for number in (1, 2, 3))
STARTED = int(time.time())
UNHURRIED = Rate(per_second=10_000, burst=10_000)
"""For tests that are about something else than rates."""


def mailbox_of(identity: Identity) -> Mailbox:
    return Mailbox(owner=identity.peer_id.raw, sign=identity.sign)


def envelope(number: int, recipient: Identity = ALICE, *, body: bytes = b"sealed", life: int = 900) -> Envelope:
    return Envelope(
        kind=Kind.INVITE,
        session=bytes(16),
        id=number.to_bytes(16),
        recipient=recipient.peer_id.raw,
        expires=STARTED + life,
        body=body,
    )


class Url(str):
    """A hub's URL, and the hub behind it."""

    __slots__ = ("mailboxes", "server")
    mailboxes: Mailboxes
    server: Any


@contextlib.asynccontextmanager
async def running_hub(state: Path, *, port: int = 0, **options: Any) -> AsyncIterator[Url]:
    """Runs a hub in this event loop."""
    options.setdefault("limits", Limits(login_rate=UNHURRIED))
    service = WebService(WebOptions(listen=("127.0.0.1", port), state=str(state), **options))
    url = Url((await service.start())[0])
    assert service._mailboxes
    assert service._server
    url.mailboxes, url.server = service._mailboxes, service._server
    try:
        yield url
    finally:
        await service.stop()


def port_of(url: str) -> int:
    port = urlsplit(url).port
    assert port
    return port


class Client:
    """A WebSocket that says what a test wants said."""

    def __init__(self, connection: ClientConnection, host: str) -> None:
        self.connection = connection
        self.host = host
        self.epoch = b""
        self.challenge = b""

    async def next(self) -> HubFrame:
        data = await self.connection.recv()
        assert isinstance(data, bytes)
        return decode_hub_frame(data)

    async def greeted(self) -> "Client":
        frame = await self.next()
        assert isinstance(frame, Challenge)
        self.epoch, self.challenge = frame.epoch, frame.challenge
        return self

    def signed(self, identity: Identity, *, host: str = "", challenge: bytes = b"") -> Login:
        statement = login_statement(challenge or self.challenge, host or self.host)
        return Login(identity.peer_id.raw, identity.sign(statement))

    async def send(self, *frames: bytes | ClientFrame) -> None:
        for frame in frames:
            await self.connection.send(frame if isinstance(frame, bytes) else frame.encode())

    async def login(self, identity: Identity) -> "Client":
        await self.greeted()
        await self.send(self.signed(identity))
        assert await self.next() == Welcome()
        return self

    async def subscribe(self, cursor: int = 0) -> None:
        await self.send(Subscribe(self.epoch, cursor))

    async def post(self, number: int, what: Envelope, life: int = 900) -> HubFrame:
        await self.send(Post(number, life, what.encode()))
        return await self.next()


@contextlib.asynccontextmanager
async def client(url: str, **options: Any) -> AsyncIterator[Client]:
    """Connects to a hub."""
    host = urlsplit(url).netloc
    async with connect(f"ws://{host}/v1/mailbox", compression=None, max_size=None, **options) as connection:
        yield Client(connection, host)


@contextlib.asynccontextmanager
async def deaf_client(url: Url, identity: Identity) -> AsyncIterator[Client]:
    """A client that subscribes and then reads nothing, with kernel buffers as small as they get on both sides."""
    raw = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    raw.setblocking(False)
    await asyncio.get_running_loop().sock_connect(raw, ("127.0.0.1", port_of(url)))
    async with client(url, sock=raw, close_timeout=0.1) as deaf:
        await deaf.login(identity)
        for each in url.server.server_state.connections:
            each.transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
        deaf.connection.transport.pause_reading()
        await deaf.subscribe()
        yield deaf
        deaf.connection.transport.abort()


@contextlib.asynccontextmanager
async def hub_process(
    *arguments: str, environment: dict[str, str] | None = None
) -> AsyncIterator[tuple[asyncio.subprocess.Process, list[str]]]:
    """Runs `holepunch hub run --json` as a process; gives it and the URLs of its ready line."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "holepunch", "hub", "run", "--json", *arguments,
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE, env=environment,
    )  # fmt: skip
    try:
        assert process.stdout is not None
        line = await process.stdout.readline()
        assert line, (await process.communicate())[1].decode()
        ready = json.loads(line)
        assert ready["event"] == "ready"
        yield process, ready["urls"]
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()
