"""Two machines behind NATs, holepunch on both, and a tunnel of examples/ between them."""

import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from holepunch.testing.netlab import Host, Lab

ROOT = Path(__file__).parent.parent.parent


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
    tmp_path: Path, script: str, *flags: str, kinds: tuple[str, str] = ("eim-apdf", "strict")
) -> Iterator[tuple[Lab, Machine, Machine]]:
    """Two machines behind NATs of the kernel, with a tunnel of an example up between them.

    At the end the local command gets SIGTERM; a tunnel that tells its peer has then ended on both sides.
    """
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
        words = ["--mediator", f"file://{tmp_path}/shared", "--exec", f"examples/{script}", *flags]
        waiting, connecting = remote.start("--accept", "--once", *words), local.start("--peer", "remote", *words)
        try:
            until(lambda: "tunnel: " in local.said, "the command", 30)
            took = until(lambda: local.pings(local.tunnel()[1]), f"a ping through {script}", 30)
            print(f"ping through {script} {took:.1f} s after the command began")
            yield lab, local, remote
            connecting.terminate()
            if script == "openvpn.sh":  # SIGTERM is a clean end; its peer is told, and ends as well
                assert [connecting.wait(30), waiting.wait(30)] == [0, 0]
            else:
                waiting.terminate()
                assert [connecting.wait(30), waiting.wait(30)] == [143, 143]
        finally:
            for machine in machines:
                print(f"--- {machine.name}\n{machine.said}")
