"""A mediator of our own: a subclass of Mediator and, in pyproject.toml, a line that names it for `sqlite:///file`."""

import asyncio
import contextlib
import sqlite3
import time
from collections.abc import AsyncIterator
from typing import Any

from holepunch.errors import MediatorError, WireError
from holepunch.mediator import Finding, Mediator
from holepunch.proto.envelope import Envelope, decode_envelope

COLUMNS = "number integer primary key autoincrement, id blob, recipient blob, expires integer, data blob"


class SqliteMediator(Mediator):
    """Carries envelopes as rows of one table."""

    latency_hint = 0.1
    closed = False

    async def post(self, envelope: Envelope) -> None:
        row = (envelope.id, envelope.recipient, envelope.expires, envelope.encode())
        await self._do("insert into mail (id, recipient, expires, data) values (?, ?, ?, ?)", *row)
        await self._do("delete from mail where expires < ?", time.time() - 3600)  # clocks differ

    async def receive(self) -> AsyncIterator[Envelope]:
        last = 0  # reading takes nothing away: other processes of this machine read the same mailbox
        while not self.closed:
            query = "select number, data from mail where recipient = ? and number > ? order by number"
            for number, data in await self._do(query, self.mailbox.owner, last):
                last = number
                with contextlib.suppress(WireError):
                    yield decode_envelope(data)
            await asyncio.sleep(0.1)

    async def discard(self, envelope: Envelope) -> None:
        await self._do("delete from mail where id = ? and recipient = ?", envelope.id, self.mailbox.owner)

    async def check(self) -> list[Finding]:
        rows = await self._do("select 1 from mail where recipient = ?", self.mailbox.owner)
        return [Finding(self.url.geturl(), "ok", f"{len(rows)} envelopes wait")]

    async def close(self) -> None:
        self.closed = True

    async def _do(self, statement: str, *values: Any) -> list[Any]:
        def work() -> list[Any]:
            with contextlib.closing(sqlite3.connect(self.url.path, timeout=5)) as database, database:
                database.execute(f"create table if not exists mail ({COLUMNS})")
                return database.execute(statement, values).fetchall()

        try:
            return await asyncio.to_thread(work)
        except sqlite3.Error as error:
            raise MediatorError(f"{self.url.path}: {error}", hint="Is its folder there, and writable?") from error
