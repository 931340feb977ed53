"""Http mediators for tests, and a network between them and their hub."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable

from holepunch.mediator import make_mediator
from holepunch.proto.envelope import Envelope
from holepunch.proto.identity import Identity
from holepunch_mediators.http import HttpMediator
from tests.hub.harness import ALICE, mailbox_of, port_of


def mediator(url: str, identity: Identity = ALICE) -> HttpMediator:
    made = make_mediator(str(url), mailbox_of(identity))
    assert isinstance(made, HttpMediator)
    return made


@contextlib.asynccontextmanager
async def opened(url: str, identity: Identity = ALICE) -> AsyncIterator[HttpMediator]:
    made = mediator(url, identity)
    await made.open()
    try:
        yield made
    finally:
        await made.close()


@contextlib.asynccontextmanager
async def receiving(
    url: str, identity: Identity = ALICE
) -> AsyncIterator[tuple[HttpMediator, asyncio.Queue[Envelope]]]:
    queue: asyncio.Queue[Envelope] = asyncio.Queue()

    async def pump(reader: HttpMediator) -> None:
        async for item in reader.receive():
            queue.put_nowait(item)

    async with opened(url, identity) as reader:
        task = asyncio.create_task(pump(reader))
        yield reader, queue
    await task


def numbered(item: Envelope) -> int:
    return int.from_bytes(item.id)


Change = Callable[[bytes, dict[str, bool]], bytes | None]


class Network:
    """A TCP proxy before a hub, that does to the bytes what networks do.

    `to_hub` and `to_client` change what passes, with a memory for each connection; None ends it, b"" swallows.
    """

    def __init__(self, hub: str) -> None:
        self.hub_port = port_of(hub)
        self.to_hub: Change = lambda data, _: data
        self.to_client: Change = lambda data, _: data
        self.connections = 0
        self._writers: list[asyncio.StreamWriter] = []

    @contextlib.asynccontextmanager
    async def url(self) -> AsyncIterator[str]:
        server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        try:
            yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        finally:
            server.close()
            self.cut()
            await asyncio.gather(*(writer.wait_closed() for writer in self._writers), return_exceptions=True)

    def cut(self) -> None:
        """Ends every connection at once."""
        for writer in self._writers:
            writer.transport.abort()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        hub_reader, hub_writer = await asyncio.open_connection("127.0.0.1", self.hub_port)
        self._writers += [writer, hub_writer]

        memory: dict[str, bool] = {}

        async def pass_on(source: asyncio.StreamReader, target: asyncio.StreamWriter, direction: str) -> None:
            with contextlib.suppress(ConnectionError):
                while data := await source.read(65536):
                    changed = getattr(self, direction)(data, memory)
                    if changed is None:
                        break
                    target.write(changed)
            target.close()

        await asyncio.gather(pass_on(reader, hub_writer, "to_hub"), pass_on(hub_reader, writer, "to_client"))
