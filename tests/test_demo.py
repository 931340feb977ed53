"""scripts/demo, run as a newcomer would: on loopback, and on kernel NATs where there is root."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
VENV = Path(sys.executable).parent


def demo(path: str) -> str:
    """Runs the demonstration with a PATH and returns what it says."""
    environ = {name: value for name, value in os.environ.items() if not name.startswith("HOLEPUNCH_")}
    done = subprocess.run(
        [sys.executable, ROOT / "scripts" / "demo.py"],
        env={**environ, "PATH": path},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    return done.stdout


def test_without_a_laboratory_the_hosts_are_on_loopback() -> None:
    said = demo(str(VENV))  # where there is neither ip nor nft
    assert "the two hosts are two processes on loopback" in said
    # At hand-over nobody can tell when the acceptor's command has bound: on a busy machine the first ping may
    # be too early.  The next one comes a second later, so no other may be lost.
    assert said.count("remote answered in") >= 4
    assert "the command ran on both hosts" in said


@pytest.mark.lab
def test_with_root_the_hosts_are_behind_kernel_nats() -> None:
    said = demo(f"{VENV}:{os.environ['PATH']}:/usr/sbin:/sbin")
    assert "each behind a NAT of the Linux kernel" in said
    assert "direct path to 11.1." in said, "the outer address of the other's router"
    assert "the command ran on both hosts" in said
