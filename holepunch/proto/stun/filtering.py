"""Who may send to our mapping (RFC 5780 section 4.4), and what it costs when somebody who may not tries.

Each server with a second address is asked from two sockets of their own:

    far     an answer from the other address and port      heard: endpoint-independent filtering
    near    an answer from the other port                  heard: address-dependent
            neither is heard                               address-and-port-dependent

Then the `far` socket, to which an unsolicited packet has come, asks where it is seen now.
"""

from collections.abc import Sequence
from functools import partial

from ..machine import Address
from ..nat import Filtering
from .findings import EarlyPacket
from .message import mapped_address
from .questions import Questions
from .transaction import Answered, GaveUp

FAR, NEAR = 0, 1


class FilteringTest:
    """Asks by `questions`, which belongs to whoever runs the test.

    Args:
        questions: what to ask with.
        servers: (server, its other address), the nearest first.
        alive: endpoints of theirs that have answered: the silence of another proves nothing.
        first_local: number of the first of two sockets for each server.
    """

    def __init__(
        self,
        questions: Questions,
        servers: Sequence[tuple[Address, Address]],
        alive: frozenset[Address],
        first_local: int,
    ) -> None:
        self._questions = questions
        self._servers = servers
        self._alive = alive
        self._first = first_local
        self._heard: dict[int, bool] = {}
        self._before: dict[int, Address] = {}
        self._after: dict[Address, Address] = {}
        self._witness: tuple[Address, Address, Address] | None = None

    def start(self, now: float) -> None:
        """Begins to ask for answers from elsewhere."""
        for index in range(len(self._servers)):
            for kind in (FAR, NEAR):
                local = self._first + 2 * index + kind
                if self._source(local) in self._alive:
                    then = partial(self._ask_for_change, local)
                    self._questions.open(local, partial(self._questions.ask, local, self._servers[index][0], then))

    def start_aftermath(self, now: float) -> None:
        """Begins to ask what an unsolicited packet has done; to be called when the rest is over."""
        for index, (server, other) in enumerate(self._servers):
            local = self._first + 2 * index + FAR
            if self._heard.get(local) is False:
                self._witness = self._before[local], server, other
                for endpoint in (server, other):
                    self._questions.ask(local, endpoint, partial(self._note_after, endpoint), now)
                return

    @property
    def filtering(self) -> Filtering:
        """The verdict; what one server's packets could do stands against another's silence."""
        verdicts = {self._verdict(self._first + 2 * index) for index in range(len(self._servers))}
        order = (Filtering.ENDPOINT_INDEPENDENT, Filtering.ADDRESS_DEPENDENT, Filtering.ADDRESS_AND_PORT_DEPENDENT)
        return next((verdict for verdict in order if verdict in verdicts), Filtering.UNKNOWN)

    def _verdict(self, local: int) -> Filtering:
        """Concludes from one server; what was not asked, or not obeyed, leaves it open."""
        far, near = self._heard.get(local + FAR), self._heard.get(local + NEAR)
        if far:
            return Filtering.ENDPOINT_INDEPENDENT
        if far is None or near is None:
            return Filtering.UNKNOWN
        return Filtering.ADDRESS_DEPENDENT if near else Filtering.ADDRESS_AND_PORT_DEPENDENT

    @property
    def early_packet(self) -> EarlyPacket:
        """What unsolicited packets do; meaningful where the mapping does not depend on the destination."""
        if self.filtering is Filtering.ENDPOINT_INDEPENDENT:
            return EarlyPacket.HARMLESS
        if self._witness is None:
            return EarlyPacket.UNKNOWN
        before, server, other = self._witness
        if self._after.get(server, before) != before:
            return EarlyPacket.COSTS_MAPPING
        if self._after.get(other, before) != before:
            return EarlyPacket.MOVES_US
        return EarlyPacket.HARMLESS if len(self._after) == 2 else EarlyPacket.UNKNOWN

    def _source(self, local: int) -> Address:
        """Returns where the answer to a socket's question must come from."""
        server, other = self._servers[(local - self._first) // 2]
        return other if (local - self._first) % 2 == FAR else (server[0], other[1])

    def _ask_for_change(self, local: int, outcome: Answered | GaveUp, now: float) -> None:
        if isinstance(outcome, Answered) and (mapped := mapped_address(outcome.response)) is not None:
            self._before[local] = mapped
            server, _ = self._servers[(local - self._first) // 2]
            far = (local - self._first) % 2 == FAR
            self._questions.ask(local, server, partial(self._note, local), now, change_ip=far, change_port=True)

    def _note(self, local: int, outcome: Answered | GaveUp, now: float) -> None:
        if isinstance(outcome, Answered):
            if outcome.remote == self._source(local):
                self._heard[local] = True
            # Else the server does not do as it is asked, and its answer says nothing.
        elif not outcome.code:
            self._heard[local] = False

    def _note_after(self, endpoint: Address, outcome: Answered | GaveUp, now: float) -> None:
        if isinstance(outcome, Answered) and (mapped := mapped_address(outcome.response)) is not None:
            self._after[endpoint] = mapped
