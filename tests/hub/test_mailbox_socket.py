"""The mailbox over WebSocket, with clients that keep to the protocol and clients that do not."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from websockets.exceptions import ConnectionClosed, InvalidStatus

from holepunch.hub.limits import Limits, Rate
from holepunch.proto.envelope import MAX_BODY, decode_envelope
from holepunch.proto.mailbox import (
    MAX_FRAME,
    Delivery,
    Discard,
    Login,
    Post,
    Posted,
    Reason,
    Refused,
    Subscribe,
    Welcome,
    decode_hub_frame,
)

from .harness import ALICE, BOB, MALLORY, UNHURRIED, Client, Url, client, deaf_client, envelope, port_of, running_hub


@pytest.fixture
async def hub(tmp_path: Path) -> AsyncIterator[Url]:
    async with running_hub(tmp_path / "hub.sqlite") as url:
        yield url


def unhurried(**limits: Any) -> Limits:
    return Limits(**{"login_rate": UNHURRIED, "sender_rate": UNHURRIED, "network_rate": UNHURRIED, **limits})


def number_of(frame: object) -> int:
    assert isinstance(frame, Delivery)
    return int.from_bytes(decode_envelope(frame.envelope).id)


async def end_of(visitor: Client) -> tuple[Refused | None, int | None]:
    """Reads to the end; returns the last refusal and the close code."""
    refused = None
    try:
        async with asyncio.timeout(20):
            async for data in visitor.connection:
                assert isinstance(data, bytes)
                frame = decode_hub_frame(data)
                refused = frame if isinstance(frame, Refused) else refused
    except ConnectionClosed:
        pass
    return refused, visitor.connection.close_code


async def test_login_subscription_and_posts_may_all_come_in_one_breath(hub: Url) -> None:
    async with client(hub) as alice:
        await alice.greeted()
        posts = [Post(number, 900, envelope(number).encode()) for number in (1, 2)]
        await alice.send(alice.signed(ALICE), Subscribe(alice.epoch, 0), *posts)
        frames = [await alice.next() for _ in range(5)]
        assert frames[0] == Welcome()
        assert [frame for frame in frames if isinstance(frame, Posted)] == [Posted(1), Posted(2)]
        assert [number_of(frame) for frame in frames if isinstance(frame, Delivery)] == [1, 2]


async def test_stored_and_new_envelopes_reach_every_connection_of_the_owner_and_nobody_else(hub: Url) -> None:
    async with client(hub) as bob, client(hub) as one, client(hub) as two, client(hub) as mallory:
        await bob.login(BOB)
        assert await bob.post(7, envelope(1)) == Posted(7)
        for visitor, identity in ((one, ALICE), (two, ALICE), (mallory, MALLORY)):
            await visitor.login(identity)
            await visitor.subscribe()
        await bob.subscribe()
        assert [number_of(await visitor.next()) for visitor in (one, two)] == [1, 1]
        await bob.post(8, envelope(2))
        assert [number_of(await visitor.next()) for visitor in (one, two)] == [2, 2]
        # Whatever had been sent to the others would come before this.
        await mallory.post(1, envelope(3, MALLORY))
        assert number_of(await mallory.next()) == 3
        assert await bob.post(9, envelope(4)) == Posted(9)


async def test_discard_takes_out_of_ones_own_mailbox_only(hub: Url) -> None:
    async with client(hub) as alice, client(hub) as mallory:
        await alice.login(ALICE)
        await mallory.login(MALLORY)
        await alice.post(1, envelope(1))
        await alice.post(2, envelope(2))
        await mallory.send(Discard(envelope(1).id))
        assert await mallory.post(1, envelope(9, BOB)) == Posted(1)  # the discard before it has been dealt with
        await alice.send(Discard(envelope(2).id))
        await alice.subscribe()
        assert number_of(await alice.next()) == 1
        await alice.post(3, envelope(3))
        assert number_of(await alice.next()) == 3


async def test_a_cursor_skips_what_was_seen_unless_it_is_of_another_store(hub: Url) -> None:
    async with client(hub) as alice:
        await alice.login(ALICE)
        for number in (1, 2, 3):
            await alice.post(number, envelope(number))
        await alice.subscribe()
        second = [await alice.next() for _ in range(3)][1]
        assert isinstance(second, Delivery)
        epoch = alice.epoch
    for said, expected in ((epoch, [3]), (b"another!", [1, 2, 3])):
        async with client(hub) as alice:
            await alice.login(ALICE)
            await alice.send(Subscribe(said, second.cursor))
            assert [number_of(await alice.next()) for _ in expected] == expected


async def test_a_restart_loses_nothing(tmp_path: Path) -> None:
    state = tmp_path / "hub.sqlite"
    async with running_hub(state) as url, client(url) as alice:
        await alice.login(ALICE)
        assert await alice.post(1, envelope(1)) == Posted(1)
        epoch = alice.epoch
    async with running_hub(state, port=port_of(url)) as url, client(url) as alice:
        await alice.login(ALICE)
        assert alice.epoch == epoch
        await alice.subscribe()
        assert number_of(await alice.next()) == 1


async def test_a_waiting_connection_is_told_to_come_back_when_the_hub_stops(tmp_path: Path) -> None:
    async with contextlib.AsyncExitStack() as stack:
        async with running_hub(tmp_path / "hub.sqlite") as url:
            alice = await stack.enter_async_context(client(url))
            await alice.login(ALICE)
            await alice.subscribe()
        assert await end_of(alice) == (None, 1012)


# What is refused ---------------------------------------------------------------------------------


async def test_a_login_signed_by_another_key_reads_nothing(hub: Url) -> None:
    async with client(hub) as mallory:
        await mallory.greeted()
        forged = Login(ALICE.peer_id.raw, mallory.signed(MALLORY).signature)
        await mallory.send(forged, Subscribe(mallory.epoch, 0))
        refused, code = await end_of(mallory)
    assert refused is not None
    assert (refused.reason, code) == (Reason.NOT_AUTHENTIC, 1008)


async def test_a_login_that_answers_an_earlier_connections_challenge_is_refused(hub: Url) -> None:
    async with client(hub) as alice, client(hub) as mallory:
        await alice.greeted()
        seen = alice.signed(ALICE)
        await alice.send(seen)
        assert await alice.next() == Welcome()
        await mallory.greeted()
        await mallory.send(seen)
        refused, _ = await end_of(mallory)
        assert refused is not None
        assert refused.reason is Reason.NOT_AUTHENTIC


async def test_a_login_signed_for_another_hub_is_refused(tmp_path: Path) -> None:
    async with running_hub(tmp_path / "hub.sqlite", names=frozenset({"hub.example"})) as url:
        for host, good in (("evil.example", False), ("hub.example", True)):
            async with client(url) as alice:
                await alice.greeted()
                await alice.send(alice.signed(ALICE, host=host))
                assert isinstance(await alice.next(), Welcome if good else Refused)


@pytest.mark.parametrize(
    ("frames", "reason"),
    [
        ([b""], Reason.MALFORMED),
        ([b"\x01short"], Reason.MALFORMED),
        ([Post(1, 1, b"x")], Reason.NOT_AUTHENTIC),
        ([Subscribe(bytes(8), 0)], Reason.NOT_AUTHENTIC),
        (["login", "login"], Reason.MALFORMED),
        (["login", Subscribe(bytes(8), 0), Subscribe(bytes(8), 0)], Reason.MALFORMED),
        (["login", b"\xff"], Reason.MALFORMED),
    ],
)
async def test_a_frame_at_the_wrong_time_ends_the_connection_with_the_reason(
    hub: Url, frames: list[Any], reason: Reason
) -> None:
    async with client(hub) as visitor:
        await visitor.greeted()
        await visitor.send(*(visitor.signed(ALICE) if frame == "login" else frame for frame in frames))
        refused, code = await end_of(visitor)
    assert refused is not None
    assert (refused.number, refused.reason) == (0, reason)
    assert code in (1002, 1008)


async def test_text_and_messages_longer_than_a_frame_end_the_connection(hub: Url) -> None:
    async with client(hub) as visitor:
        await visitor.login(ALICE)
        await visitor.connection.send("hello")
        assert (await end_of(visitor))[1] == 1002
    async with client(hub) as visitor:
        await visitor.login(ALICE)
        await visitor.connection.send(bytes(MAX_FRAME + 1))
        assert (await end_of(visitor))[1] == 1009


async def test_envelopes_that_are_malformed_or_expired_are_refused_and_the_connection_stays(hub: Url) -> None:
    async with client(hub) as visitor:
        await visitor.login(ALICE)
        for number, (data, life, reason) in enumerate(
            [
                (b"junk", 9, Reason.MALFORMED),
                (envelope(1).encode()[:-1], 9, Reason.MALFORMED),
                (envelope(1).encode(), 0, Reason.MALFORMED),
            ],
            start=1,
        ):
            await visitor.send(Post(number, life, data))
            refused = await visitor.next()
            assert isinstance(refused, Refused)
            assert (refused.number, refused.reason) == (number, reason)
        assert await visitor.post(9, envelope(1, body=bytes(MAX_BODY))) == Posted(9)


async def test_a_sender_that_posts_too_fast_is_told_when_to_go_on_and_then_cut_off(tmp_path: Path) -> None:
    limits = Limits(login_rate=UNHURRIED, sender_rate=Rate(per_second=0.5, burst=3), refusals=5)
    async with running_hub(tmp_path / "hub.sqlite", limits=limits) as url, client(url) as flood, client(url) as bob:
        await flood.login(MALLORY)
        answers = [await flood.post(number, envelope(number)) for number in range(1, 5)]
        assert answers[:3] == [Posted(1), Posted(2), Posted(3)]
        assert isinstance(answers[3], Refused)
        assert answers[3].reason is Reason.RATE
        assert 0 < answers[3].wait <= 2
        await flood.send(*(Post(number, 9, envelope(number).encode()) for number in range(5, 20)))
        assert (await end_of(flood))[1] == 1013
        await bob.login(BOB)  # others post as before
        assert await bob.post(1, envelope(100)) == Posted(1)


async def test_many_keys_of_one_network_are_slowed_together(tmp_path: Path) -> None:
    limits = Limits(login_rate=UNHURRIED, network_rate=Rate(per_second=0.1, burst=3))
    async with running_hub(tmp_path / "hub.sqlite", limits=limits) as url:
        answers = []
        for identity in (ALICE, BOB, MALLORY):
            async with client(url) as visitor:
                await visitor.login(identity)
                answers += [await visitor.post(number, envelope(number)) for number in (1, 2)]
    assert [isinstance(answer, Posted) for answer in answers] == [True, True, True, False, False, False]


async def test_connections_that_come_too_fast_are_refused_before_they_are_accepted(tmp_path: Path) -> None:
    limits = Limits(login_rate=Rate(per_second=0.1, burst=2))
    async with running_hub(tmp_path / "hub.sqlite", limits=limits) as url, client(url), client(url):
        with pytest.raises(InvalidStatus) as caught:
            async with client(url):
                pass
    assert caught.value.response.status_code == 429
    assert int(caught.value.response.headers["Retry-After"]) <= 10


async def test_connections_at_once_are_limited_per_network_and_readers_per_owner(tmp_path: Path) -> None:
    limits = Limits(login_rate=UNHURRIED, network_connections=3, owner_connections=2)
    async with running_hub(tmp_path / "hub.sqlite", limits=limits) as url:
        async with client(url) as one, client(url) as two, client(url) as three:
            for visitor in (one, two, three):
                await visitor.login(ALICE)
            with pytest.raises(InvalidStatus):
                async with client(url):
                    pass
            for visitor in (one, two):
                await visitor.subscribe()
                await visitor.post(1, envelope(1))
            await three.subscribe()
            refused, code = await end_of(three)
            assert refused is not None
            assert (refused.reason, code) == (Reason.RATE, 1013)
        async with client(url) as again:  # all of them gone: there is room
            await again.login(ALICE)
            await again.subscribe()
            assert number_of(await again.next()) == 1


async def test_who_does_not_log_in_is_sent_away(tmp_path: Path) -> None:
    limits = Limits(login_rate=UNHURRIED, login_time=0.2)
    async with running_hub(tmp_path / "hub.sqlite", limits=limits) as url, client(url) as visitor:
        await visitor.greeted()
        refused, code = await end_of(visitor)
    assert refused is not None
    assert (refused.reason, code) == (Reason.NOT_AUTHENTIC, 1008)


async def test_a_reader_that_does_not_read_stalls_nobody_and_is_cut_off(tmp_path: Path) -> None:
    limits = unhurried(send_time=0.5, recipient_bytes=2**20, pair_envelopes=64)
    async with (
        running_hub(tmp_path / "hub.sqlite", limits=limits) as url,
        deaf_client(url, ALICE) as deaf,
        client(url) as alice,
        client(url) as bob,
    ):
        await alice.login(ALICE)
        await alice.subscribe()
        await bob.login(BOB)
        for number in range(1, 51):
            await bob.send(Post(number, 900, envelope(number, body=bytes(MAX_BODY)).encode()))
        assert [await bob.next() for _ in range(50)] == [Posted(number) for number in range(1, 51)]
        assert [number_of(await alice.next()) for _ in range(50)] == list(range(1, 51))
        with contextlib.suppress(ConnectionClosed):  # its own side finds out when it says something
            while deaf.connection.close_code is None:
                await deaf.send(Discard(bytes(16)))
                await asyncio.sleep(0.05)
        assert deaf.connection.close_code == 1006


def test_no_bytes_make_the_hub_do_anything_but_refuse(tmp_path: Path) -> None:
    async def try_it(url: str, frames: list[bytes]) -> None:
        async with client(url) as visitor:
            await visitor.greeted()
            with contextlib.suppress(ConnectionClosed):
                await visitor.send(*frames)
            refused, code = await end_of(visitor)
            assert code in (1002, 1008)
            assert refused is not None
        async with client(url) as alice:
            await alice.login(ALICE)

    with asyncio.Runner() as runner:
        stack = contextlib.AsyncExitStack()
        url = runner.run(stack.enter_async_context(running_hub(tmp_path / "hub.sqlite", limits=unhurried())))

        @given(st.lists(st.binary(max_size=120), min_size=1, max_size=4))
        def examples(frames: list[bytes]) -> None:
            runner.run(try_it(url, frames))

        examples()
        runner.run(stack.aclose())
