"""Our side of the exchange of offers: writes them, seals them, and keeps them until they are posted."""

from collections import deque
from dataclasses import replace

from .envelope import Envelope
from .identity import Identity, PeerId
from .machine import Entropy
from .noise import SessionKeys
from .offer import Offer, OfferType
from .options import AgentOptions
from .round import Round
from .seal import Invitation, Seal


class Correspondence:
    """The offers of one session.

    Args:
        identity: ours.
        peer: whom to write to.
        session: the session's 16 bytes.
        options: the agent's.
        entropy: random bytes.
        epoch: seconds since 1970 at `now` = 0.
        invitation: what an acceptor answers.
    """

    def __init__(
        self,
        identity: Identity,
        peer: PeerId,
        session: bytes,
        options: AgentOptions,
        *,
        entropy: Entropy,
        epoch: float,
        invitation: Invitation | None,
    ) -> None:
        self._identity = identity
        self._options = options
        self._epoch = epoch
        self._seal = Seal(identity, peer, session, entropy, invitation)
        self._waiting: deque[Envelope] = deque()

    @property
    def keys(self) -> SessionKeys | None:
        """The session's keys, once both offers are known."""
        return self._seal.keys

    def seal(
        self,
        kind: OfferType,
        round_: Round,
        now: float,
        *,
        started: bool = False,
        answer: bool = False,
        reason: str = "",
    ) -> Envelope:
        """Writes and seals an offer of what is known now; an ACCEPT makes the session's keys."""
        offer = Offer(
            type=kind,
            sender=self._identity.peer_id.raw,
            created=int(self._epoch + now),
            round=round_.number,
            candidates=tuple(round_.gatherer.candidates),
            report=round_.gatherer.report,
            carry=self._options.carry,
            keeps_socket=self._options.keeps_socket,
            started=started,
            answer=answer,
            latency=self._options.latency,
            fingerprint=self._options.fingerprint,
        )
        return self._seal.seal(replace(offer, reason=reason), int(self._epoch + now + self._options.expiry))

    def open(self, envelope: Envelope, now: float) -> Offer:
        """Opens an envelope of this session.

        Raises:
            AuthenticationError: it is not authentic, was opened before, or has expired.
            WireError: an authentic peer wrote something malformed.
        """
        return self._seal.open(envelope, self._epoch + now)

    def post(self, envelope: Envelope) -> None:
        """Keeps an envelope for take()."""
        self._waiting.append(envelope)

    def take(self) -> list[Envelope]:
        """Returns what is to be posted, and forgets it."""
        out = list(self._waiting)
        self._waiting.clear()
        return out
