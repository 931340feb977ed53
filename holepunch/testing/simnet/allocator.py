"""Which outer port a new mapping gets (RFC 4787, section 4.2; RFC 7422 for blocks)."""

import math
from collections.abc import Callable
from random import Random

from ...proto.machine import Address
from ...proto.nat import Allocation
from .behaviour import Behaviour

_TRIES = 128  # draws of a random port before the range is searched in order


class Allocator:
    """Chooses outer endpoints for one NAT."""

    def __init__(self, behaviour: Behaviour, pool: tuple[str, ...], rng: Random) -> None:
        """Starts with nothing allocated.

        Args:
            behaviour: its allocation, port range, pooling.
            pool: outer addresses.
            rng: the NAT's luck.
        """
        self._behaviour = behaviour
        self._pool = pool
        self._rng = rng
        self._pairs: dict[str, str] = {}
        self._next = rng.randint(behaviour.port_low, behaviour.port_high)
        self._last_time = 0.0
        self._blocks: dict[str, list[int]] = {}

    def allocate(self, inner: Address, now: float, is_free: Callable[[Address], bool]) -> Address | None:
        """Returns an endpoint for a new mapping of `inner`, or None where all are taken."""
        host = self._host(inner[0])
        allocation = self._behaviour.allocation
        if allocation is Allocation.PRESERVING:
            if is_free((host, inner[1])):
                return host, inner[1]
            return self._random(host, is_free, self._behaviour.port_low, self._behaviour.port_high)
        if allocation is Allocation.SEQUENTIAL:
            return self._sequential(host, now, is_free)
        if allocation is Allocation.BLOCK:
            return self._block(inner[0], host, is_free)
        return self._random(host, is_free, self._behaviour.port_low, self._behaviour.port_high)

    def _host(self, inner_host: str) -> str:
        if len(self._pool) == 1:
            return self._pool[0]
        if not self._behaviour.paired:
            return self._rng.choice(self._pool)
        if inner_host not in self._pairs:
            self._pairs[inner_host] = self._rng.choice(self._pool)
        return self._pairs[inner_host]

    def _random(self, host: str, is_free: Callable[[Address], bool], low: int, high: int) -> Address | None:
        for _ in range(_TRIES):
            outer = host, self._rng.randint(low, high)
            if is_free(outer):
                return outer
        return self._search(host, is_free, range(low, high + 1), self._rng.randint(low, high))

    def _search(
        self, host: str, is_free: Callable[[Address], bool], ports: range, start: int, step: int = 1
    ) -> Address | None:
        for n in range(len(ports)):
            outer = host, ports[(start - ports.start + n * step) % len(ports)]
            if is_free(outer):
                return outer
        return None

    def _sequential(self, host: str, now: float, is_free: Callable[[Address], bool]) -> Address | None:
        delta = self._behaviour.port_delta
        strangers = _poisson(self._rng, self._behaviour.background * (now - self._last_time))
        self._last_time = now
        ports = range(self._behaviour.port_low, self._behaviour.port_high + 1)
        outer = self._search(host, is_free, ports, self._next + strangers * delta, delta)
        if outer is not None:
            self._next = outer[1] + delta
        return outer

    def _block(self, inner_host: str, host: str, is_free: Callable[[Address], bool]) -> Address | None:
        size, low, high = self._behaviour.block_size, self._behaviour.port_low, self._behaviour.port_high
        mine = self._blocks.setdefault(inner_host, [])
        for start in mine:
            if (outer := self._random(host, is_free, start, start + size - 1)) is not None:
                return outer
        if len(mine) >= self._behaviour.max_blocks:
            return None
        taken = {start for blocks in self._blocks.values() for start in blocks}
        first = -(-low // size) * size
        free = [start for start in range(first, high - size + 2, size) if start not in taken]
        if not free:
            return None
        mine.append(self._rng.choice(free))
        return self._random(host, is_free, mine[-1], mine[-1] + size - 1)


def _poisson(rng: Random, mean: float) -> int:
    """Returns a draw from a Poisson distribution; above 500 by its normal approximation."""
    if mean > 500:
        return max(0, round(rng.gauss(mean, math.sqrt(mean))))
    number, product, floor = 0, rng.random(), math.exp(-mean)
    while product > floor:
        number += 1
        product *= rng.random()
    return number
