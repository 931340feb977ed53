"""How many new 5-tuples we may make: the real limit of punching is the routers' tables.

A home router keeps 16 384 conntrack entries for everybody behind it; tools that send from N sockets to
M ports have taken whole networks offline (docs/topics/punching.md).  So each new (socket, remote) pair
costs one token, and no more than `alive` of them are made in the time that an idle entry lives.
"""

from collections import deque

NEW_PER_SECOND = 100.0
ALIVE = 2400
LIFETIME = 30.0  # seconds: nf_conntrack_udp_timeout, the common life of an unanswered UDP entry
BURST = 32  # a first round of checks to every candidate from both sockets goes out at once


class TokenBucket:
    """So many at once, and so many per second in the long run.

    Args:
        rate: tokens per second.
        burst: tokens that it holds, and begins with.
    """

    def __init__(self, *, rate: float, burst: float) -> None:
        self._rate = rate
        self._burst = burst
        self._tokens = burst
        self._filled_at: float | None = None

    def take(self, now: float) -> bool:
        """Takes a token, or says that there is none."""
        if self._filled_at is not None:
            self._tokens = min(self._burst, self._tokens + (now - self._filled_at) * self._rate)
        self._filled_at = now
        if self._tokens < 1:
            return False
        self._tokens -= 1
        return True


class TupleBudget:
    """A token bucket, and a count of what is still alive in a router's table."""

    def __init__(self, *, rate: float = NEW_PER_SECOND, alive: int = ALIVE, burst: int = BURST) -> None:
        self.spent = 0
        """How many tuples were made in all."""
        self._bucket = TokenBucket(rate=rate, burst=burst)
        self._alive = alive
        self._made: deque[float] = deque()

    def take(self, now: float) -> bool:
        """Allows one new tuple, or says no."""
        while self._made and now - self._made[0] > LIFETIME:
            self._made.popleft()
        if len(self._made) >= self._alive or not self._bucket.take(now):
            return False
        self._made.append(now)
        self.spent += 1
        return True
