"""Two invitations between the same two machines: at the same moment, and one left over by a process that is gone.

Real peers on loopback, with a folder between them.
"""

import asyncio
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from holepunch.config import Settings
from holepunch.home import Home, Peer
from holepunch.proto.events import OfferSent
from holepunch.puncher import Puncher
from holepunch.session import Session


@pytest.fixture
def homes(tmp_path: Path) -> dict[str, Home]:
    """Two machines that know each other."""
    homes = {name: Home(tmp_path / name) for name in ("alice", "bob")}
    ids = {name: home.create_identity(name).peer_id for name, home in homes.items()}
    homes["alice"].peers.add(Peer("bob", ids["bob"]))
    homes["bob"].peers.add(Peer("alice", ids["alice"]))
    (tmp_path / "shared").mkdir()
    return homes


def settings(home: Home) -> Settings:
    """Settings of a machine: the folder between the two, and no STUN."""
    return Settings(mediators=(f"file://{home.path.parent}/shared",), stun=())


async def talk(one: Session, other: Session) -> None:
    """Sees that a session carries datagrams both ways."""
    for sender, receiver in ((one, other), (other, one)):
        data = b""
        while not data:
            sender.send(b"hello")
            try:
                async with asyncio.timeout(0.5):
                    data = await receiver.receive()
            except TimeoutError:
                continue
        assert data == b"hello"


async def leave_invitation(home: Home, peer: str) -> None:
    """Invites a peer and goes without a word, as a process does that is killed."""
    sent = asyncio.Event()

    def look(event: object) -> None:
        if isinstance(event, OfferSent):
            sent.set()

    async with Puncher(home, settings(home), on_event=look) as puncher:
        attempt = asyncio.create_task(puncher.connect(peer))
        await sent.wait()
        attempt.cancel()
        await asyncio.gather(attempt, return_exceptions=True)


async def first_of(puncher: Puncher) -> Session:
    """Returns the first session that a puncher accepts."""
    return await anext(puncher.accept())


async def test_two_peers_that_invite_each_other_get_one_session(homes: dict[str, Home]) -> None:
    async with AsyncExitStack() as stack:
        alice, bob = [
            await stack.enter_async_context(Puncher(homes[name], settings(homes[name]))) for name in ("alice", "bob")
        ]
        one, other = await asyncio.gather(alice.connect("bob"), bob.connect("alice"))
        assert one.id == other.id
        assert {one.role, other.role} == {"accept", "connect"}
        await talk(one, other)


@pytest.mark.parametrize("count", [1, 3])
async def test_an_invitation_left_over_does_not_cost_a_new_one_its_session(homes: dict[str, Home], count: int) -> None:
    # Which of two invitations stands is decided by their random session ids: three leave one that stands
    # above ours seven times in eight.
    for _ in range(count):
        await leave_invitation(homes["alice"], "bob")
    async with AsyncExitStack() as stack:
        alice, bob = [
            await stack.enter_async_context(Puncher(homes[name], settings(homes[name]))) for name in ("alice", "bob")
        ]
        accepted = asyncio.create_task(first_of(alice))
        session = await bob.connect("alice")
        assert session.role == "connect"
        other = await accepted
        assert other.id == session.id
        await talk(session, other)
