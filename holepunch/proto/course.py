"""The course of one session: what follows from what, from gathering to the last round.

    NEW -> GATHERING -> OFFERING -> PUNCHING -> ESTABLISHED -> RELEASED or CLOSED
                 ^                                   |
                 +---------- the path is lost -------+

This is the part of the agent that decides; holepunch.proto.agent is its face to whoever drives it.
"""

from collections import deque
from collections.abc import Iterable
from dataclasses import replace

from ..errors import ConfigurationError, HolepunchError, NetworkError, PeerTimeoutError, TraversalError
from .checkevents import PeerLeft, PeerReady, Progressed, Selected
from .checklist import CheckList
from .consent import Consent
from .correspondence import Correspondence
from .envelope import Envelope
from .events import (
    Event,
    Failed,
    PathLost,
    PathSelected,
    SessionClosed,
    SessionReady,
    StepBegun,
)
from .gather import Gatherer, GatherFailed, MappingChanged
from .identity import Identity, PeerId
from .machine import Address, CloseSocket, Entropy, OpenSocket, Transmit
from .noise import SessionKeys
from .offer import Carry, Offer, OfferType
from .options import AgentOptions
from .packet import Opener, Sealer
from .round import ANSWERER_RETRY, MAX_ROUNDS, RETRY, Round
from .seal import Invitation
from .state import OffersWaiting, State

OLD_SOCKET_LINGER = 3.0  # seconds that an earlier round's sockets still answer


class Course:
    """The state of one session, and its transitions.

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
        self._mail = Correspondence(
            identity, peer, self.session, options, entropy=entropy, epoch=epoch, invitation=invitation
        )
        # The rest changes.
        self.state = State.NEW
        self.error: HolepunchError | None = None
        """Why the agent is CLOSED, where it failed."""
        self._refusal: HolepunchError | None = None  # why the last envelope was of no use
        self.remote: Offer | None = invitation.offer if invitation else None
        """The peer's latest offer."""
        self._round = Round(0, options, entropy, answering=not self.is_inviter, gatherer=gatherer)
        self._checks: CheckList | None = None
        self._consent = Consent(entropy)
        self._deadline: float | None = None
        self._bound: dict[int, Address] = {}  # every open socket of every round
        self._old_sockets: list[int] = []
        self._old_sockets_until: float | None = None
        self._out: deque[Transmit] = deque()
        self._events: deque[object] = deque()

    # What it is.

    @property
    def name(self) -> str:
        """The session's id as events show it: 8 hex digits."""
        return self.session[:4].hex()

    @property
    def keys(self) -> SessionKeys | None:
        """The session's keys, once both offers are known."""
        return self._mail.keys

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
        inner = self._bound.get(path.local, ("", 0))
        if inner[0] in ("", "0.0.0.0", "::") and self.options.source is not None:
            inner = self.options.source(path.remote), inner[1]
        return inner, path.observed or inner, path.remote

    # Gathering and offering.

    def _gathered(self, now: float) -> None:
        """Our candidates are known: tell the peer; and, when we answer, prime first."""
        round_ = self._round
        round_.gatherer.keep_alive(now)
        if round_.number > 0:
            self.state = State.PUNCHING
            if round_.answering:
                self._punch(now)
            self._send_offer(OfferType.UPDATE, now, answer=round_.answering)
        elif self.is_inviter:
            self.state = State.OFFERING
            self._send_offer(OfferType.INVITE, now)
        else:
            accept = self._mail.seal(OfferType.ACCEPT, round_, now)
            self._punch(now)
            self._post(accept)

    def _send_offer(
        self, kind: OfferType, now: float, *, started: bool = False, answer: bool = False, reason: str = ""
    ) -> None:
        self._post(self._mail.seal(kind, self._round, now, started=started, answer=answer, reason=reason))

    def _post(self, envelope: Envelope) -> None:
        self._mail.post(envelope)
        self._events.append(OffersWaiting())

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
            if self._mail.keys is not None:
                reason = f"one side carries {ours} datagrams, the other {theirs}"
                self._send_offer(OfferType.BYE, now, reason=reason)
            self._end(now, "no agreement", error)
        elif offer.type is OfferType.ACCEPT:
            self.remote = offer
            self._punch(now)
        elif offer.type is OfferType.INVITE:
            if not self.is_inviter and self._round.number == 0 and self.remote and offer.created >= self.remote.created:
                self.remote = offer
                if self.state is State.PUNCHING:
                    self._round.remote = offer
                    self._round.check(self.checks, now, low_ttl=self.checks.low_ttl)
        elif offer.started:
            if offer.round == self._round.number and self._checks is not None:
                self._checks.send_fully(now)
        elif offer.round > self._round.number:
            self.remote = offer
            self._begin_round(offer.round, now, answering=True)
        elif offer.round == self._round.number > 0 and self.state is not State.ESTABLISHED:
            # Once the old path has revived, the round is over: the peer will hear us on that path.
            self._note_update(offer, now)

    def _note_update(self, offer: Offer, now: float) -> None:
        """The peer's UPDATE of a round that we have begun too."""
        self.remote = offer
        if offer.answer and not self._round.answering:
            self._punch(now)
        elif not (offer.answer or self.is_inviter or self._round.answering):
            # Both have begun this round: the inviter's UPDATE stands, and ours becomes the answer.
            self._round.answering = True
            if self._round.gatherer.is_done:
                self._punch(now)
                self._send_offer(OfferType.UPDATE, now, answer=True)

    # Punching.

    def _punch(self, now: float) -> None:
        """Both offers are known: make the plan and take its first steps."""
        if self.remote is None or self._mail.keys is None:
            raise ValueError("both offers are needed")
        keys = self._mail.keys
        if self._checks is None:
            ours, theirs = (b"i2r", b"r2i") if self.is_inviter else (b"r2i", b"i2r")
            self._checks = CheckList(
                Sealer(keys.derive(b"punch " + ours)),
                Opener(keys.derive(b"punch " + theirs)),
                controlling=self.is_inviter,
                entropy=self._entropy,
                allowance=self.options.allowance,
            )
        self.state = State.PUNCHING
        if self._round.number == 0:
            self._deadline = None
        self._round.begin(self.remote, now)
        self._take_steps(now)

    def _take_steps(self, now: float) -> None:
        while self.state is State.PUNCHING and (step := self._round.next_step(now)) is not None:
            targets = self._round.take(
                step, self.checks, now, lambda: self._send_offer(OfferType.UPDATE, now, started=True)
            )
            self._emit(StepBegun(strategy=step.name, targets=targets))

    def _give_up(self, now: float) -> None:
        if self._round.remote is None and self._round.number == 0:
            refused = f"; an answer was refused: {self._refusal}" if self._refusal else ""
            error: HolepunchError = PeerTimeoutError(
                f"{self.peer_name} did not answer within {self.options.timeout:.0f} s{refused}",
                hint=(self._refusal and self._refusal.hint)
                or f"Is `holepunch --accept` running there, and does it know {self._identity.peer_id}?",
            )
        elif not self._round.gatherer.answered and self.options.servers:
            error = NetworkError(
                "no STUN server answered, and the peer is not on this network",
                hint="Check the connection with `holepunch doctor`, or name other servers with --stun.",
            )
        else:
            reason, hint = self._explain()
            error = TraversalError(f"no direct path to {self.peer_name}: {reason}", hint=hint)
            self._send_offer(OfferType.BYE, now, reason=reason)
        self._end(now, str(error), error)

    def _explain(self) -> tuple[str, str]:
        if self._round.remote is None:
            return "the path was lost, and the peer did not answer through the mediator", "Is it still running?"
        return self._round.explain(heard=self.checks.has_heard)

    # Using the path.

    def _both_keep(self) -> bool:
        return self.options.keeps_socket and self.remote is not None and self.remote.keeps_socket

    def _path_selected(self, now: float) -> None:
        path = self.checks.selected
        if path is None:
            return
        self.state = State.ESTABLISHED
        self._deadline = None
        self._round.settle()
        self._round.gatherer.keep_alive(now, on=False)
        inner, outer, remote = self.endpoints
        self._emit(
            PathSelected(
                path="direct",
                inner=inner,
                outer=outer,
                remote=remote,
                rtt=path.rtt or 0.0,
                elapsed=now - self._round.known_at,
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
            self._begin_round(self._round.number + 1, now, answering=False)

    def _begin_round(self, number: int, now: float, *, answering: bool) -> None:
        """Gathers on fresh sockets; the old ones answer until the new path is selected."""
        if number > MAX_ROUNDS:
            self._end(now, "the path was lost too often", TraversalError("the path was lost too often"))
            return
        old, path = self._round.gatherer, self.checks.selected
        old.stop(now)
        self._drain_gatherer(now)
        in_use = [local for local in self._old_sockets if path is not None and local == path.local]
        self._close_sockets([local for local in self._old_sockets if local not in in_use])
        self._old_sockets, self._old_sockets_until = [*in_use, *old.sockets], None
        self._consent.stop()
        self.checks.restart(number)
        self.state = State.GATHERING
        mail = 4 * max(self.options.latency, self.remote.latency if self.remote else 0.0)
        if self._deadline is None:
            self._deadline = now + self.options.give_up + mail
        retry_at = now + (RETRY if self.is_inviter else ANSWERER_RETRY) + mail
        self._round = Round(number, self.options, self._entropy, answering=answering, hops=old.hops, retry_at=retry_at)
        self._round.gatherer.start(now)

    def _close_sockets(self, numbers: Iterable[int]) -> None:
        for local in numbers:
            self._bound.pop(local, None)
            self._events.append(CloseSocket(local))

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
                if event.ready:
                    self._emit(SessionReady())
            else:
                self._emit(event)

    def _drain_gatherer(self, now: float) -> None:
        while (event := self._round.gatherer.next_event()) is not None:
            if isinstance(event, GatherFailed) and self._round.number == 0:
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
        self._out.extend(self._round.gatherer.datagrams_to_send(now))
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
        self._round.gatherer.stop(now)
        self._finish(State.CLOSED)

    def _finish(self, state: State) -> None:
        self.state = state
        self._deadline = None
        self._round.settle()
        self._consent.stop()
