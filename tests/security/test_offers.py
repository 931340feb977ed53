"""Whole peers and a mediator whose operator replays, alters, delays, redirects and invents offers."""

from collections.abc import Sequence
from dataclasses import replace

import pytest

from holepunch.proto.agent import AgentOptions
from holepunch.proto.envelope import MAX_BODY, Envelope, Kind, decode_envelope
from holepunch.proto.events import OfferRefused
from holepunch.testing.simnet import Conditions, Internet, SimPeer, SimSession, World, build

from .hostile import Operator

MINUTE = 60.0


class Scene:
    """Alice and Bob, who know each other, and the operator of what is between them."""

    def __init__(self, *, skew: float = 0.0, latency: float = 0.1, timeout: float = 60.0, seed: int = 1) -> None:
        self.net = Internet(seed)
        self.world: World = build(self.net, "eim-apdf", "eim-apdf", Conditions(rtt=0.08))
        self.mediator = Operator(self.net, latency=latency)
        options = AgentOptions(timeout=timeout)
        self.alice = SimPeer(self.net, self.world.a, "alice", [self.mediator], servers=self.world.stun, options=options)
        self.bob = SimPeer(
            self.net, self.world.b, "bob", [self.mediator], servers=self.world.stun, options=options, skew=skew
        )
        self.alice.know(self.bob)
        self.bob.know(self.alice)
        self.bob.accept()

    def connect(self, patience: float = 300.0) -> SimSession:
        """Lets Alice connect to Bob; returns her session at its end."""
        session = self.alice.connect(self.bob)
        self.net.run(patience, until=lambda: session.is_over and all(each.is_over for each in self.bob.arrivals))
        return session


def refusals(session: SimSession) -> list[str]:
    """Why offers of a session were refused."""
    return [event.reason for _, event in session.log if isinstance(event, OfferRefused)]


def flips(envelope: Envelope, step: int) -> list[Envelope]:
    """The envelope with one bit flipped, for every `step`-th bit, as far as it still is an envelope."""
    out = []
    data = envelope.encode()
    for bit in range(0, len(data) * 8, step):
        altered = bytearray(data)
        altered[bit // 8] ^= 1 << bit % 8
        try:
            out.append(decode_envelope(bytes(altered)))
        except Exception:  # whatever cannot be carried is not delivered
            continue
    return out


def test_an_honest_operator_is_the_measure() -> None:
    scene = Scene()
    assert scene.connect().is_ready
    assert len(scene.bob.arrivals) == 1
    assert scene.bob.refused == []


def test_everything_delivered_three_times_is_acted_on_once() -> None:
    scene = Scene()
    scene.mediator.tamper = lambda envelope: [envelope] * 3
    assert scene.connect().is_ready
    assert len(scene.bob.arrivals) == 1


def test_an_invite_that_is_replayed_later_is_not_answered_again() -> None:
    scene = Scene()
    assert scene.connect().is_ready
    (invite,) = [envelope for envelope in scene.mediator.posted if envelope.kind is Kind.INVITE]
    scene.bob.sessions.clear()  # as a process that was started anew, with the same home
    posted = len(scene.mediator.posted)
    for _ in range(5):
        scene.mediator.post(invite)
        scene.net.run(MINUTE)
    assert len(scene.bob.arrivals) == 1
    assert "answered before" in scene.bob.refused[-1]
    assert len(scene.mediator.posted) == posted + 5


def test_altered_copies_before_the_true_offers_cost_nothing() -> None:
    scene = Scene()
    scene.mediator.tamper = lambda envelope: [*flips(envelope, 61), envelope]
    session = scene.connect()
    assert session.is_ready
    assert len(scene.bob.arrivals) == 1
    assert refusals(session)


def test_altered_offers_alone_lead_nowhere() -> None:
    scene = Scene(timeout=20.0)
    scene.mediator.tamper = lambda envelope: flips(envelope, 173)
    session = scene.connect()
    assert not session.is_ready
    assert scene.bob.arrivals == []
    assert session.error is not None
    assert session.error.exit_status == 7


@pytest.mark.parametrize(
    "bogus",
    [
        lambda accept: replace(accept, body=accept.body[:16] + bytes(len(accept.body) - 16)),
        lambda accept: replace(accept, body=accept.body[:16]),
        lambda accept: replace(accept, body=b""),
        lambda accept: replace(accept, id=bytes(16)),
        lambda accept: replace(accept, expires=accept.expires + 1),
        lambda accept: replace(accept, body=accept.body + b"x"),
        lambda accept: replace(accept, kind=Kind.UPDATE),
        lambda accept: replace(accept, kind=Kind.INVITE),
        lambda accept: replace(accept, kind=Kind.PAIR),
    ],
    ids=["zeroes", "cut", "empty", "other id", "later expiry", "longer", "as update", "as invite", "as pairing"],
)
def test_a_bogus_accept_does_not_spoil_the_handshake_for_the_true_one(bogus: object) -> None:
    scene = Scene()
    assert callable(bogus)

    def tamper(envelope: Envelope) -> Sequence[Envelope]:
        return [bogus(envelope), envelope] if envelope.kind is Kind.ACCEPT else [envelope]

    scene.mediator.tamper = tamper
    session = scene.connect()
    assert session.is_ready
    assert refusals(session)


def test_an_accept_of_an_earlier_attempt_is_not_taken_for_this_one() -> None:
    scene = Scene()
    assert scene.connect().is_ready
    (old,) = [envelope for envelope in scene.mediator.posted if envelope.kind is Kind.ACCEPT]

    def tamper(envelope: Envelope) -> Sequence[Envelope]:
        stale = [old, replace(old, session=envelope.session)]
        return [*stale, envelope] if envelope.kind is Kind.ACCEPT else [envelope]

    scene.mediator.tamper = tamper
    again = scene.alice.connect(scene.bob)
    scene.net.run(60.0, until=lambda: again.is_over)
    assert again.is_ready


def test_an_invite_sent_to_somebody_else_is_not_answered_there() -> None:
    scene = Scene(timeout=20.0)
    carol = SimPeer(scene.net, scene.net.public("carol"), "carol", [scene.mediator], servers=scene.world.stun)
    carol.know(scene.alice, scene.bob)
    carol.accept()
    scene.mediator.tamper = lambda envelope: [replace(envelope, recipient=carol.peer_id.raw), envelope]
    assert scene.connect().is_ready
    assert carol.arrivals == []
    assert carol.refused


def test_a_stranger_is_not_answered_and_learns_nothing() -> None:
    scene = Scene(timeout=20.0)
    mallory = SimPeer(scene.net, scene.net.public("mallory"), "mallory", [scene.mediator], servers=scene.world.stun)
    mallory.know(scene.bob)
    session = mallory.connect(scene.bob)
    scene.net.run(60.0, until=lambda: session.is_over)
    assert not session.is_ready
    assert scene.bob.arrivals == []
    assert "not in the peer book" in scene.bob.refused[-1]
    assert [envelope.kind for envelope in scene.mediator.posted] == [Kind.INVITE]
    assert scene.world.b.sent == 0


def test_an_offer_of_the_largest_size_with_junk_inside_is_refused() -> None:
    scene = Scene()
    scene.mediator.tamper = lambda envelope: [replace(envelope, body=bytes(MAX_BODY)), envelope]
    assert scene.connect().is_ready
    assert scene.bob.refused


def test_an_offer_that_is_delayed_beyond_its_expiry_is_not_delivered_or_refused() -> None:
    scene = Scene(timeout=20.0)
    held: list[Envelope] = []

    def hold(envelope: Envelope) -> Sequence[Envelope]:
        held.append(envelope)
        return []

    scene.mediator.tamper = hold
    session = scene.alice.connect(scene.bob)
    scene.net.run(26 * MINUTE)
    assert not session.is_ready
    (invite,) = held
    scene.bob._receive(invite, "mediator")
    assert scene.bob.arrivals == []
    assert "expired" in scene.bob.refused[-1]


def test_old_updates_replayed_into_a_session_are_refused() -> None:
    scene = Scene()
    scene.mediator.tamper = lambda envelope: [envelope, *scene.mediator.posted]
    session = scene.connect()
    assert session.is_ready
    scene.net.run(MINUTE)
    for envelope in list(scene.mediator.posted):
        scene.mediator.post(envelope)
    scene.net.run(MINUTE)
    assert len(scene.bob.arrivals) == 1


# Clocks.


@pytest.mark.parametrize("minutes", [-10, -9, 0, 9, 10])
def test_clocks_that_differ_by_ten_minutes_either_way_do_not_matter(minutes: int) -> None:
    scene = Scene(skew=minutes * MINUTE)
    assert scene.connect().is_ready


@pytest.mark.parametrize("minutes", [-26, 26, 24 * 60])
def test_clocks_that_differ_by_more_than_an_offers_life_and_ten_minutes_are_refused(minutes: int) -> None:
    scene = Scene(skew=minutes * MINUTE, timeout=20.0)
    session = scene.connect()
    assert not session.is_ready
    assert scene.bob.arrivals == []
    assert scene.bob.refused


def test_a_clock_that_is_eleven_minutes_behind_is_refused() -> None:
    scene = Scene(skew=-11 * MINUTE, timeout=20.0)
    assert not scene.connect().is_ready
    assert scene.bob.arrivals == []
