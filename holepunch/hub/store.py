"""What waits in the mailboxes, in SQLite or PostgreSQL; every limit on what may wait is kept here.

Each method is one transaction and blocks; one thread calls them all (holepunch.hub.mailboxes), so
what a method counted is still true when it inserts.  `now` is seconds since 1970 by the hub's clock.
"""

import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import blake2s
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, create_engine, delete, event, func, insert, select
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError, NoSuchModuleError, SQLAlchemyError

from ..errors import ConfigurationError, HolepunchError
from ..log import get_logger
from ..proto.envelope import Envelope
from ..proto.mailbox import Delivery, Reason
from .limits import Limits
from .refusal import RefusedError
from .schema import envelopes, prepare

log = get_logger("hub.store")


class StoreError(HolepunchError):
    """The database failed; the hub goes on and answers that it cannot for the moment."""


class Store:
    """Envelopes on disk.

    Args:
        state: a file for SQLite, or an SQLAlchemy URL (`postgresql://user@host/database`).
        limits: what may wait.

    Raises:
        ConfigurationError: the file or database cannot be used.
    """

    def __init__(self, state: str, limits: Limits) -> None:
        self._limits = limits
        self._engine = _engine(state)
        try:
            with self._engine.begin() as connection:
                known = prepare(connection)
                row = connection.execute(select(func.count(), func.coalesce(func.sum(envelopes.c.size), 0))).one()
        except SQLAlchemyError as error:
            self._engine.dispose()
            raise ConfigurationError(
                f"the hub cannot use its store {state_name(state)}: {_sentence(error)}",
                hint="Give a writable file, or the URL of a reachable database, as --state.",
            ) from error
        self.epoch = known["epoch"]
        """8 bytes that change when a store begins anew."""
        self._secret = known["secret"]
        self.count: int = row[0]
        """Envelopes held, some of which may be expired."""
        self._bytes: int = int(row[1])

    def post(self, envelope: Envelope, data: bytes, *, sender: bytes, network: bytes, life: float, now: float) -> bool:
        """Stores an envelope; tells whether it is new.

        Args:
            envelope: what `data` decodes to.
            data: its bytes.
            sender: the PeerId that posts.
            network: what its address counts as.
            life: seconds to keep it.
            now: the time.

        Raises:
            RefusedError: something is full.
            StoreError: the database failed.
        """
        counted = blake2s(network, key=self._secret, digest_size=8).digest()
        row = {"recipient": envelope.recipient, "sender": sender, "network": counted, "id": envelope.id}
        with self._transaction() as connection:
            same = [envelopes.c[name] == row[name] for name in ("recipient", "sender", "id")]
            if connection.execute(select(envelopes.c.cursor).where(*same)).first() is not None:
                return False
            removed = self._make_room(connection, row, len(data), now)
            expires = int((now + min(life, self._limits.max_life)) * 1000)
            connection.execute(insert(envelopes).values(**row, expires=expires, size=len(data), data=data))
        self.count += 1 - removed[0]
        self._bytes += len(data) - removed[1]
        return True

    def fetch(self, recipient: bytes, cursor: int, most: int, now: float) -> list[Delivery]:
        """Returns the oldest envelopes of a mailbox after a cursor, `most` at most.

        Raises:
            StoreError: the database failed.
        """
        query = select(envelopes.c.cursor, envelopes.c.data).where(
            envelopes.c.recipient == recipient,
            envelopes.c.cursor > min(cursor, 2**63 - 1),
            envelopes.c.expires > now * 1000,
        )
        with self._transaction() as connection:
            rows = connection.execute(query.order_by(envelopes.c.cursor).limit(most)).all()
        return [Delivery(row[0], bytes(row[1])) for row in rows]

    def discard(self, recipient: bytes, message_id: bytes) -> None:
        """Removes a message from a mailbox, whoever sent it.

        Raises:
            StoreError: the database failed.
        """
        self._remove(envelopes.c.recipient == recipient, envelopes.c.id == message_id)

    def expire(self, now: float) -> None:
        """Removes what has expired.

        Raises:
            StoreError: the database failed.
        """
        self._remove(envelopes.c.expires <= now * 1000)

    def close(self) -> None:
        """Closes the database."""
        self._engine.dispose()

    @contextmanager
    def _transaction(self) -> Iterator[Connection]:
        """One transaction; a failing database becomes a StoreError."""
        try:
            with self._engine.begin() as connection:
                yield connection
        except SQLAlchemyError as error:
            raise StoreError(_sentence(error)) from error

    def _remove(self, *conditions: Any) -> None:
        with self._transaction() as connection:
            sizes = connection.execute(delete(envelopes).where(*conditions).returning(envelopes.c.size)).scalars().all()
        self.count -= len(sizes)
        self._bytes -= sum(sizes)

    def _make_room(self, connection: Connection, row: dict[str, bytes], size: int, now: float) -> tuple[int, int]:
        """Checks every limit; returns how many envelopes, and bytes, had to go for the new one.

        Raises:
            RefusedError: there is no room.
        """
        limits = self._limits
        if self.count >= limits.total_envelopes or self._bytes + size > limits.total_bytes:
            raise RefusedError(Reason.HUB_FULL, "the hub holds as many envelopes as it may", wait=60)
        alive = envelopes.c.expires > now * 1000
        c = envelopes.c
        for condition, most, reason, text in (
            (c.sender == row["sender"], limits.sender_envelopes, Reason.SENDER_LIMIT, "this sender has"),
            (c.network == row["network"], limits.network_envelopes, Reason.SENDER_LIMIT, "the sender's network has"),
            (
                (c.sender == row["sender"]) & (c.recipient == row["recipient"]),
                limits.pair_envelopes,
                Reason.MAILBOX_FULL,
                "this sender has in the recipient's mailbox",
            ),
        ):
            waiting = connection.execute(select(func.count()).where(condition, alive)).scalar_one()
            if waiting >= most:
                raise RefusedError(reason, f"{text} {waiting} envelopes waiting, and may have {most}", wait=60)
        mine = [c.recipient == row["recipient"], alive]
        waiting, held = connection.execute(select(func.count(), func.coalesce(func.sum(c.size), 0)).where(*mine)).one()
        removed, freed = 0, 0
        while waiting - removed >= limits.recipient_envelopes or held - freed + size > limits.recipient_bytes:
            # A stranger can fill a mailbox with junk from many keys.  What the network with the most in it posted
            # first gives way, as long as that is not the poster's own: a flood then pushes out only itself.
            share = func.count().label("share")
            heaviest = select(c.network, share).where(*mine).group_by(c.network).order_by(share.desc()).limit(1)
            network, most = connection.execute(heaviest).one_or_none() or (row["network"], 0)
            own = connection.execute(select(func.count()).where(*mine, c.network == row["network"])).scalar_one()
            if network == row["network"] or most <= own + 1:
                raise RefusedError(
                    Reason.MAILBOX_FULL, f"the recipient's mailbox is full: {waiting} envelopes", wait=60
                )
            oldest = select(c.cursor, c.size).where(*mine, c.network == network).order_by(c.cursor).limit(1)
            cursor, bytes_of_it = connection.execute(oldest).one()
            connection.execute(delete(envelopes).where(c.cursor == cursor))
            removed, freed = removed + 1, freed + bytes_of_it
        return removed, freed


def state_name(state: str) -> str:
    """Returns a store's name for a person: a URL without its password."""
    return make_url(state).render_as_string(hide_password=True) if "://" in state else state


def _engine(state: str) -> Engine:
    """Opens a file or a URL."""
    try:
        if "://" not in state:
            return _sqlite(state)
        url = make_url(state)
        if url.drivername in ("postgresql", "postgres"):
            url = url.set(drivername="postgresql+psycopg")
        if url.get_backend_name() == "sqlite":
            return _sqlite(url.database or "")
        return create_engine(url, pool_size=1, max_overflow=0, pool_pre_ping=True)
    except (ArgumentError, NoSuchModuleError, ValueError) as error:
        raise ConfigurationError(
            "the URL given as --state is not one of a database",
            hint="Write a file name, sqlite:////absolute/file, or postgresql://user@host/database.",
        ) from error
    except ImportError as error:
        raise ConfigurationError(
            f"the database driver cannot be loaded: {error}",
            hint="pip install 'holepunch-p2p[hub,postgresql]' brings PostgreSQL's.",
        ) from error


def _sqlite(path: str) -> Engine:
    """Opens a SQLite file that only this user may read: it says who writes to whom."""
    file = Path(path)
    try:
        file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        os.close(os.open(file, os.O_RDWR | os.O_CREAT, 0o600))
    except OSError as error:
        raise ConfigurationError(
            f"the hub cannot use its store {path}: {error.strerror}", hint="Give a writable file as --state."
        ) from error
    engine = create_engine(f"sqlite:///{file}", pool_size=1, max_overflow=0, connect_args={"check_same_thread": False})

    @event.listens_for(engine, "connect")
    def configure(connection: sqlite3.Connection, _: object) -> None:
        connection.isolation_level = None  # BEGIN is ours, below: the driver's would come too late to lock
        for pragma in (
            "busy_timeout = 5000",
            "journal_mode = WAL",  # a crash loses nothing that was committed
            "synchronous = NORMAL",  # a power cut may lose the last moments, which senders repeat
            "journal_size_limit = 16777216",
        ):
            connection.execute(f"PRAGMA {pragma}")

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        # A transaction that reads first and then writes fails at once when another process wrote between.
        connection.exec_driver_sql("BEGIN IMMEDIATE")

    return engine


def _sentence(error: SQLAlchemyError) -> str:
    """Returns the database's own words, in one line, without SQL and parameters."""
    words = str(getattr(error, "orig", None) or error)
    return words.strip().splitlines()[0][:200] if words.strip() else type(error).__name__
