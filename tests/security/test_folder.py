"""A folder between two real peers into which somebody else writes what they like."""

import asyncio
import os
from dataclasses import replace
from pathlib import Path

import pytest

from holepunch.errors import PeerTimeoutError
from holepunch.home import Home
from holepunch.proto.envelope import MAX_BODY, Envelope, Kind, decode_envelope
from holepunch.proto.events import OfferRefused
from holepunch_mediators.file import file_name

from ..machines import Machine, arrival, exchange, joined, machine, make_homes


def letters(folder: Path, kind: Kind) -> list[Envelope]:
    """The envelopes of one kind that lie in the folder."""
    found = [decode_envelope(path.read_bytes()) for path in folder.iterdir() if path.is_file()]
    return [envelope for envelope in found if envelope.kind is kind]


def put(folder: Path, envelope: Envelope, data: bytes | None = None) -> Path:
    """Writes an envelope's file, perhaps with other bytes in it."""
    path = folder / file_name(envelope)
    path.write_bytes(envelope.encode() if data is None else data)
    return path


async def connects(alice: Machine, bob: Machine) -> None:
    """Sees that the two come together all the same."""
    accepted = asyncio.create_task(arrival(bob))
    async with asyncio.timeout(30):
        session = await alice.puncher.connect("bob")
        await exchange(session, await accepted)


def addressed_to(home: Home, number: int) -> Envelope:
    """An envelope for a machine, with nothing true inside."""
    return Envelope(
        kind=Kind.INVITE,
        session=bytes(15) + bytes([number]),
        id=bytes(14) + number.to_bytes(2),
        recipient=home.identity().peer_id.raw,
        expires=2**33,
        body=os.urandom(700),
    )


async def test_junk_of_every_size_in_the_mailbox_is_refused_and_costs_nobody_a_session(tmp_path: Path) -> None:
    homes = make_homes(tmp_path, "alice", "bob")
    folder = tmp_path / "shared"
    for number in range(50):
        put(folder, addressed_to(homes["bob"], number))
    put(folder, addressed_to(homes["bob"], 100), b"")
    put(folder, addressed_to(homes["bob"], 101), os.urandom(300))
    put(folder, replace(addressed_to(homes["bob"], 102), body=bytes(MAX_BODY)))
    put(folder, replace(addressed_to(homes["bob"], 103), body=bytes(MAX_BODY + 1)))
    put(folder, addressed_to(homes["bob"], 104), addressed_to(homes["bob"], 104).encode()[:-1])
    with put(folder, addressed_to(homes["bob"], 105), b"HP").open("r+b") as huge:
        huge.truncate(8 << 30)  # a hole of 8 GiB: whoever read it all would be out of memory
    (folder / file_name(addressed_to(homes["bob"], 106))).symlink_to("/dev/zero")
    os.mkfifo(folder / file_name(addressed_to(homes["bob"], 107)))
    (folder / file_name(addressed_to(homes["bob"], 108))).mkdir()
    async with machine(homes["alice"]) as alice, machine(homes["bob"]) as bob:
        await connects(alice, bob)
        assert len(bob.named("started")) == 1
        assert len([event for event in bob.events if isinstance(event, OfferRefused)]) >= 51


async def test_an_old_invitation_copied_back_is_not_answered_again(tmp_path: Path) -> None:
    homes = make_homes(tmp_path, "alice", "bob")
    folder = tmp_path / "shared"
    async with machine(homes["alice"]) as alice:
        connecting = asyncio.create_task(alice.puncher.connect("bob"))
        await alice.wait_for("offer-sent")
        (invite,) = letters(folder, Kind.INVITE)
        async with machine(homes["bob"]) as bob:
            other = await arrival(bob)
            await exchange(await connecting, other)
    async with machine(homes["bob"]) as again, machine(homes["alice"]) as alice:
        put(folder, invite)
        accepted = asyncio.create_task(arrival(again))
        refused = await again.wait_for("offer-refused")
        assert isinstance(refused, OfferRefused)
        assert "answered before" in refused.reason
        session = await alice.puncher.connect("bob")
        await exchange(session, await accepted)
        assert len(again.named("started")) == 1


async def test_an_invitation_under_another_header_is_refused(tmp_path: Path) -> None:
    homes = make_homes(tmp_path, "alice", "bob")
    folder = tmp_path / "shared"
    async with machine(homes["alice"]) as alice:
        connecting = asyncio.create_task(alice.puncher.connect("bob", timeout=5))
        await alice.wait_for("offer-sent")
        (invite,) = letters(folder, Kind.INVITE)
        (folder / file_name(invite)).unlink()
        for altered in (
            replace(invite, expires=invite.expires + 60),
            replace(invite, id=bytes(16)),
            replace(invite, session=bytes(16)),
        ):
            put(folder, altered)
        async with machine(homes["bob"]) as bob:
            accepting = asyncio.create_task(arrival(bob))
            await bob.wait_for("offer-refused", 3)
            with pytest.raises(PeerTimeoutError):
                await connecting
            assert not bob.named("started")
            accepting.cancel()


async def test_bogus_answers_before_the_true_one_do_not_spoil_it(tmp_path: Path) -> None:
    homes = make_homes(tmp_path, "alice", "bob")
    folder = tmp_path / "shared"
    async with machine(homes["alice"]) as alice:
        connecting = asyncio.create_task(alice.puncher.connect("bob"))
        await alice.wait_for("offer-sent")
        (invite,) = letters(folder, Kind.INVITE)
        bogus = replace(
            addressed_to(homes["alice"], 1),
            kind=Kind.ACCEPT,
            session=invite.session,
            body=invite.id + os.urandom(700),
        )
        for number in range(20):
            put(folder, replace(bogus, id=bytes(15) + bytes([number])))
        await alice.wait_for("offer-refused", 20)
        async with machine(homes["bob"]) as bob:
            other = await arrival(bob)
            await exchange(await connecting, other)


async def test_a_session_that_is_up_does_not_mind_what_comes_by_mail(tmp_path: Path) -> None:
    async with joined(tmp_path) as pair:
        folder = tmp_path / "shared"
        session = bytes.fromhex(pair.session.id)
        for number, kind in enumerate((Kind.INVITE, Kind.ACCEPT, Kind.UPDATE, Kind.PAIR) * 5):
            for home in (pair.alice.home, pair.bob.home):
                put(folder, replace(addressed_to(home, number), kind=kind, session=session))
        await pair.alice.wait_for("offer-refused", 20)
        await pair.bob.wait_for("offer-refused", 20)
        await exchange(pair.session, pair.other)
