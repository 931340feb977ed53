"""init, id and peer, as a person types them."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from holepunch.cli import init as init_module
from holepunch.cli.id import draw
from holepunch.home import Home
from holepunch.proto.identity import Identity, PeerId

ALICE, BOB = (str(Identity.from_seed(bytes([number]) * 32).peer_id) for number in range(2))
HUB = "https://hub.example"


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Home:
    monkeypatch.setenv("HOLEPUNCH_HOME", str(tmp_path / "home"))
    return Home(tmp_path / "home")


def holepunch(*arguments: str) -> "subprocess.CompletedProcess[str]":
    """Runs the real program."""
    return subprocess.run([sys.executable, "-m", "holepunch", *arguments], capture_output=True, text=True, check=False)


def run(name: str, *arguments: str) -> Result:
    from importlib import import_module

    return CliRunner().invoke(import_module(f"holepunch.cli.{name}").command, arguments)


def test_init_makes_an_identity_and_id_prints_it(home: Home) -> None:
    made = holepunch("init", "--name", "remote")
    assert made.returncode == 0
    shown = holepunch("id")
    assert (shown.returncode, shown.stderr) == (0, "")
    assert shown.stdout == made.stdout == f"{home.identity().peer_id}\n"
    assert home.name == "remote"
    assert str(home.identity_path) in made.stderr


def test_a_second_init_is_refused_with_status_2_and_a_hint(home: Home) -> None:
    assert holepunch("init").returncode == 0
    before = home.identity_path.read_bytes()
    again = holepunch("init", "--name", "other")
    assert (again.returncode, again.stdout) == (2, "")
    assert again.stderr.splitlines() == [
        f"holepunch: {home.path} already holds an identity",
        "  hint: `holepunch id` prints it.  For a second one, set HOLEPUNCH_HOME to another folder.",
    ]
    assert home.identity_path.read_bytes() == before


def test_id_without_an_identity_says_what_to_do(home: Home) -> None:
    out = holepunch("id")
    assert (out.returncode, out.stdout) == (2, "")
    assert "hint: Make one: holepunch init" in out.stderr


@pytest.mark.parametrize(
    ("host", "name"),
    [
        ("printer.office.example", "printer"),
        ("Anna's PC", "Anna-s-PC"),
        ("-x-", "x"),
        ("été", "t"),
        ("日本", "machine"),
        ("", "machine"),
        ("localhost", "machine"),
        ("hp1234", "machine"),
        ("a" * 80, "a" * 63),
    ],
)
def test_the_default_name_is_the_host_name_made_fit(monkeypatch: pytest.MonkeyPatch, host: str, name: str) -> None:
    monkeypatch.setattr("socket.gethostname", lambda: host)
    assert init_module.host_name() == name


def test_the_qr_code_is_drawn_above_the_line(home: Home) -> None:
    home.create_identity("remote")
    result = run("id", "--qr")
    lines = result.stdout.splitlines()
    assert lines[-1] == str(home.identity().peer_id)
    assert len(lines) > 10
    assert set("".join(lines[:-1])) <= set(" ▀▄█")
    colours = draw(lines[-1], "ascii")
    assert "\x1b[" in colours
    assert colours.isascii()


def test_the_qr_code_holds_what_peer_add_takes(home: Home) -> None:
    import segno

    text = str(home.create_identity("remote").peer_id)
    # In capitals the line fits the alphanumeric mode (ISO 18004, 7.4.4): 11 bits for two characters, not 16.
    assert segno.make(text.upper(), error="m", micro=False).mode == "alphanumeric"
    assert PeerId.parse(text.upper()) == home.identity().peer_id


def test_peers_are_added_listed_and_removed(home: Home) -> None:
    assert holepunch("peer", "add", "alice", ALICE, "--mediator", HUB, "--mediator", "file:///mnt").returncode == 0
    assert holepunch("peer", "add", "bob", BOB).returncode == 0
    assert holepunch("peer", "ls").stdout == f"alice\t{ALICE}\t{HUB}\tfile:///mnt\nbob\t{BOB}\n"
    rows = [json.loads(line) for line in holepunch("peer", "ls", "--json").stdout.splitlines()]
    assert rows == [
        {"name": "alice", "id": ALICE, "mediators": [HUB, "file:///mnt"]},
        {"name": "bob", "id": BOB, "mediators": []},
    ]
    assert holepunch("peer", "rm", "alice", "bob").returncode == 0
    assert holepunch("peer", "ls").stdout == ""


def test_a_peer_that_is_unknown_cannot_be_removed(home: Home) -> None:
    run("peer", "add", "alice", ALICE)
    out = holepunch("peer", "rm", "alise")
    assert out.returncode == 4
    assert out.stderr.splitlines() == ["holepunch: no peer alise is in the book", "  hint: Did you mean alice?"]


def test_a_mistyped_identity_is_status_2_and_changes_nothing(home: Home) -> None:
    out = holepunch("peer", "add", "alice", ALICE[:-1] + ("q" if ALICE[-1] != "q" else "p"))
    assert out.returncode == 2
    assert "checksum does not match" in out.stderr
    assert not home.path.exists()


def test_a_machine_does_not_add_itself(home: Home) -> None:
    own = str(home.create_identity("remote").peer_id)
    out = holepunch("peer", "add", "me", own)
    assert out.returncode == 2
    assert "identity of this machine itself" in out.stderr
    assert home.peers.list() == []


def test_on_a_terminal_the_peers_are_a_table(home: Home) -> None:
    home.create_identity("remote")
    out = on_a_terminal("peer", "ls")
    assert "the peer book is empty" in out
    run("peer", "add", "alice", ALICE, "--mediator", f"{HUB}/[bold]")
    out = on_a_terminal("peer", "ls")
    assert [line.split() for line in out.splitlines()] == [["alice", ALICE], [f"{HUB}/[bold]"]]


def on_a_terminal(*arguments: str) -> str:
    """Runs the program with its stdout and stderr on a pseudo terminal of 80 columns."""
    import pty

    ours, theirs = pty.openpty()
    environ = {**os.environ, "TERM": "dumb"}
    process = subprocess.Popen(
        [sys.executable, "-m", "holepunch", *arguments], stdout=theirs, stderr=theirs, env=environ
    )
    os.close(theirs)
    out = b""
    while True:
        try:
            data = os.read(ours, 4096)
        except OSError:  # Linux says EIO when the other end is closed
            break
        if not data:
            break
        out += data
    os.close(ours)
    assert process.wait() == 0
    return out.decode()
