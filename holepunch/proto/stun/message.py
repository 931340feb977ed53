"""STUN messages: a 20-byte header and a list of attributes (RFC 8489 section 5).

    0   2   type: two zero bits, then method and class interleaved
    2   2   length of what follows the header, a multiple of 4
    4   4   magic cookie 2112A442
    8  12   transaction id
   20       attributes: type (2), length (2), value, padding to a multiple of 4

A message without the cookie is of RFC 3489 ("classic"): there the last 16 bytes of the header are
all transaction id.  Both are read; `Message.cookie` keeps the four bytes, so an answer to a classic
request has them again.
"""

import enum
import zlib
from dataclasses import dataclass

from ...errors import WireError
from ..address import Scope, is_ipv6, scope_of
from ..machine import Address
from ..wire import Reader, Writer
from .attributes import (
    MAGIC_COOKIE,
    Attribute,
    check_value,
    decode_error_code,
    decode_mapped_address,
    decode_xor_mapped_address,
    encode_change_request,
    encode_response_port,
)

BINDING = 0x001  # RFC 8489, section 18.2: the only method of STUN itself; TURN has more
HEADER_LENGTH = 20
FINGERPRINT_XOR = 0x5354554E  # RFC 8489, section 14.7: "STUN"
MAX_ATTRIBUTES = 64  # more than any server sends; a bound on what one datagram costs


class MessageClass(enum.IntEnum):
    """What a message is to its transaction (RFC 8489 section 5)."""

    REQUEST = 0
    INDICATION = 1
    SUCCESS = 2
    ERROR = 3


_CLASSIC_TYPES = (0x0001, 0x0101, 0x0111)  # RFC 3489, section 11.1: binding request, response, error


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """One STUN message."""

    message_class: MessageClass
    transaction_id: bytes
    """12 bytes."""
    attributes: tuple[tuple[int, bytes], ...] = ()
    """(type, value) in wire order, values without padding, FINGERPRINT left out."""
    method: int = BINDING
    cookie: bytes = MAGIC_COOKIE
    """4 bytes; anything else than MAGIC_COOKIE makes a classic message."""

    @property
    def is_classic(self) -> bool:
        """Whether this is a message of RFC 3489."""
        return self.cookie != MAGIC_COOKIE

    def get(self, kind: int) -> bytes | None:
        """Returns the value of the first attribute of a type: RFC 8489 section 14 lets others be ignored."""
        return next((value for known, value in self.attributes if known == kind), None)

    def encode(self, *, fingerprint: bool = False) -> bytes:
        """Returns the message's bytes.

        Args:
            fingerprint: whether to end with FINGERPRINT (RFC 8489 section 14.7).
        """
        body = Writer()
        for kind, value in self.attributes:
            body.u16(kind).block(value).raw(bytes(-len(value) % 4))
        attributes = body.getvalue()
        length = len(attributes) + (8 if fingerprint else 0)
        header = Writer().u16(_join_type(self.method, self.message_class)).u16(length)
        data = header.raw(self.cookie).raw(self.transaction_id).raw(attributes).getvalue()
        if fingerprint:
            data += Writer().u16(Attribute.FINGERPRINT).u16(4).u32(zlib.crc32(data) ^ FINGERPRINT_XOR).getvalue()
        return data


def is_stun(data: bytes) -> bool:
    """Tells whether a datagram may be a STUN message: what else comes to the same socket is told apart by this."""
    if len(data) < HEADER_LENGTH or data[0] & 0xC0 or int.from_bytes(data[2:4]) != len(data) - HEADER_LENGTH:
        return False
    return len(data) % 4 == 0 and (data[4:8] == MAGIC_COOKIE or int.from_bytes(data[:2]) in _CLASSIC_TYPES)


def decode_message(data: bytes) -> Message:
    """Reads a message that fills the datagram; the values of known attributes are checked too.

    Raises:
        WireError: it is not one, or a known attribute is malformed, or FINGERPRINT is wrong.
    """
    if not is_stun(data):
        raise WireError(f"not a STUN message: {len(data)} bytes that begin with {data[:8].hex()}")
    reader = Reader(data)
    method, message_class = _split_type(reader.u16())
    reader.u16()
    mask = data[4:HEADER_LENGTH]
    cookie, transaction_id = reader.take(4), reader.take(12)
    attributes: list[tuple[int, bytes]] = []
    while reader.remaining:
        if len(attributes) == MAX_ATTRIBUTES:
            raise WireError(f"a STUN message has more than {MAX_ATTRIBUTES} attributes")
        at = len(data) - reader.remaining
        kind, value = reader.u16(), reader.block()
        reader.take(-len(value) % 4)
        if kind == Attribute.FINGERPRINT:
            # It is last, or it is not a FINGERPRINT: RFC 8489, section 14.7.
            if reader.remaining or len(value) != 4 or int.from_bytes(value) != zlib.crc32(data[:at]) ^ FINGERPRINT_XOR:
                raise WireError("FINGERPRINT is wrong")
            break
        check_value(kind, value, mask)
        attributes.append((kind, value))
    return Message(
        message_class=message_class,
        transaction_id=transaction_id,
        attributes=tuple(attributes),
        method=method,
        cookie=cookie,
    )


def binding_request(
    transaction_id: bytes,
    *,
    change_ip: bool = False,
    change_port: bool = False,
    response_port: int = 0,
    fingerprint: bool = False,
) -> bytes:
    """Returns an encoded Binding request.

    Args:
        transaction_id: 12 random bytes.
        change_ip: ask for the answer from the server's other address (RFC 5780 section 7.2).
        change_port: ask for the answer from its other port.
        response_port: ask for the answer to this port of ours (RFC 5780 section 7.5); 0: where we send from.
        fingerprint: whether to end with FINGERPRINT.
    """
    attributes: list[tuple[int, bytes]] = []
    if change_ip or change_port:
        value = encode_change_request(change_ip=change_ip, change_port=change_port)
        attributes.append((Attribute.CHANGE_REQUEST, value))
    if response_port:
        attributes.append((Attribute.RESPONSE_PORT, encode_response_port(response_port)))
    message = Message(message_class=MessageClass.REQUEST, transaction_id=transaction_id, attributes=tuple(attributes))
    return message.encode(fingerprint=fingerprint)


def mapped_address(message: Message) -> Address | None:
    """Returns how the server sees us; XOR-MAPPED-ADDRESS is preferred, since some NATs rewrite the other."""
    for kind in (Attribute.XOR_MAPPED_ADDRESS, Attribute.OLD_XOR_MAPPED_ADDRESS):
        if (value := message.get(kind)) is not None:
            return decode_xor_mapped_address(value, message.cookie + message.transaction_id)
    value = message.get(Attribute.MAPPED_ADDRESS)
    return None if value is None else decode_mapped_address(value)


def other_address(message: Message) -> Address | None:
    """Returns the server's second address and port (RFC 5780 section 7.4), under its old name too."""
    for kind in (Attribute.OTHER_ADDRESS, Attribute.CHANGED_ADDRESS):
        if (value := message.get(kind)) is not None:
            return decode_mapped_address(value)
    return None


def may_be_asked(server: Address, claimed: Address) -> bool:
    """Tells whether we may send to an address that a server claims: its words never send us into our own network."""
    if not claimed[1] or is_ipv6(claimed[0]) != is_ipv6(server[0]):
        return False
    return scope_of(claimed[0]) in (scope_of(server[0]), Scope.GLOBAL)


def is_usable_other(server: Address, other: Address) -> bool:
    """Tells whether a server's other address is one, and may be asked."""
    return other[0] != server[0] and may_be_asked(server, other)


def response_origin(message: Message) -> Address | None:
    """Returns where the server says it answered from (RFC 5780 section 7.3), under its old name too."""
    for kind in (Attribute.RESPONSE_ORIGIN, Attribute.SOURCE_ADDRESS):
        if (value := message.get(kind)) is not None:
            return decode_mapped_address(value)
    return None


def error_of(message: Message) -> tuple[int, str] | None:
    """Returns the (code, reason) of an error response, None where there is no ERROR-CODE."""
    value = message.get(Attribute.ERROR_CODE)
    return None if value is None else decode_error_code(value)


def _join_type(method: int, message_class: int) -> int:
    """Interleaves method and class: M11-M7 C1 M6-M4 C0 M3-M0."""
    high, middle, low = method & 0xF80, method & 0x070, method & 0x00F
    return high << 2 | (message_class & 2) << 7 | middle << 1 | (message_class & 1) << 4 | low


def _split_type(kind: int) -> tuple[int, MessageClass]:
    """Is the inverse of _join_type."""
    method = (kind >> 2) & 0xF80 | (kind >> 1) & 0x070 | kind & 0x00F
    return method, MessageClass((kind >> 7) & 2 | (kind >> 4) & 1)
