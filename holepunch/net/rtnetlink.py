"""Linux: links, addresses and the default route, by rtnetlink(7)."""

import socket
import struct
import sys
from collections.abc import Iterator

from .interfaces import Interface

# <linux/rtnetlink.h>, <linux/netlink.h>
_RTM_GETLINK, _RTM_GETADDR, _RTM_GETROUTE = 18, 22, 26
_NLM_F_REQUEST, _NLM_F_DUMP = 0x1, 0x300
_NLMSG_ERROR, _NLMSG_DONE = 2, 3
_HEADER = struct.Struct("=IHHII")  # length, type, flags, sequence, port
_ATTRIBUTE = struct.Struct("=HH")  # length, type
_LINK = struct.Struct("=BxHiII")  # family, type, index, flags, change
_ADDRESS = struct.Struct("=BBBBI")  # family, prefix length, flags, scope, index
_ROUTE = struct.Struct("=BBBBBBBBI")  # family, dst length, src length, tos, table, protocol, scope, type, flags
# <linux/if_link.h>, <linux/if_addr.h>
_IFLA_IFNAME, _IFLA_LINKINFO, _IFLA_INFO_KIND = 3, 18, 1
_IFA_ADDRESS, _IFA_LOCAL, _IFA_FLAGS = 1, 2, 8
_RTA_GATEWAY, _RTA_PRIORITY, _RTA_TABLE = 5, 6, 15
_RT_TABLE_MAIN, _RTN_UNICAST = 254, 1
# <linux/if.h> and <linux/if_addr.h>
_IFF_UP, _IFF_LOOPBACK, _IFF_POINTOPOINT = 0x1, 0x8, 0x10
_IFA_F_TEMPORARY, _IFA_F_DADFAILED, _IFA_F_DEPRECATED, _IFA_F_TENTATIVE = 0x01, 0x08, 0x20, 0x40
_IFA_F_OPTIMISTIC = 0x04  # tentative, but RFC 4429 lets it be used
_NESTED = 0x8000
_ATTRIBUTE_TYPE = 0x3FFF

_TUNNEL_KINDS = {"tun", "wireguard", "amneziawg", "ovpn", "ipip", "sit", "gre", "gretap", "ip6tnl", "ip6gre"}
_TUNNEL_KINDS |= {"vti", "vti6", "xfrm", "ppp", "vxlan", "geneve"}
_VIRTUAL_KINDS = {"bridge", "dummy", "ifb", "nlmon"}
# <linux/if_arp.h>: PPP, IPIP, IP6TNL, SIT, IPGRE, IP6GRE, NONE (what tun devices have)
_TUNNEL_TYPES = {512, 768, 769, 776, 778, 823, 65534}


def read_interfaces() -> list[Interface]:
    """Returns one Interface for each usable address; empty where rtnetlink is not to be had."""
    try:
        links = dict(_links())
        return [interface for interface in _addresses(links) if interface is not None]
    except OSError:
        return []


def read_gateway(family: int) -> str | None:
    """Returns the gateway of the default route with the lowest metric, or None."""
    inet = socket.AF_INET if family == 4 else socket.AF_INET6
    best: tuple[int, str] | None = None
    try:
        for payload in _dump(_RTM_GETROUTE, _ROUTE.pack(inet, 0, 0, 0, 0, 0, 0, 0, 0)):
            route_family, length, _, _, table, _, _, kind, _ = _ROUTE.unpack_from(payload)
            attributes = dict(_attributes(payload[_ROUTE.size :]))
            table = int.from_bytes(attributes[_RTA_TABLE], sys.byteorder) if _RTA_TABLE in attributes else table
            if (route_family, length, table, kind) != (inet, 0, _RT_TABLE_MAIN, _RTN_UNICAST):
                continue
            if _RTA_GATEWAY in attributes:
                metric = int.from_bytes(attributes.get(_RTA_PRIORITY, b""), sys.byteorder)
                host = socket.inet_ntop(inet, attributes[_RTA_GATEWAY])
                best = min(best, (metric, host)) if best else (metric, host)
    except OSError:
        return None
    return best[1] if best else None


def _links() -> Iterator[tuple[int, tuple[str, int, int, str]]]:
    """Yields index, and (name, flags, ARP type, kind); kind is what `ip link add type` was given, or empty."""
    for payload in _dump(_RTM_GETLINK, _LINK.pack(socket.AF_UNSPEC, 0, 0, 0, 0)):
        _, type_, index, flags, _ = _LINK.unpack_from(payload)
        attributes = dict(_attributes(payload[_LINK.size :]))
        info = dict(_attributes(attributes.get(_IFLA_LINKINFO, b"")))
        yield index, (_text(attributes.get(_IFLA_IFNAME, b"")), flags, type_, _text(info.get(_IFLA_INFO_KIND, b"")))


def _addresses(links: dict[int, tuple[str, int, int, str]]) -> Iterator[Interface | None]:
    for payload in _dump(_RTM_GETADDR, _ADDRESS.pack(socket.AF_UNSPEC, 0, 0, 0, 0)):
        inet, prefix_length, flags, _, index = _ADDRESS.unpack_from(payload)
        attributes = dict(_attributes(payload[_ADDRESS.size :]))
        flags = int.from_bytes(attributes[_IFA_FLAGS], sys.byteorder) if _IFA_FLAGS in attributes else flags
        # On a point-to-point link ADDRESS is the far end, and LOCAL is ours.
        packed = attributes.get(_IFA_LOCAL) or attributes.get(_IFA_ADDRESS)
        unusable = flags & _IFA_F_DADFAILED or (flags & _IFA_F_TENTATIVE and not flags & _IFA_F_OPTIMISTIC)
        if packed is None or inet not in (socket.AF_INET, socket.AF_INET6) or unusable or index not in links:
            continue
        name, link_flags, type_, kind = links[index]
        host = socket.inet_ntop(inet, packed)
        if inet == socket.AF_INET6 and packed[0] == 0xFE and packed[1] & 0xC0 == 0x80:
            host = f"{host}%{name}"
        yield Interface(
            name=name,
            index=index,
            host=host,
            family=6 if inet == socket.AF_INET6 else 4,
            prefix_length=prefix_length,
            is_up=bool(link_flags & _IFF_UP),
            is_loopback=bool(link_flags & _IFF_LOOPBACK),
            is_tunnel=kind in _TUNNEL_KINDS or type_ in _TUNNEL_TYPES or bool(link_flags & _IFF_POINTOPOINT),
            is_virtual=kind in _VIRTUAL_KINDS,
            is_temporary=inet == socket.AF_INET6 and bool(flags & _IFA_F_TEMPORARY),
            is_deprecated=bool(flags & _IFA_F_DEPRECATED),
        )


def _dump(type_: int, body: bytes) -> Iterator[bytes]:
    """Asks for everything of a kind; yields each message without its netlink header.

    Raises:
        OSError: there is no rtnetlink here, or it refuses.
    """
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, socket.NETLINK_ROUTE) as sock:
        sock.settimeout(2.0)
        flags = _NLM_F_REQUEST | _NLM_F_DUMP
        sock.send(_HEADER.pack(_HEADER.size + len(body), type_, flags, 1, 0) + body)
        while True:
            data = sock.recv(1 << 17)
            while len(data) >= _HEADER.size:
                length, kind, _, _, _ = _HEADER.unpack_from(data)
                if kind == _NLMSG_DONE:
                    return
                if kind == _NLMSG_ERROR or length < _HEADER.size:
                    raise OSError("rtnetlink refused the request")
                yield data[_HEADER.size : length]
                data = data[(length + 3) & ~3 :]


def _attributes(data: bytes) -> Iterator[tuple[int, bytes]]:
    while len(data) >= _ATTRIBUTE.size:
        length, type_ = _ATTRIBUTE.unpack_from(data)
        if length < _ATTRIBUTE.size:
            return
        yield type_ & _ATTRIBUTE_TYPE, data[_ATTRIBUTE.size : length]
        data = data[(length + 3) & ~3 :]


def _text(value: bytes) -> str:
    return value.rstrip(b"\0").decode("utf-8", "replace")
