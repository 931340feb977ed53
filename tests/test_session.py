"""A session in a program's hands: datagrams, what is dropped, readiness, and giving the socket away."""

import asyncio
import socket
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from holepunch.datapath import MAX_QUEUE
from holepunch.errors import HolepunchError, TraversalError
from holepunch.net.udp import UdpSocket
from holepunch.proto.events import PathSelected
from holepunch.proto.machine import Address
from holepunch.proto.packet import LENGTH
from holepunch.session import Session

from .machines import Pair, exchange, joined


class Stranger:
    """A socket on the same machine, and what it was sent."""

    def __init__(self) -> None:
        self.socket = UdpSocket(4, "127.0.0.1")
        self.heard: list[bytes] = []
        self.socket.start(lambda data, _: self.heard.append(data))

    async def send(self, data: bytes, to: Address, count: int = 1) -> None:
        """Sends, and lets it arrive."""
        for _ in range(count):
            self.socket.send(data, to)
            await asyncio.sleep(0)
        await asyncio.sleep(0.05)


@pytest.fixture
async def stranger() -> AsyncIterator[Stranger]:
    """A stranger."""
    one = Stranger()
    yield one
    one.socket.close()


def tap(session: Session) -> list[bytes]:
    """Copies what reaches a session's socket from the peer."""
    copies: list[bytes] = []
    take = session._data._take

    def look(local: int, data: bytes, remote: Address) -> bool:
        copies.append(data)
        return take(local, data, remote)

    session._data._take = look  # type: ignore[method-assign]
    session._data.watch(session.agent.local)
    return copies


async def refuses(session: Session) -> None:
    """Sees that nothing waits to be received."""
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.1):
            await session.receive()


# Datagrams.


@pytest.mark.parametrize("sealed", [True, False])
async def test_datagrams_of_every_size_arrive_as_they_were_sent(tmp_path: Path, sealed: bool) -> None:
    async with joined(tmp_path, sealed=sealed, keeps_socket=True) as pair:
        for size in (0, 1, 64, 95, 96, 97, 1200, 9000):
            data = bytes(range(256)) * (size // 256 + 1)
            pair.session.send(data[:size])
            async with asyncio.timeout(5):
                assert await pair.other.receive() == data[:size]


async def test_a_sealed_datagram_shows_nothing_of_what_it_says(tmp_path: Path) -> None:
    async with joined(tmp_path) as pair:
        copies = tap(pair.other)
        pair.session.send(b"a secret that must not be seen")
        await pair.other.receive()
        assert copies
        assert not any(b"secret" in data for data in copies)


async def test_a_sealed_datagram_counts_once_whoever_sends_it_again(tmp_path: Path, stranger: Stranger) -> None:
    async with joined(tmp_path) as pair:
        copies = tap(pair.other)
        pair.session.send(b"pay 100")
        assert await pair.other.receive() == b"pay 100"
        (sealed,) = [data for data in copies if len(data) != LENGTH]
        await stranger.send(sealed, pair.other.inner, 5)
        pair.session.socket().send(sealed, pair.session.peer)
        await asyncio.sleep(0.05)
        await refuses(pair.other)
        assert pair.other._data.dropped == 6
        assert stranger.heard == []


async def test_a_sealed_datagram_with_any_bit_flipped_is_dropped(tmp_path: Path) -> None:
    async with joined(tmp_path) as pair:
        copies = tap(pair.other)
        pair.session.send(b"pay 100")
        await pair.other.receive()
        (sealed,) = [data for data in copies if len(data) != LENGTH]
        for bit in range(len(sealed) * 8):
            altered = bytearray(sealed)
            altered[bit // 8] ^= 1 << bit % 8
            assert pair.other._data._take(pair.other.agent.local, bytes(altered), pair.other.peer)
        assert pair.other._data.dropped == len(sealed) * 8
        await refuses(pair.other)


@pytest.mark.parametrize("sealed", [True, False])
async def test_what_a_stranger_sends_is_dropped_and_not_answered(
    tmp_path: Path, stranger: Stranger, sealed: bool
) -> None:
    async with joined(tmp_path, sealed=sealed, keeps_socket=True) as pair:
        for data in (b"junk", bytes(LENGTH), bytes(1200), b"\x01\x01\x00\x00" + b"\x21\x12\xa4\x42" + bytes(12)):
            await stranger.send(data, pair.other.inner, 10)
        await refuses(pair.other)
        assert stranger.heard == []
        assert pair.other.is_up
        await exchange(pair.session, pair.other)


async def test_a_flood_of_junk_keeps_nothing(tmp_path: Path, stranger: Stranger) -> None:
    async with joined(tmp_path) as pair:
        paths = len(pair.other.agent.checks._paths)
        for _ in range(50):
            await asyncio.sleep(0)
            for number in range(100):
                size = (LENGTH, 20, 1200)[number % 3]
                stranger.socket.send(number.to_bytes(2) * (size // 2), ("127.0.0.1", pair.other.inner[1]))
        await asyncio.sleep(0.1)
        assert len(pair.other.agent.checks._paths) == paths
        assert not pair.other._data.queue
        assert not pair.other._driver._events
        assert stranger.heard == []
        await exchange(pair.session, pair.other)


async def test_a_reader_that_is_slow_loses_the_oldest(tmp_path: Path) -> None:
    async with joined(tmp_path) as pair:
        seal = pair.session._data.seal
        for number in range(MAX_QUEUE + 10):
            pair.other._data._take(pair.other.agent.local, seal(number.to_bytes(4)), pair.other.peer)
        assert len(pair.other._data.queue) == MAX_QUEUE
        assert await pair.other.receive() == (10).to_bytes(4)


async def test_datagrams_may_be_taken_by_a_function_and_again_by_receive(tmp_path: Path) -> None:
    async with joined(tmp_path, sealed=False, keeps_socket=True) as pair:
        taken: list[bytes] = []
        pair.other.attach_forwarder(
            lambda data, segment: taken.extend(
                bytes(data[at : at + segment]) for at in range(0, len(data), segment or 1)
            )
        )
        for number in range(20):
            pair.session.send(b"x" * 100 + bytes([number]))
        async with asyncio.timeout(5):
            while len(taken) < 20:
                await asyncio.sleep(0.01)
        assert sorted(data[-1] for data in taken) == list(range(20))
        pair.other.attach_forwarder(None)
        await exchange(pair.session, pair.other)


async def test_sealed_datagrams_are_opened_before_a_function_gets_them(tmp_path: Path) -> None:
    async with joined(tmp_path) as pair:
        taken: list[bytes] = []
        pair.other.attach_forwarder(lambda data, _segment: taken.append(bytes(data)))
        async with asyncio.timeout(5):
            while len(taken) < 40:
                for _ in range(20):
                    pair.session.send(b"in clear")
                await asyncio.sleep(0.01)
        assert set(taken) == {b"in clear"}


async def test_the_peers_control_packets_are_never_given_to_the_user(tmp_path: Path) -> None:
    async with joined(tmp_path, sealed=False, keeps_socket=True) as pair:
        for _ in range(20):
            pair.session.agent.checks.check(pair.session._driver.now)
            pair.session._driver.wake()
            await asyncio.sleep(0)
        await refuses(pair.other)


# Readiness.


async def test_the_acceptor_is_ready_before_the_inviter(tmp_path: Path) -> None:
    async with joined(tmp_path) as pair:
        order: list[str] = []

        async def wait(session: Session) -> None:
            await session.ready()
            order.append(session.role)

        inviter = asyncio.create_task(wait(pair.session))
        await asyncio.sleep(0.1)
        assert order == []
        assert not pair.session.agent.checks.peer_ready
        await wait(pair.other)
        await inviter
        assert sorted(order) == ["accept", "connect"]
        assert pair.session.agent.checks.peer_ready


async def test_nobody_waits_for_ever_for_a_peer_that_is_never_ready(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("holepunch.session.READY_TIMEOUT", 0.05)
    async with joined(tmp_path) as pair:
        async with asyncio.timeout(5):
            await pair.session.ready()
        assert not pair.session.agent.checks.peer_ready


async def test_waiting_ends_with_the_session(tmp_path: Path) -> None:
    async with joined(tmp_path) as pair:
        waiting = asyncio.create_task(pair.session.ready())
        await asyncio.sleep(0.05)
        await pair.other.close()
        with pytest.raises(HolepunchError):
            await waiting


# Giving the socket away.


async def give_away(pair: Pair) -> tuple[Address, Address]:
    """Both sides hand over; returns their inner endpoints."""
    inner = pair.session.inner, pair.other.inner
    async with asyncio.timeout(10):
        await asyncio.gather(pair.session.hand_over(), pair.other.hand_over())
    return inner


async def test_after_the_hand_over_a_program_can_bind_both_ends_and_talk(tmp_path: Path) -> None:
    async with joined(tmp_path, sealed=False) as pair:
        ours, theirs = await give_away(pair)
        with (
            socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as one,
            socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other,
        ):
            one.bind(ours)
            other.bind(theirs)
            other.settimeout(5)
            one.sendto(b"hello", theirs)
            assert other.recvfrom(100) == (b"hello", ours)
        assert pair.session.peer == theirs
        assert pair.other.peer == ours


async def test_after_the_hand_over_the_session_itself_carries_nothing(tmp_path: Path) -> None:
    async with joined(tmp_path, sealed=False) as pair:
        await give_away(pair)
        assert not pair.session.send(b"x")
        assert pair.session.unsent == 1
        with pytest.raises((EOFError, HolepunchError)):
            await pair.session.receive()
        assert not pair.session._driver.sockets
        assert not pair.other._driver.sockets


async def test_a_socket_can_be_taken_as_it_is(tmp_path: Path) -> None:
    async with joined(tmp_path, sealed=False) as pair:
        inner, port = pair.other.inner, pair.session.inner[1]
        one, other = await asyncio.gather(pair.session.detach(), pair.other.detach())
        with one, other:
            assert one.getsockname()[1] == port
            one.setblocking(True)
            other.settimeout(5)
            one.sendto(b"hello", inner)
            data = b""
            while data != b"hello":  # late packets of the punch may come first
                data = other.recv(2000)


# Moving.


async def test_everybody_who_asked_is_told_of_a_move_and_data_goes_on(tmp_path: Path) -> None:
    async with joined(tmp_path) as pair:
        moves: list[int] = []
        pair.session.on_move.append(lambda session: moves.append(session.inner[1]))
        before = pair.session.inner
        pair.session.agent.repunch(pair.session._driver.now)
        pair.session._driver.wake()
        assert not pair.session.send(b"nowhere")
        async with asyncio.timeout(20):
            while not moves or not pair.other.is_up or not pair.session.is_up:
                await asyncio.sleep(0.01)
        assert pair.session.is_up
        assert len([event for event in pair.alice.events if isinstance(event, PathSelected)]) == 1 + len(moves)
        await exchange(pair.session, pair.other)
        assert before != pair.session.inner or moves


async def test_endpoints_are_not_known_before_there_is_a_path(tmp_path: Path) -> None:
    async with joined(tmp_path) as pair:
        pair.session._endpoints = None
        with pytest.raises(TraversalError, match="no path yet"):
            _ = pair.session.peer


async def test_closing_twice_is_harmless(tmp_path: Path) -> None:
    async with joined(tmp_path) as pair:
        await pair.session.close()
        await pair.session.close()
        await pair.session.closed()
        assert "closed" in repr(pair.session)


async def test_its_name_in_a_log_has_no_secret(tmp_path: Path) -> None:
    async with joined(tmp_path) as pair:
        assert pair.session.secret.hex() not in repr(pair.session)
        assert pair.session.id[:8] in repr(pair.session)
