"""The dependency rule, as a test: imports go down, and the bottom does no I/O."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import holepunch

ROOT = Path(__file__).parent.parent / "holepunch"
MEDIATORS = ROOT.parent / "mediators"

# Low to high.  Modules of one rank may import each other only as SIBLINGS says.
RANKS: list[set[str]] = [
    {"errors", "log"},
    {"proto"},
    {"net"},
    {"mediator", "probe", "relay", "home", "config"},
    {"puncher", "session", "standby", "datapath", "post", "command", "proxy"},
    {"tunnel"},
    {"hub"},
    {"cli"},
]
RANK = {module: rank for rank, modules in enumerate(RANKS) for module in modules}
# What a user calls is one group of files, not a tower: they know each other.
SIBLINGS = {
    "puncher",
    "session",
    "standby",
    "datapath",
    "post",
    "command",
    "proxy",
    "home",
    "config",
    "mediator",
    "errors",
    "log",
}
# Beside the tower: what testing/ may import, and who may import it.
TESTING_MAY_IMPORT = {"testing", "errors", "log", "proto", "net"}
MAY_IMPORT_TESTING = {("cli", "lab")}

IMPURE = {
    "asyncio", "os", "random", "secrets", "select", "socket", "ssl", "subprocess", "threading", "time",
}  # fmt: skip
IMPURE_BUILTINS = {"open", "input", "print"}


def sources(root: Path) -> list[Path]:
    return sorted(path for path in root.rglob("*.py") if "__pycache__" not in path.parts)


def parts_of(path: Path) -> tuple[str, ...]:
    """Returns a file's place under holepunch/, as ("proto", "stun", "message")."""
    return path.relative_to(ROOT).with_suffix("").parts


def imports(path: Path, package: tuple[str, ...]) -> Iterator[list[str]]:
    """Yields the dotted parts of everything a file imports, relative names resolved."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (name.name.split(".") for name in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else ()
            module = [*base, *(node.module.split(".") if node.module else [])]
            yield from ([*module, name.name] for name in node.names)


def faults(path: Path, here: tuple[str, ...]) -> list[str]:
    """Returns what a file under holepunch/ imports against the law."""
    found = []
    for target in imports(path, ("holepunch", *here[:-1])):
        dotted = ".".join(target)
        if target[0] == "holepunch_mediators":
            found.append(f"{dotted}: mediators are plug-ins, loaded by entry point")
        if here[0] == "proto" and target[0] in IMPURE:
            found.append(f"{dotted}: proto does no I/O, reads no clock and draws no random number")
        if target[0] != "holepunch" or len(target) < 2:
            continue
        top = target[1]
        if here[0] == "testing":
            if top not in TESTING_MAY_IMPORT:
                found.append(f"{dotted}: testing stands on proto and net")
        elif top == "testing":
            if here[:2] not in MAY_IMPORT_TESTING:
                found.append(f"{dotted}: only the laboratory command imports testing")
        elif here[0] in RANK and top in RANK and top != here[0]:
            level = RANK[top] == RANK[here[0]] and {top, here[0]} <= SIBLINGS
            if not level and RANK[top] >= RANK[here[0]]:
                found.append(f"{dotted}: is not below {here[0]}")
    return found


@pytest.mark.parametrize("path", sources(ROOT), ids=lambda path: "/".join(parts_of(path)))
def test_imports_point_down(path: Path) -> None:
    assert faults(path, parts_of(path)) == []


def test_every_module_has_a_rank() -> None:
    tops = {parts_of(path)[0] for path in sources(ROOT)}
    assert tops - {"__init__", "__main__", "testing"} <= RANK.keys()


@pytest.mark.parametrize("path", sources(ROOT / "proto"), ids=lambda path: "/".join(parts_of(path)))
def test_the_core_calls_nothing_that_waits(path: Path) -> None:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            assert node.func.id not in IMPURE_BUILTINS, f"line {node.lineno} calls {node.func.id}()"
        assert not isinstance(node, ast.AsyncFunctionDef | ast.Await), "a machine never waits"


@pytest.mark.parametrize("path", sources(MEDIATORS), ids=lambda path: path.stem)
def test_mediators_use_what_a_stranger_could(path: Path) -> None:
    allowed = {"errors", "log", "mediator", "proto", "net"}
    for target in imports(path, ("holepunch_mediators",)):
        if target[0] == "holepunch" and len(target) > 1:
            assert target[1] in allowed | set(holepunch.__all__), f"{'.'.join(target)} is no interface of a plug-in"


@pytest.mark.parametrize(
    ("place", "line"),
    [
        (("proto", "sample"), "import time"),
        (("proto", "stun", "sample"), "from ...net import udp"),
        (("net", "sample"), "from ..puncher import Puncher"),
        (("probe",), "from .relay import client"),
        (("session",), "from .cli import main"),
        (("cli", "run"), "from ..testing.simnet import Internet"),
        (("testing", "netlab", "sample"), "from ...puncher import Puncher"),
        (("puncher",), "import holepunch_mediators.file"),
    ],
)
def test_the_law_itself_notices(place: tuple[str, ...], line: str, tmp_path: Path) -> None:
    sample = tmp_path / "sample.py"
    sample.write_text(f"{line}\n", encoding="utf-8")
    assert len(faults(sample, place)) == 1
