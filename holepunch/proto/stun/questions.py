"""Many STUN requests at once: sockets to open, answers to wait for, things to do a little later.

What the probes (behaviour.py, lifetime.py) are written with: a question is put together with what to
do with its outcome, and a step is over when nothing is open any more.
"""

from collections import deque
from collections.abc import Callable

from ..machine import Address, CloseSocket, Entropy, OpenSocket, Transmit
from .message import binding_request
from .transaction import Answered, GaveUp, Transaction

Then = Callable[[Answered | GaveUp, float], None]
"""Takes the outcome of a request, and now."""
Action = Callable[[float], None]
"""Takes now."""


class Questions:
    """The sockets, requests and delays of a probe.

    Args:
        entropy: gives transaction ids.
        family: 4 or 6.
        host: address to bind; empty for any.
    """

    def __init__(self, entropy: Entropy, family: int, host: str = "") -> None:
        self.ports: dict[int, int] = {}
        """Local ports of the open sockets, by number."""
        self.rtt = 0.0
        """Seconds to the servers and back, for the schedule of what follows; 0: unknown."""
        self._entropy = entropy
        self._family = family
        self._host = host
        self._opening: dict[int, Action] = {}
        self._asked: list[tuple[Transaction, Then]] = []
        self._delayed: list[tuple[float, Action]] = []
        self._events: deque[OpenSocket | CloseSocket] = deque()

    @property
    def is_busy(self) -> bool:
        """Whether anything is still to happen."""
        return bool(self._asked or self._opening or self._delayed)

    def open(self, local: int, then: Action) -> None:
        """Opens a socket, and then does something; nothing if it cannot be opened."""
        self._opening[local] = then
        self._events.append(OpenSocket(local, self._family, self._host))

    def ask(
        self,
        local: int,
        server: Address,
        then: Then,
        now: float,
        *,
        change_ip: bool = False,
        change_port: bool = False,
        response_port: int = 0,
        rto: float | None = None,
    ) -> None:
        """Sends a Binding request from a socket; its outcome goes to `then`.

        The answer to a request for a change may come from anywhere.  Without `rto` the schedule is made for
        a server that has answered before: three requests, given up after little more than six round trips.
        """
        request = binding_request(
            self._entropy(12), change_ip=change_ip, change_port=change_port, response_port=response_port
        )
        transaction = Transaction(
            request,
            server,
            rto=0.05 + max(0.05, 1.25 * self.rtt) if rto is None else rto,
            max_requests=3 if rto is None else 4,
            last_wait=2.0 if rto is None else 3.0,
            any_source=change_ip or change_port,
            local=local,
        )
        transaction.start(now)
        self._asked.append((transaction, then))

    def wait(self, when: float, action: Action, now: float) -> None:
        """Does something at a time, or now where that is over: an Action that puts another off."""
        self.later(max(when, now), action)

    def later(self, when: float, action: Action) -> None:
        """Does something at a time."""
        self._delayed.append((when, action))

    def clear(self) -> None:
        """Forgets all that is open; the sockets stay."""
        self._asked.clear()
        self._opening.clear()
        self._delayed.clear()

    def close(self, local: int) -> None:
        """Closes a socket."""
        if self.ports.pop(local, None) is not None:
            self._events.append(CloseSocket(local))

    def close_all(self) -> None:
        """Forgets all that is open, and closes every socket."""
        self.clear()
        for local in list(self.ports):
            self.close(local)

    # The verbs of a machine, for whoever owns this.

    def socket_opened(self, local: int, address: Address, now: float) -> None:
        """Takes a socket; one that nobody waits for any more is closed again."""
        self.ports[local] = address[1]
        if (then := self._opening.pop(local, None)) is not None:
            then(now)
        else:
            self.close(local)

    def socket_failed(self, local: int, reason: str, now: float) -> None:
        """Does without."""
        self._opening.pop(local, None)

    def receive_datagram(self, data: bytes, remote: Address, now: float, local: int) -> None:
        """Gives an answer to the request it belongs to."""
        for transaction, _ in self._asked:
            if transaction.local == local:
                transaction.receive_datagram(data, remote, now)
        self._hand_out(now)

    def handle_timer(self, now: float) -> None:
        """Retransmits, gives up, and does what was put off."""
        for entry in sorted(self._delayed, key=lambda entry: entry[0]):
            if entry[0] <= now and entry in self._delayed:  # an action may clear everything
                self._delayed.remove(entry)
                entry[1](now)
        for transaction, _ in self._asked:
            transaction.handle_timer(now)
        self._hand_out(now)

    def datagrams_to_send(self, now: float) -> list[Transmit]:
        """Returns what to send now."""
        return [transmit for transaction, _ in self._asked for transmit in transaction.datagrams_to_send(now)]

    def get_timer(self) -> float | None:
        """Returns when something is due."""
        timers = [transaction.get_timer() for transaction, _ in self._asked]
        timers += [when for when, _ in self._delayed]
        return min((timer for timer in timers if timer is not None), default=None)

    def next_event(self) -> OpenSocket | CloseSocket | None:
        """Returns the next socket to open or to close."""
        return self._events.popleft() if self._events else None

    def _hand_out(self, now: float) -> None:
        """Gives outcomes to those who wait for them; they may ask more."""
        for entry in list(self._asked):
            if entry in self._asked and (outcome := entry[0].next_event()) is not None:  # as above
                self._asked.remove(entry)
                entry[1](outcome, now)
