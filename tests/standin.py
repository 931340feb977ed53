"""A session without a peer to punch to: two real sockets on loopback that know each other."""

import asyncio
import socket
from collections.abc import Callable
from dataclasses import dataclass, field

from holepunch.net.udp import UdpSocket, split_run
from holepunch.proto.machine import Address


@dataclass
class StandInSession:
    """One side; `far` is the other side's socket, for the test to play the peer with."""

    role: str = "connect"
    peer_name: str = "remote"
    id: str = "0123456789abcdef" * 2
    path: str = "direct"
    secret: bytes = bytes(range(32))
    peer_fingerprint: bytes = bytes(range(32))
    outer: Address = ("203.0.113.5", 6000)
    calls: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.near = UdpSocket(4, "127.0.0.1")
        self.far = UdpSocket(4, "127.0.0.1")
        self.inner, self.peer = self.near.address, self.far.address
        self.over = asyncio.Event()
        self.received: asyncio.Queue[bytes] = asyncio.Queue()
        self.far.start(lambda data, _: self.received.put_nowait(data))
        self._forward: Callable[[memoryview, int], None] | None = None

    async def confirmed(self) -> None:
        self.calls.append("confirmed")

    async def ready(self) -> None:
        self.calls.append("ready")

    def announce(self) -> None:
        self.calls.append("announce")

    async def hand_over(self) -> None:
        self.calls.append("hand-over")
        self.near.close()

    async def detach(self) -> socket.socket:
        self.calls.append("detach")
        return self.near.detach()

    async def closed(self) -> None:
        await self.over.wait()

    def attach_forwarder(self, forward: Callable[[memoryview, int], None] | None) -> None:
        self._forward = forward
        if not self.near.is_closed:
            self.near.start(self._on_datagram, None, self._on_run)

    def send_run(self, data: memoryview, segment: int) -> None:
        self.near.send_run(data, segment, self.far.address)

    def move(self) -> None:
        """Changes the socket under the session, as a new punch does."""
        self.near.close()
        self.near = UdpSocket(4, "127.0.0.1")
        self.attach_forwarder(self._forward)

    def say(self, data: bytes) -> None:
        """Sends one datagram as the peer."""
        self.far.send(data, self.near.address)

    def close(self) -> None:
        self.near.close()
        self.far.close()

    def _on_datagram(self, data: bytes, remote: Address) -> None:
        self._on_run(memoryview(data), len(data) or 1, remote)

    def _on_run(self, data: memoryview, segment: int, remote: Address) -> bool:
        if self._forward is not None and remote == self.far.address:
            for part in split_run(data, segment):
                self._forward(part, len(part))
        return True
