"""The http mediator through networks that cut, and networks that break WebSocket."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from holepunch.errors import MediatorError
from holepunch_mediators import hub_socket
from holepunch_mediators.hub_poll import HubPoll
from holepunch_mediators.hub_socket import HubSocket
from tests.hub.harness import BOB, Url, envelope, port_of, running_hub
from tests.mediators.through_hub import Network, mediator, numbered, opened, receiving


@pytest.fixture
async def hub(tmp_path: Path) -> AsyncIterator[Url]:
    async with running_hub(tmp_path / "hub.sqlite") as url:
        yield url


async def test_a_post_leaves_one_round_trip_after_the_connection_without_waiting_for_an_answer(hub: Url) -> None:
    network = Network(hub)
    async with network.url() as url, receiving(hub) as (_, queue):
        bob = mediator(url, BOB)
        await bob.open()
        network.to_client = lambda *_: b""  # whatever else the hub says, he does not hear it
        posting = asyncio.create_task(bob.post(envelope(1)))
        assert numbered(await queue.get()) == 1
        posting.cancel()
        await bob.close()


async def test_a_connection_that_is_cut_heals_in_the_middle_of_posting(hub: Url) -> None:
    network = Network(hub)
    async with network.url() as url, receiving(url) as (_, queue), opened(url, BOB) as bob:
        for number in range(8):
            if number % 2:
                network.cut()
            await bob.post(envelope(number))
        got = {numbered(await queue.get()) for _ in range(8)}
        assert got == set(range(8))
        assert network.connections > 4


# Networks that break WebSocket -------------------------------------------------------------------


def strips_the_upgrade(network: Network) -> None:
    network.to_hub = lambda data, _: data.replace(b"Upgrade: websocket", b"X-Nothing: here-now")


def swallows_everything_after_the_upgrade(network: Network) -> None:
    def to_client(data: bytes, memory: dict[str, bool]) -> bytes:
        if memory.get("upgraded"):
            return b""
        memory["upgraded"] = b"101 Switching" in data
        return data[: data.index(b"\r\n\r\n") + 4] if memory["upgraded"] else data

    network.to_client = to_client


def ends_upgraded_connections(network: Network) -> None:
    network.to_client = lambda data, _: None if b"101 Switching" in data else data


def answers_403_to_an_upgrade(network: Network) -> None:
    no = b"HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno"
    network.to_client = lambda data, _: no if b"101 Switching" in data else data


@pytest.mark.parametrize(
    "breaks",
    [
        strips_the_upgrade,
        swallows_everything_after_the_upgrade,
        ends_upgraded_connections,
        answers_403_to_an_upgrade,
    ],
)
async def test_where_websocket_does_not_get_through_plain_requests_do_by_themselves(
    hub: Url, monkeypatch: pytest.MonkeyPatch, breaks: Callable[[Network], None]
) -> None:
    monkeypatch.setattr(hub_socket, "CHALLENGE_TIME", 0.5)
    network = Network(hub)
    breaks(network)
    async with network.url() as url, opened(hub, BOB) as bob:
        await bob.post(envelope(1))
        async with receiving(url) as (alice, queue):
            assert isinstance(alice._link, HubPoll)
            assert numbered(await queue.get()) == 1
            await bob.post(envelope(2))
            second = await queue.get()
            await alice.discard(second)
            await alice.post(envelope(3, BOB))
        findings = await mediator(url).check()
        assert [finding.level for finding in findings] == ["ok", "warning", "warning"]
        async with receiving(hub, BOB) as (_, queue):
            assert numbered(await queue.get()) == 3
    async with receiving(hub) as (alice, queue):
        assert isinstance(alice._link, HubSocket)
        assert numbered(await queue.get()) == 1
        await alice.post(envelope(4))
        assert numbered(await queue.get()) == 4


async def test_plain_requests_heal_too(tmp_path: Path) -> None:
    state = tmp_path / "hub.sqlite"
    async with contextlib.AsyncExitStack() as stack:
        async with running_hub(state) as hub:
            network = Network(hub)
            strips_the_upgrade(network)
            url = await stack.enter_async_context(network.url())
            alice, queue = await stack.enter_async_context(receiving(url))
            await alice.post(envelope(1))
            assert numbered(await queue.get()) == 1
            assert isinstance(alice._link, HubPoll)
        async with running_hub(state, port=port_of(hub)):
            await alice.post(envelope(2))
            assert numbered(await queue.get()) == 2


async def test_a_proxy_of_the_environment_is_used_and_a_wrong_one_is_named(
    hub: Url, monkeypatch: pytest.MonkeyPatch
) -> None:
    used: list[str] = []

    async def proxy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        used.append(head.split()[0])
        host, _, port = head.split()[1].partition(":")
        hub_reader, hub_writer = await asyncio.open_connection(host, int(port))
        writer.write(b"HTTP/1.1 200 Connected\r\n\r\n")

        async def pass_on(source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
            with contextlib.suppress(ConnectionError):
                while data := await source.read(65536):
                    target.write(data)
            target.close()

        await asyncio.gather(pass_on(reader, hub_writer), pass_on(hub_reader, writer))

    monkeypatch.delenv("NO_PROXY", raising=False)
    monkeypatch.delenv("no_proxy", raising=False)
    async with await asyncio.start_server(proxy, "127.0.0.1", 0) as server:
        monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}")
        async with receiving(hub) as (alice, queue):
            await alice.post(envelope(1))
            assert numbered(await queue.get()) == 1
            assert isinstance(alice._link, HubSocket)
        assert used == ["CONNECT"]
    monkeypatch.setenv("http_proxy", "nonsense://127.0.0.1:1")
    with pytest.raises(MediatorError, match="proxy"):
        await mediator(hub).open()
