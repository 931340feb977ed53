"""The user's command: what it is given, how it is signalled, and what becomes of it."""

import asyncio
import os
import pty
import signal
import subprocess
import sys
import textwrap
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holepunch import command
from holepunch.command import Endpoints, Mode
from holepunch.config import Settings
from holepunch.errors import ConfigurationError
from holepunch.proto.events import CommandExited, CommandStarted, Event
from tests.standin import StandInSession

ENDPOINTS = Endpoints(
    inner=("192.168.1.2", 5000),
    outer=("203.0.113.5", 6000),
    peer=("2001:db8::1", 7000),
    peer_name="remote",
    role="accept",
)


@dataclass
class Files:
    cert_path: Path = Path("/home/of/cert.pem")
    key_path: Path = Path("/home/of/key.pem")
    fingerprint: bytes = bytes(range(32))


class Home:
    def certificate(self) -> Files:
        return Files()


@pytest.fixture
async def session() -> AsyncIterator[StandInSession]:
    one = StandInSession()
    yield one
    one.close()


@pytest.fixture(autouse=True)
def _nobody_is_left_over() -> Iterator[None]:
    yield
    assert not command._running
    with pytest.raises(ChildProcessError):  # not even a zombie
        os.waitpid(-1, os.WNOHANG)


def python(code: str, *arguments: str) -> list[str]:
    """Returns a command that runs some Python."""
    return [sys.executable, "-c", textwrap.dedent(code), *arguments]


# Words -------------------------------------------------------------------------------------------


def test_a_command_is_split_as_a_shell_would_and_nothing_is_expanded() -> None:
    assert command.parse_command("""run 'a b' "c d"\\ e $HOME *.py ; rm""") == [
        "run", "a b", "c d e", "$HOME", "*.py", ";", "rm",
    ]  # fmt: skip


@pytest.mark.parametrize("text", ["", "   ", "run 'a"])
def test_what_is_no_command_is_a_configuration_error(text: str) -> None:
    with pytest.raises(ConfigurationError, match="command"):
        command.parse_command(text)


def test_without_a_placeholder_the_six_classic_arguments_are_appended() -> None:
    assert command.expand(["run", "-x"], ENDPOINTS) == [
        "run", "-x", "192.168.1.2", "5000", "203.0.113.5", "6000", "2001:db8::1", "7000",
    ]  # fmt: skip


def test_placeholders_are_replaced_inside_words() -> None:
    argv = ["run", "--on={inner}", "{inner_ip}/{inner_port}", "{outer}", "{peer}", "{peer_ip}", "{peer_name}:{role}"]
    assert command.expand(argv, ENDPOINTS) == [
        "run", "--on=192.168.1.2:5000", "192.168.1.2/5000", "203.0.113.5:6000", "[2001:db8::1]:7000", "2001:db8::1",
        "remote:accept",
    ]  # fmt: skip


def test_a_value_is_never_read_again_and_other_braces_stay() -> None:
    sly = Endpoints(
        inner=("1.2.3.4", 1), outer=("1.2.3.4", 2), peer=("1.2.3.4", 3), peer_name="{role}; rm", role="accept"
    )
    assert command.expand(["{peer_name}", "${HOME}", "{}", "{inner_port"], sly) == [
        "{role}; rm", "${HOME}", "{}", "{inner_port",
    ]  # fmt: skip


@given(st.lists(st.text(st.characters(exclude_characters="{}")), min_size=1))
def test_words_without_braces_pass_unchanged(argv: list[str]) -> None:
    assert command.expand(argv, ENDPOINTS)[: len(argv)] == argv


# Before the network ------------------------------------------------------------------------------


def test_a_program_that_is_not_there_is_told_before_anything_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    command.check_command(["sh"])
    with pytest.raises(ConfigurationError, match="no-such-program is not found"):
        command.check_command(["no-such-program"])
    script = tmp_path / "script.sh"
    script.write_text("#!/bin/sh\n")
    with pytest.raises(ConfigurationError, match="not executable") as info:
        command.check_command([str(script)])
    assert info.value.hint.startswith("chmod +x")
    script.chmod(0o700)
    command.check_command([str(script)])
    with pytest.raises(ConfigurationError, match="is a folder"):
        command.check_command([str(tmp_path)])
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigurationError) as info:
        command.check_command(["script.sh"])
    assert "./script.sh" in info.value.hint


async def test_a_program_that_cannot_start_is_a_configuration_error(session: StandInSession, tmp_path: Path) -> None:
    broken = tmp_path / "broken"
    broken.write_text("#!/no/such/interpreter\n")
    broken.chmod(0o700)
    with pytest.raises(ConfigurationError, match="cannot be started"):
        await command.run(session, [str(broken)])


# Environment and modes ---------------------------------------------------------------------------

SHOW = """
    import os, sys
    with open(sys.argv[1], "w") as file:
        print(*sys.argv[2:], file=file)
        for name in sorted(os.environ):
            if name.startswith("HOLEPUNCH_"):
                print(name, os.environ[name], file=file)
        print("fds", *sorted(int(fd) for fd in os.listdir("/proc/self/fd")), file=file)
"""


async def test_hand_over_closes_our_socket_and_gives_environment_and_arguments(
    session: StandInSession, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOLEPUNCH_HOME", "/elsewhere")
    monkeypatch.setenv("HOLEPUNCH_FD", "77")  # of a holepunch around us
    events: list[Event] = []
    inner, peer = session.inner, session.peer
    status = await command.run(session, python(SHOW, str(tmp_path / "out")), Mode.HAND_OVER, Home(), events.append)
    assert status == 0
    assert session.calls == ["hand-over"]
    shown = (tmp_path / "out").read_text().splitlines()
    assert shown[0].split() == [inner[0], str(inner[1]), "203.0.113.5", "6000", peer[0], str(peer[1])]
    assert shown[1:-1] == [
        "HOLEPUNCH_CERT /home/of/cert.pem",
        "HOLEPUNCH_FINGERPRINT " + ":".join(f"{byte:02X}" for byte in range(32)),
        "HOLEPUNCH_HOME /elsewhere",
        f"HOLEPUNCH_INNER {inner[0]}:{inner[1]}",
        "HOLEPUNCH_KEY /home/of/key.pem",
        "HOLEPUNCH_MODE hand-over",
        "HOLEPUNCH_OUTER 203.0.113.5:6000",
        "HOLEPUNCH_PATH direct",
        f"HOLEPUNCH_PEER {peer[0]}:{peer[1]}",
        "HOLEPUNCH_PEER_FINGERPRINT " + ":".join(f"{byte:02X}" for byte in range(32)),
        "HOLEPUNCH_PEER_NAME remote",
        "HOLEPUNCH_ROLE connect",
        f"HOLEPUNCH_SECRET {session.secret.hex()}",
        f"HOLEPUNCH_SESSION {session.id}",
    ]
    assert shown[-1].split() == ["fds", "0", "1", "2", "3", "4"]  # 3 its file, 4 its listing: nothing of ours
    assert [type(event) for event in events] == [CommandStarted, CommandExited]
    assert isinstance(events[0], CommandStarted)
    assert (events[0].session, events[0].mode) == ("01234567", "hand-over")


async def test_a_holepunch_inside_a_command_takes_none_of_its_variables_for_settings(session: StandInSession) -> None:
    variables = command.environment(session, ENDPOINTS, Mode.PROXY, Home(), {})
    assert Settings.load(Path("/nonexistent"), variables) == Settings.load(Path("/nonexistent"), {})


async def test_the_secret_is_not_in_argv_and_an_unknown_fingerprint_is_not_set(
    session: StandInSession, tmp_path: Path
) -> None:
    session.peer_fingerprint = b""
    code = 'import os, sys; open(sys.argv[1], "w").write(open("/proc/self/cmdline").read() + str(sorted(os.environ)))'
    await command.run(session, [sys.executable, "-c", code, str(tmp_path / "out"), "{peer}"])
    shown = (tmp_path / "out").read_text()
    assert session.secret.hex() not in shown
    assert "HOLEPUNCH_PEER_FINGERPRINT" not in shown
    assert "HOLEPUNCH_FD" not in shown


async def test_pass_fd_gives_the_open_socket_and_only_that(session: StandInSession) -> None:
    code = """
        import os, socket
        fd = int(os.environ["HOLEPUNCH_FD"])
        extra = [int(one) for one in os.listdir("/proc/self/fd") if int(one) > 2 and int(one) != fd]
        assert len(extra) == 1, extra  # the listing itself
        sock = socket.socket(fileno=fd)
        sock.settimeout(None)
        host, port = os.environ["HOLEPUNCH_PEER"].split(":")
        data = sock.recv(100)
        sock.sendto(data + b" back", (host, int(port)))
    """
    session.say(b"there and")
    assert await command.run(session, python(code), Mode.PASS_FD) == 0
    assert await session.received.get() == b"there and back"
    assert session.calls == ["detach"]


@pytest.mark.parametrize(("role", "waited"), [("accept", "confirmed"), ("connect", "ready")])
async def test_proxy_carries_both_ways_and_survives_a_move(session: StandInSession, role: str, waited: str) -> None:
    code = """
        import os, socket
        def endpoint(name):
            host, port = os.environ[name].split(":")
            return host, int(port)
        sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        sock.bind(endpoint("HOLEPUNCH_INNER"))
        sock.settimeout(30)
        sock.sendto(b"hello", endpoint("HOLEPUNCH_PEER"))
        while True:
            data, source = sock.recvfrom(2000)
            assert source == endpoint("HOLEPUNCH_PEER")
            if data == b"end":
                break
            sock.sendto(data + b" back", source)
    """
    session.role = role
    running = asyncio.create_task(command.run(session, python(code), Mode.PROXY))
    assert await session.received.get() == b"hello"
    for number in range(3):
        session.say(b"there %d" % number)
        assert await session.received.get() == b"there %d back" % number
        session.move()
    session.say(b"end")
    assert await running == 0
    assert session.calls == [waited, "announce"]


async def test_proxy_ends_the_command_when_the_session_is_over(
    session: StandInSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(command, "_LEAVE_GRACE", 0.01)
    running = asyncio.create_task(command.run(session, ["sh", "-c", "exec sleep 60"], Mode.PROXY))
    session.over.set()
    assert await running == 128 + signal.SIGTERM


async def test_proxy_lets_a_command_end_by_itself_when_the_session_is_over(session: StandInSession) -> None:
    session.over.set()
    assert await command.run(session, ["sh", "-c", "exit 9"], Mode.PROXY) == 9


# Ends --------------------------------------------------------------------------------------------


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
    monkeypatch.setattr(command, "_TERMINATION_GRACE", 0.1)
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
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parent.parent)},
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
