"""One connection attempt between two whole peers, and what came of it.

    outcome = attempt("eim-apdf", "clash", Conditions(rtt=0.08, loss=0.02), latency=5.0, seed=7)
    outcome.opened == outcome.expected

An attempt is a function of its arguments: the same ones give the same packets.
"""

from dataclasses import dataclass

from ...proto.agent import AgentOptions, State
from .internet import Internet
from .kinds import RELATIONS, Kind
from .mediator import SimMediator
from .peer import SimPeer, SimSession
from .table import Counters
from .topologies import Conditions, World, build, build_relation
from .trace import Trace

DATA_TRIES = 12  # user datagrams each way; at 10 % loss all of them are lost once in 10^12 attempts
DATA_INTERVAL = 0.1  # seconds
MAX_STEPS = 3_000_000
TYPED_WAIT = 30.0  # seconds that an inviter waits for the ACCEPT, beside four times what the mail takes


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What came of an attempt."""

    name: str
    expected: bool
    """Whether plain punching can open the pair."""
    opened: bool
    """Whether both users could use the path, and each got the other's datagrams by it."""
    took: float
    """Seconds from the inviter's start until both users could use the path, or both attempts were over."""
    elapsed: float | None
    """Seconds from both offers known to a valid path, at the inviter; None where there was none."""
    packets: int
    """Punch packets that both sides sent."""
    tuples: int
    """New 5-tuples of both sides' hosts, STUN and hop measurement included."""
    entries: int
    """Most flows that one NAT of theirs had at once."""
    damage: int
    """Mappings that early packets cost (strict) or moved (clash) after gathering, whose own sockets do not count."""
    strays: int
    """Datagrams that bystanders got."""
    statuses: tuple[int, int]
    """Exit status of the inviter and of the acceptor; 0 where the path is up."""
    reasons: tuple[str, str]
    """Why each failed; empty where it did not."""


@dataclass(frozen=True, slots=True)
class Scene:
    """Everything of an attempt, for those who want to look closer."""

    world: World
    inviter: SimPeer
    acceptor: SimPeer
    session: SimSession
    """The inviter's."""

    @property
    def answer(self) -> SimSession | None:
        """The acceptor's session, once there is one."""
        return self.acceptor.arrivals[-1] if self.acceptor.arrivals else None


def prepare(
    kind_a: str | Kind,
    kind_b: str | Kind,
    conditions: Conditions | None = None,
    *,
    latency: float = 0.1,
    seed: int | str = 0,
    options: AgentOptions | None = None,
    trace: Trace | None = None,
) -> Scene:
    """Builds a pair of sites (or, with two names alike, a relation) and starts the inviter at the first one.

    Args:
        kind_a: the inviter's kind of site, or one of kinds.RELATIONS.
        kind_b: the acceptor's, or the same relation.
        conditions: of the way between them.
        latency: seconds that the mediator takes, one way.
        seed: of all luck.
        options: of both agents; an inviter's patience is made to fit the mediator.
        trace: to fill.
    """
    net = Internet(seed)
    world = (
        build_relation(net, kind_a, conditions)
        if isinstance(kind_a, str) and kind_a == kind_b and kind_a in RELATIONS
        else build(net, kind_a, kind_b, conditions)
    )
    net.trace = trace
    mediator = SimMediator(net, latency=latency)
    wishes = options or AgentOptions(timeout=TYPED_WAIT + 4 * latency)
    inviter = SimPeer(net, world.a, "inviter", [mediator], servers=world.stun, options=wishes)
    acceptor = SimPeer(net, world.b, "acceptor", [mediator], servers=world.stun, options=wishes)
    inviter.know(acceptor)
    acceptor.know(inviter)
    acceptor.accept()
    return Scene(world, inviter, acceptor, inviter.connect(acceptor))


def finish(scene: Scene) -> Outcome:
    """Lets a prepared attempt come to its end, tries the path if there is one, and tells what came of it."""
    net, session = scene.world.net, scene.session

    def both_over() -> bool:
        return session.is_over and (scene.answer is None or scene.answer.is_over)

    def gathered() -> bool:
        answer = scene.answer
        return session.is_over or (answer is not None and answer.agent.state not in (State.NEW, State.GATHERING))

    net.run(until=gathered, max_steps=MAX_STEPS)
    before = _damage(scene.world)
    net.run(until=both_over, max_steps=MAX_STEPS)
    took, answer = net.now, scene.answer
    opened = answer is not None and session.is_ready and answer.is_ready and _carries(session, answer)
    both = [each for each in (session, answer) if each is not None]
    world = scene.world
    errors = [session.error, answer.error if answer is not None else None]
    return Outcome(
        name=world.name,
        expected=world.expected,
        opened=opened,
        took=took,
        elapsed=session.elapsed,
        packets=sum(path.packets for each in both for path in each.paths[-1:]),
        tuples=len(world.a.flows) + len(world.b.flows),
        entries=max((each.peak for each in _counters(world)), default=0),
        damage=_damage(world) - before,
        strays=sum(host.received for host in world.bystanders),
        statuses=(errors[0].exit_status if errors[0] else 0, errors[1].exit_status if errors[1] else 0),
        reasons=(str(errors[0] or ""), str(errors[1] or "")),
    )


def attempt(
    kind_a: str | Kind,
    kind_b: str | Kind,
    conditions: Conditions | None = None,
    *,
    latency: float = 0.1,
    seed: int | str = 0,
    options: AgentOptions | None = None,
) -> Outcome:
    """Makes one attempt; see prepare."""
    return finish(prepare(kind_a, kind_b, conditions, latency=latency, seed=seed, options=options))


def _counters(world: World) -> list[Counters]:
    nats = {id(nat): nat for nat in (*world.nats_a, *world.nats_b)}.values()
    return [nat.counters(ipv6=ipv6) for nat in nats for ipv6 in (False, True)]


def _damage(world: World) -> int:
    return sum(each.spoiled + each.clashes for each in _counters(world))


def _carries(session: SimSession, answer: SimSession) -> bool:
    """Tells whether users' datagrams pass both ways, from each side's socket to where it thinks the other is."""
    clock = session.owner.net.clock
    for number in range(DATA_TRIES):
        clock.call_later(number * DATA_INTERVAL, lambda: session.send(b"from the inviter"))
        clock.call_later(number * DATA_INTERVAL, lambda: answer.send(b"from the acceptor"))

    def heard() -> bool:
        return any(data == b"from the acceptor" for data, _ in session.data) and any(
            data == b"from the inviter" for data, _ in answer.data
        )

    return session.owner.net.run(DATA_TRIES * DATA_INTERVAL + 1.0, until=heard)
