"""A STUN server on the simulated internet: RFC 8489 Binding, and RFC 5780 with its second address."""

from ...proto.machine import Address
from ...proto.stun.responder import Responder
from .driver import SimDriver
from .internet import Internet
from .link import Link

STUN_PORT = 3478  # RFC 8489, 14.1
OTHER_PORT = 3479


class StunServer:
    """A public host that tells others how it sees them, over IPv4 and IPv6."""

    def __init__(self, net: Internet, name: str, *, behaviour: bool = True, link: Link | None = None) -> None:
        """Puts the server on the internet and starts it.

        Args:
            net: where.
            name: of its host.
            behaviour: whether it has a second address and port, for RFC 5780.
            link: how it is attached.
        """
        hosts = [net.public_ipv4(), net.public_ipv6()]
        if behaviour:
            hosts += [net.public_ipv4(), net.public_ipv6()]
        self.host = net.host(name, net.core, *hosts, link=link or Link(delay=0.005, hops=3))
        self.ipv4: Address = (hosts[0], STUN_PORT)
        """Where it is asked over IPv4."""
        self.ipv6: Address = (hosts[1], STUN_PORT)
        """Where it is asked over IPv6."""
        self.drivers = [
            SimDriver(
                self.host,
                Responder((host, STUN_PORT), (hosts[index + 2], OTHER_PORT) if behaviour else None, limit=None),
            )
            for index, host in enumerate(hosts[:2])
        ]

    def stop(self) -> None:
        """Stops answering."""
        for driver in self.drivers:
            driver.close()
