"""examples/custom_mediator, installed as a stranger's package is, and used by its URL alone."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLE = Path(__file__).parents[2] / "examples" / "custom_mediator"

PROGRAM = """
import asyncio, sys, time
from holepunch.mediator import Mailbox, installed, make_mediator
from holepunch.proto.envelope import Envelope, Kind

def envelope(number, recipient, life=900):
    return Envelope(kind=Kind.INVITE, session=bytes(16), id=number.to_bytes(16), recipient=recipient,
                    expires=int(time.time()) + life, body=b"sealed")

async def take(link, count):
    stream = link.receive()
    return [int.from_bytes((await anext(stream)).id) for _ in range(count)], stream

async def main(url):
    assert "sqlite" in installed()
    alice, again, bob = (make_mediator(url, Mailbox(owner=raw * 32, sign=None)) for raw in (b"A", b"A", b"B"))
    for link in (alice, again, bob):
        await link.open()
    for number in (1, 2):
        await bob.post(envelope(number, b"A" * 32))
    await bob.post(envelope(3, b"B" * 32))
    for reader in (alice, again):
        numbers, stream = await take(reader, 2)
        assert numbers == [1, 2], numbers
        waiting = asyncio.create_task(anext(stream))
        await bob.post(envelope(4, b"A" * 32))
        assert (await waiting).id == (4).to_bytes(16)
        await reader.discard(envelope(4, b"A" * 32))
    await alice.discard(envelope(1, b"A" * 32))
    assert (await take(bob, 1))[0] == [3]
    await bob.post(envelope(5, b"A" * 32, life=-7200))
    (finding,) = await alice.check()
    assert (finding.level, finding.text) == ("ok", "1 envelopes wait"), finding
    for link in (alice, again, bob):
        await link.close()
        await link.close()
    print("fine")

asyncio.run(main(sys.argv[1]))
"""


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The example installed into a folder of its own; returns the environment that sees it."""
    folder = tmp_path_factory.mktemp("custom")
    shutil.copytree(EXAMPLE, folder / "source")
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-build-isolation", "--no-index"]
    subprocess.run([*command, "--target", folder / "site", folder / "source"], check=True, capture_output=True)
    return {**os.environ, "PYTHONPATH": str(folder / "site")}


def run(environment: dict[str, str], *command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, check=False, capture_output=True, text=True, env=environment)


def test_a_strangers_mediator_is_found_by_its_scheme_and_keeps_every_promise(
    installed: dict[str, str], tmp_path: Path
) -> None:
    ended = run(installed, sys.executable, "-W", "error", "-c", PROGRAM, f"sqlite://{tmp_path}/mail.db")
    assert (ended.stdout, ended.stderr) == ("fine\n", "")


def test_its_error_is_one_sentence_and_a_hint(installed: dict[str, str], tmp_path: Path) -> None:
    program = PROGRAM.replace("asyncio.run(", "from holepunch.errors import MediatorError\ntry: asyncio.run(").replace(
        "sys.argv[1]))", "sys.argv[1]))\nexcept MediatorError as error: print(error, error.hint, sep=' | ')"
    )
    ended = run(installed, sys.executable, "-c", program, f"sqlite://{tmp_path}/absent/mail.db")
    assert ended.stdout.endswith("unable to open database file | Is its folder there, and writable?\n")


def test_without_it_the_scheme_is_unknown() -> None:
    program = (
        "from holepunch.mediator import make_mediator\nfrom holepunch.errors import ConfigurationError\n"
        "try: make_mediator('sqlite:///x', None)\nexcept ConfigurationError as error: print(error, error.hint)"
    )
    ended = run(dict(os.environ), sys.executable, "-c", program)
    assert ended.stdout.startswith("no mediator serves 'sqlite' Installed here: file, http, https, paste.")


def test_it_is_as_short_as_it_says() -> None:
    assert len((EXAMPLE / "sqlite_mediator.py").read_text().splitlines()) < 60
