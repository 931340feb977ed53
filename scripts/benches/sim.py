"""sim: whole peers through every pair of simulated sites x loss x RTT x mediator latency, reproducible by seed.

scripts/bench sim                                       the whole matrix once: 9360 attempts
scripts/bench sim --runs 20 --loss 0 --rtt 0.08         twenty times, part of it
scripts/bench sim --pair clash strict --trace           one pair, packet by packet
"""

import argparse
import json
import multiprocessing
import statistics
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Callable
from itertools import product
from typing import NamedTuple

from holepunch.testing.simnet import KINDS, RELATIONS, Conditions, Outcome, Trace, attempt, finish, prepare

LOSSES = [0.0, 0.02, 0.1]
RTTS = [0.02, 0.08, 0.25]  # seconds
LATENCIES = [0.1, 5.0, 30.0, 90.0]  # seconds
PAIRS = [*product(KINDS, KINDS), *((relation, relation) for relation in RELATIONS)]


class Cell(NamedTuple):
    """One attempt to make."""

    kind_a: str
    kind_b: str
    loss: float
    rtt: float
    latency: float
    seed: str

    @property
    def conditions(self) -> Conditions:
        """The way between the peers."""
        return Conditions(loss=self.loss, rtt=self.rtt)

    @property
    def again(self) -> str:
        """The command that repeats this attempt, with every packet."""
        seed, number = self.seed.rsplit(".", 1)
        return (
            f"scripts/bench sim --pair {self.kind_a} {self.kind_b} --loss {self.loss} --rtt {self.rtt} "
            f"--latency {self.latency} --seed {seed} --first {number} --trace"
        )


def run(cell: Cell) -> tuple[Cell, Outcome]:
    """Makes one attempt."""
    return cell, attempt(cell.kind_a, cell.kind_b, cell.conditions, latency=cell.latency, seed=cell.seed)


def parse() -> argparse.Namespace:
    """Reads the command line."""
    parser = argparse.ArgumentParser(prog="scripts/bench sim", description=__doc__.partition("\n")[0])
    parser.add_argument("--pair", nargs=2, metavar=("A", "B"), help="only this pair (a relation: its name twice)")
    parser.add_argument("--loss", nargs="+", type=float, default=LOSSES, help="probabilities, one way")
    parser.add_argument("--rtt", nargs="+", type=float, default=RTTS, help="seconds")
    parser.add_argument("--latency", nargs="+", type=float, default=LATENCIES, help="seconds of the mediator, one way")
    parser.add_argument("--runs", type=int, default=1, help="attempts per cell")
    parser.add_argument("--first", type=int, default=0, help="number of the first of them")
    parser.add_argument("--seed", default="1")
    parser.add_argument("--jobs", type=int, default=multiprocessing.cpu_count())
    parser.add_argument("--json", action="store_true", help="one JSON object per attempt on stdout")
    parser.add_argument("--trace", action="store_true", help="print every packet of the first attempt, and stop")
    return parser.parse_args()


def trace(cell: Cell) -> int:
    """Makes one attempt and prints all of it."""
    packets = Trace()
    scene = prepare(cell.kind_a, cell.kind_b, cell.conditions, latency=cell.latency, seed=cell.seed, trace=packets)
    outcome = finish(scene)
    print(packets)
    for session in (scene.session, scene.answer):
        for when, event in session.log if session else []:
            print(f"{when:11.6f} {session.owner.name if session else '':<16} {event.name:<24} {event.to_json()}")
    print(outcome)
    return int(outcome.opened != outcome.expected)


def share(results: list[tuple[Cell, Outcome]], key: Callable[[Cell], float], label: str) -> None:
    """Prints, by one condition, how many openable pairs opened, and how long it took."""
    groups: dict[float, list[Outcome]] = defaultdict(list)
    for cell, outcome in results:
        if outcome.expected:
            groups[key(cell)].append(outcome)
    for value, outcomes in sorted(groups.items()):
        opened = [outcome for outcome in outcomes if outcome.opened]
        elapsed = sorted(outcome.elapsed for outcome in opened if outcome.elapsed is not None)
        if elapsed:
            p98 = elapsed[min(len(elapsed) - 1, int(0.98 * len(elapsed)))]
            times = f"path after {statistics.median(elapsed):6.3f} s median, {p98:6.3f} s p98"
        else:
            times = ""
        opened_share = f"{len(opened):>6} of {len(outcomes):>6} = {len(opened) / len(outcomes):8.3%}"
        print(f"  {label} {value!s:<8} {opened_share}  {times}")


def report(results: list[tuple[Cell, Outcome]], seconds: float) -> int:
    """Prints the summary; returns how many attempts came out against the prediction."""
    wrong = [(cell, outcome) for cell, outcome in results if outcome.opened != outcome.expected]
    openable = [outcome for _, outcome in results if outcome.expected]
    closed = [outcome for _, outcome in results if not outcome.expected]
    opened = sum(outcome.opened for outcome in openable)
    print(f"{len(results)} attempts in {seconds:.0f} s ({len(results) / seconds:.0f}/s)")
    if openable:
        print(f"openable: {opened} of {len(openable)} opened ({opened / len(openable):.3%})")
        share(results, lambda cell: cell.loss, "loss   ")
        share(results, lambda cell: cell.rtt, "rtt    ")
        share(results, lambda cell: cell.latency, "latency")
        packets = [outcome.packets for outcome in openable if outcome.opened]
        tuples = [outcome.tuples for outcome in openable if outcome.opened]
        if packets:
            print(f"  punch packets of both sides: median {statistics.median(packets):.0f}, most {max(packets)}")
            print(f"  new 5-tuples of both sides: median {statistics.median(tuples):.0f}, most {max(tuples)}")
            print(f"  most flows in one NAT at once: {max(outcome.entries for outcome in openable)}")
        print(f"  attempts in which an early packet cost a mapping: {sum(o.damage > 0 for o in openable if o.opened)}")
    if closed:
        clean = sum(outcome.statuses == (3, 3) and all(outcome.reasons) for outcome in closed if not outcome.opened)
        print(f"not openable: {sum(o.opened for o in closed)} of {len(closed)} opened; "
              f"{clean} ended with exit status 3 and a reason on both sides")  # fmt: skip
    print(f"datagrams that bystanders got: {sum(outcome.strays for _, outcome in results)}")
    if wrong:
        print(f"against the prediction: {len(wrong)}")
        pairs = Counter((cell.kind_a, cell.kind_b) for cell, _ in wrong)
        for (kind_a, kind_b), count in pairs.most_common(20):
            cell, outcome = next((c, o) for c, o in wrong if (c.kind_a, c.kind_b) == (kind_a, kind_b))
            print(f"  {count:>4} x {kind_a} {kind_b}: {outcome.reasons[0] or outcome.statuses}\n         {cell.again}")
    return len(wrong)


def main() -> int:
    """Runs what the command line asks for."""
    wishes = parse()
    pairs = [tuple(wishes.pair)] if wishes.pair else PAIRS
    cells = [
        Cell(kind_a, kind_b, loss, rtt, latency, f"{wishes.seed}.{number}")
        for loss, rtt, latency in product(wishes.loss, wishes.rtt, wishes.latency)
        for kind_a, kind_b in pairs
        for number in range(wishes.first, wishes.first + wishes.runs)
    ]
    if wishes.trace:
        return trace(cells[0])
    started, results = time.monotonic(), []
    with multiprocessing.Pool(wishes.jobs) as pool:
        for number, (cell, outcome) in enumerate(pool.imap_unordered(run, cells, chunksize=16), 1):
            results.append((cell, outcome))
            if wishes.json:
                fields = {name: getattr(outcome, name) for name in outcome.__slots__}
                print(json.dumps({**cell._asdict(), **fields}), flush=True)
            elif sys.stderr.isatty() and number % 100 == 0:
                print(f"\r{number} of {len(cells)}", end="", file=sys.stderr, flush=True)
    results.sort(key=lambda result: result[0])
    if wishes.json:
        return 0
    failed = report(results, time.monotonic() - started)
    allowed = 0.01 * sum(outcome.expected for _, outcome in results)
    return int(failed > allowed)


if __name__ == "__main__":
    sys.exit(main())
