"""A real OpenVPN session through two kernel NATs, by examples/openvpn.sh: found, used, cut and healed."""

import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from holepunch.testing.netlab import Host, Lab

pytestmark = [pytest.mark.lab, pytest.mark.slow, pytest.mark.timeout(240)]

ROOT = Path(__file__).parent.parent.parent
COPY = 50_000_000  # bytes

RECEIVE = """
import hashlib, socket, sys
with socket.create_server((sys.argv[1], 7000)) as server:
    print("listening", flush=True)
    connection, _ = server.accept()
    digest = hashlib.sha256()
    while data := connection.recv(1 << 20):
        digest.update(data)
    print(digest.hexdigest(), flush=True)
"""
SEND = """
import hashlib, os, socket, sys, time
data = os.urandom(int(sys.argv[2]))
start = time.monotonic()
with socket.create_connection((sys.argv[1], 7000), timeout=30) as connection:
    connection.settimeout(120)
    connection.sendall(data)
    connection.shutdown(socket.SHUT_WR)
    connection.recv(1)
print(hashlib.sha256(data).hexdigest(), time.monotonic() - start, flush=True)
"""


def until(condition: Callable[[], bool], what: str, seconds: float) -> float:
    """Waits for something that other processes do; returns how long it took."""
    start = time.monotonic()
    while not condition():
        assert time.monotonic() < start + seconds, f"{what} has not happened in {seconds:g} s"
        time.sleep(0.05)
    return time.monotonic() - start


@dataclass
class Machine:
    """A host with a home, and what holepunch said on it."""

    name: str
    host: Host
    home: Path
    environment: dict[str, str]

    def __post_init__(self) -> None:
        self.said = ""

    def holepunch(self, *arguments: str) -> str:
        """Runs a command of holepunch to its end; returns its last line."""
        argv = [sys.executable, "-m", "holepunch", *arguments]
        return self.host.run(argv, env=self.environment, cwd=ROOT).stdout.strip()

    def start(self, *arguments: str) -> "subprocess.Popen[str]":
        process: subprocess.Popen[str] = self.host.popen(
            [sys.executable, "-m", "holepunch", *arguments],
            env=self.environment,
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )

        def listen() -> None:
            assert process.stdout is not None
            for line in process.stdout:
                self.said += line

        threading.Thread(target=listen, daemon=True).start()
        return process

    def tunnel(self) -> tuple[str, str]:
        """Returns (local, peer) addresses of the tunnel, as the example has said."""
        line = next(line for line in self.said.splitlines() if line.startswith("tunnel: "))
        words = line.replace(",", "").split()
        return words[2], words[4]

    def pings(self, peer: str) -> bool:
        return self.host.run(["ping", "-c", "1", "-W", "1", peer], check=False).returncode == 0


@contextmanager
def linked(
    tmp_path: Path, *flags: str, kinds: tuple[str, str] = ("eim-apdf", "strict")
) -> Iterator[tuple[Lab, Machine, Machine]]:
    """Two machines behind NATs of the kernel, with OpenVPN up between them."""
    with Lab(rtt=0.04) as lab:
        machines = []
        for name, kind in zip(("local", "remote"), kinds, strict=True):
            home = tmp_path / name
            environment = {**os.environ, "HOLEPUNCH_HOME": str(home), "HOLEPUNCH_STUN": " ".join(lab.stun)}
            machines.append(Machine(name, lab.site(kind).host(), home, environment))
        local, remote = machines
        (tmp_path / "shared").mkdir()
        lines = {machine.name: machine.holepunch("init", "--name", machine.name) for machine in machines}
        local.holepunch("peer", "add", "remote", lines["remote"])
        remote.holepunch("peer", "add", "local", lines["local"])
        words = ["--mediator", f"file://{tmp_path}/shared", "--exec", "examples/openvpn.sh", *flags]
        waiting, connecting = remote.start("--accept", "--once", *words), local.start("--peer", "remote", *words)
        try:
            until(lambda: "tunnel: " in local.said, "the command", 30)
            took = until(lambda: local.pings(local.tunnel()[1]), "a ping through OpenVPN", 30)
            print(f"ping through OpenVPN {took:.1f} s after the command began")
            yield lab, local, remote
            connecting.terminate()
            # SIGTERM is OpenVPN's, and a clean end; its peer is told and ends as well.
            assert [connecting.wait(30), waiting.wait(30)] == [0, 0]
        finally:
            for machine in machines:
                print(f"--- {machine.name}\n{machine.said}")


def copy(source: Machine, sink: Machine, size: int) -> float:
    """Copies random bytes through the tunnel and compares their digests; returns bytes per second."""
    here, there = source.tunnel()
    assert sink.tunnel() == (there, here)
    receiving = sink.host.popen([sys.executable, "-c", RECEIVE, there], stdout=subprocess.PIPE)
    assert receiving.stdout is not None
    assert receiving.stdout.readline() == "listening\n"
    sent, seconds = source.host.run([sys.executable, "-c", SEND, there, str(size)], timeout=120).stdout.split()
    assert receiving.stdout.readline().strip() == sent
    return size / float(seconds)


def test_openvpn_copies_50_megabytes_across_two_nats(tmp_path: Path) -> None:
    with linked(tmp_path) as (_, local, remote):
        print(f"{copy(local, remote, COPY) / 1e6:.1f} MB/s by hand-over")


def test_a_router_that_forgets_everything_is_healed_under_openvpn(tmp_path: Path) -> None:
    with linked(tmp_path, "--proxy") as (lab, local, remote):
        print(f"{copy(local, remote, COPY) / 1e6:.1f} MB/s through the proxy")
        for site in (lab.sites[1], lab.sites[0]):
            site.router.flush()
            took = until(lambda: local.pings(local.tunnel()[1]), "a ping after the router forgot", 60)
            print(f"{site.kind.name} rebooted: healed after {took:.1f} s")
        # The same OpenVPN, with its keys of before: nobody started anew.
        assert local.said.count("Initialization Sequence Completed") == 1
        assert remote.said.count("Initialization Sequence Completed") == 1
        copy(remote, local, 1_000_000)


def test_a_router_that_comes_back_with_another_outer_port_is_followed(tmp_path: Path) -> None:
    with linked(tmp_path, "--proxy", kinds=("random-apdf", "eim-adf")) as (lab, local, remote):
        for _ in range(2):
            lab.sites[0].router.flush()
            took = until(lambda: local.pings(local.tunnel()[1]), "a ping after the outer port changed", 60)
            print(f"random-apdf rebooted: healed after {took:.1f} s")
        lab.sites[1].router.flush()
        took = until(lambda: remote.pings(remote.tunnel()[1]), "a ping after the filter forgot", 60)
        print(f"eim-adf rebooted: healed after {took:.1f} s")
        assert local.said.count("Initialization Sequence Completed") == 1
        copy(remote, local, 1_000_000)
