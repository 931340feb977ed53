"""The replay cache: exactly one of all processes acts on a message, and memory of it ends."""

import shutil
from pathlib import Path

import pytest

from holepunch.home import Home
from holepunch.home.seen import GRACE, Seen
from tests.home.processes import run_together

NOW = 1_790_000_000
LATER = NOW + 900


@pytest.fixture
def seen(tmp_path: Path) -> Seen:
    (tmp_path / "home").mkdir(mode=0o700)
    return Seen(tmp_path / "home" / "seen")


def test_the_first_claim_of_a_message_succeeds_and_no_other(seen: Seen) -> None:
    assert seen.claim(b"a" * 16, LATER, NOW)
    assert not seen.claim(b"a" * 16, LATER, NOW)
    assert not Seen(seen.folder).claim(b"a" * 16, LATER, NOW)
    assert seen.claim(b"b" * 16, LATER, NOW)


# A clock far ahead of the file system's takes what has not yet got its expiry for long expired.
@pytest.mark.parametrize("now", [NOW, 2 * NOW])
def test_of_many_processes_exactly_one_acts_on_each_message(tmp_path: Path, now: int) -> None:
    outcomes = run_together(
        6,
        "from holepunch.home import Home; home = Home(sys.argv[2]); now = int(sys.argv[3])",
        "print(*[home.claim(bytes([number]) * 16, now + 900, now) for number in range(50)])",
        [tmp_path / "home", now],
    )
    claims = [out.split() for out in outcomes]
    assert [sum(claim[message] == "True" for claim in claims) for message in range(50)] == [1] * 50


def test_a_message_is_remembered_until_ten_minutes_after_its_expiry_and_refused_from_then_on(seen: Seen) -> None:
    assert seen.claim(b"a" * 16, LATER, NOW)
    assert not seen.claim(b"a" * 16, LATER, LATER + GRACE - 1)
    assert len(list(seen.folder.iterdir())) == 1
    assert seen.claim(b"b" * 16, LATER + 3600, LATER + GRACE + 60)
    assert [path.name for path in seen.folder.iterdir()] == [(b"b" * 16).hex()]
    assert not seen.claim(b"a" * 16, LATER, LATER + GRACE + 60)
    assert not seen.claim(b"c" * 16, LATER, LATER + GRACE)


def test_a_clock_set_back_makes_no_message_acceptable_twice(seen: Seen) -> None:
    assert seen.claim(b"a" * 16, LATER, NOW)
    assert not seen.claim(b"a" * 16, LATER, NOW - 86400)
    assert not seen.claim(b"a" * 16, LATER, NOW)


def test_a_folder_removed_meanwhile_is_made_again(seen: Seen) -> None:
    seen.claim(b"a" * 16, LATER, NOW)
    shutil.rmtree(seen.folder)
    assert seen.claim(b"b" * 16, LATER, NOW)
    assert not seen.claim(b"b" * 16, LATER, NOW)


def test_a_home_made_by_a_claim_alone_is_private(tmp_path: Path) -> None:
    home = Home(tmp_path / "home")
    assert home.claim(bytes(16), LATER, NOW)
    assert home.path.stat().st_mode & 0o777 == 0o700
    assert (home.path / "seen").stat().st_mode & 0o777 == 0o700
