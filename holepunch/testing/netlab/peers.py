"""Whole peers: the program itself on the two hosts of a pair, with homes, a mediator and a command.

They are processes that begin from nothing, as a user starts them; what they did is read from their
events (`--json`).
"""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Self

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
    """Exit statuses of the inviter and of the acceptor's command; None where there was none."""
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


class Acceptor:
    """The second machine, waiting for the first: one process that serves until it is stopped.

    Args:
        process: `holepunch --accept`.
        log: where its events go.
    """

    def __init__(self, process: "subprocess.Popen[Any]", log: Path) -> None:
        self._process = process
        self._log = log

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        _end(self._process, 0)

    @property
    def events(self) -> list[dict[str, Any]]:
        """What it has told so far."""
        return _events(self._log)

    def waits(self) -> bool:
        """Waits until it waits for peers; False where it ended, or does not come to it."""
        return self._happens(lambda: any(event["event"] == "waiting" for event in self.events))

    def status_of(self, session: str) -> int | None:
        """Waits until its command on a session has ended and returns the status; None where it does not end."""
        statuses: list[int] = []

        def ended() -> bool:
            exits = (event for event in self.events if event["event"] == "command-exited")
            statuses.extend(event["status"] for event in exits if event["session"] == session)
            return bool(statuses)

        return statuses[0] if self._happens(ended) else None

    def complaint(self) -> str:
        """Returns the end of what it wrote."""
        return self._log.read_text(encoding="utf-8")[-500:].strip()

    def _happens(self, condition: Callable[[], bool]) -> bool:
        deadline = time.monotonic() + PATIENCE
        while not condition():
            if self._process.poll() is not None or time.monotonic() > deadline:
                return condition()
            time.sleep(0.02)
        return True


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
        self._started = 0
        ids = {name: self._setup(name, "init", "--name", name) for name in ("a", "b")}
        self._setup("a", "peer", "add", "b", ids["b"])
        self._setup("b", "peer", "add", "a", ids["a"])

    def environment(self, name: str) -> dict[str, str]:
        """Returns the environment of peer `a` or `b`: its home, and the laboratory's STUN servers."""
        servers = " ".join([*self._lab.stun, *self._lab.stun6])
        return {**os.environ, "HOLEPUNCH_HOME": str(self._folder / name), "HOLEPUNCH_STUN": servers}

    def mediator(self, scheme: str) -> str:
        """Returns the URL of a mediator that both reach: a folder for `file`, a hub in the laboratory for `http`.

        Raises:
            NetworkError: the hub does not start.
        """
        if scheme == "file":
            folder = self._folder / "shared"
            folder.mkdir(exist_ok=True)
            return folder.as_uri()
        if not self._hub:
            self._hub = start_hub(self._lab.public("hub"), self._folder / "hub")
        return self._hub

    def accept(self, mediator: str, command: str, *flags: str) -> Acceptor:
        """Lets the second wait for the first, and run a command on each path; stop it by leaving its `with` block."""
        arguments = ["--accept", "--mediator", mediator, "--json", "--exec", command, *flags]
        return Acceptor(*self._start(self._pair.b, "b", arguments))

    def attempt(
        self, mediator: str, command: str, *flags: str, acceptor: Acceptor | None = None, timeout: float = 15.0
    ) -> Outcome:
        """Lets the first invite the second, and both run a command on the path.

        Args:
            mediator: a URL.
            command: for `--exec`, on both sides.
            flags: more for both.
            acceptor: that waits already; None: one is started, and stopped at the end.
            timeout: seconds after which the inviter gives up.
        """
        if acceptor is None:
            with self.accept(mediator, command, *flags) as started:
                return self.attempt(mediator, command, *flags, acceptor=started, timeout=timeout)
        if not acceptor.waits():
            return Outcome(False, (None, None), 0.0, None, 0, 0, acceptor.complaint(), ([], acceptor.events))
        start = time.monotonic()
        arguments = ["--peer", "b", "--timeout", f"{timeout:g}", "--mediator", mediator, "--json", "--exec", command]
        inviter, log = self._start(self._pair.a, "a", [*arguments, *flags])
        status = _end(inviter, timeout + PATIENCE)
        seconds = time.monotonic() - start
        said = _events(log)
        told = {event["event"]: event for event in said}
        session = told.get("started", {}).get("session", "")
        # Without a path the acceptor goes on waiting, as it should.
        other = acceptor.status_of(session) if status == 0 else None
        selected = told.get("path-selected", {})
        return Outcome(
            opened=status == 0 and other == 0,
            statuses=(status, other),
            seconds=seconds,
            elapsed=selected.get("elapsed"),
            packets=selected.get("packets", 0),
            tuples=selected.get("tuples", 0),
            sentence=told.get("failed", {}).get("reason", ""),
            events=(said, [event for event in acceptor.events if event["session"] in ("", session)]),
        )

    def _setup(self, name: str, *arguments: str) -> str:
        environment = {**os.environ, "HOLEPUNCH_HOME": str(self._folder / name)}
        argv = [*PROGRAM, *arguments]
        return subprocess.run(argv, env=environment, capture_output=True, text=True, check=True).stdout.strip()

    def _start(self, host: Host, name: str, arguments: Sequence[str]) -> "tuple[subprocess.Popen[Any], Path]":
        self._started += 1
        log = self._folder / f"{name}{self._started}.log"
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
