"""Consent: when to ask for a sign of life, and when the peer has gone."""

import random

import pytest

from holepunch.proto.consent import INTERVAL, JITTER, MAX_UNANSWERED, RETRY, Consent


def steady(length: int) -> bytes:
    """Entropy without luck: the middle of every jitter."""
    return b"\x80" * length


def started() -> Consent:
    consent = Consent(steady)
    consent.start(0.0)
    return consent


def until_lost(consent: Consent) -> tuple[list[float], float]:
    """Lets nobody answer; returns when it asked, and when it gave up."""
    asked = []
    while (at := consent.get_timer()) is not None:
        verdict = consent.handle_timer(at)
        if verdict:
            asked.append(at)
        elif verdict is False:
            return asked, at
    raise AssertionError("it never gave up")


def test_a_silent_peer_is_asked_five_times_and_then_given_up() -> None:
    asked, lost = until_lost(started())
    assert len(asked) == MAX_UNANSWERED
    assert asked[0] == pytest.approx(INTERVAL, abs=0.1)
    assert lost - asked[0] == pytest.approx(MAX_UNANSWERED * RETRY)


def test_a_loss_is_noticed_within_nine_seconds_whatever_the_luck() -> None:
    for seed in range(50):
        consent = Consent(random.Random(seed).randbytes)
        consent.start(0.0)
        _, lost = until_lost(consent)
        assert INTERVAL * (1 - JITTER) <= lost <= INTERVAL * (1 + JITTER) + MAX_UNANSWERED * RETRY < 9.0


def test_an_answer_begins_the_interval_anew() -> None:
    consent = started()
    at = consent.get_timer()
    assert at is not None
    assert consent.handle_timer(at) is True
    consent.heard(at + 0.1, at + 0.1)
    again = consent.get_timer()
    assert again is not None
    assert again == pytest.approx(at + 0.1 + INTERVAL, abs=0.1)


def test_unanswered_checks_before_an_answer_are_forgotten() -> None:
    consent = started()
    for _ in range(MAX_UNANSWERED - 1):
        at = consent.get_timer()
        assert at is not None
        assert consent.handle_timer(at) is True
    consent.heard(10.0, 10.0)
    asked, _ = until_lost(consent)
    assert len(asked) == MAX_UNANSWERED


def test_a_loss_is_told_once() -> None:
    consent = started()
    until_lost(consent)
    assert consent.get_timer() is None
    assert consent.handle_timer(1e6) is None


def test_what_was_heard_before_is_no_new_answer() -> None:
    consent = started()
    at = consent.get_timer()
    assert at is not None
    consent.handle_timer(at)
    consent.heard(0.0, at + 0.1)
    assert consent.get_timer() == pytest.approx(at + RETRY)


def test_nothing_happens_before_its_time() -> None:
    consent = started()
    assert consent.handle_timer(1.0) is None


def test_doubt_asks_at_once_but_only_once() -> None:
    consent = started()
    consent.hurry(1.0)
    assert consent.handle_timer(1.0) is True
    consent.hurry(1.1)
    assert consent.handle_timer(1.1) is None


def test_doubt_about_a_path_that_is_not_in_use_does_nothing() -> None:
    consent = Consent(steady)
    consent.hurry(1.0)
    assert consent.get_timer() is None


def test_a_stopped_one_asks_nothing_and_hears_nothing() -> None:
    consent = started()
    consent.stop()
    consent.heard(3.0, 3.0)
    assert consent.get_timer() is None
    assert consent.handle_timer(100.0) is None


def test_silence_is_counted_from_the_last_packet() -> None:
    consent = started()
    consent.heard(3.0, 3.0)
    assert consent.silence(5.0) == pytest.approx(2.0)
