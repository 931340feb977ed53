"""The house rules, as tests: file length, docstrings, public names, and what may not be in the tree."""

import ast
import importlib
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import holepunch

ROOT = Path(__file__).parent.parent
LIMIT = 400  # lines; a file that needs more has more than one idea
PACKAGES = [ROOT / "holepunch", ROOT / "mediators"]

# A machine's verbs are documented once, in holepunch.proto.machine, and those of a plug-in in holepunch.mediator.
SHARED_VERBS = {
    "socket_opened", "socket_failed", "receive_datagram", "receive_icmp", "handle_timer", "datagrams_to_send",
    "get_timer", "next_event", "post", "receive", "discard", "check", "open", "close",
    # of asyncio and click, which document them
    "connection_made", "connection_lost", "datagram_received", "error_received", "list_commands", "get_command",
}  # fmt: skip


def sources(*roots: Path) -> list[Path]:
    return sorted(path for root in roots for path in root.rglob("*.py") if "__pycache__" not in path.parts)


def name_of(path: Path) -> str:
    return str(path.relative_to(ROOT))


@pytest.mark.parametrize("path", sources(*PACKAGES, ROOT / "tests", ROOT / "examples", ROOT / "scripts"), ids=name_of)
def test_no_file_is_longer_than_400_lines(path: Path) -> None:
    assert len(path.read_text(encoding="utf-8").splitlines()) <= LIMIT


def undocumented(tree: ast.Module) -> Iterator[str]:
    """Yields the public names of a file that have no docstring."""
    if not ast.get_docstring(tree):
        yield "the file itself"
    for node in tree.body:
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) or node.name.startswith("_"):
            continue
        if not ast.get_docstring(node):
            yield node.name
        for inner in node.body if isinstance(node, ast.ClassDef) else []:
            if (
                isinstance(inner, ast.FunctionDef | ast.AsyncFunctionDef)
                and not inner.name.startswith("_")
                and inner.name not in SHARED_VERBS
                and not any(ast.unparse(d).endswith((".setter", "overload", "override")) for d in inner.decorator_list)
                and not ast.get_docstring(inner)
            ):
                yield f"{node.name}.{inner.name}"


@pytest.mark.parametrize("path", sources(*PACKAGES), ids=name_of)
def test_every_public_name_says_what_it_is(path: Path) -> None:
    assert list(undocumented(ast.parse(path.read_text(encoding="utf-8")))) == []


def test_public_names_are_all_there() -> None:
    for name in holepunch.__all__:
        assert getattr(holepunch, name) is not None, name
    assert set(holepunch.__all__) - {"__version__"} == holepunch._HOMES.keys()
    assert set(holepunch.__all__) <= set(dir(holepunch))


def test_public_names_are_what_type_checkers_see() -> None:
    tree = ast.parse((ROOT / "holepunch" / "__init__.py").read_text(encoding="utf-8"))
    block = next(node for node in tree.body if isinstance(node, ast.If))
    seen = {alias.name: node.module for node in block.body if isinstance(node, ast.ImportFrom) for alias in node.names}
    assert seen == holepunch._HOMES


def test_a_name_that_is_not_public_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="has no attribute 'punch_through_everything'"):
        _ = holepunch.punch_through_everything


def test_importing_the_package_loads_nothing_heavy() -> None:
    script = "import sys, holepunch; print(*sorted(set(sys.modules) & {'asyncio','cryptography','rich','click'}))"
    out = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert out.stdout.split() == []


def test_every_entry_point_loads() -> None:
    from holepunch.mediator import Mediator, installed

    points = installed()
    assert {"file", "http", "https", "paste"} <= points.keys()
    for name, point in points.items():
        assert issubclass(point.load(), Mediator), name


def tracked() -> list[Path]:
    """Returns the files of the repository, or of an unpacked sdist, that are text."""
    out = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=False)
    names = [name for name in out.stdout.split("\0") if name]
    return [ROOT / name for name in names if (ROOT / name).is_file()]


def test_no_path_of_one_machine_is_in_the_tree() -> None:
    pattern = re.compile(r"(?<![\w.])/(?:work|root)/")
    for path in tracked():
        text = path.read_text(encoding="utf-8", errors="replace")
        assert not pattern.search(text) or path == Path(__file__), path


def test_the_lock_names_no_index() -> None:
    text = (ROOT / "requirements.lock").read_text(encoding="utf-8")
    assert "://" not in text
    assert not re.search(r"^\s*--(?!hash=)", text, re.MULTILINE)
    assert all("--hash=sha256:" in block for block in re.split(r"\n(?=\w)", text) if "==" in block)


@pytest.mark.parametrize("module", ["holepunch.cli.main", "holepunch.__main__"])
def test_a_program_can_be_imported_without_running(module: str) -> None:
    assert importlib.import_module(module).__name__ == module
