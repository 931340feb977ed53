"""What a command is given in each mode: arguments, variables, a socket or a loopback pair."""

import asyncio
import signal
import sys
from pathlib import Path

import pytest

from holepunch import command
from holepunch.command import Mode
from holepunch.command.environment import environment
from holepunch.config import Settings
from holepunch.errors import ConfigurationError
from holepunch.proto.events import CommandExited, CommandStarted, Event
from tests.command.examples import ENDPOINTS, Home, python
from tests.standin import StandInSession


async def test_a_program_that_cannot_start_is_a_configuration_error(session: StandInSession, tmp_path: Path) -> None:
    broken = tmp_path / "broken"
    broken.write_text("#!/no/such/interpreter\n")
    broken.chmod(0o700)
    with pytest.raises(ConfigurationError, match="cannot be started"):
        await command.run(session, [str(broken)])


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
    monkeypatch.delenv("HOLEPUNCH_STUN", raising=False)  # of tests/conftest.py
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
    variables = environment(session, ENDPOINTS, "proxy", Home(), {})
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


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells whether a command that waits is up")
async def test_proxy_keeps_what_the_peer_says_before_our_command_is_up(
    session: StandInSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def ready() -> None:
        session.say(b"early")
        while session.near.counters.received == 0:
            await asyncio.sleep(0)

    monkeypatch.setattr(session, "ready", ready)
    code = """
        import os, socket, sys
        host, port = os.environ["HOLEPUNCH_INNER"].split(":")
        sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        sock.bind((host, int(port)))
        sock.settimeout(30)
        sys.exit(0 if sock.recv(100) == b"early" else 1)
    """
    assert await command.run(session, python(code), Mode.PROXY) == 0


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
