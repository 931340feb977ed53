"""The driver with toy machines on loopback: sockets, datagrams, timers, filters and faults."""

import asyncio
from collections import deque
from dataclasses import dataclass, field

import pytest

from holepunch.net.driver import Driver
from holepunch.net.udp import UdpSocket
from holepunch.proto.machine import Address, CloseSocket, IcmpError, OpenSocket, Transmit


@dataclass
class Toy:
    """A machine whose wishes are lists, and whose experiences are events."""

    events: deque[object] = field(default_factory=deque)
    transmits: list[Transmit] = field(default_factory=list)
    deadline: float | None = None

    def socket_opened(self, local: int, address: Address, now: float) -> None:
        self.events.append(("opened", local, address))

    def socket_failed(self, local: int, reason: str, now: float) -> None:
        self.events.append(("failed", local, reason))

    def receive_datagram(self, data: bytes, remote: Address, now: float, local: int = 0) -> None:
        if data == b"raise":
            raise ValueError("a bug in the machine")
        self.events.append(("data", data, remote, local))

    def receive_icmp(self, error: IcmpError, now: float, local: int = 0) -> None:
        self.events.append(("icmp", error, local))

    def handle_timer(self, now: float) -> None:
        if self.deadline is not None and now >= self.deadline:
            self.deadline = None
            self.events.append("timer")

    def datagrams_to_send(self, now: float) -> list[Transmit]:
        out, self.transmits = self.transmits, []
        return out

    def get_timer(self) -> float | None:
        return self.deadline

    def next_event(self) -> object | None:
        return self.events.popleft() if self.events else None


async def opened(driver: Driver) -> Address:
    event = await driver.next_event()
    assert isinstance(event, tuple)
    assert event[0] == "opened"
    return event[2]  # type: ignore[no-any-return]


async def pair() -> tuple[Driver, Toy, Address, Driver, Toy, Address]:
    one, two = Toy(deque([OpenSocket(7, 4, "127.0.0.1")])), Toy(deque([OpenSocket(0, 4, "127.0.0.1")]))
    first, second = Driver(one), Driver(two)
    return first, one, await opened(first), second, two, await opened(second)


async def test_two_machines_talk_through_the_sockets_they_opened() -> None:
    first, one, here, second, two, there = await pair()
    one.transmits.append(Transmit(b"ping", there, 64, 7))
    first.wake()
    assert await second.next_event() == ("data", b"ping", here, 0)
    two.transmits.append(Transmit(b"pong", here))
    second.wake()
    assert await first.next_event() == ("data", b"pong", there, 7)
    first.close()
    second.close()


async def test_the_last_words_of_a_socket_leave_before_it_is_closed() -> None:
    first, one, here, second, _, there = await pair()
    one.transmits.append(Transmit(b"bye", there, None, 7))
    one.events.append(CloseSocket(7))
    first.wake()
    assert await second.next_event() == ("data", b"bye", here, 0)
    assert first.sockets == {}
    one.transmits.append(Transmit(b"too late", there, None, 7))
    one.events.append("done")
    first.wake()
    assert await first.next_event() == "done"
    assert first.unsent == 1
    first.close()
    second.close()


async def test_a_socket_that_cannot_be_opened_is_told_to_the_machine() -> None:
    taken = UdpSocket(4, "127.0.0.1")
    driver = Driver(Toy(deque([OpenSocket(1, 4, *taken.address)])))
    event = await driver.next_event()
    assert isinstance(event, tuple)
    assert event[:2] == ("failed", 1)
    assert str(taken.address[1]) in event[2]
    driver.close()
    taken.close()


async def test_a_deadline_calls_the_machine_once_and_not_early() -> None:
    toy = Toy()
    driver = Driver(toy)
    start = toy.deadline = driver.now + 0.02
    driver.wake()
    assert await driver.next_event() == "timer"
    assert driver.now >= start
    driver.close()


async def test_an_icmp_error_reaches_the_machine() -> None:
    first, one, _, second, _, there = await pair()
    second.close()
    one.transmits.append(Transmit(b"anyone?", there, None, 7))
    first.wake()
    event = await first.next_event()
    assert isinstance(event, tuple)
    assert (event[0], event[1].remote, event[2]) == ("icmp", there, 7)
    first.close()


async def test_a_filter_keeps_what_it_wants_before_the_machine() -> None:
    first, one, here, second, _, there = await pair()
    kept: list[bytes] = []

    def keep(data: bytes, remote: Address) -> bool:
        assert remote == here
        if data.startswith(b"data"):
            kept.append(data)
        return data.startswith(b"data")

    def keep_run(data: memoryview, segment: int, remote: Address) -> bool:
        if segment == 3:
            kept.append(bytes(data))
        return segment == 3

    second.set_filter(0, keep, keep_run)
    # Each is longer than the one before: a shorter one would end its run.
    sent = (b"run", b"data 1", b"control", b"and more data", b"data, and more")
    one.transmits += [Transmit(data, there, None, 7) for data in sent]
    first.wake()
    assert await second.next_event() == ("data", b"control", here, 0)
    assert await second.next_event() == ("data", b"and more data", here, 0)
    second.set_filter(0, None)
    one.transmits.append(Transmit(b"data 3", there, None, 7))
    first.wake()
    assert await second.next_event() == ("data", b"data 3", here, 0)
    assert kept == [b"run", b"data 1", b"data, and more"]
    first.close()
    second.close()


async def test_a_released_socket_stays_open_and_an_adopted_one_works() -> None:
    first, one, here, second, _, there = await pair()
    socket = second.release(0)
    one.transmits.append(Transmit(b"meanwhile", there, None, 7))
    one.events.append("sent")
    first.wake()
    assert await first.next_event() == "sent"
    assert not socket.is_closed
    second.adopt(5, socket)
    assert await second.next_event() == ("opened", 5, there)
    assert await second.next_event() == ("data", b"meanwhile", here, 5)
    first.close()
    second.close()
    assert socket.is_closed


async def test_a_fault_of_the_machine_comes_out_of_next_event() -> None:
    first, one, _, second, _, there = await pair()
    one.transmits.append(Transmit(b"raise", there, None, 7))
    first.wake()
    with pytest.raises(ValueError, match="a bug in the machine"):
        await second.next_event()
    first.close()
    second.close()


async def test_iteration_ends_when_the_driver_is_closed() -> None:
    toy = Toy(deque(["one", "two"]))
    driver = Driver(toy)
    seen = []
    async for event in driver:
        seen.append(event)
        if event == "two":
            asyncio.get_running_loop().call_soon(driver.close)
    assert seen == ["one", "two"]
    driver.close()
    driver.wake()
