"""Identities: the text form, the two keys that are one, and what is refused."""

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holepunch.errors import ConfigurationError
from holepunch.proto import noise
from holepunch.proto.identity import Identity, PeerId

ALICE = Identity.from_seed(bytes(range(32)))
P = 2**255 - 19
# The points of small order, by their y (RFC 7748 section 7 and the torsion subgroup of Ed25519).
ORDER_8 = 2707385501144840649318225287225658788936804267575313519463743609750303402022
SMALL_ORDER_Y = [0, 1, P - 1, ORDER_8, P - ORDER_8]


@given(st.binary(min_size=32, max_size=32))
def test_every_identity_survives_being_written_and_read(seed: bytes) -> None:
    peer_id = Identity.from_seed(seed).peer_id
    assert len(str(peer_id)) == 61
    assert str(peer_id).startswith("hp1")
    assert PeerId.parse(str(peer_id)) == peer_id
    assert PeerId.parse(f"  {str(peer_id).upper()}\n") == peer_id


@given(st.binary(min_size=32, max_size=32))
def test_the_noise_key_of_the_public_half_is_that_of_the_private_half(seed: bytes) -> None:
    identity = Identity.from_seed(seed)
    assert noise.public_key(identity.noise_private) == identity.peer_id.noise_key


def test_ed25519_matches_the_first_vector_of_rfc_8032() -> None:
    identity = Identity.from_seed(bytes.fromhex("9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60"))
    assert identity.peer_id.raw.hex() == "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a"
    assert identity.sign(b"").hex().startswith("e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e06522490155")


def test_the_checksum_is_that_of_bip_350() -> None:
    # An independent computation of bech32m over GF(32), by shifting one bit at a time.
    values = ["qpzry9x8gf2tvdw0s3jn54khce6mua7l".index(c) for c in str(ALICE.peer_id)[3:]]
    expanded = [3, 3, 0, ord("h") & 31, ord("p") & 31, *values]
    state = 1
    for value in expanded:
        for bit in range(4, -1, -1):
            state = state << 1 | value >> bit & 1
        carry = state >> 30
        state &= (1 << 30) - 1
        for index, generator in enumerate((0x3B6A57B2, 0x26508E6D, 0x1EA119FA, 0x3D4233DD, 0x2A1462B3)):
            state ^= generator if carry >> index & 1 else 0
    assert state == 0x2BC830A3


@given(st.integers(3, 60), st.sampled_from("qpzry9x8gf2tvdw0s3jn54khce6mua7l"))
def test_one_wrong_character_is_always_noticed(place: int, character: str) -> None:
    text = str(ALICE.peer_id)
    wrong = text[:place] + character + text[place + 1 :]
    if wrong != text:
        with pytest.raises(ConfigurationError, match="checksum"):
            PeerId.parse(wrong)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "does not start with hp1"),
        ("npub1xyz", "does not start with hp1"),
        (str(ALICE.peer_id)[:-1], "60 characters, expected 61"),
        (str(ALICE.peer_id) + "q", "62 characters, expected 61"),
        (str(ALICE.peer_id)[:-1].upper() + str(ALICE.peer_id)[-1], "mixes small and capital"),
        (str(ALICE.peer_id)[:9] + "b" + str(ALICE.peer_id)[10:], "character 10 of the identity is 'b'"),
    ],
)
def test_a_wrong_line_is_refused_with_what_is_wrong_and_a_hint(text: str, message: str) -> None:
    with pytest.raises(ConfigurationError, match=message) as caught:
        PeerId.parse(text)
    assert "holepunch id" in caught.value.hint


def test_one_identity_has_one_text() -> None:
    # 32 bytes fill 51.2 characters: the last 4 bits could be anything, with a checksum to match.
    from holepunch.proto import identity

    values = [identity._CHARSET.index(character) for character in str(ALICE.peer_id)[3:55]]
    values[-1] |= 1
    check = identity._polymod(identity._EXPANDED_PREFIX + values + [0] * 6) ^ identity._BECH32M
    values += [check >> shift & 31 for shift in range(25, -5, -5)]
    with pytest.raises(ConfigurationError, match="last 4 bits"):
        PeerId.parse("hp1" + "".join(identity._CHARSET[value] for value in values))


@given(st.text(max_size=80))
def test_no_text_raises_anything_but_a_configuration_error(text: str) -> None:
    with pytest.raises(ConfigurationError):
        PeerId.parse(text)


@pytest.mark.parametrize("y", SMALL_ORDER_Y)
@pytest.mark.parametrize("sign", [0, 1 << 255])
def test_keys_of_small_order_are_refused(y: int, sign: int) -> None:
    with pytest.raises(ConfigurationError, match="small order"):
        PeerId((y | sign).to_bytes(32, "little"))


@pytest.mark.parametrize("y", [2, P, P + 1, 2**255 - 1])
def test_bytes_that_are_no_point_of_the_curve_are_refused(y: int) -> None:
    with pytest.raises(ConfigurationError, match="not a point"):
        PeerId(y.to_bytes(32, "little"))


def test_a_key_of_another_length_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="31 bytes, expected 32"):
        PeerId(bytes(31))
    with pytest.raises(ConfigurationError, match="33 bytes, expected 32"):
        Identity.from_seed(bytes(33))


def test_signatures_are_accepted_from_their_signer_only() -> None:
    signature = ALICE.sign(b"data")
    bob = Identity.from_seed(bytes(32))
    assert ALICE.peer_id.verify(signature, b"data")
    assert not ALICE.peer_id.verify(signature, b"Data")
    assert not bob.peer_id.verify(signature, b"data")
    assert not ALICE.peer_id.verify(signature[:-1], b"data")
    assert not ALICE.peer_id.verify(b"", b"data")


def test_what_is_printed_of_an_identity_is_public() -> None:
    seed = bytes(range(32))
    for text in (repr(ALICE), str(ALICE), repr(ALICE.peer_id)):
        assert seed.hex() not in text
        assert hashlib.sha512(seed).hexdigest()[:16] not in text
        assert str(ALICE.peer_id) in text
    assert ALICE.peer_id.short == str(ALICE.peer_id)[:12]
