"""What peers tell each other through a mediator: INVITE, ACCEPT, UPDATE and BYE.

An offer is a list of fields, each a tag (1 byte) and a value behind its length (2 bytes).  A reader
passes over tags that it does not know, so fields can be added.  Tag 0 is padding: it brings every
offer to a multiple of 256 bytes, so that its length tells nothing of what is inside.  Sealing is
holepunch.proto.seal; nothing here is secret or trusted by itself.
"""

import enum
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import TypeVar

from ..errors import WireError
from .candidate import MAX_CANDIDATES, Candidate, decode_candidate, encode_candidate
from .nat import NatReport, decode_report, encode_report
from .wire import Reader, Writer

PADDED_LENGTH = 256
_MAX_TEXT = 200


class OfferType(enum.IntEnum):
    """What an offer is for."""

    INVITE = 1
    ACCEPT = 2
    UPDATE = 3
    BYE = 4


class Carry(enum.IntEnum):
    """What datagrams travel on the path beside our own packets."""

    RAW = 0
    """The user's command's, as they are; it brings its own encryption."""
    SEALED = 1
    """A program's, each sealed by us."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Offer:
    """One offer."""

    type: OfferType
    sender: bytes
    """The 32 raw bytes of the sender's PeerId."""
    created: int
    """Seconds since 1970, by the sender's clock."""
    header: bytes = b""
    """16 bytes: digest of the envelope's header, which binds the two (see seal)."""
    round: int = 0
    """Punching round: 0 for INVITE and ACCEPT, then one more for each new punch."""
    candidates: tuple[Candidate, ...] = ()
    report: NatReport = field(default_factory=NatReport)
    """The sender's IPv4 NATs."""
    carry: Carry = Carry.RAW
    keeps_socket: bool = False
    """Whether the sender's socket stays ours after the path is up, so that it answers consent checks."""
    started: bool = False
    """The sender has begun to send with full TTL: packets towards it cannot spoil its mappings."""
    answer: bool = False
    """This UPDATE answers one of the same round."""
    latency: float = 0.0
    """Seconds that the sender expects its fastest mediator to take, one way; to 0.1."""
    fingerprint: bytes = b""
    """SHA-256 of the TLS certificate that the sender's command may use; empty for none."""
    reason: str = ""
    """Why, in a BYE."""


class _Tag(enum.IntEnum):
    PADDING = 0
    TYPE = 1
    SENDER = 2
    CREATED = 3
    HEADER = 4
    ROUND = 5
    CANDIDATE = 6
    REPORT = 7
    FLAGS = 8
    LATENCY = 9
    FINGERPRINT = 10
    REASON = 11


_T = TypeVar("_T")

_CARRY_SEALED, _KEEPS_SOCKET, _STARTED, _ANSWER = 1, 2, 4, 8


def encode_offer(offer: Offer) -> bytes:
    """Returns the offer's bytes, padded to a multiple of PADDED_LENGTH."""
    flags = (
        (_CARRY_SEALED if offer.carry is Carry.SEALED else 0)
        | (_KEEPS_SOCKET if offer.keeps_socket else 0)
        | (_STARTED if offer.started else 0)
        | (_ANSWER if offer.answer else 0)
    )
    fields: list[tuple[_Tag, Writer]] = [
        (_Tag.TYPE, Writer().u8(offer.type)),
        (_Tag.SENDER, Writer().raw(offer.sender)),
        (_Tag.CREATED, Writer().u64(offer.created)),
        (_Tag.HEADER, Writer().raw(offer.header)),
        (_Tag.ROUND, Writer().u8(offer.round)),
        (_Tag.FLAGS, Writer().u8(flags)),
        (_Tag.LATENCY, Writer().u16(min(round(offer.latency * 10), 0xFFFF))),
        (_Tag.FINGERPRINT, Writer().raw(offer.fingerprint)),
        (_Tag.REASON, Writer().raw(offer.reason.encode()[:_MAX_TEXT])),
    ]
    report = Writer()
    encode_report(report, offer.report)
    fields.append((_Tag.REPORT, report))
    for candidate in offer.candidates[:MAX_CANDIDATES]:
        value = Writer()
        encode_candidate(value, candidate)
        fields.append((_Tag.CANDIDATE, value))
    writer = Writer()
    for tag, value in fields:
        writer.u8(tag).block(value.getvalue())
    data = writer.getvalue()
    padding = -(len(data) + 3) % PADDED_LENGTH
    return data + Writer().u8(_Tag.PADDING).block(bytes(padding)).getvalue()


def decode_offer(data: bytes) -> Offer:
    """Reads an offer.

    Raises:
        WireError: a field is malformed, or one that every offer has is missing.
    """
    reader = Reader(data)
    values: dict[int, bytes] = {}
    candidates: list[Candidate] = []
    while reader.remaining:
        tag, value = reader.u8(), reader.block()
        if tag == _Tag.CANDIDATE:
            if len(candidates) < MAX_CANDIDATES:
                candidates.append(_whole(value, decode_candidate))
        elif tag in values:
            raise WireError(f"offer field {tag} comes twice")
        elif tag != _Tag.PADDING:
            values[tag] = value
    if missing := [tag.name for tag in (_Tag.TYPE, _Tag.SENDER, _Tag.CREATED) if tag not in values]:
        raise WireError(f"the offer has no {', '.join(missing)}")
    try:
        kind = OfferType(_whole(values[_Tag.TYPE], Reader.u8))
    except ValueError as error:
        raise WireError(str(error)) from error
    flags = _whole(values.get(_Tag.FLAGS, b"\0"), Reader.u8)
    sender, fingerprint = values[_Tag.SENDER], values.get(_Tag.FINGERPRINT, b"")
    if len(sender) != 32 or len(fingerprint) not in (0, 32):
        raise WireError(f"sender has {len(sender)} bytes and fingerprint {len(fingerprint)}, expected 32, and 0 or 32")
    offer = Offer(
        type=kind,
        sender=sender,
        created=_whole(values[_Tag.CREATED], Reader.u64),
        header=values.get(_Tag.HEADER, b""),
        round=_whole(values.get(_Tag.ROUND, b"\0"), Reader.u8),
        candidates=tuple(candidates),
        carry=Carry.SEALED if flags & _CARRY_SEALED else Carry.RAW,
        keeps_socket=bool(flags & _KEEPS_SOCKET),
        started=bool(flags & _STARTED),
        answer=bool(flags & _ANSWER),
        latency=_whole(values.get(_Tag.LATENCY, b"\0\0"), Reader.u16) / 10,
        fingerprint=fingerprint,
        reason=_printable(values.get(_Tag.REASON, b"")),
    )
    return replace(offer, report=_whole(values[_Tag.REPORT], decode_report)) if _Tag.REPORT in values else offer


def _whole(value: bytes, decode: Callable[[Reader], _T]) -> _T:
    """Decodes a value and insists that nothing follows it."""
    reader = Reader(value)
    result = decode(reader)
    reader.end()
    return result


def _printable(value: bytes) -> str:
    """Returns text that is safe on a terminal: what the peer wrote, without control characters."""
    text = value[:_MAX_TEXT].decode(errors="replace")
    return "".join(character if character.isprintable() else "?" for character in text)
