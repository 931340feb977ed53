"""The replay window: each counter once, and none that is too old."""

from hypothesis import given
from hypothesis import strategies as st

from holepunch.proto.replay import WINDOW, ReplayWindow


def test_counters_in_order_are_accepted() -> None:
    window = ReplayWindow()
    assert all(window.accept(counter) for counter in range(5000))


def test_no_counter_is_accepted_twice() -> None:
    window = ReplayWindow()
    assert window.accept(7)
    assert not window.accept(7)


def test_late_counters_are_accepted_within_the_window_and_not_beyond() -> None:
    window = ReplayWindow()
    window.accept(WINDOW)
    assert window.accept(1)
    assert not window.accept(0)


def test_a_leap_forgets_what_was_and_accepts_none_of_it() -> None:
    window = ReplayWindow()
    window.accept(3)
    assert window.accept(2**64 - 1)
    assert not window.accept(3)
    assert not window.accept(4)
    assert window.accept(2**64 - 2)


@given(st.lists(st.integers(0, 3 * WINDOW), max_size=300))
def test_it_agrees_with_a_set_of_all_that_was_seen(counters: list[int]) -> None:
    window = ReplayWindow()
    seen: set[int] = set()
    for counter in counters:
        fresh = counter not in seen and counter > max(seen, default=-1) - WINDOW
        assert window.accept(counter) is fresh
        seen.add(counter)


@given(st.lists(st.integers(0, 2**64 - 1), max_size=100))
def test_its_memory_does_not_grow_with_what_it_sees(counters: list[int]) -> None:
    window = ReplayWindow()
    for counter in counters:
        window.accept(counter)
    assert window._seen.bit_length() <= WINDOW
