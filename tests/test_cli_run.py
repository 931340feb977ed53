"""`--accept` and `--peer` with a stand-in for the Puncher: what is run, printed, signalled and returned."""

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self, cast

import pytest
from click.testing import CliRunner, Result

from holepunch.cli import run as run_module
from holepunch.cli.main import cli
from holepunch.errors import HolepunchError, NetworkError, PeerTimeoutError, TraversalError
from holepunch.home import Home, Peer
from holepunch.proto.events import Event, SessionReady, Waiting
from holepunch.proto.identity import Identity
from holepunch.proto.machine import Address

PYTHON = sys.executable
Script = Callable[["StandIn"], AsyncIterator["OneSession"]]


class OneSession:
    """A session that is up; its socket is imaginary."""

    def __init__(self, name: str = "remote", error: HolepunchError | None = None) -> None:
        self.peer_name = name
        self.peer_id = "hp1qqqq"
        self.id = "00112233445566778899aabbccddeeff"
        self.role = "accept"
        self.path = "direct"
        self.rtt = 0.0123456789
        self.secret = bytes(32)
        self.peer_fingerprint = b""
        self.inner: Address = ("10.0.0.1", 4000)
        self.outer: Address = ("203.0.113.9", 4001)
        self.peer: Address = ("198.51.100.2", 4002)
        self.is_closed = False
        self._error = error

    async def ready(self) -> None:
        if self._error:
            raise self._error

    async def hand_over(self) -> None:
        await self.ready()

    async def close(self) -> None:
        self.is_closed = True


class StandIn:
    """A Puncher whose sessions a test has made."""

    def __init__(self, sessions: Sequence[OneSession], *, forever: bool = False) -> None:
        self.sessions = list(sessions)
        self.forever = forever
        self.error: HolepunchError | None = None
        self.asked: dict[str, Any] = {}
        self.is_open = False
        self.on_waiting: Callable[[], object] = lambda: None
        self._on_event: Callable[[Event], None] = lambda _: None

    def __call__(self, home: Home, settings: Any, *, keeps_socket: bool, on_event: Callable[[Event], None]) -> Self:
        self.asked |= {"settings": settings, "keeps_socket": keeps_socket}
        self._on_event = on_event
        return self

    async def __aenter__(self) -> Self:
        self.is_open = True
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.is_open = False

    async def connect(self, who: str, *, timeout: float | None) -> OneSession:
        self.asked |= {"who": who, "timeout": timeout}
        if self.error:
            raise self.error
        if not self.sessions:
            self.on_waiting()
            await asyncio.Event().wait()
        self._on_event(SessionReady(session="00112233"))
        return self.sessions[0]

    async def accept(self) -> AsyncIterator[OneSession]:
        self._on_event(Waiting(mediators=1))
        for session in self.sessions:
            yield session
        self.on_waiting()
        if self.forever:
            await asyncio.Event().wait()


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Home:
    """A home with an identity, one peer and a mediator."""
    monkeypatch.setenv("HOLEPUNCH_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("HOLEPUNCH_MEDIATORS", f"file://{tmp_path}")
    home = Home(tmp_path / "home")
    home.create_identity("here")
    home.peers.add(Peer("remote", Identity.from_seed(bytes(32)).peer_id))
    return home


@pytest.fixture
def invoke(home: Home, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Result]:
    """Runs the command line on a stand-in."""
    real = run_module.run

    def invoke(stand_in: StandIn, *args: str) -> Result:
        monkeypatch.setattr(run_module, "run", lambda flags: real(flags, cast("run_module.PuncherFactory", stand_in)))
        return CliRunner().invoke(cli, args, prog_name="holepunch")

    return invoke


Invoke = Callable[..., Result]


def test_a_connection_without_a_command_prints_the_three_endpoints_and_closes(invoke: Invoke) -> None:
    session = OneSession()
    stand_in = StandIn([session])
    result = invoke(stand_in, "--peer", "remote")
    assert result.exit_code == 0, result.output
    assert result.stdout == "inner 10.0.0.1:4000\nouter 203.0.113.9:4001\npeer 198.51.100.2:4002\n"
    assert session.is_closed
    assert not stand_in.is_open
    assert stand_in.asked["who"] == "remote"
    assert stand_in.asked["timeout"] == 60
    assert stand_in.asked["keeps_socket"] is False


def test_with_json_the_endpoints_are_the_last_event_on_stdout(invoke: Invoke) -> None:
    result = invoke(StandIn([OneSession()]), "--peer", "remote", "--json")
    lines = [json.loads(line) for line in result.stdout.splitlines()]
    assert [line["event"] for line in lines] == ["ready", "endpoints"]
    assert {key: lines[-1][key] for key in ("inner", "outer", "peer", "path", "peer_name", "role", "rtt")} == {
        "inner": "10.0.0.1:4000", "outer": "203.0.113.9:4001", "peer": "198.51.100.2:4002",
        "path": "direct", "peer_name": "remote", "role": "accept", "rtt": 0.012346,
    }  # fmt: skip
    assert result.stderr == ""


def test_the_exit_status_is_the_command_s_own(invoke: Invoke, tmp_path: Path) -> None:
    out = tmp_path / "out"
    script = f"import os,sys; open({str(out)!r},'w').write(' '.join(sys.argv[1:])); sys.exit(42)"
    result = invoke(StandIn([OneSession()]), "--peer", "remote", "--exec", f'{PYTHON} -c "{script}"')
    assert result.exit_code == 42
    assert out.read_text() == "10.0.0.1 4000 203.0.113.9 4001 198.51.100.2 4002"


def test_with_a_command_events_leave_stdout_alone(invoke: Invoke) -> None:
    result = invoke(StandIn([OneSession()]), "--peer", "remote", "--json", "--exec", f"{PYTHON} -c pass")
    assert result.stdout == ""
    assert {json.loads(line)["event"] for line in result.stderr.splitlines()} >= {"command-started", "command-exited"}


def test_proxy_mode_keeps_the_socket(invoke: Invoke) -> None:
    stand_in = StandIn([])
    stand_in.error = NetworkError("none")
    invoke(stand_in, "--peer", "remote", "--exec", f"{PYTHON} -c pass", "--proxy")
    assert stand_in.asked["keeps_socket"] is True


def test_once_ends_after_the_first_peer_with_its_command_s_status(invoke: Invoke) -> None:
    sessions = [OneSession("one"), OneSession("two")]
    result = invoke(StandIn(sessions, forever=True), "--accept", "--once", "--exec", f'{PYTHON} -c "exit(7)"')
    assert result.exit_code == 7
    assert [session.is_closed for session in sessions] == [True, False]


def test_once_waits_no_longer_than_it_is_told(invoke: Invoke) -> None:
    result = invoke(StandIn([], forever=True), "--accept", "--once", "--timeout", "0.05")
    assert result.exit_code == PeerTimeoutError.exit_status
    assert "no peer came within 0.05 s" in result.stderr


def test_peers_are_served_side_by_side(invoke: Invoke, tmp_path: Path) -> None:
    # Each command waits for the other's file: one after the other they would wait for ever.
    script = tmp_path / "meet.py"
    script.write_text(
        "import os, sys, time\n"
        "from pathlib import Path\n"
        "here, me = Path(sys.argv[1]), sys.argv[2]\n"
        "(here / me).touch()\n"
        "while not all((here / name).exists() for name in ('one', 'two')): time.sleep(0.01)\n"
    )
    sessions = [OneSession("one"), OneSession("two")]
    result = invoke(
        StandIn(sessions), "--accept", "--exec", f"{PYTHON} {script} {tmp_path} {{peer_name}}", "--timeout", "30"
    )
    assert result.exit_code == 0, result.output
    assert all(session.is_closed for session in sessions)


def test_one_peer_s_failure_is_told_and_does_not_end_the_others(invoke: Invoke) -> None:
    sessions = [OneSession("one", TraversalError("it went away", hint="Try again.")), OneSession("two")]
    result = invoke(StandIn(sessions), "--accept")
    assert result.exit_code == 0
    assert "holepunch: one: it went away; Try again." in result.stderr
    assert result.stdout.count("inner ") == 1


def test_nor_does_a_fault_of_ours(invoke: Invoke) -> None:
    class Broken(OneSession):
        async def ready(self) -> None:
            raise ZeroDivisionError("oops")

    result = invoke(StandIn([Broken("one"), OneSession("two")]), "--accept")
    assert result.exit_code == 0
    assert (
        "holepunch: one: an unexpected error, which is a fault of holepunch: ZeroDivisionError: oops" in result.stderr
    )
    assert result.stdout.count("inner ") == 1


@pytest.mark.parametrize(
    ("error", "status"), [(TraversalError("no path", hint="Relay."), 3), (NetworkError("no network"), 6)]
)
def test_a_failed_connection_is_a_sentence_and_its_status(invoke: Invoke, error: HolepunchError, status: int) -> None:
    stand_in = StandIn([])
    stand_in.error = error
    result = invoke(stand_in, "--peer", "remote", "-q")
    assert result.exit_code == status
    assert result.stderr.splitlines()[0] == f"holepunch: {error}"


@pytest.mark.parametrize(
    ("args", "status", "sentence"),
    [
        (["--peer", "nobody"], 4, "nobody"),
        (["--peer", "remote", "--exec", "no-such-program"], 2, "the command no-such-program is not found"),
        (["--peer", "remote", "--exec", ""], 2, "the command of --exec is empty"),
        (["--peer", "remote", "--timeout", "soon"], 2, "--timeout is"),
        (["--peer", "remote", "--timeout", "-1"], 2, "--timeout is"),
        (["--peer", "remote", "--punch-hops", "99"], 2, "--punch-hops is"),
        (["--peer", "remote", "--mediator", "x"], 2, "--mediator"),
        (["--peer", "remote", "--relay", "https://hub.example"], 2, "this version has no relays"),
        (["--peer", "remote", "--relay-only"], 2, "this version has no relays"),
    ],
)
def test_what_is_wrong_is_said_before_the_network_is_touched(
    invoke: Invoke, args: list[str], status: int, sentence: str
) -> None:
    stand_in = StandIn([OneSession()])
    result = invoke(stand_in, *args)
    assert result.exit_code == status, result.output
    assert sentence in result.stderr.splitlines()[0]
    assert not stand_in.asked


def test_without_an_identity_a_mediator_or_a_peer_the_hint_says_what_to_do(
    invoke: Invoke, home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOLEPUNCH_MEDIATORS", "")
    result = invoke(StandIn([]), "--accept")
    assert result.exit_code == 2
    assert "--mediator URL" in result.stderr
    home.peers.remove("remote")
    result = invoke(StandIn([]), "--accept")
    assert result.exit_code == 2
    assert "holepunch peer add" in result.stderr
    monkeypatch.setenv("HOLEPUNCH_HOME", str(home.path / "other"))
    result = invoke(StandIn([]), "--accept")
    assert result.exit_code == 2
    assert "holepunch init" in result.stderr


# Signals.  A test sends them to its own process, and only once the run has its handlers.


@pytest.mark.parametrize(
    ("number", "args", "status"),
    [
        (signal.SIGINT, ["--accept"], 130),
        (signal.SIGTERM, ["--accept"], 0),
        (signal.SIGTERM, ["--accept", "--once"], 143),
        (signal.SIGINT, ["--peer", "remote"], 130),
        (signal.SIGTERM, ["--peer", "remote"], 143),
    ],
)
def test_a_signal_ends_the_wait_without_a_word(
    invoke: Invoke, number: signal.Signals, args: list[str], status: int
) -> None:
    stand_in = StandIn([], forever=True)
    stand_in.on_waiting = lambda: os.kill(os.getpid(), number)
    result = invoke(stand_in, *args, "-q")
    assert result.exit_code == status
    assert result.stderr == ""
    assert not stand_in.is_open


def test_what_we_were_started_to_ignore_stays_ignored(invoke: Invoke) -> None:
    def hang_up_and_interrupt() -> None:
        os.kill(os.getpid(), signal.SIGHUP)
        os.kill(os.getpid(), signal.SIGTERM)

    stand_in = StandIn([], forever=True)
    stand_in.on_waiting = hang_up_and_interrupt
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)  # as nohup does
    try:
        result = invoke(stand_in, "--accept", "--once", "-q")
    finally:
        signal.signal(signal.SIGHUP, before)
    assert result.exit_code == 128 + signal.SIGTERM


def test_a_signal_goes_to_the_command_and_its_end_is_the_end(invoke: Invoke, tmp_path: Path) -> None:
    script = tmp_path / "patient.py"
    script.write_text(
        "import os, signal, sys, time\n"
        "signal.signal(signal.SIGTERM, lambda *_: sys.exit(5))\n"
        "os.kill(os.getppid(), signal.SIGTERM)\n"
        "while True: time.sleep(1)\n"
    )
    result = invoke(StandIn([OneSession()]), "--peer", "remote", "--exec", f"{PYTHON} {script}", "-q")
    assert result.exit_code == 5
    assert result.stderr == ""


def test_an_acceptor_that_is_told_to_stop_lets_its_commands_end(invoke: Invoke, tmp_path: Path) -> None:
    script = tmp_path / "patient.py"
    script.write_text(
        "import os, signal, sys, time\n"
        "from pathlib import Path\n"
        "def end(*_):\n"
        f"    Path({str(tmp_path / 'ended')!r}).touch()\n"
        "    sys.exit(5)\n"
        "signal.signal(signal.SIGTERM, end)\n"
        "os.kill(os.getppid(), signal.SIGTERM)\n"
        "while True: time.sleep(1)\n"
    )
    stand_in = StandIn([OneSession()], forever=True)
    result = invoke(stand_in, "--accept", "--exec", f"{PYTHON} {script}", "-q")
    assert result.exit_code == 0
    assert (tmp_path / "ended").exists()
    assert not stand_in.is_open
