"""`holepunch lab` by hand: up, list, shell, down, run."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from holepunch.testing.netlab import namespace

pytestmark = pytest.mark.lab


def lab(*arguments: str, status: int = 0) -> "subprocess.CompletedProcess[str]":
    done = subprocess.run(
        [sys.executable, "-m", "holepunch", "lab", *arguments], capture_output=True, text=True, timeout=50, check=False
    )
    assert done.returncode == status, done.stderr
    return done


def test_a_laboratory_goes_up_is_used_and_goes_down() -> None:
    there = json.loads(lab("up", "eim-apdf", "clash", "--rtt", "0.01", "--json").stdout)
    try:
        assert [site["kind"] for site in there["sites"]] == ["eim-apdf", "clash", "public"]
        listed = [json.loads(line) for line in lab("list", "--json").stdout.splitlines()]
        assert there in listed
        named = ["--lab", there["id"]]
        target = there["stun"][0].partition(":")[0]
        assert "1 received" in lab("shell", *named, "a", "ping", "-c1", target).stdout
        inside = lab("shell", *named, "b", "--", "printenv", "HOLEPUNCH_STUN").stdout.split()
        assert inside == there["stun"]
        assert "has no host 'c'" in lab("shell", *named, "c", "true", status=2).stderr
    finally:
        lab("down", "--lab", there["id"])
    assert namespace.names(f"hp-{there['pid']}-") == []
    assert "no laboratory" in lab("down", "--lab", there["id"], status=2).stderr


def test_a_command_runs_in_a_laboratory_of_its_own_and_its_status_is_ours(tmp_path: Path) -> None:
    script = "ip -br -4 address show eth0; exit 9"
    done = lab("run", "--rtt", "0.01", "strict", "public", "--", "sh", "-c", script, status=9)
    assert "192.168.1.2/24" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["up", "symmetric"], "no such kind of site: 'symmetric'"),
        (["up", "same-lan", "public"], "stands alone"),
        (["run", "eim-apdf"], "then --, then a command"),
        (["run", "eim-apdf", "--"], "then --, then a command"),
        (["run", "public", "--", "no-such-program"], "cannot run 'no-such-program'"),
        (["up", "public", "--loss", "2"], "loss is 2.0"),
        (["shell", "--lab", "0-0", "a"], "no laboratory 0-0"),
    ],
)
def test_a_mistake_is_one_sentence_and_status_two(arguments: list[str], sentence: str) -> None:
    assert sentence in lab(*arguments, status=2).stderr


def test_every_kind_and_relation_is_listed() -> None:
    names = [json.loads(line)["name"] for line in lab("kinds", "--json").stdout.splitlines()]
    assert {"public", "eim-apdf", "strict", "same-lan", "common-cgnat-hairpin", "equal-networks"} <= set(names)


def test_the_shell_completes_kinds_and_hosts() -> None:
    environment = {**os.environ, "_HOLEPUNCH_COMPLETE": "bash_complete"}

    def complete(*words: str) -> list[str]:
        line = {"COMP_WORDS": " ".join(["holepunch", "lab", *words]), "COMP_CWORD": str(len(words) + 1)}
        done = subprocess.run(
            [sys.executable, "-m", "holepunch"], env={**environment, **line}, capture_output=True, text=True, check=True
        )
        return [offer.partition(",")[2] for offer in done.stdout.split()]

    assert complete("up", "eim-a") == ["eim-adf", "eim-apdf"]
    there = json.loads(lab("up", "public", "--json").stdout)
    try:
        assert {"servers.stun", "servers.stun2"} <= set(complete("shell", "servers.s"))
    finally:
        lab("down", "--lab", there["id"])


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_laboratory_in_the_foreground_ends_in_order(number: signal.Signals) -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "holepunch", "lab", "up", "public", "--foreground", "--json"],
        stdout=subprocess.PIPE,
        text=True,
    )
    with process, process.stdout or open(os.devnull, encoding="utf-8") as output:
        there = json.loads(output.readline())
        process.send_signal(number)
        assert process.wait(30) == 0
    assert namespace.names(f"hp-{there['pid']}-") == []


def test_a_laboratory_whose_process_is_killed_is_gone_and_not_listed() -> None:
    there = json.loads(lab("up", "public", "--json").stdout)
    host = there["sites"][0]["hosts"][0]["namespace"]
    os.kill(there["pid"], signal.SIGKILL)
    deadline = time.monotonic() + 20
    while (namespace.DIRECTORY / host).exists() and time.monotonic() < deadline:
        lab("list")
    assert not (namespace.DIRECTORY / host).exists()
    assert there["id"] not in lab("list", "--json").stdout
