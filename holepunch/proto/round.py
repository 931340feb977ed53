"""One punch: gather, know both offers, and take the steps of a plan.

Round 0 is begun by the inviter, a later one by whoever misses the peer first.  One side *answers*: it
primes its own NAT and waits until the other has sent.  Each round has sockets of its own, because a
router that lost its mappings may hold the old ports against us; the numbers of round n begin at n * 1000.
"""

from collections.abc import Callable

from .address import is_ipv6
from .candidate import admissible
from .checklist import DEFAULT_TTL, CheckList
from .gather import Gatherer
from .machine import Entropy
from .offer import Offer
from .options import AgentOptions
from .strategy import CHECK, PRIME, SEND_ANYWAY, START, Situation, Step, explain, plan

ROUND_SOCKETS = 1000  # socket numbers per round
MAX_ROUNDS = 250  # of one session; the round's byte on the wire has room for 255
# A network that is away for a minute takes more than one round: checks end after some 25 s, and what was
# gathered while it was away is nothing.  The inviter is first, so that rounds of both seldom meet.
RETRY, ANSWERER_RETRY = 15.0, 20.0  # seconds, beside four times what the slower mediator takes


class Round:
    """The state of one punch; the agent has one at a time.

    Args:
        number: 0 for the first.
        answering: whether the other side sends first.
        options: the agent's.
        entropy: random bytes.
        hops: TTL that leaves our NATs, where an earlier round has measured it.
        gatherer: one that is done already; None for a new one.
        retry_at: when to begin another round, should this one have found no path.
    """

    def __init__(
        self,
        number: int,
        options: AgentOptions,
        entropy: Entropy,
        *,
        answering: bool,
        hops: int = 0,
        gatherer: Gatherer | None = None,
        retry_at: float | None = None,
    ) -> None:
        self.number = number
        self.answering = answering
        self.remote: Offer | None = None
        """The peer's latest offer of this round."""
        self.known_at = 0.0
        """When both offers were known."""
        self.deadline: float | None = None
        """When the attempt is given up; None in later rounds, which their session gives up."""
        self.retry_at = retry_at
        moved = options.look_again() if number and options.look_again else options.interfaces
        self.gatherer = gatherer or Gatherer(
            options.servers,
            moved,
            entropy,
            bind_host=options.bind_host,
            # A later round's sockets are open beside the earlier one's, so they cannot have its port.
            bind_port=options.bind_port if number == 0 else 0,
            # Another network has another distance.
            hops=options.hops or (hops if moved == options.interfaces else 0),
            measures_hops=answering,
            deadline=options.gather_deadline,
            first_local=number * ROUND_SOCKETS,
        )
        self._options = options
        self._steps: list[Step] = []

    def begin(self, remote: Offer, now: float) -> None:
        """Both offers are known: makes the plan; its steps come from next_step."""
        self.remote = remote
        self.known_at = now
        patience = 4 * max(remote.latency, self._options.latency) if self.answering else 0.0
        if self.number == 0:
            self.deadline = now + min(self._options.attempt + patience, self._options.expiry)
        self._steps = list(plan(self.situation()))

    def situation(self) -> Situation:
        """Returns what is known, for planning and explaining.

        Raises:
            ValueError: the peer's offer is not known.
        """
        if self.remote is None:
            raise ValueError("the peer's offer is needed")
        return Situation(
            waiting=self.answering,
            local=self.gatherer.report,
            remote=self.remote.report,
            local_candidates=tuple(self.gatherer.candidates),
            remote_candidates=self.remote.candidates,
            latency=min(self.remote.latency, self._options.latency),
            signals=self._options.signals,
        )

    def explain(self, *, heard: bool) -> tuple[str, str]:
        """Returns (reason, hint) of a failure."""
        return explain(self.situation(), heard=heard)

    def next_step(self, now: float) -> Step | None:
        """Returns the next step that is due."""
        if self._steps and now >= self.known_at + self._steps[0].at:
            return self._steps.pop(0)
        return None

    def take(self, step: Step, checks: CheckList, now: float, signal_start: Callable[[], None]) -> int:
        """Carries a step out; returns how many addresses it is for.

        Args:
            step: a row of the plan.
            checks: the session's paths.
            now: seconds.
            signal_start: tells the peer by mediator that we have begun to send.
        """
        if step.name == PRIME:
            return self.check(checks, now, low_ttl=self.gatherer.hops or DEFAULT_TTL)
        if step.name == CHECK:
            return self.check(checks, now, low_ttl=None)
        if step.name == START:
            signal_start()
        elif step.name == SEND_ANYWAY:
            return checks.knock(now)
        return 0

    def check(self, checks: CheckList, now: float, *, low_ttl: int | None) -> int:
        """Begins to check the peer's admissible candidates from our sockets; returns how many pairs."""
        if self.remote is None:
            raise ValueError("the peer's offer is needed")
        targets = admissible(self.remote.candidates, self.gatherer.candidates)
        sockets = {local: is_ipv6(address[0]) for local, address in self.gatherer.sockets.items()}
        return checks.begin(targets, sockets, now, low_ttl=low_ttl)

    def settle(self) -> None:
        """A path is selected: no more steps, no deadline."""
        self._steps.clear()
        self.deadline = self.retry_at = None

    def get_timer(self) -> float | None:
        """Returns when something is due: a step, the deadline, or gathering."""
        times = [self.gatherer.get_timer(), self.deadline, self.retry_at]
        if self._steps:
            times.append(self.known_at + self._steps[0].at)
        return min((time for time in times if time is not None), default=None)
