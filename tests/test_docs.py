"""The documentation, held to the program: what it promises exists, and what exists is promised."""

import re
import shlex
from dataclasses import fields
from pathlib import Path

import click
import pytest

import holepunch
from holepunch.cli.lazy import LazyGroup
from holepunch.cli.main import COMMANDS, cli
from holepunch.config import Settings
from holepunch.errors import HolepunchError
from holepunch.proto import events

ROOT = Path(__file__).parent.parent
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "examples").rglob("*.md")])
REFERENCE = (ROOT / "docs" / "reference.md").read_text(encoding="utf-8")


def name_of(path: Path) -> str:
    return str(path.relative_to(ROOT))


def anchors(page: Path) -> set[str]:
    """Returns the anchors of a page's headings, as forges make them."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading).strip().lower().replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_every_link_leads_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text(encoding="utf-8")):
        if re.match(r"[a-z]+:", target):
            continue
        name, _, anchor = target.partition("#")
        there = (page.parent / name).resolve() if name else page
        assert there.exists(), target
        assert not anchor or anchor in anchors(there), target


def statuses(kind: type[HolepunchError]) -> set[int]:
    return {kind.exit_status}.union(*(statuses(sub) for sub in kind.__subclasses__()))


def test_the_reference_lists_every_exit_status() -> None:
    listed = {int(number) for number in re.findall(r"^\| (\d+) \|", REFERENCE, re.MULTILINE)}
    assert listed == statuses(HolepunchError) | {0}


def test_the_reference_lists_every_option_and_command() -> None:
    for param in cli.params:
        assert all(f"`{opt}" in REFERENCE for opt in param.opts if opt != "-h"), param.name
    for name in COMMANDS:
        assert re.search(rf"^\| `{name}[ `]", REFERENCE, re.MULTILINE), name


def test_the_reference_lists_every_setting_and_its_variable() -> None:
    for field in fields(Settings):
        assert f"`{field.name}" in REFERENCE, field.name
        assert f"`HOLEPUNCH_{field.name.upper()}`" in REFERENCE, field.name


def test_the_reference_lists_every_event_with_its_fields() -> None:
    listed = {
        name: set(re.findall(r"`(\w+)`", columns))
        for name, columns in re.findall(r"^\| `([a-z-]+)` \|([^|]*)\|[^|]*\|$", REFERENCE, re.MULTILINE)
    }
    kinds = [kind for kind in vars(events).values() if isinstance(kind, type) and issubclass(kind, events.Event)]
    for kind in kinds:
        if kind is not events.Event:
            assert listed.get(kind.name) == {field.name for field in fields(kind)} - {"session"}, kind.name


def test_the_reference_lists_every_public_name() -> None:
    for name in set(holepunch.__all__) - {"__version__"}:
        assert re.search(rf"`{name}[`(]", REFERENCE), name


def test_the_reference_lists_every_variable_a_command_gets() -> None:
    source = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "holepunch" / "command").glob("*.py"))
    for name in ("INNER", "OUTER", "PEER", "PEER_NAME", "ROLE", "MODE", "PATH", "SESSION", "SECRET", "CERT", "KEY",
                 "FINGERPRINT", "PEER_FINGERPRINT", "FD"):  # fmt: skip
        assert re.search(rf'"(HOLEPUNCH_)?{name}"', source), name
        assert f"`HOLEPUNCH_{name}`" in REFERENCE, name


def commands_in(page: Path) -> list[str]:
    """Returns the holepunch command lines that a page shows in its consoles."""
    text = page.read_text(encoding="utf-8")
    consoles = "\n".join(re.findall(r"```console\n(.*?)```", text, re.DOTALL))
    return re.findall(r"^(?:\w+ *)?[$#] *(holepunch .*)$", consoles, re.MULTILINE)


def check_line(line: str) -> None:
    """Walks the words of a command line through the commands; each option must be one of the command it stands at."""
    command: click.Command = cli
    words = iter(shlex.split(line, comments=True)[1:])
    for word in words:
        if word == "--":
            return
        if word.startswith("-"):
            options = [param for param in command.params if word.partition("=")[0] in param.opts]
            assert options or word in ("-h", "--help"), f"{line}: {command.name} has no {word}"
            if options and isinstance(options[0], click.Option) and not (options[0].is_flag or options[0].count):
                next(words)
        elif isinstance(command, click.Group):
            found = command.get_command(click.Context(command), word)
            assert found is not None, f"{line}: there is no {word}"
            command = found
        elif "ignore_unknown_options" in command.context_settings:
            return  # what follows is another program's


SHOWN = [(page, line) for page in PAGES for line in commands_in(page)]


@pytest.mark.parametrize(("page", "line"), SHOWN, ids=[f"{name_of(page)}: {line}" for page, line in SHOWN])
def test_every_command_line_shown_has_the_options_it_uses(page: Path, line: str) -> None:
    check_line(line)


def test_the_check_of_command_lines_notices() -> None:
    assert len(SHOWN) >= 20
    for line in ("holepunch --acept", "holepunch prob", "holepunch id --json", "holepunch peer add --nmae x"):
        with pytest.raises(AssertionError):
            check_line(line)


def test_the_readme_shows_a_command_in_the_first_screen() -> None:
    top = "\n".join((ROOT / "README.md").read_text(encoding="utf-8").splitlines()[:12])
    assert "holepunch --accept" in top
    assert len((ROOT / "README.md").read_text(encoding="utf-8").splitlines()) <= 170


def test_the_main_command_is_a_lazy_group() -> None:
    assert isinstance(cli, LazyGroup)
