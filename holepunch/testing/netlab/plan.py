"""The laboratory's address plan.

Public addresses are ones that holepunch.proto.address.scope_of calls global, or the product would not
use them as it does in the world (documentation networks are refused as candidates).  They mean nothing
outside: the namespaces have no route but the wire, and the wire leads nowhere else.
"""

from dataclasses import dataclass

SITES = 200  # sites in one laboratory, servers and carriers included


@dataclass(frozen=True, slots=True)
class SitePlan:
    """The addresses of one site, by its number in its laboratory."""

    number: int

    @property
    def outer(self) -> str:
        """The router's own public IPv4 address."""
        return f"11.1.{self.number}.1"

    @property
    def routed(self) -> str:
        """A public IPv4 network for hosts that have public addresses."""
        return f"11.2.{self.number}.0/24"

    @property
    def other_routed(self) -> str:
        """A second one, for a server with two addresses."""
        return f"11.3.{self.number}.0/24"

    @property
    def private(self) -> str:
        """A private IPv4 network for hosts behind a NAT."""
        return f"192.168.{self.number}.0/24"

    @property
    def subscriber(self) -> str:
        """The router's address where a carrier's NAT is in front of it (RFC 6598)."""
        return f"100.64.{self.number}.1"

    @property
    def outer6(self) -> str:
        """The router's own IPv6 address."""
        return f"3ffe:1:{self.number:x}::1"

    @property
    def routed6(self) -> str:
        """A global IPv6 network for the hosts."""
        return f"3ffe:2:{self.number:x}:0::/64"


def core_hops(count: int) -> list[tuple[str, str]]:
    """Returns the (IPv4, IPv6) addresses of the routers in the middle."""
    return [(f"11.0.0.{n}", f"3ffe::{n:x}") for n in range(1, count + 1)]


def carrier_hops(carrier: int, count: int) -> list[tuple[str, str]]:
    """Returns those of the routers between a carrier's subscribers and its NAT."""
    return [(f"100.127.{carrier}.{n}", f"3ffe:3:{carrier:x}::{n:x}") for n in range(1, count + 1)]


CARRIER_NETWORK = "100.64.0.0/10"
