"""Meeting by a code over mediators: what reaches the book, and what happens when a channel or a peer fails."""

import asyncio
import os
import random
import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from holepunch.errors import AuthenticationError, ConfigurationError, HolepunchError, MediatorError, PeerTimeoutError
from holepunch.home import Home, Peer
from holepunch.home.meeting import meet, remember
from holepunch.mediator import Mailbox, Mediator
from holepunch.proto.envelope import Envelope
from holepunch.proto.identity import Identity
from holepunch.proto.pairing import Code, Pairing, Profile, Role

CODE = Code(7314, ("amber", "falcon"))
WRONG = Code(7314, ("amber", "tiger"))
HUB, OTHER = "https://hub.example", "https://other.example"


@dataclass
class Channel:
    """A mailbox in memory."""

    envelopes: list[Envelope] = field(default_factory=list)
    posted: int = 0
    changed: asyncio.Condition = field(default_factory=asyncio.Condition)


class MemoryMediator(Mediator):
    """Carries envelopes within one process."""

    def __init__(self, channel: Channel, url: str = "memory:") -> None:
        super().__init__(urlsplit(url), Mailbox(CODE.mailbox.peer_id.raw, CODE.mailbox.sign))
        self.channel = channel
        self.closed = False

    async def post(self, envelope: Envelope) -> None:
        async with self.channel.changed:
            self.channel.envelopes.append(envelope)
            self.channel.posted += 1
            self.channel.changed.notify_all()

    async def receive(self) -> AsyncIterator[Envelope]:
        taken: set[bytes] = set()
        while True:
            async with self.channel.changed:
                while not (new := [item for item in self.channel.envelopes if item.id not in taken]):
                    await self.channel.changed.wait()
            for envelope in new:
                taken.add(envelope.id)
                yield envelope

    async def discard(self, envelope: Envelope) -> None:
        if envelope in self.channel.envelopes:
            self.channel.envelopes.remove(envelope)

    async def close(self) -> None:
        self.closed = True


class BrokenMediator(MemoryMediator):
    """Fails at one of its verbs."""

    def __init__(self, verb: str) -> None:
        super().__init__(Channel(), f"broken:{verb}")
        self.verb = verb

    def fail(self, verb: str) -> None:
        if verb == self.verb:
            raise MediatorError(f"{verb} failed")

    async def open(self) -> None:
        self.fail("open")

    async def post(self, envelope: Envelope) -> None:
        self.fail("post")
        await super().post(envelope)

    async def receive(self) -> AsyncIterator[Envelope]:
        self.fail("receive")
        if self.verb != "end":
            async for envelope in super().receive():
                yield envelope


def profile(name: str) -> Profile:
    return Profile(name=name, id=Identity.from_seed(name.encode() * 8).peer_id)


ALICE, BOBB = profile("alic"), profile("bobb")


def side(role: Role, code: Code = CODE) -> Pairing:
    me = ALICE if role is Role.CREATOR else BOBB
    return Pairing(role, code, me, entropy=random.Random(role).randbytes, expires=int(time.time()) + 600)


def nothing() -> None:
    """Is told that our side is ready."""


async def create_and_join(
    creators: Sequence[Mediator], joiners: Sequence[Mediator], code: Code = CODE
) -> tuple[Profile | BaseException, Profile | BaseException]:
    """Runs both sides; the joiner begins when the creator is ready."""
    ready = asyncio.Event()
    creator = asyncio.create_task(meet(side(Role.CREATOR), creators, 30, ready.set))
    waiting = asyncio.create_task(ready.wait())
    await asyncio.wait([creator, waiting], return_when=asyncio.FIRST_COMPLETED)
    waiting.cancel()
    joiner = asyncio.create_task(meet(side(Role.JOINER, code), joiners, 30, nothing))
    one, two = await asyncio.gather(creator, joiner, return_exceptions=True)
    return one, two


async def test_two_machines_meet_and_leave_nothing_but_the_last_message() -> None:
    channel = Channel()
    mediators = [MemoryMediator(channel), MemoryMediator(channel)]
    assert await create_and_join(mediators[:1], mediators[1:]) == (BOBB, ALICE)
    assert channel.posted == 3
    assert channel.envelopes == []  # HELLO and REPLY by the creator, FINAL by the joiner
    assert all(mediator.closed for mediator in mediators)


async def test_they_meet_when_only_one_of_their_mediators_is_common() -> None:
    common, first, second = Channel(), Channel(), Channel()
    met = await create_and_join(
        [MemoryMediator(first), MemoryMediator(common)], [MemoryMediator(common), MemoryMediator(second)]
    )
    assert met == (BOBB, ALICE)


async def test_over_several_common_mediators_everything_comes_twice_and_counts_once() -> None:
    first, second = Channel(), Channel()
    met = await create_and_join(
        [MemoryMediator(first), MemoryMediator(second)], [MemoryMediator(second), MemoryMediator(first)]
    )
    assert met == (BOBB, ALICE)
    assert first.posted == second.posted == 3


async def test_a_wrong_code_is_told_to_both_at_once() -> None:
    channel = Channel()
    one, two = await create_and_join([MemoryMediator(channel)], [MemoryMediator(channel)], WRONG)
    for error in (one, two):
        assert isinstance(error, AuthenticationError)
        assert str(error) == "the two machines did not use the same code"
        assert "one try" in error.hint


@pytest.mark.parametrize("verb", ["open", "post", "receive", "end"])
async def test_one_broken_mediator_beside_a_good_one_is_no_matter(verb: str) -> None:
    channel = Channel()
    met = await create_and_join([BrokenMediator(verb), MemoryMediator(channel)], [MemoryMediator(channel)])
    assert met == (BOBB, ALICE)


@pytest.mark.parametrize("verb", ["open", "post", "receive", "end"])
async def test_without_any_good_mediator_it_fails_at_once(verb: str) -> None:
    mediators = [BrokenMediator(verb), BrokenMediator(verb)]
    with pytest.raises(MediatorError):
        await meet(side(Role.CREATOR), mediators, 30, nothing)
    assert all(mediator.closed for mediator in mediators)


@pytest.mark.parametrize("role", Role)
async def test_who_waits_in_vain_is_told_so_and_leaves_nothing_behind(role: Role) -> None:
    channel = Channel()
    with pytest.raises(PeerTimeoutError, match=r"did not come within 0.05 s") as caught:
        await meet(side(role), [MemoryMediator(channel)], 0.05, nothing)
    assert ("four digits" in caught.value.hint) == (role is Role.JOINER)
    assert channel.envelopes == []


async def test_a_joiner_whose_reply_nobody_takes_is_told_where_to_look_and_withdraws_it() -> None:
    channel = Channel()
    creator = side(Role.CREATOR)
    channel.envelopes += creator.envelopes_to_send()
    with pytest.raises(PeerTimeoutError) as caught:
        await meet(side(Role.JOINER), [MemoryMediator(channel)], 0.05, nothing)
    assert "peer ls" in caught.value.hint
    assert channel.posted == 1
    assert channel.envelopes == []  # its reply is withdrawn: a creator that comes back adds nobody who has gone


async def test_a_meeting_that_is_cancelled_leaves_nothing_behind() -> None:
    channel = Channel()
    ready = asyncio.Event()
    mediator = MemoryMediator(channel)
    task = asyncio.create_task(meet(side(Role.CREATOR), [mediator], 30, ready.set))
    await ready.wait()
    assert len(channel.envelopes) == 1
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert channel.envelopes == []
    assert mediator.closed


async def test_a_fault_of_our_own_is_not_taken_for_a_broken_mediator() -> None:
    class Faulty(MemoryMediator):
        async def post(self, envelope: Envelope) -> None:
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await meet(side(Role.CREATOR), [Faulty(Channel()), MemoryMediator(Channel())], 30, nothing)


@pytest.fixture
def home(tmp_path: Path) -> Home:
    home = Home(tmp_path / "home")
    home.create_identity("local")
    return home


def make(name: str, *mediators: str) -> Profile:
    return Profile(name=name, id=Identity.from_seed(os.urandom(32)).peer_id, mediators=mediators)


def test_a_peer_gets_the_name_we_chose_or_its_own_made_unique(home: Home) -> None:
    met = [make("bob"), make("bob"), make("bob"), make("../../etc"), make(""), make("x" * 63), make("x" * 63)]
    names = [remember(home, peer, name=None, chosen=(), ours=()).name for peer in met]
    assert names == ["bob", "bob-2", "bob-3", "peer", "peer-2", "x" * 63, "x" * 61 + "-2"]
    assert remember(home, make("carol"), name="office", chosen=(), ours=()).name == "office"
    assert [peer.name for peer in home.peers.list()] == [*names, "office"]


def test_a_peer_that_is_known_keeps_its_name(home: Home) -> None:
    bob = make("bob", HUB)
    home.peers.add(Peer("robert", bob.id))
    assert remember(home, bob, name=None, chosen=(), ours=()) == Peer("robert", bob.id, (HUB,))
    assert home.peers.list() == [Peer("robert", bob.id, (HUB,))]


@pytest.mark.parametrize(
    ("told", "chosen", "ours", "kept"),
    [
        ((), (), (HUB,), ()),
        ((HUB,), (), (HUB, OTHER), ()),  # the same as ours: it follows our settings
        ((OTHER,), (), (HUB,), (OTHER,)),
        ((HUB,), (HUB, "file:///mnt"), (HUB, "file:///mnt"), (HUB, "file:///mnt")),
        (("file:///etc", "paste:", "FILE:///etc"), (), (HUB,), ()),  # places of another machine
        (("https://me:secret@hub.example", "no url", "http://a b"), (), (), ()),
    ],
)
def test_a_peer_is_reached_where_it_reads_or_where_we_said(
    home: Home, told: tuple[str, ...], chosen: tuple[str, ...], ours: tuple[str, ...], kept: tuple[str, ...]
) -> None:
    assert remember(home, make("bob", *told), name=None, chosen=chosen, ours=ours).mediators == kept


def test_a_machine_does_not_meet_itself(home: Home) -> None:
    own = Profile(name="me", id=home.identity().peer_id)
    with pytest.raises(ConfigurationError, match="typed on the machine that made it") as caught:
        remember(home, own, name=None, chosen=(), ours=())
    assert isinstance(caught.value, HolepunchError)
    assert home.peers.list() == []
