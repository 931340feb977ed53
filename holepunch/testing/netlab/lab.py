"""An internet on one machine: hosts behind real NATs, and a wire with distance and faults between them.

    with Lab(rtt=0.04, loss=0.02) as lab:
        home, office = lab.site("eim-apdf"), lab.site("random-apdf")
        print(home.host().run(["ping", "-c1", lab.public().address]).stdout)

Each host and each router is a network namespace, so the commands, sockets, routes and NATs in it are
the kernel's own.  Needs root.  Everything is removed at the end of the block, also after Ctrl-C; after
a kill the wire removes it, and after a kill of both the next laboratory does.
"""

import itertools
import os
import subprocess
import sys
from dataclasses import replace
from types import TracebackType
from typing import Any, Self

from ...errors import ConfigurationError, NetworkError
from ...proto.address import format_address
from ..simnet.behaviour import Behaviour
from ..simnet.kinds import Kind, kind_named
from . import namespace
from .cable import Cable, ensure_tun
from .conditions import LARGEST_MTU, Conditions
from .host import Host
from .plan import CARRIER_NETWORK, SITES, SitePlan, carrier_hops, core_hops
from .router import Router
from .site import Site

CORE = "core"
CORE_HOPS = 10  # routers between two sites; what a traceroute across a continent shows
CARRIER_HOPS = 3
STUN_PORT = 3478
_numbers = itertools.count(1)


class Carrier:
    """A provider whose NAT several sites share.

    Attributes:
        router: its NAT.
        segment: the wire's name for the network between it and its subscribers.
    """

    def __init__(self, router: Router, segment: str) -> None:
        self.router = router
        self.segment = segment


class Lab:
    """One laboratory; use it in a `with` block.

    Args:
        rtt: seconds of round trip between two sites.
        jitter, loss, reorder, duplicate, mtu: see Conditions; each applies in each direction.
        core_hops: routers between two sites, not counting their own.
        seed: of chance on the wire and in user-space NATs; None: another each time.

    Raises:
        ConfigurationError: we are not root, or the kernel lacks something.
    """

    def __init__(
        self,
        *,
        rtt: float = 0.04,
        jitter: float = 0.0,
        loss: float = 0.0,
        reorder: float = 0.0,
        duplicate: float = 0.0,
        mtu: int = LARGEST_MTU,
        core_hops: int = CORE_HOPS,
        seed: int | None = None,
    ) -> None:
        self.conditions = Conditions(
            delay=rtt / 2, jitter=jitter, loss=loss, reorder=reorder, duplicate=duplicate, mtu=mtu
        )
        self.sites: list[Site] = []
        self.carriers: list[Carrier] = []
        self.prefix = namespace.lab_prefix(next(_numbers))
        self._core_hops = core_hops
        self._seed = seed
        self._servers: Site | None = None
        self._stun: list[str] = []
        self._used = 0
        self._cable: Cable | None = None

    def __enter__(self) -> Self:
        ensure_possible()
        namespace.remove_stale()
        self._cable = Cable(self.prefix)
        try:
            if self._seed is not None:
                self._cable.ask("seed", seed=self._seed)
            self._cable.segment(CORE, self.conditions, core_hops(self._core_hops))
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Ends every process in the laboratory and removes it; harmless when it is gone."""
        try:
            for site in [*self.sites, *([self._servers] if self._servers else [])]:
                for host in site.hosts:
                    host.stop()
        finally:
            namespace.remove(self.prefix)
            if self._cable is not None:
                self._cable.close()
                self._cable = None

    @property
    def cable(self) -> Cable:
        """The control of the wire.

        Raises:
            NetworkError: the laboratory is not open.
        """
        if self._cable is None:
            raise NetworkError("the laboratory is not open: use it in a `with` block")
        return self._cable

    def site(
        self,
        kind: str | Kind = "eim-apdf",
        *,
        name: str = "",
        network: str = "",
        ipv6: str | None = None,
        mapping_timeout: float | None = None,
        carrier: Carrier | None = None,
        conditions: Conditions | None = None,
    ) -> Site:
        """Builds a site: a router of a kind, to which hosts are added.

        Args:
            kind: its NAT, see KINDS.
            name: for its hosts and namespaces; a letter by default.
            network: its private network, `192.168.1.0/24`; may be another site's too.
            ipv6: `firewall`, `open` or empty; None: as the kind says.
            mapping_timeout: seconds a UDP mapping lives unused; None: 30, and 120 for a stream, as on Linux.
            carrier: whose NAT it is behind; None: as the kind says.
            conditions: of its way to the others, in place of the laboratory's.

        Raises:
            ConfigurationError: there is no such kind.
            NetworkError: it cannot be built.
        """
        what = kind_named(kind) if isinstance(kind, str) else kind
        if carrier is None and what.carrier is not None:
            carrier = self.carrier(what.carrier)
        plan = self._next_plan()
        site = Site(
            self.cable,
            self.prefix,
            name or _letters(len(self.sites)),
            what,
            plan,
            network=network,
            ipv6=("firewall" if what.ipv6 else "") if ipv6 is None else ipv6,
            timeout=mapping_timeout,
            segment=carrier.segment if carrier else CORE,
            carrier=carrier.router if carrier else None,
            seed=self._seed_for(plan),
        )
        self.sites.append(site)
        if conditions is not None:
            self.cable.ask("conditions", name=site.router.port, conditions=conditions.to_dict())
        return site

    def carrier(
        self, kind: str | Behaviour = "eim-apdf", *, hops: int = CARRIER_HOPS, hairpin: bool = False
    ) -> Carrier:
        """Builds a carrier's NAT (CGNAT) that sites can be put behind.

        Args:
            kind: its NAT, by the name of a kind of site, or in detail.
            hops: routers between the subscribers and the NAT.
            hairpin: whether subscribers reach each other by their outer endpoints.

        Raises:
            ConfigurationError: there is no such kind.
            NetworkError: it cannot be built.
        """
        behaviour = kind if isinstance(kind, Behaviour) else kind_named(kind).ipv4
        if hairpin and behaviour is not None:
            # Where two inside endpoints share an outer one, it does not say which of them is meant.
            behaviour = behaviour.but(hairpin=True, overloading=False)
        plan = self._next_plan()
        name = f"carrier{len(self.carriers) + 1}"
        router = Router(self.cable, name, f"{self.prefix}{name}", behaviour, plan.outer)
        router.build(CORE, [f"{plan.outer}/32"], timeout=None, outer6="", ipv6="", seed=self._seed_for(plan))
        # A few milliseconds to the provider, which count in addition to the way through the core.
        access = Conditions(delay=0.002)
        self.cable.segment(name, access, carrier_hops(plan.number, hops))
        router.add_access(name, CARRIER_NETWORK, "100.64.0.1")
        carrier = Carrier(router, name)
        self.carriers.append(carrier)
        return carrier

    @property
    def servers(self) -> Site:
        """The site of the public servers; it is built when first asked for."""
        if self._servers is None:
            plan = self._next_plan()
            self._servers = Site(
                self.cable, self.prefix, "servers", kind_named("public"), plan, ipv6="open", segment=CORE, seed=0
            )
        return self._servers

    def public(self, name: str = "", *, addresses: int = 1) -> Host:
        """Adds a server with public addresses, and IPv6, that nothing is in front of."""
        return self.servers.host(name or f"server{len(self.servers.hosts) + 1}", addresses=addresses)

    @property
    def stun(self) -> list[str]:
        """STUN servers, `HOST:PORT`: the two addresses of one that knows RFC 5780, and a plain one.

        They are started when they are first asked for.

        Raises:
            NetworkError: they cannot be.
        """
        self._start_stun()
        return self._stun[:3]

    @property
    def stun6(self) -> list[str]:
        """A STUN server over IPv6, `[HOST]:PORT`; started like the others."""
        self._start_stun()
        return self._stun[3:]

    def _start_stun(self) -> None:
        if self._stun:
            return
        full, plain = self.public("stun", addresses=2), self.public("stun2")
        wanted = [(full, [full.addresses[0], "--other-address", full.addresses[1]])]
        wanted += [(plain, [plain.address]), (full, [full.addresses6[0]])]
        program = [sys.executable, "-m", "holepunch.testing.stunserver", "--port", str(STUN_PORT), "--address"]
        processes = [host.popen([*program, *arguments], stdout=subprocess.PIPE) for host, arguments in wanted]
        for process in processes:
            if process.stdout is None or process.stdout.readline().strip() != "ready":
                raise NetworkError(f"the laboratory's STUN server ended with status {process.wait()}")
        addresses = [*full.addresses, plain.address, *full.addresses6]
        self._stun = [format_address((address, STUN_PORT)) for address in addresses]

    def change(self, **changes: float) -> None:
        """Changes conditions of the core from now on: `lab.change(loss=0.5)`."""
        self.conditions = replace(self.conditions, **changes)  # type: ignore[arg-type]
        self.cable.ask("conditions", name=CORE, conditions=self.conditions.to_dict())

    def counts(self) -> dict[str, dict[str, int]]:
        """Returns packets by fate, for each side of each router that leads to the wire."""
        answer: dict[str, dict[str, int]] = self.cable.ask("counts")
        return answer

    def describe(self) -> dict[str, Any]:
        """Returns what there is, for people and as JSON."""
        sites = [*self.sites, *([self._servers] if self._servers else [])]
        return {
            "conditions": self.conditions.to_dict(),
            "stun": self._stun,
            "sites": [site.describe() for site in sites],
        }

    def _next_plan(self) -> SitePlan:
        self._used += 1
        if self._used > SITES:
            raise NetworkError(f"a laboratory has {SITES} sites at most")
        return SitePlan(self._used)

    def _seed_for(self, plan: SitePlan) -> int:
        """Returns the luck of a NAT: of its own, but always the same where the laboratory has a seed."""
        return hash((self._seed, plan.number)) if self._seed is not None else hash((self.prefix, plan.number))


def _letters(number: int) -> str:
    """Returns a, b ... z, a1, b1 ..."""
    return chr(ord("a") + number % 26) + (str(number // 26) if number >= 26 else "")


def ensure_possible() -> None:
    """Checks that a laboratory can be built here.

    Raises:
        ConfigurationError: we are not root, or the kernel lacks TUN devices.
    """
    ensure_tun()
    if os.geteuid() != 0:
        raise ConfigurationError("the laboratory makes network namespaces, which needs root", hint="Run it with sudo.")
