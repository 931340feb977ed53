"""How fast a path opens: whole runs, the punch alone beside aioice, late starters, and an idle acceptor's memory.

    scripts/bench connect [whole] [punch] [late] [idle] [--runs N] [--rtt SECONDS] [--json FILE]

Everything runs on real kernel NATs in namespaces (root, Linux).  `whole` times `holepunch --peer` from its
start to the start of its command, with the http mediator.  `punch` and `late` run one end of each tool on each
side (connect_peer.py); in `late` one side starts that much after the other.
"""

import argparse
import contextlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from holepunch.home import Home, Peer
from holepunch.testing.netlab import Host, Lab

EASY = ["public", "firewall", "eim-eif", "eim-adf", "eim-apdf"]
TOUCHY = ["eim-apdf", "strict", "clash"]
LATE = [0.0, 0.02, 0.06, 0.15, 2.0]
HUB_PORT = 8080
PEER = Path(__file__).with_name("connect_peer.py")


def say(text: str) -> None:
    """Prints a line at once."""
    print(text, flush=True)


def summary(values: list[float], digits: int = 3) -> str:
    """Returns `median (minimum - maximum)`."""
    if not values:
        return "none"
    return f"{statistics.median(values):.{digits}f} ({min(values):.{digits}f} - {max(values):.{digits}f})"


def make_homes(folder: Path) -> None:
    """Makes two homes that know each other."""
    ids = {name: Home(folder / name).create_identity(name).peer_id for name in "ab"}
    Home(folder / "a").peers.add(Peer("b", ids["b"]))
    Home(folder / "b").peers.add(Peer("a", ids["a"]))
    for name in "ab":
        Home(folder / name).certificate()


@contextlib.contextmanager
def hub(lab: Lab, folder: Path) -> Iterator[str]:
    """Runs a hub on a public host; yields its URL."""
    host = lab.public("hub")
    listen = f"{host.address}:{HUB_PORT}"
    state = folder / "hub.sqlite"
    argv = [sys.executable, "-m", "holepunch", "hub", "run", "--listen", listen, "--state", str(state)]
    process = host.popen(argv, stderr=subprocess.PIPE)
    if process.stderr is None:
        raise RuntimeError("the hub has no stderr")
    for line in process.stderr:
        if "ready" in line:
            break
    try:
        yield f"http://{listen}"
    finally:
        process.terminate()
        process.wait(10)


def holepunch(host: Host, folder: Path, name: str, mediator: str, stun: list[str], *arguments: str) -> Any:
    """Starts a real `holepunch` on a host of the laboratory."""
    argv = [sys.executable, "-m", "holepunch", *arguments, "--mediator", mediator, "--json"]
    for server in stun:
        argv += ["--stun", server]
    environment = {**os.environ, "HOLEPUNCH_HOME": str(folder / name)}
    return host.popen(argv, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE)


def events(output: str) -> list[dict[str, Any]]:
    """Returns the JSON events in a process's output."""
    return [json.loads(line) for line in output.splitlines() if line.startswith("{")]


def measure_whole(runs: int, rtt: float) -> dict[str, Any]:
    """Times whole runs: process start to command start, and from both offers known to the valid path."""
    whole: list[float] = []
    punch: list[float] = []
    packets: list[float] = []
    tuples: list[float] = []
    failures = 0
    pairs = [(a, b) for a in EASY for b in EASY]
    for number in range(runs):
        a, b = pairs[number * 7 % len(pairs)]
        with tempfile.TemporaryDirectory() as name, Lab(rtt=rtt) as lab:
            folder = Path(name)
            make_homes(folder)
            left, right, stun = lab.site(a).host(), lab.site(b).host(), lab.stun
            with hub(lab, folder) as url:
                acceptor = holepunch(right, folder, "b", url, stun, "--accept", "--once", "--exec", "true {peer}")
                wait_for_event(acceptor, "waiting")
                time.sleep(1.0)  # an acceptor has been there for a while; it has gathered ahead
                started = time.time()
                inviter = holepunch(left, folder, "a", url, stun, "--peer", "b", "--exec", "true {peer}")
                _, output = inviter.communicate(timeout=60)
                acceptor.communicate(timeout=60)
            seen = {event["event"]: event for event in events(output)}
            if inviter.returncode != 0:
                failures += 1
                say(f"  {a} -> {b}: exit status {inviter.returncode}")
                continue
            whole.append(seen["command-started"]["t"] - started)
            punch.append(seen["path-selected"]["elapsed"])
            packets.append(seen["path-selected"]["packets"])
            tuples.append(seen["path-selected"]["tuples"])
    say(f"whole runs at {rtt * 1000:.0f} ms round trip, http mediator, {runs} runs over easy pairs, {failures} failed")
    say(f"  start of --peer to start of its command   {summary(whole)} s")
    say(f"  both offers known to valid path           {summary(punch)} s, limit {3 * rtt + 0.05:.3f}")
    say(f"  datagrams of the inviter until then       {summary(packets, 0)}, new 5-tuples {summary(tuples, 0)}")
    return {"rtt": rtt, "whole": whole, "punch": punch, "packets": packets, "tuples": tuples, "failures": failures}


def wait_for_event(process: Any, name: str) -> None:
    """Reads a process's events, on either stream, until one has come."""
    stream = process.stderr
    for line in stream:
        if f'"event": "{name}"' in line:
            return
    raise RuntimeError(f"no event {name}: {process.wait()}")


def one_attempt(tool: str, a: str, b: str, rtt: float, late: float) -> list[dict[str, Any]]:
    """Runs one attempt of a tool; returns the results of both ends, the inviter's first."""
    with tempfile.TemporaryDirectory() as folder, Lab(rtt=rtt) as lab:
        ends = []
        stun = ",".join(lab.stun)
        for role, kind, delay in (("connect", a, late), ("accept", b, 0.0)):
            host = lab.site(kind).host()
            argv = [sys.executable, str(PEER), tool, role, folder, stun, str(delay), host.address]
            ends.append(host.popen(argv, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL))
        outputs = [end.communicate(timeout=90)[0] for end in ends]
    return [json.loads(output) if output.strip() else {"ok": False} for output in outputs]


def measure_punch(runs: int, rtt: float) -> dict[str, Any]:
    """Times both tools from both descriptions known to a usable path, in turn."""
    times: dict[str, list[float]] = {"holepunch": [], "aioice": []}
    ratios: list[float] = []
    for _ in range(runs):
        pair: dict[str, float] = {}
        for tool, values in times.items():
            result = one_attempt(tool, "eim-apdf", "eim-apdf", rtt, 0.0)[0]
            if result["ok"]:
                pair[tool] = result["elapsed"]
                values.append(result["elapsed"])
        if len(pair) == len(times):
            ratios.append(pair["holepunch"] / pair["aioice"])
    say(f"eim-apdf to eim-apdf at {rtt * 1000:.0f} ms, {runs} runs each in turn: both known to path, seconds")
    for tool, values in times.items():
        say(f"  {tool:10} {summary(values)}")
    say(f"  ratio, pair by pair: {summary(ratios, 2)}")
    return {"rtt": rtt, **times}


def measure_late(rtt: float) -> dict[str, Any]:
    """Counts the cells of TOUCHY x TOUCHY that each tool opens when one side starts late."""
    table: dict[str, dict[str, int]] = {}
    say(f"cells of {' '.join(TOUCHY)} (ordered pairs) opened, the inviter late by ...")
    for tool in ("holepunch", "aioice"):
        table[tool] = {}
        for late in LATE:
            opened = sum(all(end["ok"] for end in one_attempt(tool, a, b, rtt, late)) for a in TOUCHY for b in TOUCHY)
            table[tool][f"{late:g}"] = opened
        cells = len(TOUCHY) ** 2
        say(f"  {tool:10} " + "  ".join(f"{float(late) * 1000:.0f} ms: {n}/{cells}" for late, n in table[tool].items()))
    return table


def measure_idle(rtt: float) -> dict[str, Any]:
    """Reads the resident memory of an acceptor that waits."""
    with tempfile.TemporaryDirectory() as name, Lab(rtt=rtt) as lab:
        folder = Path(name)
        make_homes(folder)
        host, stun = lab.site("eim-apdf").host(), lab.stun
        with hub(lab, folder) as url:
            acceptor = holepunch(host, folder, "b", url, stun, "--accept", "--exec", "true")
            wait_for_event(acceptor, "waiting")
            time.sleep(3)  # until it has gathered ahead
            status = Path(f"/proc/{acceptor.pid}/status").read_text()
            acceptor.terminate()
            acceptor.communicate(timeout=20)
    kilobytes = next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmRSS"))
    say(f"an idle --accept on the http mediator: {kilobytes / 1024:.1f} MB resident")
    return {"rss_mb": kilobytes / 1024}


def main() -> None:
    """Runs what was asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", nargs="*", choices=["whole", "punch", "late", "idle", []])
    parser.add_argument("--runs", type=int, default=15)
    parser.add_argument("--rtt", type=float, default=0.08)
    parser.add_argument("--json", type=Path, help="write all figures to this file")
    arguments = parser.parse_args()
    what = arguments.what or ["whole", "punch", "late", "idle"]
    results: dict[str, Any] = {}
    if "whole" in what:
        results["whole"] = measure_whole(arguments.runs, arguments.rtt)
    if "punch" in what:
        results["punch"] = measure_punch(arguments.runs, arguments.rtt)
    if "late" in what:
        results["late"] = measure_late(0.04)
    if "idle" in what:
        results["idle"] = measure_idle(arguments.rtt)
    if arguments.json:
        arguments.json.write_text(json.dumps(results, indent=1))


if __name__ == "__main__":
    main()
