"""The simulated internet: one seed, one clock, the middle of the net, and what is plugged into it.

    net = Internet(seed=7)
    home = net.home("alice", Behaviour(), link=Link(delay=0.01, hops=4))
    alice = net.host("alice", home.inside, "192.168.1.10")
    server = net.public("server", link=Link(delay=0.005, hops=3))
    net.run(1.0)

Same seed and same calls: same packets at the same moments.  Every box draws its luck from a stream
of its own, so a new box does not change what happens to the others.
"""

from collections.abc import Callable
from random import Random

from ...proto.machine import Entropy
from .behaviour import Behaviour
from .clock import Clock
from .host import Host
from .link import Link
from .nat import Nat
from .network import Network
from .trace import Trace

LAN_LINK = Link(delay=0.0002)
EPOCH = 1_800_000_000  # seconds since 1970 at which virtual time begins


class Internet:
    """Everything there is in one simulation."""

    def __init__(self, seed: int | str = 0) -> None:
        self.seed = seed
        self.clock = Clock()
        self.hosts: dict[str, Host] = {}
        self.nats: dict[str, Nat] = {}
        self._trace: Trace | None = None
        self._networks: list[Network] = []
        self._public_count = 0
        self.core = self.network("internet", "62.115.{}.{}", "2a00:1450:0:{:x}::{:x}")
        """The middle of the internet: every address on it is global."""

    @property
    def now(self) -> float:
        """Virtual seconds since the beginning."""
        return self.clock.now

    @property
    def time(self) -> float:
        """Virtual seconds since 1970, as a right clock shows them."""
        return EPOCH + self.clock.now

    def rng(self, name: str) -> Random:
        """Returns the stream of luck of that name: the same for the same seed."""
        return Random(f"{self.seed}/{name}")

    def entropy(self, name: str) -> Entropy:
        """Returns a repeatable stand-in for os.urandom, for a machine under test."""
        return self.rng(f"entropy {name}").randbytes

    def run(
        self, duration: float | None = None, *, until: Callable[[], bool] | None = None, max_steps: int | None = None
    ) -> bool:
        """Lets time pass; see Clock.run."""
        return self.clock.run(duration, until=until, max_steps=max_steps)

    @property
    def trace(self) -> Trace | None:
        """What happened to every packet, once a Trace has been set here; None costs nothing."""
        return self._trace

    @trace.setter
    def trace(self, trace: Trace | None) -> None:
        self._trace = trace
        for network in self._networks:
            network.trace = trace
        for host in self.hosts.values():
            host.trace = trace
        for nat in self.nats.values():
            nat.trace = trace

    def network(self, name: str, router_ipv4: str = "10.255.{}.{}", router_ipv6: str = "fd00:ff:{:x}::{:x}") -> Network:
        """Makes a network that is connected to nothing yet; router addresses are formats of two numbers."""
        network = Network(name, self.clock, self.rng(f"network {name}"), router_ipv4, router_ipv6)
        network.trace = self._trace
        self._networks.append(network)
        return network

    def public_ipv4(self) -> str:
        """Returns an unused global IPv4 address; consecutive ones are never in one /24."""
        self._public_count += 1
        return f"45.{self._public_count // 200}.{self._public_count % 200}.{17 + self._public_count % 97}"

    def public_ipv6(self) -> str:
        """Returns an unused global IPv6 address, each in a /48 of its own."""
        self._public_count += 1
        return f"2a02:1000:{self._public_count:x}::17"

    def host(self, name: str, network: Network, *hosts: str, link: Link | None = None) -> Host:
        """Puts a computer on a network under the given addresses."""
        host = Host(name, self.clock, self.rng(f"host {name}"))
        host.trace = self._trace
        self.hosts[name] = host
        self.join(host, network, *hosts, link=link)
        return host

    def join(self, host: Host, network: Network, *hosts: str, link: Link | None = None) -> None:
        """Gives a computer one more interface."""
        host.plug(network.attach(host, *hosts, link=link or LAN_LINK))
        if network is not self.core:
            self._announce(network, hosts)

    def public(self, name: str, *, addresses: int = 1, ipv6: bool = False, link: Link | None = None) -> Host:
        """Puts a computer straight on the internet, with that many IPv4 addresses and perhaps an IPv6 one."""
        hosts = [self.public_ipv4() for _ in range(addresses)] + ([self.public_ipv6()] if ipv6 else [])
        return self.host(name, self.core, *hosts, link=link or Link())

    def nat(
        self,
        name: str,
        ipv4: Behaviour | None,
        ipv6: Behaviour | None = None,
        *,
        outside: Network | None = None,
        outer_hosts: tuple[str, ...] = (),
        inner_hosts: tuple[str, ...] = ("192.168.1.1",),
        link: Link | None = None,
        inner_link: Link | None = None,
        inside: Network | None = None,
    ) -> Nat:
        """Puts a NAT or firewall between two networks.

        Args:
            name: for the trace; the network behind it is called `name lan`.
            ipv4: how it treats IPv4; None forwards.
            ipv6: how it treats IPv6; None forwards.
            outside: the network before it; None: the internet.
            outer_hosts: its addresses there, its pool; none: one fresh global IPv4 address.
            inner_hosts: its own addresses inside; the first is the gateway's.
            link: how it is attached outside.
            inner_link: how it is attached inside; routers of a carrier's own network go here.
            inside: the network behind it; None: a new one.
        """
        box = Nat(name, self.clock, self.rng(f"nat {name}"), ipv4, ipv6)
        box.trace = self._trace
        before = outside or self.core
        box.plug_outer(before.attach(box, *(outer_hosts or (self.public_ipv4(),)), link=link or Link()))
        behind = inside or self.network(f"{name} lan")
        box.plug_inner(behind.attach(box, *inner_hosts, link=inner_link or LAN_LINK, gateway=True))
        self.nats[name] = box
        if before is not self.core:
            self._announce(before, outer_hosts)
        return box

    def _announce(self, network: Network, hosts: tuple[str, ...]) -> None:
        """Makes untranslated addresses known to the networks before a firewall or a router."""
        gateway = network.gateway
        box = gateway.node if gateway is not None else None
        if not isinstance(box, Nat):
            return
        plain = tuple(host for host in hosts if not box.translates(ipv6=":" in host))
        for host in plain:
            box.outer.network.route(host, box.outer)
        if plain and box.outer.network is not self.core:
            self._announce(box.outer.network, plain)
