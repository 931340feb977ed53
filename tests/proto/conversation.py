"""Two check lists and a network between them, in virtual time: each test says what the network does."""

import heapq
import itertools
import random
from collections.abc import Callable
from dataclasses import dataclass, field

from holepunch.proto.candidate import Candidate, CandidateKind
from holepunch.proto.checklist import CheckList
from holepunch.proto.events import Event
from holepunch.proto.machine import Address, Transmit
from holepunch.proto.packet import Flag, Opener, Punch, Sealer, encode_punch

DELAY = 0.04  # seconds one way
HOPS = 10  # routers between the two

ALICE, BOB = ("45.0.0.1", 1000), ("45.0.0.2", 2000)
SECRETS = b"alice to bob".ljust(32), b"bob to alice".ljust(32)

Packet = tuple[int, Address, Transmit]
"""Who sent it (0: Alice), where it seems to come from, and what it is."""


def candidate(address: Address, kind: CandidateKind = CandidateKind.SERVER_REFLEXIVE) -> Candidate:
    """A candidate at an address."""
    return Candidate(kind, address)


def forged(flags: Flag, *, counter: int, echo: int = 0, secret: bytes = SECRETS[0]) -> bytes:
    """A packet that Alice's keys make, with any content: what an authentic peer gone bad can send."""
    sealer = Sealer(secret)
    sealer.next_counter = counter
    return sealer.seal(encode_punch(Punch(flags=flags, echo=echo)))


@dataclass
class Conversation:
    """Alice, who invites and controls, and Bob, who accepts and waits."""

    seed: int = 0
    loss: float = 0.0
    duplicate: float = 0.0
    jitter: float = 0.0
    """Up to so many seconds more, each packet for itself: packets overtake each other."""
    hops: int = HOPS
    deliver: Callable[[Packet, float], bool] = lambda _packet, _now: True
    """Decides about each packet that would arrive."""
    now: float = 0.0
    sent: list[Packet] = field(default_factory=list)
    """Every packet that left."""
    events: tuple[list[Event], list[Event]] = field(default_factory=lambda: ([], []))

    def __post_init__(self) -> None:
        self.rng = random.Random(self.seed)
        self.alice = CheckList(
            Sealer(SECRETS[0]), Opener(SECRETS[1]), controlling=True, entropy=random.Random(self.seed + 1).randbytes
        )
        self.bob = CheckList(
            Sealer(SECRETS[1]), Opener(SECRETS[0]), controlling=False, entropy=random.Random(self.seed + 2).randbytes
        )
        self.lists = self.alice, self.bob
        self.addresses: list[dict[int, Address]] = [{0: ALICE}, {0: BOB}]
        """Where each socket of each side is seen."""
        self._wire: list[tuple[float, int, Packet]] = []
        self._order = itertools.count()

    def start(self, *, low_ttl: int | None = 4, offered: Address = ALICE) -> "Conversation":
        """Both offers are known: Bob primes, Alice checks."""
        self.bob.begin([candidate(offered)], {0: False}, self.now, low_ttl=low_ttl)
        self.alice.begin([candidate(BOB)], {0: False}, self.now, low_ttl=None)
        return self

    def put(self, packet: Packet, delay: float = DELAY) -> None:
        """Puts a packet on the wire."""
        heapq.heappush(self._wire, (self.now + delay, next(self._order), packet))

    def run(self, seconds: float, until: Callable[[], bool] = lambda: False) -> bool:
        """Lets time pass; returns whether `until` became true."""
        end = self.now + seconds
        while True:
            self._collect()
            if until():
                return True
            timers = [timer for each in self.lists if (timer := each.get_timer()) is not None]
            arrival = [self._wire[0][0]] if self._wire else []
            at = min([*timers, *arrival], default=end + 1)
            if at > end:
                self.now = end
                return until()
            self.now = max(self.now, at)
            while self._wire and self._wire[0][0] <= self.now:
                self._arrive(heapq.heappop(self._wire)[2])
            for each in self.lists:
                if (timer := each.get_timer()) is not None and timer <= self.now:
                    each.handle_timer(self.now)

    def agree(self) -> "Conversation":
        """Runs until both have confirmed one path."""
        assert self.run(30, until=lambda: self.alice.is_confirmed and self.bob.is_confirmed)
        return self

    def count(self, side: int, kind: type[Event]) -> int:
        """How many events of a kind a side has had."""
        return sum(isinstance(event, kind) for event in self.events[side])

    def _collect(self) -> None:
        for side, each in enumerate(self.lists):
            for transmit in each.datagrams_to_send(self.now):
                self._send((side, self.addresses[side][transmit.local], transmit))
            while (event := each.next_event()) is not None:
                self.events[side].append(event)

    def _send(self, packet: Packet) -> None:
        self.sent.append(packet)
        if packet[2].ttl is not None and packet[2].ttl <= self.hops:
            return
        for _ in range(2 if self.rng.random() < self.duplicate else 1):
            if self.rng.random() >= self.loss:
                self.put(packet, DELAY + self.jitter * self.rng.random())

    def _arrive(self, packet: Packet) -> None:
        side, source, transmit = packet
        for local, address in self.addresses[1 - side].items():
            if address == transmit.remote and self.deliver(packet, self.now):
                self.lists[1 - side].receive_datagram(transmit.data, source, self.now, local)
