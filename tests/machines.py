"""Machines on loopback with a folder between them, and no server in the world."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from holepunch.config import Settings
from holepunch.home import Home, Peer
from holepunch.proto.events import Event
from holepunch.puncher import Puncher
from holepunch.session import Session

# Whatever networks this computer has, the tests' packets stay on it.
LOOPBACK = ("127.0.0.1", 0)


@dataclass
class Machine:
    """A home, a puncher, and what it has told."""

    home: Home
    puncher: Puncher
    events: list[Event] = field(default_factory=list)

    def named(self, name: str) -> list[Event]:
        """The events of one name so far."""
        return [event for event in self.events if event.name == name]

    async def wait_for(self, name: str, count: int = 1) -> Event:
        """Waits for an event."""
        async with asyncio.timeout(20):
            while len(self.named(name)) < count:
                await asyncio.sleep(0.005)
        return self.named(name)[count - 1]


def make_homes(folder: Path, *names: str) -> dict[str, Home]:
    """Makes machines that all know each other, and a folder `shared` between them."""
    homes = {name: Home(folder / name) for name in names}
    ids = {name: home.create_identity(name).peer_id for name, home in homes.items()}
    for name, home in homes.items():
        for other in names:
            if other != name:
                home.peers.add(Peer(other, ids[other]))
    (folder / "shared").mkdir(exist_ok=True)
    return homes


@asynccontextmanager
async def machine(home: Home, **options: Any) -> AsyncIterator[Machine]:
    """Runs a puncher on a home; `mediators` and other settings, and Puncher's own options, may be given."""
    settings: dict[str, Any] = {key: options.pop(key) for key in ("mediators", "timeout", "bind") if key in options}
    plain: dict[str, Any] = {"mediators": (f"file://{home.path.parent}/shared",), "stun": (), "bind": LOOPBACK}
    events: list[Event] = []
    puncher = Puncher(home, Settings(**(plain | settings)), on_event=events.append, **options)
    async with puncher:
        yield Machine(home, puncher, events)


@dataclass
class Pair:
    """Two machines with a session between them."""

    alice: Machine
    bob: Machine
    session: Session
    """Alice's, who connected."""
    other: Session
    """Bob's, who accepted."""


@asynccontextmanager
async def joined(folder: Path, **options: Any) -> AsyncIterator[Pair]:
    """Runs two machines with a session between them; options go to both."""
    homes = make_homes(folder, "alice", "bob")
    async with AsyncExitStack() as stack:
        alice = await stack.enter_async_context(machine(homes["alice"], **options))
        bob = await stack.enter_async_context(machine(homes["bob"], **options))
        accepted = asyncio.create_task(arrival(bob))
        session = await alice.puncher.connect("bob")
        yield Pair(alice, bob, session, await accepted)


async def arrival(machine: Machine) -> Session:
    """Accepts until somebody has come."""
    async for session in machine.puncher.accept():
        return session
    raise AssertionError("it stopped accepting")


async def exchange(one: Session, other: Session) -> None:
    """Sees that datagrams pass both ways; repeats what a full queue may lose."""
    for sender, receiver in ((one, other), (other, one)):
        data = b""
        while data != b"hello":
            sender.send(b"hello")
            try:
                async with asyncio.timeout(0.5):
                    data = await receiver.receive()
            except TimeoutError:
                continue
