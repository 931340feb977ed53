"""One connection to one peer, from the first STUN request to the last BYE: the whole of it, and pure.

    gather      our candidates                                    (holepunch.proto.gather)
    offer       INVITE out, ACCEPT in; or the other way           (holepunch.proto.seal)
    punch       the steps of a plan, on a list of paths           (holepunch.proto.round, checklist)
    use         consent, and a new round when the path dies       (holepunch.proto.consent)

Datagrams, envelopes and the time go in; datagrams, envelopes, sockets to open or close, and progress
events come out.  `Puncher` drives an agent on real sockets and mediators, and holepunch.testing.simnet a
thousand of them through invented NATs in virtual time; neither takes a decision.
"""

from ..errors import (
    AuthenticationError,
    HolepunchError,
    WireError,
)
from .course import Course
from .envelope import Envelope
from .events import (
    OfferReceived,
    OfferRefused,
    Started,
)
from .machine import Address, IcmpError, Transmit
from .offer import OfferType
from .options import AgentOptions
from .state import OffersWaiting, State

__all__ = ["Agent", "AgentOptions", "OffersWaiting", "State"]


class Agent(Course):
    """A SocketMachine that also takes and gives envelopes; see Course for its arguments."""

    # What the application asks.

    def recognises(self, data: bytes) -> bool:
        """Tells cheaply whether a datagram is for the agent and not the user's."""
        return self._checks is not None and self._checks.recognises(data)

    def start(self, now: float) -> None:
        """Begins."""
        self.state = State.GATHERING
        self._emit(Started(role="connect" if self.is_inviter else "accept", peer=self.peer_name))
        if self._round.gatherer.is_done:
            self._bound.update(self._round.gatherer.sockets)
            self._emit(self._round.gatherer.summary())
            self._gathered(now)
        else:
            self._round.gatherer.start(now)
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
            self._begin_round(self._round.number + 1, now, answering=False)
            self._pump(now)

    def hurry(self, now: float) -> None:
        """Asks the peer for a sign of life now."""
        self._consent.hurry(now)

    def release(self) -> None:
        """Ends the agent's part without a word: the selected socket now belongs to the user's command."""
        selected = self.local
        self._round.gatherer.stop(0.0)
        self._close_sockets([local for local in self._bound if local != selected])
        self._finish(State.RELEASED)

    def close(self, now: float, reason: str = "closed by this side") -> None:
        """Says BYE and ends."""
        if self.state in (State.CLOSED, State.RELEASED):
            return
        if self.state is State.ESTABLISHED:
            if self._both_keep():
                self.checks.leave(now)
        elif self._mail.keys is not None:
            self._send_offer(OfferType.BYE, now, reason=reason)
        self._end(now, reason)

    def fail(self, now: float, error: HolepunchError) -> None:
        """Ends: something outside, such as every mediator, has failed."""
        self._end(now, str(error), error)

    # What whoever drives a machine calls.

    def socket_opened(self, local: int, address: Address, now: float) -> None:
        """Takes a socket that an OpenSocket event asked for."""
        self._bound[local] = address
        self._round.gatherer.socket_opened(local, address, now)
        self._pump(now)

    def socket_failed(self, local: int, reason: str, now: float) -> None:
        """Does without a socket."""
        self._round.gatherer.socket_failed(local, reason, now)
        self._pump(now)

    def receive_datagram(self, data: bytes, remote: Address, now: float, local: int = 0) -> None:
        """Takes a punch packet or a STUN answer; anything else is dropped."""
        if self._checks is None or not self._checks.receive_datagram(data, remote, now, local):
            self._round.gatherer.receive_datagram(data, remote, now, local)
        elif self._checks.selected is not None:
            self._consent.heard(self._checks.selected.heard_at, now)
        self._pump(now)

    def receive_icmp(self, error: IcmpError, now: float, local: int = 0) -> None:
        """Takes an ICMP error; only hop measuring listens to them."""
        self._round.gatherer.receive_icmp(error, now, local)
        self._pump(now)

    def receive_envelope(self, envelope: Envelope, now: float, mediator: str = "") -> bool:
        """Takes an envelope of this session; returns whether it was authentic and of use."""
        if self.state in (State.NEW, State.CLOSED, State.RELEASED):
            return False
        try:
            offer = self._mail.open(envelope, now)
        except (AuthenticationError, WireError) as error:
            self._refusal = error
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
        self._round.gatherer.handle_timer(now)
        if self._checks is not None:
            self._checks.handle_timer(now)
        self._take_steps(now)
        verdict = self._consent.handle_timer(now)
        if verdict is True:
            self.checks.check(now)
        elif verdict is False:
            self._lose_path(now)
        if self._old_sockets_until is not None and now >= self._old_sockets_until:
            self._close_sockets(self._old_sockets)
            self._old_sockets, self._old_sockets_until = [], None
        if any(at is not None and now >= at for at in (self._deadline, self._round.deadline)):
            self._give_up(now)
        elif self._round.retry_at is not None and now >= self._round.retry_at:
            self._begin_round(self._round.number + 1, now, answering=False)
        self._pump(now)

    def get_timer(self) -> float | None:
        """Returns when handle_timer wants to be called."""
        if self.state in (State.NEW, State.CLOSED, State.RELEASED):
            return None
        times = [self._round.get_timer(), self._consent.get_timer(), self._deadline, self._old_sockets_until]
        if self._checks is not None:
            times.append(self._checks.get_timer())
        return min((time for time in times if time is not None), default=None)

    def datagrams_to_send(self, now: float) -> list[Transmit]:
        """Returns what to send now."""
        self._collect_datagrams(now)
        out = list(self._out)
        self._out.clear()
        return out

    def envelopes_to_send(self, now: float) -> list[Envelope]:
        """Returns what to post now, by every mediator."""
        return self._mail.take()

    def next_event(self) -> object | None:
        """Returns OpenSocket, CloseSocket, or an Event."""
        return self._events.popleft() if self._events else None
