"""Gathers our own candidates, and keeps their mappings alive while an offer travels.

One socket per address family, opened once: the socket that asks STUN is the socket that punches and
the one that carries data (DESIGN "Invariants").  All servers are asked at once from it; host addresses
come from the interfaces; the number of hops out of our own NATs is measured beside it, from sockets of
its own.  Gathering ends as soon as what is known suffices, and after `deadline` at the latest.
"""

from collections import deque
from collections.abc import Sequence

from .address import Scope, is_ipv6, scope_of
from .candidate import Candidate, CandidateKind, Interface, host_candidates
from .events import CandidateFound, Gathered, StunAnswered
from .machine import Address, Entropy, IcmpError, OpenSocket, Transmit
from .nat import Allocation, Mapping, NatReport
from .stun.hops import HopsProbe
from .stun.message import binding_request, mapped_address, may_be_asked, other_address
from .stun.transaction import Answered, GaveUp, Transaction

_HOPS_OFFSET = 100  # the hops probe's sockets are numbered from here on, after our own two
MAX_SERVERS = 4  # per family; three destinations tell mapping, a fourth may be dead
ENOUGH_SERVERS = 2
GRACE = 0.05  # seconds that slower servers get when enough have answered
# RFC 8489 6.2.1 wants 500 ms as first RTO of a stranger's path; a home's way to a STUN server is
# shorter, a lost first request should not cost half a second, and five requests are no burden.
STUN_RTO = 0.2
STUN_REQUESTS = 5
# UDP mappings that saw no answer live 30 s in Linux and elsewhere: 12±2 s leaves room for a lost pair.
KEEPALIVE = 12.0
KEEPALIVE_JITTER = 2.0


class MappingChanged:
    """Event: a STUN server sees our socket elsewhere than before."""


class GatherFailed:
    """Event: there is no usable socket."""

    def __init__(self, reason: str) -> None:
        self.reason = reason


class Gatherer:
    """A SocketMachine that finds our candidates.

    Args:
        servers: STUN servers' addresses, of either family.
        interfaces: our own addresses; tunnels of our own already left out.
        entropy: random bytes, for transaction ids and jitter.
        bind_host: address to bind instead of any; decides the family.
        bind_port: port to bind; 0 for any.
        hops: TTL that leaves all our NATs, if known; 0 to measure it.
        measures_hops: whether to measure it at all; only the side that primes needs it.
        deadline: seconds after which gathering ends with what there is.
        first_local: number of our IPv4 socket; the IPv6 one is the next.
    """

    def __init__(
        self,
        servers: Sequence[Address],
        interfaces: Sequence[Interface],
        entropy: Entropy,
        *,
        bind_host: str = "",
        bind_port: int = 0,
        hops: int = 0,
        measures_hops: bool = True,
        deadline: float = 3.0,
        first_local: int = 0,
    ) -> None:
        self._v4, self._v6 = first_local, first_local + 1
        self._first_hops = first_local + _HOPS_OFFSET
        self.hops = hops
        self.is_done = False
        self.sockets: dict[int, Address] = {}
        """Our open sockets by number, with the address each is bound to."""
        self._servers = servers
        self._interfaces = [i for i in interfaces if not bind_host or i.host == bind_host]
        self._entropy = entropy
        self._bind = bind_host, bind_port
        self._patience = deadline
        self._started = 0.0
        self._ended = 0.0
        self._deadline: float | None = None
        self._enough_at: float | None = None
        self._keepalive_at: float | None = None
        self._turn = 0
        self._rechecking = False
        self._pending: set[int] = set()
        self._failures: list[str] = []
        self._transactions: list[Transaction] = []
        self._mapped: dict[int, dict[Address, Address]] = {self._v4: {}, self._v6: {}}
        self._announced: set[Candidate] = set()
        self._hops_wanted = measures_hops and hops == 0
        self._hops_probe: HopsProbe | None = None
        self._out: deque[Transmit] = deque()
        self._events: deque[object] = deque()

    # What is known.

    @property
    def candidates(self) -> list[Candidate]:
        """Our candidates, best first."""
        port_v4 = self.sockets.get(self._v4, ("", 0))[1]
        port_v6 = self.sockets.get(self._v6, ("", 0))[1]
        found = host_candidates(self._interfaces, port_v4, port_v6)
        hosts = {candidate.address for candidate in found}
        for mapped in (address for answers in self._mapped.values() for address in answers.values()):
            candidate = Candidate(CandidateKind.SERVER_REFLEXIVE, mapped)
            if mapped not in hosts and candidate not in found:
                found.append(candidate)
        return sorted(found, key=lambda candidate: -candidate.preference)

    @property
    def report(self) -> NatReport:
        """What the answers say of our IPv4 NATs (RFC 4787, section 4.1)."""
        answers = self._mapped[self._v4]
        mapping, allocation = Mapping.UNKNOWN, Allocation.UNKNOWN
        port = self.sockets.get(self._v4, ("", 0))[1]
        outer = set(answers.values())
        inner = {(i.host, port) for i in self._interfaces if scope_of(i.host) is Scope.GLOBAL and not is_ipv6(i.host)}
        if outer and outer <= inner:
            mapping = Mapping.NONE
        if mapping is Mapping.UNKNOWN and len(outer) > 1:
            by_host: dict[str, set[Address]] = {}
            for server, mapped in answers.items():
                by_host.setdefault(server[0], set()).add(mapped)
            one_each = all(len(seen) == 1 for seen in by_host.values())
            several = len(answers) > len(by_host)
            mapping = Mapping.ADDRESS_DEPENDENT if one_each and several else Mapping.ADDRESS_AND_PORT_DEPENDENT
        elif mapping is Mapping.UNKNOWN and len(answers) > 1:
            mapping = Mapping.ENDPOINT_INDEPENDENT
        if outer and all(seen[1] == port for seen in outer):
            allocation = Allocation.PRESERVING
        ports = [seen[1] for seen in outer] or [0]
        return NatReport(
            mapping=mapping, allocation=allocation, port_low=min(ports), port_high=max(ports), hops=self.hops
        )

    @property
    def answered(self) -> bool:
        """Whether any STUN server answered."""
        return any(self._mapped.values())

    def summary(self) -> Gathered:
        """Returns what there is as an event."""
        return Gathered(
            candidates=len(self.candidates),
            mapping=self.report.mapping.value,
            hops=self.hops,
            elapsed=self._ended - self._started,
        )

    # What whoever drives a machine calls.

    def start(self, now: float) -> None:
        """Asks for the sockets; all else follows from them."""
        self._started = now
        self._deadline = now + self._patience
        host, port = self._bind
        families = {6 if is_ipv6(interface.host) else 4 for interface in self._interfaces if _reaches(interface)}
        for local, family in ((self._v4, 4), (self._v6, 6)):
            if family in families:
                self._pending.add(local)
                self._events.append(OpenSocket(local, family, host, port))
        if not families:
            self._fail("no interface has a usable address" + (f" {host}" if host else ""))

    def socket_opened(self, local: int, address: Address, now: float) -> None:
        """Takes one of our sockets, or one of the hops probe's."""
        if local >= self._first_hops:
            if self._hops_probe is not None:
                self._hops_probe.socket_opened(local, address, now)
                self._collect_hops(now)
            return
        if local in self.sockets:
            return  # it was handed on, with all that is known of it
        self._pending.discard(local)
        self.sockets[local] = address
        self._ask_all(local, now)
        self._announce()
        self._check_done(now)

    def socket_failed(self, local: int, reason: str, now: float) -> None:
        """One family does without; with none left, gathering fails."""
        if local >= self._first_hops:
            if self._hops_probe is not None:
                self._hops_probe.socket_failed(local, reason, now)
                self._collect_hops(now)
            return
        self._pending.discard(local)
        self._failures.append(reason)
        if not self._pending and not self.sockets:
            self._fail(self._failures[0])
        self._check_done(now)

    def receive_datagram(self, data: bytes, remote: Address, now: float, local: int = 0) -> None:
        """Takes a STUN answer; anything else is ignored."""
        if local >= self._first_hops:
            if self._hops_probe is not None:
                self._hops_probe.receive_datagram(data, remote, now, local)
                self._collect_hops(now)
            return
        for transaction in self._transactions:
            if transaction.local == local:
                transaction.receive_datagram(data, remote, now)
        self._collect(now)

    def receive_icmp(self, error: IcmpError, now: float, local: int = 0) -> None:
        """Takes an ICMP error for the hops probe."""
        if local >= self._first_hops and self._hops_probe is not None:
            self._hops_probe.receive_icmp(error, now, local)
            self._collect_hops(now)

    def handle_timer(self, now: float) -> None:
        """Retransmits, ends gathering, or refreshes a mapping."""
        for transaction in self._transactions:
            transaction.handle_timer(now)
        if self._hops_probe is not None:
            self._hops_probe.handle_timer(now)
            self._collect_hops(now)
        if self._keepalive_at is not None and now >= self._keepalive_at:
            self._refresh(now)
        self._collect(now)

    def get_timer(self) -> float | None:
        """Returns when handle_timer wants to be called."""
        times = [transaction.get_timer() for transaction in self._transactions]
        if not self.is_done:
            times += [self._deadline, self._enough_at]
        if self._hops_probe is not None:
            times.append(self._hops_probe.get_timer())
        times.append(self._keepalive_at)
        return min((time for time in times if time is not None), default=None)

    def datagrams_to_send(self, now: float) -> list[Transmit]:
        """Returns what to send now."""
        out = [transmit for transaction in self._transactions for transmit in transaction.datagrams_to_send(now)]
        if self._hops_probe is not None:
            out += self._hops_probe.datagrams_to_send(now)
        return out

    def next_event(self) -> object | None:
        """Returns OpenSocket, CloseSocket, CandidateFound, StunAnswered, Gathered, MappingChanged or GatherFailed."""
        if not self._events and self._hops_probe is not None:
            return self._hops_probe.next_event()
        return self._events.popleft() if self._events else None

    def keep_alive(self, now: float, *, on: bool = True) -> None:
        """Starts or stops refreshing the mappings every KEEPALIVE seconds, outbound (RFC 4787, REQ-6)."""
        if not (on and self.answered):
            self._keepalive_at = None
        elif self._keepalive_at is None:
            self._keepalive_at = now + self._next_keepalive()

    def stop(self, now: float) -> None:
        """Ends measuring and refreshing; the sockets stay."""
        self._keepalive_at = None
        self._rechecking = False
        self._transactions.clear()
        self._stop_hops(now)

    # How it is done.

    def _ask_all(self, local: int, now: float) -> None:
        servers = self._servers_for(local)
        for server in servers:
            self._ask(local, server, now)
        if servers and self._hops_wanted and local == self._hops_family():
            self._hops_wanted = False
            self._hops_probe = HopsProbe(servers, self._entropy, self._first_hops)
            self._hops_probe.start(now)

    def _ask(self, local: int, server: Address, now: float) -> None:
        request = binding_request(self._entropy(12))
        transaction = Transaction(request, server, rto=STUN_RTO, max_requests=STUN_REQUESTS, last_wait=4.0, local=local)
        transaction.start(now)
        self._transactions.append(transaction)

    def _servers_for(self, local: int) -> list[Address]:
        return [s for s in self._servers if is_ipv6(s[0]) == (local == self._v6)][:MAX_SERVERS]

    def _hops_family(self) -> int:
        return self._v4 if any(not is_ipv6(host) for host, _ in self._servers) else self._v6

    def _collect(self, now: float) -> None:
        for transaction in list(self._transactions):
            outcome = transaction.next_event()
            if isinstance(outcome, Answered):
                self._note_answer(transaction, outcome, now)
            elif isinstance(outcome, GaveUp) and self._rechecking:
                self._mapped[transaction.local].pop(transaction.server, None)
            if isinstance(outcome, Answered | GaveUp):
                self._transactions.remove(transaction)
        if self._rechecking and not any(transaction.is_running for transaction in self._transactions):
            self._rechecking = False
            self._events.append(MappingChanged())
        self._check_done(now)

    def _note_answer(self, transaction: Transaction, outcome: Answered, now: float) -> None:
        mapped = mapped_address(outcome.response)
        if mapped is None or scope_of(mapped[0]) is Scope.RESERVED or mapped[1] == 0:
            return
        if is_ipv6(mapped[0]) != (transaction.local == self._v6):
            return
        answers = self._mapped[transaction.local]
        changed = self.is_done and answers.get(transaction.server, mapped) != mapped
        answers[transaction.server] = mapped
        self._events.append(StunAnswered(server=transaction.server, mapped=mapped, rtt=outcome.rtt))
        if changed and not self._rechecking:
            # The other servers' answers are as stale, if this one is honest: ask them before anybody is told.
            self._rechecking = True
            for server in answers:
                if server != transaction.server:
                    self._ask(transaction.local, server, now)
        # One server with two addresses (RFC 5780) stands for two where no second one is configured.
        other = other_address(outcome.response)
        lonely = len({server[0] for server in self._servers_for(transaction.local)}) == 1
        allowed = other is not None and may_be_asked(transaction.server, other)
        if lonely and other is not None and allowed and len(answers) == 1 and not self.is_done:
            self._ask(transaction.local, other, now)
        self._announce()

    def _announce(self) -> None:
        for candidate in self.candidates:
            if candidate not in self._announced:
                self._announced.add(candidate)
                self._events.append(CandidateFound(kind=candidate.kind.value, address=candidate.address))

    def _collect_hops(self, now: float) -> None:
        probe = self._hops_probe
        if probe is None:
            return
        while (event := probe.next_event()) is not None:
            self._events.append(event)
        if probe.is_done and self.hops == 0:
            # Where nothing filters there is nothing to open: a prime may die at the first router.
            self.hops = probe.hops or (1 if probe.is_open else 0)
            self._check_done(now)

    def _stop_hops(self, now: float) -> None:
        if self._hops_probe is not None:
            self._hops_probe.stop(now)
            while (event := self._hops_probe.next_event()) is not None:
                self._events.append(event)
            self._hops_probe = None

    def _check_done(self, now: float) -> None:
        """Ends gathering when everybody has answered, when enough have and GRACE is over, or at the deadline."""
        if self.is_done or self._pending or not self.sockets:
            return
        hops_known = self._hops_probe is None or self._hops_probe.is_done
        waiting = any(transaction.is_running for transaction in self._transactions)
        wanted = [local for local in self.sockets if self._servers_for(local)]
        enough = hops_known and all(
            len(self._mapped[local]) >= min(ENOUGH_SERVERS, len(self._servers_for(local))) for local in wanted
        )
        if enough and waiting and self._enough_at is None:
            self._enough_at = now + GRACE
        overdue = any(at is not None and now >= at for at in (self._deadline, self._enough_at))
        if overdue or (hops_known and not waiting):
            self.is_done = True
            self._ended = now
            self._transactions = [t for t in self._transactions if t.is_running and now < (self._deadline or now)]
            self._stop_hops(now)
            self._events.append(self.summary())

    def _refresh(self, now: float) -> None:
        """Asks one server, each time another, from each socket that a server saw through a NAT."""
        self._keepalive_at = now + self._next_keepalive()
        for local, answers in self._mapped.items():
            if answers and local in self.sockets:
                servers = sorted(answers)
                self._ask(local, servers[self._turn % len(servers)], now)
        self._turn += 1

    def _next_keepalive(self) -> float:
        return KEEPALIVE + KEEPALIVE_JITTER * (self._entropy(1)[0] / 127.5 - 1)

    def _fail(self, reason: str) -> None:
        self._deadline = None
        self._events.append(GatherFailed(reason))


def _reaches(interface: Interface) -> bool:
    """Tells whether an interface address is worth a socket of its family: IPv6 only beyond the link."""
    scope = scope_of(interface.host)
    return scope not in (Scope.LINK, Scope.RESERVED) and not (is_ipv6(interface.host) and scope is Scope.LOOPBACK)
