"""A whole peer in virtual time: agents, mail, the replay cache, and the choreography of a hand-over.

    alice = SimPeer(net, world.a, "alice", [mediator], servers=world.stun)
    bob = SimPeer(net, world.b, "bob", [mediator], servers=world.stun)
    alice.know(bob), bob.know(alice)
    bob.accept()
    session = alice.connect(bob)
    net.run(60, until=lambda: session.is_over)

What holepunch.puncher and holepunch.session do with asyncio is done here with the simulator's clock;
every decision is the agent's, in both.
"""

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import replace

from ...errors import AuthenticationError, HolepunchError, WireError
from ...proto.agent import Agent, AgentOptions, OffersWaiting, State
from ...proto.envelope import Envelope, Kind
from ...proto.events import Event, PathSelected
from ...proto.identity import Identity, PeerId
from ...proto.machine import Address
from ...proto.seal import Invitation, open_invite
from .clock import Timer
from .driver import SimDriver
from .host import Host, SimSocket
from .internet import EPOCH, Internet
from .mediator import SimMediator

READY_TIMEOUT = 3.0  # seconds to wait for the peer's word before going on without it
QUIET = 0.05  # seconds, beside half a round trip, after which the peer's READY was the last


class SimSession:
    """One session of a SimPeer: its agent, and what became of it."""

    def __init__(self, owner: "SimPeer", agent: Agent) -> None:
        """Starts the agent at once."""
        self.owner = owner
        self.agent = agent
        self.log: list[tuple[float, Event]] = []
        """Every event of the agent's, with its moment."""
        self.paths: list[PathSelected] = []
        """The paths selected, the first one first."""
        self.started_at = owner.net.now
        self.ready_at: float | None = None
        """When our side of the choreography was over: a user would begin to use the path here."""
        self.data: deque[tuple[bytes, Address]] = deque()
        """The user's datagrams that arrived, and from where."""
        self.socket: SimSocket | None = None
        """The user's own socket, once the path was handed over."""
        self.driver = SimDriver(owner.host, agent, self._on_event)
        self.driver.filter = self._keep
        self._waits_since: float | None = None
        self._look_timer: Timer | None = None
        agent.start(owner.net.now)
        self.driver.wake()

    @property
    def is_up(self) -> bool:
        """Whether there is a path now."""
        return self.agent.state is State.ESTABLISHED

    @property
    def is_ready(self) -> bool:
        """Whether a user may use the path."""
        return self.ready_at is not None and self.agent.state in (State.ESTABLISHED, State.RELEASED)

    @property
    def is_over(self) -> bool:
        """Whether the attempt has ended, well or badly: a user may use the path, or never will."""
        return self.is_ready or self.agent.state is State.CLOSED

    @property
    def error(self) -> HolepunchError | None:
        """Why it failed, where it did."""
        return self.agent.error

    @property
    def elapsed(self) -> float | None:
        """Seconds from both offers known to the first valid path; None where there was none."""
        return self.paths[0].elapsed if self.paths else None

    def send(self, data: bytes) -> None:
        """Sends a user's datagram to the peer."""
        if self.socket is not None:
            self.socket.send(data, self.paths[-1].remote)
        elif self.is_up and self.agent.local in self.driver.sockets:
            self.driver.sockets[self.agent.local].send(data, self.agent.endpoints[2])

    def close(self) -> None:
        """Says BYE and ends."""
        self.agent.close(self.owner.net.now)
        self.driver.wake()

    def deliver(self, envelope: Envelope, mediator: str) -> None:
        """Takes an envelope of this session."""
        self.agent.receive_envelope(envelope, self.owner.net.now, mediator)
        self.driver.wake()

    def _keep(self, local: int, data: bytes, remote: Address) -> bool:
        agent = self.agent
        if self.is_up and not agent.recognises(data) and agent.checks.is_path(local, remote):
            self.data.append((data, remote))
            return True
        return False

    def _on_event(self, event: object) -> None:
        now = self.owner.net.now
        if isinstance(event, OffersWaiting):
            for envelope in self.agent.envelopes_to_send(now):
                self.owner.post(envelope)
        elif isinstance(event, Event):
            self.log.append((now, event))
            if isinstance(event, PathSelected):
                self.paths.append(event)
        self._look_soon(0.0)

    # The choreography of holepunch.session: the acceptor is ready first.

    def _look_soon(self, delay: float) -> None:
        if self._look_timer is not None:
            self._look_timer.cancel()
        self._look_timer = self.owner.net.clock.call_later(delay, self._look)

    def _look(self) -> None:
        """Takes the next step of the choreography, if it is time for it."""
        self._look_timer = None
        agent, now = self.agent, self.owner.net.now
        if self.ready_at is not None or not self.is_up or not agent.checks.is_confirmed:
            return
        if self._waits_since is None:
            self._waits_since = now
            if not agent.is_inviter:
                self._announce()
        heard = agent.checks.peer_ready if agent.is_inviter else agent.checks.is_ready_known
        if not heard and now < self._waits_since + READY_TIMEOUT:
            self._look_soon(self._waits_since + READY_TIMEOUT - now)
            return
        if agent.is_inviter:
            self._announce()
            path = agent.checks.selected
            quiet_at = agent.checks.last_heard + (path.rtt or 0.0 if path else 0.0) / 2 + QUIET
            if not self.owner.options.keeps_socket and now < quiet_at:
                self._look_soon(quiet_at - now)
                return
        self.ready_at = now
        self.owner.prefer(self)
        if not self.owner.options.keeps_socket:
            self._hand_over()

    def _announce(self) -> None:
        self.agent.ready(self.owner.net.now)
        self.driver.wake()

    def _hand_over(self) -> None:
        """Closes our socket, and lets a user's program bind the same inner endpoint."""
        local, inner = self.agent.local, self.agent.endpoints[0]
        self.agent.release()
        self.driver.release(local).close()
        self.driver.wake()
        self.socket = self.owner.host.open(6 if ":" in inner[0] else 4, "", inner[1])
        self.socket.on_datagram = lambda data, remote: self.data.append((data, remote))


class SimPeer:
    """One machine with holepunch on it."""

    def __init__(
        self,
        net: Internet,
        host: Host,
        name: str,
        mediators: Sequence[SimMediator],
        *,
        servers: Sequence[Address] = (),
        skew: float = 0.0,
        options: AgentOptions | None = None,
    ) -> None:
        """Makes a machine with an identity of its own and an empty peer book.

        Args:
            net: where it is.
            host: what it runs on.
            name: for its luck and its peers' books.
            mediators: the channels it reads, and posts to, all of them.
            servers: STUN servers.
            skew: seconds by which its clock is wrong.
            options: wishes of its user; servers, interfaces, source and latency are filled in here.
        """
        self.net = net
        self.host = host
        self.name = name
        self.identity = Identity.from_seed(net.rng(f"identity {name}").randbytes(32))
        self.mediators = list(mediators)
        self.options = replace(
            options or AgentOptions(),
            servers=tuple(servers),
            interfaces=tuple(host.interfaces()),
            source=lambda remote: way[1] if (way := host.route(remote[0])) else "",
            latency=min((mediator.latency for mediator in mediators), default=1.0),
        )
        self.sessions: dict[bytes, SimSession] = {}
        self.arrivals: list[SimSession] = []
        """Sessions that began with somebody's invitation."""
        self.refused: list[str] = []
        """Why invitations were not answered."""
        self.on_session: Callable[[SimSession], None] = lambda _: None
        """Told of each session that somebody's invitation begins."""
        self._epoch = EPOCH + skew
        self._entropy = net.entropy(name)
        self._book: dict[bytes, str] = {}
        self._seen: set[bytes] = set()
        self._accepts = False
        self._readers = [self._reader(f"mediator {number}") for number in range(len(self.mediators))]

    @property
    def peer_id(self) -> PeerId:
        """Its public name."""
        return self.identity.peer_id

    def know(self, *peers: "SimPeer") -> None:
        """Writes other machines into its peer book."""
        for peer in peers:
            self._book[peer.peer_id.raw] = peer.name

    def accept(self) -> None:
        """Answers invitations of those in the book, from now on; those that wait in the mailbox too."""
        self._accepts = True
        self._read()

    def stop(self) -> None:
        """Answers no more invitations, and reads no mail until it connects or accepts again."""
        self._accepts = False
        for mediator, reader in zip(self.mediators, self._readers, strict=True):
            mediator.stop(self.peer_id.raw, reader)

    def connect(self, peer: "SimPeer") -> SimSession:
        """Begins to connect to a peer; returns the session, which is not up yet."""
        session = self._begin(peer.peer_id, None)
        self._read()
        return session

    def post(self, envelope: Envelope) -> None:
        """Sends an envelope by every mediator."""
        for mediator in self.mediators:
            mediator.post(envelope)

    def prefer(self, winner: SimSession) -> None:
        """Closes our other invitations to a peer, now that one session with it is up (glare)."""
        for session in list(self.sessions.values()):
            if session is not winner and session.agent.peer == winner.agent.peer and not session.is_over:
                session.close()

    def _begin(self, peer: PeerId, invitation: Invitation | None) -> SimSession:
        agent = Agent(
            self.identity,
            peer,
            self.options,
            entropy=self._entropy,
            epoch=self._epoch,
            peer_name=self._book.get(peer.raw, ""),
            invitation=invitation,
        )
        session = SimSession(self, agent)
        self.sessions[agent.session] = session
        return session

    def _read(self) -> None:
        """Reads every mailbox from its beginning, as a process that starts does."""
        for mediator, reader in zip(self.mediators, self._readers, strict=True):
            mediator.stop(self.peer_id.raw, reader)
            mediator.read(self.peer_id.raw, reader)

    def _reader(self, mediator: str) -> Callable[[Envelope], None]:
        return lambda envelope: self._receive(envelope, mediator)

    def _receive(self, envelope: Envelope, mediator: str) -> None:
        session = self.sessions.get(envelope.session)
        if session is not None:
            session.deliver(envelope, mediator)
        elif envelope.kind is Kind.INVITE:
            try:
                self._invited(open_invite(envelope, self.identity, self._epoch + self.net.now))
            except (AuthenticationError, WireError) as error:
                self.refused.append(str(error))

    def _invited(self, invitation: Invitation) -> None:
        """Answers an invitation, unless it is a stranger's, was answered before, or ours stands (glare)."""
        sender = invitation.sender
        if sender.raw not in self._book:
            raise AuthenticationError(f"{sender.short} is not in the peer book")
        ours = [
            session
            for session in self.sessions.values()
            if session.agent.peer == sender and session.agent.is_inviter and not session.is_over
        ]
        if any(session.agent.session > invitation.session for session in ours):
            return
        if not ours and not self._accepts:
            return
        if invitation.id in self._seen:
            raise AuthenticationError("the offer was answered before")
        self._seen.add(invitation.id)
        session = self._begin(sender, invitation)
        self.arrivals.append(session)
        self.on_session(session)
