from collections import deque
from dataclasses import dataclass

import pytest

from holepunch.proto.machine import Address, CloseSocket, IcmpError, OpenSocket, Transmit
from holepunch.testing.simnet import Internet, Link, SimDriver

from .probes import ear


@dataclass(frozen=True)
class Note:
    """An event for the application."""

    text: str


class Pinger:
    """A machine that opens sockets, sends on each at given moments, and notes what it is told."""

    def __init__(self, sockets: list[OpenSocket], target: Address, times: list[float], ttl: int | None = None) -> None:
        self.log: list[tuple[float, str]] = []
        self._target = target
        self._times = times
        self._ttl = ttl
        self._open: list[int] = []
        self._out: list[Transmit] = []
        self.events: deque[object] = deque(sockets)

    def socket_opened(self, local: int, address: Address, now: float) -> None:
        self._open.append(local)
        self.log.append((now, f"opened {local} {address[0]} {address[1] != 0}"))

    def socket_failed(self, local: int, reason: str, now: float) -> None:
        self.log.append((now, f"failed {local}"))

    def receive_datagram(self, data: bytes, remote: Address, now: float, local: int = 0) -> None:
        self.log.append((now, f"got {data.decode()} on {local}"))
        self.events.append(Note("got"))

    def receive_icmp(self, error: IcmpError, now: float, local: int = 0) -> None:
        self.log.append((now, f"icmp {error.type} on {local}"))

    def handle_timer(self, now: float) -> None:
        self.log.append((now, "timer"))
        while self._times and self._times[0] <= now:
            self._times.pop(0)
            self._out += [Transmit(f"from {local}".encode(), self._target, self._ttl, local) for local in self._open]

    def datagrams_to_send(self, now: float) -> list[Transmit]:
        out, self._out = self._out, []
        return out

    def get_timer(self) -> float | None:
        return self._times[0] if self._times else None

    def next_event(self) -> object | None:
        return self.events.popleft() if self.events else None


def world() -> tuple[Internet, Address]:
    """A host `here`, and one that echoes 20 ms away."""
    net = Internet()
    net.public("here", link=Link(hops=2))
    there = net.public("there", link=Link(delay=0.01))
    echo = there.open(4, "", 7)
    echo.on_datagram = echo.send
    return net, (there.address, 7)


def test_sockets_open_at_once_timers_fire_in_time_and_answers_come_to_their_socket() -> None:
    net, target = world()
    machine = Pinger([OpenSocket(3, 4), OpenSocket(8, 4)], target, [1.0, 2.5])
    driver = SimDriver(net.hosts["here"], machine)
    net.run()
    assert [text for when, text in machine.log if when == 0] == ["opened 3 0.0.0.0 True", "opened 8 0.0.0.0 True"]
    assert [when for when, text in machine.log if text == "timer"] == [1.0, 2.5]
    assert [(round(when, 3), text) for when, text in machine.log if text.startswith("got")] == [
        (1.02, "got from 3 on 3"),
        (1.02, "got from 8 on 8"),
        (2.52, "got from 3 on 3"),
        (2.52, "got from 8 on 8"),
    ]
    assert driver.take(Note) == [Note("got")] * 4
    assert driver.opened == 2


def test_a_port_that_is_taken_fails_and_the_others_go_on() -> None:
    net, target = world()
    net.hosts["here"].open(4, "", 5000)
    machine = Pinger([OpenSocket(0, 4, port=5000), OpenSocket(1, 6), OpenSocket(2, 4, port=5001)], target, [])
    driver = SimDriver(net.hosts["here"], machine)
    assert [text for _, text in machine.log] == ["failed 0", "failed 1", "opened 2 0.0.0.0 True"]
    assert driver.sockets[2].address == ("0.0.0.0", 5001)


def test_a_closed_socket_is_deaf_and_its_port_is_free() -> None:
    net, target = world()
    machine = Pinger([OpenSocket(0, 4, port=5000)], target, [1.0])
    driver = SimDriver(net.hosts["here"], machine)
    net.run(1.001)
    machine.events.append(CloseSocket(0))
    driver.wake()
    net.run()
    assert not any(text.startswith("got") for _, text in machine.log)
    net.hosts["here"].open(4, "", 5000)


def test_icmp_errors_reach_the_machine_with_the_socket_they_are_for() -> None:
    net, target = world()
    machine = Pinger([OpenSocket(0, 4), OpenSocket(1, 4)], target, [1.0], ttl=1)
    SimDriver(net.hosts["here"], machine)
    net.run()
    assert [text for _, text in machine.log if text.startswith("icmp")] == ["icmp 11 on 0", "icmp 11 on 1"]


def test_a_datagram_for_a_socket_that_is_not_open_is_counted() -> None:
    net, target = world()
    machine = Pinger([OpenSocket(0, 4)], target, [1.0])
    machine.socket_opened(99, ("", 0), 0.0)
    driver = SimDriver(net.hosts["here"], machine)
    net.run()
    assert driver.unsent == 1


def test_a_driver_that_is_closed_does_nothing_more() -> None:
    net, target = world()
    machine = Pinger([OpenSocket(0, 4)], target, [1.0, 2.0])
    driver = SimDriver(net.hosts["here"], machine)
    net.run(1.001)
    driver.close()
    net.run()
    assert [text for _, text in machine.log] == ["opened 0 0.0.0.0 True", "timer"]


def test_a_socket_can_be_taken_out_and_given_to_another_machine() -> None:
    net, target = world()
    first = Pinger([OpenSocket(0, 4, port=5000)], target, [1.0])
    driver = SimDriver(net.hosts["here"], first)
    net.run(1.001)
    second = Pinger([], target, [])
    SimDriver(net.hosts["here"], second).adopt(7, driver.release(0))
    net.run()
    assert [text for _, text in second.log] == ["opened 7 0.0.0.0 True", "got from 0 on 7"]


def test_what_a_machine_raises_comes_out_of_the_run() -> None:
    net, target = world()

    class Broken(Pinger):
        def handle_timer(self, now: float) -> None:
            raise ZeroDivisionError

    SimDriver(net.hosts["here"], Broken([], target, [1.0]))
    with pytest.raises(ZeroDivisionError):
        net.run()


def test_application_events_are_told_as_they_happen() -> None:
    net, target = world()
    seen: list[object] = []
    SimDriver(net.hosts["here"], Pinger([OpenSocket(0, 4)], target, [1.0]), seen.append)
    listener = ear(net.hosts["there"], 8)
    assert not listener.heard
    net.run()
    assert seen == [Note("got")]
