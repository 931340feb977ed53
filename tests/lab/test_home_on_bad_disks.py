"""A home on a full disk and on a read-only one: one sentence, one hint, and nothing lost.

Both are made with a mount namespace of their own, so that they vanish with the test's process.
"""

import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.lab

ROOT = Path(__file__).parent.parent.parent
FRAME = """
import os, subprocess, sys
from holepunch.errors import ConfigurationError
from holepunch.home import Home
from tests.home.test_home import use

folder = sys.argv[1]
def mount(*arguments):
    subprocess.run(["mount", *arguments, folder], check=True)
def attempt(home):
    for what in ("identity", "peer", "claim", "certificate"):
        try:
            use(home, what)
        except ConfigurationError as error:
            print(what, "|", error, "|", error.hint)
        else:
            print(what, "| succeeded")
def contents(home):
    return {path.name: path.read_bytes() for path in home.path.rglob("*") if path.is_file()}
"""


def in_own_mounts(folder: Path, script: str) -> dict[str, str]:
    """Runs a script as root with its own mounts and returns what became of each attempt."""
    arguments = ["unshare", "--mount", sys.executable, "-c", FRAME + script, str(folder)]
    done = subprocess.run(arguments, capture_output=True, text=True, cwd=ROOT, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    return dict(line.split(" | ", 1) for line in done.stdout.splitlines())


def test_a_full_disk_is_one_sentence_and_loses_nothing(tmp_path: Path) -> None:
    out = in_own_mounts(
        tmp_path,
        """
mount("-t", "tmpfs", "-o", "size=64k,nr_inodes=12", "tmpfs")
home = Home(folder + "/home")
home.create_identity("remote")
before = contents(home)
with open(folder + "/filler", "wb", buffering=0) as filler:
    try:
        while filler.write(b"x" * 4096): pass
    except OSError: pass
number = 0
try:
    while os.close(os.open(f"{folder}/filler{(number := number + 1)}", os.O_CREAT)) is None: pass
except OSError: pass
attempt(home)
assert contents(home) == before
assert Home(home.path).identity().peer_id == home.identity().peer_id
for name in os.listdir(folder):
    if name.startswith("filler"): os.unlink(f"{folder}/{name}")
use(home, "peer")
assert len(home.peers.list()) == 1
""",
    )
    assert "already holds an identity" in out.pop("identity")
    assert out.keys() == {"peer", "claim", "certificate"}
    for text in out.values():
        assert "No space left on device" in text
        assert "Free some space there" in text


def test_a_read_only_disk_is_one_sentence_and_what_is_there_can_be_read(tmp_path: Path) -> None:
    out = in_own_mounts(
        tmp_path,
        """
mount("-t", "tmpfs", "tmpfs")
home = Home(folder + "/home")
home.create_identity("remote")
use(home, "peer")
mount("-o", "remount,ro")
home = Home(folder + "/home")
assert home.name == "remote"
assert home.peers.find("bob")
known = home.peers.list()
attempt(home)
try:
    home.peers.remove("bob")
except ConfigurationError as error:
    print("remove |", error, "|", error.hint)
assert home.peers.list() == known
attempt(Home(folder + "/other"))
""",
    )
    for text in out.values():
        assert "Read-only file system" in text
        assert "Mount it for writing, or set HOLEPUNCH_HOME to another folder." in text
