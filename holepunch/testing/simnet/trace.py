"""What happened to which packet, where and when: for the person who asks why a path did not open."""

from collections.abc import Callable
from typing import NamedTuple

from .packet import Packet


class Row(NamedTuple):
    """One thing that happened to one packet."""

    time: float
    place: str
    what: str
    serial: int
    packet: str
    """The packet as it was at that moment."""

    def __str__(self) -> str:
        return f"{self.time:11.6f} {self.place:<16} {self.what:<24} {self.packet}"


class Trace:
    """A list of rows, oldest first; at most `limit`, after which nothing is added."""

    def __init__(self, limit: int = 1_000_000, keep: Callable[[Row], bool] | None = None) -> None:
        self.rows: list[Row] = []
        self._limit = limit
        self._keep = keep

    def note(self, now: float, place: str, what: str, packet: Packet) -> None:
        """Adds a row, unless the list is full or `keep` does not want it."""
        if len(self.rows) < self._limit:
            row = Row(now, place, what, packet.serial, str(packet))
            if self._keep is None or self._keep(row):
                self.rows.append(row)

    def of(self, serial: int) -> list[Row]:
        """Returns the life of one datagram."""
        return [row for row in self.rows if row.serial == serial]

    def __str__(self) -> str:
        return "\n".join(str(row) for row in self.rows)
