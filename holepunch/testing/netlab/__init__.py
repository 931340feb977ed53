"""A laboratory of real NATs: network namespaces, nftables, and a wire with distance and faults between them."""

from ..simnet.kinds import KINDS, Kind, kind_named
from .conditions import Conditions
from .host import Host
from .lab import Carrier, Lab
from .pairs import Pair, build_pair, pair_names
from .router import Router
from .site import Site

__all__ = [
    "KINDS",
    "Carrier",
    "Conditions",
    "Host",
    "Kind",
    "Lab",
    "Pair",
    "Router",
    "Site",
    "build_pair",
    "kind_named",
    "pair_names",
]
