"""Connects this machine to its peers: what a program uses, and what the command line is made of.

    async with Puncher(Home.locate(os.environ), settings) as puncher:
        session = await puncher.connect("remote")          # on one machine
        async for session in puncher.accept(): ...         # on the other

Nothing is decided here.  A puncher reads the home, opens the mediators, and for each attempt gives an
agent (holepunch.proto.agent) its sockets, its clock, its mail and its random numbers.
"""

import asyncio
import contextlib
import os
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Mapping
from types import TracebackType
from typing import TYPE_CHECKING, Self, TypedDict

from .config import CONNECT_TIMEOUT, Settings
from .errors import AuthenticationError, HolepunchError, MediatorError
from .home import Home, Peer
from .log import get_logger
from .mediator import Mailbox
from .net.driver import Driver
from .net.interfaces import source_address
from .net.resolve import resolve_all
from .net.udp import UdpSocket
from .net.usable import usable_interfaces
from .post import PostOffice
from .proto.agent import Agent, AgentOptions
from .proto.budget import TokenBucket
from .proto.claims import make_allowance
from .proto.envelope import Envelope, Kind
from .proto.events import Event, OfferRefused, Waiting
from .proto.gather import Gatherer
from .proto.identity import PeerId
from .proto.machine import Address, Entropy
from .proto.offer import Carry
from .proto.seal import Invitation, open_invite
from .session import Session
from .standby import Standby

if TYPE_CHECKING:
    from .probe import ProbeReport

log = get_logger("puncher")

STUN_PORT = 3478  # RFC 8489, section 18.6
MAX_ATTEMPTS = 64  # that an acceptor makes at once; each has its own sockets
MAX_ATTEMPTS_PER_PEER = 4


class _Clockwork(TypedDict):
    """What makes an agent's world real."""

    entropy: Entropy
    epoch: float


class Puncher:
    """Makes sessions; one per process and home is enough.

    Args:
        home: identity and peer book.
        settings: see holepunch.config; None for those of the home and the environment.
        sealed: whether datagrams are sealed by us, as a program wants; a command brings its own encryption.
        keeps_socket: whether the socket stays ours after the path is up; None: exactly when sealed.
        on_event: is told of every event, from inside the event loop.
    """

    def __init__(
        self,
        home: Home,
        settings: Settings | None = None,
        *,
        sealed: bool = True,
        keeps_socket: bool | None = None,
        on_event: Callable[[Event], None] = lambda _: None,
    ) -> None:
        self.home = home
        self.settings = settings or Settings.load(home.settings_path, os.environ)
        self._carry = Carry.SEALED if sealed else Carry.RAW
        self._keeps_socket = sealed if keeps_socket is None else keeps_socket
        self._on_event = on_event
        self._identity = home.identity()
        mailbox = Mailbox(self._identity.peer_id.raw, self._identity.sign, os.environ)
        self._post_office = PostOffice(mailbox, self._deliver, on_event)
        self._servers: asyncio.Task[tuple[Address, ...]] | None = None
        self._sessions: dict[bytes, Session] = {}
        self._arrivals: asyncio.Queue[Session] = asyncio.Queue()
        self._accepts = False
        self._unanswered: deque[tuple[Envelope, str]] = deque(maxlen=MAX_ATTEMPTS)
        self._standby: Standby | None = None
        self._attempts: dict[asyncio.Task[None], PeerId] = {}
        self._forgetting: set[asyncio.Task[None]] = set()
        self._connecting: dict[bytes, asyncio.Queue[Invitation]] = {}
        self._allowances: dict[bytes, TokenBucket] = {}

    async def __aenter__(self) -> Self:
        """Opens the mediators of the settings and looks up the STUN servers, all in the background.

        Raises:
            ConfigurationError: a mediator's URL is not usable.
        """
        self._servers = asyncio.create_task(resolve_all(self.settings.stun, STUN_PORT), name="resolve STUN servers")
        for url in self.settings.mediators:
            self._post_office.add(url)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Closes every session and mediator."""
        for task in list(self._attempts):
            task.cancel()
        await asyncio.gather(*self._attempts, return_exceptions=True)
        await asyncio.gather(*(session.close() for session in list(self._sessions.values())), return_exceptions=True)
        if self._servers is not None:
            self._servers.cancel()
            await asyncio.gather(self._servers, return_exceptions=True)
        await self._post_office.close()

    # What a user calls.

    async def connect(self, who: str | PeerId, *, timeout: float | None = None) -> Session:
        """Connects to a peer that accepts; returns when a path is up.

        Should the peer invite us at the same moment, it is one of the two invitations that leads to a
        session, by the same rule on both sides, and the session's role may then be `accept`.

        Args:
            who: a name in the peer book, or a PeerId in it.
            timeout: seconds to wait for the peer's answer; the settings' by default.

        Raises:
            AuthenticationError: the peer is unknown.
            PeerTimeoutError: it did not answer.
            TraversalError: no path was found.
            MediatorError: no mediator carried the offer.
            NetworkError: there is no network, or no STUN server.
        """
        peer = self.home.peers.get(who)
        urls = self._urls(peer)
        for url in urls:
            self._post_office.add(url)
        options = await self._options(urls, peer, timeout=timeout)
        invitations: asyncio.Queue[Invitation] = asyncio.Queue(maxsize=MAX_ATTEMPTS_PER_PEER)
        self._connecting[peer.id.raw] = invitations
        session = self._begin(Agent(self._identity, peer.id, options, **self._clockwork(), peer_name=peer.name))
        try:
            return await self._first_up(peer, session, invitations)
        finally:
            self._connecting.pop(peer.id.raw, None)

    async def accept(self) -> AsyncIterator[Session]:
        """Yields a session for each peer of the book that connects, side by side, until the caller stops.

        An attempt that fails is an event, and no reason to stop.  What arrives between two calls is not lost.

        Raises:
            MediatorError: every mediator has failed for good.
        """
        for peer in self.home.peers.list():
            for url in peer.mediators:
                self._post_office.add(url)
        if not self._post_office.count:
            raise MediatorError("no mediator is configured", hint="Name one with --mediator URL, or in config.toml.")
        self._accepts = True
        options = await self._options(tuple(self.settings.mediators))
        self._standby = Standby(lambda hops: self._gatherer(options, hops), usable_interfaces)
        self._on_event(Waiting(mediators=self._post_office.count))
        failed = asyncio.create_task(self._post_office.failed.wait())
        arrival: asyncio.Task[Session] | None = None
        try:
            while self._unanswered:
                await self._deliver(*self._unanswered.popleft())
            while True:
                arrival = asyncio.create_task(self._arrivals.get())
                await asyncio.wait([arrival, failed], return_when=asyncio.FIRST_COMPLETED)
                if not arrival.done():
                    raise self._post_office.failure or MediatorError("every mediator has failed")
                session, arrival = arrival.result(), None
                yield session
        finally:
            failed.cancel()
            if arrival is not None and not arrival.cancel():
                self._arrivals.put_nowait(arrival.result())  # it came as the caller left: for the next call
            self._accepts = False
            await self._standby.close()
            self._standby = None

    async def probe(self) -> "ProbeReport":
        """Finds out what our NATs do, from sockets of its own.

        Raises:
            NetworkError: there is no network, or no STUN server answered.
        """
        from .probe import probe  # noqa: PLC0415 - few programs ask, and a connection should not wait for it

        return await probe(self.settings.stun)

    # Making sessions.

    def _begin(self, agent: Agent, sockets: Mapping[int, UdpSocket] | None = None) -> Session:
        driver = Driver(agent)
        for local, socket in (sockets or {}).items():
            driver.adopt(local, socket)
        session = Session(agent, driver, self._post, self._on_event)
        self._sessions[agent.session] = session
        forgetting = asyncio.create_task(self._forget(session, agent.session))
        self._forgetting.add(forgetting)
        forgetting.add_done_callback(self._forgetting.discard)
        agent.start(driver.now)
        driver.wake()
        return session

    async def _forget(self, session: Session, session_id: bytes) -> None:
        """Drops a session from the list when it is over, so that its port and its memory are free."""
        await session.closed()
        self._sessions.pop(session_id, None)

    def _gatherer(self, options: AgentOptions, hops: int) -> Gatherer:
        """Makes the gatherer of an acceptor that waits."""
        return Gatherer(
            options.servers,
            usable_interfaces(),
            os.urandom,
            bind_host=options.bind_host,
            bind_port=self._free_port(),
            hops=options.hops or hops,
            deadline=options.gather_deadline,
        )

    def _free_port(self) -> int:
        """Returns the port of --bind while no session has it, and else 0: the system's choice."""
        port = self.settings.bind[1] if self.settings.bind else 0
        return 0 if any(session.is_bound_to(port) for session in self._sessions.values()) else port

    async def _options(
        self, urls: tuple[str, ...], peer: Peer | None = None, *, timeout: float | None = None
    ) -> AgentOptions:
        settings = self.settings
        host = settings.bind[0] if settings.bind else ""
        servers: tuple[Address, ...] = ()
        if self._servers is not None:
            servers = await asyncio.shield(self._servers)
        return AgentOptions(
            servers=servers,
            interfaces=usable_interfaces(),
            look_again=usable_interfaces,
            source=lambda remote: source_address(remote) or host,
            bind_host=host,
            bind_port=self._free_port(),
            hops=0 if settings.punch_hops == "auto" else int(settings.punch_hops),
            latency=self._post_office.latency(urls),
            signals=self._post_office.signals(urls),
            timeout=(patience := timeout or settings.timeout or CONNECT_TIMEOUT),
            gather_deadline=min(3.0, patience / 4),
            carry=self._carry,
            keeps_socket=self._keeps_socket,
            fingerprint=self.home.certificate().fingerprint if self._carry is Carry.RAW else b"",
            allowance=self._allowances.setdefault(peer.id.raw, make_allowance()) if peer else None,
        )

    def _clockwork(self) -> _Clockwork:
        return {"entropy": os.urandom, "epoch": time.time() - asyncio.get_running_loop().time()}

    def _urls(self, peer: Peer) -> tuple[str, ...]:
        return tuple(dict.fromkeys((*peer.mediators, *self.settings.mediators)))

    # The mail.

    async def _post(self, agent: Agent, envelope: Envelope) -> None:
        peer = self.home.peers.find_id(agent.peer)
        urls = self._urls(peer) if peer else self.settings.mediators
        try:
            await self._post_office.post(envelope, urls, agent.name)
        except HolepunchError as error:
            # A session that has its path needs no mediator until that path is lost.
            if envelope.kind is not Kind.UPDATE:
                agent.fail(asyncio.get_running_loop().time(), error)

    async def _deliver(self, envelope: Envelope, mediator: str) -> bool:
        session = self._sessions.get(envelope.session)
        if session is not None:
            used = session.deliver(envelope, mediator)
            if used and envelope.kind is Kind.INVITE:
                self.home.claim(envelope.id, envelope.expires, time.time())
            return used
        if envelope.kind is not Kind.INVITE:
            return False  # it is for another process of this machine
        try:
            invitation = open_invite(envelope, self._identity, time.time())
            peer = self.home.peers.find_id(invitation.sender)
            if peer is None:
                raise AuthenticationError(f"{invitation.sender} is not in the peer book")
            if invitation.sender.raw in self._connecting:
                with contextlib.suppress(asyncio.QueueFull):
                    self._connecting[invitation.sender.raw].put_nowait(invitation)
                return False
            if self._accepts:
                return self._invited(peer, invitation, mediator)
            self._unanswered.append((envelope, mediator))  # another process may answer it, or accept() later
        except HolepunchError as error:
            # A home that is damaged at the moment (the book half written by an editor, a full disk) is not the
            # mediator's fault, and no reason to stop reading: the next offer may find it mended.
            self._on_event(OfferRefused(mediator=mediator, reason=str(error)))
        return False

    def _invited(self, peer: Peer, invitation: Invitation, mediator: str) -> bool:
        """Begins to answer an INVITE, unless it was answered before or there is too much to do."""
        same = sum(1 for attempt in self._attempts.values() if attempt == peer.id)
        if len(self._attempts) >= MAX_ATTEMPTS or same >= MAX_ATTEMPTS_PER_PEER:
            self._on_event(OfferRefused(mediator=mediator, reason=f"{peer.name} has {same} attempts under way"))
            return False
        if not self._claim(invitation):
            self._on_event(OfferRefused(mediator=mediator, reason="the offer was answered before"))
            return False
        task = asyncio.create_task(self._accept_one(peer, invitation), name=f"accept {peer.name}")
        self._attempts[task] = peer.id
        task.add_done_callback(lambda task: self._attempts.pop(task, None))
        return True

    async def _accept_one(self, peer: Peer, invitation: Invitation) -> None:
        try:
            session = await self._answer(peer, invitation)
            await session.selected()
        except HolepunchError as error:
            log.info("attempt failed", peer=peer.name, reason=error)  # the agent has told it as an event
        else:
            self._arrivals.put_nowait(session)

    async def _answer(self, peer: Peer, invitation: Invitation) -> Session:
        for url in peer.mediators:
            self._post_office.add(url)
        options = await self._options(self._urls(peer), peer)
        gatherer, sockets = (self._standby.take() if self._standby else None) or (None, {})
        agent = Agent(
            self._identity,
            peer.id,
            options,
            **self._clockwork(),
            peer_name=peer.name,
            invitation=invitation,
            gatherer=gatherer,
        )
        return self._begin(agent, sockets)

    async def _first_up(self, peer: Peer, own: Session, invitations: "asyncio.Queue[Invitation]") -> Session:
        """Returns our own session, or one that answers the peer's invitation: the first that has a path.

        The others are closed.  In a true glare the peer drops our invitation, and only its own can succeed;
        one that a process left behind which is gone can only fail, and must not cost us ours.

        Raises:
            HolepunchError: none has a path; why ours has none.
        """
        waiting = {asyncio.create_task(own.selected()): own}
        losers: list[Session] = []
        glare = asyncio.create_task(self._await_glare(own, invitations))
        winner: Session | None = None
        try:
            while winner is None:
                done, _ = await asyncio.wait([glare, *waiting], return_when=asyncio.FIRST_COMPLETED)
                if glare in done:
                    answer = await self._answer(peer, glare.result())
                    waiting[asyncio.create_task(answer.selected())] = answer
                    glare = asyncio.create_task(self._await_glare(own, invitations))
                for task in [task for task in waiting if task in done]:
                    session = waiting.pop(task)
                    if winner is None and task.exception() is None:
                        winner = session
                    else:
                        losers.append(session)
                if winner is None and not waiting:
                    await own.selected()  # it has failed, and says why
        finally:
            for each in (glare, *waiting):
                each.cancel()
            await asyncio.gather(glare, *waiting, return_exceptions=True)
            for session in (*losers, *waiting.values()):
                await session.close()
        return winner

    async def _await_glare(self, session: Session, invitations: "asyncio.Queue[Invitation]") -> Invitation:
        """Returns the peer's own invitation, where it is the one that stands: the higher session id."""
        while True:
            invitation = await invitations.get()
            if bytes.fromhex(session.id) < invitation.session and self._claim(invitation):
                return invitation

    def _claim(self, invitation: Invitation) -> bool:
        """Takes an INVITE for this process, and those that its sender may write later in the same session."""
        now = time.time()
        return all(self.home.claim(it, invitation.expires, now) for it in (invitation.session, invitation.id))
