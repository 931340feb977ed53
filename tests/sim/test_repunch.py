"""A session outlives what happens to its network: rebooted NATs, outages, false alarms, rounds that meet."""

from itertools import product

import pytest

from holepunch.proto.agent import AgentOptions
from holepunch.proto.nat import Allocation
from holepunch.testing.simnet import KINDS, Kind

from .healing import Pair, established

# A check every 5 s (± 20 %), five that stay unanswered half a second apart, two messages by a mediator
# of 0.1 s, gathering and three packets.
HEALS_WITHIN = 12.0  # seconds of virtual time


def with_random_ports(kind: str) -> Kind:
    """Returns a kind whose mappings are independent of the endpoint, but never the same after a reboot."""
    behaviour = KINDS[kind].ipv4
    assert behaviour is not None
    return Kind(name=f"forgetful {kind}", summary="", ipv4=behaviour.but(allocation=Allocation.RANDOM))


FORGETFUL = [with_random_ports(kind) for kind in ("eim-apdf", "strict", "clash")]


@pytest.fixture(autouse=True)
def _forgetful_kinds(monkeypatch: pytest.MonkeyPatch) -> None:
    for kind in FORGETFUL:
        monkeypatch.setitem(KINDS, kind.name, kind)


@pytest.mark.parametrize("streaming", ["", "a", "b", "ab"], ids=["quiet", "inviter sends", "acceptor sends", "both"])
@pytest.mark.parametrize("rebooted", ["a", "b", "ab"])
@pytest.mark.parametrize(
    ("kind_a", "kind_b"),
    [
        *product(("eim-apdf", "strict", "clash"), repeat=2),
        *product([kind.name for kind in FORGETFUL], repeat=2),
    ],
)
def test_a_session_heals_when_a_nat_is_rebooted(kind_a: str, kind_b: str, rebooted: str, streaming: str) -> None:
    pair = established(kind_a, kind_b)
    pair.reboot(rebooted)
    pair.stream(streaming)
    took = pair.heal(60.0)
    assert took is not None
    assert took <= HEALS_WITHIN
    assert pair.carries()


@pytest.mark.parametrize(("kind_a", "kind_b"), list(product([kind.name for kind in FORGETFUL], repeat=2)))
def test_ports_that_are_gone_are_healed_by_one_new_round(kind_a: str, kind_b: str) -> None:
    pair = established(kind_a, kind_b)
    pair.reboot("ab")
    assert pair.heal(60.0) is not None
    assert pair.rounds == (1, 1)


@pytest.mark.parametrize("loss", [0.02, 0.1])
@pytest.mark.parametrize("seed", range(6))
def test_a_session_heals_where_packets_are_lost_too(seed: int, loss: float) -> None:
    pair = established("forgetful clash", "forgetful strict", seed=seed, loss=loss)
    pair.reboot("ab")
    assert pair.heal(60.0) is not None
    assert pair.carries()


def test_a_slow_mediator_delays_healing_by_its_two_messages_only() -> None:
    pair = established(
        "forgetful clash", "eim-apdf", latency=30.0, options=AgentOptions(keeps_socket=True, timeout=200)
    )
    pair.reboot("a")
    took = pair.heal(200.0)
    assert took is not None
    assert took <= 2 * 30.0 + HEALS_WITHIN
    assert pair.carries()


@pytest.mark.parametrize(("kind_a", "kind_b"), list(product(("eim-apdf", "strict", "clash"), repeat=2)))
def test_rounds_that_both_sides_begin_at_once_become_one(kind_a: str, kind_b: str) -> None:
    pair = established(kind_a, kind_b)
    for side in pair.sides:
        side.agent.repunch(side.owner.net.now)
        side.driver.wake()
    took = pair.heal(30.0)
    assert took is not None
    assert took <= 3.0
    assert pair.rounds == (1, 1)
    assert [side.agent._round.answering for side in pair.sides] == [False, True]
    assert pair.carries()


@pytest.mark.parametrize("first", [0, 1], ids=["inviter", "acceptor"])
@pytest.mark.parametrize("delay", [0.02, 0.09, 0.15, 0.3, 1.0])
def test_rounds_that_begin_almost_at_once_become_one(first: int, delay: float) -> None:
    pair = established("clash", "strict")
    for number in (first, 1 - first):
        side = pair.sides[number]
        side.agent.repunch(side.owner.net.now)
        side.driver.wake()
        pair.run(delay)
    assert pair.heal(30.0) is not None
    assert pair.carries()


def outage(pair: Pair, seconds: float) -> float | None:
    mend = pair.cut()
    pair.run(seconds)
    assert pair.is_alive()
    mend()
    return pair.heal(60.0)


@pytest.mark.parametrize("seconds", [1.0, 3.0, 6.0, 7.0, 8.0, 10.0, 15.0, 20.0, 30.0, 45.0, 60.0, 90.0, 110.0])
@pytest.mark.parametrize("kinds", [("eim-apdf", "eim-apdf"), ("clash", "strict"), ("firewall", "eim-apdf")])
def test_a_session_survives_an_outage(kinds: tuple[str, str], seconds: float) -> None:
    pair = established(*kinds)
    took = outage(pair, seconds)
    assert took is not None
    assert took <= 20.0  # ANSWERER_RETRY: the longest wait for the next round
    assert pair.carries()


def test_an_outage_that_is_shorter_than_consent_costs_nothing() -> None:
    pair = established("eim-apdf", "eim-apdf")
    assert outage(pair, 2.0) is not None
    assert pair.losses() == 0
    assert pair.rounds == (0, 0)


def test_a_late_packet_on_the_old_path_ends_a_false_alarm() -> None:
    # Long enough for both to lose the path, and over before the offers of the new round have crossed.
    pair = established("eim-apdf", "eim-apdf", latency=5.0, options=AgentOptions(keeps_socket=True))
    before = pair.sides[0].paths[-1].remote
    mend = pair.cut()
    pair.scene.world.net.run(60, until=lambda: pair.losses() == 2)
    mend()
    inviter = pair.sides[0]
    path = inviter.agent.checks.selected
    assert path is not None
    inviter.agent.checks.check(inviter.owner.net.now)  # as a check that was under way for long
    inviter.driver.wake()
    took = pair.heal(4.0)
    assert took is not None
    assert took < 1.0, "before any offer of the new round can have come"
    assert inviter.paths[-1].remote == before
    pair.run(60.0)
    assert pair.is_alive()
    assert pair.carries()


def test_an_outage_of_two_minutes_ends_the_session_with_a_reason_on_both_sides() -> None:
    pair = established("eim-apdf", "eim-apdf")
    pair.cut()
    pair.run(150.0)
    assert not pair.is_alive()
    for side in pair.sides:
        assert side.error is not None
        assert side.error.exit_status in (3, 6)
        assert side.error.hint


def test_a_side_without_any_interface_waits_for_one() -> None:
    pair = established("eim-apdf", "eim-apdf")
    host = pair.scene.world.a
    cable = host.attachments[0]
    host.unplug(cable)
    pair.run(40.0)
    assert pair.is_alive()
    host.plug(cable)
    pair.broken_at = pair.scene.world.net.now
    took = pair.heal(60.0)
    assert took is not None
    assert took <= 20.0
    assert pair.carries()


def test_sockets_of_rounds_that_are_over_are_closed() -> None:
    pair = established("clash", "strict")
    for _ in range(5):
        pair.sides[0].agent.repunch(pair.scene.world.net.now)
        pair.sides[0].driver.wake()
        pair.broken_at = pair.scene.world.net.now
        assert pair.heal(30.0) is not None
        pair.run(10.0)
    assert pair.rounds == (5, 5)
    assert [len(side.driver.sockets) for side in pair.sides] == [1, 1]


def test_a_reboot_a_day_does_not_use_the_rounds_up() -> None:
    pair = established("forgetful clash", "forgetful strict")
    for _ in range(100):
        pair.reboot("ab")
        assert pair.heal(60.0) is not None
        pair.run(20.0)
    assert pair.is_alive()
    assert pair.carries()
