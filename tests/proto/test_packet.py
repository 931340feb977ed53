"""Punch packets: random to strangers, accepted once, refused when one bit is another."""

import hashlib
from collections import Counter

import pytest
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from hypothesis import given
from hypothesis import strategies as st

from holepunch.errors import WireError
from holepunch.proto.packet import LENGTH, NOTHING_HEARD, Flag, Opener, Punch, Sealer, decode_punch, encode_punch

SECRET = bytes(range(32))
PLAINTEXT_LENGTH = 64

hosts = st.one_of(st.ip_addresses(v=4), st.ip_addresses(v=6)).map(str)
punches = st.builds(
    Punch,
    flags=st.integers(0, 31).map(Flag),
    round=st.integers(0, 255),
    echo=st.integers(0, NOTHING_HEARD),
    observed=st.one_of(st.none(), st.tuples(hosts, st.integers(0, 65535))),
)


@given(punches)
def test_a_punch_survives_the_wire(punch: Punch) -> None:
    data = encode_punch(punch)
    assert len(data) == PLAINTEXT_LENGTH
    assert decode_punch(data) == punch


@given(st.binary(max_size=80))
def test_any_plaintext_is_a_punch_or_a_wire_error(data: bytes) -> None:
    try:
        punch = decode_punch(data)
    except WireError:
        return
    assert isinstance(punch, Punch)


def test_flags_of_a_later_version_of_the_protocol_are_passed_over() -> None:
    data = bytearray(encode_punch(Punch(flags=Flag.WANT)))
    data[0] |= 0xE0
    assert decode_punch(bytes(data)).flags is Flag.WANT


def test_the_scope_of_a_link_is_not_told() -> None:
    punch = decode_punch(encode_punch(Punch(flags=Flag(0), observed=("fe80::1%eth0", 7))))
    assert punch.observed == ("fe80::1", 7)


@pytest.mark.parametrize(("at", "value", "said"), [(1, 9, "version is 9"), (12, 5, "family is 5")])
def test_an_unknown_version_or_family_is_named(at: int, value: int, said: str) -> None:
    data = bytearray(encode_punch(Punch(flags=Flag.WANT, observed=("192.0.2.1", 1))))
    data[at] = value
    with pytest.raises(WireError, match=said):
        decode_punch(bytes(data))


@given(st.binary(max_size=200))
def test_what_is_sealed_is_opened_once(plaintext: bytes) -> None:
    sealer, opener = Sealer(SECRET), Opener(SECRET)
    packet = sealer.seal(plaintext)
    assert len(packet) == len(plaintext) + 32
    assert opener.recognises(packet)
    assert opener.open(packet) == (0, plaintext)
    assert opener.open(packet) is None


def test_packets_may_come_in_any_order_and_each_counts_once() -> None:
    sealer, opener = Sealer(SECRET), Opener(SECRET)
    packets = [sealer.seal(bytes([number])) for number in range(50)]
    opened = [opener.open(packet) for packet in (*reversed(packets), *packets)]
    assert opened[:50] == [(number, bytes([number])) for number in reversed(range(50))]
    assert opened[50:] == [None] * 50


@given(st.binary(min_size=PLAINTEXT_LENGTH, max_size=PLAINTEXT_LENGTH), st.integers(0, LENGTH * 8 - 1))
def test_one_bit_flipped_anywhere_is_refused_and_does_not_shut_out_the_true_packet(plaintext: bytes, bit: int) -> None:
    sealer, opener = Sealer(SECRET), Opener(SECRET)
    packet = sealer.seal(plaintext)
    altered = bytearray(packet)
    altered[bit // 8] ^= 1 << bit % 8
    assert opener.open(bytes(altered)) is None
    assert opener.open(packet) == (0, plaintext)


@given(st.binary(max_size=LENGTH + 8))
def test_no_bytes_of_a_stranger_are_opened(data: bytes) -> None:
    assert Opener(SECRET).open(data) is None


@given(st.binary(max_size=LENGTH))
def test_no_bytes_behind_a_copied_tag_are_opened(data: bytes) -> None:
    tag = Sealer(SECRET).seal(b"")[:8]
    opener = Opener(SECRET)
    assert opener.recognises(tag + data)
    assert opener.open(tag + data) is None


@pytest.mark.parametrize("cut", [1, 16, 64, 88, 95])
def test_a_packet_that_was_cut_is_refused(cut: int) -> None:
    packet = Sealer(SECRET).seal(bytes(PLAINTEXT_LENGTH))
    assert Opener(SECRET).open(packet[:-cut]) is None


def test_the_other_direction_has_other_keys() -> None:
    packet = Sealer(SECRET).seal(b"hello")
    assert Opener(bytes(32)).open(packet) is None
    assert not Opener(bytes(32)).recognises(packet)


def test_the_tag_changes_every_65536_packets_and_the_receiver_keeps_up() -> None:
    sealer, opener = Sealer(SECRET), Opener(SECRET)
    tags = []
    for counter in (0, 0xFFFF, 0x10000, 0x1FFFF, 0x20000):
        sealer.next_counter = counter
        packet = sealer.seal(b"hello")
        assert opener.open(packet) == (counter, b"hello")
        tags.append(packet[:8])
    assert tags[0] == tags[1]
    assert tags[2] == tags[3]
    assert len(set(tags)) == 3


def test_packets_of_an_epoch_that_is_over_are_not_worth_looking_at() -> None:
    sealer, opener = Sealer(SECRET), Opener(SECRET)
    old = sealer.seal(b"old")
    for counter in (0x10000, 0x20000):
        sealer.next_counter = counter
        assert opener.open(sealer.seal(b"new")) is not None
    assert not opener.recognises(old)


def test_nothing_in_a_packet_shows_what_it_is() -> None:
    # The counter goes 0, 1, 2 ... and is masked: no byte after the tag stays the same, or is mostly one value.
    sealer = Sealer(SECRET)
    packets = [sealer.seal(encode_punch(Punch(flags=Flag.WANT))) for _ in range(512)]
    for at in range(8, LENGTH):
        (_, most), *_rest = Counter(packet[at] for packet in packets).most_common(1)
        assert most < 32, at


def test_a_flood_of_forgeries_leaves_nothing_behind() -> None:
    sealer, opener = Sealer(SECRET), Opener(SECRET)
    true = sealer.seal(b"hello")
    for number in range(5000):
        opener.open(number.to_bytes(8) + bytes(88))
        opener.open(true[:8] + number.to_bytes(8) + bytes(80))
    assert len(opener._keys._tags) <= 5
    assert opener._window._seen == 0
    assert opener.open(true) is not None


# The numbers of the protocol (docs/protocol.md): other versions of the program rely on them.


def test_the_plaintext_has_the_bytes_that_the_protocol_says() -> None:
    punch = Punch(flags=Flag.HEARD | Flag.SELECTED, round=3, echo=0x0102030405060708, observed=("192.0.2.1", 0x1234))
    expected = "05010300" + "0102030405060708" + "04" + "1234" + "c0000201" + "00" * 12 + "00" * 33
    assert encode_punch(punch).hex() == expected
    assert encode_punch(Punch(flags=Flag(0))).hex() == "00010000" + "ff" * 8 + "00" * 52


def test_flags_have_the_values_that_the_protocol_says() -> None:
    assert {flag.name: flag.value for flag in Flag} == {"HEARD": 1, "WANT": 2, "SELECTED": 4, "READY": 8, "BYE": 16}


def test_a_packet_is_made_of_tag_masked_counter_and_ciphertext() -> None:
    def keyed(label: bytes) -> bytes:
        return hashlib.blake2s(label, key=SECRET).digest()

    sealer = Sealer(SECRET)
    sealer.next_counter = 0x12345
    packet = sealer.seal(bytes(PLAINTEXT_LENGTH))
    tag, masked, ciphertext = packet[:8], packet[8:16], packet[16:]
    assert tag == hashlib.blake2s((1).to_bytes(8), key=keyed(b"tag"), digest_size=8).digest()
    mask = hashlib.blake2s(ciphertext[:16], key=keyed(b"mask"), digest_size=8).digest()
    assert bytes(a ^ b for a, b in zip(masked, mask, strict=True)) == (0x12345).to_bytes(8)
    aead = ChaCha20Poly1305(keyed(b"aead"))
    assert aead.decrypt(bytes(4) + (0x12345).to_bytes(8), ciphertext, tag) == bytes(PLAINTEXT_LENGTH)


def test_tags_of_epochs_long_gone_are_not_kept() -> None:
    sealer, opener = Sealer(SECRET), Opener(SECRET)
    for epoch in range(50):
        sealer.next_counter = epoch << 16
        assert opener.open(sealer.seal(b"hello")) is not None
    assert len(opener._keys._tags) <= 5
    assert len(sealer._keys._tags) <= 5
