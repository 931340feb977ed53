"""macOS and the BSDs: addresses of interfaces, by getifaddrs(3) through ctypes.

It runs on Linux too, where a test compares it with rtnetlink.
"""

import ctypes
import ctypes.util
import socket
import sys
from collections.abc import Iterator

from .interfaces import Interface

_IFF_UP, _IFF_LOOPBACK, _IFF_POINTOPOINT = 0x1, 0x8, 0x10  # <net/if.h>
_TUNNEL_NAMES = ("utun", "tun", "tap", "ppp", "gif", "stf", "ipsec", "wg")
_HAS_LENGTH = sys.platform != "linux"  # a BSD sockaddr begins with its length, then its family, a byte each
_VIRTUAL_NAMES = ("bridge", "vmnet", "vboxnet", "awdl", "llw")


class _Ifaddrs(ctypes.Structure):
    """struct ifaddrs."""


_Ifaddrs._fields_ = [
    ("next", ctypes.POINTER(_Ifaddrs)),
    ("name", ctypes.c_char_p),
    ("flags", ctypes.c_uint),
    ("address", ctypes.c_void_p),
    ("netmask", ctypes.c_void_p),
    ("destination", ctypes.c_void_p),
    ("data", ctypes.c_void_p),
]


def read_interfaces() -> list[Interface]:
    """Returns one Interface for each address; empty where getifaddrs fails."""
    libc = ctypes.CDLL(ctypes.util.find_library("c"), use_errno=True)
    head = ctypes.POINTER(_Ifaddrs)()
    if libc.getifaddrs(ctypes.byref(head)) != 0:
        return []
    try:
        return list(_walk(head))
    finally:
        libc.freeifaddrs(head)


def _walk(entry: "ctypes._Pointer[_Ifaddrs]") -> Iterator[Interface]:
    while entry:  # type: ignore[truthy-bool]  # a ctypes pointer is false where it is NULL
        item = entry.contents
        entry = item.next
        if not item.address:
            continue
        start = ctypes.string_at(item.address, 2)
        family = start[1] if _HAS_LENGTH else int.from_bytes(start, sys.byteorder)
        name = (item.name or b"").decode("utf-8", "replace")
        if family == socket.AF_INET:
            host = socket.inet_ntop(socket.AF_INET, ctypes.string_at(item.address, 8)[4:])
            mask = ctypes.string_at(item.netmask, 8)[4:] if item.netmask else b"\xff" * 4
        elif family == socket.AF_INET6:
            packed = bytearray(ctypes.string_at(item.address, 24)[8:])
            if packed[0] == 0xFE and packed[1] & 0xC0 == 0x80:
                packed[2:4] = b"\0\0"  # KAME stacks keep the scope inside the address
                host = f"{socket.inet_ntop(socket.AF_INET6, bytes(packed))}%{name}"
            else:
                host = socket.inet_ntop(socket.AF_INET6, bytes(packed))
            mask = ctypes.string_at(item.netmask, 24)[8:] if item.netmask else b"\xff" * 16
        else:
            continue
        yield Interface(
            name=name,
            host=host,
            family=6 if family == socket.AF_INET6 else 4,
            prefix_length=sum(byte.bit_count() for byte in mask),
            is_up=bool(item.flags & _IFF_UP),
            is_loopback=bool(item.flags & _IFF_LOOPBACK),
            is_tunnel=name.startswith(_TUNNEL_NAMES) or bool(item.flags & _IFF_POINTOPOINT),
            is_virtual=name.startswith(_VIRTUAL_NAMES),
        )
