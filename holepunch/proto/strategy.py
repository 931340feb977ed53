"""What to try, in which order: one table of strategies, and a pure function that plans from it.

    plan(situation) -> steps, by time

Classification orders the strategies and never forbids one: plain checks come first, always.  To add a
strategy is to add a row here and the step's name to holepunch.proto.agent.  A row tells when it applies,
how long after the offers are known it starts, what it costs in new 5-tuples, and what to expect of it.
"""

from collections.abc import Callable
from dataclasses import dataclass

from .address import Scope, scope_of
from .candidate import Candidate, share_network
from .nat import Filtering, Mapping, NatReport


@dataclass(frozen=True, slots=True, kw_only=True)
class Situation:
    """What is known when both offers are: the input of plan() and explain()."""

    waiting: bool
    """Whether we are the side that waits for the other to send first."""
    local: NatReport
    remote: NatReport
    local_candidates: tuple[Candidate, ...] = ()
    remote_candidates: tuple[Candidate, ...] = ()
    latency: float = 1.0
    """Seconds that the faster side's mediator takes, one way."""
    signals: bool = True
    """Whether a mediator can carry one more message without a person's help."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Strategy:
    """A row of the table."""

    name: str
    applies: Callable[[Situation], bool]
    delay: Callable[[Situation], float]
    """Seconds after both offers are known."""
    tuples: int
    """New 5-tuples it may cost us."""
    expected: float
    """Share of the attempts to which it applies that it is expected to open."""
    times: int = 1
    """How often the step is taken."""
    interval: float = 0.0
    """Seconds between one time and the next."""


@dataclass(frozen=True, slots=True)
class Step:
    """One thing to do, `at` seconds after both offers are known."""

    name: str
    at: float
    tuples: int


CHECK, PRIME, START, SEND_ANYWAY = "check", "prime", "start", "send-anyway"

# Plain checks need three packets.  When they have not come through after this long the peer's mapping
# or filter is in the way, and it must send first: START tells it that it may.
START_DELAY = 0.3  # seconds
# An acceptor that nobody can reach at the address it offered gains nothing by waiting for ever.  When the
# mail is slow the inviter knows our keys only a minute later, and then tries for 20 s: it must hear us in
# that time, twice or more.  Eighteen packets stay below what an address that never answers may get.
# The first comes when the ACCEPT should have arrived, so that a START need not travel as well.
SEND_ANYWAY_MINIMUM = 2.0  # seconds
SEND_ANYWAY_DELAY = 10.0  # seconds at most
SEND_ANYWAY_TIMES = 18
SEND_ANYWAY_INTERVAL = 8.0  # seconds

STRATEGIES = (
    # S0, the waiting half: opens our own NAT towards the peer without reaching the peer's.
    Strategy(name=PRIME, applies=lambda s: s.waiting, delay=lambda _: 0.0, tuples=16, expected=0.99),
    # S0, the sending half: checks to every admissible candidate, best first.
    Strategy(name=CHECK, applies=lambda s: not s.waiting, delay=lambda _: 0.0, tuples=16, expected=0.99),
    # S1, reversal: a waiting side with endpoint-dependent mapping is not where it said; it must send.
    Strategy(
        name=START,
        applies=lambda s: not s.waiting and s.signals,
        delay=lambda s: 0.0 if s.remote.mapping.is_dependent else START_DELAY,
        tuples=0,
        expected=0.99,
    ),
    # S1 without a third message, for mediators that a person carries.
    Strategy(
        name=SEND_ANYWAY,
        applies=lambda s: s.waiting and s.local.mapping.is_dependent,
        delay=lambda s: min(max(SEND_ANYWAY_MINIMUM, 1.2 * s.latency), SEND_ANYWAY_DELAY),
        tuples=16,
        expected=0.9,
        times=SEND_ANYWAY_TIMES,
        interval=SEND_ANYWAY_INTERVAL,
    ),
)


def plan(situation: Situation) -> tuple[Step, ...]:
    """Returns the steps of an attempt, earliest first."""
    steps = [
        Step(row.name, row.delay(situation) + number * row.interval, row.tuples if number == 0 else 0)
        for row in STRATEGIES
        if row.applies(situation)
        for number in range(row.times)
    ]
    return tuple(sorted(steps, key=lambda step: step.at))


def explain(situation: Situation, *, heard: bool) -> tuple[str, str]:
    """Says why an attempt found no path, and what would help: (reason, hint), a sentence each.

    Args:
        situation: as it was planned.
        heard: whether any authentic packet of the peer came.
    """
    local, remote = situation.local.mapping, situation.remote.mapping
    if heard:
        return (
            "packets from the peer arrive, but ours do not reach it",
            "A firewall lets UDP in only one way: allow UDP out on both sides, or use a relay.",
        )
    if local.is_dependent and remote.is_dependent:
        return (
            "both NATs give every destination another port (endpoint-dependent mapping), so neither side can be found",
            "Forward a UDP port on one router and use --bind with that port, use IPv6, or use a relay.",
        )
    if local.is_dependent or remote.is_dependent:
        whose, other = ("this side's", "the peer's") if local.is_dependent else ("the peer's", "this side's")
        return (
            f"{whose} NAT gives every destination another port (endpoint-dependent), and {other} lets in only one",
            f"Forward a UDP port on {other} router and use --bind with that port there, use IPv6, or use a relay.",
        )
    if not _outer_hosts(situation.remote_candidates) and not share_network(
        situation.local_candidates, situation.remote_candidates
    ):
        return (
            "the peer offered no address that can be reached from here",
            "Let the peer run `holepunch doctor`: its STUN servers did not answer.",
        )
    if _outer_hosts(situation.local_candidates) & _outer_hosts(situation.remote_candidates):
        return (
            "both sides leave through one NAT that does not turn packets back inside (no hairpinning)",
            "Join the same local network, use IPv6, or use a relay.",
        )
    if Mapping.UNKNOWN in (local, remote) or Filtering.UNKNOWN is situation.remote.filtering:
        return (
            "no packet of the peer arrived, although both sides' mappings look stable",
            "Check with `holepunch doctor` on both sides that UDP is allowed out; otherwise use a relay.",
        )
    return ("no packet of the peer arrived", "Check that UDP is allowed out on both sides, or use a relay.")


def _outer_hosts(candidates: tuple[Candidate, ...]) -> set[str]:
    return {c.address[0] for c in candidates if scope_of(c.address[0]) is Scope.GLOBAL}
