"""Runs a machine on real sockets and a real clock: the one place where they meet.

    driver = Driver(machine)
    async for event in driver:      # the machine's events, except OpenSocket and CloseSocket
        ...

The driver opens and closes sockets as the machine asks, gives it what arrives, sends what it wants
sent, and calls it when its deadline passes.  Whoever feeds the machine by hand (an offer arrived)
calls `wake()` after.

A socket's *filter* sees datagrams before the machine does, and may keep them: that is how the
data of a session passes the punching machine by.
"""

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Self

from ..errors import NetworkError
from ..log import get_logger
from ..proto.machine import Address, CloseSocket, IcmpError, OpenSocket, SocketMachine
from .udp import OnRun, UdpSocket

log = get_logger("driver")

Filter = Callable[[bytes, Address], bool]
"""Takes (data, remote); True where it kept the datagram."""

# A machine that goes on asking for sockets in one breath is at fault; 256 are opened by the largest honest one.
_ROUNDS_PER_WAKE = 1024


class Driver:
    """Drives one machine, from inside a running event loop.

    Args:
        machine: what to drive.
        loop: the running loop, where the caller has it at hand.
    """

    def __init__(self, machine: SocketMachine, *, loop: asyncio.AbstractEventLoop | None = None) -> None:
        self.machine = machine
        self.sockets: dict[int, UdpSocket] = {}
        """The machine's open sockets by its own number."""
        self._loop = loop or asyncio.get_running_loop()
        self._filters: dict[int, tuple[Filter | None, OnRun | None]] = {}
        self._events: deque[object] = deque()
        self._arrival = asyncio.Event()
        self._timer: asyncio.TimerHandle | None = None
        self._pending: asyncio.Handle | None = None
        self._failure: BaseException | None = None
        self._closed = False
        self.unsent = 0
        """Datagrams for a socket that is not open."""
        self.wake()

    @property
    def now(self) -> float:
        """The machine's clock: the loop's, in seconds."""
        return self._loop.time()

    # For the owner -----------------------------------------------------------------------------

    def wake(self) -> None:
        """Says that the machine may have something to do; done when the loop comes round."""
        if self._pending is None and not self._closed:
            self._pending = self._loop.call_soon(self._run)

    async def next_event(self) -> object:
        """Waits for the machine's next event.

        Raises:
            EOFError: the driver is closed and every event has been taken.
            Exception: whatever the machine raised; it is not driven any more.
        """
        while not self._events:
            if self._failure is not None:
                raise self._failure
            if self._closed:
                raise EOFError("the driver is closed")
            self._arrival.clear()
            await self._arrival.wait()
        return self._events.popleft()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> object:
        try:
            return await self.next_event()
        except EOFError:
            raise StopAsyncIteration from None

    def adopt(self, local: int, socket: UdpSocket) -> None:
        """Gives the machine an open socket as its number `local`."""
        self.sockets[local] = socket
        self._listen(local)
        self._guarded(self.machine.socket_opened, local, socket.address, self.now)

    def release(self, local: int) -> UdpSocket:
        """Takes a socket out without closing it; what arrives waits in the kernel's queue.

        Raises:
            KeyError: there is no such socket.
        """
        socket = self.sockets.pop(local)
        self._filters.pop(local, None)
        socket.stop()
        return socket

    def set_filter(self, local: int, keep: Filter | None, keep_run: OnRun | None = None) -> None:
        """Puts a filter before the machine on one socket, or takes it away.

        Args:
            local: the machine's number of the socket.
            keep: sees each datagram that keep_run did not use.
            keep_run: sees runs (holepunch.net.udp) first; given one, the kernel is asked to join datagrams.
        """
        self._filters[local] = (keep, keep_run)
        if local in self.sockets:
            self._listen(local)

    def close(self) -> None:
        """Closes every socket and stops; harmless twice."""
        self._closed = True
        for handle in (self._timer, self._pending):
            if handle is not None:
                handle.cancel()
        for local in list(self.sockets):
            self.release(local).close()
        self._arrival.set()

    # Between the machine and the world ----------------------------------------------------------

    def _listen(self, local: int) -> None:
        keep, keep_run = self._filters.get(local, (None, None))

        def on_datagram(data: bytes, remote: Address) -> None:
            if keep is None or not keep(data, remote):
                self._guarded(self.machine.receive_datagram, data, remote, self.now, local)

        def on_icmp(error: IcmpError) -> None:
            self._guarded(self.machine.receive_icmp, error, self.now, local)

        self.sockets[local].start(on_datagram, on_icmp, keep_run)

    def _guarded(self, call: Callable[..., None], *arguments: object) -> None:
        """Calls into the machine, and sees to what it wants afterwards.

        What it raises is for next_event: raised here, the loop would log it and go on.
        """
        if self._failure is not None or self._closed:
            return
        try:
            call(*arguments)
        except Exception as error:  # noqa: BLE001 - it is raised again, by next_event
            self._fail(error)
        else:
            self.wake()

    def _fail(self, error: Exception) -> None:
        self._failure = error
        self._arrival.set()

    def _run(self) -> None:
        """Carries out everything the machine wants now, and sets the timer for what it wants later."""
        self._pending = None
        if self._failure is not None or self._closed:
            return
        try:
            for _ in range(_ROUNDS_PER_WAKE):
                # Datagrams before events: the last words of a socket leave before it is closed.
                sent, acted = self._send(), self._take_events()
                if not sent and not acted:
                    break
            self._set_timer()
        except Exception as error:  # noqa: BLE001 - it is raised again, by next_event
            self._fail(error)

    def _send(self) -> bool:
        transmits = self.machine.datagrams_to_send(self.now)
        for data, remote, ttl, local in transmits:
            if (socket := self.sockets.get(local)) is None:
                self.unsent += 1
            else:
                socket.send(data, remote, ttl)
        return bool(transmits)

    def _take_events(self) -> bool:
        taken = False
        while (event := self.machine.next_event()) is not None:
            taken = True
            if isinstance(event, OpenSocket):
                self._open(event)
            elif isinstance(event, CloseSocket):
                if event.local in self.sockets:
                    self.release(event.local).close()
            else:
                self._events.append(event)
                self._arrival.set()
        return taken

    def _open(self, event: OpenSocket) -> None:
        try:
            socket = UdpSocket(event.family, event.host, event.port)
        except NetworkError as error:
            log.debug("socket not opened", local=event.local, family=event.family, reason=error)
            self.machine.socket_failed(event.local, str(error), self.now)
            return
        self.sockets[event.local] = socket
        self._listen(event.local)
        self.machine.socket_opened(event.local, socket.address, self.now)

    def _set_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        deadline = self.machine.get_timer()
        self._timer = None if deadline is None else self._loop.call_at(deadline, self._on_timer)

    def _on_timer(self) -> None:
        self._timer = None
        self._guarded(self.machine.handle_timer, self.now)
