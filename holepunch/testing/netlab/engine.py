"""Who carries out a NAT's behaviour: the kernel where nftables can, and else a NAT in user space."""

import enum
from dataclasses import asdict
from typing import Any

from ...proto.nat import Allocation, Filtering, Mapping
from ..simnet.behaviour import Behaviour, Unsolicited


class Engine(enum.Enum):
    """Who translates and filters."""

    NONE = "none"
    """Nobody: the router only forwards."""
    KERNEL = "kernel"
    """nftables and conntrack (holepunch.testing.netlab.rules)."""
    USER = "user"
    """holepunch.testing.netlab.usernat."""


def engine_of(behaviour: Behaviour | None) -> Engine:
    """Returns who carries out a behaviour; None only forwards.

    The kernel knows no address-dependent mapping, no sequential ports and no mapping that an unsolicited packet costs.
    Its port-dependent mapping filters by port too.  It could hairpin, but not by the outer source port (RFC 4787,
    REQ-9) when two inside hosts use the same one.
    """
    if behaviour is None:
        return Engine.NONE
    if behaviour.mapping is Mapping.NONE:
        return Engine.KERNEL
    if behaviour.hairpin or behaviour.unsolicited in (Unsolicited.FORGET, Unsolicited.MOVE):
        return Engine.USER
    if behaviour.mapping is Mapping.ENDPOINT_INDEPENDENT and behaviour.allocation is Allocation.PRESERVING:
        return Engine.KERNEL
    to_ports = (
        behaviour.mapping is Mapping.ADDRESS_AND_PORT_DEPENDENT
        and behaviour.filtering is Filtering.ADDRESS_AND_PORT_DEPENDENT
    )
    return Engine.KERNEL if to_ports and behaviour.allocation is Allocation.RANDOM else Engine.USER


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
