"""A peer that we know lists addresses of others: what is sent there is counted, and bounded."""

from holepunch.proto.checklist import MAX_PATHS
from holepunch.proto.claims import ADDRESSES, PROBES
from holepunch.proto.machine import Address, Transmit
from holepunch.proto.packet import Flag

from ..proto.conversation import ALICE, BOB, Conversation, candidate, forged

FAR: Address = ("45.0.0.9", 9000)


def victims(count: int) -> list[Address]:
    """So many addresses of others."""
    return [(f"8.8.{number // 200}.{1 + number % 200}", 5353) for number in range(count)]


def full(talk: Conversation, targets: list[Address]) -> dict[Address, int]:
    """How many packets of full TTL went to each of some addresses."""
    count = dict.fromkeys(targets, 0)
    for _, _, transmit in talk.sent:
        if transmit.ttl is None and transmit.remote in count:
            count[transmit.remote] += 1
    return count


def test_an_address_that_never_answers_is_sent_20_packets() -> None:
    talk = Conversation()
    talk.alice.begin([candidate(FAR)], {0: False}, 0.0, low_ttl=None)
    talk.run(500.0)
    assert full(talk, [FAR]) == {FAR: PROBES}


def test_offers_that_come_again_and_again_do_not_raise_it() -> None:
    talk = Conversation()
    for _ in range(100):
        talk.alice.begin([candidate(FAR)], {0: False}, talk.now, low_ttl=None)
        talk.run(1.0)
    assert full(talk, [FAR]) == {FAR: PROBES}


def test_nor_do_new_rounds_and_new_sockets() -> None:
    talk = Conversation()
    talk.addresses[0] = {number * 1000: ALICE for number in range(60)}
    for round_ in range(1, 60):
        talk.alice.restart(round_)
        talk.alice.begin([candidate(FAR)], {round_ * 1000: False}, talk.now, low_ttl=None)
        talk.run(5.0)
    assert full(talk, [FAR]) == {FAR: PROBES}


def test_nor_does_knocking() -> None:
    talk = Conversation()
    talk.bob.begin([candidate(FAR)], {0: False}, 0.0, low_ttl=4)
    for _ in range(100):
        talk.bob.knock(talk.now)
        talk.run(1.0)
    talk.bob.send_fully(talk.now)
    talk.run(60.0)
    assert full(talk, [FAR]) == {FAR: PROBES}


def test_new_addresses_in_every_offer_are_16_in_all() -> None:
    talk = Conversation()
    named = victims(400)
    for number in range(0, 400, ADDRESSES):
        some = [candidate(address) for address in named[number : number + ADDRESSES]]
        talk.alice.begin(some, {0: False}, talk.now, low_ttl=None)
        talk.run(10.0)
    sent = full(talk, named)
    assert sum(count > 0 for count in sent.values()) == ADDRESSES
    assert max(sent.values()) == PROBES


def test_primes_go_to_16_addresses_in_all_too() -> None:
    talk = Conversation()
    named = victims(400)
    for number in range(0, 400, ADDRESSES):
        some = [candidate(address) for address in named[number : number + ADDRESSES]]
        talk.bob.begin(some, {0: False}, talk.now, low_ttl=4)
        talk.run(1.0)
    assert len({packet[2].remote for packet in talk.sent}) == ADDRESSES


def test_an_offer_that_comes_again_does_not_hasten_the_primes() -> None:
    once, often = Conversation(), Conversation()
    once.bob.begin([candidate(FAR)], {0: False}, 0.0, low_ttl=4)
    once.run(60.0)
    for _ in range(600):
        often.bob.begin([candidate(FAR)], {0: False}, often.now, low_ttl=4)
        often.run(0.1)
    assert len(often.sent) == len(once.sent)


def test_packets_with_the_victims_source_bring_it_one_answer_each_and_20_more_in_all() -> None:
    talk = Conversation().start().agree()
    before = len(talk.sent)
    for number in range(100):
        data = forged(Flag.WANT, counter=1000 + number)
        talk.put((0, FAR, Transmit(data, BOB)), number * 1.0)
    talk.run(300.0)
    count = sum(packet[2].remote == FAR for packet in talk.sent[before:])
    assert count <= 100 + PROBES


def test_paths_are_64_at_most_and_the_selected_one_stays() -> None:
    talk = Conversation().start().agree()
    for number in range(500):
        data = forged(Flag.WANT, counter=1000 + number)
        talk.bob.receive_datagram(data, ("9.9.9.9", 1 + number), talk.now, 0)
    assert len(talk.bob._paths) == MAX_PATHS
    assert talk.bob.selected is not None
    assert talk.bob._paths[0, ALICE] is talk.bob.selected


def test_new_tuples_are_within_the_budget_however_many_are_provoked() -> None:
    talk = Conversation().start().agree()
    for number in range(1000):
        data = forged(Flag.WANT, counter=1000 + number)
        talk.bob.receive_datagram(data, ("9.9.9.9", 1 + number), talk.now, 0)
    assert len({packet.remote for packet in talk.bob.datagrams_to_send(talk.now)}) <= 32
