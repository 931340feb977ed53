"""Finds out what our NATs do (RFC 4787) with STUN servers (RFC 5780): one machine, one address family.

Each step begins when the one before is over, and asks all its questions at once:

    servers      one socket asks every server where it is seen
    mapping      the same socket asks the other endpoints of servers that have them
    allocation   extra sockets, 10 ms apart, ask the nearest server: how outer ports follow each other
    beside       hairpinning between two of these, and the hops out of our NATs (hops.py)
    filtering    sockets of its own ask for answers from elsewhere
    aftermath    what those unsolicited packets did to the mappings they came to

Filtering is last and has its own sockets, since an unsolicited packet may spoil a mapping: a Linux
router takes the tuple for itself, and strict NATs drop the mapping.  The aftermath tells which.
"""

import enum
from collections import deque
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from functools import partial

from ..address import is_ipv6
from ..machine import Address, Entropy, IcmpError, Transmit
from ..nat import Filtering, Mapping, NatReport
from .classify import MappingVerdict, classify_allocation, classify_mapping
from .filtering import FilteringTest
from .findings import BehaviourFound, EarlyPacket, ServerAnswer
from .hops import HopsMeasured, HopsProbe
from .message import binding_request, is_usable_other, mapped_address, may_be_asked, other_address
from .questions import Questions
from .transaction import Answered, GaveUp

MAX_SERVERS = 8
MAX_CAPABLE = 2  # servers with another address that are asked for more
SAMPLES = 10  # extra sockets: enough to tell counting from a block from chance
SPACING = 0.01  # seconds between them, so that their order here is their order at the NAT
RTO = 0.2  # seconds; the first request, when distances are unknown
PATIENCE = 3.0  # seconds a step takes at most, whatever is lost, and PATIENCE_RTT round trips more
PATIENCE_RTT = 8  # two questions, one after the other, are given up after little more
_SAMPLE, _FILTER, _HOPS = 1, 40, 100  # where the numbers of their sockets begin


class Step(enum.Enum):
    """What is being found out, in order."""

    SERVERS = "servers"
    MAPPING = "mapping"
    ALLOCATION = "allocation"
    BESIDE = "hairpin and hops"
    FILTERING = "filtering"
    AFTERMATH = "aftermath"
    DONE = "done"


_STEPS = list(Step)


@dataclass(frozen=True, slots=True)
class StepBegun:
    """Event: a step has begun."""

    step: Step


class BehaviourProbe:
    """Finds out how the NATs of one address family behave; a SocketMachine that ends with BehaviourFound.

    Args:
        servers: STUN servers; those of another family are left out.
        entropy: gives transaction ids.
        family: 4 or 6.
        own_hosts: this machine's addresses: seen at one of them, we are not translated.
        host: address to bind; empty for any.
        first_local: number of the first of its sockets.
    """

    def __init__(
        self,
        servers: Sequence[Address],
        entropy: Entropy,
        *,
        family: int = 4,
        own_hosts: Collection[str] = (),
        host: str = "",
        first_local: int = 0,
    ) -> None:
        self.step = Step.SERVERS
        self._servers = [server for server in dict.fromkeys(servers) if is_ipv6(server[0]) == (family == 6)]
        del self._servers[MAX_SERVERS:]
        self._entropy, self._family, self._own_hosts = entropy, family, own_hosts
        self._main = first_local
        self._questions = Questions(entropy, family, host)
        self._began = 0.0
        self._step_ends = 0.0
        self._inner_port = 0

        self._answers: dict[Address, ServerAnswer] = {}
        self._seen: dict[Address, Address] = {}
        self._capable: list[tuple[Address, Address]] = []
        self._sampled: dict[int, Address] = {}
        self._sample_ports: dict[int, int] = {}
        self._hairpin: bool | None = None
        self._hairpin_id = b""
        self._hops: HopsProbe | None = None
        self._hops_found: HopsMeasured | None = None
        self._filtering: FilteringTest | None = None
        self._out: deque[Transmit] = deque()
        self._events: deque[object] = deque()

    # Between the machine and whoever drives it.

    def start(self, now: float) -> None:
        """Begins."""
        self._began = now
        self._begin(Step.SERVERS, now)
        self._go_on(now)

    def socket_opened(self, local: int, address: Address, now: float) -> None:
        """Takes one of our sockets."""
        if self._hops is not None and local >= self._main + _HOPS:
            self._hops.socket_opened(local, address, now)
        else:
            self._questions.socket_opened(local, address, now)
        self._go_on(now)

    def socket_failed(self, local: int, reason: str, now: float) -> None:
        """Does without a socket."""
        if self._hops is not None and local >= self._main + _HOPS:
            self._hops.socket_failed(local, reason, now)
        else:
            self._questions.socket_failed(local, reason, now)
        self._go_on(now)

    def receive_datagram(self, data: bytes, remote: Address, now: float, local: int = 0) -> None:
        """Takes an answer, or a packet of our own that came back."""
        if self._hops is not None and local >= self._main + _HOPS:
            self._hops.receive_datagram(data, remote, now, local)
        elif self._hairpin_id and data == binding_request(self._hairpin_id):
            self._hairpin = True
        else:
            self._questions.receive_datagram(data, remote, now, local)
        self._go_on(now)

    def receive_icmp(self, error: IcmpError, now: float, local: int = 0) -> None:
        """Takes an ICMP error for the hops."""
        if self._hops is not None:
            self._hops.receive_icmp(error, now, local)
            self._go_on(now)

    def handle_timer(self, now: float) -> None:
        """Retransmits, and ends a step that takes too long."""
        self._questions.handle_timer(now)
        if self._hops is not None:
            self._hops.handle_timer(now)
        self._go_on(now)

    def datagrams_to_send(self, now: float) -> list[Transmit]:
        """Returns what to send now."""
        out = [*self._out, *self._questions.datagrams_to_send(now)]
        self._out.clear()
        if self._hops is not None:
            out += self._hops.datagrams_to_send(now)
        return out

    def get_timer(self) -> float | None:
        """Returns when something is due."""
        if self.step is Step.DONE:
            return None
        timers = [self._questions.get_timer(), self._hops.get_timer() if self._hops else None, self._step_ends]
        return min(timer for timer in timers if timer is not None)

    def next_event(self) -> object | None:
        """Returns OpenSocket, CloseSocket, StepBegun, and at the end BehaviourFound."""
        event = self._questions.next_event()
        return event or (self._events.popleft() if self._events else None)

    # From step to step.

    def _begin(self, step: Step, now: float) -> None:
        begin: dict[Step, Callable[[float], None]] = {
            Step.SERVERS: self._ask_servers,
            Step.MAPPING: self._ask_other_endpoints,
            Step.ALLOCATION: self._take_samples,
            Step.BESIDE: self._look_beside,
            Step.FILTERING: self._ask_from_elsewhere,
            Step.AFTERMATH: self._ask_aftermath,
            Step.DONE: self._finish,
        }
        self.step, self._step_ends = step, now + PATIENCE + PATIENCE_RTT * self._questions.rtt
        self._events.append(StepBegun(step))
        begin[step](now)

    def _go_on(self, now: float) -> None:
        """Begins the next step when this one has nothing left to wait for, or has waited long enough."""
        for _ in _STEPS:  # a step with nothing to ask is over at once: at most all of them in one go
            if self._hops is not None:
                self._collect_hops()
            waiting = self._questions.is_busy or (self._hops is not None and not self._hops.is_done)
            if self.step is Step.DONE or (waiting and now < self._step_ends):
                return
            self._questions.clear()
            if self._hops is not None:
                self._hops.stop(now)
                self._collect_hops()
            self._begin(_STEPS[_STEPS.index(self.step) + 1], now)

    def _ask_servers(self, now: float) -> None:
        def ask(now: float) -> None:
            self._inner_port = self._questions.ports[self._main]
            for server in self._servers:
                self._questions.ask(self._main, server, partial(self._note_server, server), now, rto=RTO)

        if self._servers:
            self._questions.open(self._main, ask)

    def _note_server(self, server: Address, outcome: Answered | GaveUp, now: float) -> None:
        mapped = mapped_address(outcome.response) if isinstance(outcome, Answered) else None
        if isinstance(outcome, GaveUp):
            self._answers[server] = ServerAnswer(server=server, failure=outcome.reason)
        elif mapped is None:
            self._answers[server] = ServerAnswer(server=server, failure="an answer without our address")
        else:
            other = other_address(outcome.response)
            self._answers[server] = ServerAnswer(server=server, mapped=mapped, other=other, rtt=outcome.rtt)
            self._seen[server] = mapped
            # One that is dead, or much slower than this one, is not worth waiting for; one whose first
            # two requests were lost is, where few have answered.
            few = len(self._seen) < 3
            self._step_ends = min(self._step_ends, now + max(1.2 if few else 0.4, 3 * (now - self._began)))

    def _ask_other_endpoints(self, now: float) -> None:
        self._questions.rtt = max((answer.rtt for answer in self._nearest()), default=0.0)
        faces: set[frozenset[str]] = set()
        for answer in self._nearest():
            pair = frozenset((answer.server[0], answer.other[0] if answer.other else ""))
            # Two of the servers we were given may be the two faces of one.
            if answer.other and is_usable_other(answer.server, answer.other) and pair not in faces:
                faces.add(pair)
                self._capable.append((answer.server, answer.other))
        del self._capable[MAX_CAPABLE:]
        for server, other in self._capable:
            for endpoint in ((server[0], other[1]), (other[0], server[1]), other):
                if endpoint not in self._seen:
                    self._questions.ask(self._main, endpoint, partial(self._note_endpoint, endpoint), now)

    def _note_endpoint(self, endpoint: Address, outcome: Answered | GaveUp, now: float) -> None:
        if isinstance(outcome, Answered) and (mapped := mapped_address(outcome.response)) is not None:
            self._seen[endpoint] = mapped

    def _take_samples(self, now: float) -> None:
        nearest = self._nearest()[:1]
        for index in range(SAMPLES if nearest else 0):
            local = self._main + _SAMPLE + index
            ask = partial(self._questions.ask, local, nearest[0].server, partial(self._note_sample, local))
            self._questions.open(local, partial(self._questions.wait, now + index * SPACING, ask))

    def _note_sample(self, local: int, outcome: Answered | GaveUp, now: float) -> None:
        if isinstance(outcome, Answered) and (mapped := mapped_address(outcome.response)) is not None:
            self._sampled[local], self._sample_ports[local] = mapped, self._questions.ports[local]

    def _look_beside(self, now: float) -> None:
        if self._seen:
            servers = [server for server, _ in self._capable] + [answer.server for answer in self._nearest()]
            others = dict(self._capable)
            self._hops = HopsProbe(servers, self._entropy, self._main + _HOPS, others=others)
            self._hops.start(now)
            self._collect_hops()
        nearest = [answer.server for answer in self._nearest()[:1]]
        pair = [(local, mapped) for local, mapped in sorted(self._sampled.items()) if may_be_asked(nearest[0], mapped)][
            :2
        ]
        if len(pair) == 2 and self._mapping().mapping is not Mapping.NONE:
            self._hairpin_id = self._entropy(12)
            for delay in (0.0, 0.1, 0.3):  # each opens the filter for the other, and the first may be lost
                self._questions.later(now + delay, partial(self._knock, pair))
            self._questions.later(now + 0.3 + max(0.3, self._questions.rtt), lambda _: None)

    def _knock(self, pair: list[tuple[int, Address]], now: float) -> None:
        """Sends from each of two sockets to the outer endpoint of the other."""
        if self._hairpin is None:
            for (local, _), (_, outer) in (pair, pair[::-1]):
                self._out.append(Transmit(binding_request(self._hairpin_id), outer, None, local))

    def _collect_hops(self) -> None:
        while self._hops is not None and (event := self._hops.next_event()) is not None:
            if isinstance(event, HopsMeasured):
                self._hops_found = event
            else:
                self._events.append(event)

    def _ask_from_elsewhere(self, now: float) -> None:
        self._hairpin_id = b""
        alive = frozenset(self._seen)
        self._filtering = FilteringTest(self._questions, self._capable, alive, self._main + _FILTER)
        self._filtering.start(now)

    def _ask_aftermath(self, now: float) -> None:
        if self._filtering is not None and not self._mapping().mapping.is_dependent:
            self._filtering.start_aftermath(now)

    def _nearest(self) -> list[ServerAnswer]:
        return sorted((answer for answer in self._answers.values() if answer.mapped), key=lambda answer: answer.rtt)

    # Conclusions.

    def _mapping(self) -> MappingVerdict:
        return classify_mapping(self._inner_port, self._seen, self._own_hosts)

    def _finish(self, now: float) -> None:
        self._questions.close_all()
        mapping = self._mapping()
        sampled = [(self._sample_ports[local], mapped) for local, mapped in sorted(self._sampled.items())]
        samples = tuple((inner, mapped[1]) for inner, mapped in sampled)
        allocation = classify_allocation(samples)
        hairpin = self._hairpin
        if hairpin is None and self._sampled and mapping.mapping is Mapping.ENDPOINT_INDEPENDENT:
            hairpin = False  # with dependent mapping we cannot know which endpoint to knock at
        nat = NatReport(
            mapping=mapping.mapping,
            filtering=self._filtering.filtering if self._filtering else Filtering.UNKNOWN,
            allocation=allocation.allocation,
            port_delta=allocation.delta,
            port_low=allocation.low,
            port_high=allocation.high,
            hairpin=hairpin,
            hops=self._hops_found.hops if self._hops_found else 0,
        )
        servers = (self._answers.get(s, ServerAnswer(server=s, failure="no answer in time")) for s in self._servers)
        outer_hosts = {mapped[0] for mapped in (*self._seen.values(), *self._sampled.values())}
        self._events.append(
            BehaviourFound(
                family=self._family,
                inner_port=self._inner_port,
                nat=nat,
                servers=tuple(servers),
                mapping=mapping,
                allocation=allocation,
                hops=self._hops_found,
                early_packet=self._filtering.early_packet if self._filtering else EarlyPacket.UNKNOWN,
                samples=samples,
                outer_hosts=tuple(sorted(outer_hosts)),
                seen=dict(self._seen),
                elapsed=now - self._began,
            )
        )
