"""`holepunch pair`, as two people run it: real processes, a real folder between them."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from holepunch.home import Home, Peer


class Machine:
    """One machine: a home of its own, and a way to run the program there."""

    def __init__(self, path: Path, name: str) -> None:
        self.home = Home(path / name)
        self.home.create_identity(name)

    def start(self, *arguments: str) -> "subprocess.Popen[str]":
        return subprocess.Popen(
            [sys.executable, "-m", "holepunch", "pair", *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "HOLEPUNCH_HOME": str(self.home.path)},
        )

    def run(self, *arguments: str, typed: str = "") -> tuple[int, str, str]:
        return finish(self.start(*arguments), typed)


def finish(process: "subprocess.Popen[str]", typed: str = "") -> tuple[int, str, str]:
    out, error = process.communicate(typed)
    return process.returncode, out, error


def first_line(process: "subprocess.Popen[str]") -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


@pytest.fixture
def alice(tmp_path: Path) -> Machine:
    return Machine(tmp_path, "alice")


@pytest.fixture
def bob(tmp_path: Path) -> Machine:
    return Machine(tmp_path, "bob")


@pytest.fixture
def url(tmp_path: Path) -> str:
    (tmp_path / "shared").mkdir()
    return f"file://{tmp_path}/shared"


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[str]:
    arguments = [
        "hub",
        "run",
        "--listen",
        "127.0.0.1:0",
        "--no-stun",
        "--json",
        "--state",
        str(tmp_path / "hub.sqlite"),
    ]
    process = subprocess.Popen([sys.executable, "-m", "holepunch", *arguments], stdout=subprocess.PIPE, text=True)
    try:
        yield json.loads(first_line(process))["urls"][0]
    finally:
        process.terminate()
        process.communicate()


def test_two_machines_pair_over_a_hub(alice: Machine, bob: Machine, hub: str) -> None:
    waiting = alice.start("--mediator", hub)
    status, out, error = bob.run(first_line(waiting), "--mediator", hub)
    assert (status, out) == (0, f"alice\t{alice.home.identity().peer_id}\n"), error
    assert finish(waiting)[:2] == (0, f"bob\t{bob.home.identity().peer_id}\n")
    for machine in (alice, bob):
        (peer,) = machine.home.peers.list()
        assert peer.mediators == (hub,)


def test_a_hub_that_is_down_is_status_5(alice: Machine) -> None:
    status, out, error = alice.run("--mediator", "http://127.0.0.1:9", "--timeout", "1")
    assert (status, out) == (5, "")
    assert error.startswith("holepunch: the hub http://127.0.0.1:9 cannot be reached")


def test_two_machines_pair_over_a_folder(alice: Machine, bob: Machine, url: str) -> None:
    waiting = alice.start("--mediator", url)
    code = first_line(waiting)
    status, out, error = bob.run(code.upper().replace("-", " "), "--mediator", url, "--name", "office")
    assert (status, out) == (0, f"office\t{alice.home.identity().peer_id}\n"), error
    assert "office is in the peer book" in error
    status, out, error = finish(waiting)
    assert (status, out) == (0, f"bob\t{bob.home.identity().peer_id}\n"), error
    assert f"holepunch pair {code}" in error
    assert alice.home.peers.list() == [Peer("bob", bob.home.identity().peer_id, (url,))]
    assert bob.home.peers.list() == [Peer("office", alice.home.identity().peer_id, (url,))]


def test_the_mediators_of_the_settings_are_used_and_not_written_to_the_book(
    alice: Machine, bob: Machine, url: str
) -> None:
    for machine in (alice, bob):
        machine.home.settings_path.write_text(f'mediators = ["{url}"]\n')
    waiting = alice.start()
    status, _, error = bob.run("-", typed=first_line(waiting) + "\n")
    assert (status, finish(waiting)[0]) == (0, 0), error
    assert alice.home.peers.list() == [Peer("bob", bob.home.identity().peer_id)]
    assert bob.home.peers.list() == [Peer("alice", alice.home.identity().peer_id)]


def test_a_wrong_code_is_status_4_on_both_sides_and_changes_no_book(alice: Machine, bob: Machine, url: str) -> None:
    waiting = alice.start("--mediator", url)
    nameplate, first, second = first_line(waiting).split("-")
    wrong = "tiger" if second != "tiger" else "zebra"
    results = [bob.run(f"{nameplate}-{first}-{wrong}", "--mediator", url), finish(waiting)]
    for status, out, error in results:
        assert (status, out) == (4, "")
        assert "holepunch: the two machines did not use the same code\n" in error
        assert "hint: A code is good for one try" in error
    assert alice.home.peers.list() == bob.home.peers.list() == []


def test_a_mistyped_word_costs_no_try(alice: Machine, bob: Machine, url: str) -> None:
    waiting = alice.start("--mediator", url)
    code = first_line(waiting)
    status, _, error = bob.run(code + "x", "--mediator", url)
    assert status == 2
    assert f"Did you mean {code.split('-')[2]}?" in error
    assert bob.run(code, "--mediator", url)[0] == 0
    assert finish(waiting)[0] == 0


def test_nobody_comes_is_status_7(alice: Machine, bob: Machine, url: str, tmp_path: Path) -> None:
    for machine, arguments in ((alice, []), (bob, ["7314-amber-falcon"])):
        status, _, error = machine.run(*arguments, "--mediator", url, "--timeout", "1")
        assert status == 7
        assert "did not come within 1 s" in error
    assert list((tmp_path / "shared").iterdir()) == []


def test_an_interrupt_is_quiet_and_leaves_the_folder_clean(alice: Machine, url: str, tmp_path: Path) -> None:
    waiting = alice.start("--mediator", url)
    first_line(waiting)
    assert len(list((tmp_path / "shared").iterdir())) == 1
    waiting.send_signal(signal.SIGINT)
    status, _, error = finish(waiting)
    assert status == 130
    assert "Traceback" not in error
    assert list((tmp_path / "shared").iterdir()) == []


def test_what_cannot_work_is_said_before_anything_is_sent(
    alice: Machine, bob: Machine, url: str, tmp_path: Path
) -> None:
    alice.home.peers.add(Peer("bob", bob.home.identity().peer_id))
    for arguments, message in [
        ([], "there is no mediator to meet at"),
        (["--mediator", "nonsense"], "--mediator: 'nonsense' is not a URL"),
        (["--mediator", "unheard:x"], "no mediator serves 'unheard'"),
        (["--mediator", f"file://{tmp_path}/missing"], "does not exist"),
        (["--mediator", url, "--name", "bob"], "bob is already in the book"),
        (["--mediator", url, "--name", "a b"], "'a b' is not a name"),
        (["--mediator", url, ""], "'' is not a code"),
    ]:
        status, out, error = alice.run(*arguments)
        assert (status, out) == (2, ""), error
        assert message in error
        assert "hint:" in error
    assert list((tmp_path / "shared").iterdir()) == []


def test_a_machine_without_an_identity_is_told_to_make_one(tmp_path: Path, alice: Machine, url: str) -> None:
    alice.home.identity_path.unlink()
    status, _, error = alice.run("--mediator", url)
    assert status == 2
    assert "hint: Make one: holepunch init" in error
