"""Our side of the mail: what an offer says, how long it is good for, and that it is kept until it is posted."""

import random

from holepunch.proto.candidate import Candidate, CandidateKind, Interface
from holepunch.proto.correspondence import Correspondence
from holepunch.proto.envelope import Kind
from holepunch.proto.gather import Gatherer
from holepunch.proto.offer import Carry, OfferType
from holepunch.proto.options import AgentOptions
from holepunch.proto.round import Round
from holepunch.proto.seal import open_invite

from .sealing import ALICE, BOB, SESSION, WALL

OPTIONS = AgentOptions(
    interfaces=(Interface("192.168.1.2", 24),),
    latency=3.0,
    expiry=600.0,
    carry=Carry.SEALED,
    keeps_socket=True,
    fingerprint=b"f" * 32,
)


def make_round(entropy: random.Random) -> Round:
    """A round whose gathering is over."""
    gatherer = Gatherer([], OPTIONS.interfaces, entropy.randbytes, measures_hops=False)
    gatherer.start(0.0)
    gatherer.socket_opened(0, ("0.0.0.0", 4000), 0.0)
    return Round(0, OPTIONS, entropy.randbytes, answering=False, gatherer=gatherer)


def alice() -> tuple[Correspondence, Round]:
    """The inviter's mail, and her round."""
    entropy = random.Random(1)
    mail = Correspondence(ALICE, BOB.peer_id, SESSION, OPTIONS, entropy=entropy.randbytes, epoch=WALL, invitation=None)
    return mail, make_round(entropy)


def test_an_offer_says_what_is_known_and_what_the_user_wants() -> None:
    mail, round_ = alice()
    envelope = mail.seal(OfferType.INVITE, round_, 7.0)
    offer = open_invite(envelope, BOB, WALL).offer
    assert offer.candidates == (Candidate(CandidateKind.HOST, ("192.168.1.2", 4000)),)
    assert offer.created == int(WALL + 7)
    assert envelope.expires == int(WALL + 7 + 600)
    assert (offer.latency, offer.carry, offer.keeps_socket) == (3.0, Carry.SEALED, True)
    assert offer.fingerprint == b"f" * 32
    assert offer.round == 0
    assert not offer.started


def test_the_answer_makes_the_same_keys_and_updates_can_follow() -> None:
    mail, round_ = alice()
    invitation = open_invite(mail.seal(OfferType.INVITE, round_, 0.0), BOB, WALL)
    entropy = random.Random(2)
    bob = Correspondence(
        BOB, ALICE.peer_id, SESSION, OPTIONS, entropy=entropy.randbytes, epoch=WALL + 300, invitation=invitation
    )
    accept = bob.seal(OfferType.ACCEPT, make_round(entropy), 0.0)
    before = mail.keys
    assert mail.open(accept, 1.0).type is OfferType.ACCEPT
    assert before is None
    assert mail.keys is not None
    assert bob.keys is not None
    assert mail.keys.derive(b"x") == bob.keys.derive(b"x")
    update = mail.seal(OfferType.UPDATE, round_, 2.0, started=True)
    assert bob.open(update, 2.0).started
    bye = bob.seal(OfferType.BYE, make_round(entropy), 3.0, reason="enough")
    assert bye.kind is Kind.UPDATE
    assert mail.open(bye, 3.0).reason == "enough"


def test_envelopes_are_kept_in_order_and_given_once() -> None:
    mail, round_ = alice()
    envelopes = [mail.seal(OfferType.INVITE, round_, now) for now in (0.0, 1.0, 2.0)]
    for envelope in envelopes:
        mail.post(envelope)
    assert mail.take() == envelopes
    assert mail.take() == []


def test_every_envelope_has_an_id_of_its_own() -> None:
    mail, round_ = alice()
    assert len({mail.seal(OfferType.INVITE, round_, 0.0).id for _ in range(20)}) == 20
