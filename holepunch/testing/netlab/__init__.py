"""A laboratory of real NATs: network namespaces, nftables, and a wire with distance and faults between them."""

from ..simnet.kinds import KINDS, RELATIONS, Kind, expected, kind_named
from .conditions import Conditions
from .host import Host
from .lab import Carrier, Lab
from .pairs import Pair, build_pair, pair_names
from .peers import Acceptor, Outcome, Peers
from .router import Router
from .site import Site

__all__ = [
    "KINDS",
    "RELATIONS",
    "Acceptor",
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
    "expected",
    "kind_named",
    "pair_names",
]
