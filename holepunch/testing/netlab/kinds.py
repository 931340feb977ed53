"""The kinds of sites the laboratory knows, in the words of RFC 4787.

Most are rulesets of the kernel's own NAT.  What the kernel cannot do (address-dependent mapping,
sequential ports, a mapping that an unsolicited packet costs) is done at the same place by a NAT in
user space, with the table of the simulator's NATs (holepunch.testing.simnet).
"""

import enum
from dataclasses import asdict, dataclass, replace
from typing import Any

from ...errors import ConfigurationError
from ...proto.nat import Allocation, Filtering, Mapping
from ..simnet.behaviour import Behaviour, Unsolicited


class Engine(enum.Enum):
    """Who translates and filters."""

    NONE = "none"
    """Nobody: the router only forwards."""
    KERNEL = "kernel"
    """nftables and conntrack."""
    USER = "user"
    """holepunch.testing.netlab.usernat."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """How the router of a site treats its hosts' packets."""

    name: str
    summary: str
    engine: Engine
    behaviour: Behaviour | None
    """How it treats IPv4; None: it only forwards."""
    carrier: str = ""
    """Kind of the carrier's NAT in front of the site's own; empty where there is none."""
    ipv6: str = ""
    """`firewall` where the site has global IPv6 addresses behind a stateful firewall, `open` without one."""

    def with_hairpin(self) -> "Kind":
        """Returns this kind with a NAT in user space that also hairpins."""
        if self.behaviour is None:
            raise ConfigurationError(f"a site of kind {self.name} has no NAT that could hairpin")
        # Where two inside endpoints share an outer one, it does not say which of them is meant.
        behaviour = self.behaviour.but(hairpin=True, overloading=False, unsolicited=Unsolicited.DROP)
        return replace(self, engine=Engine.USER, behaviour=behaviour)


_NONE, _EI = Mapping.NONE, Mapping.ENDPOINT_INDEPENDENT
_AD, _APD = Mapping.ADDRESS_DEPENDENT, Mapping.ADDRESS_AND_PORT_DEPENDENT
_F_EI, _F_AD = Filtering.ENDPOINT_INDEPENDENT, Filtering.ADDRESS_DEPENDENT
_F_APD = Filtering.ADDRESS_AND_PORT_DEPENDENT
_FULL_CONE = Behaviour(filtering=_F_EI)
_RESTRICTED_CONE = Behaviour(filtering=_F_AD)
_LINUX = Behaviour(overloading=True)

_ALL = [
    Kind(name="public", engine=Engine.NONE, behaviour=None, summary="public addresses, nothing in the way"),
    Kind(
        name="firewall",
        engine=Engine.KERNEL,
        behaviour=Behaviour(mapping=_NONE),
        summary="public addresses behind a stateful firewall",
    ),
    Kind(
        name="eim-eif",
        engine=Engine.KERNEL,
        behaviour=_FULL_CONE,
        summary="one outer port, open to everybody (full cone)",
    ),
    Kind(
        name="eim-adf",
        engine=Engine.KERNEL,
        behaviour=_RESTRICTED_CONE,
        summary="one outer port, open to the hosts sent to (restricted cone)",
    ),
    Kind(
        name="eim-apdf",
        engine=Engine.KERNEL,
        behaviour=_LINUX,
        summary="one outer port, open to the endpoints sent to (port-restricted cone): most homes",
    ),
    Kind(
        name="clash",
        engine=Engine.KERNEL,
        behaviour=_LINUX.but(unsolicited=Unsolicited.CLASH),
        summary="like eim-apdf, but INPUT accepts: a packet that comes too early moves the outer port",
    ),
    Kind(
        name="strict",
        engine=Engine.USER,
        behaviour=Behaviour(unsolicited=Unsolicited.MOVE),
        summary="like eim-apdf, but an unsolicited packet costs the mapping",
    ),
    Kind(
        name="sequential-adf",
        engine=Engine.USER,
        behaviour=Behaviour(mapping=_APD, filtering=_F_AD, allocation=Allocation.SEQUENTIAL),
        summary="the next outer port per destination, open to the hosts sent to",
    ),
    Kind(
        name="sequential-apdf",
        engine=Engine.USER,
        behaviour=Behaviour(mapping=_APD, allocation=Allocation.SEQUENTIAL),
        summary="the next outer port per destination (symmetric)",
    ),
    Kind(
        name="random-adf",
        engine=Engine.USER,
        behaviour=Behaviour(mapping=_APD, filtering=_F_AD, allocation=Allocation.RANDOM),
        summary="a random outer port per destination, open to the hosts sent to",
    ),
    Kind(
        name="random-apdf",
        engine=Engine.KERNEL,
        behaviour=_LINUX.but(mapping=_APD, allocation=Allocation.RANDOM),
        summary="a random outer port per destination (symmetric)",
    ),
    Kind(
        name="adm-apdf",
        engine=Engine.USER,
        behaviour=Behaviour(mapping=_AD, allocation=Allocation.RANDOM),
        summary="a random outer port per destination host (address-dependent mapping)",
    ),
    Kind(
        name="double",
        engine=Engine.KERNEL,
        behaviour=_LINUX,
        carrier="eim-apdf",
        summary="a home NAT behind a provider's NAT",
    ),
    Kind(
        name="ipv6",
        engine=Engine.KERNEL,
        behaviour=_LINUX.but(mapping=_APD, allocation=Allocation.RANDOM),
        ipv6="firewall",
        summary="global IPv6 behind a stateful firewall, and symmetric IPv4",
    ),
]

KINDS: dict[str, Kind] = {kind.name: kind for kind in _ALL}


def kind_named(name: str) -> Kind:
    """Returns the kind of that name.

    Raises:
        ConfigurationError: there is none.
    """
    try:
        return KINDS[name]
    except KeyError:
        raise ConfigurationError(f"no such kind of site: {name!r}", hint=f"Kinds: {', '.join(KINDS)}.") from None


def behaviour_to_dict(behaviour: Behaviour) -> dict[str, Any]:
    """Returns the fields of a behaviour, as JSON carries them."""
    return {name: value.value if isinstance(value, enum.Enum) else value for name, value in asdict(behaviour).items()}


def behaviour_from_dict(values: dict[str, Any]) -> Behaviour:
    """Reads what behaviour_to_dict returned."""
    enums: dict[str, Any] = {
        "mapping": Mapping,
        "filtering": Filtering,
        "allocation": Allocation,
        "unsolicited": Unsolicited,
    }
    return Behaviour(**{name: enums[name](value) if name in enums else value for name, value in values.items()})
