"""Punch packets that are replayed, forged, altered or junk: refused, unanswered, and nothing is kept of them."""

from holepunch.proto.claims import PROBES
from holepunch.proto.machine import Address
from holepunch.proto.packet import LENGTH, Flag, Punch, Sealer, encode_punch

from ..proto.conversation import ALICE, BOB, SECRETS, Conversation, forged

FAR: Address = ("45.0.0.9", 9000)


def test_replayed_packets_change_nothing_and_are_not_answered() -> None:
    talk = Conversation().start().agree()
    talk.run(1.0)
    sent = len(talk.sent)
    for packet in [packet for packet in talk.sent if packet[2].ttl is None]:
        talk.put(packet, 0.0)
        talk.put((packet[0], FAR, packet[2]), 0.0)
    talk.run(5.0)
    assert len(talk.sent) == sent
    assert talk.bob.selected is not None
    assert talk.bob.selected.remote == ALICE
    assert not talk.bob.is_path(0, FAR)
    assert talk.bob.refused > 0


def test_a_packet_with_any_bit_flipped_is_refused() -> None:
    talk = Conversation().start().agree()
    talk.alice.check(talk.now)
    (true,) = talk.alice.datagrams_to_send(talk.now)
    paths = dict(talk.bob._paths)
    for bit in range(LENGTH * 8):
        altered = bytearray(true.data)
        altered[bit // 8] ^= 1 << bit % 8
        assert not talk.bob.receive_datagram(bytes(altered), FAR, talk.now, 0)
    assert talk.bob._paths == paths
    assert talk.bob.datagrams_to_send(talk.now) == []
    assert talk.bob.receive_datagram(true.data, ALICE, talk.now, 0)


def test_a_packet_of_ours_sent_back_to_us_is_refused() -> None:
    talk = Conversation().start().agree()
    talk.alice.check(talk.now)
    (own,) = talk.alice.datagrams_to_send(talk.now)
    assert not talk.alice.receive_datagram(own.data, BOB, talk.now, 0)


def test_an_intercepted_packet_from_another_address_makes_no_path_without_an_answer_from_there() -> None:
    talk = Conversation().start().agree()
    talk.alice.check(talk.now)
    (true,) = talk.alice.datagrams_to_send(talk.now)
    talk.put((0, FAR, true), 0.0)
    talk.run(120.0)
    assert not talk.bob.is_path(0, FAR)
    assert talk.bob.selected is not None
    assert talk.bob.selected.remote == ALICE
    assert sum(packet[2].remote == FAR for packet in talk.sent) <= PROBES + 1


def test_an_echo_that_was_guessed_proves_nothing() -> None:
    talk = Conversation().start().agree()
    for number in range(200):
        data = forged(Flag.HEARD | Flag.SELECTED, counter=1000 + number, echo=number)
        talk.bob.receive_datagram(data, FAR, talk.now, 0)
    assert not talk.bob.is_path(0, FAR)


def test_an_authentic_packet_of_another_version_is_refused_and_counted() -> None:
    talk = Conversation().start().agree()
    plaintext = bytearray(encode_punch(Punch(flags=Flag.WANT)))
    plaintext[1] = 77
    sealer = Sealer(SECRETS[0])
    sealer.next_counter = 1000
    refused = talk.bob.refused
    assert not talk.bob.receive_datagram(sealer.seal(bytes(plaintext)), ALICE, talk.now, 0)
    assert talk.bob.refused == refused + 1


def test_junk_allocates_nothing_before_it_is_authentic() -> None:
    talk = Conversation().start().agree()
    rng = talk.rng
    paths, events = len(talk.bob._paths), len(talk.bob._events)
    tag = talk.sent[0][2].data[:8]
    for number in range(20_000):
        data = rng.randbytes(LENGTH) if number % 2 else tag + rng.randbytes(LENGTH - 8)
        assert not talk.bob.receive_datagram(data, ("9.9.9.9", 1 + number % 60_000), talk.now, 0)
    assert len(talk.bob._paths) == paths
    assert len(talk.bob._events) == events
    assert talk.bob.datagrams_to_send(talk.now) == []
    assert talk.bob.tuples <= 2
