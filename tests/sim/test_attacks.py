"""What strangers and a lying server can make whole peers do: nothing, or very little (docs/attacks.md)."""

from dataclasses import replace
from functools import partial

import pytest

from holepunch.proto.machine import Address
from holepunch.proto.stun.attributes import Attribute, encode_xor_mapped_address
from holepunch.proto.stun.message import Message, MessageClass, decode_message
from holepunch.testing.simnet import Conditions, Host, SimSession

from .peers import Two, two


def lying_server(pair: Two, claim: Address) -> Address:
    """A STUN server that tells everybody they are at `claim`."""
    host = pair.net.public("liar")
    socket = host.open(4, "", 3478)

    def answer(data: bytes, remote: Address) -> None:
        request = decode_message(data)
        value = encode_xor_mapped_address(claim, request.transaction_id)
        response = Message(
            message_class=MessageClass.SUCCESS,
            transaction_id=request.transaction_id,
            attributes=((Attribute.XOR_MAPPED_ADDRESS, value),),
        )
        socket.send(response.encode(), remote)

    socket.on_datagram = answer
    return host.address, 3478


def victim(pair: Two) -> Host:
    """Somebody who has nothing to do with it; every port is silent and counted."""
    host = pair.net.public("victim")
    host.unreachable_errors = False
    return host


def test_an_address_claimed_for_a_victim_gets_few_packets_and_then_none() -> None:
    pair = two("eim-eif", "public", keeps_socket=True)
    target = victim(pair)
    liar = lying_server(pair, (target.address, 53))
    pair.alice.options = replace(pair.alice.options, servers=(liar, *pair.alice.options.servers))
    session = pair.connect()
    pair.net.run(120)
    assert session.is_ready
    assert target.received <= 20


def test_where_every_server_lies_the_attempt_fails_and_the_victim_gets_at_most_40_small_packets() -> None:
    # Twenty unanswered probes per address: the acceptor's, and as many by its own knocking.
    pair = two("eim-apdf", "eim-apdf", timeout=60.0)
    target = victim(pair)
    liar = lying_server(pair, (target.address, 53))
    for peer in (pair.alice, pair.bob):
        peer.options = replace(peer.options, servers=(liar,))
    session = pair.connect()
    pair.net.run(120)
    assert not session.is_ready
    assert target.received <= 40
    assert [each.error.exit_status for each in (session, *pair.bob.arrivals) if each.error] == [3, 3]


def record(pair: Two, session: SimSession) -> list[bytes]:
    """Lets somebody on the way copy every packet that reaches a session's first socket."""
    copies: list[bytes] = []
    before = session.driver.filter

    def keep(local: int, data: bytes, remote: Address) -> bool:
        copies.append(data)
        return before(local, data, remote) if before is not None else False

    session.driver.filter = keep
    return copies


@pytest.mark.parametrize("change", ["nothing", "one bit", "cut", "long"])
def test_replayed_and_altered_packets_from_elsewhere_move_nothing(change: str) -> None:
    pair = two("eim-eif", "public", Conditions(rtt=0.08), keeps_socket=True)
    session = pair.alice.connect(pair.bob)
    copies = record(pair, session)
    pair.net.run(10)
    assert session.is_ready
    selected, sent = session.agent.endpoints, pair.world.a.sent
    attacker = pair.net.public("attacker").open()
    outer = selected[1]
    assert copies
    for data in copies:
        altered = {
            "nothing": data,
            "one bit": bytes([*data[:-1], data[-1] ^ 1]),
            "cut": data[:-1],
            "long": data + b"x",
        }[change]
        attacker.send(altered, outer)
    pair.net.run(1)
    assert session.agent.endpoints == selected
    assert attacker.received == 0
    assert pair.world.a.sent - sent <= 2  # its own consent check
    assert session.is_up


def test_a_flood_of_junk_is_answered_by_nothing_and_costs_no_path() -> None:
    pair = two("eim-eif", "public", keeps_socket=True)
    session = pair.connect()
    pair.net.run(1)
    outer, sent = session.agent.endpoints[1], pair.world.a.sent
    rng, attacker = pair.net.rng("junk"), pair.net.public("attacker").open()
    for number in range(5000):
        data = rng.randbytes(rng.choice((1, 20, 96, 96, 96, 500)))
        pair.net.clock.call_later(number / 1000, partial(attacker.send, data, outer))
    pair.net.run(6)
    assert session.is_up
    assert attacker.received == 0
    assert pair.world.a.sent - sent <= 8
    assert not session.data
    assert pair.talk(session, pair.bob.arrivals[0])


def test_packets_forged_in_the_peers_name_during_the_punch_do_not_stop_it() -> None:
    pair = two("eim-eif", "eim-eif", Conditions(rtt=0.25))
    session = pair.alice.connect(pair.bob)
    pair.net.run(0.4)  # the acceptor has opened its sockets too
    rng, attacker = pair.net.rng("forger"), pair.net.public("attacker").open()
    both = [session, *pair.bob.arrivals]
    ports = [socket.address[1] for each in both for socket in each.driver.sockets.values()]
    for nat in pair.nats:
        for number in range(4000):
            target = nat.outer.hosts[0], rng.choice(ports)
            pair.net.clock.call_later(number / 2000, partial(attacker.send, rng.randbytes(96), target))
    pair.net.run(30, until=lambda: session.is_over)
    assert session.is_ready
    assert attacker.received == 0
