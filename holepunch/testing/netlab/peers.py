"""Whole peers: the program itself on the two hosts of a pair, with homes, a mediator and a command.

Each attempt is two processes that begin from nothing, as a user starts them; what they did is read
from their events (`--json`).
"""

import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from ...errors import NetworkError
from .host import Host
from .lab import Lab
from .pairs import Pair

PROGRAM = [sys.executable, "-m", "holepunch"]
HUB_PORT = 8080
PATIENCE = 20.0  # seconds for a program to start, or to end when it was told to


@dataclass(slots=True)
class Outcome:
    """What became of one attempt."""

    opened: bool
    """Whether both commands ran and both ended with status 0."""
    statuses: tuple[int | None, int | None]
    """Exit statuses of the inviter and of the acceptor; None where it had to be stopped."""
    seconds: float
    """From the inviter's start to its end, command included."""
    elapsed: float | None
    """Seconds from both offers known to the selected path, as the inviter saw it."""
    packets: int
    """Punch packets that the inviter sent."""
    tuples: int
    """New 5-tuples that the inviter made."""
    sentence: str
    """Why there is no path, as the inviter told its user."""
    events: tuple[list[dict[str, Any]], list[dict[str, Any]]] = field(repr=False)
    """All events of the inviter and of the acceptor."""

    def to_json(self) -> dict[str, Any]:
        """Returns everything but the events."""
        fields = asdict(self)
        del fields["events"]
        return fields


class Peers:
    """Two machines that know each other, at the two ends of a pair.

    Args:
        lab: the laboratory of the pair.
        pair: where they are; the first invites, the second waits.
        folder: for their homes, mediators and logs.

    Raises:
        subprocess.CalledProcessError: they cannot be introduced to each other.
    """

    def __init__(self, lab: Lab, pair: Pair, folder: Path) -> None:
        self._lab = lab
        self._pair = pair
        self._folder = folder
        self._hub = ""
        self._attempts = 0
        ids = {name: self._setup(name, "init", "--name", name) for name in ("a", "b")}
        self._setup("a", "peer", "add", "b", ids["b"])
        self._setup("b", "peer", "add", "a", ids["a"])

    def environment(self, name: str) -> dict[str, str]:
        """Returns the environment of peer `a` or `b`: its home, and the laboratory's STUN servers."""
        servers = " ".join([*self._lab.stun, *self._lab.stun6])
        return {**os.environ, "HOLEPUNCH_HOME": str(self._folder / name), "HOLEPUNCH_STUN": servers}

    def mediator(self, scheme: str) -> str:
        """Returns the URL of a mediator that both reach: a fresh folder for `file`, a hub for `http`.

        Raises:
            NetworkError: the hub does not start.
        """
        if scheme == "file":
            folder = self._folder / f"shared{self._attempts}"
            folder.mkdir(exist_ok=True)
            return folder.as_uri()
        if not self._hub:
            self._hub = start_hub(self._lab.public("hub"), self._folder / "hub")
        return self._hub

    def attempt(self, mediator: str, command: str, *flags: str, timeout: float = 15.0) -> Outcome:
        """Lets the first invite the second, and both run a command on the path.

        Args:
            mediator: a URL.
            command: for `--exec`, on both sides.
            flags: more for both.
            timeout: seconds after which the inviter gives up.

        """
        self._attempts += 1
        common = ["--mediator", mediator, "--json", "--exec", command, *flags]
        acceptor, heard = self._start(self._pair.b, "b", ["--accept", "--once", *common])
        try:
            if not _waits(acceptor, heard):
                return _stillborn(acceptor, heard)
            start = time.monotonic()
            inviter, said = self._start(self._pair.a, "a", ["--peer", "b", "--timeout", f"{timeout:g}", *common])
            status = _end(inviter, timeout + PATIENCE)
            seconds = time.monotonic() - start
            # Without a path the acceptor goes on waiting, as it should.
            other = _end(acceptor, PATIENCE if status == 0 else 0)
        finally:
            _end(acceptor, 0)
        events = _events(said), _events(heard)
        selected = next((event for event in events[0] if event["event"] == "path-selected"), {})
        failed = next((event for event in events[0] if event["event"] == "failed"), {})
        return Outcome(
            opened=status == 0 and other == 0,
            statuses=(status, other),
            seconds=seconds,
            elapsed=selected.get("elapsed"),
            packets=selected.get("packets", 0),
            tuples=selected.get("tuples", 0),
            sentence=failed.get("reason", ""),
            events=events,
        )

    def _setup(self, name: str, *arguments: str) -> str:
        environment = {**os.environ, "HOLEPUNCH_HOME": str(self._folder / name)}
        argv = [*PROGRAM, *arguments]
        return subprocess.run(argv, env=environment, capture_output=True, text=True, check=True).stdout.strip()

    def _start(self, host: Host, name: str, arguments: Sequence[str]) -> "tuple[subprocess.Popen[Any], Path]":
        log = self._folder / f"{name}{self._attempts}.log"
        with log.open("wb") as stream:
            process = host.popen(
                [*PROGRAM, *arguments], env=self.environment(name), stdout=subprocess.DEVNULL, stderr=stream
            )
        return process, log


def start_hub(host: Host, home: Path) -> str:
    """Starts a hub on a host of a laboratory and returns its URL.

    Raises:
        NetworkError: it does not start.
    """
    home.mkdir(exist_ok=True)
    address = f"{host.address}:{HUB_PORT}"
    argv = [*PROGRAM, "hub", "run", "--listen", address, "--no-stun", "--json"]
    hub = host.popen(argv, env={**os.environ, "HOLEPUNCH_HOME": str(home)}, stdout=subprocess.PIPE)
    line = hub.stdout.readline() if hub.stdout else ""
    if '"ready"' not in line:
        raise NetworkError(f"the hub does not start: it ended with status {hub.wait(PATIENCE)}")
    return f"http://{address}"


def _waits(acceptor: "subprocess.Popen[Any]", log: Path) -> bool:
    """Waits until an acceptor waits; False where it ended, or does not come to it."""
    deadline = time.monotonic() + PATIENCE
    while b'"waiting"' not in log.read_bytes():
        if acceptor.poll() is not None or time.monotonic() > deadline:
            return False
        time.sleep(0.01)
    return True


def _stillborn(acceptor: "subprocess.Popen[Any]", log: Path) -> Outcome:
    """Returns what there is to say of an acceptor that did not come to waiting."""
    said = log.read_text(encoding="utf-8")[-500:].strip()
    sentence = f"the acceptor did not wait: {said}"
    return Outcome(False, (None, acceptor.poll()), 0.0, None, 0, 0, sentence, ([], _events(log)))


def _end(process: "subprocess.Popen[Any]", patience: float) -> int | None:
    """Waits for a process, and then stops it; returns its status, None where it had to be stopped."""
    try:
        return int(process.wait(patience))
    except subprocess.TimeoutExpired:
        process.terminate()
    try:
        process.wait(PATIENCE)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    return None


def _events(log: Path) -> list[dict[str, Any]]:
    """Reads the events of a log; other lines are what a person was told."""
    return [json.loads(line) for line in log.read_text(encoding="utf-8").splitlines() if line.startswith("{")]
