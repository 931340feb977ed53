"""The main command: its help, its cost, its refusals, and how failures leave it."""

import re
import resource
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import click
import pytest
from click.testing import CliRunner, Result

from holepunch.cli import lazy, main
from holepunch.cli.main import COMMANDS, cli
from holepunch.errors import ConfigurationError, HolepunchError, NetworkError, TraversalError


def invoke(*args: str) -> Result:
    return CliRunner().invoke(cli, args, prog_name="holepunch")


def child_time(*args: str) -> float:
    """Returns the CPU seconds of a program, start of the interpreter included."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, *args], check=True, capture_output=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def test_help_tells_all_there_is() -> None:
    result = invoke("--help")
    assert result.exit_code == 0
    for param in cli.params:
        assert isinstance(param, click.Option)
        assert (param.opts[-1] in result.output) is not param.hidden
    for word in (*COMMANDS, "Examples:", "Exit status:", "HOLEPUNCH_SECRET"[10:], "{peer_name}", "not authentic"):
        assert word in result.output


def test_help_fits_a_terminal() -> None:
    assert max(len(line) for line in invoke("--help").output.splitlines()) <= 100


def test_help_costs_less_than_150_ms_of_processor_time() -> None:
    # The best of five: other programs share the processor, and CPU time is charged for their cache misses.
    assert min(child_time("-m", "holepunch", "--help") for _ in range(5)) < 0.15


def test_help_loads_nothing_heavy() -> None:
    script = (
        "import sys; from holepunch.cli.main import cli; cli.main(['--help'], standalone_mode=False);"
        "print('LOADED', *sorted(set(sys.modules) & {'asyncio', 'cryptography', 'rich', 'platformdirs', 'ssl'}))"
    )
    out = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert out.stdout.splitlines()[-1] == "LOADED"


def test_version() -> None:
    import holepunch

    assert invoke("--version").output == f"holepunch {holepunch.__version__}\n"


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_every_command_loads_and_has_help(name: str) -> None:
    result = invoke(name, "--help")
    assert result.exit_code == 0, result.output
    assert "Usage: holepunch" in result.output


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_every_summary_is_a_sentence_that_fits(name: str) -> None:
    assert re.fullmatch(r"[A-Z].{1,68}[.?]", COMMANDS[name])


@pytest.mark.parametrize(
    ("args", "sentence"),
    [
        ([], "say --accept, --peer NAME or a command"),
        (["--accept", "--peer", "x"], "--accept and --peer exclude each other"),
        (["--accept", "--no-relay", "--relay-only"], "--no-relay and --relay-only exclude each other"),
        (["--accept", "--exec", "x", "--proxy", "--pass-fd"], "--proxy and --pass-fd exclude each other"),
        (["--accept", "-v", "-q"], "--verbose and --quiet exclude each other"),
        (["--peer", "x", "--once"], "--once makes sense only with --accept"),
        (["--accept", "--proxy"], "--proxy makes sense only with --exec"),
        (["--accept", "--pass-fd"], "--pass-fd makes sense only with --exec"),
        (["prob"], "there is no command 'prob'. Did you mean `probe`?"),
        (["xyzzy"], "there is no command 'xyzzy'. The commands are init, id"),
        (["--exec", "x", "probe"], "--exec belongs to a session, not to the command probe"),
        (["--no-such-flag"], "no such option '--no-such-flag'"),
    ],
)
def test_a_wrong_command_line_is_one_sentence_one_hint_and_status_2(args: list[str], sentence: str) -> None:
    result = invoke(*args)
    assert result.exit_code == 2
    assert result.stdout == ""
    first, hint = result.stderr.splitlines()
    assert first.startswith("holepunch: ")
    assert sentence in first
    assert hint == "  hint: See holepunch --help."


def failing(error: BaseException) -> click.Command:
    @click.command("doctor")
    def command() -> None:
        raise error

    return command


@pytest.fixture
def broken(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> BaseException:
    """Makes `holepunch doctor` raise the test's parameter."""
    error: BaseException = request.param
    monkeypatch.setattr(lazy, "import_module", lambda *_: SimpleNamespace(command=failing(error)))
    return error


@pytest.mark.parametrize(
    ("broken", "status", "lines"),
    [
        (TraversalError("no path to x", hint="Use a relay."), 3, ["holepunch: no path to x", "  hint: Use a relay."]),
        (NetworkError("no STUN server answered"), 6, ["holepunch: no STUN server answered"]),
        (KeyboardInterrupt(), 130, [""]),  # so that the prompt does not follow the ^C
        (click.Abort(), 130, []),
        (ExceptionGroup("", [ValueError("x"), ConfigurationError("bad")]), 2, ["holepunch: bad"]),
    ],
    indirect=["broken"],
)
@pytest.mark.usefixtures("broken")
def test_a_failure_is_a_sentence_a_hint_and_its_status(status: int, lines: list[str]) -> None:
    result = invoke("doctor")
    assert result.exit_code == status
    assert result.stderr.splitlines() == lines
    assert result.stdout == ""


@pytest.mark.parametrize("broken", [ZeroDivisionError("secret?\nno")], indirect=True)
@pytest.mark.usefixtures("broken")
def test_what_nobody_expected_says_how_to_report_it_and_shows_a_traceback_only_when_asked() -> None:
    plain, verbose = invoke("doctor"), invoke("-v", "doctor")
    assert plain.exit_code == verbose.exit_code == 1
    assert plain.stderr.splitlines()[0].endswith("a fault of holepunch: ZeroDivisionError: secret? no")
    assert "report it" in plain.stderr
    assert "Traceback" not in plain.stderr
    assert "Traceback" in verbose.stderr


def statuses(kind: type[HolepunchError]) -> set[int]:
    """Returns the exit statuses of a class of errors and all below it."""
    return {kind.exit_status}.union(*(statuses(sub) for sub in kind.__subclasses__()))


def test_the_help_lists_every_exit_status_there_is() -> None:
    listed = {int(number) for number in re.findall(r"(?:^|  )(\d+) ", main.CHAPTERS["Exit status"], re.MULTILINE)}
    assert statuses(HolepunchError) - {1} <= listed


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_scripts(shell: str) -> None:
    result = invoke("completion", shell)
    assert result.exit_code == 0
    assert "_HOLEPUNCH_COMPLETE" in result.stdout


def complete(tmp_path: Path, words: str) -> list[str]:
    """Returns what bash would be offered for the last of some words."""
    env = {"_HOLEPUNCH_COMPLETE": "bash_complete", "COMP_WORDS": words, "COMP_CWORD": str(len(words.split(" ")) - 1)}
    out = subprocess.run(
        [sys.executable, "-c", "from holepunch.cli.main import main; main()"],
        env={**env, "HOLEPUNCH_HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        check=True,
    )
    return [line.split(",", 1)[1] for line in out.stdout.split()]


def test_completion_knows_commands_flags_and_mediators(tmp_path: Path) -> None:
    assert complete(tmp_path, "holepunch pr") == ["probe"]
    assert complete(tmp_path, "holepunch --punch") == ["--punch-hops"]
    assert complete(tmp_path, "holepunch --mediator f") == ["file://"]


def test_completion_knows_the_peers(tmp_path: Path) -> None:
    from holepunch import Home, Identity
    from holepunch.home import Peer

    home = Home(tmp_path)
    home.create_identity("here")
    home.peers.add(Peer("remote", Identity.from_seed(bytes(32)).peer_id))
    assert complete(tmp_path, "holepunch --peer r") == ["remote"]
    assert complete(tmp_path / "nothing", "holepunch --peer r") == []


def test_a_closed_pipe_is_no_error() -> None:
    program = subprocess.Popen([sys.executable, "-m", "holepunch", "--help"], stdout=-1, stderr=-1)
    assert program.stdout is not None
    program.stdout.close()
    _, err = program.communicate()
    assert err == b""
