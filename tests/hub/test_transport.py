"""Strangers that make a hub wait: every wait has an end."""

import asyncio
import contextlib
import socket
import struct
from pathlib import Path

import pytest

from holepunch.hub.limits import Limits
from holepunch.hub.transport import WRITE_BUFFER
from holepunch.proto.mailbox import Posted

from .harness import ALICE, BOB, UNHURRIED, client, deaf_client, envelope, port_of, running_hub

UPGRADE = (
    b"GET /v1/mailbox HTTP/1.1\r\nHost: hub\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Version: 13\r\n\r\n"
)


async def ended(reader: asyncio.StreamReader) -> bool:
    """Reads to the end, which a reset is too."""
    with contextlib.suppress(ConnectionError):
        while await reader.read(65536):
            pass
    return True


@pytest.mark.parametrize("said", [b"", b"GET /healthz HTTP/1.1\r\nHost: x\r\n", b"\x16\x03\x01"])
async def test_a_request_that_is_never_finished_is_not_waited_for(tmp_path: Path, said: bytes) -> None:
    limits = Limits(login_rate=UNHURRIED, login_time=0.2)
    async with running_hub(tmp_path / "hub.sqlite", limits=limits) as url:
        reader, writer = await asyncio.open_connection("127.0.0.1", port_of(url))
        writer.write(said)
        assert await ended(reader)
        writer.close()


async def test_nor_is_the_second_one_of_a_connection(tmp_path: Path) -> None:
    limits = Limits(login_rate=UNHURRIED, login_time=0.2)
    async with running_hub(tmp_path / "hub.sqlite", limits=limits) as url:
        reader, writer = await asyncio.open_connection("127.0.0.1", port_of(url))
        writer.write(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
        await reader.readuntil(b"wait\n")
        writer.write(b"GET /heal")
        assert await ended(reader)
        writer.close()


async def test_headers_without_end_are_refused(tmp_path: Path) -> None:
    async with running_hub(tmp_path / "hub.sqlite") as url:
        reader, writer = await asyncio.open_connection("127.0.0.1", port_of(url))
        writer.write(b"GET / HTTP/1.1\r\n" + b"".join(b"X-%d: %s\r\n" % (n, bytes(100)) for n in range(1000)))
        assert b" 400 " in await reader.readline()
        writer.close()


async def test_pings_whose_pongs_are_not_read_end_the_connection_and_do_not_pile_up(tmp_path: Path) -> None:
    async with running_hub(tmp_path / "hub.sqlite", limits=Limits(login_rate=UNHURRIED, login_time=50)) as url:
        raw = socket.create_connection(("127.0.0.1", port_of(url)))
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        raw.setblocking(False)
        loop = asyncio.get_running_loop()
        await loop.sock_sendall(raw, UPGRADE)
        ping = b"\x89" + struct.pack("!B", 0x80 | 125) + bytes(4) + bytes(125)
        most = 0
        with pytest.raises(ConnectionError):  # noqa: PT012
            for _ in range(100_000):
                await loop.sock_sendall(raw, ping * 100)
                (connection,) = url.server.server_state.connections or [None]
                most = max(most, connection.transport.get_write_buffer_size() if connection else 0)
        raw.close()
        assert most < 8 * WRITE_BUFFER


async def test_what_waits_for_a_slow_reader_in_memory_is_bounded(tmp_path: Path) -> None:
    many = {"pair_envelopes": 128, "recipient_envelopes": 128, "recipient_bytes": 2**22}
    limits = Limits(login_rate=UNHURRIED, sender_rate=UNHURRIED, network_rate=UNHURRIED, **many)
    async with running_hub(tmp_path / "hub.sqlite", limits=limits) as url, deaf_client(url, ALICE):
        async with client(url) as bob:
            await bob.login(BOB)
            for number in range(1, 121):  # more than kernels hold for a reader, even on loopback
                assert await bob.post(number, envelope(number, body=bytes(8000))) == Posted(number)

        def most_held() -> int:
            return max(int(each.transport.get_write_buffer_size()) for each in url.server.server_state.connections)

        while most_held() < WRITE_BUFFER // 2:  # the kernel may take a little more after the sender has paused
            await asyncio.sleep(0.01)
        assert most_held() < 2 * WRITE_BUFFER


async def test_connections_of_all_networks_together_and_of_one_are_limited(tmp_path: Path) -> None:
    limits = Limits(login_rate=UNHURRIED, connections=4, network_connections=2)
    async with running_hub(tmp_path / "hub.sqlite", limits=limits) as url, contextlib.AsyncExitStack() as stack:

        async def connected(local: str) -> asyncio.StreamReader:
            reader, writer = await asyncio.open_connection("127.0.0.1", port_of(url), local_addr=(local, 0))
            stack.callback(writer.close)
            return reader

        first = [await connected("127.0.0.2") for _ in range(2)]
        assert await ended(await connected("127.0.0.2"))  # its third
        others = [await connected("127.0.0.3") for _ in range(2)]
        assert await ended(await connected("127.0.0.4"))  # the fifth of all
        assert not any(reader.at_eof() for reader in first + others)


async def test_connections_are_counted_out_when_they_end_whatever_became_of_them(tmp_path: Path) -> None:
    async with running_hub(tmp_path / "hub.sqlite") as url:
        config = url.server.config
        for said in (b"", UPGRADE, b"junk\r\n\r\n", UPGRADE.replace(b"Version: 13", b"Version: 7")):
            reader, writer = await asyncio.open_connection("127.0.0.1", port_of(url), local_addr=("127.0.0.2", 0))
            writer.write(said)
            if said:
                await reader.readline()
            writer.transport.abort()
        while config.networks or url.server.server_state.connections:
            await asyncio.sleep(0.01)
        assert not config.networks


async def test_a_proxy_that_was_named_counts_as_many_networks(tmp_path: Path) -> None:
    limits = Limits(login_rate=UNHURRIED, network_connections=1)
    async with running_hub(tmp_path / "hub.sqlite", limits=limits, proxies=["127.0.0.2"]) as url:
        writers = []
        for _ in range(2):
            reader, writer = await asyncio.open_connection("127.0.0.1", port_of(url), local_addr=("127.0.0.2", 0))
            writers.append(writer)
            writer.write(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
            assert b" 200 " in await reader.readline()
        for writer in writers:
            writer.close()
            await writer.wait_closed()
