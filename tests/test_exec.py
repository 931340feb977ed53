"""`--exec` from end to end on this machine: two processes, a folder between them, each way to get the path."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from holepunch.home import Home, Peer

# Both sides: say something until the peer is heard, answer it for a while, and end with a status of one's own.
COMMAND = """
import os, socket, sys, time

def endpoint(name):
    host, _, port = os.environ[name].rpartition(":")
    return host.strip("[]"), int(port)

inner, peer = endpoint("HOLEPUNCH_INNER"), endpoint("HOLEPUNCH_PEER")
family = socket.AF_INET6 if ":" in inner[0] else socket.AF_INET
if "HOLEPUNCH_FD" in os.environ:
    sock = socket.socket(fileno=int(os.environ["HOLEPUNCH_FD"]))
    assert sock.getsockname()[1] == inner[1], (sock, inner)
else:
    sock = socket.socket(family, socket.SOCK_DGRAM)
    sock.bind(inner)
role = os.environ["HOLEPUNCH_ROLE"]
secret = os.environ["HOLEPUNCH_SECRET"].encode()
other = {"accept": b"connect", "connect": b"accept"}[role]
heard = understood = False
sock.settimeout(0.1)
end = time.monotonic() + 20
while time.monotonic() < end and not (heard and understood):
    try:
        sock.sendto(b" ".join([role.encode(), secret, b"yes" if heard else b"no"]), peer)
        data, source = sock.recvfrom(2000)
    except (TimeoutError, ConnectionRefusedError):
        continue
    # Late packets of the punch may come first: the port was theirs.
    if source[:2] == peer and data.startswith(other + b" " + secret):
        heard = True
        understood = data.endswith(b"yes")
for _ in range(5):
    sock.sendto(b" ".join([role.encode(), secret, b"yes"]), peer)
    time.sleep(0.02)
sys.exit({"accept": 11, "connect": 12}[role] if heard and understood else 1)
"""


@pytest.fixture
def homes(tmp_path: Path) -> dict[str, Path]:
    """Two homes that know each other, and a folder `shared`."""
    made = {name: Home(tmp_path / name) for name in ("local", "remote")}
    ids = {name: home.create_identity(name).peer_id for name, home in made.items()}
    made["local"].peers.add(Peer("remote", ids["remote"]))
    made["remote"].peers.add(Peer("local", ids["local"]))
    (tmp_path / "shared").mkdir()
    return {name: tmp_path / name for name in made}


def holepunch(home: Path, *arguments: str) -> "subprocess.Popen[str]":
    """Starts holepunch with no server in the world."""
    environment = {
        **os.environ,
        "HOLEPUNCH_HOME": str(home),
        "HOLEPUNCH_STUN": "",
        "HOLEPUNCH_MEDIATORS": f"file://{home.parent}/shared",
    }
    return subprocess.Popen(
        [sys.executable, "-m", "holepunch", *arguments],
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.mark.parametrize("flags", [[], ["--pass-fd"], ["--proxy"]], ids=["hand-over", "pass-fd", "proxy"])
def test_a_command_on_each_side_talks_to_the_other_and_its_status_is_ours(
    homes: dict[str, Path], tmp_path: Path, flags: list[str]
) -> None:
    script = tmp_path / "command.py"
    script.write_text(COMMAND)
    execute = ["--exec", f"{sys.executable} {script}", *flags]
    remote = holepunch(homes["remote"], "--accept", "--once", *execute)
    local = holepunch(homes["local"], "--peer", "remote", *execute)
    ends = {"local": local.communicate(timeout=50), "remote": remote.communicate(timeout=50)}
    print(*ends.values(), sep="\n")
    assert (local.returncode, remote.returncode) == (12, 11)


def test_a_command_that_does_not_exist_is_refused_before_anybody_is_asked(homes: dict[str, Path]) -> None:
    local = holepunch(homes["local"], "--peer", "remote", "--exec", "no-such-program")
    _, said = local.communicate(timeout=20)
    assert local.returncode == 2
    assert "no-such-program is not found" in said
    assert not any(homes["local"].parent.joinpath("shared").iterdir())
