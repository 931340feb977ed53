"""Runs a SocketMachine on a simulated host, as holepunch.net.driver runs it on a real one."""

from collections import deque
from collections.abc import Callable

from ...errors import NetworkError
from ...proto.machine import Address, CloseSocket, IcmpError, OpenSocket, SocketMachine
from .clock import Clock
from .host import Host, SimSocket

# A machine that goes on asking in one breath is at fault; 256 sockets are the most an honest one opens.
_ROUNDS_PER_WAKE = 1024

Filter = Callable[[int, bytes, Address], bool]
"""Takes (local, data, remote); True where it kept the datagram."""


class SimDriver:
    """Drives one machine in virtual time.

    Opens and closes sockets as the machine asks, gives it datagrams and ICMP errors, sends what it
    wants sent, and calls it when its deadline passes.  Whoever feeds the machine by hand calls
    `wake()` after.  Exceptions of the machine come out of Internet.run.
    """

    def __init__(self, host: Host, machine: SocketMachine, on_event: Callable[[object], None] | None = None) -> None:
        """Begins at once: what the machine already wants is done before this returns.

        Args:
            host: where its sockets are.
            machine: what to drive.
            on_event: told every event that is for the application; they are kept in `events` as well.
        """
        self.host = host
        self.machine = machine
        self.sockets: dict[int, SimSocket] = {}
        """The machine's open sockets by its own number."""
        self.filter: Filter | None = None
        """Sees datagrams before the machine does, and may keep them."""
        self.events: deque[object] = deque()
        """The machine's events, except OpenSocket and CloseSocket, oldest first."""
        self.unsent = 0
        """Datagrams for a socket that is not open."""
        self.opened = 0
        """Sockets ever opened."""
        self._clock: Clock = host.clock
        self._on_event = on_event
        self._armed: float | None = None
        self._closed = False
        self._busy = False
        self.wake()

    def wake(self) -> None:
        """Carries out everything the machine wants now, and sets the timer for what it wants later."""
        if self._closed or self._busy:
            return
        self._busy = True
        try:
            for _ in range(_ROUNDS_PER_WAKE):
                # Datagrams before events: the last words of a socket leave before it is closed.
                sent, acted = self._send(), self._take_events()
                if not sent and not acted:
                    break
        finally:
            self._busy = False
        self._set_timer()

    def take(self, kind: type) -> list[object]:
        """Returns the events of one class seen so far, oldest first; they stay."""
        return [event for event in self.events if isinstance(event, kind)]

    def adopt(self, local: int, socket: SimSocket) -> None:
        """Gives the machine an open socket as its number `local`."""
        self._listen(local, socket)
        self.machine.socket_opened(local, socket.address, self._clock.now)
        self.wake()

    def release(self, local: int) -> SimSocket:
        """Takes a socket out without closing it.

        Raises:
            KeyError: there is no such socket.
        """
        return self.sockets.pop(local)

    def close(self) -> None:
        """Closes every socket and stops; harmless twice."""
        self._closed = True
        for local in list(self.sockets):
            self.release(local).close()

    def _send(self) -> bool:
        transmits = self.machine.datagrams_to_send(self._clock.now)
        for data, remote, ttl, local in transmits:
            socket = self.sockets.get(local)
            if socket is None:
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
                self.events.append(event)
                if self._on_event is not None:
                    self._on_event(event)
        return taken

    def _open(self, event: OpenSocket) -> None:
        try:
            socket = self.host.open(event.family, event.host, event.port)
        except NetworkError as error:
            self.machine.socket_failed(event.local, str(error), self._clock.now)
            return
        self._listen(event.local, socket)
        self.machine.socket_opened(event.local, socket.address, self._clock.now)

    def _listen(self, local: int, socket: SimSocket) -> None:
        self.sockets[local] = socket
        self.opened += 1
        machine, clock = self.machine, self._clock

        def on_datagram(data: bytes, remote: Address) -> None:
            if self._closed or self.sockets.get(local) is not socket:
                return
            if self.filter is None or not self.filter(local, data, remote):
                machine.receive_datagram(data, remote, clock.now, local)
                self.wake()

        def on_icmp(error: IcmpError) -> None:
            if not self._closed and self.sockets.get(local) is socket:
                machine.receive_icmp(error, clock.now, local)
                self.wake()

        socket.on_datagram, socket.on_icmp = on_datagram, on_icmp

    def _set_timer(self) -> None:
        """Arms the timer; one that comes too early only looks again, so a later deadline costs nothing."""
        deadline = self.machine.get_timer()
        if deadline is None or (self._armed is not None and self._armed <= deadline):
            return
        self._armed = max(deadline, self._clock.now)
        self._clock.call_at(self._armed, self._on_timer)

    def _on_timer(self) -> None:
        now = self._clock.now
        if self._closed or self._armed is None or now < self._armed:
            return  # superseded by an earlier one
        self._armed = None
        deadline = self.machine.get_timer()
        if deadline is not None and deadline <= now:
            self.machine.handle_timer(now)
            self.wake()
        else:
            self._set_timer()
