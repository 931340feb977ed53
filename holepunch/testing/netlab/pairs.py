"""Ready-made pairs of peers: two sites of given kinds, or two peers that are nearer to each other than that.

The names, and what plain punching can open, are the simulator's (holepunch.testing.simnet.kinds).
"""

from collections.abc import Sequence
from dataclasses import dataclass

from ...errors import ConfigurationError
from ..simnet.kinds import KINDS, RELATIONS, expected, kind_named
from .host import Host
from .lab import Lab
from .router import Router
from .site import Site

RELATION_SUMMARIES = {
    "same-lan": "two hosts on one LAN",
    "common-cgnat-hairpin": "two homes behind one carrier's NAT, which hairpins",
    "common-cgnat": "two homes behind one carrier's NAT, which does not hairpin",
    "equal-networks": "two homes with the same private network and the same addresses in it",
}
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


def check_names(names: Sequence[str]) -> None:
    """Checks that sites of these names can be built together.

    Raises:
        ConfigurationError: a name is neither a kind nor a relation, or a relation is not alone.
    """
    for name in names:
        if name not in RELATIONS:
            kind_named(name)
        elif len(names) > 1:
            raise ConfigurationError(f"{name!r} is a pair in itself and stands alone")


def build_sites(lab: Lab, names: Sequence[str]) -> list[Site]:
    """Builds sites with their hosts: one of each kind, or those of a relation.

    Raises:
        ConfigurationError: see check_names.
        NetworkError: they cannot be built.
    """
    check_names(names)
    relation = names[0] if names and names[0] in RELATIONS else ""
    if not relation:
        sites = [lab.site(name) for name in names]
    elif relation == "same-lan":
        sites = [lab.site("eim-apdf")]
        sites[0].host()
    elif relation == "equal-networks":
        sites = [lab.site("eim-apdf", network=_ONE_NETWORK) for _ in range(2)]
    else:
        carrier = lab.carrier(hairpin=relation == "common-cgnat-hairpin")
        sites = [lab.site("eim-apdf", carrier=carrier) for _ in range(2)]
    for site in sites:
        site.host()
    return sites


def build_pair(lab: Lab, name: str) -> Pair:
    """Builds a pair.

    Args:
        lab: where.
        name: `KIND KIND` or a relation.

    Raises:
        ConfigurationError: there is no such pair.
        NetworkError: it cannot be built.
    """
    names = name.split()
    opens = RELATIONS.get(name)
    if opens is None:
        if len(names) != 2:
            raise ConfigurationError(f"no such pair: {name!r}", hint=f"Two kinds, or one of {', '.join(RELATIONS)}.")
        opens = expected(*names)
    sites = build_sites(lab, names)
    hosts = [host for site in sites for host in site.hosts]
    routers = [router for site in sites for router in site.routers]
    return Pair(name, hosts[0], hosts[1], list(dict.fromkeys(routers)), opens)
