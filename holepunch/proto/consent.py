"""Tells when to ask the peer for a sign of life, and when it has gone (RFC 7675).

RFC 7675 lets consent live 30 s.  A tunnel that is silent for half a minute is broken for its users, so
a check that stays unanswered is repeated quickly, and a few in a row are enough to begin a new punch;
that costs little when it was a false alarm, because a late answer revives the path.
"""

from .machine import Entropy

INTERVAL = 5.0  # seconds between checks on a quiet path (RFC 7675, 5.1), within JITTER either way
JITTER = 0.2
RETRY = 0.5  # seconds between unanswered checks
MAX_UNANSWERED = 5  # with 5 % loss each way a false alarm comes once in some 10^5 checks


class Consent:
    """The timers of one selected path."""

    def __init__(self, entropy: Entropy) -> None:
        self._entropy = entropy
        self._unanswered = 0
        self._heard_at = 0.0
        self._next: float | None = None

    def start(self, now: float) -> None:
        """Begins: the path has just proven itself."""
        self._unanswered = 0
        self._heard_at = now
        self._next = now + INTERVAL * (1 + JITTER * (self._entropy(1)[0] / 127.5 - 1))

    def stop(self) -> None:
        """Ends: no more checks."""
        self._next = None

    def hurry(self, now: float) -> None:
        """Checks now: there is a reason to doubt the path."""
        if self._next is not None and self._unanswered == 0:
            self._next = now

    def heard(self, at: float, now: float) -> None:
        """Takes the time of the last authentic packet; a new one starts the interval again."""
        if self._next is not None and at > self._heard_at:
            self.start(now)

    def handle_timer(self, now: float) -> bool | None:
        """Returns True when a check is to be sent now, False when the path is lost, None for nothing."""
        if self._next is None or now < self._next:
            return None
        if self._unanswered >= MAX_UNANSWERED:
            self._next = None
            return False
        self._unanswered += 1
        self._next = now + RETRY
        return True

    def get_timer(self) -> float | None:
        """Returns when handle_timer wants to be called."""
        return self._next

    def silence(self, now: float) -> float:
        """Returns how many seconds ago the peer was heard."""
        return now - self._heard_at
