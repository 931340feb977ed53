"""An internet in memory: virtual time, NATs by RFC 4787, and the same run for the same seed."""

from .behaviour import FIREWALL, LINUX, Behaviour, Unsolicited
from .clock import Clock
from .driver import SimDriver
from .host import Host, SimSocket
from .internet import LAN_LINK, Internet
from .link import Link
from .mediator import SimMediator
from .nat import Nat
from .network import Attachment, Network
from .table import Counters
from .trace import Trace

__all__ = [
    "FIREWALL",
    "LAN_LINK",
    "LINUX",
    "Attachment",
    "Behaviour",
    "Clock",
    "Counters",
    "Host",
    "Internet",
    "Link",
    "Nat",
    "Network",
    "SimDriver",
    "SimMediator",
    "SimSocket",
    "Trace",
    "Unsolicited",
]
