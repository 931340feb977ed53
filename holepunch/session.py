"""A session: the authenticated relation to one peer, with one path in use at a time.

    session.send(data)                  one datagram to the peer, unreliable as UDP is
    data = await session.receive()      the next one from it
    await session.ready()               wait until both sides are about to use the path
    await session.hand_over()           ... and give the socket's address to a command

The agent (holepunch.proto.agent) decides; a driver carries out; this class is what the user holds.  While
the session has its socket, the agent checks the path, moves it when the peer's address changes, and
punches anew when it dies; `send` then drops datagrams until there is a path again, as a network would.
"""

import asyncio
import socket as socket_module
from collections.abc import Awaitable, Callable

from .datapath import DataPath, Forward
from .errors import HolepunchError, TraversalError
from .log import get_logger
from .net.driver import Driver
from .net.udp import UdpSocket
from .proto.agent import Agent, OffersWaiting, State
from .proto.envelope import Envelope
from .proto.events import Event, PathSelected, SessionClosed
from .proto.machine import Address

log = get_logger("session")

READY_TIMEOUT = 3.0  # seconds to wait for the peer's word before going on without it
LAST_WORDS = 3.0  # seconds that mediators get to take a BYE
QUIET = 0.05  # seconds, beside half a round trip, after which the peer's READY was the last


class Session:
    """One session; made by Puncher.

    Args:
        agent: started or not; driven from now on by `driver`.
        driver: the agent's.
        post: hands an envelope to the mediators.
        on_event: is told of every event.
    """

    def __init__(
        self,
        agent: Agent,
        driver: Driver,
        post: Callable[[Agent, Envelope], Awaitable[None]],
        on_event: Callable[[Event], None],
    ) -> None:
        self.on_move: list[Callable[[Session], None]] = []
        """Called after each change of the selected path."""
        self.unsent = 0
        """Datagrams of ours that were dropped because there was no path."""
        self._agent = agent
        self._driver = driver
        self._post = post
        self._on_event = on_event
        self._endpoints: tuple[Address, Address, Address] | None = None
        self._changed = asyncio.Event()
        self._data = DataPath(agent, driver, self._changed.set)
        self._posting: set[asyncio.Task[None]] = set()
        self._is_gone = False
        self._pump_task = asyncio.create_task(self._pump(), name=f"session {agent.name}")

    def __repr__(self) -> str:
        return f"<Session {self.id[:8]} with {self.peer_name}, {self._agent.state.value}>"

    # What it is.

    @property
    def id(self) -> str:
        """The session id: 32 hex digits."""
        return self._agent.session.hex()

    @property
    def role(self) -> str:
        """`connect` for the inviter, `accept` for the acceptor."""
        return "connect" if self._agent.is_inviter else "accept"

    @property
    def peer_name(self) -> str:
        """The peer's name in our book."""
        return self._agent.peer_name

    @property
    def peer_id(self) -> str:
        """The peer's `hp1...` line."""
        return str(self._agent.peer)

    @property
    def inner(self) -> Address:
        """Our socket, with the host that this machine sends from."""
        return self._known_endpoints()[0]

    @property
    def outer(self) -> Address:
        """Our socket as the peer sees it."""
        return self._known_endpoints()[1]

    @property
    def peer(self) -> Address:
        """The peer as we see it."""
        return self._known_endpoints()[2]

    @property
    def path(self) -> str:
        """`direct`, or `relay`."""
        return "direct"

    @property
    def rtt(self) -> float:
        """Round trip of the selected path in seconds, smoothed; 0 before one was measured."""
        path = self._agent.checks.selected
        return path.rtt or 0.0 if path else 0.0

    @property
    def secret(self) -> bytes:
        """32 bytes that only the two sides know; fresh for each session."""
        if self._agent.keys is None:
            raise TraversalError("the session has no keys yet")
        return self._agent.keys.derive(b"secret")

    @property
    def peer_fingerprint(self) -> bytes:
        """SHA-256 of the peer's TLS certificate, 32 bytes; empty where its offer had none."""
        return self._agent.remote.fingerprint if self._agent.remote else b""

    @property
    def agent(self) -> Agent:
        """The machine underneath, for those who want to look: statistics, the report of the peer's NATs."""
        return self._agent

    @property
    def is_up(self) -> bool:
        """Whether there is a path now."""
        return self._agent.state is State.ESTABLISHED

    def is_bound_to(self, port: int) -> bool:
        """Whether one of our sockets, or the command that has it now, is bound to a port."""
        if self._endpoints is not None and self._endpoints[0][1] == port:
            return not self._pump_task.done() or self._is_gone
        return any(socket.address[1] == port for socket in self._driver.sockets.values())

    # Waiting.

    async def selected(self) -> None:
        """Waits for the first path.

        Raises:
            HolepunchError: there will be none; which kind says why.
        """
        await self._until(lambda: self._endpoints is not None)

    async def confirmed(self) -> None:
        """Waits until both sides have selected the path.

        Raises:
            HolepunchError: the session ended first.
        """
        await self._until(lambda: self._endpoints is not None and self._agent.checks.is_confirmed)

    async def ready(self) -> None:
        """Waits until both sides are about to use the path, the acceptor first.

        The acceptor announces itself and waits until the inviter knows; the inviter only waits for that.

        Raises:
            HolepunchError: the session ended first.
        """
        await self.confirmed()
        checks = self._agent.checks
        if self._agent.is_inviter:
            await self._until(lambda: checks.peer_ready, READY_TIMEOUT)
        else:
            self.announce()
            await self._until(lambda: checks.is_ready_known, READY_TIMEOUT)

    def announce(self) -> None:
        """Tells the inviter that the acceptor's user is ready: the command runs, or is about to."""
        if self._agent.state is State.ESTABLISHED and not self._agent.is_inviter:
            self._agent.ready(self._driver.now)
            self._driver.wake()

    async def closed(self) -> None:
        """Waits until the session is over, for whatever reason."""
        await asyncio.wait([self._pump_task])

    def deliver(self, envelope: Envelope, mediator: str) -> bool:
        """Takes an envelope of this session from a mediator; returns whether it was of use."""
        used = self._agent.receive_envelope(envelope, self._driver.now, mediator)
        self._driver.wake()
        return used

    # Datagrams.

    def send(self, data: bytes) -> bool:
        """Sends one datagram to the peer; returns False where it was dropped at once.

        A sealed session adds 32 bytes to it.
        """
        if not self.is_up or self._is_gone:
            self.unsent += 1
            return False
        return self.socket().send(self._data.seal(data), self.peer)

    async def receive(self) -> bytes:
        """Waits for the next datagram from the peer.

        Raises:
            HolepunchError: the session is over, by a failure.
            EOFError: it was closed.
        """
        while not self._data.queue:
            if self._pump_task.done() or self._is_gone:
                raise self._agent.error or EOFError("the session is closed")
            self._changed.clear()
            await self._changed.wait()
        return self._data.queue.popleft()

    def socket(self) -> UdpSocket:
        """Returns the live socket of the selected path; it changes when the session moves (on_move).

        Raises:
            KeyError: the session has given it away or is closed.
        """
        return self._driver.sockets[self._agent.local]

    def send_run(self, data: memoryview, segment: int) -> None:
        """Sends raw datagrams of `segment` bytes each, the last one possibly shorter, on the selected path."""
        if self.is_up and not self._is_gone:
            self.socket().send_run(data, segment, self.peer)
        else:
            self.unsent += -(-len(data) // segment)

    def attach_forwarder(self, forward: Forward | None) -> None:
        """Gives the peer's raw datagrams to a function instead of receive(); None ends it.

        Args:
            forward: takes (data, segment) of a run of datagrams; the view is valid during the call only.
        """
        self._data.forward = forward
        if self._endpoints is not None and not self._is_gone:
            self._data.watch(self._agent.local)

    # Giving the socket away.

    async def hand_over(self) -> None:
        """Closes our socket at the moment when a command should bind the same inner endpoint.

        The acceptor goes first: it says READY, waits until the inviter has that, and goes.  The inviter
        answers until it hears nothing more, so that the acceptor's command is up when its own begins.

        Raises:
            HolepunchError: the session ended first.
        """
        (await self._give_up_socket()).close()

    async def detach(self) -> socket_module.socket:
        """As hand_over, but gives the open socket to the caller.

        Raises:
            HolepunchError: the session ended first.
        """
        return (await self._give_up_socket()).detach()

    async def close(self) -> None:
        """Says BYE and ends; harmless twice."""
        self._agent.close(self._driver.now)
        self._driver.wake()
        # The last datagrams leave, and the last envelopes are posted, before everything is torn down.
        await asyncio.wait([self._pump_task])
        # One mediator that does not answer must not hold up the end: the peer learns it from another, or by itself.
        if self._posting:
            await asyncio.wait(set(self._posting), timeout=LAST_WORDS)

    # How it is done.

    def _known_endpoints(self) -> tuple[Address, Address, Address]:
        if self._endpoints is None:
            raise TraversalError("the session has no path yet")
        return self._endpoints

    async def _give_up_socket(self) -> UdpSocket:
        await self.ready()
        agent = self._agent
        if agent.is_inviter:
            await self._quiet()
        self._endpoints = agent.endpoints
        self._is_gone = True
        agent.release()
        socket = self._driver.release(agent.local)
        self._driver.close()
        return socket

    async def _quiet(self) -> None:
        """Waits until the acceptor has said nothing for a while: then it has heard us, and has gone."""
        for _ in range(100):
            wait = self._agent.checks.last_heard + self.rtt / 2 + QUIET - self._driver.now
            if wait <= 0:
                return
            await asyncio.sleep(wait)

    async def _until(self, condition: Callable[[], bool], timeout: float | None = None) -> None:
        """Waits for a condition on the agent; a timeout is no error, the end of the session is."""
        try:
            async with asyncio.timeout(timeout):
                while not condition():
                    if self._pump_task.done():
                        self._raise()
                    self._changed.clear()
                    await self._changed.wait()
        except TimeoutError:
            log.debug("went on without the peer's word", session=self._agent.name)

    def _raise(self) -> None:
        if not self._pump_task.cancelled() and (failure := self._pump_task.exception()) is not None:
            raise failure
        raise self._agent.error or TraversalError("the session was closed")

    async def _pump(self) -> None:
        """Takes the agent's events until it is done."""
        try:
            async for event in self._driver:
                if isinstance(event, OffersWaiting):
                    self._post_envelopes()
                elif isinstance(event, Event) and event.name:
                    if isinstance(event, PathSelected):
                        self._moved()
                    self._on_event(event)
                self._changed.set()
                if isinstance(event, SessionClosed):
                    break
        except HolepunchError as error:
            log.warning("session failed", session=self._agent.name, reason=error)
            raise
        finally:
            self._driver.close()
            self._changed.set()

    def _post_envelopes(self) -> None:
        for envelope in self._agent.envelopes_to_send(self._driver.now):
            task = asyncio.create_task(self._post_one(envelope))
            self._posting.add(task)
            task.add_done_callback(self._posting.discard)

    async def _post_one(self, envelope: Envelope) -> None:
        await self._post(self._agent, envelope)
        self._driver.wake()

    def _moved(self) -> None:
        self._endpoints = self._agent.endpoints
        self._data.watch(self._agent.local)
        for tell in self.on_move:
            tell(self)
