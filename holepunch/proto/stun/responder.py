"""A STUN server as a machine: Binding (RFC 8489) and NAT behaviour discovery (RFC 5780).

With two addresses and two ports it has four sockets, and whoever asks may have the answer from any
of them:

    local    address    port        local ^ 1  changes the port
      0      primary    primary     local ^ 2  changes the address
      1      primary    other       local ^ 3  is OTHER-ADDRESS
      2      other      primary
      3      other      other

With one address it is a plain Binding server on one socket.  Classic requests (RFC 3489) get a
classic answer.  A server over UDP can be made to answer somebody else; so answers are small, and
each source has a budget.
"""

import ipaddress
from collections import OrderedDict, deque
from dataclasses import dataclass

from ...errors import WireError
from ..address import is_ipv6
from ..machine import Address, IcmpError, OpenSocket, Transmit
from .attributes import (
    COMPREHENSION_OPTIONAL,
    Attribute,
    decode_change_request,
    decode_response_port,
    encode_error_code,
    encode_mapped_address,
    encode_xor_mapped_address,
)
from .message import BINDING, Message, MessageClass, decode_message

# One household or carrier address may hold many clients; 100/s of at most 80 bytes hurts nobody.
RATE = 100.0  # requests per second and source
BURST = 512  # requests at once
MAX_SOURCES = 8192  # sources remembered: about 1 MB
MAX_QUEUED = 4096  # answers waiting for whoever drives us

_UNDERSTOOD = frozenset(
    {
        Attribute.CHANGE_REQUEST,
        Attribute.RESPONSE_PORT,
        Attribute.PADDING,  # a test of fragmentation that we do not echo: an answer is never longer for it
        # Credentials: this server asks for none and checks none (RFC 8489, section 9 is optional).
        Attribute.USERNAME,
        Attribute.MESSAGE_INTEGRITY,
        Attribute.MESSAGE_INTEGRITY_SHA256,
        Attribute.REALM,
        Attribute.NONCE,
    }
)


@dataclass(frozen=True, slots=True)
class Unavailable:
    """Event: a socket could not be opened; the server does without it."""

    address: Address
    reason: str


class RateLimit:
    """A token bucket for each source, in bounded memory.

    Args:
        rate: tokens per second.
        burst: tokens a source starts with and can save.
        max_sources: how many sources are remembered; the one longest silent is forgotten first.
    """

    def __init__(self, rate: float = RATE, burst: float = BURST, max_sources: int = MAX_SOURCES) -> None:
        self._rate = rate
        self._burst = burst
        self._max_sources = max_sources
        self._buckets: OrderedDict[str | int, tuple[float, float]] = OrderedDict()

    def allows(self, host: str, now: float) -> bool:
        """Takes a token of this source; tells whether there was one."""
        # An IPv6 host owns its whole /64: a bucket for each address would be no limit.
        key = int(ipaddress.IPv6Address(host)) >> 64 if is_ipv6(host) else host
        tokens, since = self._buckets.pop(key, (self._burst, now))
        tokens = min(self._burst, tokens + (now - since) * self._rate)
        self._buckets[key] = (tokens - 1 if tokens >= 1 else tokens, now)
        if len(self._buckets) > self._max_sources:
            self._buckets.popitem(last=False)
        return tokens >= 1


class Responder:
    """Answers Binding requests; a SocketMachine.

    Args:
        primary: where it is asked first.
        other: a second address *and* port on the same machine, for RFC 5780; None for a plain server.
        advertised: the hosts of `primary` and `other` as clients see them, where a 1:1 NAT stands between.
        limit: the budget of each source; None for no limit.
        first_local: number of the first of its sockets (four with `other`, else one).
    """

    def __init__(
        self,
        primary: Address,
        other: Address | None = None,
        *,
        advertised: tuple[str, str] | None = None,
        limit: RateLimit | None = None,
        first_local: int = 0,
    ) -> None:
        self._first = first_local
        self._limit = limit
        self.endpoints: list[Address] = [primary]
        if other is not None:
            self.endpoints += [(primary[0], other[1]), (other[0], primary[1]), other]
        hosts = advertised or (primary[0], other[0] if other else "")
        self._advertised = [(hosts[index >> 1], port) for index, (_, port) in enumerate(self.endpoints)]
        self._open: set[int] = set()
        self._out: deque[Transmit] = deque(maxlen=MAX_QUEUED)
        self._events: deque[OpenSocket | Unavailable] = deque()
        for index, (host, port) in enumerate(self.endpoints):
            self._events.append(OpenSocket(first_local + index, 6 if is_ipv6(primary[0]) else 4, host, port))

    def respond(self, data: bytes, remote: Address, local: int = 0) -> Transmit | None:
        """Returns the answer to a datagram that came to socket `local`; None where it deserves none.

        Pure: no budget is looked at.
        """
        try:
            request = decode_message(data)
        except WireError:
            return None
        if request.message_class is not MessageClass.REQUEST or request.method != BINDING:
            return None
        index = local - self._first
        change = decode_change_request(request.get(Attribute.CHANGE_REQUEST) or bytes(4))
        unknown = [kind for kind, _ in request.attributes if kind < COMPREHENSION_OPTIONAL and kind not in _UNDERSTOOD]
        if any(change) and len(self.endpoints) == 1:
            unknown.append(Attribute.CHANGE_REQUEST)  # RFC 5780, section 6.1
        if unknown:
            # A client of RFC 3489 that knows no errors may ask again at once, for ever.
            return None if request.is_classic else _refuse(request, unknown, remote, local)
        answering = index ^ (change[0] << 1 | change[1])
        response = Message(
            message_class=MessageClass.SUCCESS,
            transaction_id=request.transaction_id,
            attributes=tuple(self._describe(request, remote, index, answering)),
            cookie=request.cookie,
        )
        if (value := request.get(Attribute.RESPONSE_PORT)) is not None:
            remote = (remote[0], decode_response_port(value))
        return Transmit(response.encode(), remote, None, self._first + answering)

    def _describe(self, request: Message, remote: Address, index: int, answering: int) -> list[tuple[int, bytes]]:
        """Returns the attributes of a success response."""
        classic = request.is_classic
        if classic:
            attributes = [(int(Attribute.MAPPED_ADDRESS), encode_mapped_address(remote))]
        else:
            mask = request.cookie + request.transaction_id
            attributes = [(int(Attribute.XOR_MAPPED_ADDRESS), encode_xor_mapped_address(remote, mask))]
        if len(self.endpoints) > 1:
            origin = Attribute.SOURCE_ADDRESS if classic else Attribute.RESPONSE_ORIGIN
            other = Attribute.CHANGED_ADDRESS if classic else Attribute.OTHER_ADDRESS
            attributes.append((origin, encode_mapped_address(self._advertised[answering])))
            # OTHER-ADDRESS is told from where the request came to, not from where the answer leaves.
            attributes.append((other, encode_mapped_address(self._advertised[index ^ 3])))
        return attributes

    def socket_opened(self, local: int, address: Address, now: float) -> None:
        """Says that a socket is open; a port of 0 is replaced by the one the system chose."""
        index = local - self._first
        self._open.add(local)
        if not self.endpoints[index][1]:
            self.endpoints[index] = (self.endpoints[index][0], address[1])
            self._advertised[index] = (self._advertised[index][0], address[1])

    def socket_failed(self, local: int, reason: str, now: float) -> None:
        """Says that a socket cannot be opened."""
        self._events.append(Unavailable(self.endpoints[local - self._first], reason))

    def receive_datagram(self, data: bytes, remote: Address, now: float, local: int = 0) -> None:
        """Takes a request; what is none, or is over the budget of its source, is dropped."""
        if self._limit is not None and not self._limit.allows(remote[0].partition("%")[0], now):
            return
        answer = self.respond(data, remote, local)
        if answer is not None and answer.local in self._open:
            self._out.append(answer)

    def receive_icmp(self, error: IcmpError, now: float, local: int = 0) -> None:
        """Ignores that a client is gone."""

    def handle_timer(self, now: float) -> None:
        """Does nothing: a server owes nobody a second answer."""

    def datagrams_to_send(self, now: float) -> list[Transmit]:
        """Returns the answers to send now."""
        out = list(self._out)
        self._out.clear()
        return out

    def get_timer(self) -> float | None:
        """Returns None."""
        return None

    def next_event(self) -> OpenSocket | Unavailable | None:
        """Returns OpenSocket for each socket, and Unavailable where one failed."""
        return self._events.popleft() if self._events else None


def _refuse(request: Message, unknown: list[int], remote: Address, local: int) -> Transmit:
    """Returns a 420 error that names the attributes we do not understand (RFC 8489 section 6.3.1)."""
    response = Message(
        message_class=MessageClass.ERROR,
        transaction_id=request.transaction_id,
        attributes=(
            (Attribute.ERROR_CODE, encode_error_code(420, "Unknown Attribute")),
            (Attribute.UNKNOWN_ATTRIBUTES, b"".join(kind.to_bytes(2) for kind in unknown[:8])),
        ),
        cookie=request.cookie,
    )
    return Transmit(response.encode(), remote, None, local)
