"""The tables of a hub's store, and how an older store becomes this one.

Nothing here says who a sender is beyond its PeerId: the network it posted from is kept as a keyed hash,
to count by and for nothing else.
"""

import secrets
from collections.abc import Callable

from sqlalchemy import (
    BigInteger,
    Column,
    Connection,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    UniqueConstraint,
    insert,
    inspect,
    select,
    update,
)

from ..errors import ConfigurationError
from ..proto.mailbox import EPOCH_LENGTH

VERSION = 1
"""The schema this program writes."""

tables = MetaData()

facts = Table(
    "facts",
    tables,
    Column("name", String(32), primary_key=True, comment="schema, epoch or secret"),
    Column("value", LargeBinary, nullable=False),
    comment="One row for each thing a hub must not forget.",
)

# SQLite numbers rows by itself only where the primary key is exactly INTEGER.
_Serial = BigInteger().with_variant(Integer, "sqlite")

envelopes = Table(
    "envelopes",
    tables,
    Column("cursor", _Serial, primary_key=True, autoincrement=True, comment="its place; never used again"),
    Column("recipient", LargeBinary(32), nullable=False, comment="PeerId whose mailbox it is in"),
    Column("sender", LargeBinary(32), nullable=False, comment="PeerId that logged in to post it"),
    Column("network", LargeBinary(8), nullable=False, comment="keyed hash of the address it came from"),
    Column("id", LargeBinary(16), nullable=False, comment="message id, from its header"),
    Column("expires", BigInteger, nullable=False, comment="milliseconds since 1970, by the hub's clock"),
    Column("size", Integer, nullable=False, comment="bytes of data"),
    Column("data", LargeBinary, nullable=False, comment="the sealed envelope as it came"),
    # The sender is part of it: another one, who learned an id elsewhere, must not keep its envelope out.
    UniqueConstraint("recipient", "sender", "id", name="envelopes_once"),
    Index("envelopes_by_recipient", "recipient", "cursor"),
    Index("envelopes_by_sender", "sender"),
    Index("envelopes_by_network", "network"),
    Index("envelopes_by_expires", "expires"),
    sqlite_autoincrement=True,
    comment="What waits in the mailboxes.",
)

UPGRADES: dict[int, Callable[[Connection], None]] = {}
"""From a version to the next: {1: upgrade_to_2, ...}; each runs in the transaction that raises the version."""


def prepare(connection: Connection) -> dict[str, bytes]:
    """Makes or upgrades the tables; returns the facts.

    Raises:
        ConfigurationError: the store is of a newer program.
    """
    if not inspect(connection).has_table(facts.name):
        tables.create_all(connection)
        first = {"schema": str(VERSION).encode(), "epoch": secrets.token_bytes(EPOCH_LENGTH)}
        first["secret"] = secrets.token_bytes(32)
        connection.execute(insert(facts), [{"name": name, "value": value} for name, value in first.items()])
    known = {name: bytes(value) for name, value in connection.execute(select(facts.c.name, facts.c.value))}
    version = int(known["schema"])
    if version > VERSION:
        raise ConfigurationError(
            f"the hub's store has schema {version}, this program knows {VERSION}",
            hint="Run the newer holepunch that wrote it, or give another --state.",
        )
    for older in range(version, VERSION):
        UPGRADES[older](connection)
        connection.execute(update(facts).where(facts.c.name == "schema").values(value=str(older + 1).encode()))
    return known
