"""Ready-made small internets: two peers at sites of given kinds, routers between them, STUN servers.

world = build(Internet(seed=7), "eim-apdf", "clash", Conditions(rtt=0.08, loss=0.02))
world.a, world.b            the peers' hosts
world.stun                  addresses to ask
world.expected              whether plain punching can open this pair
"""

from collections.abc import Callable
from dataclasses import dataclass, field

from ...errors import ConfigurationError
from ...proto.machine import Address
from ...proto.nat import Mapping
from .behaviour import LINUX, Behaviour
from .host import Host
from .internet import LAN_LINK, Internet
from .kinds import RELATIONS, Kind, expected, kind_named
from .link import Link
from .nat import Nat
from .network import Network
from .stun import StunServer

_LAN_A, _LAN_B = "192.168.178", "192.168.1"
_CARRIER_SHARE = 0.3  # of the delay of a line is inside the provider's network, where there is one


@dataclass(frozen=True, slots=True, kw_only=True)
class Conditions:
    """What the way between the two peers is like; each access line has half of all of it."""

    rtt: float = 0.04
    """Seconds from one peer to the other and back, without jitter."""
    loss: float = 0.0
    """Probability that a packet from one peer does not reach the other."""
    jitter: float = 0.0
    """Up to so many seconds more, one way."""
    duplicate: float = 0.0
    """Probability that a packet arrives twice."""
    reorder: float = 0.0
    """Probability that a packet is overtaken by those behind it."""
    mtu: int = 1500
    """Bytes."""
    hops_a: int = 5
    """Routers between the first peer's site and the middle of the internet."""
    hops_b: int = 6
    """Routers between the second peer's site and the middle."""
    carrier_hops: int = 3
    """Routers between a home and its provider's NAT."""

    def line(self, hops: int) -> Link:
        """Returns one peer's access line."""
        return Link(
            delay=self.rtt / 4,
            jitter=self.jitter / 2,
            loss=1 - (1 - self.loss) ** 0.5,
            duplicate=1 - (1 - self.duplicate) ** 0.5,
            reorder=1 - (1 - self.reorder) ** 0.5,
            mtu=self.mtu,
            hops=hops,
        )


@dataclass(slots=True)
class World:
    """A small internet with two peers."""

    net: Internet
    name: str
    a: Host
    b: Host
    expected: bool
    """Whether plain punching can open a path between them."""
    servers: list[StunServer]
    nats_a: list[Nat] = field(default_factory=list)
    """Boxes before the first peer, its own first."""
    nats_b: list[Nat] = field(default_factory=list)
    bystanders: list[Host] = field(default_factory=list)
    """Others, who have nothing to do with it and should not be sent anything."""

    @property
    def stun(self) -> list[Address]:
        """Where the STUN servers are asked, all IPv4 first."""
        return [server.ipv4 for server in self.servers] + [server.ipv6 for server in self.servers]


def build(net: Internet, kind_a: str | Kind, kind_b: str | Kind, conditions: Conditions | None = None) -> World:
    """Makes two sites of given kinds (holepunch.testing.simnet.kinds, or one's own) with a peer at each."""
    return _Builder(net, conditions or Conditions()).sites(kind_named(kind_a), kind_named(kind_b))


def build_relation(net: Internet, relation: str, conditions: Conditions | None = None) -> World:
    """Makes one of kinds.RELATIONS: two peers that are nearer to each other than two sites.

    Raises:
        ConfigurationError: there is no such relation.
    """
    builder = _Builder(net, conditions or Conditions())
    makers: dict[str, Callable[[], World]] = {
        "same-lan": builder.same_lan,
        "equal-networks": builder.equal_networks,
        "common-cgnat": lambda: builder.common_cgnat(hairpin=False),
        "common-cgnat-hairpin": lambda: builder.common_cgnat(hairpin=True),
    }
    if relation not in makers:
        raise ConfigurationError(f"no such relation: {relation!r}", hint=f"Relations: {', '.join(makers)}.")
    return makers[relation]()


class _Builder:
    """Makes worlds on one internet under one set of conditions."""

    def __init__(self, net: Internet, conditions: Conditions) -> None:
        self._net = net
        self._conditions = conditions
        # Three destinations at two operators, of which the first has RFC 5780.
        self._servers = [StunServer(net, "stun 1"), StunServer(net, "stun 2", behaviour=False)]
        self._line_a = conditions.line(conditions.hops_a)
        self._line_b = conditions.line(conditions.hops_b)

    def sites(self, kind_a: Kind, kind_b: Kind) -> World:
        """Two sites."""
        a, nats_a = self._site("a", kind_a, self._line_a, f"{_LAN_A}.10")
        b, nats_b = self._site("b", kind_b, self._line_b, f"{_LAN_B}.20")
        opens = expected(kind_a, kind_b)
        return World(self._net, f"{kind_a.name} {kind_b.name}", a, b, opens, self._servers, nats_a, nats_b)

    def same_lan(self) -> World:
        """Two computers behind one NAT; the LAN between them has the conditions of the way."""
        home = self._net.nat("nat a", LINUX, inner_hosts=(f"{_LAN_A}.1",), link=self._line_a)
        near = self._line_b.but(hops=0)
        a = self._net.host("a", home.inside, f"{_LAN_A}.10", link=near)
        b = self._net.host("b", home.inside, f"{_LAN_A}.20", link=near)
        return self._world("same-lan", (a, [home]), (b, [home]))

    def equal_networks(self) -> World:
        """Two homes alike to the last digit, each with one computer more."""
        kind = kind_named("eim-apdf")
        a, nats_a = self._site("a", kind, self._line_a, f"{_LAN_A}.10")
        b, nats_b = self._site("b", kind, self._line_b, f"{_LAN_A}.10")
        world = self._world("equal-networks", (a, nats_a), (b, nats_b))
        for side, nats in (("a", nats_a), ("b", nats_b)):
            world.bystanders.append(self._net.host(f"bystander {side}", nats[0].inside, f"{_LAN_A}.20"))
        return world

    def common_cgnat(self, *, hairpin: bool) -> World:
        """Two homes behind one provider's NAT."""
        far = self._line_a.but(delay=self._line_a.delay * (1 - _CARRIER_SHARE))
        cgnat = self._carrier("cgnat", Behaviour(hairpin=hairpin), far)
        near = _less_a_lan(self._conditions.line(self._conditions.carrier_hops))
        homes = []
        for side, lan, number in (("a", _LAN_A, 7), ("b", _LAN_B, 8)):
            outer = (f"100.64.{number}.9",)
            nat = self._net.nat(
                f"nat {side}", LINUX, outside=cgnat.inside, outer_hosts=outer, inner_hosts=(f"{lan}.1",), link=near
            )
            homes.append((self._net.host(side, nat.inside, f"{lan}.{number}"), [nat, cgnat]))
        return self._world("common-cgnat-hairpin" if hairpin else "common-cgnat", homes[0], homes[1])

    def _world(self, relation: str, side_a: tuple[Host, list[Nat]], side_b: tuple[Host, list[Nat]]) -> World:
        (a, nats_a), (b, nats_b) = side_a, side_b
        return World(self._net, relation, a, b, RELATIONS[relation], self._servers, nats_a, nats_b)

    def _carrier(self, name: str, behaviour: Behaviour, link: Link) -> Nat:
        inside = self._net.network(f"{name} net", router_ipv4="100.127.{}.{}")
        return self._net.nat(name, behaviour, inner_hosts=("100.64.0.1",), link=link, inside=inside, inner_link=Link())

    def _site(self, side: str, kind: Kind, line: Link, host: str) -> tuple[Host, list[Nat]]:
        """Makes a peer and the boxes before it; `host` is its address where it is translated."""
        net = self._net
        if kind.ipv4 is None:
            return net.public(side, link=line), []
        line = _less_a_lan(line)
        carriers: list[Nat] = []
        outside: Network | None = None
        outer = [net.public_ipv4()]
        if kind.carrier is not None:
            far = line.but(delay=line.delay * (1 - _CARRIER_SHARE))
            carriers = [self._carrier(f"carrier {side}", kind.carrier, far)]
            outside, outer = carriers[0].inside, ["100.64.7.9"]
            line = Link(delay=line.delay * _CARRIER_SHARE, hops=self._conditions.carrier_hops)
        inner = [host.rpartition(".")[0] + ".1"]
        hosts = [host if kind.ipv4.mapping is not Mapping.NONE else net.public_ipv4()]
        if kind.ipv6 is not None:
            outer.append(net.public_ipv6())
            inner.append(net.public_ipv6())
            hosts.append(net.public_ipv6())
        box = net.nat(
            f"nat {side}", kind.ipv4, kind.ipv6,
            outside=outside, outer_hosts=tuple(outer), inner_hosts=tuple(inner), link=line,
        )  # fmt: skip
        return net.host(side, box.inside, *hosts), [box, *carriers]


def _less_a_lan(line: Link) -> Link:
    """Returns a line that, with a LAN behind it, has the delay of this one."""
    return line.but(delay=max(0.0, line.delay - 2 * LAN_LINK.delay))
