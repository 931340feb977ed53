"""Ready-made pairs of peers: two sites of given kinds, or two peers that are nearer to each other than that.

The names, and what plain punching can open, are the simulator's (holepunch.testing.simnet.kinds).
"""

from dataclasses import dataclass

from ...errors import ConfigurationError
from ..simnet.kinds import KINDS, RELATIONS, expected
from .host import Host
from .lab import Lab
from .router import Router

_ONE_NETWORK = "192.168.1.0/24"


@dataclass(frozen=True, slots=True)
class Pair:
    """Two peers."""

    name: str
    """`KIND KIND`, or that of a relation."""
    a: Host
    b: Host
    routers: list[Router]
    """What is in the way, from the first peer to the second."""
    opens: bool
    """Whether plain punching can open it."""


def pair_names() -> list[str]:
    """Returns the names of all ordered pairs of kinds, then of the relations."""
    return [f"{a} {b}" for a in KINDS for b in KINDS] + list(RELATIONS)


def build_pair(lab: Lab, name: str) -> Pair:
    """Builds a pair in a laboratory.

    Args:
        lab: where.
        name: `KIND KIND` or a relation: same-lan, common-cgnat, common-cgnat-hairpin, equal-networks.

    Raises:
        ConfigurationError: there is no such pair.
        NetworkError: it cannot be built.
    """
    kinds = name.split()
    if len(kinds) == 2:
        opens = expected(*kinds)
        sites = [lab.site(kind) for kind in kinds]
    elif name == "same-lan":
        site = lab.site("eim-apdf")
        return Pair(name, site.host(), site.host(), [site.router], RELATIONS[name])
    elif name in RELATIONS:
        opens = RELATIONS[name]
        if name == "equal-networks":
            sites = [lab.site("eim-apdf", network=_ONE_NETWORK) for _ in range(2)]
        else:
            carrier = lab.carrier(hairpin=name.endswith("-hairpin"))
            sites = [lab.site("eim-apdf", carrier=carrier) for _ in range(2)]
    else:
        raise ConfigurationError(
            f"no such pair: {name!r}", hint=f"Write two kinds ({', '.join(KINDS)}) or one of {', '.join(RELATIONS)}."
        )
    routers = [router for site in sites for router in site.routers]
    return Pair(name, sites[0].host(), sites[1].host(), list(dict.fromkeys(routers)), opens)
