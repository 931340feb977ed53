"""Whole peers whose mail is late, lost, doubled, crossed, stale, or from strangers."""

import pytest

from holepunch.errors import PeerTimeoutError
from holepunch.proto.agent import AgentOptions
from holepunch.testing.simnet import Conditions, SimPeer, SimSession

from .peers import two


@pytest.mark.parametrize("seed", range(10))
def test_one_session_comes_of_two_channels_that_lose_delay_and_double(seed: int) -> None:
    channels = (
        {"latency": 0.2, "jitter": 3.0, "loss": 0.3, "duplicate": 0.3},
        {"latency": 10.0, "jitter": 20.0, "duplicate": 0.5},
    )
    pair = two("strict", "clash", Conditions(rtt=0.08, loss=0.02), mediators=channels, seed=seed, timeout=120.0)
    session = pair.connect()
    assert session.is_ready
    assert len(pair.bob.arrivals) == 1
    assert pair.talk(session, pair.bob.arrivals[0])


def test_a_silent_acceptor_is_waited_for_as_long_as_told() -> None:
    pair = two(timeout=45.0, mediators=({"latency": 0.2, "loss": 1.0},))
    session = pair.connect()
    assert isinstance(session.error, PeerTimeoutError)
    assert pair.net.now == pytest.approx(45.0, abs=0.5)


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("later", [0.0, 0.05, 0.15, 0.3, 2.0])
def test_two_that_invite_each_other_agree_on_one_session(later: float, seed: int) -> None:
    pair = two("eim-apdf", "clash", seed=seed)
    pair.bob.stop()
    first = pair.alice.connect(pair.bob)
    pair.net.run(later)
    pair.bob.connect(pair.alice)
    pair.net.run(30)
    up = [each for peer in (pair.alice, pair.bob) for each in peer.sessions.values() if each.is_ready]
    assert len(up) == 2
    assert up[0].agent.session == up[1].agent.session
    assert all(each.is_over for peer in (pair.alice, pair.bob) for each in peer.sessions.values())
    assert first.is_over


@pytest.mark.parametrize("seed", range(8))
def test_an_invitation_left_over_does_not_cost_a_new_one_its_session(seed: int) -> None:
    pair = two("eim-apdf", "clash", seed=seed)
    pair.bob.stop()
    lost = pair.alice.connect(pair.bob)
    pair.net.run(30)
    lost.driver.close()  # killed before a word came back, and started anew as an acceptor
    pair.alice.sessions.clear()
    pair.net.run(60)
    pair.alice.accept()
    session = pair.bob.connect(pair.alice)
    pair.net.run(60, until=lambda: session.is_over)
    assert session.is_ready


@pytest.mark.parametrize(("skew", "works"), [(-900, False), (-540, True), (0, True), (540, True), (900, False)])
def test_clocks_may_differ_by_ten_minutes(skew: float, works: bool) -> None:
    pair = two(skew=skew, timeout=30.0)
    session = pair.connect()
    assert session.is_ready == works
    if not works:
        told = [str(event.to_json()) for _, event in session.log] + pair.bob.refused
        assert any("from now" in text for text in told)


def test_a_stranger_is_not_answered() -> None:
    pair = two()
    stranger = SimPeer(
        pair.net,
        pair.net.public("elsewhere"),
        "stranger",
        pair.mediators,
        servers=pair.world.stun,
        options=AgentOptions(timeout=20.0),
    )
    stranger.know(pair.bob)
    session = stranger.connect(pair.bob)
    pair.net.run(30)
    assert isinstance(session.error, PeerTimeoutError)
    assert not pair.bob.arrivals
    assert pair.world.b.sent == 0


def test_a_replayed_invitation_is_answered_once() -> None:
    pair = two()
    pair.connect()
    (channel,) = pair.mediators
    sent = pair.world.b.sent
    for envelope in list(channel.posted):
        channel.post(envelope)
    pair.net.run(30)
    assert len(pair.bob.arrivals) == 1
    assert pair.bob.refused == []  # its session is known: the copy is its business, and of no use
    assert pair.world.b.sent == sent


def test_an_acceptor_that_starts_later_finds_the_invitation_waiting() -> None:
    pair = two("clash", "strict", timeout=120.0)
    late = SimPeer(pair.net, pair.world.b, "late", pair.mediators, servers=pair.world.stun)
    late.know(pair.alice)
    session = pair.alice.connect(late)
    pair.net.run(70)
    late.accept()
    pair.net.run(20, until=lambda: session.is_over)
    assert session.is_ready


def test_one_acceptor_serves_several_peers_at_once() -> None:
    pair = two("public", "eim-apdf")
    peers = [pair.alice]
    for number in range(5):
        host = pair.net.public(f"peer {number}")
        peers.append(SimPeer(pair.net, host, f"peer {number}", pair.mediators, servers=pair.world.stun))
        peers[-1].know(pair.bob)
        pair.bob.know(peers[-1])
    sessions: list[SimSession] = [peer.connect(pair.bob) for peer in peers]
    pair.net.run(30, until=lambda: all(session.is_over for session in sessions) and len(pair.bob.arrivals) == 6)
    pair.net.run(2)
    assert all(session.is_ready for session in sessions)
    by_id = {session.agent.session: session for session in pair.bob.arrivals}
    for session in sessions:
        assert pair.talk(session, by_id[session.agent.session])
    assert len({session.socket.address for session in pair.bob.arrivals if session.socket}) == 6
