"""The hub's connections under uvicorn, with the limits that uvicorn leaves to others.

A stranger can connect and say nothing, send a request one byte a minute, read nothing, or send pings
and never read the pongs.  Each of those holds memory for as long as it likes unless somebody ends it;
here every wait for a stranger has an end.
"""

import asyncio
import contextlib
import socket
from asyncio import TimerHandle, Transport
from collections import Counter
from collections.abc import Sequence
from typing import Any, cast

import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol

from ..log import get_logger
from ..proto.mailbox import MAX_FRAME
from .limits import Limits, network_of

log = get_logger("hub.transport")

LINGER = 5.0  # seconds for a connection that is over to send what it still has
WRITE_BUFFER = 64 * 1024  # bytes waiting for one client before whoever sends has to wait
LOOPBACK = ("127.0.0.1", "::1")  # a reverse proxy on this machine: its X-Forwarded-For is believed


class Config(uvicorn.Config):
    """What uvicorn has to know, and the connections of the whole hub.

    Args:
        app: the ASGI application.
        limits: what is allowed.
        proxies: addresses of reverse proxies beside loopback; they speak for many networks.
        options: more for uvicorn.
    """

    def __init__(self, app: Any, limits: Limits, proxies: Sequence[str] = (), **options: Any) -> None:
        super().__init__(
            app,
            http=GuardedHttp,
            ws=GuardedSocket,
            ws_max_size=MAX_FRAME,
            ws_per_message_deflate=False,  # sealed bodies do not compress, and each window is memory
            ws_ping_interval=20.0,  # a NAT forgets an idle TCP connection after some minutes, a proxy after one
            ws_ping_timeout=20.0,
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=True,
            forwarded_allow_ips=[*LOOPBACK, *proxies],
            timeout_graceful_shutdown=5,
            h11_max_incomplete_event_size=16 * 1024,
            **options,
        )
        self.limits = limits
        self.proxies = frozenset((*LOOPBACK, *proxies))
        self.networks: Counter[bytes] = Counter()


class _Guard:
    """Ends a connection that makes us wait."""

    config: Config
    transport: Transport
    loop: asyncio.AbstractEventLoop
    _timer: TimerHandle | None = None

    def _end_after(self, seconds: float) -> None:
        self._wait_no_more()
        self._timer = self.loop.call_later(seconds, self.transport.abort)

    def _wait_no_more(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


class GuardedHttp(_Guard, H11Protocol):  # type: ignore[misc]  # both declare config: one knows more of it
    """HTTP with an end to every wait, and a limit to how many connections there are."""

    _network: bytes | None = None
    _stuck: TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Counts the connection, or ends it."""
        super().connection_made(cast("Transport", transport))
        self.transport.set_write_buffer_limits(WRITE_BUFFER)
        # asyncio does it only for sockets made with the protocol named; without it an answer that follows a
        # delivery waits for the client's delayed acknowledgement, 40 ms.
        with contextlib.suppress(OSError):
            self.transport.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        host = self.client[0] if self.client else ""
        limits = self.config.limits
        if host not in self.config.proxies:
            self._network = network_of(host)
            self.config.networks[self._network] += 1
        many = self._network is not None and self.config.networks[self._network] > limits.network_connections
        if many or len(self.connections) > limits.connections:
            log.debug("connection refused", connections=len(self.connections))
            self.transport.abort()
        else:
            self._end_after(limits.login_time)

    def connection_lost(self, exc: Exception | None) -> None:
        """Counts it out; for a connection that became a WebSocket, GuardedSocket does."""
        self._wait_no_more()
        self.resume_stuck()
        self.release()
        super().connection_lost(exc)

    def release(self) -> None:
        """Counts the connection out, once."""
        if self._network is not None:
            self.config.networks[self._network] -= 1
            if not self.config.networks[self._network]:
                del self.config.networks[self._network]
            self._network = None

    def data_received(self, data: bytes) -> None:
        """Gives the next request as much time as a login to be whole."""
        super().data_received(data)
        if self.transport.get_protocol() is not self:
            return  # it became a WebSocket
        if self.cycle is not None and not self.cycle.response_complete:
            self._wait_no_more()  # a request is being answered: that has limits of its own
        elif self._timer is None and not self.transport.is_closing():
            self._end_after(self.config.limits.login_time)

    def pause_writing(self) -> None:
        """The client does not read: it has `send_time` to begin."""
        super().pause_writing()
        self._stuck = self.loop.call_later(self.config.limits.send_time, self.transport.abort)

    def resume_writing(self) -> None:
        """It reads again."""
        self.resume_stuck()
        super().resume_writing()

    def resume_stuck(self) -> None:
        """Lets the client read at leisure."""
        if self._stuck is not None:
            self._stuck.cancel()
            self._stuck = None

    def handle_websocket_upgrade(self, event: Any) -> None:
        """Hands the connection over to GuardedSocket; it stays counted until that one is over."""
        self._wait_no_more()
        super().handle_websocket_upgrade(event)
        successor = self.transport.get_protocol()
        if isinstance(successor, GuardedSocket):
            successor.predecessor = self


class GuardedSocket(_Guard, WebSocketsSansIOProtocol):  # type: ignore[misc]
    """A WebSocket that a client cannot make us keep memory for."""

    predecessor: GuardedHttp | None = None

    def pause_writing(self) -> None:
        """The client does not read: it has `send_time` to begin."""
        super().pause_writing()
        self._end_after(self.config.limits.send_time)

    def resume_writing(self) -> None:
        """It reads again."""
        self._wait_no_more()
        super().resume_writing()

    def handle_ping(self) -> None:
        """Answers a ping, unless the earlier pongs were not read: pongs do not wait, so they would pile up."""
        if self.writable.is_set():
            super().handle_ping()
        else:
            self.transport.abort()

    def keepalive_timeout(self) -> None:
        """Ends a connection whose client is gone; what is not sent yet never will be."""
        super().keepalive_timeout()
        self.transport.abort()

    async def run_asgi(self) -> None:
        """Serves the client, and then does not wait for ever for it to close."""
        await super().run_asgi()
        self._end_after(LINGER)

    def connection_lost(self, exc: Exception | None) -> None:
        """Counts the connection out."""
        super().connection_lost(exc)
        self._wait_no_more()
        if self.predecessor is not None:
            self.predecessor.release()
            self.predecessor = None
