"""A laboratory of real NATs: network namespaces, nftables, and a wire with distance and faults between them."""

from ..simnet.kinds import KINDS, RELATIONS, Kind, kind_named
from .conditions import Conditions
from .host import Host
from .lab import Carrier, Lab
from .pairs import Pair, build_pair, pair_names
from .peers import Outcome, Peers
from .router import Router
from .site import Site

__all__ = [
    "KINDS",
    "RELATIONS",
    "Carrier",
    "Conditions",
    "Host",
    "Kind",
    "Lab",
    "Outcome",
    "Pair",
    "Peers",
    "Router",
    "Site",
    "build_pair",
    "kind_named",
    "pair_names",
]
