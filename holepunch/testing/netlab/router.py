"""A router of the laboratory: a namespace that forwards between its LAN and the wire, and may translate."""

from pathlib import Path

from ...proto.machine import Address
from ..simnet.behaviour import Behaviour
from . import namespace
from .cable import Cable
from .engine import Engine, engine_of
from .packet import udp_datagram
from .rules import ruleset

LAN, WAN = "lan", "wan"
QUEUE = 4000  # packets that wait while the wire is busy elsewhere; the usual 500 overflow at 30 000 packets per second


def write_settings(settings: dict[str, str]) -> None:
    """Writes kernel settings (`net/ipv4/ip_forward`) of the network namespace of the calling thread."""
    for name, value in settings.items():
        Path("/proc/sys", name).write_text(value)


class Router:
    """One router.

    Attributes:
        name: its name in the laboratory, `a.router`.
        namespace: the name of its network namespace.
        behaviour: how it treats IPv4; None: it only forwards.
        outer: its outer IPv4 address.
    """

    def __init__(self, cable: Cable, name: str, namespace_name: str, behaviour: Behaviour | None, outer: str) -> None:
        self.name = name
        self.namespace = namespace_name
        self.behaviour = behaviour
        self.outer = outer
        self._cable = cable
        self._devices = 0

    def __repr__(self) -> str:
        return f"<Router {self.name} {self.outer}>"

    @property
    def engine(self) -> Engine:
        """Who carries out its behaviour."""
        return engine_of(self.behaviour)

    @property
    def port(self) -> str:
        """What the wire calls its outer side."""
        return f"{self.name}.{WAN}"

    def build(
        self, segment: str, networks: list[str], *, timeout: float | None, outer6: str, ipv6: str, seed: int
    ) -> None:
        """Makes the namespace and its outer side.

        Args:
            segment: the network of the wire it is attached to.
            networks: what the wire shall route to it.
            timeout: seconds a UDP mapping lives unused; None: the kernel's 30, and 120 for a stream.
            outer6: its IPv6 address; empty for none.
            ipv6: `firewall`, `open` or empty.
            seed: the luck of a user-space NAT.
        """
        namespace.batch([f"netns add {self.namespace}"])
        settings = {
            "net/ipv4/ip_forward": "1",
            "net/ipv4/conf/all/rp_filter": "0",
            "net/ipv4/conf/default/rp_filter": "0",
            "net/ipv6/conf/default/accept_dad": "0",
            "net/ipv6/conf/all/forwarding": "1" if ipv6 else "0",
        }
        if timeout is not None:
            seconds = str(max(1, round(timeout)))
            settings["net/netfilter/nf_conntrack_udp_timeout"] = seconds
            settings["net/netfilter/nf_conntrack_udp_timeout_stream"] = seconds
        namespace.call(self.namespace, write_settings, settings)
        self._cable.attach(segment, self.port, self.namespace, WAN, networks)
        # No link-local IPv6 address on the wire: it has no neighbours to solicit.
        commands = [
            "link set lo up",
            f"link set {WAN} addrgenmode none txqueuelen {QUEUE} up",
            f"route add default dev {WAN}",
        ]
        if self.engine is not Engine.USER:
            commands.insert(1, f"addr add {self.outer}/32 dev {WAN}")
        if outer6:
            commands += [f"addr add {outer6}/128 dev {WAN} nodad", f"route add ::/0 dev {WAN}"]
        namespace.batch(commands, self.namespace)
        rules = ruleset(self.behaviour, self.outer, timeout, ipv6)
        if rules:
            namespace.call(self.namespace, namespace.run, ["nft", "-f", "-"], rules)
        if self.engine is Engine.USER and self.behaviour is not None:
            behaviour = self.behaviour
            if timeout is not None:
                behaviour = behaviour.but(unreplied_timeout=timeout, stream_timeout=timeout)
            self._cable.translate(self.port, behaviour, self.outer, seed)

    def add_lan(self, addresses: list[str]) -> None:
        """Makes the inner side a switch to which hosts are plugged; addresses are `ADDRESS/PREFIX`."""
        commands = [f"link add {LAN} type bridge"]
        commands += [f"addr add {address} dev {LAN} nodad" for address in addresses if ":" in address]
        commands += [f"addr add {address} dev {LAN}" for address in addresses if ":" not in address]
        namespace.batch([*commands, f"link set {LAN} up"], self.namespace)

    def add_access(self, segment: str, network: str, address: str) -> None:
        """Makes the inner side a network of the wire, as a carrier's is; everything there leads out through us."""
        self._cable.attach(segment, f"{self.name}.{LAN}", self.namespace, LAN, ["0.0.0.0/0"])
        commands = [f"addr add {address}/32 dev {LAN}", f"link set {LAN} addrgenmode none txqueuelen {QUEUE} up"]
        commands += [f"route add {network} dev {LAN}"]
        namespace.batch(commands, self.namespace)

    def plug(self, host_namespace: str) -> None:
        """Runs a cable to the device `eth0` of a host."""
        device = f"port{self._devices}"
        self._devices += 1
        namespace.batch([f"link add eth0 netns {host_namespace} type veth peer name {device} netns {self.namespace}"])
        namespace.batch([f"link set {device} master {LAN} up"], self.namespace)

    def flush(self) -> None:
        """Loses every mapping, as a router that is rebooted does."""
        namespace.call(self.namespace, namespace.run, ["conntrack", "-F"])
        for collection, name in (("map", "owner"), ("set", "met")):
            if f"{collection} {name}" in ruleset(self.behaviour, self.outer, None, ""):
                command = ["nft", "flush", collection, "ip", "lab", name]
                namespace.call(self.namespace, namespace.run, command)
        if self.engine is Engine.USER:
            self._cable.ask("flush", port=self.port)

    def conntrack_count(self) -> int:
        """Returns how many flows it remembers."""
        if self.engine is Engine.USER:
            return int(self._cable.ask("flows", port=self.port))
        path = Path("/proc/sys/net/netfilter/nf_conntrack_count")
        return int(namespace.call(self.namespace, path.read_text))

    def unplug(self, *, unplugged: bool = True) -> None:
        """Pulls the outer cable, or plugs it in again."""
        self._cable.ask("block", port=self.port, blocked=unplugged)

    def spoof(self, source: Address, target: Address, data: bytes) -> None:
        """Sends it a UDP datagram from outside under a false IPv4 address, as a network without BCP 38 lets one do."""
        self._cable.ask("inject", port=self.port, packet=udp_datagram(source, target, data).hex())

    def counts(self) -> dict[str, int]:
        """Returns the packets at its outer side by fate: `in` to the wire, `out` of it, `lost`, `expired` and more."""
        answer: dict[str, dict[str, int]] = self._cable.ask("counts")
        return answer[self.port]
