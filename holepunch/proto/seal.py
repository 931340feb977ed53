"""Seals offers end to end: a mediator can drop or delay them, nothing else.

    INVITE   body = Noise IK message 1 of the offer
    ACCEPT   body = id of the INVITE it answers (16 bytes) + Noise IK message 2 of the offer
    UPDATE   body = counter (8 bytes) + ChaCha20-Poly1305 under the handshake's keys; BYE likewise

The pattern is Noise_IK_25519_ChaChaPoly_BLAKE2s with the prologue "holepunch/1" + session id.  An
inviter whose mapping changes while its INVITE travels sends another of the same session: it keeps the
handshake of each (at most MAX_INVITES), and the acceptor keeps to the first that it answered.

Every offer holds a digest of its envelope's header, so neither expiry nor recipient can be changed on
the way, and its own time of creation; both clocks may be wrong by SKEW.
"""

import hashlib
from copy import copy
from dataclasses import dataclass, replace

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

from ..errors import AuthenticationError, ConfigurationError, WireError
from .envelope import Envelope, Kind
from .identity import Identity, PeerId
from .machine import Entropy
from .noise import Initiator, Responder, SessionKeys
from .offer import Offer, OfferType, decode_offer, encode_offer
from .replay import ReplayWindow

SKEW = 600.0  # seconds that two honest clocks may differ
MAX_LIFETIME = 24 * 3600  # seconds from creation to expiry that we believe
MAX_INVITES = 16  # of one session; one each time that a mapping changes while the offer travels
_PROLOGUE = b"holepunch/1"
_ID_LENGTH = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class Invitation:
    """An INVITE that was opened: authentic, fresh and for us; whether we know the sender is not said."""

    sender: PeerId
    session: bytes
    id: bytes
    expires: int
    offer: Offer
    handshake: Responder


def open_invite(envelope: Envelope, identity: Identity, wall: float) -> Invitation:
    """Opens an INVITE.

    Args:
        envelope: as the mediator gave it.
        identity: ours.
        wall: seconds since 1970.

    Raises:
        AuthenticationError: it is not for us, expired, not sealed by who it says, or altered.
        WireError: an authentic sender wrote something malformed.
    """
    if envelope.kind is not Kind.INVITE:
        raise WireError(f"the envelope is {envelope.kind.name}, expected INVITE")
    if envelope.recipient != identity.peer_id.raw:
        raise AuthenticationError("the offer is for another machine")
    _check_expiry(envelope, wall)
    handshake = Responder(identity.noise_private, _PROLOGUE + envelope.session)
    offer = _checked(decode_offer(handshake.read(envelope.body)), envelope, wall, {OfferType.INVITE})
    try:
        sender = PeerId(offer.sender)
    except ConfigurationError as error:
        raise AuthenticationError(str(error)) from None  # anybody may write this to us
    if sender.noise_key != handshake.remote_static:
        raise AuthenticationError("the offer names a sender that did not seal it")
    return Invitation(
        sender=sender,
        session=envelope.session,
        id=envelope.id,
        expires=envelope.expires,
        offer=offer,
        handshake=handshake,
    )


class Seal:
    """Seals and opens the offers of one session.

    Args:
        identity: ours.
        peer: whom the session is with.
        session: 16 random bytes; the invitation's own for an acceptor.
        entropy: random bytes for message ids and ephemeral keys.
        invitation: what an acceptor answers; None for an inviter.
    """

    def __init__(
        self,
        identity: Identity,
        peer: PeerId,
        session: bytes,
        entropy: Entropy,
        invitation: Invitation | None = None,
    ) -> None:
        self.keys: SessionKeys | None = None
        """The session's keys, once an ACCEPT was sealed or opened."""
        self._identity = identity
        self._peer = peer
        self._session = session
        self._entropy = entropy
        self._invitation = invitation
        self._handshakes: dict[bytes, Initiator] = {}
        self._counter = 0
        self._window = ReplayWindow()

    def seal(self, offer: Offer, expires: int) -> Envelope:
        """Seals any offer; an ACCEPT makes the session's keys.

        Args:
            offer: its `header` is filled in here.
            expires: seconds since 1970, until when a mediator keeps it.
        """
        kind = {OfferType.INVITE: Kind.INVITE, OfferType.ACCEPT: Kind.ACCEPT}.get(offer.type, Kind.UPDATE)
        envelope = Envelope(
            kind=kind,
            session=self._session,
            id=self._entropy(_ID_LENGTH),
            recipient=self._peer.raw,
            expires=expires,
            body=b"",
        )
        payload = encode_offer(replace(offer, header=_digest(envelope)))
        if kind is Kind.INVITE:
            handshake = Initiator(
                self._identity.noise_private, self._peer.noise_key, self._entropy(32), _PROLOGUE + self._session
            )
            body = handshake.write(payload)
            while len(self._handshakes) >= MAX_INVITES:
                del self._handshakes[next(iter(self._handshakes))]
            self._handshakes[envelope.id] = handshake
        elif kind is Kind.ACCEPT:
            if self._invitation is None:
                raise ValueError("an inviter does not send ACCEPT")
            body = self._invitation.id + self._invitation.handshake.write(payload, self._entropy(32))
            self.keys = self._invitation.handshake.keys
        else:
            if self.keys is None:
                raise ValueError("UPDATE and BYE need the keys of an ACCEPT")
            counter = self._counter.to_bytes(8)
            self._counter += 1
            body = counter + ChaCha20Poly1305(self.keys.send).encrypt(bytes(4) + counter, payload, envelope.header())
        return replace(envelope, body=body)

    def open(self, envelope: Envelope, wall: float) -> Offer:
        """Opens an ACCEPT (which makes the session's keys), an UPDATE, a BYE, or the INVITE anew.

        Raises:
            AuthenticationError: it is not authentic, was opened before, or has expired.
            WireError: an authentic peer wrote something malformed.
        """
        if envelope.session != self._session:
            raise AuthenticationError("the offer is for another session")
        if envelope.kind is Kind.INVITE:
            invitation = open_invite(envelope, self._identity, wall)
            if invitation.sender != self._peer:
                raise AuthenticationError("another peer used this session's id")
            return invitation.offer
        _check_expiry(envelope, wall)
        if envelope.kind is Kind.ACCEPT:
            return self._open_accept(envelope, wall)
        if self.keys is None or len(envelope.body) < 8:
            raise AuthenticationError("an UPDATE came before the ACCEPT")
        counter, sealed = envelope.body[:8], envelope.body[8:]
        try:
            payload = ChaCha20Poly1305(self.keys.receive).decrypt(bytes(4) + counter, sealed, envelope.header())
        except InvalidTag:
            raise AuthenticationError("the offer is not authentic") from None
        if not self._window.accept(int.from_bytes(counter)):
            raise AuthenticationError("the offer was opened before")
        return _checked(decode_offer(payload), envelope, wall, {OfferType.UPDATE, OfferType.BYE}, self._peer)

    def _open_accept(self, envelope: Envelope, wall: float) -> Offer:
        handshake = self._handshakes.get(envelope.body[:_ID_LENGTH])
        if handshake is None or self.keys is not None:
            raise AuthenticationError("the ACCEPT answers no INVITE of ours that is still open")
        # A mediator may have put a true body under another header: that must not spend our handshake.
        handshake = copy(handshake)
        payload = handshake.read(envelope.body[_ID_LENGTH:])
        offer = _checked(decode_offer(payload), envelope, wall, {OfferType.ACCEPT}, self._peer)
        self.keys = handshake.keys
        self._handshakes.clear()
        return offer


def _digest(envelope: Envelope) -> bytes:
    return hashlib.blake2s(envelope.header(), digest_size=16).digest()


def _check_expiry(envelope: Envelope, wall: float) -> None:
    if wall > envelope.expires + SKEW:
        raise AuthenticationError(
            f"the offer expired {wall - envelope.expires:.0f} s ago", hint="If that is not so, set the clocks right."
        )


def _checked(
    offer: Offer, envelope: Envelope, wall: float, types: set[OfferType], sender: PeerId | None = None
) -> Offer:
    """Holds an authentic offer against its envelope and the clock."""
    if offer.type not in types:
        raise WireError(f"the offer is {offer.type.name}, expected {' or '.join(sorted(t.name for t in types))}")
    if offer.header != _digest(envelope):
        raise AuthenticationError("the envelope was altered on the way")
    if sender is not None and offer.sender != sender.raw:
        raise AuthenticationError("the offer names another sender")
    if offer.created > wall + SKEW or not 0 < envelope.expires - offer.created <= MAX_LIFETIME:
        raise AuthenticationError(
            f"the offer was made {offer.created - wall:+.0f} s from now",
            hint=f"Set the clocks right: they may differ by {SKEW / 60:.0f} minutes.",
        )
    return offer
