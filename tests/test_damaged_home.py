"""A home damaged under a machine that accepts: each offer is refused with the reason, and mended is mended."""

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest

from holepunch.config import Settings
from holepunch.home import Home, Peer
from holepunch.proto.events import Event, OfferRefused, Waiting
from holepunch.puncher import Puncher


def break_book(home: Home) -> Callable[[], None]:
    """Leaves half a line in the peer book, as an editor does; returns what mends it."""
    good = home.peers.path.read_text()
    home.peers.path.write_text(good + "bob hp1")
    return lambda: (home.peers.path.write_text(good), None)[1]


def break_memory(home: Home) -> Callable[[], None]:
    """Makes it impossible to remember offers; returns what mends it."""
    (home.path / "seen").write_text("in the way")
    return (home.path / "seen").unlink


@pytest.mark.parametrize(
    ("damage", "reason"),
    [(break_book, "peers, line 2: the identity has"), (break_memory, "cannot record a message in")],
)
async def test_an_acceptor_outlives_a_damaged_home(
    tmp_path: Path, damage: Callable[[Home], Callable[[], None]], reason: str
) -> None:
    (tmp_path / "shared").mkdir()
    settings = Settings(mediators=(f"file://{tmp_path}/shared",), stun=())
    alice, bob = Home(tmp_path / "alice"), Home(tmp_path / "bob")
    alice_id, bob_id = alice.create_identity("alice").peer_id, bob.create_identity("bob").peer_id
    alice.peers.add(Peer("bob", bob_id))
    bob.peers.add(Peer("alice", alice_id))
    refused: asyncio.Queue[str] = asyncio.Queue()
    waiting = asyncio.Event()

    def look(event: Event) -> None:
        if isinstance(event, OfferRefused):
            refused.put_nowait(event.reason)
        elif isinstance(event, Waiting):
            waiting.set()

    async def accept_one(acceptor: Puncher) -> str:
        async for session in acceptor.accept():
            return session.id
        return ""

    async with Puncher(alice, settings, on_event=look) as acceptor, Puncher(bob, settings) as inviter:
        accepted = asyncio.create_task(accept_one(acceptor))
        await waiting.wait()
        mend = damage(alice)
        attempt = asyncio.create_task(inviter.connect("alice"))
        assert reason in await refused.get()
        attempt.cancel()
        await asyncio.gather(attempt, return_exceptions=True)
        mend()
        session = await inviter.connect("alice")
        assert await accepted == session.id
