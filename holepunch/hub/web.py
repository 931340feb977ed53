"""The hub's web service: the mailboxes under uvicorn, in the process's own event loop."""

import asyncio
import contextlib
import errno
import socket
import ssl
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import uvicorn

from ..errors import ConfigurationError
from ..log import get_logger
from ..proto.address import format_address, is_ipv6
from ..proto.machine import Address
from .app import make_app
from .limits import Limits
from .mailboxes import Mailboxes
from .store import Store
from .transport import Config

log = get_logger("hub.web")

BACKLOG = 1024  # connections that wait to be accepted: a restart brings every client back at once


@dataclass(frozen=True, slots=True, kw_only=True)
class WebOptions:
    """Where the web service listens and what it keeps."""

    listen: Address
    """`::` stands for every address of both families."""
    state: str
    """A file for SQLite, or an SQLAlchemy URL."""
    tls_cert: str = ""
    """File with the certificate chain, PEM; empty: plain HTTP, for a reverse proxy that speaks TLS."""
    tls_key: str = ""
    names: frozenset[str] = frozenset()
    """What clients call this hub (`host` or `host:port`); a login for another name is refused."""
    proxies: Sequence[str] = ()
    """Reverse proxies whose X-Forwarded-For is believed, beside loopback."""
    limits: Limits = field(default_factory=Limits)


class WebService:
    """Mailboxes over HTTP and WebSocket."""

    def __init__(self, options: WebOptions) -> None:
        self._options = options
        self._mailboxes: Mailboxes | None = None
        self._server: _Server | None = None
        self._tasks: list[asyncio.Task[None]] = []

    async def start(self) -> list[str]:
        """Opens the store and the socket; returns the URLs."""
        options = self._options
        listeners = _listen(options.listen)
        try:
            store = await asyncio.to_thread(Store, options.state, options.limits)
            mailboxes = Mailboxes(store, options.limits, names=options.names)
            self._mailboxes = mailboxes
            config = Config(
                make_app(mailboxes),
                options.limits,
                options.proxies,
                ssl_certfile=options.tls_cert or None,
                ssl_keyfile=options.tls_key or None,
            )
            with _tls_errors(options):
                config.load()
        except BaseException:
            for listener in listeners:
                listener.close()
            raise
        _allow_open_files(options.limits.connections + 128)
        self._server = _Server(config)
        serving = asyncio.create_task(self._server.serve(sockets=listeners))
        self._tasks = [serving, asyncio.create_task(mailboxes.run())]
        ready = asyncio.create_task(self._server.ready.wait())
        await asyncio.wait([serving, ready], return_when=asyncio.FIRST_COMPLETED)
        if serving.done():
            serving.result()
        scheme = "https" if options.tls_cert else "http"
        return [f"{scheme}://{format_address(listener.getsockname()[:2])}" for listener in listeners]

    async def failed(self) -> None:
        """Raises what ended the server or the expiry."""
        done, _ = await asyncio.wait(self._tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()

    def reload(self) -> None:
        """Reads the certificate again: connections that come from now on get the renewed one."""
        if self._server is not None and self._server.config.ssl is not None:
            try:
                with _tls_errors(self._options):
                    self._server.config.ssl.load_cert_chain(self._options.tls_cert, self._options.tls_key or None)
            except ConfigurationError as error:
                log.warning("certificate not reloaded", reason=error)

    async def stop(self) -> None:
        """Tells readers to come back, finishes what was begun, closes the store."""
        if self._mailboxes is not None:
            self._mailboxes.stop()
        if self._server is not None:
            self._server.should_exit = True
            for task in self._tasks[1:]:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)
            self._server = None
        if self._mailboxes is not None:
            await self._mailboxes.close()
            self._mailboxes = None


class _Server(uvicorn.Server):
    """uvicorn without its hands on the signals of our process, and that says when it is ready."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.ready = asyncio.Event()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.ready.set()


def _listen(address: Address) -> list[socket.socket]:
    """Opens the listening sockets: one for each family, so that no client appears with a mapped address."""
    host, port = address
    hosts = ["0.0.0.0", "::"] if host == "::" else [host]
    opened: list[socket.socket] = []
    try:
        for each in hosts:
            family = socket.AF_INET6 if is_ipv6(each) else socket.AF_INET
            try:
                opened.append(socket.create_server((each, port), family=family, backlog=BACKLOG))
            except OSError as error:
                if not (opened and error.errno in (errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL)):
                    raise  # a machine without IPv6 is served by IPv4
            port = opened[0].getsockname()[1]  # any port, but the same for both
    except OSError as error:
        for listener in opened:
            listener.close()
        raise ConfigurationError(
            f"the hub cannot listen on {format_address(address)}: {error.strerror or error}",
            hint="Give another address with --listen HOST:PORT; ports below 1024 need root.",
        ) from error
    return opened


@contextlib.contextmanager
def _tls_errors(options: WebOptions) -> Iterator[None]:
    try:
        yield
    except (OSError, ssl.SSLError) as error:
        raise ConfigurationError(
            f"the certificate {options.tls_cert} with the key {options.tls_key or 'in it'} cannot be used: {error}",
            hint="Both are PEM files; the certificate's own chain comes first, and the key belongs to it.",
        ) from error


def _allow_open_files(wanted: int) -> None:
    """Raises the limit of open files towards what the connections need."""
    if sys.platform == "win32":
        return
    import resource  # noqa: PLC0415 - not on Windows

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        possible = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, possible), hard))
        if possible < wanted:
            log.warning("few open files allowed", allowed=possible, wanted=wanted)
