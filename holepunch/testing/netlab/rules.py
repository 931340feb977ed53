"""nftables rulesets that make a router behave as a kind says.

Every router drops unsolicited packets in its own INPUT, except where the kind is to clash.  A packet
that INPUT accepts becomes a flow of the router's own, which takes the outer tuple: our host's next
packet to that peer then leaves by another port.
"""

from ...proto.nat import Allocation, Filtering, Mapping
from ..simnet.behaviour import Behaviour, Unsolicited
from .engine import Engine, engine_of

_MAPPING_TIMEOUT = 300  # seconds; RFC 4787, REQ-5 recommends 5 minutes


def ruleset(behaviour: Behaviour | None, outer: str, timeout: float | None, ipv6: str) -> str:
    """Returns the nft input for a router with the devices `lan` and `wan`.

    Args:
        behaviour: how it treats IPv4; one that the kernel cannot do gives no rules.
        outer: its outer IPv4 address.
        timeout: seconds for which a mapping with an open filter lives unused; None: five minutes.
        ipv6: `firewall`, `open` or empty.
    """
    tables = []
    if behaviour is not None and engine_of(behaviour) is Engine.KERNEL:
        firewall = behaviour.mapping is Mapping.NONE
        tables.append(_firewall() if firewall else _nat(behaviour, outer, timeout))
    if ipv6 == "firewall":
        tables.append(_IPV6_FIREWALL)
    return "\n".join(tables)


def _input(policy: str) -> str:
    return f"""
  chain input {{
    type filter hook input priority 0; policy {policy};
    iifname != "wan" accept
    ct state established,related accept
  }}"""


def _firewall() -> str:
    return f"""table ip lab {{{_input("drop")}
  chain forward {{
    type filter hook forward priority 0; policy drop;
    iifname "lan" accept
    ct state established,related accept
  }}
}}"""


def _nat(behaviour: Behaviour, outer: str, timeout: float | None) -> str:
    policy = "accept" if behaviour.unsolicited is Unsolicited.CLASH else "drop"
    ports = "fully-random" if behaviour.allocation is Allocation.RANDOM else ""
    sets = learn = inbound = ""
    if behaviour.filtering is not Filtering.ADDRESS_AND_PORT_DEPENDENT:
        # The kernel keeps a port where it can, so the inside port is the outer one: the last inside
        # host to use a port owns it, and packets from outside to that port go to it.
        life = f"{max(1, round(timeout or _MAPPING_TIMEOUT))}s"
        sets = f"""
  map owner {{ type inet_service : ipv4_addr; flags dynamic,timeout; timeout {life}; }}
  set met {{ type ipv4_addr . inet_service; flags dynamic,timeout; timeout {life}; }}"""
        learn = """
    iifname "lan" meta l4proto udp update @owner { udp sport : ip saddr }
    iifname "lan" meta l4proto udp update @met { ip daddr . udp sport }"""
        condition = "ip saddr . udp dport @met " if behaviour.filtering is Filtering.ADDRESS_DEPENDENT else ""
        inbound = f"""
    iifname "wan" ip daddr {outer} meta l4proto udp {condition}dnat to udp dport map @owner"""
    return f"""table ip lab {{{sets}{_input(policy)}
  chain forward {{
    type filter hook forward priority 0; policy drop;{learn}
    iifname "lan" accept
    ct state established,related accept
    ct status dnat accept
  }}
  chain prerouting {{
    type nat hook prerouting priority -100;{inbound}
  }}
  chain postrouting {{
    type nat hook postrouting priority 100;
    oifname "wan" masquerade {ports}
  }}
}}"""


_IPV6_FIREWALL = """table ip6 lab {
  chain input {
    type filter hook input priority 0; policy drop;
    iifname != "wan" accept
    ct state established,related accept
    icmpv6 type { packet-too-big, time-exceeded, destination-unreachable } accept
  }
  chain forward {
    type filter hook forward priority 0; policy drop;
    iifname "lan" accept
    ct state established,related accept
  }
}"""
