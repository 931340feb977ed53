"""One connection to one peer, from the first STUN request to the last BYE: the whole of it, and pure.

    gather      our candidates                                    (holepunch.proto.gather)
    offer       INVITE out, ACCEPT in; or the other way           (holepunch.proto.seal)
    punch       the steps of a plan                               (holepunch.proto.strategy)
                carried out on a list of paths                    (holepunch.proto.checklist)
    use         consent, and a new round when the path dies       (holepunch.proto.consent)

Datagrams, envelopes and the time go in; datagrams, envelopes, sockets to open or close, and progress
events come out.  `Puncher` drives an agent on real sockets and mediators, and holepunch.testing.simnet a
thousand of them through invented NATs in virtual time; neither takes a decision.

A *round* is one punch.  Round 0 is begun by the inviter; a later one by whoever misses the peer first,
by an UPDATE from fresh sockets: a router that lost its mappings may hold the old ports against us.  In
each round the side that answers primes its NAT with low TTL and waits, and the other sends.
"""

import enum
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, replace

from ..errors import AuthenticationError, ConfigurationError, HolepunchError, NetworkError, PeerTimeoutError
from ..errors import TraversalError, WireError
from .address import is_ipv6
from .candidate import Interface, admissible
from .checklist import DEFAULT_TTL, CheckList, PeerLeft, PeerReady, Progressed, Selected
from .consent import Consent
from .envelope import Envelope
from .events import Event, Failed, OfferReceived, OfferRefused, PathLost, PathSelected, SessionClosed, SessionReady
from .events import Started, StepBegun
from .gather import Gatherer, GatherFailed, MappingChanged
from .identity import Identity, PeerId
from .machine import Address, CloseSocket, Entropy, IcmpError, OpenSocket, Transmit
from .noise import SessionKeys
from .offer import Carry, Offer, OfferType
from .packet import Opener, Sealer
from .seal import Invitation, Seal
from .strategy import CHECK, PRIME, SEND_ANYWAY, START, Situation, Step, explain, plan

ROUND_SOCKETS = 1000  # socket numbers per round: round n has n * ROUND_SOCKETS and up
MAX_ROUNDS = 60  # the socket numbers and the round's byte on the wire have room for 255
OLD_SOCKET_LINGER = 3.0  # seconds that an earlier round's sockets still answer
SLOW_MEDIATOR = 5.0  # seconds of latency from which an attempt is patient


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentOptions:
    """What an agent is told of its machine and its user's wishes."""

    servers: tuple[Address, ...] = ()
    """STUN servers, as addresses."""
    interfaces: tuple[Interface, ...] = ()
    """Our own addresses, without tunnels of our own."""
    source: Callable[[Address], str] | None = None
    """Gives the address that our packets to a remote leave from (the routing table)."""
    bind_host: str = ""
    bind_port: int = 0
    hops: int = 0
    """TTL that leaves all our NATs; 0 to measure it."""
    gather_deadline: float = 3.0
    """Seconds that gathering may take."""
    latency: float = 1.0
    """Seconds that the fastest mediator takes, one way."""
    signals: bool = True
    """Whether a mediator can carry UPDATEs without a person's help."""
    timeout: float = 60.0
    """Seconds an inviter waits for the ACCEPT."""
    attempt: float = 20.0
    """Seconds a punch may take once both offers are known, beside what a slow mediator costs."""
    expiry: float = 900.0
    """Seconds that an offer is good for."""
    give_up: float = 120.0
    """Seconds that a session whose path was lost tries to find another."""
    carry: Carry = Carry.RAW
    keeps_socket: bool = False
    """Whether the socket stays ours when the path is up (--proxy, library), so that we answer checks."""
    fingerprint: bytes = b""


class OffersWaiting:
    """Event: envelopes_to_send has something, after the datagrams that were due before it."""


class State(enum.Enum):
    """Where an agent is."""

    NEW = "new"
    GATHERING = "gathering"
    OFFERING = "offering"
    PUNCHING = "punching"
    ESTABLISHED = "established"
    RELEASED = "released"
    """The socket was handed over: the agent does nothing any more."""
    CLOSED = "closed"


class Agent:
    """A SocketMachine that also takes and gives envelopes.

    Args:
        identity: ours.
        peer: whom to connect to.
        peer_name: the peer's name in our book, for events.
        options: see AgentOptions.
        entropy: random bytes.
        epoch: seconds since 1970 at `now` = 0.
        invitation: what an acceptor answers; None makes an inviter.
        gatherer: one that is done already, with its sockets open; None to gather.
    """

    def __init__(
        self,
        identity: Identity,
        peer: PeerId,
        options: AgentOptions,
        *,
        entropy: Entropy,
        epoch: float,
        peer_name: str = "",
        invitation: Invitation | None = None,
        gatherer: Gatherer | None = None,
    ) -> None:
        # Initialised once and never changed.
        self.peer = peer
        self.peer_name = peer_name or peer.short
        self.is_inviter = invitation is None
        self.session = invitation.session if invitation else entropy(16)
        self.options = options
        self._identity = identity
        self._entropy = entropy
        self._epoch = epoch
        self._invitation = invitation
        self._seal = Seal(identity, peer, self.session, entropy, invitation)
        # The rest changes.
        self.state = State.NEW
        self.error: HolepunchError | None = None
        """Why the agent is CLOSED, where it failed."""
        self.remote: Offer | None = invitation.offer if invitation else None
        """The peer's latest offer."""
        self.round = 0
        self._answering = not self.is_inviter
        self._gatherer = gatherer or self._make_gatherer()
        self._checks: CheckList | None = None
        self._consent = Consent(entropy)
        self._steps: list[Step] = []
        self._known_at = 0.0
        self._deadline: float | None = None
        self._old_sockets: list[int] = []
        self._old_sockets_until: float | None = None
        self._envelopes: deque[Envelope] = deque()
        self._out: deque[Transmit] = deque()
        self._events: deque[object] = deque()

    # What the application asks.

    @property
    def name(self) -> str:
        """The session's id as events show it: 8 hex digits."""
        return self.session[:4].hex()

    @property
    def keys(self) -> SessionKeys | None:
        """The session's keys, once both offers are known."""
        return self._seal.keys

    @property
    def checks(self) -> CheckList:
        """The paths; there are none before both offers are known.

        Raises:
            ValueError: too early.
        """
        if self._checks is None:
            raise ValueError("both offers are not known yet")
        return self._checks

    @property
    def local(self) -> int:
        """The number of the selected path's socket."""
        path = self.checks.selected
        return path.local if path else 0

    @property
    def endpoints(self) -> tuple[Address, Address, Address]:
        """The selected path as (inner, outer, remote)."""
        path = self.checks.selected
        if path is None:
            raise ValueError("no path is selected")
        inner = self._gatherer.sockets.get(path.local, ("", 0))
        if inner[0] in ("", "0.0.0.0", "::") and self.options.source is not None:  # noqa: S104 - compared, not bound
            inner = self.options.source(path.remote), inner[1]
        return inner, path.observed or inner, path.remote

    def recognises(self, data: bytes) -> bool:
        """Tells cheaply whether a datagram is for the agent and not the user's."""
        return self._checks is not None and self._checks.recognises(data)

    def start(self, now: float) -> None:
        """Begins."""
        self.state = State.GATHERING
        self._emit(Started(role="connect" if self.is_inviter else "accept", peer=self.peer_name))
        if self._gatherer.is_done:
            self._gathered(now)
        else:
            self._gatherer.start(now)
        if self.is_inviter:
            self._deadline = now + self.options.timeout
        self._pump(now)

    def ready(self, now: float) -> None:
        """Says that our user is ready; the peer learns it by the next packets."""
        self.checks.set_ready(now)
        self._pump(now)

    def repunch(self, now: float) -> None:
        """Begins a new round at once: the network has changed, or the path is in doubt."""
        if self.state is State.ESTABLISHED:
            self._begin_round(self.round + 1, now, answering=False)
            self._pump(now)

    def hurry(self, now: float) -> None:
        """Asks the peer for a sign of life now."""
        self._consent.hurry(now)

    def release(self) -> None:
        """Ends the agent's part without a word: the selected socket now belongs to the user's command."""
        selected = self.local
        self._gatherer.stop(0.0)
        for local in [*self._gatherer.sockets, *self._old_sockets]:
            if local != selected:
                self._events.append(CloseSocket(local))
        self._finish(State.RELEASED)

    def close(self, now: float, reason: str = "closed by this side") -> None:
        """Says BYE and ends."""
        if self.state in (State.CLOSED, State.RELEASED):
            return
        if self._checks is not None and self._checks.selected is not None and self._both_keep():
            self._checks.leave(now)
        elif self._seal.keys is not None and self.state is not State.ESTABLISHED:
            self._send_offer(OfferType.BYE, now, reason=reason)
        self._end(now, reason)

    def fail(self, now: float, error: HolepunchError) -> None:
        """Ends: something outside, such as every mediator, has failed."""
        self._end(now, str(error), error)

    # What whoever drives a machine calls.

    def socket_opened(self, local: int, address: Address, now: float) -> None:
        """Takes a socket that an OpenSocket event asked for."""
        self._gatherer.socket_opened(local, address, now)
        self._pump(now)

    def socket_failed(self, local: int, reason: str, now: float) -> None:
        """Does without a socket."""
        self._gatherer.socket_failed(local, reason, now)
        self._pump(now)

    def receive_datagram(self, data: bytes, remote: Address, now: float, local: int = 0) -> None:
        """Takes a punch packet or a STUN answer; anything else is dropped."""
        if self._checks is None or not self._checks.receive_datagram(data, remote, now, local):
            self._gatherer.receive_datagram(data, remote, now, local)
        elif self._checks.selected is not None:
            self._consent.heard(self._checks.selected.heard_at, now)
        self._pump(now)

    def receive_icmp(self, error: IcmpError, now: float, local: int = 0) -> None:
        """Takes an ICMP error; only hop measuring listens to them."""
        self._gatherer.receive_icmp(error, now, local)
        self._pump(now)

    def receive_envelope(self, envelope: Envelope, now: float, mediator: str = "") -> bool:
        """Takes an envelope of this session; returns whether it was authentic and of use."""
        if self.state in (State.NEW, State.CLOSED, State.RELEASED):
            return False
        try:
            offer = self._seal.open(envelope, self._epoch + now)
        except (AuthenticationError, WireError) as error:
            self._emit(OfferRefused(mediator=mediator, reason=str(error)))
            return False
        self._emit(
            OfferReceived(
                kind=offer.type.name.lower(), mediator=mediator, peer=self.peer_name, candidates=len(offer.candidates)
            )
        )
        self._note_offer(offer, now)
        self._pump(now)
        return True

    def handle_timer(self, now: float) -> None:
        """Does what is due."""
        if self.state in (State.NEW, State.CLOSED, State.RELEASED):
            return
        self._gatherer.handle_timer(now)
        if self._checks is not None:
            self._checks.handle_timer(now)
        while self._steps and now >= self._known_at + self._steps[0].at:
            self._take_step(self._steps.pop(0), now)
        verdict = self._consent.handle_timer(now)
        if verdict is True:
            self.checks.check(now)
        elif verdict is False:
            self._lose_path(now)
        if self._old_sockets_until is not None and now >= self._old_sockets_until:
            self._close_old_sockets()
        if self._deadline is not None and now >= self._deadline:
            self._give_up(now)
        self._pump(now)

    def get_timer(self) -> float | None:
        """Returns when handle_timer wants to be called."""
        if self.state in (State.NEW, State.CLOSED, State.RELEASED):
            return None
        times = [self._gatherer.get_timer(), self._consent.get_timer(), self._deadline, self._old_sockets_until]
        if self._checks is not None:
            times.append(self._checks.get_timer())
        if self._steps:
            times.append(self._known_at + self._steps[0].at)
        return min((time for time in times if time is not None), default=None)

    def datagrams_to_send(self, now: float) -> list[Transmit]:
        """Returns what to send now."""
        self._collect_datagrams(now)
        out = list(self._out)
        self._out.clear()
        return out

    def envelopes_to_send(self, now: float) -> list[Envelope]:
        """Returns what to post now, by every mediator."""
        out = list(self._envelopes)
        self._envelopes.clear()
        return out

    def next_event(self) -> object | None:
        """Returns OpenSocket, CloseSocket, or an Event."""
        return self._events.popleft() if self._events else None

    # Gathering and offering.

    def _make_gatherer(self) -> Gatherer:
        options = self.options
        return Gatherer(
            options.servers,
            options.interfaces,
            self._entropy,
            bind_host=options.bind_host,
            # A later round's sockets are open beside the earlier one's, so they cannot have its port.
            bind_port=options.bind_port if self.round == 0 else 0,
            hops=options.hops or (self._gatherer.hops if self.round else 0),
            measures_hops=self._answering,
            deadline=options.gather_deadline,
            first_local=self.round * ROUND_SOCKETS,
        )

    def _gathered(self, now: float) -> None:
        """Our candidates are known: tell the peer, and, when we answer, prime first."""
        self._gatherer.keep_alive(now)
        if self.round > 0:
            if self._answering:
                self._punch(now)
            self._send_offer(OfferType.UPDATE, now, answer=self._answering)
            self.state = State.PUNCHING
        elif self.is_inviter:
            self._send_offer(OfferType.INVITE, now)
            self.state = State.OFFERING
        else:
            accept = self._make_offer(OfferType.ACCEPT, now)
            envelope = self._seal.seal(accept, self._expires(now))
            self._punch(now)
            self._post(envelope)

    def _make_offer(self, kind: OfferType, now: float, *, started: bool = False, answer: bool = False) -> Offer:
        return Offer(
            type=kind,
            sender=self._identity.peer_id.raw,
            created=int(self._epoch + now),
            round=self.round,
            candidates=tuple(self._gatherer.candidates),
            report=self._gatherer.report,
            carry=self.options.carry,
            keeps_socket=self.options.keeps_socket,
            started=started,
            answer=answer,
            latency=self.options.latency,
            fingerprint=self.options.fingerprint,
        )

    def _send_offer(
        self, kind: OfferType, now: float, *, started: bool = False, answer: bool = False, reason: str = ""
    ) -> None:
        offer = replace(self._make_offer(kind, now, started=started, answer=answer), reason=reason)
        self._post(self._seal.seal(offer, self._expires(now)))

    def _post(self, envelope: Envelope) -> None:
        self._envelopes.append(envelope)
        self._events.append(OffersWaiting())

    def _expires(self, now: float) -> int:
        return int(self._epoch + now + self.options.expiry)

    def _note_offer(self, offer: Offer, now: float) -> None:
        """Acts on an authentic offer."""
        if offer.type is OfferType.BYE:
            self._end(now, offer.reason or "closed by the peer", TraversalError("the peer gave up: " + offer.reason))
        elif offer.carry is not self.options.carry:
            ours, theirs = ("sealed", "raw") if self.options.carry is Carry.SEALED else ("raw", "sealed")
            error = ConfigurationError(
                f"we carry {ours} datagrams, the peer {theirs}",
                hint="Run a command on both sides, or a program on both sides.",
            )
            self._end(now, "no agreement", error)
        elif offer.type is OfferType.ACCEPT:
            self.remote = offer
            self._punch(now)
        elif offer.type is OfferType.INVITE:
            if self.state is State.PUNCHING and self.round == 0:
                self.remote = offer
                self._begin_checks(now, low_ttl=self.checks.low_ttl)
        elif offer.started:
            if offer.round == self.round and self._checks is not None:
                self._checks.send_fully(now)
        elif offer.round > self.round:
            self.remote = offer
            self._begin_round(offer.round, now, answering=True)
        elif offer.round == self.round and self.round > 0:
            self._note_update(offer, now)

    def _note_update(self, offer: Offer, now: float) -> None:
        """The peer's UPDATE of a round that we have begun too."""
        self.remote = offer
        if offer.answer and not self._answering:
            self._punch(now)
        elif not offer.answer and not self.is_inviter and not self._answering:
            # Both have begun this round: the inviter's UPDATE stands, and ours becomes the answer.
            self._answering = True
            if self._gatherer.is_done:
                self._punch(now)
                self._send_offer(OfferType.UPDATE, now, answer=True)

    # Punching.

    def _punch(self, now: float) -> None:
        """Both offers are known: make the plan and take its first steps."""
        if self.remote is None or self._seal.keys is None:
            raise ValueError("both offers are needed")
        keys = self._seal.keys
        if self._checks is None:
            ours, theirs = (b"i2r", b"r2i") if self.is_inviter else (b"r2i", b"i2r")
            self._checks = CheckList(
                Sealer(keys.derive(b"punch " + ours)),
                Opener(keys.derive(b"punch " + theirs)),
                controlling=self.is_inviter,
                entropy=self._entropy,
            )
        self.state = State.PUNCHING
        self._known_at = now
        patience = 4 * max(self.remote.latency, self.options.latency)
        window = self.options.attempt + (patience if self._answering else 0.0)
        self._deadline = now + (self.options.give_up if self.round else min(window, self.options.expiry))
        self._steps = list(plan(self._situation()))
        while self._steps and self._steps[0].at <= 0:
            self._take_step(self._steps.pop(0), now)

    def _situation(self) -> Situation:
        if self.remote is None:
            raise ValueError("the peer's offer is needed")
        return Situation(
            waiting=self._answering,
            local=self._gatherer.report,
            remote=self.remote.report,
            local_candidates=tuple(self._gatherer.candidates),
            remote_candidates=self.remote.candidates,
            signals=self.options.signals,
        )

    def _take_step(self, step: Step, now: float) -> None:
        targets = 0
        if step.name == PRIME:
            targets = self._begin_checks(now, low_ttl=self._gatherer.hops or DEFAULT_TTL)
        elif step.name == CHECK:
            targets = self._begin_checks(now, low_ttl=None)
        elif step.name == START and self.state is State.PUNCHING:
            self._send_offer(OfferType.UPDATE, now, started=True)
        elif step.name == SEND_ANYWAY and self.state is State.PUNCHING:
            self.checks.send_fully(now)
        else:
            return
        self._emit(StepBegun(strategy=step.name, targets=targets))

    def _begin_checks(self, now: float, *, low_ttl: int | None) -> int:
        if self.remote is None:
            raise ValueError("the peer's offer is needed")
        targets = admissible(self.remote.candidates, self._gatherer.candidates)
        sockets = {local: is_ipv6(address[0]) for local, address in self._gatherer.sockets.items()}
        return self.checks.begin(targets, sockets, now, low_ttl=low_ttl)

    def _give_up(self, now: float) -> None:
        self._deadline = None
        if self.state in (State.GATHERING, State.OFFERING) and self.round == 0:
            error: HolepunchError = PeerTimeoutError(
                f"{self.peer_name} did not answer within {self.options.timeout:.0f} s",
                hint=f"Is `holepunch --accept` running there, and does it know {self._identity.peer_id}?",
            )
        elif not self._gatherer.answered and self.options.servers:
            error = NetworkError(
                "no STUN server answered, and the peer is not on this network",
                hint="Check the connection with `holepunch doctor`, or name other servers with --stun.",
            )
        else:
            reason, hint = explain(self._situation(), heard=self.checks.has_heard)
            error = TraversalError(f"no direct path to {self.peer_name}: {reason}", hint=hint)
            self._send_offer(OfferType.BYE, now, reason=reason)
        self._end(now, str(error), error)

    # Using the path.

    def _both_keep(self) -> bool:
        return self.options.keeps_socket and self.remote is not None and self.remote.keeps_socket

    def _path_selected(self, now: float) -> None:
        path = self.checks.selected
        if path is None:
            return
        self.state = State.ESTABLISHED
        self._deadline = None
        self._steps.clear()
        self._gatherer.keep_alive(now, on=False)
        inner, outer, remote = self.endpoints
        self._emit(
            PathSelected(
                path="direct",
                inner=inner,
                outer=outer,
                remote=remote,
                rtt=path.rtt or 0.0,
                elapsed=now - self._known_at,
                packets=self.checks.packets,
                tuples=self.checks.tuples,
            )
        )
        if self._both_keep():
            self._consent.start(now)
        if self._old_sockets and path.local not in self._old_sockets:
            self._old_sockets_until = now + OLD_SOCKET_LINGER

    def _lose_path(self, now: float) -> None:
        path = self.checks.selected
        if path is not None and self.state is State.ESTABLISHED:
            self._emit(PathLost(remote=path.remote, silent=self._consent.silence(now)))
            self._begin_round(self.round + 1, now, answering=False)

    def _begin_round(self, round_: int, now: float, *, answering: bool) -> None:
        """Gathers on fresh sockets; the old ones answer until the new path is selected."""
        if round_ > MAX_ROUNDS:
            self._end(now, "the path was lost too often", TraversalError("the path was lost too often"))
            return
        self._close_old_sockets()
        self._gatherer.stop(now)
        self._old_sockets = list(self._gatherer.sockets)
        self._consent.stop()
        self._steps.clear()
        self.round, self._answering = round_, answering
        self.state = State.GATHERING
        self._deadline = now + self.options.give_up
        self.checks.restart(round_)
        self._drain_gatherer(now)
        self._gatherer = self._make_gatherer()
        self._gatherer.start(now)

    def _close_old_sockets(self) -> None:
        self._events.extend(CloseSocket(local) for local in self._old_sockets)
        self._old_sockets = []
        self._old_sockets_until = None

    # Plumbing.

    def _pump(self, now: float) -> None:
        """Carries events between the parts until none is left, and keeps the order of datagrams."""
        self._drain_gatherer(now)
        self._collect_datagrams(now)
        while self._checks is not None and (event := self._checks.next_event()) is not None:
            if isinstance(event, Selected):
                self._path_selected(now)
            elif isinstance(event, PeerReady):
                self._emit(SessionReady())
            elif isinstance(event, PeerLeft):
                self._end(now, "closed by the peer")
            elif isinstance(event, Progressed):
                self._events.append(event)
            else:
                self._emit(event)

    def _drain_gatherer(self, now: float) -> None:
        while (event := self._gatherer.next_event()) is not None:
            if isinstance(event, GatherFailed):
                error = NetworkError(f"no usable network: {event.reason}", hint="Connect to a network and try again.")
                self._end(now, event.reason, error)
            elif isinstance(event, MappingChanged):
                self._mapping_changed(now)
            elif isinstance(event, Event):
                self._emit(event)
                if event.name == "gathered" and self.state is State.GATHERING:
                    self._gathered(now)
            elif isinstance(event, OpenSocket | CloseSocket):
                self._events.append(event)

    def _mapping_changed(self, now: float) -> None:
        """What we offered is no longer where we are: offer anew, while the peer can still use it."""
        if self.state is State.OFFERING:
            self._send_offer(OfferType.INVITE, now)

    def _collect_datagrams(self, now: float) -> None:
        self._out.extend(self._gatherer.datagrams_to_send(now))
        if self._checks is not None:
            self._out.extend(self._checks.datagrams_to_send(now))

    def _emit(self, event: Event) -> None:
        self._events.append(replace(event, session=self.name))

    def _end(self, now: float, reason: str, error: HolepunchError | None = None) -> None:
        if self.state is State.CLOSED:
            return
        self.error = error
        self._collect_datagrams(now)
        if error is not None:
            self._emit(Failed(reason=str(error), hint=error.hint, status=error.exit_status))
        self._emit(SessionClosed(reason=reason))
        self._gatherer.stop(now)
        self._finish(State.CLOSED)

    def _finish(self, state: State) -> None:
        self.state = state
        self._deadline = None
        self._steps.clear()
        self._consent.stop()
