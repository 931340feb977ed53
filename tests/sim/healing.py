"""What the tests of healing share: a session that keeps its sockets, and what then happens to the network."""

from collections.abc import Callable
from dataclasses import dataclass, field

from holepunch.proto.agent import AgentOptions, State
from holepunch.proto.events import PathLost
from holepunch.testing.simnet import Conditions, Scene, SimSession, prepare

ROUND_TRIP = 0.08  # seconds


@dataclass(slots=True)
class Pair:
    """An established session, from both ends."""

    scene: Scene
    broken_at: float = field(init=False, default=0.0)

    @property
    def sides(self) -> tuple[SimSession, SimSession]:
        """The inviter's session and the acceptor's."""
        answer = self.scene.answer
        assert answer is not None
        return self.scene.session, answer

    @property
    def rounds(self) -> tuple[int, int]:
        """Which round each side is in."""
        inviter, acceptor = self.sides
        return inviter.agent.checks.round, acceptor.agent.checks.round

    def run(self, seconds: float) -> None:
        """Lets time pass."""
        self.scene.world.net.run(seconds)

    def reboot(self, side: str) -> None:
        """Flushes the mappings of the NATs of side `a` (the inviter's), `b`, or both (`ab`)."""
        world = self.scene.world
        self.broken_at = world.net.now
        for nat in (*(world.nats_a if "a" in side else ()), *(world.nats_b if "b" in side else ())):
            nat.reboot()

    def cut(self) -> Callable[[], None]:
        """Cuts the inviter's line; call the result to mend it."""
        outer = self.scene.world.nats_a[0].outer
        whole = outer.link
        outer.link = whole.but(loss=1.0)
        self.broken_at = self.scene.world.net.now

        def mend() -> None:
            outer.link = whole
            self.broken_at = self.scene.world.net.now

        return mend

    def stream(self, side: str, interval: float = 0.02) -> None:
        """Lets the user of side `a`, `b` or both (`ab`) send datagrams from now on."""
        inviter, acceptor = self.sides
        clock = self.scene.world.net.clock

        def tick() -> None:
            if "a" in side:
                inviter.send(b"from the inviter's user")
            if "b" in side:
                acceptor.send(b"from the acceptor's user")
            clock.call_later(interval, tick)

        if side:
            clock.call_later(interval, tick)

    def heal(self, patience: float) -> float | None:
        """Waits until both sides have heard each other again; returns the seconds since the network broke."""
        net = self.scene.world.net
        since = self.broken_at + 2 * ROUND_TRIP  # what was under way then has arrived

        def healed() -> bool:
            return all(
                side.is_up and side.agent.checks.is_confirmed and side.agent.checks.last_heard > since
                for side in self.sides
            )

        net.run(patience, until=healed)
        return net.now - self.broken_at if healed() else None

    def carries(self) -> bool:
        """Whether users' datagrams pass both ways now."""
        net = self.scene.world.net
        inviter, acceptor = self.sides
        inviter.data.clear()
        acceptor.data.clear()
        for _ in range(12):
            inviter.send(b"still there?")
            acceptor.send(b"and you?")
            net.run(0.1)
        net.run(1.0)
        ours = any(data == b"and you?" for data, _ in inviter.data)
        return ours and any(data == b"still there?" for data, _ in acceptor.data)

    def losses(self) -> int:
        """How often either side has lost the path."""
        return sum(isinstance(event, PathLost) for side in self.sides for _, event in side.log)

    def is_alive(self) -> bool:
        """Whether neither side has ended the session."""
        return all(side.agent.state is not State.CLOSED for side in self.sides)


def established(
    kind_a: str,
    kind_b: str,
    *,
    seed: int | str = 1,
    loss: float = 0.0,
    latency: float = 0.1,
    options: AgentOptions | None = None,
) -> Pair:
    """Returns a session between two sites that has been quiet for a while."""
    scene = prepare(
        kind_a,
        kind_b,
        Conditions(rtt=ROUND_TRIP, loss=loss),
        latency=latency,
        seed=seed,
        options=options or AgentOptions(keeps_socket=True),
    )
    net = scene.world.net
    net.run(120, until=lambda: scene.session.is_ready and scene.answer is not None and scene.answer.is_ready)
    pair = Pair(scene)
    assert all(side.is_up for side in pair.sides)
    pair.run(20.0)
    pair.broken_at = net.now
    return pair
