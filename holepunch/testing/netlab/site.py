"""A site of the laboratory: a router and the hosts behind it, on one LAN."""

import ipaddress
from typing import Any

from ...proto.nat import Mapping
from ..simnet.kinds import Kind
from . import namespace
from .cable import Cable
from .host import Host
from .plan import SitePlan
from .router import Router, write_settings


class Site:
    """One site.

    Attributes:
        name: its name in the laboratory.
        kind: what its router does.
        router: its router.
        carrier: the carrier's NAT in front of it, if any.
        hosts: its hosts, in the order they were added.
    """

    def __init__(
        self,
        cable: Cable,
        prefix: str,
        name: str,
        kind: Kind,
        plan: SitePlan,
        *,
        segment: str,
        seed: int,
        network: str = "",
        ipv6: str = "",
        timeout: float | None = None,
        carrier: Router | None = None,
    ) -> None:
        self.name = name
        self.kind = kind
        self.carrier = carrier
        self.hosts: list[Host] = []
        self._prefix = prefix
        routed = kind.ipv4 is None or kind.ipv4.mapping is Mapping.NONE
        self._networks = [plan.routed, plan.other_routed] if routed else [network or plan.private]
        self._network6 = plan.routed6 if ipv6 else ""
        outer = plan.subscriber if carrier else plan.outer
        self.router = Router(cable, f"{name}.router", f"{prefix}{name}.router", kind.ipv4, outer)
        reached = [f"{outer}/32", *(self._networks if routed else [])]
        if ipv6:
            reached += [f"{plan.outer6}/128", plan.routed6]
        self.router.build(segment, reached, timeout=timeout, outer6=plan.outer6 if ipv6 else "", ipv6=ipv6, seed=seed)
        self.router.add_lan([_nth(each, 1) for each in [*self._networks, *self._inner6]])

    @property
    def routers(self) -> list[Router]:
        """What stands between its hosts and the core, the nearest first."""
        return [self.router, *([self.carrier] if self.carrier else [])]

    @property
    def _inner6(self) -> list[str]:
        return [self._network6] if self._network6 else []

    def host(self, name: str = "", *, addresses: int = 1) -> Host:
        """Adds a host.

        Args:
            name: for people; `host`, `host2` ... by default.
            addresses: how many IPv4 addresses it has; a second one is from another network, where the site has two.

        Raises:
            NetworkError: it cannot be built.
        """
        place = len(self.hosts) + 2
        full = f"{self.name}.{name or ('host' if place == 2 else f'host{place - 1}')}"
        inside = f"{self._prefix}{full}"
        networks = (self._networks * addresses)[:addresses]
        four = [_nth(each, place + 100 * (n // len(self._networks))) for n, each in enumerate(networks)]
        six = [_nth(each, place) for each in self._inner6]
        namespace.batch([f"netns add {inside}"])
        namespace.call(inside, write_settings, {"net/ipv6/conf/default/accept_dad": "0"})
        self.router.plug(inside)
        commands = ["link set lo up", "link set eth0 up"]
        commands += [f"addr add {address} dev eth0" for address in four]
        commands += [f"addr add {address} dev eth0 nodad" for address in six]
        commands += [f"route add default via {_bare(_nth(self._networks[0], 1))}"]
        commands += [f"route add ::/0 via {_bare(_nth(each, 1))}" for each in self._inner6]
        namespace.batch(commands, inside)
        host = Host(full, inside, [_bare(address) for address in four], [_bare(address) for address in six])
        self.hosts.append(host)
        return host

    def describe(self) -> dict[str, Any]:
        """Returns what there is, as JSON carries it."""
        return {
            "name": self.name,
            "kind": self.kind.name,
            "outer": self.router.outer,
            "router": self.router.namespace,
            "hosts": [
                {"name": host.name, "namespace": host.namespace, "addresses": [*host.addresses, *host.addresses6]}
                for host in self.hosts
            ],
        }


def _nth(network: str, place: int) -> str:
    """Returns the address at a place in a network, with its prefix length."""
    parsed = ipaddress.ip_network(network)
    return f"{parsed[place]}/{parsed.prefixlen}"


def _bare(address: str) -> str:
    return address.partition("/")[0]
