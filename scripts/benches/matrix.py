"""matrix: whole peers through pairs of kernel NATs x mediators x loss, several runs each (root).

scripts/bench matrix                                              20 runs of each ordered pair, file and http
scripts/bench matrix --kinds eim-apdf strict clash --runs 5       some kinds
scripts/bench matrix --pair "clash strict" --loss 0.05 -v         one pair, with every event of a failure
"""

import argparse
import json
import os
import statistics
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from random import Random

from holepunch.testing.netlab import KINDS, RELATIONS, Lab, Outcome, Peers, build_pair, expected

COMMAND = f"{sys.executable} {Path(__file__).parents[2] / 'examples' / 'udp_echo.py'}"
# Plain punching has nothing to say to block allocation that it has not said to random ports.
DEFAULT_KINDS = [name for name in KINDS if not name.startswith(("block", "adm"))]
WANTED = {0.0: 0.99}  # share of openable attempts that open; with loss, LOSSY
LOSSY = 0.98
WAITING = 4  # cells that cannot open at once, per job


@dataclass(frozen=True)
class Cell:
    """One pair under one set of conditions."""

    pair: str
    mediator: str
    loss: float


@dataclass(frozen=True)
class Result:
    """One attempt."""

    cell: Cell
    opens: bool
    outcome: Outcome

    @property
    def as_predicted(self) -> bool:
        """Open where plain punching can, else a clean end: exit status 3 and a sentence."""
        if self.opens or self.outcome.opened:
            return self.outcome.opened
        return self.outcome.statuses[0] == 3 and bool(self.outcome.sentence)

    def to_json(self) -> dict[str, object]:
        """Returns one flat object."""
        return {**vars(self.cell), "opens": self.opens, **self.outcome.to_json()}


def attempts(cell: Cell, wishes: argparse.Namespace) -> Iterator[Result]:
    """Makes the attempts of one cell, in a laboratory of its own; one acceptor serves them all, unless --fresh."""
    with ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory())
        lab = stack.enter_context(Lab(rtt=wishes.rtt, loss=cell.loss))
        pair = build_pair(lab, cell.pair)
        peers = Peers(lab, pair, Path(folder))
        mediator = peers.mediator(cell.mediator)
        acceptor = None if wishes.fresh else stack.enter_context(peers.accept(mediator, COMMAND))
        for _ in range(wishes.runs if pair.opens else min(wishes.runs, wishes.closed_runs)):
            outcome = peers.attempt(mediator, COMMAND, acceptor=acceptor, timeout=wishes.timeout)
            yield Result(cell, pair.opens, outcome)


def opens(cell: Cell) -> bool:
    """Tells whether plain punching can open a cell's pair."""
    return RELATIONS[cell.pair] if cell.pair in RELATIONS else expected(*cell.pair.split())


def parse() -> argparse.Namespace:
    """Reads the command line."""
    parser = argparse.ArgumentParser(prog="scripts/bench matrix", description=__doc__.partition("\n")[0])
    parser.add_argument("--pair", action="append", help="only this pair: `KIND KIND` or a relation; repeatable")
    parser.add_argument("--kinds", nargs="+", choices=list(KINDS), default=DEFAULT_KINDS, help="all pairs of these")
    parser.add_argument("--mediator", nargs="+", choices=["file", "http"], default=["file", "http"])
    parser.add_argument("--loss", nargs="+", type=float, default=[0.0, 0.05], help="probabilities, one way")
    parser.add_argument("--rtt", type=float, default=0.04, help="seconds")
    parser.add_argument("--runs", type=int, default=20, help="attempts per openable cell")
    parser.add_argument("--closed-runs", type=int, default=1, help="attempts per other cell: each takes long")
    parser.add_argument("--timeout", type=float, default=15.0, help="seconds after which an inviter gives up")
    parser.add_argument("--sample", type=int, help="only so many of the cells, drawn by --seed")
    parser.add_argument("--seed", default="1")
    parser.add_argument("--fresh", action="store_true", help="another acceptor for each attempt")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="laboratories at once")
    parser.add_argument("--json", metavar="FILE", help="one JSON object per attempt")
    parser.add_argument("-v", "--verbose", action="store_true", help="show every event of an attempt gone wrong")
    return parser.parse_args()


def cells(wishes: argparse.Namespace) -> list[Cell]:
    """Returns what to do, in an order in which one kind's faults do not come all together."""
    pairs = wishes.pair or [*(f"{a} {b}" for a, b in product(wishes.kinds, repeat=2)), *RELATIONS]
    todo = [Cell(*each) for each in product(pairs, wishes.mediator, wishes.loss)]
    Random(wishes.seed).shuffle(todo)
    return todo[: wishes.sample]


def run(wishes: argparse.Namespace) -> list[Result]:
    """Makes every attempt, several laboratories at a time."""
    results: list[Result] = []
    done = 0
    lock, stopped = threading.Lock(), threading.Event()
    todo = cells(wishes)

    def work(cell: Cell) -> None:
        nonlocal done
        for result in attempts(cell, wishes):
            with lock:
                results.append(result)
                log.write(json.dumps(result.to_json()) + "\n")
                log.flush()
                if not result.as_predicted:
                    complain(result, wishes.verbose)
            if stopped.is_set():
                return
        with lock:
            done += 1
            if sys.stderr.isatty():
                print(f"{done} of {len(todo)} cells", end="\r", file=sys.stderr, flush=True)

    # Peers that cannot reach each other mostly wait, so many can do so at once, beside the others.
    with (
        open(wishes.json or os.devnull, "w", encoding="utf-8") as log,
        ThreadPoolExecutor(wishes.jobs) as pool,
        ThreadPoolExecutor(WAITING * wishes.jobs) as patient,
    ):
        futures = [(pool if opens(cell) else patient).submit(work, cell) for cell in todo]
        try:
            for future in as_completed(futures):
                future.result()
        except BaseException:
            stopped.set()
            pool.shutdown(wait=False, cancel_futures=True)
            patient.shutdown(wait=False, cancel_futures=True)
            raise
    return results


def complain(result: Result, verbose: bool) -> None:
    """Says what went wrong in one attempt."""
    cell, outcome = result.cell, result.outcome
    print(
        f"{cell.pair} ({cell.mediator}, loss {cell.loss:g}): statuses {outcome.statuses} after "
        f"{outcome.seconds:.1f} s. {outcome.sentence}",
        flush=True,
    )
    for name, events in zip("ab", outcome.events, strict=True) if verbose else ():
        for event in events:
            print(f"   {name} {json.dumps(event)}")


def grid(results: Iterable[Result]) -> None:
    """Prints opened/attempted for each pair of kinds: rows invite, columns wait."""
    opened: Counter[str] = Counter()
    made: Counter[str] = Counter()
    for result in results:
        made[result.cell.pair] += 1
        opened[result.cell.pair] += result.outcome.opened
    rows = [kind for kind in KINDS if any(pair.split()[0] == kind for pair in made if " " in pair)]
    columns = [kind for kind in KINDS if any(pair.split()[-1] == kind for pair in made if " " in pair)]
    if rows:
        print(" " * 17 + " ".join(f"{column[:9]:>9}" for column in columns))
    for row in rows:
        marks = []
        for column in columns:
            name = f"{row} {column}"
            marks.append(f"{opened[name]}/{made[name]}" if made[name] else "")
        print(f"{row:<17}" + " ".join(f"{mark:>9}" for mark in marks))
    for name in RELATIONS:
        if made[name]:
            print(f"{name:<27}{opened[name]}/{made[name]}")


def report(results: list[Result], seconds: float) -> bool:
    """Prints the table and the shares; returns whether they are what is wanted."""
    grid(results)
    fine = True
    print(f"\n{len(results)} attempts in {seconds:.0f} s")
    for loss, mediator in sorted({(r.cell.loss, r.cell.mediator) for r in results}):
        group = [r for r in results if (r.cell.loss, r.cell.mediator) == (loss, mediator)]
        openable = [r.outcome for r in group if r.opens]
        closed = [r for r in group if not r.opens]
        label = f"{mediator:<5} loss {loss:<5g}"
        if openable:
            opened = [outcome for outcome in openable if outcome.opened]
            share = len(opened) / len(openable)
            fine &= share >= WANTED.get(loss, LOSSY)
            print(f"{label} openable: {len(opened)} of {len(openable)} opened = {share:.2%}{medians(opened)}")
        if closed:
            fine &= all(r.as_predicted for r in closed)
            clean = sum(r.outcome.statuses[0] == 3 and bool(r.outcome.sentence) for r in closed)
            opened_too = sum(r.outcome.opened for r in closed)
            print(
                f"{label} not openable: {opened_too} of {len(closed)} opened, "
                f"{clean} ended with exit status 3 and a sentence"
            )
    return fine


def medians(opened: list[Outcome]) -> str:
    """Returns how long it took."""
    if not opened:
        return ""
    path = statistics.median(outcome.elapsed or 0.0 for outcome in opened)
    whole = statistics.median(outcome.seconds for outcome in opened)
    return f"; path after {path:.3f} s, whole run with its command {whole:.2f} s (medians)"


def main() -> int:
    """Runs what the command line asks for; 1 where fewer opened than should."""
    wishes = parse()
    start = time.monotonic()
    results = run(wishes)
    return 0 if report(results, time.monotonic() - start) else 1


if __name__ == "__main__":
    sys.exit(main())
