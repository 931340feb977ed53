"""Two processes with one home: each invitation is answered exactly once, and each process gets its own mail.

Real processes, a folder between them, and loopback.
"""

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from holepunch.home import Home, Peer

PATIENCE = 30.0  # seconds


class Machine:
    """One home, and the processes that run on it."""

    def __init__(self, folder: Path, name: str, shared: Path) -> None:
        self.home = Home(folder / name)
        self.name = name
        self.id = self.home.create_identity(name).peer_id
        self.running: list[Process] = []
        self._environment = {
            **os.environ,
            "HOLEPUNCH_HOME": str(self.home.path),
            "HOLEPUNCH_STUN": "",
            "HOLEPUNCH_MEDIATORS": f"file://{shared}",
        }

    def run(self, *arguments: str) -> "Process":
        """Starts a process."""
        process = Process(self._environment, *arguments)
        self.running.append(process)
        return process


class Process:
    """`holepunch --json`, and what it has said so far."""

    def __init__(self, environment: dict[str, str], *arguments: str) -> None:
        self._read, write = os.pipe()
        os.set_blocking(self._read, False)
        self._text = ""
        self.process = subprocess.Popen(
            [sys.executable, "-m", "holepunch", "--json", *arguments],
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=write,
            stderr=write,
            text=True,
        )
        os.close(write)

    def events(self, name: str = "") -> list[dict[str, object]]:
        """Returns the events so far, perhaps those of one name."""
        try:
            while chunk := os.read(self._read, 65536):
                self._text += chunk.decode()
        except BlockingIOError:
            pass
        whole = self._text[: self._text.rfind("\n") + 1]
        events = [json.loads(line) for line in whole.splitlines() if line.startswith("{")]
        return [event for event in events if not name or event["event"] == name]

    def wait_for(self, name: str) -> dict[str, object]:
        """Waits for an event."""
        end = time.monotonic() + PATIENCE
        while not (found := self.events(name)):
            assert time.monotonic() < end, f"no {name}: {self._text}"
            assert self.process.poll() is None or self.events(name), self._text
            time.sleep(0.02)
        return found[0]

    def end(self) -> int:
        """Waits for its end; returns the exit status."""
        return self.process.wait(PATIENCE)

    def stop(self) -> None:
        """Ends it."""
        self.process.terminate()
        self.process.wait(PATIENCE)
        self.events()
        os.close(self._read)


@pytest.fixture
def machines(tmp_path: Path) -> Iterator[tuple[Machine, Machine]]:
    """Two machines that know each other."""
    shared = tmp_path / "shared"
    shared.mkdir()
    alice, bob = Machine(tmp_path, "alice", shared), Machine(tmp_path, "bob", shared)
    alice.home.peers.add(Peer("bob", bob.id))
    bob.home.peers.add(Peer("alice", alice.id))
    yield alice, bob
    for machine in (alice, bob):
        for process in machine.running:
            process.stop()


def answered(*processes: Process) -> list[int]:
    """How many sessions each acceptor has begun."""
    return [len([e for e in process.events("started") if e["role"] == "accept"]) for process in processes]


def test_of_two_acceptors_with_one_home_exactly_one_answers_each_invitation(machines: tuple[Machine, Machine]) -> None:
    alice, bob = machines
    acceptors = [bob.run("--accept"), bob.run("--accept")]
    for acceptor in acceptors:
        acceptor.wait_for("waiting")
    for number in range(1, 4):
        inviter = alice.run("--peer", "bob")
        assert inviter.end() == 0, inviter.events()
        assert sum(answered(*acceptors)) == number
    for acceptor in acceptors:
        assert acceptor.process.poll() is None
        assert acceptor.events("failed") == []


def test_an_acceptor_and_an_inviter_with_one_home_do_not_take_each_others_mail(
    machines: tuple[Machine, Machine],
) -> None:
    alice, bob = machines
    acceptors = {machine.name: machine.run("--accept") for machine in machines}
    for acceptor in acceptors.values():
        acceptor.wait_for("waiting")
    # Both machines now run an acceptor and an inviter, and both invitations cross.
    inviters = [alice.run("--peer", "bob"), bob.run("--peer", "alice")]
    assert [inviter.end() for inviter in inviters] == [0, 0]
    assert all(len(inviter.events("path-selected")) == 1 for inviter in inviters)
    assert 1 <= sum(answered(*acceptors.values())) <= 2
    for acceptor in acceptors.values():
        assert acceptor.process.poll() is None


def test_an_acceptor_that_is_killed_and_started_anew_answers_no_invitation_twice(
    machines: tuple[Machine, Machine],
) -> None:
    alice, bob = machines
    first = bob.run("--accept")
    first.wait_for("waiting")
    assert alice.run("--peer", "bob").end() == 0
    first.process.kill()
    first.process.wait()
    second = bob.run("--accept")
    second.wait_for("waiting")
    assert alice.run("--peer", "bob").end() == 0
    assert answered(second) == [1]
