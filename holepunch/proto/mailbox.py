"""What a client and the hub's mailbox say to each other (docs/protocol.md, "The mailbox").

One WebSocket message is one frame; the first byte says which.  Integers are big-endian.

    client                                          hub
    1  LOGIN      owner 32, signature 64            129  CHALLENGE  challenge 48, epoch 8
    2  SUBSCRIBE  epoch 8, cursor 8                 130  WELCOME
    3  POST       number 4, life 4, envelope        131  POSTED     number 4
    4  DISCARD    message id 16                     132  REFUSED    number 4, reason 1, wait 4, text
                                                    133  DELIVERY   cursor 8, envelope

The hub speaks first: its CHALLENGE leaves with the answer to the upgrade, so a client may send LOGIN,
SUBSCRIBE and its first POSTs together one round trip after it connected.  Every POST is answered by
POSTED or REFUSED with its number; a REFUSED with number 0 is about the connection, which then ends.

A cursor is a place in the hub's numbering of all envelopes; it only means something together with the
epoch, which changes when a hub begins with an empty store.
"""

import enum
from dataclasses import dataclass

from ..errors import WireError
from .envelope import HEADER_LENGTH, MAX_BODY
from .wire import Reader, Writer

CHALLENGE_LENGTH = 48  # bytes
EPOCH_LENGTH = 8  # bytes
MAX_ENVELOPE = HEADER_LENGTH + MAX_BODY  # bytes
MAX_FRAME = 9 + MAX_ENVELOPE  # bytes: the header of POST or DELIVERY is the longest
MAX_LIFE = 24 * 3600  # seconds an envelope may be kept

# Nothing else that an identity signs begins like this, so a hub cannot have a login signed that means
# something elsewhere, nor the reverse.
_LOGIN_CONTEXT = b"holepunch mailbox login 1\0"


class Reason(enum.IntEnum):
    """Why the hub refused."""

    MALFORMED = 1
    """The frame or envelope is not one, or comes at the wrong time."""
    NOT_AUTHENTIC = 2
    """The signature is not the owner's, or is over another challenge or another hub's name."""
    TOO_LARGE = 3
    RATE = 4
    """Too fast; the same may be tried again after `wait`."""
    MAILBOX_FULL = 5
    """The recipient has too much waiting."""
    SENDER_LIMIT = 6
    """The sender, or its network, has too much waiting in all mailboxes."""
    HUB_FULL = 7
    """The hub holds all it may, or serves as many connections as it may."""


@dataclass(frozen=True, slots=True)
class Login:
    """Proves who reads and posts here."""

    owner: bytes
    """The 32 raw bytes of a PeerId."""
    signature: bytes
    """64 bytes, over login_statement."""

    def encode(self) -> bytes:
        """Returns the frame."""
        return Writer().u8(1).raw(self.owner).raw(self.signature).getvalue()


@dataclass(frozen=True, slots=True)
class Subscribe:
    """Asks for every envelope of the owner's mailbox after a cursor, and for each new one."""

    epoch: bytes
    """The epoch the cursor belongs to; with another one than the hub's all is sent from the beginning."""
    cursor: int
    """The last one seen; 0 for none."""

    def encode(self) -> bytes:
        """Returns the frame."""
        return Writer().u8(2).raw(self.epoch).u64(self.cursor).getvalue()


@dataclass(frozen=True, slots=True)
class Post:
    """Puts an envelope into its recipient's mailbox."""

    number: int
    """Chosen by the client, not 0; the answer carries it."""
    life: int
    """Seconds to keep it, by the hub's clock; MAX_LIFE at most."""
    envelope: bytes

    def encode(self) -> bytes:
        """Returns the frame."""
        return Writer().u8(3).u32(self.number).u32(self.life).raw(self.envelope).getvalue()


@dataclass(frozen=True, slots=True)
class Discard:
    """Removes an envelope from the owner's mailbox; not answered."""

    id: bytes
    """The envelope's message id, 16 bytes."""

    def encode(self) -> bytes:
        """Returns the frame."""
        return Writer().u8(4).raw(self.id).getvalue()


@dataclass(frozen=True, slots=True)
class Challenge:
    """What to sign; the hub's first frame."""

    challenge: bytes
    """48 bytes, valid once and for a minute."""
    epoch: bytes

    def encode(self) -> bytes:
        """Returns the frame."""
        return Writer().u8(129).raw(self.challenge).raw(self.epoch).getvalue()


@dataclass(frozen=True, slots=True)
class Welcome:
    """The login is good."""

    def encode(self) -> bytes:
        """Returns the frame."""
        return Writer().u8(130).getvalue()


@dataclass(frozen=True, slots=True)
class Posted:
    """The hub has stored the envelope."""

    number: int

    def encode(self) -> bytes:
        """Returns the frame."""
        return Writer().u8(131).u32(self.number).getvalue()


@dataclass(frozen=True, slots=True)
class Refused:
    """The hub did not do it."""

    number: int
    """The POST's number, or 0 where the connection itself is refused."""
    reason: Reason
    wait: float
    """Seconds after which the same may succeed; 0 where it is no matter of time."""
    text: str
    """One sentence for a person."""

    def encode(self) -> bytes:
        """Returns the frame."""
        milliseconds = min(round(self.wait * 1000), 0xFFFFFFFF)
        return Writer().u8(132).u32(self.number).u8(self.reason).u32(milliseconds).text(self.text).getvalue()


@dataclass(frozen=True, slots=True)
class Delivery:
    """An envelope that waits in the owner's mailbox."""

    cursor: int
    envelope: bytes

    def encode(self) -> bytes:
        """Returns the frame."""
        return Writer().u8(133).u64(self.cursor).raw(self.envelope).getvalue()


ClientFrame = Login | Subscribe | Post | Discard
HubFrame = Challenge | Welcome | Posted | Refused | Delivery


def decode_client_frame(data: bytes) -> ClientFrame:
    """Reads a frame that a client sent.

    Raises:
        WireError: it is none, or too short, or too long.
    """
    reader = _reader(data)
    frame: ClientFrame
    match reader.u8():
        case 1:
            frame = Login(reader.take(32), reader.take(64))
        case 2:
            frame = Subscribe(reader.take(EPOCH_LENGTH), reader.u64())
        case 3:
            frame = Post(reader.u32(), reader.u32(), reader.rest())
            if frame.number == 0:
                raise WireError("a POST has number 0, which means the connection")
        case 4:
            frame = Discard(reader.take(16))
        case kind:
            raise WireError(f"a client's frame has type {kind}, expected 1 to 4")
    reader.end()
    return frame


def decode_hub_frame(data: bytes) -> HubFrame:
    """Reads a frame that a hub sent.

    Raises:
        WireError: it is none, or too short, or too long.
    """
    reader = _reader(data)
    frame: HubFrame
    match reader.u8():
        case 129:
            frame = Challenge(reader.take(CHALLENGE_LENGTH), reader.take(EPOCH_LENGTH))
        case 130:
            frame = Welcome()
        case 131:
            frame = Posted(reader.u32())
        case 132:
            number, reason, wait, text = reader.u32(), reader.u8(), reader.u32() / 1000, reader.text()
            try:
                frame = Refused(number, Reason(reason), wait, text)
            except ValueError as error:
                raise WireError(str(error)) from error
        case 133:
            frame = Delivery(reader.u64(), reader.rest())
        case kind:
            raise WireError(f"a hub's frame has type {kind}, expected 129 to 133")
    reader.end()
    return frame


def encode_deliveries(deliveries: list[Delivery]) -> bytes:
    """Returns the body of an answer to a long poll: each frame after its length in two bytes."""
    writer = Writer()
    for delivery in deliveries:
        writer.block(delivery.encode())
    return writer.getvalue()


def decode_deliveries(data: bytes) -> list[Delivery]:
    """Reads what encode_deliveries wrote.

    Raises:
        WireError: something in it is not a DELIVERY.
    """
    reader, deliveries = Reader(data), []
    while reader.remaining:
        frame = decode_hub_frame(reader.block())
        if not isinstance(frame, Delivery):
            raise WireError(f"expected deliveries, found {type(frame).__name__}")
        deliveries.append(frame)
    return deliveries


def login_statement(challenge: bytes, audience: str) -> bytes:
    """Returns what an owner signs to log in.

    Args:
        challenge: the hub's, 48 bytes.
        audience: the hub as the client knows it, `host` or `host:port` as in an HTTP Host header, in
            lower case.  With it, a hub that passes another hub's challenge on gets a login that is
            good for itself only.
    """
    return Writer().raw(_LOGIN_CONTEXT).block(challenge).text(audience).getvalue()


def _reader(data: bytes) -> Reader:
    if len(data) > MAX_FRAME:
        raise WireError(f"the frame has {len(data)} bytes, expected no more than {MAX_FRAME}")
    return Reader(data)
