"""A mediator's folder that is full or read-only: exit status 5, one sentence and one hint, from the real command line.

The folder is mounted in a mount namespace of the process's own, so that it vanishes with it.
"""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from holepunch.home import Home, Peer
from holepunch.proto.identity import Identity

pytestmark = pytest.mark.lab

PREPARATIONS = {
    "full": """
mount -t tmpfs -o size=16k,nr_inodes=64 tmpfs "$1"
dd if=/dev/zero of="$1/filler" bs=1k 2>/dev/null || true
""",
    "without inodes": """
mount -t tmpfs -o nr_inodes=4 tmpfs "$1"
touch "$1/a" "$1/b" "$1/c" "$1/d" 2>/dev/null || true
""",
    "read-only": """
mount -t tmpfs tmpfs "$1"
mkdir -p "$1/holepunch"
mount -o remount,ro "$1"
""",
}


@pytest.fixture
def home(tmp_path: Path) -> Home:
    """A home that knows one peer."""
    home = Home(tmp_path / "home")
    home.create_identity("local")
    home.peers.add(Peer("remote", Identity.from_seed(b"remote".ljust(32)).peer_id))
    (tmp_path / "shared").mkdir()
    return home


def run(home: Home, how: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Runs holepunch with a bad folder between it and its peer."""
    folder = home.path.parent / "shared"
    script = f'set -e\n{PREPARATIONS[how]}\nshift\nexec "$@"\n'
    return subprocess.run(
        ["unshare", "--mount", "sh", "-c", script, "sh", str(folder), sys.executable, "-m", "holepunch", *arguments],
        env={
            **os.environ,
            "HOLEPUNCH_HOME": str(home.path),
            "HOLEPUNCH_STUN": "",
            "HOLEPUNCH_MEDIATORS": f"file://{folder}",
        },
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )


@pytest.mark.parametrize("how", PREPARATIONS)
def test_an_inviter_ends_with_status_5_and_one_sentence(home: Home, how: str) -> None:
    done = run(home, how, "-q", "--peer", "remote", "--timeout", "20")
    assert done.returncode == 5, done
    said = done.stderr.strip().splitlines()
    assert len(said) == 2, said
    assert "did not take the offer" in said[0]
    assert said[1].strip().startswith("hint:")
    assert "Traceback" not in done.stderr
    assert done.stdout == ""


@pytest.mark.parametrize("how", ["read-only"])
def test_an_acceptor_ends_or_waits_without_a_traceback(home: Home, how: str) -> None:
    done = run(home, how, "-q", "--accept", "--once", "--timeout", "3")
    assert done.returncode in (5, 7), done
    assert "Traceback" not in done.stderr
