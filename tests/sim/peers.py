"""Two whole peers on a simulated internet, for tests that need more than simnet.attempt gives."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from holepunch.proto.agent import AgentOptions
from holepunch.testing.simnet import Conditions, Internet, Kind, Nat, SimMediator, SimPeer, SimSession, World, build


@dataclass
class Two:
    """Two peers that know each other, the second one accepting."""

    world: World
    alice: SimPeer
    bob: SimPeer
    mediators: list[SimMediator]

    @property
    def net(self) -> Internet:
        """Where they are."""
        return self.world.net

    @property
    def nats(self) -> list[Nat]:
        """All boxes before both."""
        return [*self.world.nats_a, *self.world.nats_b]

    @property
    def damage(self) -> int:
        """Mappings that early packets cost or moved."""
        return sum(nat.counters().spoiled + nat.counters().clashes for nat in self.nats)

    def connect(self, patience: float = 400.0) -> SimSession:
        """Lets the first peer connect; returns its session, which has come to its end or is ready."""
        session = self.alice.connect(self.bob)
        self.net.run(patience, until=lambda: session.is_over and all(each.is_over for each in self.bob.arrivals))
        return session

    def talk(self, one: SimSession, other: SimSession, patience: float = 2.0) -> bool:
        """Tells whether users' datagrams pass both ways, with one sent each 100 ms."""
        heard = len(one.data), len(other.data)
        for number in range(int(patience * 10)):
            self.net.clock.call_later(number / 10, lambda: one.send(b"from one"))
            self.net.clock.call_later(number / 10, lambda: other.send(b"from the other"))
        return self.net.run(patience + 1, until=lambda: len(one.data) > heard[0] and len(other.data) > heard[1])


def two(
    kind_a: str | Kind = "eim-apdf",
    kind_b: str | Kind = "eim-apdf",
    conditions: Conditions | None = None,
    *,
    seed: int | str = 1,
    mediators: Sequence[dict[str, Any]] = ({"latency": 0.2},),
    skew: float = 0.0,
    **options: Any,
) -> Two:
    """Builds two peers.

    Args:
        kind_a: the inviter's site.
        kind_b: the acceptor's.
        conditions: of the way between them.
        seed: of all luck.
        mediators: arguments of each SimMediator.
        skew: seconds by which the acceptor's clock is ahead.
        options: fields of AgentOptions.
    """
    net = Internet(seed)
    world = build(net, kind_a, kind_b, conditions or Conditions(rtt=0.08))
    channels = [SimMediator(net, **{"name": f"channel {number}", **each}) for number, each in enumerate(mediators)]
    wishes = AgentOptions(**options)
    alice = SimPeer(net, world.a, "alice", channels, servers=world.stun, options=wishes)
    bob = SimPeer(net, world.b, "bob", channels, servers=world.stun, options=wishes, skew=skew)
    alice.know(bob)
    bob.know(alice)
    bob.accept()
    return Two(world, alice, bob, channels)
