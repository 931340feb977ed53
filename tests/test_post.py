"""The post office: every offer by every mediator, each envelope in once, and a failure only when all fail."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import ClassVar
from urllib.parse import urlsplit

import pytest

from holepunch import post
from holepunch.errors import AuthenticationError, ConfigurationError, HolepunchError, MediatorError
from holepunch.mediator import Mailbox, Mediator
from holepunch.post import PostOffice, display_name
from holepunch.proto.envelope import Envelope, Kind
from holepunch.proto.events import Event, OfferFailed, OfferRefused, OfferSent

OWNER = b"o" * 32
INVITE = Envelope(kind=Kind.INVITE, session=b"s" * 16, id=b"i" * 16, recipient=OWNER, expires=2**40, body=b"sealed")


class Channel(Mediator):
    """A mediator that a test holds in its hand."""

    made: ClassVar[dict[str, "Channel"]] = {}

    def __init__(self, url: str, mailbox: Mailbox) -> None:
        super().__init__(urlsplit(url), mailbox)
        self.arrivals: asyncio.Queue[Envelope | HolepunchError] = asyncio.Queue()
        self.posted: list[Envelope] = []
        self.discarded: list[Envelope] = []
        self.refusal: HolepunchError | None = None
        self.may_open = asyncio.Event()
        self.is_closed = False
        if "shut" not in url:
            self.may_open.set()
        if "person" in url:
            self.interactive = True  # type: ignore[misc]
        self.made[url] = self

    async def open(self) -> None:
        await self.may_open.wait()
        if self.refusal is not None:
            raise self.refusal

    async def post(self, envelope: Envelope) -> None:
        if self.refusal is not None:
            raise self.refusal
        self.posted.append(envelope)

    async def receive(self) -> AsyncIterator[Envelope]:
        while True:
            arrival = await self.arrivals.get()
            if isinstance(arrival, HolepunchError):
                raise arrival
            yield arrival

    async def discard(self, envelope: Envelope) -> None:
        self.discarded.append(envelope)

    async def close(self) -> None:
        self.is_closed = True


class Desk:
    """A post office, and what came over its counter."""

    def __init__(self, *urls: str) -> None:
        self.events: list[Event] = []
        self.delivered: list[tuple[Envelope, str]] = []
        self.verdict: bool | Exception = True
        self.office = PostOffice(Mailbox(OWNER, lambda data: data), self._deliver, self.events.append)
        self.urls = urls
        for url in urls:
            self.office.add(url)
        self.channels = [Channel.made[url] for url in urls]

    async def _deliver(self, envelope: Envelope, mediator: str) -> bool:
        self.delivered.append((envelope, mediator))
        if isinstance(self.verdict, Exception):
            raise self.verdict
        return self.verdict


@pytest.fixture(autouse=True)
def _channels(monkeypatch: pytest.MonkeyPatch) -> None:
    Channel.made.clear()
    monkeypatch.setattr(post, "make_mediator", Channel)


async def settle() -> None:
    """Lets every task that can run, run."""
    for _ in range(20):
        await asyncio.sleep(0)


async def test_an_offer_goes_out_by_every_mediator_at_once() -> None:
    desk = Desk("one:", "two:")
    await desk.office.post(INVITE, desk.urls, "0a0b0c0d")
    assert [channel.posted for channel in desk.channels] == [[INVITE], [INVITE]]
    assert [(event.name, event.session) for event in desk.events] == [("offer-sent", "0a0b0c0d")] * 2
    await desk.office.close()


async def test_only_the_mediators_asked_for_are_used_each_once() -> None:
    desk = Desk("one:", "two:")
    await desk.office.post(INVITE, ("two:", "two:", "unknown:"))
    assert [len(channel.posted) for channel in desk.channels] == [0, 1]
    await desk.office.close()


async def test_one_mediator_that_takes_it_is_enough() -> None:
    desk = Desk("one:", "two:")
    await settle()
    desk.channels[0].refusal = MediatorError("the folder is full")
    await desk.office.post(INVITE, desk.urls)
    assert sorted(type(event).__name__ for event in desk.events) == ["OfferFailed", "OfferSent"]
    await desk.office.close()


async def test_when_none_takes_it_the_first_reason_is_told() -> None:
    desk = Desk("one:", "two:")
    await settle()
    for channel in desk.channels:
        channel.refusal = MediatorError(f"{channel.url.scheme} is full")
    with pytest.raises(MediatorError, match="one is full"):
        await desk.office.post(INVITE, desk.urls)
    assert len([event for event in desk.events if isinstance(event, OfferFailed)]) == 2
    await desk.office.close()


async def test_without_a_mediator_the_error_says_how_to_name_one() -> None:
    desk = Desk()
    with pytest.raises(MediatorError) as caught:
        await desk.office.post(INVITE, ())
    assert "--mediator" in caught.value.hint
    await desk.office.close()


async def test_an_offer_that_is_too_large_for_a_mediator_is_not_given_to_it() -> None:
    desk = Desk("one:")
    desk.channels[0].max_size = 80  # type: ignore[misc]
    with pytest.raises(MediatorError, match="84 bytes, one: carries 80"):
        await desk.office.post(INVITE, desk.urls)
    assert desk.channels[0].posted == []
    await desk.office.close()


async def test_a_mediator_that_does_not_answer_costs_its_time_and_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(post, "POST_TIMEOUT", 0.01)
    desk = Desk("shut:", "two:")
    await desk.office.post(INVITE, desk.urls)
    (failed,) = [event for event in desk.events if isinstance(event, OfferFailed)]
    assert "did not take the offer" in failed.reason
    await desk.office.close()


async def test_a_person_is_not_asked_to_carry_a_third_message() -> None:
    desk = Desk("person:", "two:")
    await desk.office.post(replace(INVITE, kind=Kind.UPDATE), desk.urls)
    assert [len(channel.posted) for channel in desk.channels] == [0, 1]
    await desk.office.post(replace(INVITE, kind=Kind.UPDATE), ("person:",))
    assert desk.office.signals(desk.urls)
    assert not desk.office.signals(("person:",))
    await desk.office.close()


async def test_the_fastest_of_the_mediators_sets_the_pace() -> None:
    desk = Desk("one:", "two:")
    desk.channels[0].latency_hint, desk.channels[1].latency_hint = 30.0, 0.2
    assert desk.office.latency(desk.urls) == 0.2
    assert desk.office.latency(("one:",)) == 30.0
    await desk.office.close()


async def test_an_envelope_that_comes_by_two_mediators_is_delivered_once() -> None:
    desk = Desk("one:", "two:")
    for channel in desk.channels:
        channel.arrivals.put_nowait(INVITE)
        channel.arrivals.put_nowait(INVITE)
    await settle()
    assert [envelope for envelope, _ in desk.delivered] == [INVITE]
    await desk.office.close()


async def test_a_forgery_under_the_same_id_does_not_shut_out_the_true_one() -> None:
    desk = Desk("one:", "two:")
    forgery = replace(INVITE, body=b"junk")
    desk.channels[0].arrivals.put_nowait(forgery)
    await settle()
    desk.channels[1].arrivals.put_nowait(INVITE)
    await settle()
    assert [envelope for envelope, _ in desk.delivered] == [forgery, INVITE]
    await desk.office.close()


async def test_mail_for_others_is_left_where_it_is() -> None:
    desk = Desk("one:")
    desk.channels[0].arrivals.put_nowait(replace(INVITE, recipient=b"x" * 32))
    await settle()
    assert desk.delivered == []
    assert desk.channels[0].discarded == []
    await desk.office.close()


async def test_what_was_used_is_discarded_and_what_was_not_stays_for_other_processes() -> None:
    desk = Desk("one:")
    desk.channels[0].arrivals.put_nowait(INVITE)
    await settle()
    desk.verdict = False
    other = replace(INVITE, id=b"j" * 16)
    desk.channels[0].arrivals.put_nowait(other)
    await settle()
    assert desk.channels[0].discarded == [INVITE]
    await desk.office.close()


@pytest.mark.parametrize("error", [AuthenticationError("a stranger"), ConfigurationError("no space left")])
async def test_an_envelope_that_cannot_be_acted_on_is_told_and_the_next_one_is_read(error: HolepunchError) -> None:
    desk = Desk("one:")
    desk.verdict = error
    desk.channels[0].arrivals.put_nowait(INVITE)
    await settle()
    desk.verdict = True
    desk.channels[0].arrivals.put_nowait(replace(INVITE, id=b"j" * 16))
    await settle()
    (refused,) = [event for event in desk.events if isinstance(event, OfferRefused)]
    assert refused.reason == str(error)
    assert len(desk.delivered) == 2
    assert not desk.office.failed.is_set()
    await desk.office.close()


async def test_a_fault_of_ours_in_one_envelope_does_not_make_us_deaf(caplog: pytest.LogCaptureFixture) -> None:
    desk = Desk("one:")
    desk.verdict = RuntimeError("a bug")
    desk.channels[0].arrivals.put_nowait(INVITE)
    await settle()
    desk.verdict = True
    desk.channels[0].arrivals.put_nowait(replace(INVITE, id=b"j" * 16))
    await settle()
    assert len(desk.delivered) == 2
    assert "a bug" in caplog.text
    await desk.office.close()


async def test_it_has_failed_when_the_last_mediator_has() -> None:
    desk = Desk("one:", "two:")
    await settle()
    desk.channels[0].arrivals.put_nowait(MediatorError("gone"))
    await settle()
    assert not desk.office.failed.is_set()
    assert desk.office.failure is None
    assert desk.office.count == 1
    desk.channels[1].arrivals.put_nowait(MediatorError("gone too"))
    await settle()
    assert desk.office.failed.is_set()
    assert str(desk.office.failure) == "gone"
    await desk.office.close()


async def test_a_mediator_that_cannot_be_opened_has_failed() -> None:
    desk = Desk("shut:")
    desk.channels[0].refusal = MediatorError("no such folder")
    desk.channels[0].may_open.set()
    await settle()
    assert desk.office.failed.is_set()
    with pytest.raises(MediatorError, match="no such folder"):
        await desk.office.post(INVITE, desk.urls)
    await desk.office.close()


async def test_a_mediator_that_was_not_there_is_tried_again_while_another_works(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(post, "REOPEN", 0)
    desk = Desk("test://one", "test://late")
    one, late = desk.channels
    late.refusal = MediatorError("late is not there yet")
    await settle()
    assert desk.office.count == 1
    assert [event.mediator for event in desk.events if isinstance(event, OfferFailed)] == ["test://late"]
    late.refusal = None
    await settle()
    assert desk.office.count == 2
    late.arrivals.put_nowait(INVITE)
    await settle()
    assert desk.delivered == [(INVITE, "test://late")]
    assert not desk.office.failed.is_set()
    assert not one.posted
    await desk.office.close()


async def test_closing_closes_every_mediator_even_one_that_never_opened() -> None:
    desk = Desk("one:", "shut:")
    await desk.office.close()
    assert all(channel.is_closed for channel in desk.channels)


async def test_what_it_remembers_is_bounded() -> None:
    desk = Desk("one:")
    for number in range(post.MAX_REMEMBERED + 100):
        desk.channels[0].arrivals.put_nowait(replace(INVITE, id=number.to_bytes(16)))
    while not desk.channels[0].arrivals.empty():
        await asyncio.sleep(0)
    await settle()
    assert len(desk.office._seen) == post.MAX_REMEMBERED
    await desk.office.close()


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("https://user:secret@hub.example.org/box?token=secret#secret", "https://hub.example.org/box"),
        ("file:///srv/shared", "file:///srv/shared"),
        ("paste:", "paste:"),
    ],
)
def test_a_mediators_name_shows_no_secret(url: str, shown: str) -> None:
    assert display_name(url) == shown


async def test_events_name_the_mediator_without_its_secrets() -> None:
    desk = Desk("https://me:secret@hub.example.org/")
    await desk.office.post(INVITE, desk.urls)
    (sent,) = [event for event in desk.events if isinstance(event, OfferSent)]
    assert "secret" not in str(sent.to_json())
    await desk.office.close()
