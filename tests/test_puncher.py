"""A program's view: connect, accept, and what goes wrong; real sockets on loopback and a folder between."""

import asyncio
from collections import Counter
from contextlib import AsyncExitStack
from dataclasses import replace
from pathlib import Path

import pytest

from holepunch import puncher as puncher_module
from holepunch.config import Settings
from holepunch.errors import (
    AuthenticationError,
    ConfigurationError,
    HolepunchError,
    MediatorError,
    PeerTimeoutError,
)
from holepunch.home import Home
from holepunch.proto.envelope import Envelope, Kind, decode_envelope
from holepunch.proto.events import Failed, OfferRefused, OfferSent
from holepunch.proto.identity import PeerId
from holepunch.puncher import Puncher
from holepunch.session import Session

from .machines import arrival, exchange, joined, machine, make_homes


def letters(home: Home) -> list[tuple[Path, Envelope]]:
    """Every envelope that lies in the shared folder."""
    found = []
    for path in sorted((home.path.parent / "shared").rglob("*")):
        if path.is_file():
            try:
                found.append((path, decode_envelope(path.read_bytes())))
            except HolepunchError:
                continue
    return found


async def test_one_connects_and_the_other_accepts(tmp_path: Path) -> None:
    async with joined(tmp_path) as pair:
        assert (pair.session.role, pair.other.role) == ("connect", "accept")
        assert (pair.session.peer_name, pair.other.peer_name) == ("bob", "alice")
        assert pair.session.peer_id == str(pair.bob.home.identity().peer_id)
        assert pair.session.id == pair.other.id
        assert pair.session.secret == pair.other.secret
        assert len(pair.session.secret) == 32
        assert pair.session.path == pair.other.path == "direct"
        assert pair.session.peer == pair.other.inner == pair.other.outer
        assert pair.other.peer == pair.session.inner
        await exchange(pair.session, pair.other)
        await exchange(pair.other, pair.session)


async def test_a_peer_may_be_named_by_its_id(tmp_path: Path) -> None:
    homes = make_homes(tmp_path, "alice", "bob")
    async with machine(homes["alice"]) as alice, machine(homes["bob"]) as bob:
        accepted = asyncio.create_task(arrival(bob))
        session = await alice.puncher.connect(homes["bob"].identity().peer_id)
        assert session.peer_name == "bob"
        await accepted


async def test_who_is_not_in_the_book_cannot_be_connected_to(tmp_path: Path) -> None:
    homes = make_homes(tmp_path, "alice")
    async with machine(homes["alice"]) as alice:
        with pytest.raises(AuthenticationError, match="nobody"):
            await alice.puncher.connect("nobody")
        stranger = Home(tmp_path / "stranger").create_identity("stranger").peer_id
        with pytest.raises(AuthenticationError):
            await alice.puncher.connect(PeerId(stranger.raw))


async def test_a_peer_that_is_not_there_is_waited_for_as_long_as_told(tmp_path: Path) -> None:
    homes = make_homes(tmp_path, "alice", "bob")
    async with machine(homes["alice"]) as alice:
        with pytest.raises(PeerTimeoutError) as caught:
            await alice.puncher.connect("bob", timeout=0.3)
        assert caught.value.exit_status == 7
        assert str(homes["alice"].identity().peer_id) in caught.value.hint
        (failed,) = alice.named("failed")
        assert isinstance(failed, Failed)
        assert failed.status == 7


async def test_an_invitation_that_waits_in_the_folder_is_answered_when_somebody_accepts(tmp_path: Path) -> None:
    homes = make_homes(tmp_path, "alice", "bob")
    async with machine(homes["alice"]) as alice:
        connecting = asyncio.create_task(alice.puncher.connect("bob"))
        await alice.wait_for("offer-sent")
        async with machine(homes["bob"]) as bob:
            other = await arrival(bob)
            await exchange(await connecting, other)


async def test_one_acceptor_serves_several_peers_side_by_side(tmp_path: Path) -> None:
    homes = make_homes(tmp_path, "hub", "anne", "ben", "carl")
    async with AsyncExitStack() as stack:
        hub = await stack.enter_async_context(machine(homes["hub"]))
        others = [await stack.enter_async_context(machine(homes[name])) for name in ("anne", "ben", "carl")]
        arrived: list[Session] = []

        async def accept() -> None:
            async for session in hub.puncher.accept():
                arrived.append(session)  # noqa: PERF401 - it never ends

        accepting = asyncio.create_task(accept())
        sessions = await asyncio.gather(*(other.puncher.connect("hub") for other in others))
        while len(arrived) < 3:
            await asyncio.sleep(0.01)
        assert {session.peer_name for session in arrived} == {"anne", "ben", "carl"}
        assert len({session.secret for session in arrived}) == 3
        by_id = {session.id: session for session in arrived}
        for session in sessions:
            await exchange(session, by_id[session.id])
        accepting.cancel()


async def test_two_sessions_with_one_peer_are_two(tmp_path: Path) -> None:
    async with joined(tmp_path) as pair:
        accepting = asyncio.create_task(arrival(pair.bob))
        second = await pair.alice.puncher.connect("bob")
        other = await accepting
        assert second.id != pair.session.id
        assert second.secret != pair.session.secret
        await exchange(second, other)
        await exchange(pair.session, pair.other)


async def test_a_side_that_closes_ends_the_session_of_the_other(tmp_path: Path) -> None:
    async with joined(tmp_path) as pair:
        await pair.session.close()
        async with asyncio.timeout(5):
            await pair.other.closed()
        with pytest.raises(EOFError):
            await pair.other.receive()


async def test_sessions_that_are_over_are_forgotten(tmp_path: Path) -> None:
    async with joined(tmp_path) as pair:
        assert len(pair.alice.puncher._sessions) == 1
        await pair.session.close()
        await pair.other.closed()
        await asyncio.sleep(0.05)
        assert not pair.alice.puncher._sessions
        assert not pair.bob.puncher._sessions


async def test_a_command_and_a_program_do_not_agree_and_both_are_told(tmp_path: Path) -> None:
    homes = make_homes(tmp_path, "alice", "bob")
    async with machine(homes["alice"], sealed=True) as alice, machine(homes["bob"], sealed=False) as bob:
        accepting = asyncio.create_task(arrival(bob))
        with pytest.raises(ConfigurationError, match="sealed"):
            await alice.puncher.connect("bob")
        failed = await bob.wait_for("failed")
        assert isinstance(failed, Failed)
        assert "different datagrams" in failed.reason or "sealed" in failed.reason
        accepting.cancel()


async def test_the_fingerprint_of_a_commands_certificate_comes_with_the_offer(tmp_path: Path) -> None:
    async with joined(tmp_path, sealed=False) as pair:
        assert pair.session.peer_fingerprint == pair.bob.home.certificate().fingerprint
        assert pair.other.peer_fingerprint == pair.alice.home.certificate().fingerprint


async def test_a_program_needs_no_certificate(tmp_path: Path) -> None:
    async with joined(tmp_path) as pair:
        assert pair.session.peer_fingerprint == pair.other.peer_fingerprint == b""


# Mediators.


async def test_without_a_mediator_there_is_nobody_to_connect_or_accept(tmp_path: Path) -> None:
    homes = make_homes(tmp_path, "alice", "bob")
    async with machine(homes["alice"], mediators=()) as alice:
        with pytest.raises(MediatorError, match="no mediator is configured"):
            await alice.puncher.connect("bob")
        with pytest.raises(MediatorError, match="no mediator is configured"):
            await arrival(alice)


async def test_a_peers_own_mediators_are_used_for_it(tmp_path: Path) -> None:
    homes = make_homes(tmp_path, "alice", "bob")
    own = f"file://{tmp_path}/shared"
    peer = homes["alice"].peers.get("bob")
    homes["alice"].peers.add(replace(peer, mediators=(own,)))
    async with machine(homes["alice"], mediators=()) as alice, machine(homes["bob"]) as bob:
        accepted = asyncio.create_task(arrival(bob))
        await alice.puncher.connect("bob")
        assert {event.mediator for event in alice.named("offer-sent") if isinstance(event, OfferSent)} == {own}
        await accepted


async def test_a_mediator_that_nobody_serves_is_refused_at_once(tmp_path: Path) -> None:
    homes = make_homes(tmp_path, "alice", "bob")
    with pytest.raises(ConfigurationError, match="carrier-pigeon"):
        async with machine(homes["alice"], mediators=("carrier-pigeon://loft",)):
            raise AssertionError("it was opened")


async def test_two_folders_carry_each_offer_and_it_is_acted_on_once(tmp_path: Path) -> None:
    homes = make_homes(tmp_path, "alice", "bob")
    (tmp_path / "second").mkdir()
    urls = (f"file://{tmp_path}/shared", f"file://{tmp_path}/second")
    async with machine(homes["alice"], mediators=urls) as alice, machine(homes["bob"], mediators=urls) as bob:
        accepted = asyncio.create_task(arrival(bob))
        session = await alice.puncher.connect("bob")
        await exchange(session, await accepted)
        sent = Counter(event.mediator for event in alice.named("offer-sent") if isinstance(event, OfferSent))
        assert len(sent) == 2
        assert len(bob.named("started")) == 1


async def test_one_broken_folder_of_two_does_not_matter(tmp_path: Path) -> None:
    homes = make_homes(tmp_path, "alice", "bob")
    (tmp_path / "broken").write_text("not a folder")
    urls = (f"file://{tmp_path}/broken", f"file://{tmp_path}/shared")
    async with machine(homes["alice"], mediators=urls) as alice, machine(homes["bob"]) as bob:
        accepted = asyncio.create_task(arrival(bob))
        await exchange(await alice.puncher.connect("bob"), await accepted)
        assert alice.named("offer-failed")


# Those who should not be answered.


async def test_a_stranger_is_refused_by_name_and_no_session_begins(tmp_path: Path) -> None:
    homes = make_homes(tmp_path, "alice", "bob")
    homes["bob"].peers.remove("alice")
    async with machine(homes["alice"]) as alice, machine(homes["bob"]) as bob:
        accepting = asyncio.create_task(arrival(bob))
        with pytest.raises(PeerTimeoutError):
            await alice.puncher.connect("bob", timeout=1.0)
        (refused,) = bob.named("offer-refused")
        assert isinstance(refused, OfferRefused)
        assert "not in the peer book" in refused.reason
        assert str(homes["alice"].identity().peer_id) in refused.reason
        assert not bob.puncher._sessions
        accepting.cancel()


async def test_an_invitation_is_answered_once_by_all_punchers_of_a_home(tmp_path: Path) -> None:
    homes = make_homes(tmp_path, "alice", "bob")
    async with AsyncExitStack() as stack:
        bobs = [await stack.enter_async_context(machine(homes["bob"])) for _ in range(3)]
        accepting = [asyncio.create_task(arrival(bob)) for bob in bobs]
        alice = await stack.enter_async_context(machine(homes["alice"]))
        await alice.puncher.connect("bob")
        done, waiting = await asyncio.wait(accepting, return_when=asyncio.FIRST_COMPLETED)
        assert len(done) == 1
        assert sum(len(bob.named("started")) for bob in bobs) == 1
        for task in waiting:
            task.cancel()


async def test_a_later_invitation_of_a_session_is_not_answered_by_another_puncher(tmp_path: Path) -> None:
    # The inviter's mapping has changed while its first INVITE travelled: it writes again in the same session.
    homes = make_homes(tmp_path, "alice", "bob")
    home = homes["bob"]
    async with machine(home) as one, machine(home) as other:
        tasks = [asyncio.create_task(arrival(each)) for each in (one, other)]
        await one.wait_for("waiting")
        await other.wait_for("waiting")
        async with machine(homes["alice"]) as alice:
            connecting = asyncio.create_task(alice.puncher.connect("bob"))
            await alice.wait_for("offer-sent")
            (session,) = alice.puncher._sessions.values()
            session.agent._mapping_changed(session._driver.now)
            session._driver.wake()
            await connecting
            assert len(one.named("started")) + len(other.named("started")) == 1
        for task in tasks:
            task.cancel()


async def test_a_peer_has_four_attempts_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    homes = make_homes(tmp_path, "alice", "bob")
    async with machine(homes["alice"]) as alice, machine(homes["bob"]) as bob:

        async def never(*_: object) -> Session:
            await asyncio.Event().wait()
            raise AssertionError

        monkeypatch.setattr(bob.puncher, "_answer", never)
        accepting = asyncio.create_task(arrival(bob))
        connecting = [asyncio.create_task(alice.puncher.connect("bob")) for _ in range(7)]
        await bob.wait_for("offer-refused", 3)
        assert len(bob.puncher._attempts) == puncher_module.MAX_ATTEMPTS_PER_PEER
        assert all("4 attempts" in event.reason for event in bob.events if isinstance(event, OfferRefused))
        for task in (*connecting, accepting):
            task.cancel()
        await asyncio.gather(*connecting, accepting, return_exceptions=True)


async def test_all_sessions_with_a_peer_share_what_it_may_make_us_send(tmp_path: Path) -> None:
    async with joined(tmp_path) as pair:
        accepting = asyncio.create_task(arrival(pair.bob))
        second = await pair.alice.puncher.connect("bob")
        other = await accepting
        assert second.agent.options.allowance is pair.session.agent.options.allowance is not None
        assert other.agent.options.allowance is pair.other.agent.options.allowance is not None


async def test_an_attempt_that_fails_is_no_reason_to_stop_accepting(tmp_path: Path) -> None:
    homes = make_homes(tmp_path, "alice", "bob")
    async with machine(homes["bob"]) as bob:
        accepting = asyncio.create_task(arrival(bob))
        async with machine(homes["alice"], sealed=False) as command:
            with pytest.raises(ConfigurationError):
                await command.puncher.connect("bob")
        async with machine(homes["alice"]) as alice:
            session = await alice.puncher.connect("bob")
            await exchange(session, await accepting)


# Leaving.


async def test_leaving_closes_every_session_and_socket(tmp_path: Path) -> None:
    async with joined(tmp_path) as pair:
        both = pair.session, pair.other
        assert all(session.is_up for session in both)
    assert not any(session.is_up for session in both)
    assert not any(session.send(b"too late") for session in both)
    for session in both:
        with pytest.raises((EOFError, HolepunchError)):
            await session.receive()
        assert not session._driver.sockets


async def test_a_cancelled_attempt_leaves_nothing_behind(tmp_path: Path) -> None:
    homes = make_homes(tmp_path, "alice", "bob")
    async with machine(homes["alice"]) as alice:
        connecting = asyncio.create_task(alice.puncher.connect("bob"))
        await alice.wait_for("offer-sent")
        (session,) = alice.puncher._sessions.values()
        connecting.cancel()
        await asyncio.gather(connecting, return_exceptions=True)
        assert connecting.cancelled()
        assert not session._driver.sockets
        assert not alice.puncher._connecting


async def test_offers_in_the_folder_show_neither_names_nor_addresses(tmp_path: Path) -> None:
    homes = make_homes(tmp_path, "alice", "bob")
    async with machine(homes["alice"]) as alice:
        connecting = asyncio.create_task(alice.puncher.connect("bob", timeout=1.0))
        await alice.wait_for("offer-sent")
        ((path, envelope),) = letters(homes["alice"])
        data = path.read_bytes()
        assert envelope.kind is Kind.INVITE
        assert homes["alice"].identity().peer_id.raw not in data
        assert b"alice" not in data
        assert bytes([127, 0, 0, 1]) not in data
        connecting.cancel()
        await asyncio.gather(connecting, return_exceptions=True)


async def test_settings_are_those_of_the_home_where_none_are_given(tmp_path: Path) -> None:
    homes = make_homes(tmp_path, "alice")
    homes["alice"].settings_path.write_text('stun = []\nmediators = ["file:///tmp/somewhere"]\n')
    settings = Puncher(homes["alice"]).settings
    assert isinstance(settings, Settings)
    assert settings.mediators == ("file:///tmp/somewhere",)


# Between two calls of accept().


async def test_an_invitation_that_comes_while_nobody_accepts_is_answered_later(tmp_path: Path) -> None:
    homes = make_homes(tmp_path, "alice", "bob")
    async with machine(homes["alice"]) as alice, machine(homes["bob"]) as bob:
        connecting = asyncio.create_task(alice.puncher.connect("bob"))
        await alice.wait_for("offer-sent")
        async with asyncio.timeout(20):
            while not bob.puncher._unanswered:
                await asyncio.sleep(0.01)
        other = await arrival(bob)
        await exchange(await connecting, other)


async def test_a_session_that_comes_up_after_the_caller_left_is_for_the_next_call(tmp_path: Path) -> None:
    homes = make_homes(tmp_path, "alice", "bob", "carl")
    async with AsyncExitStack() as stack:
        alice, bob, carl = [await stack.enter_async_context(machine(homes[name])) for name in homes]
        first = asyncio.create_task(arrival(bob))
        sessions = await asyncio.gather(alice.puncher.connect("bob"), carl.puncher.connect("bob"))
        arrived = [await first, await arrival(bob)]
        assert {session.peer_name for session in arrived} == {"alice", "carl"}
        assert {session.id for session in arrived} == {session.id for session in sessions}
