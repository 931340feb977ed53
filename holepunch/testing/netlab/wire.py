"""The wire between the laboratory's routers: one small process with a TUN device in each of them.

    python -m holepunch.testing.netlab.wire PREFIX CONTROL-FD

It reads IP packets, routes them by destination, delays, loses, doubles or cuts them as it was told
(holepunch.testing.netlab.segment) and writes them out.  Commands are JSON, one per message, on the
control socket it inherits.  When that socket closes without a goodbye, its laboratory has died: the
wire then removes the laboratory's namespaces, whose names begin with PREFIX, and ends.
"""

import contextlib
import fcntl
import heapq
import ipaddress
import json
import os
import select
import signal
import socket
import struct
import sys
import time
from random import Random
from typing import Any

from ...errors import HolepunchError, NetworkError
from . import namespace
from .conditions import Conditions
from .engine import behaviour_from_dict
from .segment import Port, Segment
from .usernat import UserNat

# linux/if_tun.h
_TUNSETIFF, _IFF_TUN, _IFF_NO_PI = 0x400454CA, 0x0001, 0x1000
_READ_SIZE = 2048  # TUN devices have an MTU of 1500 at most
_BATCH = 64  # packets read from one device before the next has its turn
# About 250 MB of full packets; more than 10 s of what one Python process can carry.
_MAX_IN_FLIGHT = 160_000
_LONGEST_COMMAND = 1 << 16


class Wire:
    """The packets in flight, and the devices they come from and go to."""

    def __init__(self, prefix: str, control: socket.socket) -> None:
        self._prefix = prefix
        self._control = control
        self._random = Random()
        self._segments: dict[str, Segment] = {}
        self._ports: dict[str, tuple[Port, Segment, int]] = {}
        self._by_fd: dict[int, tuple[Port, Segment]] = {}
        self._fd_of: dict[Port, int] = {}
        self._heap: list[tuple[float, int, Port, bytearray]] = []
        self._sequence = 0
        self._overflow = 0

    def run(self) -> None:
        """Carries packets until the laboratory says goodbye or dies."""
        control = self._control.fileno()
        poll = select.select  # not epoll: its timeout is in whole milliseconds
        heap = self._heap
        while True:
            timeout = max(0.0, heap[0][0] - time.monotonic()) if heap else None
            ready = poll([control, *self._by_fd], (), (), timeout)[0]
            for fd in ready:
                if fd == control:
                    if not self._take_command():
                        return
                else:
                    self._read(fd)
            if heap:
                self._write_due()

    def _read(self, fd: int) -> None:
        port, segment = self._by_fd[fd]
        now = time.monotonic()
        for _ in range(_BATCH):
            try:
                packet = bytearray(os.read(fd, _READ_SIZE))
            except BlockingIOError:
                return
            except OSError:
                self._detach(fd)  # its namespace is gone
                return
            if port.nat is not None:
                translated, inwards = port.nat.outgoing(packet, now)
                if translated is None:
                    continue
                if inwards:
                    self._put(fd, port, translated)
                    continue
                packet = translated
            segment.receive(port, packet, now)

    def _detach(self, fd: int) -> None:
        port, segment = self._by_fd.pop(fd)
        segment.detach(port)
        del self._fd_of[port], self._ports[port.name]
        os.close(fd)

    def _write_due(self) -> None:
        heap, pop, fd_of = self._heap, heapq.heappop, self._fd_of
        now = time.monotonic()
        while heap and heap[0][0] <= now:
            _, _, port, packet = pop(heap)
            fd = fd_of.get(port)
            if fd is None:
                continue  # detached meanwhile
            translated = packet if port.nat is None else port.nat.incoming(packet, now)
            if translated is not None:
                self._put(fd, port, translated)

    @staticmethod
    def _put(fd: int, port: Port, packet: bytearray) -> None:
        try:
            os.write(fd, packet)
            port.counts["out"] += 1
        except OSError:
            port.counts["refused"] += 1  # the device is down

    def _schedule(self, due: float, port: Port, packet: bytearray) -> None:
        if len(self._heap) >= _MAX_IN_FLIGHT:
            port.counts["overflow"] += 1
            return
        self._sequence += 1
        heapq.heappush(self._heap, (due, self._sequence, port, packet))

    # Commands

    def _take_command(self) -> bool:
        """Carries out one command and answers; False where the wire shall end."""
        message = self._control.recv(_LONGEST_COMMAND)
        if not message:
            namespace.remove(self._prefix)
            return False
        command = json.loads(message)
        answer: dict[str, Any] = {}
        try:
            answer["result"] = getattr(self, "_do_" + command.pop("do"))(**command)
        except (HolepunchError, OSError) as error:
            answer["error"] = str(error)
        with contextlib.suppress(BrokenPipeError):
            self._control.send(json.dumps(answer).encode())
        return answer.get("result") != "goodbye"

    def _do_goodbye(self) -> str:
        return "goodbye"

    def _do_seed(self, seed: int) -> None:
        self._random.seed(seed)

    def _do_segment(self, name: str, conditions: dict[str, float], hops: list[list[str]]) -> None:
        packed = [(socket.inet_aton(four), socket.inet_pton(socket.AF_INET6, six)) for four, six in hops]
        self._segments[name] = Segment(Conditions.from_dict(conditions), packed, self._schedule, self._random)

    def _do_attach(self, segment: str, port: str, namespace_name: str, device: str, networks: list[str]) -> None:
        """Makes a TUN device in a namespace and attaches it to a segment."""
        with namespace.entered(namespace_name):
            fd = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
            try:
                fcntl.ioctl(fd, _TUNSETIFF, struct.pack("16sH22x", device.encode(), _IFF_TUN | _IFF_NO_PI))
            except OSError:
                os.close(fd)
                raise
        attached = Port(port, [ipaddress.ip_network(network) for network in networks])
        network = self._segments[segment]
        network.attach(attached)
        self._ports[port] = attached, network, fd
        self._by_fd[fd] = attached, network
        self._fd_of[attached] = fd

    def _do_translate(self, port: str, behaviour: dict[str, Any], outer: str, seed: int) -> None:
        """Puts a user-space NAT at a port."""
        self._ports[port][0].nat = UserNat(behaviour_from_dict(behaviour), outer, Random(seed))

    def _nat(self, port: str) -> UserNat:
        nat = self._ports[port][0].nat
        if nat is None:
            raise NetworkError(f"there is no user-space NAT at {port}")
        return nat

    def _do_flush(self, port: str) -> None:
        self._nat(port).flush()

    def _do_flows(self, port: str) -> int:
        return self._nat(port).flows(time.monotonic())

    def _do_conditions(self, name: str, conditions: dict[str, float] | None) -> None:
        """Changes the conditions of a segment, or of a port; None takes a port's own away."""
        if name in self._segments and conditions is not None:
            self._segments[name].conditions = Conditions.from_dict(conditions)
        else:
            self._ports[name][0].conditions = None if conditions is None else Conditions.from_dict(conditions)

    def _do_block(self, port: str, blocked: bool) -> None:
        self._ports[port][0].blocked = blocked

    def _do_counts(self) -> dict[str, dict[str, int]]:
        return {
            name: dict(port.counts + port.nat.counts if port.nat else port.counts)
            for name, (port, _, _) in self._ports.items()
        }

    def _do_inject(self, port: str, packet: str) -> None:
        """Sends a packet, in hexadecimal, to a port as though it came through the core; nobody asks where from."""
        attached, segment, _ = self._ports[port]
        conditions = attached.conditions or segment.conditions
        self._schedule(time.monotonic() + conditions.delay, attached, bytearray.fromhex(packet))


def main() -> None:
    """Runs the wire of one laboratory."""
    prefix, descriptor = sys.argv[1], int(sys.argv[2])
    # Ctrl-C is for the laboratory, which says goodbye when it is done.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with contextlib.suppress(PermissionError):
        os.nice(-10)  # on a busy machine a late wire would look like a slow network
    control = socket.socket(fileno=descriptor)
    Wire(prefix, control).run()


if __name__ == "__main__":
    main()
