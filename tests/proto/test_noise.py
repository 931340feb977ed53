"""Noise IK: played against itself, against a second implementation, and against junk."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from noise.connection import Keypair, NoiseConnection

from holepunch.errors import AuthenticationError
from holepunch.proto.identity import Identity
from holepunch.proto.noise import Initiator, Responder, SessionKeys

ALICE = Identity.from_seed(b"a" * 32)
BOB = Identity.from_seed(b"b" * 32)
PROLOGUE = b"holepunch/1 session"
keys = st.binary(min_size=32, max_size=32)


def initiator(prologue: bytes = PROLOGUE, remote: Identity = BOB, ephemeral: bytes = b"e" * 32) -> Initiator:
    return Initiator(ALICE.noise_private, remote.peer_id.noise_key, ephemeral, prologue)


def responder(prologue: bytes = PROLOGUE) -> Responder:
    return Responder(BOB.noise_private, prologue)


def stranger(role: str, static: bytes, remote: bytes | None = None) -> Any:
    """A side played by the noiseprotocol package."""
    connection = NoiseConnection.from_name(b"Noise_IK_25519_ChaChaPoly_BLAKE2s")
    connection.set_prologue(PROLOGUE)
    connection.set_keypair_from_private_bytes(Keypair.STATIC, static)
    if remote is not None:
        connection.set_keypair_from_public_bytes(Keypair.REMOTE_STATIC, remote)
    getattr(connection, f"set_as_{role}")()
    connection.start_handshake()
    return connection


@given(keys, keys, st.binary(max_size=600), st.binary(max_size=600), st.binary(max_size=40))
@settings(max_examples=50)
def test_both_sides_read_what_the_other_wrote_and_have_the_same_keys(
    first: bytes, second: bytes, hello: bytes, answer: bytes, prologue: bytes
) -> None:
    one, two = initiator(prologue, ephemeral=first), responder(prologue)
    assert two.read(one.write(hello)) == hello
    assert two.remote_static == ALICE.peer_id.noise_key
    assert one.read(two.write(answer, second)) == answer
    assert one.keys.send == two.keys.receive
    assert one.keys.receive == two.keys.send
    assert one.keys.handshake_hash == two.keys.handshake_hash
    assert one.keys.exporter == two.keys.exporter
    assert len({one.keys.send, one.keys.receive, one.keys.exporter, one.keys.handshake_hash}) == 4


@given(st.binary(max_size=300), st.binary(max_size=300))
@settings(max_examples=30)
def test_our_initiator_agrees_with_a_second_implementation(hello: bytes, answer: bytes) -> None:
    one, other = initiator(), stranger("responder", BOB.noise_private)
    assert other.read_message(one.write(hello)) == hello
    assert one.read(bytes(other.write_message(answer))) == answer
    assert one.keys.handshake_hash == other.get_handshake_hash()
    assert other.noise_protocol.cipher_state_decrypt.k == one.keys.send
    assert other.noise_protocol.cipher_state_encrypt.k == one.keys.receive


@given(st.binary(max_size=300), st.binary(max_size=300))
@settings(max_examples=30)
def test_our_responder_agrees_with_a_second_implementation(hello: bytes, answer: bytes) -> None:
    two = responder()
    other = stranger("initiator", ALICE.noise_private, remote=BOB.peer_id.noise_key)
    assert two.read(bytes(other.write_message(hello))) == hello
    assert other.read_message(two.write(answer, b"f" * 32)) == answer
    assert two.keys.handshake_hash == other.get_handshake_hash()
    assert other.noise_protocol.cipher_state_decrypt.k == two.keys.send


@given(st.binary(max_size=400))
def test_no_bytes_raise_anything_but_an_authentication_error(data: bytes) -> None:
    with pytest.raises(AuthenticationError):
        responder().read(data)
    one = initiator()
    one.write(b"")
    with pytest.raises(AuthenticationError):
        one.read(data)


@pytest.mark.parametrize("length", range(0, 120, 7))
def test_every_truncation_is_refused(length: int) -> None:
    one, two = initiator(), responder()
    message_1 = one.write(b"hello, this is a payload")
    with pytest.raises(AuthenticationError):
        two.read(message_1[:length])
    two.read(message_1)
    message_2 = two.write(b"hello, this is a payload", b"f" * 32)
    with pytest.raises(AuthenticationError):
        one.read(message_2[: length * len(message_2) // 120])


def test_one_flipped_bit_anywhere_is_refused_and_the_true_message_still_read_after() -> None:
    one, two = initiator(), responder()
    message_1 = one.write(b"hello")
    for place in range(len(message_1)):
        # The top bit of an X25519 key is ignored by RFC 7748, but the hash covers it: also refused.
        for bit in (1, 0x80):
            with pytest.raises(AuthenticationError):
                two.read(message_1[:place] + bytes([message_1[place] ^ bit]) + message_1[place + 1 :])
    assert two.read(message_1) == b"hello"
    message_2 = two.write(b"answer", b"f" * 32)
    for place in range(len(message_2)):
        with pytest.raises(AuthenticationError):
            one.read(message_2[:place] + bytes([message_2[place] ^ 1]) + message_2[place + 1 :])
    assert one.read(message_2) == b"answer"


def test_another_prologue_another_recipient_and_another_handshake_are_refused() -> None:
    with pytest.raises(AuthenticationError):
        responder().read(initiator(prologue=b"holepunch/2").write(b""))
    with pytest.raises(AuthenticationError):
        responder().read(initiator(remote=ALICE).write(b""))
    one, other, two = initiator(), initiator(ephemeral=b"g" * 32), responder()
    one.write(b"")
    two.read(other.write(b""))
    with pytest.raises(AuthenticationError):
        one.read(two.write(b"", b"f" * 32))


def test_keys_of_small_order_are_refused() -> None:
    with pytest.raises(AuthenticationError, match="small order"):
        Initiator(ALICE.noise_private, bytes(32), b"e" * 32, b"").write(b"")
    with pytest.raises(AuthenticationError, match="small order"):
        responder().read(bytes(96))


def test_derived_secrets_are_equal_on_both_sides_and_differ_by_label_and_handshake() -> None:
    one, two = initiator(), responder()
    two.read(one.write(b""))
    one.read(two.write(b"", b"f" * 32))
    assert one.keys.derive(b"punch", 100) == two.keys.derive(b"punch", 100)
    assert one.keys.derive(b"punch", 100)[:32] == one.keys.derive(b"punch")
    assert one.keys.derive(b"secret") != one.keys.derive(b"punch")
    third, fourth = initiator(ephemeral=b"h" * 32), responder()
    fourth.read(third.write(b""))
    third.read(fourth.write(b"", b"f" * 32))
    assert third.keys.derive(b"punch") != one.keys.derive(b"punch")
    with pytest.raises(ValueError, match="8161 bytes wanted"):
        one.keys.derive(b"", 8161)


def test_a_derived_secret_follows_from_the_exporter_and_the_handshake_hash_and_from_no_other_key() -> None:
    secret = SessionKeys(b"s" * 32, b"r" * 32, b"h" * 32, b"e" * 32).derive(b"label")
    assert SessionKeys(b"x" * 32, b"y" * 32, b"h" * 32, b"e" * 32).derive(b"label") == secret
    assert SessionKeys(b"s" * 32, b"r" * 32, b"x" * 32, b"e" * 32).derive(b"label") != secret
    assert SessionKeys(b"s" * 32, b"r" * 32, b"h" * 32, b"x" * 32).derive(b"label") != secret


def test_what_is_printed_of_keys_is_public() -> None:
    one, two = initiator(), responder()
    two.read(one.write(b""))
    one.read(two.write(b"", b"f" * 32))
    for secret in (one.keys.send, one.keys.receive, one.keys.exporter):
        assert secret.hex() not in repr(one.keys)
        assert repr(secret) not in repr(one.keys)


def test_the_steps_cannot_be_taken_out_of_order_or_twice() -> None:
    one, two = initiator(), responder()
    for step in (lambda: one.read(bytes(48)), lambda: one.keys, lambda: two.keys, lambda: two.remote_static):
        with pytest.raises(RuntimeError):
            step()
    with pytest.raises(RuntimeError):
        two.write(b"", b"f" * 32)
    two.read(one.write(b""))
    with pytest.raises(RuntimeError):
        one.write(b"")
    one.read(two.write(b"", b"f" * 32))
    with pytest.raises(RuntimeError):
        two.write(b"", b"g" * 32)


def test_a_payload_longer_than_a_noise_message_is_refused_before_any_key_is_used() -> None:
    one = initiator()
    with pytest.raises(ValueError, match="expected at most 65439"):
        one.write(bytes(65440))
    assert responder().read(one.write(bytes(65439))) == bytes(65439)
