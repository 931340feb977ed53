"""A gatherer and STUN servers that answer as a test wants, in virtual time."""

import random
from collections.abc import Callable
from dataclasses import dataclass, field

from holepunch.proto.candidate import Interface
from holepunch.proto.gather import (
    Gatherer,
)
from holepunch.proto.machine import Address, OpenSocket, Transmit
from holepunch.proto.stun.attributes import Attribute, encode_xor_mapped_address
from holepunch.proto.stun.message import Message, MessageClass, decode_message

HERE = Interface("192.168.1.2", 24)
HERE_6 = Interface("2600::2", 64)
OUTER: Address = ("45.0.0.1", 40000)
SERVERS: list[Address] = [("46.0.0.1", 3478), ("46.0.0.2", 3478), ("46.0.0.3", 3478)]
RTT = 0.05

Answer = Callable[[Address, int, bytes], bytes | None]
"""Takes (server, our socket's number, transaction id); gives the response."""


def says(mapped: Address, transaction_id: bytes, *others: tuple[int, bytes]) -> bytes:
    """A success response that names an address."""
    value = encode_xor_mapped_address(mapped, b"\x21\x12\xa4\x42" + transaction_id)
    return Message(
        message_class=MessageClass.SUCCESS,
        transaction_id=transaction_id,
        attributes=((Attribute.XOR_MAPPED_ADDRESS, value), *others),
    ).encode()


def honest(_server: Address, _local: int, transaction_id: bytes) -> bytes | None:
    """Every server sees one mapping."""
    return says(OUTER, transaction_id)


@dataclass
class Bench:
    """One gatherer, and servers that answer as a test wants."""

    answer: Answer = honest
    servers: list[Address] = field(default_factory=lambda: list(SERVERS))
    interfaces: list[Interface] = field(default_factory=lambda: [HERE])
    options: dict[str, object] = field(default_factory=dict)
    now: float = 100.0
    sent: list[tuple[float, Transmit]] = field(default_factory=list)
    events: list[object] = field(default_factory=list)
    port: int = 4000

    def __post_init__(self) -> None:
        options = {"measures_hops": False, **self.options}
        self.gatherer = Gatherer(self.servers, self.interfaces, random.Random(1).randbytes, **options)  # type: ignore[arg-type]
        self._wire: list[tuple[float, Address, int, bytes]] = []

    def start(self, seconds: float = 10.0) -> "Bench":
        """Gathers."""
        self.gatherer.start(self.now)
        return self.run(seconds)

    def run(self, seconds: float) -> "Bench":
        """Lets time pass."""
        end = self.now + seconds
        while True:
            self._pump()
            times = [at for at, *_ in self._wire]
            if (timer := self.gatherer.get_timer()) is not None:
                times.append(timer)
            if not times or min(times) > end:
                self.now = end
                return self
            self.now = max(self.now, min(times))
            due = [each for each in self._wire if each[0] <= self.now]
            self._wire = [each for each in self._wire if each[0] > self.now]
            for _, server, local, data in due:
                self.gatherer.receive_datagram(data, server, self.now, local)
            self.gatherer.handle_timer(self.now)

    def of(self, kind: type) -> list[object]:
        """The events of one kind."""
        return [event for event in self.events if isinstance(event, kind)]

    def asked(self) -> list[Address]:
        """Whom it has sent to."""
        return [transmit.remote for _, transmit in self.sent]

    def _pump(self) -> None:
        before = None
        while before != (len(self.events), len(self.sent)):
            before = len(self.events), len(self.sent)
            while (event := self.gatherer.next_event()) is not None:
                self.events.append(event)
                if isinstance(event, OpenSocket):
                    host = "::" if event.family == 6 else "0.0.0.0"
                    self.gatherer.socket_opened(event.local, (host, event.port or self.port), self.now)
            for transmit in self.gatherer.datagrams_to_send(self.now):
                self.sent.append((self.now, transmit))
                response = self.answer(transmit.remote, transmit.local, decode_message(transmit.data).transaction_id)
                if response is not None:
                    self._wire.append((self.now + RTT, transmit.remote, transmit.local, response))
