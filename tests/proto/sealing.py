"""Two identities that write to each other, for tests of offers and of what they lead to."""

import random
from dataclasses import dataclass, field

from holepunch.proto.candidate import Candidate, CandidateKind
from holepunch.proto.envelope import Envelope
from holepunch.proto.identity import Identity
from holepunch.proto.offer import Offer, OfferType
from holepunch.proto.seal import Invitation, Seal, open_invite

WALL = 1_800_000_000.0  # seconds since 1970
LIFETIME = 900.0  # seconds that an offer is good for
SESSION = b"session 16 bytes"

ALICE, BOB, MALLORY = (Identity.from_seed(name.ljust(32)) for name in (b"alice", b"bob", b"mallory"))


def offer(kind: OfferType, sender: Identity, *, wall: float = WALL) -> Offer:
    """A plain offer."""
    return Offer(
        type=kind,
        sender=sender.peer_id.raw,
        created=int(wall),
        candidates=(Candidate(CandidateKind.SERVER_REFLEXIVE, ("45.0.0.1", 4000)),),
    )


@dataclass
class Letters:
    """Alice, who invites, and Bob, who accepts, with their seals."""

    seed: int = 0
    session: bytes = SESSION
    alice: Seal = field(init=False)
    bob: Seal = field(init=False)
    invitation: Invitation = field(init=False)

    def __post_init__(self) -> None:
        self.entropy = random.Random(self.seed).randbytes
        self.alice = Seal(ALICE, BOB.peer_id, self.session, self.entropy)

    def invite(self, *, wall: float = WALL) -> Envelope:
        """Alice invites Bob."""
        return self.alice.seal(offer(OfferType.INVITE, ALICE, wall=wall), int(wall + LIFETIME))

    def accept(self, invite: Envelope, *, wall: float = WALL) -> Envelope:
        """Bob reads an invitation and answers it."""
        self.invitation = open_invite(invite, BOB, wall)
        self.bob = Seal(BOB, ALICE.peer_id, self.invitation.session, self.entropy, self.invitation)
        return self.bob.seal(offer(OfferType.ACCEPT, BOB, wall=wall), int(wall + LIFETIME))

    def agree(self) -> "Letters":
        """Brings both to the session's keys."""
        self.alice.open(self.accept(self.invite()), WALL)
        return self

    def update(self, *, kind: OfferType = OfferType.UPDATE, wall: float = WALL) -> Envelope:
        """Alice writes again."""
        return self.alice.seal(offer(kind, ALICE, wall=wall), int(wall + LIFETIME))
