"""An internet in memory: virtual time, NATs by RFC 4787, and the same run for the same seed."""

from .attempt import Outcome, Scene, attempt, finish, prepare
from .behaviour import FIREWALL, LINUX, Behaviour, Unsolicited
from .clock import Clock
from .driver import SimDriver
from .host import Host, SimSocket
from .internet import LAN_LINK, Internet
from .kinds import KINDS, RELATIONS, Kind, expected
from .link import Link
from .mediator import SimMediator
from .nat import Nat
from .network import Attachment, Network
from .peer import SimPeer, SimSession
from .stun import StunServer
from .table import Counters
from .topologies import Conditions, World, build, build_relation
from .trace import Trace

__all__ = [
    "FIREWALL",
    "KINDS",
    "LAN_LINK",
    "LINUX",
    "RELATIONS",
    "Attachment",
    "Behaviour",
    "Clock",
    "Conditions",
    "Counters",
    "Host",
    "Internet",
    "Kind",
    "Link",
    "Nat",
    "Network",
    "Outcome",
    "Scene",
    "SimDriver",
    "SimMediator",
    "SimPeer",
    "SimSession",
    "SimSocket",
    "StunServer",
    "Trace",
    "Unsolicited",
    "World",
    "attempt",
    "build",
    "build_relation",
    "expected",
    "finish",
    "prepare",
]
