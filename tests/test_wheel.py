"""What is installed: one wheel with two packages, the command, the entry points, and nothing else."""

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PIP = [sys.executable, "-m", "pip", "--disable-pip-version-check", "-q"]

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Builds the wheel with what is installed: no network."""
    folder = tmp_path_factory.mktemp("wheel")
    subprocess.run([*PIP, "wheel", "--no-deps", "--no-build-isolation", "--no-index", "-w", folder, ROOT], check=True)
    (made,) = folder.glob("*.whl")
    return made


def test_the_wheel_holds_both_packages_the_licence_and_no_tests(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    tops = {name.split("/")[0] for name in names}
    info = f"{'-'.join(wheel.name.split('-')[:2])}.dist-info"
    assert tops == {"holepunch", "holepunch_mediators", info}
    assert {"holepunch/py.typed", "holepunch_mediators/py.typed", f"{info}/licenses/LICENSE"} <= set(names)
    modules = {str(path.relative_to(ROOT)) for path in (ROOT / "holepunch").rglob("*.py")}
    assert modules <= set(names)


def test_the_wheel_works_where_it_is_installed(wheel: Path, tmp_path: Path) -> None:
    subprocess.run([*PIP, "install", "--no-deps", "--no-index", "--target", tmp_path / "site", wheel], check=True)
    script = (
        "import holepunch, holepunch_mediators\n"
        "from holepunch.mediator import installed\n"
        "print(holepunch.__file__, sorted(installed()), installed()['file'].load().__module__)\n"
    )
    environ = {**os.environ, "PYTHONPATH": str(tmp_path / "site")}

    def output(*argv: str) -> str:
        return subprocess.run(argv, env=environ, cwd=tmp_path, check=True, stdout=subprocess.PIPE, text=True).stdout

    said = output(sys.executable, "-c", script)
    assert str(tmp_path / "site") in said
    assert "['file', 'http', 'https', 'paste']" in said
    assert output(str(tmp_path / "site" / "bin" / "holepunch"), "--version").startswith("holepunch 0.")
