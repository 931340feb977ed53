"""The loopback pair of `--proxy`: a command that thinks it talks to its peer, and a path that may move.

    command  127.0.0.1:INNER  <-->  127.0.0.1:OURS  proxy  session  <== the selected path ==>  peer

We keep the session's socket, so keepalive, a new punch and the move from relay to direct go on while the
command knows nothing of them.  Datagrams pass unchanged, in runs where the kernel has them
(holepunch.net.udp).

Any user of this machine may send to a loopback port.  The command's datagrams are therefore told by
their source: it must be a socket of this user or of root, and the first one that speaks is the one that
is listened to, until it is gone.
"""

import asyncio
import contextlib
import os
import socket
import sys
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Final, Protocol, Self

from .log import get_logger
from .net.udp import UdpSocket
from .proto.machine import Address

log = get_logger("proxy")

_LOOPBACK: Final = "127.0.0.1"
# Looking a sender up reads a table of all sockets; a local flood must not make us do nothing else.
_LOOK_UP_WINDOW: Final = 0.05  # seconds
_LOOK_UPS_PER_WINDOW: Final = 32
# What the peer says before the command is up is kept for it: a lost first handshake costs some VPNs 5 s.
_EARLY_RUNS: Final = 32
_EARLY_INTERVAL: Final = 0.05  # seconds between looks whether it is up


class ProxySession(Protocol):
    """What the proxy needs of a session."""

    def attach_forwarder(self, forward: Callable[[memoryview, int], None] | None) -> None:
        """Gives the peer's data to `forward` from now on, in runs (data, segment), control packets left out.

        The view is valid during the call only.  None ends it.
        """

    def send_run(self, data: memoryview, segment: int) -> None:
        """Sends a run on the selected path; lost where there is none at the moment."""


class Proxy:
    """Carries datagrams between a command on loopback and a session; from inside a running event loop.

    Args:
        session: the session, which is ready.

    Raises:
        NetworkError: there is no loopback.
    """

    def __init__(self, session: ProxySession) -> None:
        self._session = session
        self._socket = UdpSocket(4, _LOOPBACK)
        self.address: Address = self._socket.address
        """The peer, as the command sees it."""
        self.refused = 0
        """Datagrams on loopback that were not the command's."""
        self._reserved: Address | None = None
        self._command: Address | None = None
        self._early: deque[tuple[bytes, int]] = deque(maxlen=_EARLY_RUNS)
        self._early_timer: asyncio.TimerHandle | None = None
        self._looked_up: set[Address] = set()
        self._window_end = 0.0

    def __enter__(self) -> Self:
        self._socket.start(lambda *_: None, None, self._from_command)
        self._session.attach_forwarder(self._to_command)
        return self

    def __exit__(self, *_: object) -> None:
        self._session.attach_forwarder(None)
        if self._early_timer is not None:
            self._early_timer.cancel()
        self._socket.close()

    def reserve(self) -> Address:
        """Returns a free loopback endpoint for the command to bind: the inner endpoint it is told.

        Whoever binds it first has it; what the owner of the socket decides is whether we talk to it.
        """
        probe = UdpSocket(4, _LOOPBACK)
        self._reserved = probe.address
        probe.close()
        return self._reserved

    def _to_command(self, data: memoryview, segment: int) -> None:
        if self._command is not None:
            self._socket.send_run(data, segment, self._command)
            return
        self._early.append((bytes(data), segment))
        if self._early_timer is None:
            self._try_early()

    def _try_early(self) -> None:
        """Looks whether a command that waits to be spoken to is up: it has bound what it was told to bind."""
        self._early_timer = None
        if self._reserved is None or not self._admit(self._reserved):
            self._early_timer = asyncio.get_running_loop().call_later(_EARLY_INTERVAL, self._try_early)

    def _from_command(self, data: memoryview, segment: int, source: Address) -> bool:
        if source == self._command or (self._may_look_up(source) and self._admit(source)):
            self._session.send_run(data, segment)
        else:
            self.refused += -(-len(data) // segment)
        return True

    def _may_look_up(self, source: Address) -> bool:
        """Limits look-ups: each source once in a window, and so many in all."""
        now = asyncio.get_running_loop().time()
        if now >= self._window_end:
            self._looked_up.clear()
            self._window_end = now + _LOOK_UP_WINDOW
        if source in self._looked_up or len(self._looked_up) >= _LOOK_UPS_PER_WINDOW:
            return False
        self._looked_up.add(source)
        return True

    def _admit(self, endpoint: Address) -> bool:
        """Decides whether an endpoint is the command's, and remembers it."""
        if self._command is not None and owners(self._command[1]) != frozenset():
            return False  # it is still there; without a table of sockets it is taken to be
        uids = owners(endpoint[1])
        # Where the system does not tell owners, only the endpoint that we gave away is believed.
        if endpoint != self._reserved if uids is None else not uids or not uids <= {os.getuid(), 0}:
            if uids:
                log.warning("loopback sender refused", source=endpoint, uids=sorted(uids))
            return False
        self._command = endpoint
        log.debug("command admitted", source=endpoint)
        while self._early:
            self._socket.send_run(*self._early.popleft(), endpoint)
        return True


def owners(port: int) -> frozenset[int] | None:
    """Returns the users whose UDP sockets are bound to a port of loopback, or of any address.

    None where the system does not tell (it is Linux's /proc/net/udp, proc(5)).
    """
    if sys.platform != "linux":
        return None
    uids = set()
    known = False
    for table, hosts in (("udp", _HOSTS_IPV4), ("udp6", _HOSTS_IPV6)):
        with contextlib.suppress(OSError):
            for line in Path(f"/proc/self/net/{table}").read_text(encoding="ascii").splitlines()[1:]:
                fields = line.split()
                host, _, local_port = fields[1].partition(":")
                if int(local_port, 16) == port and host in hosts:
                    uids.add(int(fields[7]))
            known = True
    return frozenset(uids) if known else None


def _kernel_text(family: int, host: str) -> str:
    """Writes an address as /proc/net/udp does: each 32-bit word as a number of this machine, in hex."""
    packed = socket.inet_pton(family, host)
    words = (packed[start : start + 4] for start in range(0, len(packed), 4))
    return "".join(f"{int.from_bytes(word, sys.byteorder):08X}" for word in words)


_HOSTS_IPV4 = {_kernel_text(socket.AF_INET, host) for host in (_LOOPBACK, "0.0.0.0")}
_HOSTS_IPV6 = {_kernel_text(socket.AF_INET6, host) for host in ("::", f"::ffff:{_LOOPBACK}")}
