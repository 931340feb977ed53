"""`holepunch doctor`: what it finds, what it advises, and its exit status."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from holepunch.cli import examination
from holepunch.cli.examination import kernel_clock_is_synchronised
from holepunch.cli.main import cli
from holepunch.home import Home, Peer
from holepunch.mediator import Finding, Mailbox, Mediator
from holepunch.net.interfaces import Interface
from holepunch.proto.envelope import Envelope
from holepunch.proto.identity import Identity

LOOPBACK = f"127.77.{os.getpid() % 250}"


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Home:
    """A home where all is well, without STUN servers."""
    monkeypatch.setenv("HOLEPUNCH_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("HOLEPUNCH_STUN", "")
    monkeypatch.setenv("HOLEPUNCH_MEDIATORS", f"file://{tmp_path}")
    home = Home(tmp_path / "home")
    home.create_identity("here")
    home.peers.add(Peer("remote", Identity.from_seed(bytes(32)).peer_id))
    return home


def doctor(*args: str) -> Result:
    return CliRunner().invoke(cli, ["doctor", *args], prog_name="holepunch")


def findings(subject: str) -> list[dict[str, Any]]:
    """Runs the doctor and returns what it finds of one subject."""
    report = json.loads(doctor("--json").stdout)
    return [finding for finding in report["findings"] if finding["subject"] == subject]


def finding(subject: str) -> dict[str, Any]:
    (only,) = findings(subject)
    return only


@pytest.mark.usefixtures("home")
def test_a_healthy_machine_has_no_problem() -> None:
    result = doctor()
    assert result.exit_code == 0, result.output
    assert "✗" not in result.stdout
    assert "✓ identity    here, hp1" in result.stdout
    assert "✓ peer book   1 peer: remote" in result.stdout
    assert "✓ mediator    file" in result.stdout
    assert "A session can work" in result.stdout


@pytest.mark.usefixtures("home")
def test_json_has_every_finding_and_the_status() -> None:
    report = json.loads(doctor("--json").stdout)
    assert report["status"] == 0
    assert {found["area"] for found in report["findings"]} >= {"identity", "peer book", "settings", "clock", "NAT"}
    assert all(found.keys() == {"area", "subject", "level", "text", "fix"} for found in report["findings"])
    assert all(found["fix"] for found in report["findings"] if found["level"] != "ok")


def test_no_identity_is_the_first_thing_to_fix(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOLEPUNCH_HOME", str(home.path / "other"))
    result = doctor()
    assert result.exit_code == 2
    assert "holepunch init" in result.stdout
    assert "1 of" in result.stdout


def test_a_key_that_others_can_read_is_a_problem_with_its_chmod(home: Home) -> None:
    home.identity_path.chmod(0o644)
    result = doctor()
    assert result.exit_code == 2
    assert "chmod" in result.stdout


def test_an_empty_peer_book_is_a_warning(home: Home) -> None:
    home.peers.remove("remote")
    assert finding("peer book")["level"] == "warning"
    assert "holepunch pair" in finding("peer book")["fix"]
    assert doctor().exit_code == 0


def test_a_broken_peer_book_and_broken_settings_are_problems(home: Home) -> None:
    home.peers.path.write_text("remote not-an-id\n")
    home.settings_path.write_text("nmae = 'x'\n")
    for path in (home.peers.path, home.settings_path):
        path.chmod(0o600)
    assert finding("peer book")["level"] == "problem"
    assert "line 1" in finding("settings")["text"]
    assert doctor().exit_code == 2


@pytest.mark.usefixtures("home")
def test_the_environment_s_part_in_the_settings_is_named() -> None:
    assert "HOLEPUNCH_MEDIATORS, HOLEPUNCH_STUN" in finding("settings")["text"]


@pytest.mark.usefixtures("home")
def test_a_clock_that_was_never_set_is_a_problem(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time, "time", lambda: 0.0)
    assert "1970-01-01" in finding("clock")["text"]
    assert doctor().exit_code == 2


@pytest.mark.usefixtures("home")
@pytest.mark.parametrize(("kernel", "level"), [(True, "ok"), (False, "warning"), (None, "ok")])
def test_a_clock_that_nothing_keeps_exact_is_a_warning(
    monkeypatch: pytest.MonkeyPatch, kernel: bool | None, level: str
) -> None:
    monkeypatch.setattr(examination, "kernel_clock_is_synchronised", lambda: kernel)
    assert finding("clock")["level"] == level


@pytest.mark.skipif(sys.platform != "linux", reason="adjtimex is Linux's")
def test_the_kernel_says_whether_its_clock_is_synchronised() -> None:
    assert kernel_clock_is_synchronised() in (True, False)


@pytest.mark.usefixtures("home")
def test_a_machine_without_a_network_is_told_to_connect(monkeypatch: pytest.MonkeyPatch) -> None:
    loopback = Interface(name="lo", host="127.0.0.1", family=4, prefix_length=8, is_loopback=True)
    monkeypatch.setattr(examination, "interfaces", lambda: [loopback])
    assert finding("interfaces")["level"] == "problem"
    assert doctor().exit_code == 6


@pytest.mark.usefixtures("home")
def test_a_machine_with_nothing_but_a_vpn_is_warned(monkeypatch: pytest.MonkeyPatch) -> None:
    tunnel = Interface(name="tun0", host="10.8.0.2", family=4, prefix_length=24, is_tunnel=True)
    monkeypatch.setattr(examination, "interfaces", lambda: [tunnel])
    assert finding("interfaces")["level"] == "warning"
    assert "tun0" in finding("interfaces")["text"]


@pytest.mark.usefixtures("home")
def test_few_open_files_are_a_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    import resource

    monkeypatch.setattr(resource, "getrlimit", lambda _: (256, 256))
    assert "ulimit" in finding("open files")["fix"]


# Mediators.


class Broken(Mediator):
    """A plug-in by somebody else, which fails in every way but the agreed one."""

    async def post(self, envelope: Envelope) -> None:
        raise ZeroDivisionError

    def receive(self) -> Any:
        raise ZeroDivisionError

    async def check(self) -> list[Finding]:
        raise ZeroDivisionError("oops")


@pytest.mark.usefixtures("home")
def test_mediators_that_fail_are_named_with_their_fix(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOLEPUNCH_MEDIATORS", f"file://{tmp_path}/nowhere gopher://hub http://127.0.0.1:1")
    report = json.loads(doctor("--json").stdout)
    found = [f for f in report["findings"] if f["area"] == "mediators"]
    assert [f["level"] for f in found] == ["problem", "problem", "problem"]
    assert all(f["fix"] for f in found)
    assert report["status"] == 5


@pytest.mark.usefixtures("home")
def test_a_plug_in_that_breaks_is_a_finding(monkeypatch: pytest.MonkeyPatch) -> None:
    def make(url: str, mailbox: Mailbox) -> Mediator:
        from urllib.parse import urlsplit

        return Broken(urlsplit(url), mailbox)

    monkeypatch.setattr(examination, "make_mediator", make)
    result = doctor()
    assert result.exit_code == 5
    assert "its plug-in failed: ZeroDivisionError: oops" in result.stdout


def test_no_mediator_is_a_warning(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOLEPUNCH_MEDIATORS", "")
    assert "config.toml" in finding("mediators")["fix"]
    assert doctor().exit_code == 0


# STUN and NATs: servers of our own on loopback, where nothing translates.


@pytest.fixture
def stun(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[int], None]]:
    """Starts STUN servers on loopback and names them in the environment."""
    running: list[subprocess.Popen[str]] = []

    def start(number: int) -> None:
        hosts = [f"{LOOPBACK}.{n}" for n in range(1, number + 1)]
        for host in hosts:
            argv = [sys.executable, "-m", "holepunch.testing.stunserver", "--address", host]
            running.append(subprocess.Popen(argv, stdout=subprocess.PIPE, text=True))
        for process in running:
            assert process.stdout
            assert process.stdout.readline() == "ready\n"
        monkeypatch.setenv("HOLEPUNCH_STUN", " ".join(hosts))

    yield start
    for process in running:
        process.kill()
        process.communicate()


@pytest.mark.usefixtures("home")
def test_two_servers_tell_who_can_reach_us(stun: Callable[[int], None]) -> None:
    stun(2)
    assert finding("STUN")["level"] == "ok"
    assert finding("NAT, IPv4")["text"].startswith("Peers can reach you directly: ")


@pytest.mark.usefixtures("home")
def test_one_server_is_too_few(stun: Callable[[int], None]) -> None:
    stun(1)
    assert finding("STUN")["level"] == "warning"
    assert "second" in finding("STUN")["fix"]


@pytest.mark.usefixtures("home")
def test_servers_that_do_not_answer_mean_blocked_udp(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOLEPUNCH_STUN", f"{LOOPBACK}.200")
    assert finding("STUN")["level"] == "problem"
    assert "UDP" in finding("STUN")["fix"]
    assert doctor().exit_code == 6


@pytest.mark.usefixtures("home")
def test_no_server_is_a_warning_that_says_what_it_costs() -> None:
    assert finding("STUN")["level"] == "warning"


def test_the_network_is_looked_at_all_at_once(monkeypatch: pytest.MonkeyPatch, home: Home) -> None:
    import asyncio

    from holepunch.cli.examination import Visit, examine

    met = asyncio.Barrier(2)

    async def look(_: Visit) -> list[Finding]:
        await met.wait()
        return [Finding("x", "ok", "met")]

    async def run() -> list[str]:
        return [result.area async for result in examine(Visit(home, {}))]

    monkeypatch.setattr(examination, "_NETWORK", [("one", 6, look), ("two", 6, look)])
    assert asyncio.run(run())[-2:] == ["one", "two"]


def test_the_day_of_release_has_passed() -> None:
    assert time.time() > examination.RELEASED
