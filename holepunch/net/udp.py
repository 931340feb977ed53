"""One UDP socket on an event loop: a hop limit per datagram, ICMP errors, and runs of datagrams.

The socket that asks STUN is the socket that punches and the one that carries data, so everything
that is ever done with it is here.  It is never connected: a connected socket hears one peer only.
Nothing that the network does raises: a datagram that could not be sent is a datagram lost, and counted.

Where the kernel joins the datagrams of a flow (UDP_GRO) and cuts them apart again (UDP_SEGMENT), a
*run* of them costs as much as one.  A run is `data` and `segment`: datagrams of `segment` bytes one
after another, the last one possibly shorter.
"""

import asyncio
import contextlib
import socket
import struct
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Final, Self

from ..errors import NetworkError
from ..proto.address import format_address
from ..proto.machine import Address, IcmpError
from . import icmp
from .sockaddr import from_sockaddr, to_sockaddr

OnDatagram = Callable[[bytes, Address], None]
OnRun = Callable[[memoryview, int, Address], bool]
"""Takes (data, segment, remote) of a run; True where it used it.  The view is valid during the call only."""
OnIcmp = Callable[[IcmpError], None]

MAX_DATAGRAM: Final = 65535
# A flood must not starve the timers and the other sockets: after so many reads the loop goes round.
READS_PER_WAKE: Final = 64
# UDP_MAX_SEGMENTS of older kernels, and a run must fit the 16-bit length of a UDP header (RFC 768).
MAX_SEGMENTS: Final = 64
MAX_RUN: Final = 65000
# A pending ICMP error makes the next send fail without sending (udp(7)); each try clears one.
_SEND_TRIES: Final = 4

# Who reads runs carries a user's data: 100 Mbit/s for 80 ms, while the loop is elsewhere.
_RUN_RECEIVE_BUFFER: Final = 1 << 20

# <linux/udp.h>: the socket module has no names for these.
_UDP_SEGMENT: Final = 103
_UDP_GRO: Final = 104
_SO_RCVBUFFORCE: Final = 33  # <asm-generic/socket.h>
_INT = struct.Struct("=i")
_U16 = struct.Struct("=H")
_IPV6_HOPLIMIT: Final = 52 if sys.platform == "linux" else getattr(socket, "IPV6_HOPLIMIT", 47)
_CONTROL_SPACE: Final = socket.CMSG_SPACE(4) if hasattr(socket, "CMSG_SPACE") else 0
_TTL_IN_CONTROL: Final = sys.platform == "linux"


@dataclass(slots=True)
class Counters:
    """What a socket has done."""

    sent: int = 0
    send_failures: int = 0
    """Datagrams the system refused to send: no route, a local firewall, a full queue."""
    received: int = 0
    icmp: int = 0


class UdpSocket:
    """A bound, non-blocking UDP socket.

    Args:
        family: 4 or 6; an IPv6 socket carries IPv6 only (RFC 3493, IPV6_V6ONLY).
        host: address to bind; empty for any.  An IPv6 link-local one has its scope (`fe80::1%eth0`).
        port: port to bind; 0 for one that the system chooses.
        receive_buffer: bytes of the kernel's receive queue; 0 for the system's default.

    Raises:
        NetworkError: it cannot be opened or bound.
    """

    def __init__(self, family: int = 4, host: str = "", port: int = 0, *, receive_buffer: int = 0) -> None:
        inet = socket.AF_INET6 if family == 6 else socket.AF_INET
        try:
            sock = socket.socket(inet, socket.SOCK_DGRAM)
        except OSError as error:
            raise NetworkError(f"cannot open a UDP socket for IPv{family}: {error.strerror}") from error
        try:
            if family == 6:
                sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            if receive_buffer:
                _set_receive_buffer(sock, receive_buffer)
            sock.bind(to_sockaddr((host or ("::" if family == 6 else "0.0.0.0"), port)))
        except OSError as error:
            sock.close()
            raise NetworkError(
                f"cannot bind UDP {format_address((host or '*', port))}: {error.strerror or error}",
                hint="Choose another address or port with --bind, or leave it out." if host or port else "",
            ) from error
        self._take(sock)

    @classmethod
    def adopt(cls, sock: socket.socket) -> Self:
        """Wraps a bound UDP socket; it belongs to the result from now on."""
        self = cls.__new__(cls)
        self._take(sock)
        return self

    def _take(self, sock: socket.socket) -> None:
        sock.setblocking(False)
        self._socket = sock
        self.family = 6 if sock.family == socket.AF_INET6 else 4
        """4 or 6."""
        self.address: Address = from_sockaddr(sock.getsockname())
        """What it is bound to; the host is 0.0.0.0 or :: for any."""
        self.counters = Counters()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._on_datagram: OnDatagram | None = None
        self._on_icmp: OnIcmp | None = None
        self._on_run: OnRun | None = None
        self._has_icmp = icmp.enable(sock)
        self._buffer: memoryview | None = None  # where runs are read into
        self._has_gro = False
        self._has_gso = sys.platform == "linux"
        self._uncut: tuple[Address | None, int] = (None, 0)  # a remote, and the segment the kernel would not cut for it
        if sys.platform == "win32":
            _ignore_connection_reset(sock)

    def __repr__(self) -> str:
        return f"<UdpSocket {format_address(self.address)}{' closed' if self.is_closed else ''}>"

    @property
    def is_closed(self) -> bool:
        """Whether it is closed or detached."""
        return self._socket.fileno() < 0

    def fileno(self) -> int:
        """Returns the file descriptor; -1 once closed."""
        return self._socket.fileno()

    # Sending -----------------------------------------------------------------------------------

    def send(self, data: bytes | memoryview, remote: Address, ttl: int | None = None) -> bool:
        """Sends one datagram; returns whether the system took it.

        Args:
            data: 0 to 65507 bytes.
            remote: an address of the socket's family.
            ttl: IP hop limit of this datagram, 1-255; None for the socket's default.
        """
        try:
            target = to_sockaddr(remote)
        except OSError:  # the interface that its scope names is gone
            self.counters.send_failures += 1
            return False
        for _ in range(_SEND_TRIES):
            try:
                if ttl is None:
                    self._socket.sendto(data, target)
                else:
                    self._send_with_ttl(data, target, ttl)
            except OSError:
                # Either an ICMP error that answers an earlier datagram was pending, and this one was not
                # tried: then it is worth another try.  Or the system refuses this one: no route (ENETUNREACH),
                # a local firewall (EPERM), a full queue (ENOBUFS, EAGAIN); a sender of UDP lives with that.
                if not self._read_errors():
                    break
            else:
                self.counters.sent += 1
                return True
        self.counters.send_failures += 1
        return False

    def _send_with_ttl(self, data: bytes | memoryview, target: tuple[str | int, ...], ttl: int) -> None:
        level, option, default = socket.IPPROTO_IP, socket.IP_TTL, socket.IP_TTL
        if self.family == 6:
            level, option, default = socket.IPPROTO_IPV6, _IPV6_HOPLIMIT, socket.IPV6_UNICAST_HOPS
        if _TTL_IN_CONTROL:
            self._socket.sendmsg((data,), ((level, option, _INT.pack(ttl)),), 0, target)
            return
        # Set, send and set back: nothing else can send on this socket between, there is one thread.
        before = self._socket.getsockopt(level, default)
        self._socket.setsockopt(level, default, ttl)
        try:
            self._socket.sendto(data, target)
        finally:
            self._socket.setsockopt(level, default, before)

    def send_run(self, data: bytes | memoryview, segment: int, remote: Address) -> bool:
        """Sends a run: datagrams of `segment` bytes, one after another, the last possibly shorter.

        Returns:
            Whether the system took all of it.
        """
        view = memoryview(data)
        if len(view) <= segment or segment <= 0:
            return self.send(view, remote)
        step = segment * min(MAX_SEGMENTS, max(1, MAX_RUN // segment))
        before = self.counters.send_failures
        for start in range(0, len(view), step):
            part = view[start : start + step]
            if not self._send_cut_by_kernel(part, segment, remote):
                for datagram in split_run(part, segment):
                    self.send(datagram, remote)
        return self.counters.send_failures == before

    def _send_cut_by_kernel(self, part: memoryview, segment: int, remote: Address) -> bool:
        """Sends a run in one call; False where the kernel does not take it so."""
        if not self._has_gso or len(part) <= segment or (remote == self._uncut[0] and segment >= self._uncut[1]):
            return False
        control = ((socket.IPPROTO_UDP, _UDP_SEGMENT, _U16.pack(segment)),)
        for _ in range(_SEND_TRIES):
            try:
                self._socket.sendmsg((part,), control, 0, to_sockaddr(remote))
            except BlockingIOError:
                return False  # the queue is full; a datagram or two may still fit
            except OSError:
                if not self._read_errors():
                    # Too large a segment for the path (EINVAL), a device without checksums (EIO), an old kernel:
                    # one by one they are fragmented, or refused, as any datagram.
                    self._uncut = (remote, segment)
                    return False
            else:
                self.counters.sent += -(-len(part) // segment)
                return True
        return False

    # Receiving ---------------------------------------------------------------------------------

    def start(self, on_datagram: OnDatagram, on_icmp: OnIcmp | None = None, on_run: OnRun | None = None) -> None:
        """Gives what arrives to callbacks on the running loop, until stop() or close().

        Called again, it replaces the callbacks; nothing in the kernel's queue is lost.

        Args:
            on_datagram: called with (data, remote) for each datagram.
            on_icmp: called with each ICMP error that answers a datagram of ours.
            on_run: offered runs first; what it does not use is cut apart for on_datagram.  A run is what the kernel
                has joined and what had arrived when we looked.  Without it the kernel is not asked to join.
        """
        self._on_datagram, self._on_icmp, self._on_run = on_datagram, on_icmp, on_run
        if on_run is not None and self._buffer is None:
            self._buffer = memoryview(bytearray(2 * (MAX_DATAGRAM + 1)))  # a run, and room for one more datagram
            _set_receive_buffer(self._socket, _RUN_RECEIVE_BUFFER)
            if sys.platform == "linux":
                with contextlib.suppress(OSError):  # a kernel before 5.0: datagrams come singly
                    self._socket.setsockopt(socket.IPPROTO_UDP, _UDP_GRO, 1)
                    self._has_gro = True
        if self._loop is None:
            self._loop = asyncio.get_running_loop()
            self._loop.add_reader(self._socket.fileno(), self._read)

    def stop(self) -> None:
        """Stops giving; what arrives waits in the kernel's queue.  Harmless twice."""
        if self._loop is not None:
            self._loop.remove_reader(self._socket.fileno())
            self._loop = None
        self._on_datagram = self._on_icmp = self._on_run = None

    def _read(self) -> None:
        """Called by the loop: something arrived, or an error is pending."""
        if self._buffer is not None:
            self._read_runs(self._buffer)
            return
        for count in range(READS_PER_WAKE):
            # A callback may have stopped, closed or handed over the socket.
            if self._on_datagram is None:
                return
            try:
                data, source = self._socket.recvfrom(MAX_DATAGRAM)
            except BlockingIOError:
                if count == 0:
                    self._read_errors()  # woken by the error queue
                return
            except OSError:
                self._read_errors()
                continue
            self.counters.received += 1
            self._on_datagram(data, from_sockaddr(source))

    def _read_runs(self, buffer: memoryview) -> None:
        """Reads what has arrived, joins what is of one size and source, and gives it away in runs."""
        end = size = 0  # the run is buffer[:end], in segments of `size`
        source: Any = None
        for count in range(READS_PER_WAKE):
            try:
                length, segment, sender = self._receive_into(buffer[end:])
            except BlockingIOError:
                if count == 0:
                    self._read_errors()
                break
            except OSError:
                self._read_errors()
                continue
            # Segments of one size follow each other, and one shorter datagram, not an empty one, may end the run.
            joins = sender == source and length and 0 < end <= MAX_RUN - length and end % size == 0
            if joins and segment <= size and segment in (size, length) and end + length <= MAX_SEGMENTS * size:
                end += length
                continue
            if source is not None:
                late = bytes(buffer[end : end + length])
                self._give(buffer[:end], size, source)
                if self._on_datagram is None:  # a callback has stopped or closed us
                    return
                buffer[:length] = late
            end, size, source = length, segment, sender
        if source is not None:
            self._give(buffer[:end], size, source)

    def _receive_into(self, space: memoryview) -> tuple[int, int, Any]:
        """Reads what the kernel gives in one call: length, segment (1 at least), and the sender's sockaddr."""
        if not self._has_gro:
            length, sender = self._socket.recvfrom_into(space)
            self.counters.received += 1
            return length, length or 1, sender
        length, control, _, sender = self._socket.recvmsg_into((space,), _CONTROL_SPACE)
        segment = int.from_bytes(control[0][2], sys.byteorder) if control else 0
        self.counters.received += -(-length // segment) if segment else 1
        return length, segment or length or 1, sender

    def _give(self, run: memoryview, segment: int, source: Any) -> None:
        if self._on_datagram is None:
            return
        remote = from_sockaddr(source)
        if self._on_run is not None and self._on_run(run, segment, remote):
            return
        # Cut before the first callback: it may close the socket.
        for data in [bytes(part) for part in split_run(run, segment)]:
            if self._on_datagram is not None:
                self._on_datagram(data, remote)

    def _read_errors(self) -> bool:
        """Empties the error queue; returns whether there was anything in it."""
        if not self._has_icmp or self.is_closed:
            return False
        errors = icmp.read_errors(self._socket)
        self.counters.icmp += len(errors)
        for error in errors:
            if self._on_icmp is not None:
                self._on_icmp(error)
        return bool(errors)

    # Leaving -----------------------------------------------------------------------------------

    def detach(self) -> socket.socket:
        """Gives the socket away, still open and bound; this object is closed from now on.

        It is an ordinary socket again: ICMP errors do not fail its calls.
        Give no socket away that was read in runs: UDP_GRO is off again, but what the kernel has joined stays so.
        """
        self.stop()
        if self._has_gro:
            self._socket.setsockopt(socket.IPPROTO_UDP, _UDP_GRO, 0)
        if self._has_icmp:
            icmp.enable(self._socket, False)
        return socket.socket(fileno=self._socket.detach())

    def close(self) -> None:
        """Closes the socket; harmless twice."""
        self.stop()
        self._socket.close()


def split_run(data: memoryview, segment: int) -> Iterator[memoryview]:
    """Cuts a run into its datagrams; an empty datagram is a run of one."""
    if len(data) <= segment or segment <= 0:
        yield data
        return
    for start in range(0, len(data), segment):
        yield data[start : start + segment]


def _set_receive_buffer(sock: socket.socket, size: int) -> None:
    if sys.platform == "linux":
        with contextlib.suppress(OSError):
            sock.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, size)  # past net.core.rmem_max, where we may
            return
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, size)


def _ignore_connection_reset(sock: socket.socket) -> None:
    """Windows: an ICMP port unreachable must not make the next receive fail (SIO_UDP_CONNRESET off)."""
    if sys.platform == "win32":
        import ctypes  # noqa: PLC0415 - Windows only, and slow to import

        off, returned = ctypes.c_uint32(0), ctypes.c_uint32(0)
        handle, size = ctypes.c_size_t(sock.fileno()), ctypes.sizeof(off)
        arguments = (handle, 0x9800000C, ctypes.byref(off), size, None, 0, ctypes.byref(returned), None, None)
        ctypes.windll.ws2_32.WSAIoctl(*arguments)
