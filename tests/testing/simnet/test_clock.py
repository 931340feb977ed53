import pytest

from holepunch.errors import ConfigurationError
from holepunch.testing.simnet import Clock


def test_things_happen_in_order_of_their_moment_and_then_of_asking() -> None:
    clock = Clock()
    done: list[object] = []
    clock.post(0.2, done.append, "late")
    clock.post(0.1, done.append, "first")
    clock.post(0.1, done.append, "second")
    clock.run()
    assert done == ["first", "second", "late"]
    assert clock.now == 0.2


def test_a_run_ends_after_its_duration_even_where_nothing_happens() -> None:
    clock = Clock()
    done: list[object] = []
    clock.post(3.0, done.append, "later")
    assert not clock.run(2.0)
    assert (clock.now, done) == (2.0, [])
    clock.run(1.0)
    assert done == ["later"]


def test_a_run_stops_at_the_moment_its_condition_holds() -> None:
    clock = Clock()
    done: list[object] = []
    for when in (1.0, 2.0, 3.0):
        clock.post(when, done.append, when)
    assert clock.run(10.0, until=lambda: len(done) == 2)
    assert clock.now == 2.0


def test_a_cancelled_timer_does_nothing() -> None:
    clock = Clock()
    done: list[object] = []
    timer = clock.call_later(1.0, lambda: done.append("cancelled"))
    clock.call_later(2.0, lambda: done.append("kept"))
    timer.cancel()
    clock.run()
    assert done == ["kept"]


def test_a_timer_in_the_past_fires_now_and_time_never_runs_backwards() -> None:
    clock, seen = Clock(), []
    clock.run(5.0)
    clock.call_at(1.0, lambda: seen.append(clock.now))
    clock.run(1.0)
    assert seen == [5.0]


def test_a_simulation_that_never_ends_is_stopped_by_its_guard() -> None:
    clock = Clock()

    def again() -> None:
        clock.call_later(0.0, again)

    again()
    with pytest.raises(ConfigurationError, match="after 100 steps"):
        clock.run(max_steps=100)
