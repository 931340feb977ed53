"""One STUN request and its retransmissions (RFC 8489 section 6.2.1)."""

from collections import deque
from dataclasses import dataclass

from ...errors import WireError
from ..machine import Address, Transmit
from .message import Message, MessageClass, decode_message, error_of

# RFC 8489, 6.2.1: RTO SHOULD be at least 500 ms and doubles after each retransmission; Rc = 7 requests
# in all; the last waits Rm = 16 RTO.  With these values a silent server is given up after 39.5 s.
INITIAL_RTO = 0.5  # seconds
MAX_REQUESTS = 7
LAST_WAIT = 16.0  # multiples of the first RTO


@dataclass(frozen=True, slots=True)
class Answered:
    """The server answered with success."""

    response: Message
    rtt: float
    """Seconds since the last request; ambiguous, and so too low, after a retransmission."""
    remote: Address
    """Where the answer came from: the server, unless another source was allowed."""


@dataclass(frozen=True, slots=True)
class GaveUp:
    """There is no answer, or an error."""

    reason: str
    """Half a sentence for a person."""
    code: int = 0
    """The error's number (RFC 8489 section 14.8); 0 where nothing came."""


class Transaction:
    """Sends one request until it is answered.

    Args:
        request: the encoded message, starting with its 20-byte header.
        server: where to send it.
        rto: first retransmission timeout, in seconds.
        max_requests: how often it is sent at most.
        last_wait: how long the last request waits, in multiples of `rto`.
        any_source: whether the answer may come from elsewhere: a CHANGE-REQUEST asks for that.
        local: number of the socket to send from.
        ttl: IP hop limit to send with; None keeps the socket's.
    """

    def __init__(
        self,
        request: bytes,
        server: Address,
        *,
        rto: float = INITIAL_RTO,
        max_requests: int = MAX_REQUESTS,
        last_wait: float = LAST_WAIT,
        any_source: bool = False,
        local: int = 0,
        ttl: int | None = None,
    ) -> None:
        self.id = request[8:20]
        self.server = server
        self.local = local
        self._request = request
        self._rto = rto
        self._max_requests = max_requests
        self._last_wait = last_wait
        self._any_source = any_source
        self._ttl = ttl
        self._sent = 0
        self._last_sent = 0.0
        self._deadline: float | None = None
        self._out: deque[Transmit] = deque()
        self._events: deque[Answered | GaveUp] = deque()

    @property
    def is_running(self) -> bool:
        """Whether an answer is still awaited."""
        return self._deadline is not None

    def start(self, now: float) -> None:
        """Sends the first request."""
        self._send(now)

    def stop(self) -> None:
        """Forgets the request; no event follows."""
        self._deadline = None
        self._out.clear()

    def receive_datagram(self, data: bytes, remote: Address, now: float) -> None:
        """Takes a datagram; anything that is not our answer is ignored."""
        # A response from anyone else, or to another request, is not ours: NATs
        # deliver strangers' packets and an off-path attacker guesses ports.
        if self._deadline is None or data[8:20] != self.id or (remote != self.server and not self._any_source):
            return
        try:
            message = decode_message(data)
        except WireError:
            return  # a retransmission may bring a whole one
        if message.message_class is MessageClass.SUCCESS:
            self._finish(Answered(message, now - self._last_sent, remote))
        elif message.message_class is MessageClass.ERROR:
            code, text = error_of(message) or (0, "an error without a number")
            self._finish(GaveUp(f"the server refused: {code} {text!r}", code))

    def handle_timer(self, now: float) -> None:
        """Sends again, or gives up."""
        if self._deadline is None or now < self._deadline:
            return
        if self._sent < self._max_requests:
            self._send(now)
        else:
            self._finish(GaveUp(f"no answer to {self._sent} requests"))

    def datagrams_to_send(self, now: float) -> list[Transmit]:
        """Returns what to send now."""
        out = list(self._out)
        self._out.clear()
        return out

    def get_timer(self) -> float | None:
        """Returns when the answer is overdue."""
        return self._deadline

    def next_event(self) -> Answered | GaveUp | None:
        """Returns the outcome, once."""
        return self._events.popleft() if self._events else None

    def _send(self, now: float) -> None:
        self._out.append(Transmit(self._request, self.server, self._ttl, self.local))
        self._sent += 1
        self._last_sent = now
        last = self._sent >= self._max_requests
        self._deadline = now + self._rto * (self._last_wait if last else 2.0 ** (self._sent - 1))

    def _finish(self, event: Answered | GaveUp) -> None:
        self._deadline = None
        self._out.clear()
        self._events.append(event)
