"""Two hosts behind two NATs find each other through a folder, and run a command on the path (scripts/demo)."""

import contextlib
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from holepunch.errors import HolepunchError

ROOT = Path(__file__).parent.parent
COMMAND = "examples/udp_echo.py"
COLOURS = {"local": "36", "remote": "35"}
RTT = 0.04  # seconds, there and back: across a country
PATIENCE = 60.0  # seconds for a host to end

Start = Callable[..., "subprocess.Popen[str]"]


@dataclass(frozen=True)
class Machine:
    """One of the two hosts, and how to start a program on it."""

    name: str
    home: Path
    start: Start
    environ: Mapping[str, str]
    threads: list[threading.Thread] = field(default_factory=list)

    def run(self, *arguments: str) -> "subprocess.Popen[str]":
        """Starts holepunch on it, and shows what it says."""
        say(f"{tag(self.name)}$ holepunch {' '.join(quoted(argument) for argument in arguments)}")
        process = self.start(
            [sys.executable, "-m", "holepunch", *arguments],
            env={**os.environ, **self.environ, "HOLEPUNCH_HOME": str(self.home), "PYTHONUNBUFFERED": "1"},
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        assert process.stdout
        self.threads.append(threading.Thread(target=self._show, args=(process.stdout,), daemon=True))
        self.threads[-1].start()
        return process

    def result(self, *arguments: str) -> str:
        """Runs holepunch to its end and returns its last line of output."""
        argv = [sys.executable, "-m", "holepunch", *arguments]
        environ = {**os.environ, "HOLEPUNCH_HOME": str(self.home)}
        say(f"{tag(self.name)}$ holepunch {' '.join(arguments)}")
        return subprocess.run(argv, env=environ, check=True, capture_output=True, text=True).stdout.strip()

    def _show(self, lines: IO[str]) -> None:
        for line in lines:
            say(f"{tag(self.name)}| {line.rstrip()}")


def main() -> int:
    """Runs the demonstration; returns 0 where both commands succeeded."""
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="holepunch-demo-")))
        local_start, remote_start, environ = stack.enter_context(two_hosts())
        mailbox = folder / "shared"
        mailbox.mkdir()
        local = Machine("local", folder / "local", local_start, environ)
        remote = Machine("remote", folder / "remote", remote_start, environ)

        title("Each machine makes an identity, and learns the other's line once")
        lines = {machine.name: machine.result("init", "--name", machine.name) for machine in (local, remote)}
        local.result("peer", "add", "remote", lines["remote"])
        remote.result("peer", "add", "local", lines["local"])

        title("One waits, the other connects; a shared folder carries one sealed offer each way")
        mediator = f"file://{mailbox}"
        begun = time.monotonic()
        waiting = remote.run("--accept", "--once", "--mediator", mediator, "--exec", COMMAND)
        connecting = local.run("--peer", "remote", "--mediator", mediator, "--exec", COMMAND)
        statuses = [end(connecting), end(waiting)]
        for thread in (*local.threads, *remote.threads):
            thread.join(1)  # the last lines
        title(
            f"Done in {time.monotonic() - begun:.1f} s: the command ran on both hosts, over the path between them"
            if statuses == [0, 0]
            else f"It did not work: exit statuses {statuses[0]} and {statuses[1]}"
        )
    return max(statuses)


def end(process: "subprocess.Popen[str]") -> int:
    """Waits for a program's end and returns its exit status; 124 where it had to be killed."""
    try:
        return process.wait(PATIENCE)
    except subprocess.TimeoutExpired:
        return 124
    finally:
        process.kill()


@contextlib.contextmanager
def two_hosts() -> Iterator[tuple[Start, Start, Mapping[str, str]]]:
    """Yields how to start a program on each of two hosts, and the environment of both."""
    reason = why_no_laboratory()
    if reason:
        title(f"No kernel NATs here ({reason}): the two hosts are two processes on loopback")
        yield subprocess.Popen, subprocess.Popen, {"HOLEPUNCH_STUN": ""}
        return
    from holepunch.testing.netlab import Lab

    with Lab(rtt=RTT) as lab:
        sites = lab.site("eim-apdf"), lab.site("clash")
        hosts = [site.host() for site in sites]
        title(f"Two hosts, each behind a NAT of the Linux kernel, {RTT * 1000:.0f} ms apart")
        for name, site, host in zip(COLOURS, sites, hosts, strict=True):
            say(f"{tag(name)}  {host.address}, behind {site.kind.name}: {site.kind.summary}")
        yield hosts[0].popen, hosts[1].popen, {"HOLEPUNCH_STUN": " ".join(lab.stun)}


def why_no_laboratory() -> str:
    """Returns why kernel NATs cannot be made here; empty where they can."""
    if sys.platform != "linux":
        return "they are made on Linux"
    if missing := [program for program in ("ip", "nft", "nsenter") if not shutil.which(program)]:
        return f"{' and '.join(missing)} not installed"
    from holepunch.testing.netlab.lab import ensure_possible

    try:
        ensure_possible()
    except (HolepunchError, OSError) as error:
        return str(error)
    return ""


def say(text: str) -> None:
    """Writes a line, whole: three threads write."""
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def title(text: str) -> None:
    """Writes a line that says what comes."""
    say(f"\n\033[1m{text}\033[0m" if sys.stdout.isatty() else f"\n{text}")


def tag(name: str) -> str:
    """Returns a host's name, in its colour on a terminal."""
    return f"\033[{COLOURS[name]}m{name:>6}\033[0m" if sys.stdout.isatty() else f"{name:>6}"


def quoted(argument: str) -> str:
    """Returns an argument as a person would type it."""
    return f"'{argument}'" if " " in argument else argument


if __name__ == "__main__":
    sys.exit(main())
