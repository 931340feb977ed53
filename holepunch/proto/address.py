"""Transport addresses: text, wire form, and how far each one reaches.

An address is a pair (host, port), host in canonical text.  Its *scope* decides who may be sent a
probe: a peer is free to claim any candidate, so a claim alone must never make us send to a printer
on our own network or to a multicast group (docs/attacks.md).
"""

import enum
import ipaddress
from functools import lru_cache

from ..errors import ConfigurationError, WireError
from .machine import Address
from .wire import Reader, Writer

CGNAT = ipaddress.ip_network("100.64.0.0/10")  # RFC 6598: between a subscriber and its carrier's NAT
_RESERVED_IPV4 = [
    ipaddress.ip_network(text)
    for text in (
        "0.0.0.0/8",  # RFC 1122, 3.2.1.3: this network
        "192.0.0.0/24",  # RFC 6890: protocol assignments
        "192.0.2.0/24",  # RFC 5737: documentation
        "192.88.99.0/24",  # RFC 7526: former 6to4 relay
        "198.18.0.0/15",  # RFC 2544: benchmarking
        "198.51.100.0/24",  # RFC 5737
        "203.0.113.0/24",  # RFC 5737
        "224.0.0.0/4",  # RFC 5771: multicast
        "240.0.0.0/4",  # RFC 1112: reserved, and broadcast
    )
]
_GLOBAL_IPV6 = ipaddress.ip_network("2000::/3")  # RFC 4291, 2.4
_RESERVED_IPV6 = [
    ipaddress.ip_network(text)
    for text in (
        "2001:db8::/32",  # RFC 3849: documentation
        "2001::/32",  # RFC 4380: Teredo
        "2002::/16",  # RFC 3056: 6to4
    )
]


class Scope(enum.Enum):
    """How far an address reaches."""

    LOOPBACK = "loopback"
    LINK = "link"
    """Link-local: one network segment (RFC 3927, RFC 4291)."""
    PRIVATE = "private"
    """One site: RFC 1918, RFC 4193."""
    CGNAT = "cgnat"
    """Inside one carrier (RFC 6598)."""
    GLOBAL = "global"
    """Everywhere."""
    RESERVED = "reserved"
    """Nowhere that we may send to: multicast, documentation, unspecified and the like (RFC 6890)."""


@lru_cache(maxsize=4096)
def scope_of(host: str) -> Scope:
    """Returns the scope of a host given in text; RESERVED where it is not an IP address."""
    try:
        ip = ipaddress.ip_address(host)
    except ValueError:
        return Scope.RESERVED
    if isinstance(ip, ipaddress.IPv6Address) and ip.ipv4_mapped is not None:
        return Scope.RESERVED  # never on the wire: a mapped address would be a second name for an IPv4 one
    if ip.is_loopback:
        return Scope.LOOPBACK
    if ip.is_link_local:
        return Scope.LINK
    if isinstance(ip, ipaddress.IPv4Address):
        if ip in CGNAT:
            return Scope.CGNAT
        if any(ip in network for network in _RESERVED_IPV4):
            return Scope.RESERVED
        return Scope.PRIVATE if ip.is_private else Scope.GLOBAL
    if ip in ipaddress.ip_network("fc00::/7"):
        return Scope.PRIVATE
    if ip not in _GLOBAL_IPV6 or any(ip in network for network in _RESERVED_IPV6):
        return Scope.RESERVED
    return Scope.GLOBAL


def is_ipv6(host: str) -> bool:
    """Tells whether a host in canonical text form is an IPv6 address."""
    return ":" in host


def canonical_host(host: str) -> str:
    """Returns the canonical text of an IP address.

    Raises:
        ConfigurationError: it is not an IP address.
    """
    try:
        return str(ipaddress.ip_address(host))
    except ValueError as error:
        raise ConfigurationError(f"{host!r} is not an IP address") from error


def format_address(address: Address) -> str:
    """Returns `192.0.2.1:5000`, or `[2001:db8::1]:5000`."""
    host, port = address
    return f"[{host}]:{port}" if is_ipv6(host) else f"{host}:{port}"


def parse_address(text: str, *, default_port: int | None = None) -> Address:
    """Reads `HOST:PORT`, `[IPV6]:PORT`, or a bare host where there is a default port.

    The host may be a name; it is not resolved here.

    Raises:
        ConfigurationError: there is no port, or it is not 0-65535.
    """
    host, port_text = text, ""
    if text.startswith("["):
        host, bracket, port_text = text[1:].partition("]")
        if not bracket or (port_text and not port_text.startswith(":")):
            raise ConfigurationError(f"{text!r} is not an address: write [IPV6]:PORT")
        port_text = port_text[1:]
    elif text.count(":") == 1:
        host, _, port_text = text.partition(":")
    if not host:
        raise ConfigurationError(f"{text!r} has no host")
    if not port_text:
        if default_port is None:
            raise ConfigurationError(f"{text!r} has no port", hint="Write HOST:PORT.")
        return host, default_port
    if not (port_text.isascii() and port_text.isdigit()) or int(port_text) > 65535:
        raise ConfigurationError(f"{text!r}: the port must be a number from 0 to 65535")
    return host, int(port_text)


def encode_address(writer: Writer, address: Address) -> None:
    """Appends family (1 byte: 4 or 6), port (2) and address (4 or 16); a scope is not sent."""
    ip = ipaddress.ip_address(address[0].partition("%")[0])
    writer.u8(ip.version).u16(address[1]).raw(ip.packed)


def decode_address(reader: Reader) -> Address:
    """Reads what encode_address wrote.

    Raises:
        WireError: the family is neither 4 nor 6, or bytes are missing.
    """
    family, port = reader.u8(), reader.u16()
    if family not in (4, 6):
        raise WireError(f"address family is {family}, expected 4 or 6")
    return str(ipaddress.ip_address(reader.take(4 if family == 4 else 16))), port
