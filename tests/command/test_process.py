"""How a command ends, and which signals it gets."""

import asyncio
import os
import pty
import signal
import subprocess
from pathlib import Path

import pytest

from holepunch import command
from holepunch.command import process as process_module
from holepunch.proto.events import CommandExited, Event
from tests.command.examples import python
from tests.standin import StandInSession


@pytest.mark.parametrize(
    ("code", "status"), [("exit 0", 0), ("exit 3", 3), ("kill -9 $$", 137), ("kill -TERM $$", 143)]
)
async def test_the_exit_status_is_the_commands_own(session: StandInSession, code: str, status: int) -> None:
    events: list[Event] = []
    assert await command.run(session, ["sh", "-c", code], on_event=events.append) == status
    assert events[-1] == CommandExited(session="01234567", status=status)


GROUP = """
    # A wrapper that does not pass signals on, and a worker that counts them.
    import os, signal, subprocess, sys, time
    folder = sys.argv[1]
    if sys.argv[2] == "worker":
        def count(number, _):
            with open(f"{folder}/{number}", "a") as file:
                file.write("x")
            if number == signal.SIGTERM:
                sys.exit(0)
        for number in (signal.SIGINT, signal.SIGHUP, signal.SIGTERM):
            signal.signal(number, count)
        open(f"{folder}/up", "w").close()
        while True:
            time.sleep(60)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    worker = subprocess.Popen([*sys.orig_argv[:3], folder, "worker"])
    signal.signal(signal.SIGTERM, lambda *_: None)
    worker.wait()
    sys.exit(5)
"""


async def until_exists(path: Path) -> None:
    """Waits for another process to make a file."""
    while not path.exists():
        await asyncio.sleep(0.01)


async def test_signals_reach_the_whole_group_once(session: StandInSession, tmp_path: Path) -> None:
    running = asyncio.create_task(command.run(session, python(GROUP, str(tmp_path), "wrapper")))
    await until_exists(tmp_path / "up")
    for number in (signal.SIGINT, signal.SIGHUP, signal.SIGTERM):
        assert command.deliver(number)
        await until_exists(tmp_path / str(int(number)))
    assert await running == 5
    assert [(tmp_path / str(int(one))).read_text() for one in (signal.SIGINT, signal.SIGHUP, signal.SIGTERM)] == [
        "x"
    ] * 3
    assert not command.deliver(signal.SIGTERM)


async def test_cancelling_ends_the_command_and_leaves_no_zombie(session: StandInSession, tmp_path: Path) -> None:
    code = f"touch {tmp_path}/up; exec sleep 60"
    running = asyncio.create_task(command.run(session, ["sh", "-c", code]))
    await until_exists(tmp_path / "up")
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running


async def test_a_command_that_will_not_end_is_killed(
    session: StandInSession, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(process_module, "_TERMINATION_GRACE", 0.1)
    code = f"trap '' TERM; touch {tmp_path}/up; while :; do sleep 60; done"
    running = asyncio.create_task(command.run(session, ["sh", "-c", code]))
    await until_exists(tmp_path / "up")
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running


async def test_several_commands_run_side_by_side() -> None:
    sessions = [StandInSession() for _ in range(3)]
    jobs = [command.run(one, ["sh", "-c", f"exit {number}"]) for number, one in enumerate(sessions)]
    assert await asyncio.gather(*jobs) == [0, 1, 2]
    for one in sessions:
        one.close()


TERMINAL = """
    import asyncio, os, signal, sys
    from holepunch import command
    from tests.standin import StandInSession

    async def main():
        session = StandInSession()
        loop = asyncio.get_running_loop()

        def deliver():
            command.deliver(signal.SIGINT)
            print("delivered", flush=True)

        loop.add_signal_handler(signal.SIGINT, deliver)
        status = await command.run(session, ["sh", "-c", sys.argv[1]])
        session.close()
        print("status", status, "end", flush=True)

    asyncio.run(main())
"""


def test_at_a_terminal_the_command_reads_it_and_ctrl_c_comes_once() -> None:
    script = """
        trap 'n=$((n+1))' INT
        read line
        echo got $line
        while [ -z $n ]; do sleep 0.05; done
        read line
        exit $((40+n))
    """
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        ["setsid", "--ctty", *python(TERMINAL, script)],
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parent.parent.parent)},
    )
    os.close(theirs)
    shown = b""

    def until(text: bytes) -> None:
        nonlocal shown
        while text not in shown:
            shown += os.read(ours, 1000)

    os.write(ours, b"a line\n")
    until(b"got a line")
    os.write(ours, b"\x03")
    until(b"delivered")
    os.write(ours, b"go\n")
    until(b" end\r\n")
    assert b"status 41 end" in shown
    process.wait(10)
    os.close(ours)
