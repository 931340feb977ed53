"""What a mediator carries: a sealed body, and on the outside only what delivery needs.

    0   2   magic "HP"
    2   1   version, 1
    3   1   kind: 1 INVITE, 2 ACCEPT, 3 UPDATE or BYE, 4 PAIR
    4  16   session id
   20  16   message id, random
   36  32   recipient: its PeerId's raw 32 bytes
   68   8   expires: seconds since 1970, big-endian
   76   2   length of the body, then the body

The sender is not named (Noise IK hides it in the body).  The header is authenticated by the seal
of the body (holepunch.proto.offer): a mediator can drop or delay, nothing else.
"""

import enum
from dataclasses import dataclass

from ..errors import WireError
from .wire import Reader, Writer

MAGIC = b"HP"
VERSION = 1
MAX_BODY = 8192  # bytes; an offer is padded to 512 or a multiple, and stays below 4 kB
HEADER_LENGTH = 78


class Kind(enum.IntEnum):
    """What a body is."""

    INVITE = 1
    ACCEPT = 2
    UPDATE = 3
    """UPDATE or BYE: which of the two is sealed inside."""
    PAIR = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Envelope:
    """One message for a mediator."""

    kind: Kind
    session: bytes
    """16 bytes; one per connection attempt and its session."""
    id: bytes
    """16 random bytes; the same through every mediator, so duplicates are dropped by it."""
    recipient: bytes
    """The 32 raw bytes of a PeerId."""
    expires: int
    """Seconds since 1970 by the sender's clock."""
    body: bytes

    def header(self) -> bytes:
        """Returns the bytes before the body's length: what the seal authenticates."""
        writer = Writer().raw(MAGIC).u8(VERSION).u8(self.kind).raw(self.session).raw(self.id)
        return writer.raw(self.recipient).u64(self.expires).getvalue()

    def encode(self) -> bytes:
        """Returns the envelope's bytes."""
        return Writer().raw(self.header()).block(self.body).getvalue()


def decode_envelope(data: bytes) -> Envelope:
    """Reads an envelope.

    Raises:
        WireError: it is not one, or of another version, or longer than MAX_BODY allows.
    """
    reader = Reader(data)
    if reader.take(2) != MAGIC:
        raise WireError("not an envelope: it does not start with HP")
    if (version := reader.u8()) != VERSION:
        raise WireError(f"envelope version is {version}, expected {VERSION}")
    try:
        kind = Kind(reader.u8())
    except ValueError as error:
        raise WireError(str(error)) from error
    session, message_id, recipient, expires = reader.take(16), reader.take(16), reader.take(32), reader.u64()
    body = reader.block()
    reader.end()
    if len(body) > MAX_BODY:
        raise WireError(f"the body has {len(body)} bytes, expected no more than {MAX_BODY}")
    return Envelope(kind=kind, session=session, id=message_id, recipient=recipient, expires=expires, body=body)
