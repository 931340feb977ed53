"""What our NATs do, and who can reach us: the probe machines on real sockets, both address families at once.

    report = await probe(["stun.example.org", "192.0.2.1:3478"])
    print(report.reach, report.families[0].found.nat)

Evidence orders what holepunch tries and never forbids it; so this is for people, and for `doctor`.
"""

import asyncio
import enum
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, is_dataclass, replace
from functools import partial
from typing import Any, TypeVar

from .errors import NetworkError
from .log import get_logger
from .net.classic import ClassicOpinion, classic_opinion, require_pystun3
from .net.driver import Driver
from .net.interfaces import interfaces, source_address
from .net.resolve import resolve
from .proto.address import format_address, is_ipv6
from .proto.machine import Address, SocketMachine
from .proto.nat import Filtering, Mapping, NatReport
from .proto.stun.behaviour import BehaviourProbe
from .proto.stun.findings import BehaviourFound
from .proto.stun.lifetime import LifetimeFound, LifetimeProbe

log = get_logger("probe")

STUN_PORT = 3478  # RFC 8489, section 18.6
RESOLVE_TIMEOUT = 2.0  # seconds; names are looked up side by side
TIME_LIMIT = 60.0  # seconds for one family; all steps together take about 2
LIFETIME_LIMIT = 400.0  # seconds; the oldest mapping that is tried is 300 s old

_Result = TypeVar("_Result")


class Reach(enum.Enum):
    """Which peers can have a direct path to us."""

    EVERYONE = "everyone"
    """All that can send UDP: nothing filters."""
    MOST = "most"
    """All but those behind a NAT with dependent mapping and strict filtering, and these with luck."""
    SOME = "some"
    """Those that let us in by any port of ours; others with luck."""
    RELAY = "relay"
    """None: UDP does not come back."""
    UNKNOWN = "unknown"
    """Too few servers answered to tell."""


def reach_of(nat: NatReport) -> Reach:
    """Tells who can reach a host behind such NATs, once both sides try.

    Args:
        nat: what is known; filtering may be unknown.
    """
    if nat.mapping is Mapping.UNKNOWN:
        return Reach.UNKNOWN
    if nat.mapping.is_dependent:
        return Reach.SOME
    return Reach.EVERYONE if nat.filtering is Filtering.ENDPOINT_INDEPENDENT else Reach.MOST


@dataclass(frozen=True, slots=True, kw_only=True)
class FamilyReport:
    """All that was found for one address family."""

    family: int
    """4 or 6."""
    source: str
    """Our own address on the way out."""
    found: BehaviourFound
    lifetime: LifetimeFound | None = None
    """None where it was not asked for."""
    classic: ClassicOpinion | None = None
    """None where it was not asked for."""

    @property
    def answered(self) -> bool:
        """Whether any STUN server answered."""
        return self.found.outer is not None

    @property
    def reach(self) -> Reach:
        """Who can reach us by this family."""
        return reach_of(self.found.nat) if self.answered else Reach.RELAY

    def to_json(self) -> dict[str, Any]:
        """Returns every field, and what follows from them; addresses as `host:port` text."""
        found: dict[str, Any] = _plain(self.found)
        mapping, _ = found.pop("mapping"), found.pop("allocation")  # which are summed up in `nat`
        return {
            "family": found.pop("family"),
            "reach": self.reach.value,
            "source": self.source,
            "outer": _plain(self.found.outer),
            "preserves_port": self.found.preserves_port,
            "nat": found.pop("nat"),
            "mapping_is_exact": mapping["is_exact"],
            "dissenting": mapping["dissenting"],
            **found,
            "lifetime": _plain(self.lifetime),
            "classic": _plain(self.classic),
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class ProbeReport:
    """What a probe found."""

    families: tuple[FamilyReport, ...]
    """IPv4 before IPv6; a family that has no route to any server is left out."""
    unresolved: tuple[tuple[str, str], ...]
    """(server, why its name has no address)."""
    elapsed: float
    """Seconds."""

    @property
    def answered(self) -> bool:
        """Whether any STUN server answered."""
        return any(family.answered for family in self.families)

    @property
    def reach(self) -> Reach:
        """Who can reach us: by IPv4 where that works, since every peer has it."""
        return next((family.reach for family in self.families if family.answered), Reach.RELAY)

    def to_json(self) -> dict[str, Any]:
        """Returns every field, and what follows from them; addresses as `host:port` text."""
        out: dict[str, Any] = {"reach": self.reach.value, **_plain(self)}
        out["families"] = [family.to_json() for family in self.families]
        return out


async def probe(
    servers: Sequence[str],
    *,
    lifetime: bool = False,
    classic: bool = False,
    on_event: Callable[[int, object], None] = lambda _family, _event: None,
) -> ProbeReport:
    """Finds out what our NATs do.

    Args:
        servers: STUN servers, HOST[:PORT].
        lifetime: whether to measure how long an idle mapping lives: takes up to five minutes.
        classic: whether to ask pystun3 as well.
        on_event: is told of the machines' events: (family, StepBegun | AgeReached | ...).

    Raises:
        ConfigurationError: a server is not HOST[:PORT], or `classic` needs a library that is not there.
        NetworkError: there is no STUN server to ask, or no name has an address.
    """
    if classic:
        require_pystun3()
    if not servers:
        raise NetworkError("there is no STUN server to ask", hint="Name one: --stun HOST[:PORT].")
    loop = asyncio.get_running_loop()
    began = loop.time()
    addresses, unresolved = await _resolve_all(servers)
    if not addresses:
        sentence = f"no STUN server has an address: {unresolved[0][1]}" if unresolved else "no STUN server is known"
        raise NetworkError(sentence, hint="Check that DNS works here, or name one by address: --stun IP[:PORT].")
    own_hosts = frozenset(interface.host for interface in interfaces())

    async def one(family: int) -> FamilyReport | None:
        of_family = [address for address in addresses if is_ipv6(address[0]) == (family == 6)]
        source = next((host for address in of_family if (host := source_address(address))), None)
        if source is None:
            return None
        hosts = own_hosts | {source}
        found = await _find_behaviour(family, of_family, hosts, partial(on_event, family))
        # Servers with a second address know RFC 5780 best; else the nearest.
        answers = sorted((a for a in found.servers if a.mapped), key=lambda a: (a.other is None, a.rtt))
        idle: LifetimeFound | None = None
        opinion: ClassicOpinion | None = None
        if lifetime and answers:
            idle = await _find_lifetime(family, answers[0].server, partial(on_event, family))
            found = replace(found, nat=replace(found.nat, lifetime=idle.alive))
        if classic and answers and family == 4:
            opinion = await classic_opinion(answers[0].server, source)
        return FamilyReport(family=family, source=source, found=found, lifetime=idle, classic=opinion)

    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(one(family)) for family in (4, 6)]
    except BaseExceptionGroup as errors:
        raise errors.exceptions[0] from errors  # one sentence is for a person; the other family fails alike
    families = tuple(report for task in tasks if (report := task.result()) is not None)
    return ProbeReport(families=families, unresolved=tuple(unresolved), elapsed=loop.time() - began)


async def _resolve_all(servers: Sequence[str]) -> tuple[list[Address], list[tuple[str, str]]]:
    """Looks all servers up: (one address of each family for each server, failures)."""
    results = await asyncio.gather(
        *(resolve(server, STUN_PORT, timeout=RESOLVE_TIMEOUT) for server in servers), return_exceptions=True
    )
    addresses: list[Address] = []
    unresolved: list[tuple[str, str]] = []
    for server, result in zip(servers, results, strict=True):
        if isinstance(result, NetworkError):
            unresolved.append((server, str(result)))
        elif isinstance(result, BaseException):
            raise result
        else:
            for six in (False, True):
                addresses += [address for address in result if is_ipv6(address[0]) == six][:1]
    return addresses, unresolved


async def _find_behaviour(
    family: int, servers: list[Address], own_hosts: frozenset[str], on_event: Callable[[object], None]
) -> BehaviourFound:
    machine = BehaviourProbe(servers, os.urandom, family=family, own_hosts=own_hosts)
    machine.start(asyncio.get_running_loop().time())
    found = await _drive(machine, BehaviourFound, TIME_LIMIT, on_event)
    log.info("behaviour found", family=family, mapping=found.nat.mapping.value, filtering=found.nat.filtering.value)
    return found


async def _find_lifetime(family: int, server: Address, on_event: Callable[[object], None]) -> LifetimeFound:
    machine = LifetimeProbe(server, os.urandom, family=family)
    machine.start(asyncio.get_running_loop().time())
    return await _drive(machine, LifetimeFound, LIFETIME_LIMIT, on_event)


async def _drive(
    machine: SocketMachine, last: type[_Result], limit: float, on_event: Callable[[object], None]
) -> _Result:
    """Drives a machine to its last event."""
    driver = Driver(machine)
    try:
        async with asyncio.timeout(limit):
            async for event in driver:
                if isinstance(event, last):
                    return event
                on_event(event)
    except TimeoutError as error:
        raise NetworkError(f"the probe has not ended after {limit:g} s") from error
    finally:
        driver.close()
    raise NetworkError("the probe was stopped")


def _plain(value: object) -> Any:
    """Returns a value as JSON knows it; an address (host, port) as text."""
    if is_dataclass(value) and not isinstance(value, type):
        return {field.name: _plain(getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, enum.Enum):
        return value.value
    if isinstance(value, tuple) and len(value) == 2 and isinstance(value[0], str) and isinstance(value[1], int):
        return format_address((value[0], value[1]))
    if isinstance(value, dict):
        return {_plain(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return round(value, 6) if isinstance(value, float) else value
