"""Budgets: so many at once, so many per second, so many alive."""

from holepunch.proto.budget import ALIVE, BURST, LIFETIME, NEW_PER_SECOND, TokenBucket, TupleBudget


def spend(budget: TokenBucket | TupleBudget, seconds: float, *, step: float = 0.001, start: float = 0.0) -> int:
    """Takes as often as it is allowed to for a while; returns how often that was."""
    return sum(budget.take(start + number * step) for number in range(int(seconds / step)))


def test_a_bucket_gives_its_burst_at_once_and_then_its_rate() -> None:
    bucket = TokenBucket(rate=10, burst=5)
    assert [bucket.take(0.0) for _ in range(7)] == [True] * 5 + [False] * 2
    assert not bucket.take(0.05)
    assert bucket.take(0.1)
    assert not bucket.take(0.1)


def test_a_bucket_never_holds_more_than_its_burst() -> None:
    bucket = TokenBucket(rate=10, burst=5)
    bucket.take(0.0)
    assert sum(bucket.take(1e6) for _ in range(20)) == 5


def test_new_tuples_are_no_more_than_100_a_second_after_the_first() -> None:
    assert spend(TupleBudget(), 5.0) <= BURST + 5.0 * NEW_PER_SECOND


def test_no_more_than_2400_are_alive_in_a_routers_table() -> None:
    budget = TupleBudget()
    assert spend(budget, LIFETIME, step=0.005) == ALIVE
    assert not budget.take(LIFETIME)
    assert budget.spent == ALIVE
    # The first of them have died half a minute after they were made.
    assert budget.take(LIFETIME + 1.0)


def test_what_was_refused_costs_nothing() -> None:
    budget = TupleBudget(rate=1, burst=1)
    assert [budget.take(0.0) for _ in range(3)] == [True, False, False]
    assert budget.spent == 1
