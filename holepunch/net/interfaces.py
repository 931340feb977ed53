"""The addresses of this machine, the way out, and the router: facts about ourselves, no policy.

On Linux they come from the kernel by rtnetlink, in about a millisecond and without a child
process; on macOS and the BSDs from getifaddrs(3); elsewhere from the resolver, which knows addresses
but not their interfaces.
"""

import contextlib
import socket
import sys
from dataclasses import dataclass

from ..proto.machine import Address


@dataclass(frozen=True, slots=True, kw_only=True)
class Interface:
    """One address of one network interface."""

    name: str
    """`eth0`; empty where the system does not say."""
    index: int = 0
    host: str
    """The address in canonical text; a link-local IPv6 one with its scope (`fe80::1%eth0`)."""
    family: int
    """4 or 6."""
    prefix_length: int
    """Bits of the network part."""
    is_up: bool = True
    is_loopback: bool = False
    is_tunnel: bool = False
    """A VPN or another overlay (tun, WireGuard, PPP, GRE ...): an address there is no candidate, for a path
    through it would be a path through itself."""
    is_virtual: bool = False
    """A bridge or the like, made for containers or virtual machines: rarely the way to anybody else."""
    is_temporary: bool = False
    """An IPv6 privacy address (RFC 8981): lives hours, and is the one to prefer for a session."""
    is_deprecated: bool = False
    """About to go away (RFC 4862): not for anything new."""


def interfaces() -> list[Interface]:
    """Returns the addresses of all interfaces; those that cannot be used yet (tentative) are left out."""
    found: list[Interface] = []
    if sys.platform == "linux":
        from .rtnetlink import read_interfaces  # noqa: PLC0415 - each system loads its own

        found = read_interfaces()
    elif sys.platform != "win32":
        from .getifaddrs import read_interfaces  # noqa: PLC0415

        found = read_interfaces()
    return found or _from_resolver()


def gateway(family: int = 4) -> str | None:
    """Returns the router of the default route, or None where there is none or the system does not say."""
    if sys.platform != "linux":
        return None
    from .rtnetlink import read_gateway  # noqa: PLC0415

    return read_gateway(family)


def source_address(remote: Address) -> str | None:
    """Returns the host this machine would send from towards an address; None where there is no route.

    Nothing is sent: connecting a UDP socket only looks the route up.
    """
    family = socket.AF_INET6 if ":" in remote[0] else socket.AF_INET
    with contextlib.suppress(OSError), socket.socket(family, socket.SOCK_DGRAM) as sock:
        sock.connect((remote[0], remote[1] or 9))
        host = str(sock.getsockname()[0])
        return None if host in ("0.0.0.0", "::") else host
    return None


def _from_resolver() -> list[Interface]:
    """The addresses that our own host name has; no names, no prefixes."""
    found = []
    with contextlib.suppress(OSError):
        for info in socket.getaddrinfo(socket.gethostname(), 0, type=socket.SOCK_DGRAM):
            host, six = str(info[4][0]), info[0] == socket.AF_INET6
            loopback = host.startswith("127.") or host == "::1"
            found.append(
                Interface(
                    name="",
                    host=host,
                    family=6 if six else 4,
                    prefix_length=128 if six else 32,
                    is_loopback=loopback,
                )
            )
    return found
