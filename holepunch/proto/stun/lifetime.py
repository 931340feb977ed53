"""How long an idle mapping lives (RFC 5780 section 4.6), all ages at once.

One socket for each age makes its mapping now and is then silent.  When a mapping has come of age,
another socket, the *voice*, asks the server to answer to that outer port (RESPONSE-PORT): the answer
arrives while the mapping lives.  The first socket has age 0 and is the control: if it hears nothing,
the server does not do as it is asked, and nothing is measured.

The mapping has seen one request and one answer.  Linux routers keep such a mapping 30 s, and one
with steady traffic both ways 120 s or more: what is measured is what an idle path gets.
"""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

from ..machine import Address, Entropy, IcmpError, Transmit
from .message import binding_request, mapped_address
from .questions import Questions
from .transaction import Answered, GaveUp

AGES = (5.0, 10.0, 15.0, 20.0, 25.0, 28.0, 32.0, 40.0, 50.0, 58.0, 65.0, 90.0, 115.0, 125.0, 175.0, 185.0, 240.0, 300.0)
"""Seconds; close together around the values that makers like: 30, 60, 120, 180."""
TRIES = 3  # requests for each age


@dataclass(frozen=True, slots=True)
class AgeReached:
    """Event: a mapping has come of age."""

    age: float
    alive: bool


@dataclass(frozen=True, slots=True)
class LifetimeFound:
    """Event: the measurement is over."""

    alive: float
    """Seconds an idle mapping lived at least; 0: not measured, or less than the first age."""
    dead: float
    """Seconds after which one was gone; 0: none was."""
    failure: str = ""
    """Why nothing was measured; empty if it was."""


class LifetimeProbe:
    """Measures the lifetime of idle mappings; a SocketMachine that ends with LifetimeFound.

    Args:
        server: a STUN server that knows RESPONSE-PORT; others make it end early with a failure.
        entropy: gives transaction ids.
        family: 4 or 6.
        ages: seconds of silence to try, rising.
        host: address to bind; empty for any.
        first_local: number of the first of its len(ages) + 2 sockets.
    """

    def __init__(
        self,
        server: Address,
        entropy: Entropy,
        *,
        family: int = 4,
        ages: Sequence[float] = AGES,
        host: str = "",
        first_local: int = 0,
    ) -> None:
        self._server = server
        self._ages = (0.0, *ages)
        self._voice = first_local
        self._questions = Questions(entropy, family, host)
        self._ids = [entropy(12) for _ in self._ages]
        self._outer: dict[int, Address] = {}
        self._alive: dict[int, bool] = {}
        self._done = False
        self._out: deque[Transmit] = deque()
        self._events: deque[AgeReached | LifetimeFound] = deque()

    def start(self, now: float) -> None:
        """Begins: the voice first, for the other sockets must share its outer address."""
        self._questions.open(
            self._voice, partial(self._questions.ask, self._voice, self._server, self._note_voice, rto=0.2)
        )

    def socket_opened(self, local: int, address: Address, now: float) -> None:
        """Takes one of our sockets."""
        self._questions.socket_opened(local, address, now)

    def socket_failed(self, local: int, reason: str, now: float) -> None:
        """Does without this age; without the voice or the control there is nothing to measure."""
        self._questions.socket_failed(local, reason, now)
        if local <= self._voice + 1:
            self._finish(reason)

    def receive_datagram(self, data: bytes, remote: Address, now: float, local: int = 0) -> None:
        """Takes an answer; one that the voice asked for, on another socket, tells that its mapping lives."""
        index = local - self._voice - 1
        if 0 <= index < len(self._ids) and remote == self._server and data[8:20] == self._ids[index]:
            if not self._done and index not in self._alive:
                self._conclude(index, True, now)
        else:
            self._questions.receive_datagram(data, remote, now, local)

    def receive_icmp(self, error: IcmpError, now: float, local: int = 0) -> None:
        """Ignores it."""

    def handle_timer(self, now: float) -> None:
        """Asks for the mappings that have come of age."""
        self._questions.handle_timer(now)

    def datagrams_to_send(self, now: float) -> list[Transmit]:
        """Returns what to send now."""
        out = [*self._out, *self._questions.datagrams_to_send(now)]
        self._out.clear()
        return out

    def get_timer(self) -> float | None:
        """Returns when something is due."""
        return self._questions.get_timer()

    def next_event(self) -> object | None:
        """Returns OpenSocket, CloseSocket, AgeReached, and at the end LifetimeFound."""
        return self._questions.next_event() or (self._events.popleft() if self._events else None)

    def _note_voice(self, outcome: Answered | GaveUp, now: float) -> None:
        mapped = mapped_address(outcome.response) if isinstance(outcome, Answered) else None
        if mapped is None or isinstance(outcome, GaveUp):
            self._finish(outcome.reason if isinstance(outcome, GaveUp) else "an answer without our address")
            return
        self._outer[self._voice] = mapped
        self._questions.rtt = outcome.rtt
        self._open(0)

    def _open(self, index: int) -> None:
        local = self._voice + 1 + index
        self._questions.open(
            local, partial(self._questions.ask, local, self._server, partial(self._note_mapping, index))
        )

    def _note_mapping(self, index: int, outcome: Answered | GaveUp, now: float) -> None:
        mapped = mapped_address(outcome.response) if isinstance(outcome, Answered) else None
        if mapped is not None and mapped[0] == self._outer[self._voice][0]:
            self._outer[self._voice + 1 + index] = mapped
            self._questions.later(now + self._ages[index], partial(self._call, index, TRIES))
        elif index == 0:
            self._finish("our sockets do not share one outer address")

    def _call(self, index: int, tries: int, now: float) -> None:
        """Asks, by the voice, for an answer to the socket of an age."""
        if index in self._alive:
            return
        if not tries:
            self._conclude(index, False, now)
            return
        port = self._outer[self._voice + 1 + index][1]
        request = binding_request(self._ids[index], response_port=port)
        self._out.append(Transmit(request, self._server, None, self._voice))
        self._questions.later(now + 0.1 + 1.5 * self._questions.rtt, partial(self._call, index, tries - 1))

    def _conclude(self, index: int, alive: bool, now: float) -> None:
        self._alive[index] = alive
        self._questions.close(self._voice + 1 + index)
        if index == 0:
            if not alive:
                self._finish("the server does not answer to another port (RFC 5780 RESPONSE-PORT)")
            for later in range(1, len(self._ages) if alive else 0):
                self._open(later)
            return
        self._events.append(AgeReached(self._ages[index], alive))
        # Ages are concluded about in order.  One death may be a lost packet; two in a row are not.
        dead = [known for known in sorted(self._alive) if not self._alive[known]][-2:]
        if index == len(self._ages) - 1 or (len(dead) == 2 and dead[1] - dead[0] == 1):
            self._finish()

    def _finish(self, failure: str = "") -> None:
        if self._done:
            return
        self._done = True
        self._questions.close_all()
        alive = max((self._ages[index] for index, lives in self._alive.items() if lives), default=0.0)
        dead = min(
            (age for i, age in enumerate(self._ages) if self._alive.get(i) is False and age > alive), default=0.0
        )
        self._events.append(LifetimeFound(alive, dead, failure))
