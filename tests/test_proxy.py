"""The loopback pair: what passes, what is refused, and what survives."""

import asyncio
import os
import socket
import sys
from collections.abc import AsyncIterator

import pytest

from holepunch import proxy as proxy_module
from holepunch.net.udp import UdpSocket
from holepunch.proto.machine import Address
from holepunch.proxy import Proxy, owners
from tests.standin import StandInSession

needs_owners = pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells the owners of sockets")


@pytest.fixture
async def session() -> AsyncIterator[StandInSession]:
    one = StandInSession()
    yield one
    one.close()


class Command:
    """The user's command, as a socket on loopback."""

    def __init__(self, inner: Address = ("127.0.0.1", 0)) -> None:
        self.socket = UdpSocket(4, *inner)
        self.received: asyncio.Queue[bytes] = asyncio.Queue()
        self.socket.start(lambda data, _: self.received.put_nowait(data))


async def test_every_size_passes_both_ways_unchanged(session: StandInSession) -> None:
    with Proxy(session) as proxy:
        command = Command(proxy.reserve())
        for size in (0, 1, 96, 1200, 1472, 9000, 65507):
            data = os.urandom(size)
            command.socket.send(data, proxy.address)
            assert await session.received.get() == data
            session.say(data)
            assert await command.received.get() == data
        command.socket.close()


async def test_a_burst_passes_in_order(session: StandInSession) -> None:
    burst = [bytes([number]) * (700 if number % 10 else 300) for number in range(60)]
    with Proxy(session) as proxy:
        command = Command(proxy.reserve())
        command.socket.send(b"first", proxy.address)
        assert await session.received.get() == b"first"
        for data in burst:
            command.socket.send(data, proxy.address)
        assert [await session.received.get() for _ in burst] == burst
        for data in burst:
            session.say(data)
        assert [await command.received.get() for _ in burst] == burst
        command.socket.close()


@needs_owners
async def test_a_command_that_waits_is_spoken_to_first(session: StandInSession) -> None:
    with Proxy(session) as proxy:
        command = Command(proxy.reserve())
        session.say(b"hello")
        assert await command.received.get() == b"hello"
        command.socket.close()


@needs_owners
async def test_what_comes_before_the_command_is_up_is_kept_for_it(session: StandInSession) -> None:
    with Proxy(session) as proxy:
        inner = proxy.reserve()
        session.say(b"too early")
        while not proxy._early:
            await asyncio.sleep(0)
        session.say(b"early, too")
        command = Command(inner)
        assert await command.received.get() == b"too early"
        assert await command.received.get() == b"early, too"
        command.socket.send(b"now", proxy.address)
        assert await session.received.get() == b"now"
        command.socket.close()


async def test_what_comes_before_a_command_that_never_comes_is_forgotten(session: StandInSession) -> None:
    with Proxy(session) as proxy:
        proxy.reserve()
        for _ in range(100):
            proxy._to_command(memoryview(b"x" * 65000), 1000)
        assert len(proxy._early) == 32


@needs_owners
async def test_the_first_to_speak_is_the_command_and_others_are_refused(session: StandInSession) -> None:
    with Proxy(session) as proxy:
        proxy.reserve()
        command, intruder = Command(), Command()
        command.socket.send(b"ours", proxy.address)
        assert await session.received.get() == b"ours"
        for _ in range(3):
            intruder.socket.send(b"not ours", proxy.address)
        command.socket.send(b"ours again", proxy.address)
        assert await session.received.get() == b"ours again"
        assert proxy.refused == 3
        session.say(b"answer")
        assert await command.received.get() == b"answer"
        command.socket.close()
        intruder.socket.close()


@needs_owners
async def test_a_command_that_comes_back_on_another_port_is_heard(session: StandInSession) -> None:
    with Proxy(session) as proxy:
        for text in (b"first life", b"second life"):
            command = Command()
            command.socket.send(text, proxy.address)
            assert await session.received.get() == text
            session.say(b"answer")
            assert await command.received.get() == b"answer"
            command.socket.close()


async def test_another_users_socket_is_refused_even_on_the_reserved_port(
    session: StandInSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    stranger = os.getuid() + 1
    with Proxy(session) as proxy:
        command = Command(proxy.reserve())
        monkeypatch.setattr(proxy_module, "owners", lambda _: frozenset({stranger}))
        session.say(b"secret")
        command.socket.send(b"let me in", proxy.address)
        while proxy.refused == 0:
            await asyncio.sleep(0)
        assert session.received.empty()
        assert command.received.empty()
        # The real one, once the port is its own.
        monkeypatch.setattr(proxy_module, "owners", lambda _: frozenset({os.getuid(), 0}))
        assert await command.received.get() == b"secret"
        command.socket.send(b"it is me", proxy.address)
        assert await session.received.get() == b"it is me"
        command.socket.close()


async def test_where_owners_are_unknown_only_the_reserved_port_is_believed(
    session: StandInSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(proxy_module, "owners", lambda _: None)
    with Proxy(session) as proxy:
        command, intruder = Command(proxy.reserve()), Command()
        intruder.socket.send(b"not ours", proxy.address)
        command.socket.send(b"ours", proxy.address)
        assert await session.received.get() == b"ours"
        intruder.socket.send(b"not ours", proxy.address)
        command.socket.send(b"ours again", proxy.address)
        assert await session.received.get() == b"ours again"
        assert proxy.refused == 2
        command.socket.close()
        intruder.socket.close()


@needs_owners
async def test_a_local_flood_costs_few_look_ups(session: StandInSession, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []
    clock = asyncio.get_running_loop().time()

    def owner(port: int) -> frozenset[int]:
        asked.append(port)
        return frozenset({12345})

    monkeypatch.setattr(proxy_module, "owners", owner)
    with Proxy(session) as proxy:
        monkeypatch.setattr(asyncio.get_running_loop(), "time", lambda: clock)
        for port in range(1, 1000):
            assert proxy._from_command(memoryview(b"x" * 10), 1, ("127.0.0.1", port))
        assert proxy.refused == 9990
        assert len(asked) <= 32


@needs_owners
def test_the_owner_of_a_port_is_known_for_every_kind_of_binding() -> None:
    assert owners(1) == frozenset()
    for family, host in (
        (socket.AF_INET, "127.0.0.1"),
        (socket.AF_INET, "0.0.0.0"),
        (socket.AF_INET6, "::"),
        (socket.AF_INET6, "::ffff:127.0.0.1"),
    ):
        with socket.socket(family, socket.SOCK_DGRAM) as sock:
            sock.bind((host, 0))
            assert owners(sock.getsockname()[1]) == frozenset({os.getuid()})
