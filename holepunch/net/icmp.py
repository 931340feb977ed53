"""ICMP errors of a UDP socket, from the kernel's error queue (Linux, ip(7) and ipv6(7), IP_RECVERR).

An unconnected socket normally hears nothing of them.  With IP_RECVERR each error is queued with its
source, its type and code, and as much of our datagram as came back.  Elsewhere there is no such
queue: `enable` says so, and machines that would profit from ICMP do without.
"""

import socket
import struct
import sys
from typing import Final

from ..proto.machine import Address, IcmpError

# <linux/in.h>, <linux/in6.h>, <linux/errqueue.h>: the socket module has no names for these.
_IP_RECVERR: Final = 11
_IPV6_RECVERR: Final = 25
_MSG_ERRQUEUE: Final = 0x2000
_ORIGIN_ICMP: Final = 2
_ORIGIN_ICMP6: Final = 3
_EXTENDED_ERROR = struct.Struct("=IBBBBII")  # struct sock_extended_err; the offender's sockaddr follows
_CONTROL_SPACE: Final = 512
_DATA_SPACE: Final = 2048  # as much of our own datagram as is worth keeping


def enable(sock: socket.socket, on: bool = True) -> bool:
    """Asks the kernel to queue ICMP errors, or not to any more; returns whether there is such a queue."""
    if sys.platform != "linux":
        return False
    level, option = _option(sock)
    sock.setsockopt(level, option, int(on))
    return True


def _option(sock: socket.socket) -> tuple[int, int]:
    if sock.family == socket.AF_INET6:
        return socket.IPPROTO_IPV6, _IPV6_RECVERR
    return socket.IPPROTO_IP, _IP_RECVERR


def read_errors(sock: socket.socket, limit: int = 64) -> list[IcmpError]:
    """Empties the error queue and clears the socket's pending error.

    Args:
        sock: a non-blocking socket for which `enable` returned True.
        limit: how many to read at most; a flood of errors must not hold the loop.

    Returns:
        The ICMP errors, oldest first.  Errors of local origin are left out: the send call told them.
    """
    errors: list[IcmpError] = []
    for _ in range(limit):
        try:
            data, control, _, destination = sock.recvmsg(_DATA_SPACE, _CONTROL_SPACE, _MSG_ERRQUEUE)
        except OSError:
            break  # EAGAIN: the queue is empty
        for level, option, value in control:
            if (level, option) == _option(sock) and (error := _decode(value, data, destination)) is not None:
                errors.append(error)
    return errors


def _decode(value: bytes, data: bytes, destination: tuple[str, int]) -> IcmpError | None:
    """Reads one control message; None where the error is not ICMP's."""
    if len(value) < _EXTENDED_ERROR.size:
        return None
    _, origin, type_, code, _, _, _ = _EXTENDED_ERROR.unpack_from(value)
    offender = value[_EXTENDED_ERROR.size :]
    if origin == _ORIGIN_ICMP and len(offender) >= 8:
        source = socket.inet_ntop(socket.AF_INET, offender[4:8])
    elif origin == _ORIGIN_ICMP6 and len(offender) >= 24:
        source = socket.inet_ntop(socket.AF_INET6, offender[8:24])
    else:
        return None
    remote: Address = (destination[0], destination[1])
    return IcmpError(source=source, remote=remote, type=type_, code=code, data=data)
