"""Checks, played from both ends: what is sent, what is proven, and what both agree on, whatever the network does."""

from itertools import pairwise

import pytest

from holepunch.proto.candidate import Candidate, CandidateKind
from holepunch.proto.checkevents import PeerLeft, PeerReady, Progressed, Selected
from holepunch.proto.events import PathValid, PeerHeard
from holepunch.proto.machine import Address
from holepunch.proto.packet import LENGTH, Flag, Opener, decode_punch

from .conversation import ALICE, BOB, DELAY, SECRETS, Conversation, Packet, candidate

FAR: Address = ("45.0.0.9", 9000)
LAN_ALICE, LAN_BOB = ("192.168.1.1", 1000), ("192.168.1.2", 2000)


# What they say.


def test_one_exchange_takes_four_packets_and_two_round_trips() -> None:
    talk = Conversation().start().agree()
    assert talk.now == pytest.approx(4 * DELAY)
    openers = Opener(SECRETS[0]), Opener(SECRETS[1])
    words: list[tuple[int, Flag]] = []
    for side, _, transmit in talk.sent:
        opened = openers[side].open(transmit.data)
        assert opened is not None
        word = side, decode_punch(opened[1]).flags
        if transmit.ttl is None and word not in words:
            words.append(word)
    assert words == [
        (0, Flag.WANT),
        (1, Flag.HEARD | Flag.WANT),
        (0, Flag.HEARD | Flag.WANT | Flag.SELECTED),
        (1, Flag.HEARD | Flag.SELECTED),
    ]


def test_the_inviter_has_a_valid_path_after_one_round_trip() -> None:
    talk = Conversation().start()
    assert talk.run(5, until=lambda: talk.count(0, PathValid) == 1)
    assert talk.now == pytest.approx(2 * DELAY)
    assert talk.run(5, until=lambda: talk.count(1, PathValid) == 1)
    assert talk.now == pytest.approx(3 * DELAY)


def test_both_measure_the_round_trip() -> None:
    talk = Conversation().start().agree()
    for each in talk.lists:
        assert each.selected is not None
        assert each.selected.rtt == pytest.approx(2 * DELAY)


def test_each_learns_how_the_other_sees_it() -> None:
    talk = Conversation().start().agree()
    assert talk.alice.selected is not None
    assert talk.bob.selected is not None
    assert talk.alice.selected.observed == ALICE
    assert talk.bob.selected.observed == BOB


def test_both_fall_silent_once_they_agree() -> None:
    talk = Conversation().start().agree()
    talk.run(1.0)
    before = len(talk.sent)
    talk.run(60.0)
    assert len(talk.sent) == before


def test_all_packets_have_one_length() -> None:
    talk = Conversation(loss=0.3, seed=5).start().agree()
    assert {len(packet[2].data) for packet in talk.sent} == {LENGTH}


@pytest.mark.parametrize("duplicate", [0.0, 0.5])
@pytest.mark.parametrize("jitter", [0.0, 0.2])
@pytest.mark.parametrize("loss", [0.0, 0.1, 0.3])
@pytest.mark.parametrize("seed", range(10))
def test_they_agree_on_one_path_whatever_the_network_does(
    seed: int, loss: float, jitter: float, duplicate: float
) -> None:
    talk = Conversation(seed=seed, loss=loss, jitter=jitter, duplicate=duplicate).start()
    talk.agree()
    assert talk.alice.selected is not None
    assert talk.bob.selected is not None
    assert talk.alice.selected.remote == BOB
    assert talk.bob.selected.remote == ALICE
    talk.run(20.0)
    assert talk.alice.refused == talk.bob.refused or duplicate or jitter
    assert len(talk.sent) < 80


def test_nobody_answers_an_answer() -> None:
    once, twice = Conversation().start().agree(), Conversation(duplicate=1.0).start().agree()
    once.run(30.0)
    twice.run(30.0)
    assert len(twice.sent) == len(once.sent) <= 16


# Who waits.


def test_the_side_that_waits_sends_nothing_that_could_arrive() -> None:
    talk = Conversation()
    talk.bob.begin([candidate(ALICE)], {0: False}, 0.0, low_ttl=4)
    talk.run(60.0)
    assert talk.sent
    assert {packet[2].ttl for packet in talk.sent} == {4}


def test_primes_are_repeated_within_the_life_of_a_mapping_for_as_long_as_it_waits() -> None:
    talk = Conversation()
    talk.bob.begin([candidate(ALICE)], {0: False}, 0.0, low_ttl=4)
    times = []
    while talk.now < 300:
        before = len(talk.sent)
        talk.run(0.5)
        times += [talk.now] * (len(talk.sent) - before)
    assert max(later - earlier for earlier, later in pairwise(times)) < 15
    assert times[-1] > 280


def test_it_sends_fully_once_it_has_heard_the_peer() -> None:
    talk = Conversation().start()
    talk.run(DELAY + 0.001)
    ttls = [packet[2].ttl for packet in talk.sent if packet[0] == 1]
    assert ttls[-1] is None
    assert set(ttls[:-1]) == {4}


def test_it_sends_fully_once_it_is_told_that_the_peer_has_sent() -> None:
    talk = Conversation()
    talk.bob.begin([candidate(ALICE)], {0: False}, 0.0, low_ttl=4)
    talk.run(1.0)
    before = len(talk.sent)
    talk.bob.send_fully(talk.now)
    talk.run(0.0)
    assert len(talk.sent) == before + 1, "at once, and not when the next prime is due"
    talk.run(5.0)
    assert {packet[2].ttl for packet in talk.sent[before:]} == {None}


def test_to_be_told_twice_changes_nothing() -> None:
    talk = Conversation()
    talk.bob.begin([candidate(ALICE)], {0: False}, 0.0, low_ttl=4)
    talk.bob.send_fully(talk.now)
    talk.run(10.0)
    before = len(talk.sent)
    talk.bob.send_fully(talk.now)
    talk.run(0.01)
    assert len(talk.sent) == before


def test_the_echo_is_the_highest_counter_heard_whatever_comes_late() -> None:
    talk = Conversation().start().agree()
    talk.alice.check(talk.now)
    talk.alice.check(talk.now)
    early, late = talk.alice.datagrams_to_send(talk.now)
    for transmit in (late, early):
        assert talk.bob.receive_datagram(transmit.data, ALICE, talk.now, 0)
    answer = talk.bob.datagrams_to_send(talk.now)[-1]
    opened = Opener(SECRETS[1]).open(answer.data)
    newest = Opener(SECRETS[0]).open(late.data)
    assert opened is not None
    assert newest is not None
    assert decode_punch(opened[1]).echo == newest[0]


# Which path.


def both_ways(seed: int = 0, *, lan_delay: float = 0.0, lan_works: bool = True) -> Conversation:
    """A pair that can reach each other on their LAN too, maybe later."""
    talk = Conversation(seed=seed)
    talk.addresses = [{0: ALICE, 1: LAN_ALICE}, {0: BOB, 1: LAN_BOB}]
    lan = {LAN_ALICE, LAN_BOB}

    def deliver(packet: Packet, now: float) -> bool:
        return packet[2].remote not in lan or (lan_works and now >= lan_delay)

    talk.deliver = deliver
    theirs = [candidate(BOB), Candidate(CandidateKind.HOST, LAN_BOB)]
    talk.bob.begin([candidate(ALICE), Candidate(CandidateKind.HOST, LAN_ALICE)], {0: False}, 0.0, low_ttl=4)
    talk.alice.begin(theirs, {0: False}, 0.0, low_ttl=None)
    return talk


def test_a_better_path_that_answers_a_moment_later_is_waited_for() -> None:
    talk = both_ways(lan_delay=2 * DELAY + 0.005).agree()
    assert talk.alice.selected is not None
    assert talk.alice.selected.remote == LAN_BOB


def test_a_better_path_that_never_answers_costs_less_than_a_third_of_a_second() -> None:
    talk = both_ways(lan_works=False).agree()
    assert talk.alice.selected is not None
    assert talk.alice.selected.remote == BOB
    assert talk.now < 0.3 + 4 * DELAY


def test_nothing_is_waited_for_where_nothing_better_is_tried() -> None:
    talk = Conversation().start()
    assert talk.run(5, until=lambda: talk.alice.selected is not None)
    assert talk.now == pytest.approx(2 * DELAY)


def test_no_check_goes_to_other_paths_once_one_is_selected() -> None:
    talk = both_ways(lan_works=False).agree()
    before = len(talk.sent)
    talk.run(30.0)
    assert len(talk.sent) - before <= 4


def test_the_acceptor_uses_what_the_inviter_selected() -> None:
    for seed in range(20):
        talk = both_ways(seed, lan_delay=0.05 * seed).agree()
        talk.run(5.0)
        assert talk.alice.selected is not None
        assert talk.bob.selected is not None
        pair = talk.alice.selected.remote, talk.bob.selected.remote
        assert pair in {(BOB, ALICE), (LAN_BOB, LAN_ALICE), (LAN_BOB, ALICE)}


# A peer that comes from elsewhere.


def test_a_peer_behind_another_mapping_than_it_said_is_answered_where_it_came_from() -> None:
    talk = Conversation()
    talk.addresses[0] = {0: FAR}
    talk.start(offered=ALICE).agree()
    assert talk.bob.selected is not None
    assert talk.bob.selected.remote == FAR
    assert talk.bob.selected.kind is CandidateKind.PEER_REFLEXIVE


@pytest.mark.parametrize("side", [0, 1])
def test_a_new_mapping_of_either_side_is_followed_by_the_other(side: int) -> None:
    talk = Conversation().start().agree()
    talk.addresses[side] = {0: FAR}
    mover, other = talk.lists[side], talk.lists[1 - side]
    mover.check(talk.now)
    assert talk.run(5.0, until=lambda: other.selected is not None and other.selected.remote == FAR)
    assert mover.selected is not None
    assert other.is_path(0, FAR)


def test_a_packet_that_was_overtaken_does_not_take_the_session_back() -> None:
    talk = Conversation().start().agree()
    # Alice checks twice; the first packet is late, and between the two her NAT has given her another port.
    talk.alice.check(talk.now)
    (late,) = talk.alice.datagrams_to_send(talk.now)
    talk.addresses[0] = {0: FAR}
    talk.alice.check(talk.now)
    talk.run(5.0)
    assert talk.bob.selected is not None
    assert talk.bob.selected.remote == FAR
    talk.put((0, ALICE, late), 0.0)
    talk.run(5.0)
    assert talk.bob.selected.remote == FAR


# Being ready, leaving, beginning anew.


@pytest.mark.parametrize("loss", [0.0, 0.3])
def test_ready_is_told_until_it_is_known(loss: float) -> None:
    talk = Conversation(loss=loss, seed=3).start().agree()
    talk.run(5.0)
    talk.bob.set_ready(talk.now)
    assert talk.run(20.0, until=lambda: talk.bob.is_ready_known)
    assert talk.alice.peer_ready
    assert talk.count(0, PeerReady) == 1
    assert any(isinstance(event, Progressed) and event.ready for event in [*talk.events[1], *_rest(talk)])


def _rest(talk: Conversation) -> list[object]:
    """What Bob has said and nobody has taken yet."""
    out: list[object] = []
    while (event := talk.bob.next_event()) is not None:
        out.append(event)
    return out


def test_ready_before_there_is_a_path_is_told_by_the_packets_that_make_it() -> None:
    talk = Conversation().start()
    talk.bob.set_ready(0.0)
    talk.agree()
    assert talk.alice.peer_ready


def test_goodbye_is_said_three_times_and_not_answered() -> None:
    talk = Conversation().start().agree()
    talk.run(1.0)
    before = len(talk.sent)
    talk.alice.leave(talk.now)
    talk.run(10.0)
    assert len(talk.sent) == before + 3
    assert talk.count(1, PeerLeft) == 3


def test_one_goodbye_of_three_is_enough() -> None:
    talk = Conversation().start().agree()
    talk.deliver = lambda packet, _now: packet is talk.sent[-1]
    talk.alice.leave(talk.now)
    talk.run(10.0)
    assert talk.count(1, PeerLeft) == 1


def test_a_new_round_forgets_what_was_proven_and_sends_nothing_to_old_paths() -> None:
    talk = Conversation().start().agree()
    talk.run(1.0)
    before = len(talk.sent)
    for each in talk.lists:
        each.restart(1)
    talk.run(60.0)
    assert len(talk.sent) == before
    assert not talk.alice.is_path(0, BOB)
    assert not talk.alice.is_confirmed


@pytest.mark.parametrize("first", [0, 1])
def test_a_late_packet_revives_the_old_path_on_both_sides(first: int) -> None:
    talk = Conversation().start().agree()
    for each in talk.lists:
        each.restart(1)
    counts = talk.count(0, Selected), talk.count(1, Selected)
    talk.lists[first].check(talk.now)
    assert talk.run(5.0, until=lambda: talk.alice.is_confirmed and talk.bob.is_confirmed)
    talk.run(0.5)
    assert (talk.count(0, Selected), talk.count(1, Selected)) == (counts[0] + 1, counts[1] + 1)


@pytest.mark.parametrize("loss", [0.0, 0.2])
def test_a_new_round_on_new_sockets_leads_to_a_new_path(loss: float) -> None:
    talk = Conversation(loss=loss, seed=8).start().agree()
    new_alice, new_bob = ("45.0.0.1", 1111), ("45.0.0.2", 2222)
    talk.addresses = [{0: ALICE, 1000: new_alice}, {0: BOB, 1000: new_bob}]
    for each in talk.lists:
        each.restart(1)
    talk.bob.begin([candidate(new_alice)], {1000: False}, talk.now, low_ttl=4)
    talk.alice.begin([candidate(new_bob)], {1000: False}, talk.now, low_ttl=None)
    talk.agree()
    assert talk.alice.selected is not None
    assert (talk.alice.selected.local, talk.alice.selected.remote) == (1000, new_bob)


# Small things.


def test_families_do_not_mix() -> None:
    talk = Conversation()
    assert talk.alice.begin([candidate(("2600::1", 5))], {0: False}, 0.0, low_ttl=None) == 0
    assert talk.alice.begin([candidate(("2600::1", 5)), candidate(BOB)], {0: False, 1: True}, 0.0, low_ttl=None) == 2


def test_a_check_before_there_is_a_path_says_nothing() -> None:
    talk = Conversation()
    talk.alice.check(0.0)
    talk.alice.leave(0.0)
    assert talk.alice.datagrams_to_send(0.0) == []
    assert not talk.alice.has_heard


def test_being_heard_is_told_once_for_each_path() -> None:
    talk = Conversation(duplicate=0.5, seed=2).start().agree()
    talk.run(5.0)
    assert [talk.count(side, PeerHeard) for side in (0, 1)] == [1, 1]


def test_the_candidates_of_an_offer_are_checked_best_first() -> None:
    talk = Conversation()
    talk.addresses[0] = {0: ALICE}
    relayed = Candidate(CandidateKind.RELAYED, FAR)
    talk.alice.begin([relayed, candidate(BOB), Candidate(CandidateKind.HOST, LAN_BOB)], {0: False}, 0.0, low_ttl=None)
    assert [transmit.remote for transmit in talk.alice.datagrams_to_send(0.0)] == [LAN_BOB, BOB, FAR]
