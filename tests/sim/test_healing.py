"""Whole peers that keep their socket: a router reboots, and the session goes on."""

import pytest

from holepunch.testing.simnet import SimSession

from .peers import Two, two

# A consent check is at most 6 s away, five more follow each half second, and a new punch takes half a second.
HEALED_WITHIN = 12.0  # seconds


def established(kind_a: str, kind_b: str, *, seed: int = 1) -> tuple[Two, SimSession, SimSession]:
    """Two peers whose session has been up for a while."""
    pair = two(kind_a, kind_b, seed=seed, keeps_socket=True)
    session = pair.connect()
    assert session.is_ready
    pair.net.run(20)
    return pair, session, pair.bob.arrivals[0]


def test_an_idle_session_lives_on_by_its_consent_checks() -> None:
    pair, one, other = established("eim-apdf", "clash")
    pair.net.run(600)
    assert pair.talk(one, other)
    assert len(one.paths) == len(other.paths) == 1
    assert not [event for _, event in [*one.log, *other.log] if event.name == "path-lost"]


@pytest.mark.parametrize("side", ["a", "b"])
@pytest.mark.parametrize("interval", [0.02, 1.0, 30.0])
@pytest.mark.parametrize(
    "kinds",
    [
        ("eim-apdf", "eim-apdf"),
        ("clash", "clash"),
        ("strict", "strict"),
        ("double", "eim-apdf"),
        ("eim-adf", "random-adf"),
        ("public", "random-apdf"),
        ("sequential-adf", "eim-adf"),
    ],
)
def test_a_session_heals_after_its_router_lost_every_mapping(
    kinds: tuple[str, str], interval: float, side: str
) -> None:
    pair, one, other = established(*kinds)
    clock = pair.net.clock
    nats = pair.world.nats_a if side == "a" else pair.world.nats_b
    # The side whose router still works goes on sending, and so meets the other's empty one first.
    first, second = (other, one) if side == "a" else (one, other)

    def stream(session: SimSession) -> None:
        session.send(b"stream")
        clock.call_later(interval, lambda: stream(session))

    stream(first)
    pair.net.run(interval / 2)
    clock.call_later(0.001, lambda: stream(second))
    for nat in nats:
        nat.reboot()
    pair.net.run(HEALED_WITHIN)
    assert pair.talk(one, other)
    assert one.is_up
    assert other.is_up


@pytest.mark.parametrize("loss", [0.02, 0.1])
def test_loss_alone_ends_no_session(loss: float) -> None:
    pair, one, other = established("eim-apdf", "eim-apdf")
    for nat in pair.nats:
        nat.outer.link = nat.outer.link.but(loss=1 - (1 - loss) ** 0.5)
    pair.net.run(1800)
    assert one.is_up
    assert other.is_up
    assert pair.talk(one, other)


def test_a_cable_pulled_for_a_minute_is_survived() -> None:
    pair, one, other = established("eim-apdf", "eim-apdf")
    (nat,) = pair.world.nats_a
    link = nat.outer.link
    nat.outer.link = link.but(loss=1.0)
    pair.net.run(60)
    nat.outer.link = link
    assert pair.net.run(60, until=lambda: one.is_up and other.is_up)
    pair.net.run(HEALED_WITHIN)
    assert pair.talk(one, other)


def test_a_side_that_closes_tells_the_other() -> None:
    pair, one, other = established("eim-apdf", "clash")
    one.close()
    pair.net.run(1)
    assert not other.is_up
    assert other.error is None
