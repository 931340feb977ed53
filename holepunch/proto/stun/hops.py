"""How many hops it takes to leave our own NATs: the time to live of a packet that opens a path and goes no further.

A packet that opens our NAT must leave it, and must not reach the far one (docs/topics/punching.md).
A fixed TTL is wrong on short paths and behind long carrier networks alike, so it is measured, with
one throw-away socket for each TTL and all of them at once:

    socket 0   control   asks server A to answer from its other address B; nothing was sent to B
    socket k   TTL k     a request to B that dies after k hops, then asks A to answer from B
    the last   plain     asks every server, to find one with a B (RFC 5780)

Only a filter that the TTL-k packet opened lets B's answer in, so the smallest k that hears B is the
number sought (method "reply"); not 1, though, where a router says that this packet died there: then an
earlier flow of the same port let the answer in.  Where the control hears B too, nothing filters.  A NAT
with dependent mapping never lets B in: then the first router with a public address, told by ICMP time
exceeded, is beyond the NATs (method "icmp").  Where that is not to be had either, 0: unknown.
"""

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ...errors import WireError
from ..address import Scope, is_ipv6, scope_of
from ..machine import Address, CloseSocket, Entropy, IcmpError, OpenSocket, Transmit
from .message import MessageClass, binding_request, decode_message, is_usable_other, mapped_address, other_address
from .transaction import Answered, GaveUp, Transaction

MAX_TTL = 12  # beyond all home networks and most carriers; 25 new 5-tuples in all
MAX_SERVERS = 4  # asked for their other address
DEADLINE = 1.5  # seconds in all; gathering as a whole has 3
SETTLE = 0.06  # seconds for answers that left together to arrive apart
_TIME_EXCEEDED = {4: 11, 6: 3}  # RFC 792; RFC 4443, section 3.3
_OWN_SIDE = (Scope.PRIVATE, Scope.CGNAT, Scope.LINK, Scope.LOOPBACK)


@dataclass(frozen=True, slots=True, kw_only=True)
class HopsMeasured:
    """Event: the measurement is over."""

    hops: int
    """Smallest TTL that leaves all our NATs; 0: unknown."""
    method: str
    """`reply`, `icmp`, or empty where it is unknown."""
    is_open: bool
    """Whether an answer from an address we had sent nothing to came in: nothing filters by address."""
    path_length: int
    """Smallest TTL that reached a server; 0: more than was tried."""
    routers: tuple[tuple[int, str], ...]
    """(TTL, router that said time exceeded), nearest first."""
    elapsed: float
    """Seconds."""


class HopsProbe:
    """Measures the hops; a SocketMachine that closes its sockets when it is done.

    Args:
        servers: STUN servers, the nearest first; those of another family than the first are left out.
        entropy: gives transaction ids.
        first_local: number of the first of its max_ttl + 2 sockets.
        others: servers whose other address is known already (RFC 5780): saves a round trip.
        max_ttl: the largest TTL to try.
        deadline: seconds it takes at most.
    """

    def __init__(
        self,
        servers: Sequence[Address],
        entropy: Entropy,
        first_local: int = 0,
        *,
        others: Mapping[Address, Address] | None = None,
        max_ttl: int = MAX_TTL,
        deadline: float = DEADLINE,
    ) -> None:
        family = 6 if servers and is_ipv6(servers[0][0]) else 4
        self._family = family
        self._servers = [server for server in servers if is_ipv6(server[0]) == (family == 6)][:MAX_SERVERS]
        self._others = dict(others or {})
        self._entropy = entropy
        self._first = first_local
        self._max_ttl = max_ttl
        self._plain = first_local + max_ttl + 1
        self._allowed = deadline
        self.is_done = False
        self.hops = 0
        """The result; 0: unknown, or not yet."""
        self.is_open = False
        """Whether the control was answered: nothing filters by address."""

        self._pending = set(range(first_local, self._plain + 1))
        self._open: set[int] = set()
        self._ids = {ttl: entropy(12) for ttl in range(max_ttl + 1)}
        self._trace_ids = {ttl: entropy(12) for ttl in range(1, max_ttl + 1)}
        self._discovery: list[Transaction] = []
        self._pair: tuple[Address, Address] | None = None
        self._answered: set[int] = set()
        self._reached: set[int] = set()
        self._routers: dict[int, str] = {}
        self._own_hosts: set[str] = set()

        self._is_running = False
        self._began = 0.0
        self._asked = 0.0
        self._rtt = 0.0
        self._again_at: float | None = None
        self._finish_at: float | None = None
        self._out: deque[Transmit] = deque()
        self._events: deque[OpenSocket | CloseSocket | HopsMeasured] = deque()

    def start(self, now: float) -> None:
        """Asks for the sockets; the measurement begins when all of them are open, or have failed."""
        self._began = now
        for local in sorted(self._pending):
            self._events.append(OpenSocket(local, self._family))

    def socket_opened(self, local: int, address: Address, now: float) -> None:
        """Says that a socket is open."""
        self._open.add(local)
        self._socket_settled(local, now)

    def socket_failed(self, local: int, reason: str, now: float) -> None:
        """Says that a socket cannot be opened; its TTL is not tried."""
        self._socket_settled(local, now)

    def receive_datagram(self, data: bytes, remote: Address, now: float, local: int = 0) -> None:
        """Takes what arrived on one of our sockets."""
        if not self._is_running:
            return
        for transaction in self._discovery:
            if local == self._plain:
                transaction.receive_datagram(data, remote, now)
        self._take_discoveries(now)
        ttl = local - self._first
        if not self._is_running or local == self._plain or ttl not in self._ids:
            return
        try:
            message = decode_message(data)
        except WireError:
            return
        if message.message_class is not MessageClass.SUCCESS:
            return
        if message.transaction_id == self._trace_ids.get(ttl):
            self._reached.add(ttl)
        elif message.transaction_id == self._ids[ttl] and self._pair and remote == self._pair[1]:
            self._take_answer(ttl, now)

    def receive_icmp(self, error: IcmpError, now: float, local: int = 0) -> None:
        """Notes the router at which a TTL ended."""
        ttl = local - self._first
        if not self.is_done and error.type == _TIME_EXCEEDED[self._family] and 1 <= ttl <= self._max_ttl:
            self._routers.setdefault(ttl, error.source)

    def handle_timer(self, now: float) -> None:
        """Asks again, and ends when it is time."""
        if not self._is_running:
            return
        for transaction in self._discovery:
            transaction.handle_timer(now)
        self._take_discoveries(now)
        if self._again_at is not None and now >= self._again_at:
            self._again_at = None
            self._ask(range(min(self._enough(), default=self._max_ttl + 1)))
        if now >= self._began + self._allowed or (self._finish_at is not None and now >= self._finish_at):
            self._finish(now)

    def datagrams_to_send(self, now: float) -> list[Transmit]:
        """Returns what to send now."""
        for transaction in self._discovery:
            self._out.extend(transaction.datagrams_to_send(now))
        out = list(self._out)
        self._out.clear()
        return out

    def get_timer(self) -> float | None:
        """Returns when to ask again or to end."""
        if not self._is_running:
            return None
        timers = [self._began + self._allowed, self._again_at, self._finish_at]
        timers += [transaction.get_timer() for transaction in self._discovery]
        return min(timer for timer in timers if timer is not None)

    def next_event(self) -> OpenSocket | CloseSocket | HopsMeasured | None:
        """Returns OpenSocket for each socket; at the end CloseSocket for each, then HopsMeasured."""
        return self._events.popleft() if self._events else None

    def stop(self, now: float) -> None:
        """Ends it at once, with what is known; harmless twice."""
        if not self.is_done:
            self._finish(now)

    def _socket_settled(self, local: int, now: float) -> None:
        self._pending.discard(local)
        if not self._pending and not self.is_done:
            self._begin(now)

    def _begin(self, now: float) -> None:
        """Traces towards the first server, and asks all of them for their other address."""
        self._is_running = True
        self._began = now
        if not self._servers or not self._open:
            self._finish(now)
            return
        for ttl in range(1, self._max_ttl + 1):
            self._trace(ttl, self._servers[0])
        if self._plain in self._open:
            for server in self._servers:
                request = binding_request(self._entropy(12))
                transaction = Transaction(request, server, rto=0.2, max_requests=4, last_wait=4, local=self._plain)
                transaction.start(now)
                self._discovery.append(transaction)
        known = next((server for server in self._servers if server in self._others), None)
        if known is not None:
            self._start_asking(known, self._others[known], now)

    def _take_discoveries(self, now: float) -> None:
        """Uses the first server that has another address; ends early where none has."""
        for transaction in self._discovery:
            event = transaction.next_event()
            if isinstance(event, Answered):
                self._rtt = self._rtt or now - self._began  # a retransmission makes it longer: that is the safe side
                if mapped := mapped_address(event.response):
                    self._own_hosts.add(mapped[0])
                if (other := other_address(event.response)) and self._pair is None:
                    self._start_asking(transaction.server, other, now)
            if isinstance(event, Answered | GaveUp) and self._pair is None:
                waiting = any(each.is_running for each in self._discovery)
                # ICMP comes from nearer than any server; a second server may be slower than the first.
                wait = max(0.5, 3 * self._rtt) if waiting else SETTLE
                self._finish_at = min(self._finish_at or now + wait, now + wait)

    def _start_asking(self, server: Address, other: Address, now: float) -> None:
        """Begins the method of replies with one server; a lying one is not used."""
        if not is_usable_other(server, other):
            return
        self._pair = server, other
        self._asked = now
        self._ask(range(self._max_ttl + 1))
        rtt = self._rtt or 0.25
        self._again_at = now + 1.25 * rtt + SETTLE
        self._finish_at = self._again_at + 1.25 * rtt + SETTLE

    def _ask(self, ttls: range) -> None:
        """Opens the filter with each TTL (none for the control), and asks for the answer from behind it."""
        if self._pair is None:
            return
        server, other = self._pair
        for ttl in ttls:
            if ttl in self._answered or self._first + ttl not in self._open:
                continue
            if ttl:
                self._trace(ttl, other)
            request = binding_request(self._ids[ttl], change_ip=True, change_port=True)
            self._out.append(Transmit(request, server, None, self._first + ttl))

    def _trace(self, ttl: int, remote: Address) -> None:
        if self._first + ttl in self._open:
            self._out.append(Transmit(binding_request(self._trace_ids[ttl]), remote, ttl, self._first + ttl))

    def _take_answer(self, ttl: int, now: float) -> None:
        """Takes an answer from the other address: this TTL is enough, or with 0 none is needed."""
        self._answered.add(ttl)
        if ttl == 0:
            self._finish(now)
        if not self._is_running or ttl != min(self._enough(), default=None):
            return
        # All TTLs that are enough answer together, so this is where they are sorted.
        self._rtt = self._rtt or now - self._asked
        settled = now + max(0.01, self._rtt / 8)
        if ttl == self._beyond():
            self._again_at, self._finish_at = None, settled  # two methods agree
        else:
            # Those below get a second chance: a lost datagram must not make us go further than we need.
            self._again_at, self._finish_at = settled, settled + 1.25 * self._rtt + SETTLE

    def _finish(self, now: float) -> None:
        self.is_done = True
        self._is_running = False
        for transaction in self._discovery:
            transaction.stop()
        self._out.clear()
        for local in sorted(self._open | self._pending):
            self._events.append(CloseSocket(local))
        self.hops, method = self._conclude()
        self.is_open = 0 in self._answered
        self._events.append(
            HopsMeasured(
                hops=self.hops,
                method=method,
                is_open=self.is_open,
                path_length=min(self._reached, default=0),
                routers=tuple(sorted(self._routers.items())),
                elapsed=now - self._began,
            )
        )

    def _conclude(self) -> tuple[int, str]:
        """Returns (hops, method)."""
        if 0 not in self._answered and (enough := self._enough()):
            return min(enough), "reply"
        return (beyond, "icmp") if (beyond := self._beyond()) else (0, "")

    def _enough(self) -> set[int]:
        """Returns the TTLs whose packet opened the filter.

        A packet that the first router drops leaves no flow in it, so an answer there found one that was open already.
        Believing it would be bad: priming with a TTL of 1 opens nothing, and the peer's packet then comes too early.
        """
        return self._answered - ({1} if 1 in self._routers else set())

    def _beyond(self) -> int:
        """Returns the TTL of the first router outside: not private, and not a NAT that shows its outer address."""
        outside = [
            ttl
            for ttl, host in self._routers.items()
            if scope_of(host) not in _OWN_SIDE and host not in self._own_hosts
        ]
        nearest = min(outside, default=0)
        return 0 if nearest == 1 else nearest  # a first router that is public: no NAT of ours is on the way
