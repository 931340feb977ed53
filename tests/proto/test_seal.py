"""Sealed offers: a mediator can drop and delay them, and nothing else."""

from dataclasses import replace

import pytest
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from hypothesis import given
from hypothesis import strategies as st

from holepunch.errors import AuthenticationError, WireError
from holepunch.proto.envelope import Envelope, Kind, decode_envelope
from holepunch.proto.offer import OfferType, encode_offer
from holepunch.proto.seal import MAX_INVITES, MAX_LIFETIME, SKEW, Seal, _digest, open_invite

from .sealing import ALICE, BOB, LIFETIME, MALLORY, SESSION, WALL, Letters, offer

REFUSED = (AuthenticationError, WireError)


def flip(envelope: Envelope, bit: int) -> Envelope | None:
    """Flips one bit of an envelope's bytes; None where the result is no envelope any more."""
    data = bytearray(envelope.encode())
    data[bit // 8] ^= 1 << bit % 8
    try:
        return decode_envelope(bytes(data))
    except WireError:
        return None


def test_two_that_know_each_other_come_to_the_same_keys() -> None:
    letters = Letters()
    invite = letters.invite()
    accept = letters.accept(invite)
    assert letters.invitation.sender == ALICE.peer_id
    assert letters.invitation.offer.candidates == offer(OfferType.INVITE, ALICE).candidates
    assert letters.alice.open(accept, WALL).type is OfferType.ACCEPT
    assert letters.alice.keys is not None
    assert letters.bob.keys is not None
    assert letters.alice.keys.derive(b"x") == letters.bob.keys.derive(b"x")


def test_every_session_has_keys_of_its_own() -> None:
    one, other = Letters(1).agree(), Letters(2).agree()
    assert one.alice.keys is not None
    assert other.alice.keys is not None
    assert one.alice.keys.derive(b"x") != other.alice.keys.derive(b"x")


def test_updates_and_the_bye_go_both_ways() -> None:
    letters = Letters().agree()
    assert letters.bob.open(letters.update(), WALL).type is OfferType.UPDATE
    bye = letters.bob.seal(offer(OfferType.BYE, BOB), int(WALL + LIFETIME))
    assert bye.kind is Kind.UPDATE
    assert letters.alice.open(bye, WALL).type is OfferType.BYE


def test_nothing_of_an_offer_or_its_sender_is_seen_outside() -> None:
    letters = Letters()
    invite = letters.invite()
    accept = letters.accept(invite)
    letters.alice.open(accept, WALL)
    for envelope in (invite, accept, letters.update()):
        data = envelope.encode()
        sender, other = (BOB, ALICE) if envelope is accept else (ALICE, BOB)
        assert sender.peer_id.raw not in data
        assert sender.peer_id.noise_key not in data
        assert bytes([45, 0, 0, 1]) not in data
        assert other.peer_id.raw in data


# Altered, one bit at a time.


@given(st.integers(0), st.integers(0, 255))
def test_an_invite_with_one_bit_flipped_is_refused(where: int, seed: int) -> None:
    invite = Letters(seed).invite()
    altered = flip(invite, where % (len(invite.encode()) * 8))
    if altered is not None:
        with pytest.raises(REFUSED):
            open_invite(altered, BOB, WALL)


@given(st.integers(0), st.integers(0, 255))
def test_an_accept_with_one_bit_flipped_is_refused_and_the_true_one_still_counts(where: int, seed: int) -> None:
    letters = Letters(seed)
    accept = letters.accept(letters.invite())
    altered = flip(accept, where % (len(accept.encode()) * 8))
    if altered is not None:
        with pytest.raises(REFUSED):
            letters.alice.open(altered, WALL)
    assert letters.alice.keys is None
    assert letters.alice.open(accept, WALL).type is OfferType.ACCEPT


@given(st.integers(0), st.integers(0, 255))
def test_an_update_with_one_bit_flipped_is_refused_and_the_true_one_still_counts(where: int, seed: int) -> None:
    letters = Letters(seed).agree()
    update = letters.update()
    altered = flip(update, where % (len(update.encode()) * 8))
    if altered is not None:
        with pytest.raises(REFUSED):
            letters.bob.open(altered, WALL)
    assert letters.bob.open(update, WALL).type is OfferType.UPDATE


def test_every_single_bit_of_an_invites_header_counts() -> None:
    invite = Letters().invite()
    for bit in range(len(invite.header()) * 8):
        altered = flip(invite, bit)
        if altered is not None:
            with pytest.raises(REFUSED):
                open_invite(altered, BOB, WALL)


@given(st.binary(max_size=300), st.sampled_from(Kind), st.booleans())
def test_any_body_under_a_true_header_is_refused(body: bytes, kind: Kind, agreed: bool) -> None:
    letters = Letters()
    invite = letters.invite()
    accept = letters.accept(invite)
    if agreed:
        letters.alice.open(accept, WALL)
    forged = replace(accept, kind=kind, body=body)
    with pytest.raises(REFUSED):
        letters.alice.open(forged, WALL)
    with pytest.raises(REFUSED):
        open_invite(replace(invite, body=body), BOB, WALL)


# Misaddressed.


def test_an_invite_for_another_machine_is_refused() -> None:
    with pytest.raises(AuthenticationError, match="another machine"):
        open_invite(Letters().invite(), MALLORY, WALL)


def test_an_invite_that_a_mediator_addressed_anew_is_refused() -> None:
    with pytest.raises(AuthenticationError):
        open_invite(replace(Letters().invite(), recipient=MALLORY.peer_id.raw), MALLORY, WALL)


def test_an_envelope_of_another_session_is_refused() -> None:
    letters = Letters().agree()
    with pytest.raises(AuthenticationError, match="another session"):
        letters.bob.open(replace(letters.update(), session=bytes(16)), WALL)


def test_an_update_sent_back_to_its_writer_is_refused() -> None:
    letters = Letters().agree()
    with pytest.raises(AuthenticationError):
        letters.alice.open(letters.update(), WALL)


# By somebody else.


def test_a_sender_cannot_put_another_name_on_an_offer() -> None:
    seal = Seal(MALLORY, BOB.peer_id, SESSION, Letters().entropy)
    with pytest.raises(AuthenticationError, match="did not seal it"):
        open_invite(seal.seal(offer(OfferType.INVITE, ALICE), int(WALL + LIFETIME)), BOB, WALL)


@pytest.mark.parametrize("raw", [bytes(32), b"\1" + bytes(31), b"\xff" * 32, b"\2" + bytes(31)])
def test_a_stranger_whose_name_is_no_key_is_refused_like_any_other(raw: bytes) -> None:
    nameless = replace(offer(OfferType.INVITE, MALLORY), sender=raw)
    seal = Seal(MALLORY, BOB.peer_id, SESSION, Letters().entropy)
    with pytest.raises(AuthenticationError):
        open_invite(seal.seal(nameless, int(WALL + LIFETIME)), BOB, WALL)


def test_only_the_machine_that_was_invited_can_accept() -> None:
    letters = Letters()
    invite = letters.invite()
    invitation = open_invite(invite, BOB, WALL)
    letters.accept(invite)
    # Mallory holds everything a mediator sees, and a key of her own.
    other = Letters(9)
    other.alice = Seal(ALICE, MALLORY.peer_id, SESSION, other.entropy)
    theirs = open_invite(replace(other.invite()), MALLORY, WALL)
    bogus = Seal(MALLORY, ALICE.peer_id, SESSION, other.entropy, theirs).seal(
        offer(OfferType.ACCEPT, BOB), int(WALL + LIFETIME)
    )
    for body in (bogus.body, invitation.id + bogus.body[16:]):
        with pytest.raises(AuthenticationError):
            letters.alice.open(replace(bogus, body=body), WALL)


def test_an_accept_may_not_name_another_sender() -> None:
    letters = Letters()
    invitation = open_invite(letters.invite(), BOB, WALL)
    seal = Seal(BOB, ALICE.peer_id, SESSION, letters.entropy, invitation)
    with pytest.raises(AuthenticationError, match="another sender"):
        letters.alice.open(seal.seal(offer(OfferType.ACCEPT, MALLORY), int(WALL + LIFETIME)), WALL)


def test_an_invite_of_another_peer_does_not_enter_a_session_by_its_id() -> None:
    letters = Letters().agree()
    seal = Seal(MALLORY, BOB.peer_id, SESSION, letters.entropy)
    with pytest.raises(AuthenticationError, match="another peer"):
        letters.bob.open(seal.seal(offer(OfferType.INVITE, MALLORY), int(WALL + LIFETIME)), WALL)


def test_a_bogus_accept_does_not_spoil_the_handshake_for_the_true_one() -> None:
    letters = Letters()
    accept = letters.accept(letters.invite())
    for seed in range(20):
        junk = letters.invitation.id + Letters(seed).entropy(len(accept.body) - 16)
        with pytest.raises(AuthenticationError):
            letters.alice.open(replace(accept, body=junk), WALL)
    letters.alice.open(accept, WALL)
    assert letters.alice.keys is not None


def test_a_true_body_under_another_header_does_not_spoil_the_handshake_either() -> None:
    letters = Letters()
    accept = letters.accept(letters.invite())
    for bogus in (replace(accept, id=bytes(16)), replace(accept, expires=accept.expires + 1)):
        with pytest.raises(AuthenticationError, match="altered"):
            letters.alice.open(bogus, WALL)
    letters.alice.open(accept, WALL)
    assert letters.alice.keys is not None


# Twice.


def test_an_update_is_opened_once() -> None:
    letters = Letters().agree()
    update = letters.update()
    letters.bob.open(update, WALL)
    with pytest.raises(AuthenticationError, match="opened before"):
        letters.bob.open(update, WALL)


def test_an_accept_is_opened_once_and_no_other_is_after_it() -> None:
    letters = Letters()
    first, second = letters.invite(), letters.invite()
    accept = letters.accept(first)
    again = letters.accept(second)
    letters.alice.open(accept, WALL)
    keys = letters.alice.keys
    for late in (accept, again):
        with pytest.raises(AuthenticationError, match="no INVITE of ours"):
            letters.alice.open(late, WALL)
    assert letters.alice.keys is keys


def test_updates_may_come_in_another_order() -> None:
    letters = Letters().agree()
    updates = [letters.update() for _ in range(10)]
    for update in reversed(updates):
        letters.bob.open(update, WALL)


# More than one INVITE.


def test_any_of_the_latest_invites_may_be_answered() -> None:
    for answered in range(MAX_INVITES):
        letters = Letters()
        invites = [letters.invite() for _ in range(MAX_INVITES)]
        letters.alice.open(letters.accept(invites[answered]), WALL)
        assert letters.alice.keys is not None


def test_older_invites_are_forgotten() -> None:
    letters = Letters()
    first = letters.invite()
    for _ in range(MAX_INVITES):
        letters.invite()
    assert len(letters.alice._handshakes) == MAX_INVITES
    with pytest.raises(AuthenticationError, match="no INVITE of ours"):
        letters.alice.open(letters.accept(first), WALL)


def test_nothing_is_kept_of_the_other_invites_when_one_is_answered() -> None:
    letters = Letters()
    letters.invite()
    letters.alice.open(letters.accept(letters.invite()), WALL)
    assert not letters.alice._handshakes


# Time.


@pytest.mark.parametrize("skew", [-600.0, -599.0, -60.0, 0.0, 60.0, 599.0, 600.0])
def test_clocks_may_differ_by_ten_minutes_either_way(skew: float) -> None:
    letters = Letters()
    invite = letters.invite(wall=WALL)
    accept = letters.accept(invite, wall=WALL + skew)
    assert letters.alice.open(accept, WALL).type is OfferType.ACCEPT


def test_an_offer_from_further_ahead_is_refused_with_a_word_about_clocks() -> None:
    with pytest.raises(AuthenticationError) as caught:
        open_invite(Letters().invite(wall=WALL), BOB, WALL - SKEW - 2)
    assert "clock" in caught.value.hint


def test_an_offer_that_expired_longer_ago_than_clocks_may_differ_is_refused() -> None:
    invite = Letters().invite(wall=WALL)
    assert open_invite(invite, BOB, WALL + LIFETIME + SKEW).sender == ALICE.peer_id
    with pytest.raises(AuthenticationError, match="expired"):
        open_invite(invite, BOB, WALL + LIFETIME + SKEW + 1)


@pytest.mark.parametrize("minutes", [26, 60, 24 * 60])
def test_updates_and_accepts_expire_too(minutes: int) -> None:
    letters = Letters()
    accept = letters.accept(letters.invite())
    with pytest.raises(AuthenticationError, match="expired"):
        letters.alice.open(accept, WALL + 60 * minutes)
    letters.alice.open(accept, WALL)
    with pytest.raises(AuthenticationError, match="expired"):
        letters.bob.open(letters.update(), WALL + 60 * minutes)


@pytest.mark.parametrize("lifetime", [0, -10, MAX_LIFETIME + 1])
def test_a_peer_cannot_make_an_offer_that_is_good_for_ever(lifetime: int) -> None:
    letters = Letters()
    envelope = letters.alice.seal(offer(OfferType.INVITE, ALICE), int(WALL + lifetime))
    with pytest.raises(AuthenticationError):
        open_invite(envelope, BOB, WALL)


# Authentic and wrong.


def test_a_kind_that_the_offer_inside_is_not_is_refused() -> None:
    letters = Letters().agree()
    with pytest.raises(WireError, match=r"ACCEPT, expected (UPDATE or BYE|BYE or UPDATE)"):
        letters.bob.open(_update_of_type(letters, OfferType.ACCEPT), WALL)


def _update_of_type(letters: Letters, kind: OfferType) -> Envelope:
    """An UPDATE of an authentic peer with something else inside."""
    plain = Envelope(
        kind=Kind.UPDATE,
        session=SESSION,
        id=bytes(16),
        recipient=BOB.peer_id.raw,
        expires=int(WALL + LIFETIME),
        body=b"",
    )
    keys = letters.alice.keys
    assert keys is not None
    payload = encode_offer(replace(offer(kind, ALICE), header=_digest(plain)))
    counter = (99).to_bytes(8)
    sealed = ChaCha20Poly1305(keys.send).encrypt(bytes(4) + counter, payload, plain.header())
    return replace(plain, body=counter + sealed)


def test_our_own_update_before_the_accept_is_a_fault_of_ours() -> None:
    letters = Letters()
    letters.invite()
    with pytest.raises(ValueError, match="keys"):
        letters.update()
    with pytest.raises(ValueError, match="inviter"):
        letters.alice.seal(offer(OfferType.ACCEPT, ALICE), int(WALL + LIFETIME))


def test_an_update_before_the_accept_is_refused() -> None:
    letters = Letters()
    invite = letters.invite()
    with pytest.raises(AuthenticationError, match="before the ACCEPT"):
        letters.alice.open(replace(invite, kind=Kind.UPDATE), WALL)


def test_pairing_messages_are_nothing_for_a_session() -> None:
    letters = Letters().agree()
    with pytest.raises(REFUSED):
        letters.bob.open(replace(letters.update(), kind=Kind.PAIR), WALL)
    with pytest.raises(WireError, match="expected INVITE"):
        open_invite(replace(letters.invite(), kind=Kind.PAIR), BOB, WALL)
