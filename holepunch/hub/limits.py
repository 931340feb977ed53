"""How much one sender, one recipient, one network and everybody may use of a hub.

Keys cost nothing, so a limit per sender alone limits nobody: every limit that guards the hub itself
is also counted per network, an IPv4 address or an IPv6 /64.
"""

import ipaddress
from collections import OrderedDict
from dataclasses import dataclass

from ..proto.mailbox import MAX_LIFE


@dataclass(frozen=True, slots=True, kw_only=True)
class Rate:
    """A token bucket: `burst` at once, then `per_second`."""

    per_second: float
    burst: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What a hub allows; the defaults serve some thousand peers on a small machine."""

    max_life: int = MAX_LIFE
    """Seconds an envelope is kept at most, whatever its sender asks."""

    recipient_envelopes: int = 64
    """Waiting in one mailbox."""
    recipient_bytes: int = 256 * 1024
    pair_envelopes: int = 16
    """Waiting from one sender in one mailbox."""
    sender_envelopes: int = 128
    """Waiting from one sender in all mailboxes."""
    network_envelopes: int = 1024
    """Waiting from one network in all mailboxes."""
    total_envelopes: int = 100_000
    total_bytes: int = 256 * 1024 * 1024

    sender_rate: Rate = Rate(per_second=2, burst=32)
    """Posts and discards of one sender."""
    network_rate: Rate = Rate(per_second=20, burst=200)
    """Posts and discards from one network."""
    login_rate: Rate = Rate(per_second=5, burst=60)
    """Connections, and requests of the long-poll form, from one network."""

    owner_connections: int = 16
    """Open connections and long polls of one owner; each process of a machine has one."""
    network_connections: int = 256
    """Open connections and long polls from one network, logged in or not."""
    connections: int = 4096
    """Open connections of any kind."""

    login_time: float = 10.0
    """Seconds a connection may take to log in."""
    send_time: float = 30.0
    """Seconds one frame may take to leave; a reader slower than that is cut off."""
    refusals: int = 64
    """Refused frames on one connection before it is cut off."""


class Buckets:
    """Token buckets by key, for one rate; the least recently used are forgotten beyond `most` keys."""

    def __init__(self, rate: Rate, *, most: int = 50_000) -> None:
        self._rate = rate
        self._most = most
        self._filled: OrderedDict[bytes, tuple[float, float]] = OrderedDict()

    def take(self, key: bytes, now: float) -> float:
        """Takes one token; returns 0, or the seconds until there is one."""
        tokens, since = self._filled.pop(key, (self._rate.burst, now))
        tokens = min(self._rate.burst, tokens + max(0.0, now - since) * self._rate.per_second)
        allowed = tokens >= 1
        self._filled[key] = (tokens - 1 if allowed else tokens, now)
        if len(self._filled) > self._most:
            self._filled.popitem(last=False)
        return 0.0 if allowed else (1 - tokens) / self._rate.per_second

    def __len__(self) -> int:
        return len(self._filled)


def network_of(host: str) -> bytes:
    """Returns what an address counts as: the IPv4 address, the IPv6 /64, or the text that is neither."""
    try:
        ip = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return host.encode()
    if isinstance(ip, ipaddress.IPv6Address):
        return ip.ipv4_mapped.packed if ip.ipv4_mapped else ip.packed[:8]
    return ip.packed
