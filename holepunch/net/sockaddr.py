"""Between our addresses and the socket module's: the scope of an IPv6 link-local address (RFC 4007)."""

import socket

from ..proto.address import is_ipv6
from ..proto.machine import Address


def to_sockaddr(address: Address) -> tuple[str | int, ...]:
    """Returns what the socket module wants; an IPv6 scope becomes a number, which saves a look-up per datagram.

    Raises:
        OSError: there is no such interface.
    """
    host, port = address
    if is_ipv6(host) and "%" in host:
        bare, _, scope = host.partition("%")
        return bare, port, 0, int(scope) if scope.isdigit() else socket.if_nametoindex(scope)
    return host, port


def from_sockaddr(sockaddr: tuple[str, int] | tuple[str, int, int, int]) -> Address:
    """Returns (host, port), with the scope in the host where there is one."""
    if len(sockaddr) == 4 and sockaddr[3] and "%" not in sockaddr[0]:
        try:
            return f"{sockaddr[0]}%{socket.if_indextoname(sockaddr[3])}", sockaddr[1]
        except OSError:  # the interface has gone since
            return f"{sockaddr[0]}%{sockaddr[3]}", sockaddr[1]
    return sockaddr[0], sockaddr[1]
