"""The store, on SQLite and on a real PostgreSQL: limits, fairness, expiry, restart, damage."""

import os
import pwd
import shutil
import sqlite3
import subprocess
import tempfile
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from holepunch.errors import ConfigurationError
from holepunch.hub import schema
from holepunch.hub.limits import Limits
from holepunch.hub.refusal import RefusedError
from holepunch.hub.store import Store, StoreError, state_name
from holepunch.proto.envelope import Envelope, decode_envelope
from holepunch.proto.mailbox import Reason

from .harness import ALICE, BOB, envelope

NOW = 1_800_000_000.0
A, B = ALICE.peer_id.raw, BOB.peer_id.raw
POSTGRES = sorted(Path("/usr/lib/postgresql").glob("*/bin"))
STATES = ["sqlite", "postgresql"] if POSTGRES and find_spec("psycopg") else ["sqlite"]


@pytest.fixture(scope="session")
def postgres() -> Iterator[str]:
    """A PostgreSQL server of its own, on a socket in a temporary folder that it may enter under another user."""
    folder = Path(tempfile.mkdtemp(prefix="hub-postgres-"))
    demote: dict[str, Any] = {}
    if os.geteuid() == 0:  # it refuses to run as root
        user = pwd.getpwnam("nobody")
        shutil.chown(folder, user.pw_uid, user.pw_gid)
        demote = {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}

    def run(program: str, *arguments: str) -> None:
        command = [str(POSTGRES[-1] / program), "-D", str(folder / "data"), *arguments]
        null = subprocess.DEVNULL
        subprocess.run(command, check=True, stdout=null, stderr=null, cwd=folder, **demote)

    run("initdb", "-U", "hub", "--auth=trust", "--no-sync")
    options = f"-k {folder} -c listen_addresses='' -c fsync=off"
    run("pg_ctl", "-w", "-l", str(folder / "log"), "-o", options, "start")
    try:
        yield f"postgresql://hub@/postgres?host={folder}"
    finally:
        run("pg_ctl", "-w", "-m", "immediate", "stop")
        shutil.rmtree(folder)


@pytest.fixture(params=STATES)
def state(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    if request.param == "sqlite":
        yield str(tmp_path / "hub.sqlite")
        return
    url = request.getfixturevalue("postgres")
    yield url
    subprocess.run(["psql", url, "-qc", "drop table if exists envelopes, facts"], check=True, stderr=subprocess.DEVNULL)


def post(
    store: Store,
    what: bytes | Envelope,
    *,
    sender: bytes = B,
    network: bytes = b"net",
    life: float = 900,
    now: float = NOW,
) -> bool:
    data = what if isinstance(what, bytes) else what.encode()
    return store.post(decode_envelope(data), data, sender=sender, network=network, life=life, now=now)


def numbers(store: Store, owner: bytes = A, cursor: int = 0, now: float = NOW) -> list[int]:
    return [int.from_bytes(decode_envelope(item.envelope).id) for item in store.fetch(owner, cursor, 1000, now)]


def test_what_is_posted_is_fetched_in_order_by_its_owner_only_and_reading_takes_nothing_away(state: str) -> None:
    store = Store(state, Limits())
    for number in range(5):
        assert post(store, envelope(number))
    assert numbers(store) == numbers(store) == [0, 1, 2, 3, 4]
    assert numbers(store, B) == []
    first_two = store.fetch(A, 0, 2, NOW)
    assert numbers(store, cursor=first_two[-1].cursor) == [2, 3, 4]
    assert numbers(store, cursor=2**64 - 1) == []
    store.close()


def test_discard_removes_from_the_owners_mailbox_only(state: str) -> None:
    store = Store(state, Limits())
    post(store, envelope(1))
    post(store, envelope(1, BOB))
    store.discard(B, envelope(1).id)
    assert (numbers(store), numbers(store, B)) == ([1], [])
    store.discard(B, envelope(1).id)
    store.discard(A, b"short")
    assert store.count == 1
    store.close()


def test_the_same_envelope_twice_is_one_but_another_sender_cannot_keep_it_out(state: str) -> None:
    store = Store(state, Limits())
    assert post(store, envelope(1, body=b"junk under a stolen id"), sender=b"M" * 32)
    assert post(store, envelope(1, body=b"real"))
    assert not post(store, envelope(1, body=b"real"))
    assert [decode_envelope(item.envelope).body for item in store.fetch(A, 0, 9, NOW)][-1] == b"real"
    assert store.count == 2
    store.close()


def test_life_is_counted_by_the_hubs_clock_and_never_longer_than_the_limit(state: str) -> None:
    store = Store(state, Limits(max_life=3600))
    post(store, envelope(1), life=10)
    post(store, envelope(2), life=10**9)
    assert numbers(store, now=NOW + 9.9) == [1, 2]
    assert numbers(store, now=NOW + 10) == [2]
    store.expire(NOW + 10)
    assert store.count == 1
    store.expire(NOW + 3600)
    assert store.count == 0
    store.close()


def test_a_store_survives_its_process_and_cursors_are_never_used_again(state: str) -> None:
    store = Store(state, Limits())
    post(store, envelope(1))
    post(store, envelope(2))
    epoch, last = store.epoch, store.fetch(A, 0, 9, NOW)[-1].cursor
    store.discard(A, envelope(2).id)
    store.close()
    store = Store(state, Limits())
    assert (store.epoch, numbers(store), store.count) == (epoch, [1], 1)
    post(store, envelope(3))
    assert numbers(store, cursor=last) == [3]
    store.close()


@pytest.mark.parametrize(
    ("limits", "reason"),
    [
        ({"pair_envelopes": 3}, Reason.MAILBOX_FULL),
        ({"sender_envelopes": 3}, Reason.SENDER_LIMIT),
        ({"network_envelopes": 3}, Reason.SENDER_LIMIT),
        ({"recipient_envelopes": 3}, Reason.MAILBOX_FULL),
        ({"recipient_bytes": 3 * len(envelope(0).encode())}, Reason.MAILBOX_FULL),
        ({"total_envelopes": 3}, Reason.HUB_FULL),
        ({"total_bytes": 3 * len(envelope(0).encode())}, Reason.HUB_FULL),
    ],
)
def test_every_limit_refuses_the_fourth_and_frees_its_place_by_discard_and_by_expiry(
    state: str, limits: dict[str, Any], reason: Reason
) -> None:
    store = Store(state, Limits(**limits))
    for number in range(3):
        post(store, envelope(number), life=100)
    with pytest.raises(RefusedError) as caught:
        post(store, envelope(3))
    assert caught.value.reason is reason
    assert numbers(store) == [0, 1, 2]
    store.discard(A, envelope(0).id)
    post(store, envelope(3), life=100)
    store.expire(NOW + 100)
    for number in range(4, 7):
        post(store, envelope(number), now=NOW + 100)
    assert numbers(store, now=NOW + 100) == [4, 5, 6]
    store.close()


def test_a_flood_from_many_keys_of_one_network_pushes_out_only_itself(state: str) -> None:
    store = Store(state, Limits(recipient_envelopes=10))
    post(store, envelope(1000), sender=b"friend" + bytes(26), network=b"home")
    for number in range(9):
        post(store, envelope(number), sender=number.to_bytes(32), network=b"flood")
    with pytest.raises(RefusedError):
        post(store, envelope(9), sender=bytes(31) + b"\x20", network=b"flood")
    for number in range(2000, 2004):  # friends of two other networks still get in, at the flood's expense
        post(store, envelope(number), sender=number.to_bytes(32), network=b"home" if number % 2 else b"office")
    assert numbers(store) == [1000, 4, 5, 6, 7, 8, 2000, 2001, 2002, 2003]
    assert store.count == 10
    store.close()


def test_a_file_that_is_no_database_and_a_folder_that_cannot_be_written_are_configuration_errors(
    tmp_path: Path,
) -> None:
    (tmp_path / "text").write_text("This is no database. " * 100)
    with pytest.raises(ConfigurationError, match="not a database"):
        Store(str(tmp_path / "text"), Limits())
    with pytest.raises(ConfigurationError, match="File exists"):
        Store(str(tmp_path / "text" / "hub.sqlite"), Limits())


@pytest.mark.parametrize("url", ["nonsense://x", "postgresql://", "://", "sqlite:////proc/no/such/file"])
def test_a_url_of_no_database_is_a_configuration_error(url: str) -> None:
    with pytest.raises(ConfigurationError):
        Store(url, Limits())


def test_only_this_user_can_read_who_writes_to_whom(tmp_path: Path) -> None:
    store = Store(str(tmp_path / "new" / "hub.sqlite"), Limits())
    post(store, envelope(1))
    assert {path.stat().st_mode & 0o777 for path in (tmp_path / "new").iterdir()} == {0o600}
    store.close()


def test_a_store_of_a_newer_program_is_refused_and_an_older_one_upgraded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = str(tmp_path / "hub.sqlite")
    Store(path, Limits()).close()
    ran = []
    monkeypatch.setattr(schema, "VERSION", 3)
    monkeypatch.setattr(schema, "UPGRADES", {1: lambda _: ran.append(1), 2: lambda _: ran.append(2)})
    Store(path, Limits()).close()
    Store(path, Limits()).close()
    assert ran == [1, 2]
    monkeypatch.setattr(schema, "VERSION", 1)
    with pytest.raises(ConfigurationError, match="schema 3, this program knows 1"):
        Store(path, Limits())


def test_a_database_that_fails_while_running_is_a_store_error_and_comes_back(tmp_path: Path) -> None:
    path = tmp_path / "hub.sqlite"
    store = Store(str(path), Limits())
    other = sqlite3.connect(path)
    other.execute("alter table envelopes rename to hidden")
    with pytest.raises(StoreError, match="no such table"):
        post(store, envelope(1))
    assert store.count == 0
    other.execute("alter table hidden rename to envelopes")
    assert post(store, envelope(1))
    other.close()
    store.close()


def test_the_network_of_a_sender_is_not_in_the_file(tmp_path: Path) -> None:
    path = tmp_path / "hub.sqlite"
    store = Store(str(path), Limits())
    post(store, envelope(1), network=b"\xc0\x00\x02\x07-marker")
    store.close()
    assert b"-marker" not in path.read_bytes()


def test_a_password_is_not_shown_in_a_stores_name() -> None:
    assert state_name("postgresql://hub:secret@host/db") == "postgresql://hub:***@host/db"
    assert state_name("some/file") == "some/file"
