"""One way to the peer: a socket of ours and an address of theirs, and what is known of the pair."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from .candidate import CandidateKind
from .machine import Address, Entropy
from .packet import NOTHING_HEARD

# Seconds from one check of a path to the next.  Dense at first, since 97.6 % of the punches that ever
# work do so at once, and a lost packet should cost 50 ms and not RFC 8445's 500; then as patient as it.
CHECKS = (0.05, 0.1, 0.2, 0.4, 0.8, 1.6)
# The waiting side's low-TTL packets die inside the network and cannot be lost to the peer, but a router
# of ours may drop one.  They are repeated well within the 30 s of an unanswered mapping.
PRIMES = (0.03, 0.1, 0.4, 1.5, 4.0, 10.0)
JITTER = 0.1  # of the interval, either way
MAX_UNANSWERED = 20  # checks in a row; claims to addresses that never answered have limits of their own
_MAX_REMEMBERED = 64  # counters per path whose time of sending is kept


@dataclass(slots=True, eq=False)
class Path:
    """The state of one pair; a record that CheckList changes."""

    local: int
    remote: Address
    kind: CandidateKind
    preference: int
    is_contacted: bool = False
    """Whether anything was sent on it: it is in the routers' tables."""
    next_send: float | None = None
    """When the next check or prime is due; None for not at all."""
    attempt: int = 0
    unanswered: int = 0
    """Full-TTL packets sent since the last one heard."""
    heard: int = NOTHING_HEARD
    """Highest counter heard."""
    heard_at: float = 0.0
    observed: Address | None = None
    """How the peer says that it sees us on this path."""
    rtt: float | None = None
    """Seconds, smoothed; None until the path is valid."""
    valid_at: float | None = None
    peer_selected: bool = False
    """The peer's last packet said that it uses this path."""
    sent: dict[int, float] = field(default_factory=dict)
    """Counter -> when it was sent, for the latest ones."""

    @property
    def is_heard(self) -> bool:
        """Whether an authentic packet has come on it in this round or an earlier one."""
        return self.heard != NOTHING_HEARD

    @property
    def is_valid(self) -> bool:
        """Whether the peer has echoed a counter of ours on it: return routability, and fresh."""
        return self.valid_at is not None

    def note_sent(self, counter: int, now: float) -> None:
        """Remembers when a counter left."""
        while len(self.sent) >= _MAX_REMEMBERED:
            del self.sent[next(iter(self.sent))]
        self.sent[counter] = now

    def note_echo(self, echo: int, now: float) -> bool:
        """Takes the echo of one of our counters; returns True when that makes the path valid."""
        sent_at = self.sent.get(echo)
        if sent_at is None:
            return False
        for counter in [counter for counter in self.sent if counter <= echo]:
            del self.sent[counter]
        sample = now - sent_at
        self.rtt = sample if self.rtt is None else 0.75 * self.rtt + 0.25 * sample
        if self.is_valid:
            return False
        self.valid_at = now
        return True

    def begin(self, now: float) -> None:
        """Starts checking from the first interval, now."""
        self.attempt = 0
        self.next_send = now

    def schedule(self, now: float, entropy: Entropy, *, low: bool) -> None:
        """Sets when the next packet follows the one that leaves now."""
        intervals = PRIMES if low else CHECKS
        interval = intervals[min(self.attempt, len(intervals) - 1)]
        self.attempt += 1
        self.next_send = now + interval * (1 + JITTER * (entropy(1)[0] / 127.5 - 1))


# A path must be this much faster to be worth leaving a working one of the same class (B5 hysteresis).
MIN_GAIN = 0.005  # seconds
MIN_GAIN_RATIO = 0.2


def better(a: Path, b: Path) -> bool:
    """Tells whether path `a` is to be used rather than `b`, which is in use.

    A valid path beats one that is not; then the class decides (own network, IPv6, IPv4, relay); within
    one class only a round trip that is shorter by MIN_GAIN and MIN_GAIN_RATIO, so that two equal paths
    do not take turns.
    """
    if a.is_valid != b.is_valid:
        return a.is_valid
    if a.preference != b.preference:
        return a.preference > b.preference
    if a.rtt is None or b.rtt is None:
        return a.rtt is not None
    return b.rtt - a.rtt > max(MIN_GAIN, MIN_GAIN_RATIO * b.rtt)


def best_of(paths: Sequence[Path]) -> Path:
    """Returns the best of some paths, the first of equal ones; there must be one."""
    best = paths[0]
    for path in paths[1:]:
        if better(path, best):
            best = path
    return best
