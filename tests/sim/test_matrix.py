"""Whole peers through every ordered pair of sites: what plain punching can open is open, in every weather.

Each pair is tried under a few of the 36 conditions, spread so that every condition meets many pairs; the
whole matrix is `scripts/bench sim`.
"""

import pytest

from holepunch.testing.simnet import RELATIONS, attempt

from .matrix import CELLS, PAIRS, conditions

SAMPLES = 3  # conditions for each pair


def sample(number: int) -> list[tuple[float, float, float]]:
    """Returns the conditions that pair `number` is tried under."""
    return [CELLS[(number * 7 + each * 13) % len(CELLS)] for each in range(SAMPLES)]


@pytest.mark.parametrize("number", range(len(PAIRS)), ids=[" ".join(pair) for pair in PAIRS])
def test_a_pair_opens_exactly_if_plain_punching_can_open_it(number: int) -> None:
    for loss, rtt, latency in sample(number):
        outcome = attempt(*PAIRS[number], conditions(loss, rtt), latency=latency, seed=number)
        assert outcome.opened == outcome.expected, (loss, rtt, latency, outcome)
        if outcome.expected:
            assert outcome.statuses == (0, 0)
        else:
            assert outcome.statuses == (3, 3), outcome
            assert all(outcome.reasons)
        assert outcome.strays == 0
        assert outcome.tuples <= 100


@pytest.mark.parametrize("kind", ["eim-apdf", "clash", "strict", "double", "firewall"])
def test_an_easy_pair_is_open_in_one_round_trip_at_the_inviter(kind: str) -> None:
    outcome = attempt(kind, "eim-apdf", conditions(0.0, 0.08), seed=1)
    assert outcome.opened
    assert outcome.elapsed == pytest.approx(0.08, abs=0.005)


@pytest.mark.parametrize("latency", [0.1, 5.0, 30.0, 90.0])
@pytest.mark.parametrize("kinds", [("strict", "strict"), ("clash", "clash"), ("strict", "clash"), ("clash", "strict")])
def test_waiting_for_mail_costs_neither_side_its_mapping(kinds: tuple[str, str], latency: float) -> None:
    outcome = attempt(*kinds, conditions(0.0, 0.08), latency=latency, seed=1)
    assert outcome.opened
    assert outcome.damage == 0


def test_the_same_seed_gives_the_same_attempt_and_another_seed_another() -> None:
    def once(seed: int) -> object:
        return attempt("clash", "strict", conditions(0.1, 0.08), latency=5.0, seed=seed)

    assert once(3) == once(3)
    assert len({once(seed) for seed in range(6)}) > 1


@pytest.mark.parametrize("relation", RELATIONS)
def test_nobody_else_is_sent_anything(relation: str) -> None:
    assert attempt(relation, relation, conditions(0.0, 0.02), seed=2).strays == 0
