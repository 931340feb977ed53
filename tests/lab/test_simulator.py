"""The simulated Linux router does what the kernel's does: one script, played to both, gives one protocol.

The script is about what is least known of Linux masquerade: what a packet that comes too early costs
("clash"), which later destinations share the moved port, port overloading, and a TTL that ends at the NAT.
"""

import socket
import subprocess
from collections.abc import Callable, Iterator
from typing import Protocol

import pytest

from holepunch.proto.machine import Address
from holepunch.testing.simnet import LINUX, SimSocket, Unsolicited
from tests.net.namespaces import inside, ip, link, namespaces
from tests.testing.simnet.probes import Ear, bench, ear

RULES = "table ip nat {\n chain post {\n type nat hook postrouting priority 100\n oifname != lo masquerade\n }\n}\n"
PORTS = (3478, 3479)
WAIT = 0.3  # seconds that an answer on a cable may take


class Stage(Protocol):
    """A NAT with two hosts inside, 0 and 1, and four observers outside: two ports on each of two addresses."""

    outer: str

    def open(self, host: int, port: int) -> object:
        """Opens a socket inside."""

    def seen(self, source: object, observer: int, ttl: int = 64) -> Address | None:
        """Sends from inside to an observer; returns whom it heard."""

    def passes(self, observer: int, target: Address, source: object) -> bool:
        """Sends from an observer to an outer endpoint; tells whether a socket inside heard it."""


def play(stage: Stage) -> list[object]:
    """Plays the script; what depends on luck (which port, rather than whether another one) is left out."""
    log: list[object] = []
    source = stage.open(0, 5000)
    outer = (stage.outer, 5000)
    log += [stage.seen(source, 0) == outer, stage.passes(2, outer, source)]
    moved = stage.seen(source, 2)
    assert moved is not None
    log += [moved == outer, stage.seen(source, 3) == moved, stage.seen(source, 1) == moved]
    log += [stage.seen(source, 0) == outer]
    log += [stage.passes(2, moved, source), stage.passes(2, outer, source)]
    log += [stage.passes(3, outer, source), stage.passes(3, moved, source)]

    first, second = stage.open(0, 6000), stage.open(1, 6000)
    shared = (stage.outer, 6000)
    log += [stage.seen(first, 0) == shared, stage.seen(second, 1) == shared]
    other = stage.seen(second, 0)
    log += [other == shared, stage.seen(second, 2) == other, stage.seen(first, 2) == shared]

    short = stage.open(0, 7000)
    log += [stage.seen(short, 0, 1), stage.passes(0, (stage.outer, 7000), short)]

    unmapped = stage.open(0, 8000)
    log += [stage.passes(2, (stage.outer, 8000), unmapped)]
    away = stage.seen(unmapped, 2)
    log += [away == (stage.outer, 8000), stage.seen(unmapped, 0) == away]
    return log


class Kernel:
    """The script's stage on namespaces."""

    outer = "45.0.0.1"

    def __init__(self, names: list[str]) -> None:
        self._hosts, self._outside = names[:2], names[2]
        self._sockets: list[socket.socket] = []
        self._observers = [self._bind(self._outside, host, port) for host in ("45.0.0.2", "45.0.0.3") for port in PORTS]

    def _bind(self, namespace: str, host: str, port: int) -> socket.socket:
        made = inside(namespace, lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
        made.bind((host, port))
        made.settimeout(WAIT)
        self._sockets.append(made)
        return made

    def open(self, host: int, port: int) -> object:
        return self._bind(self._hosts[host], f"192.168.{host + 1}.10", port)

    def seen(self, source: object, observer: int, ttl: int = 64) -> Address | None:
        assert isinstance(source, socket.socket)
        source.setsockopt(socket.IPPROTO_IP, socket.IP_TTL, ttl)
        source.sendto(b"who am I", self._observers[observer].getsockname())
        heard = self._hear(self._observers[observer])
        return heard and (heard[0], heard[1])

    def passes(self, observer: int, target: Address, source: object) -> bool:
        assert isinstance(source, socket.socket)
        self._observers[observer].sendto(b"knock", target)
        return self._hear(source) is not None

    def _hear(self, listener: socket.socket) -> Address | None:
        try:
            _, (host, port) = listener.recvfrom(100)
        except TimeoutError:
            return None
        return host, port

    def close(self) -> None:
        for each in self._sockets:
            each.close()


class Simulated:
    """The script's stage in the simulator."""

    def __init__(self) -> None:
        self._bench = bench(LINUX.but(unsolicited=Unsolicited.CLASH))
        self.outer = self._bench.nat.outer.hosts[0]
        second = self._bench.net.host("second", self._bench.nat.inside, "192.168.1.11")
        self._hosts = [self._bench.inside, second]

    def open(self, host: int, port: int) -> object:
        return ear(self._hosts[host], port)

    def seen(self, source: object, observer: int, ttl: int = 64) -> Address | None:
        assert isinstance(source, Ear)
        listener, plain = self._bench.observers[observer], source.socket
        assert isinstance(plain, SimSocket)
        before = len(listener.heard)
        plain.send(b"who am I", listener.address, ttl)
        self._bench.net.run(WAIT)
        return listener.last if len(listener.heard) > before else None

    def passes(self, observer: int, target: Address, source: object) -> bool:
        assert isinstance(source, Ear)
        return self._bench.passes(observer, target, source)


@pytest.fixture
def kernel() -> Iterator[Kernel]:
    """Two LANs, a Linux router whose INPUT accepts, and an outside with two addresses."""
    with namespaces("one", "two", "out", "nat") as names:
        one, two, out, nat = names
        link(one, "192.168.1.10/24", nat, "192.168.1.1/24")
        link(two, "192.168.2.10/24", nat, "192.168.2.1/24")
        link(out, "45.0.0.2/24,45.0.0.3/24", nat, "45.0.0.1/24")
        ip("-n", one, "route", "add", "default", "via", "192.168.1.1")
        ip("-n", two, "route", "add", "default", "via", "192.168.2.1")
        run: Callable[..., object] = subprocess.run
        run(["ip", "netns", "exec", nat, "sysctl", "-qw", "net.ipv4.ip_forward=1"], check=True)
        run(["ip", "netns", "exec", nat, "nft", "-f", "-"], input=RULES, text=True, check=True)
        stage = Kernel(names)
        yield stage
        stage.close()


@pytest.mark.lab
def test_the_simulated_linux_router_does_what_the_kernel_does(kernel: Kernel) -> None:
    assert play(Simulated()) == play(kernel)
