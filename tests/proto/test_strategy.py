"""The plan: what is tried, when, in each situation; and what a person is told when nothing worked."""

from itertools import product
from typing import Any

import pytest

from holepunch.proto.candidate import Candidate, CandidateKind
from holepunch.proto.claims import PROBES
from holepunch.proto.nat import Filtering, Mapping, NatReport
from holepunch.proto.strategy import (
    CHECK,
    PRIME,
    SEND_ANYWAY,
    SEND_ANYWAY_DELAY,
    SEND_ANYWAY_INTERVAL,
    SEND_ANYWAY_TIMES,
    START,
    START_DELAY,
    STRATEGIES,
    Situation,
    explain,
    plan,
)

EIM = NatReport(mapping=Mapping.ENDPOINT_INDEPENDENT)
EDM = NatReport(mapping=Mapping.ADDRESS_AND_PORT_DEPENDENT)
ADM = NatReport(mapping=Mapping.ADDRESS_DEPENDENT)
PUBLIC = NatReport(mapping=Mapping.NONE, filtering=Filtering.ENDPOINT_INDEPENDENT)
UNKNOWN = NatReport()
REPORTS = [EIM, EDM, ADM, PUBLIC, UNKNOWN]


def outer(host: str) -> tuple[Candidate, ...]:
    """A side that is seen from outside."""
    return (Candidate(CandidateKind.SERVER_REFLEXIVE, (host, 5000)),)


def situation(**fields: Any) -> Situation:
    """A situation of which only what matters is said."""
    plain: dict[str, Any] = {"waiting": False, "local": EIM, "remote": EIM}
    return Situation(**{**plain, **fields})


@pytest.mark.parametrize(
    ("fields", "steps"),
    [
        # The side that goes first checks at once, and tells the other that it may send when that was not enough.
        ({}, [(CHECK, 0.0), (START, START_DELAY)]),
        ({"local": EDM}, [(CHECK, 0.0), (START, START_DELAY)]),
        ({"remote": PUBLIC}, [(CHECK, 0.0), (START, START_DELAY)]),
        ({"remote": UNKNOWN}, [(CHECK, 0.0), (START, START_DELAY)]),
        # A peer that is not where it said must send: it is told at once.
        ({"remote": EDM}, [(CHECK, 0.0), (START, 0.0)]),
        ({"remote": ADM}, [(CHECK, 0.0), (START, 0.0)]),
        # Where a person carries the messages there is no third one.
        ({"signals": False}, [(CHECK, 0.0)]),
        ({"remote": EDM, "signals": False}, [(CHECK, 0.0)]),
        # The side that waits opens its own NAT, and stays where it said ...
        ({"waiting": True}, [(PRIME, 0.0)]),
        ({"waiting": True, "remote": EDM}, [(PRIME, 0.0)]),
        ({"waiting": True, "local": PUBLIC}, [(PRIME, 0.0)]),
        ({"waiting": True, "local": UNKNOWN}, [(PRIME, 0.0)]),
    ],
)
def test_each_situation_has_its_steps(fields: dict[str, Any], steps: list[tuple[str, float]]) -> None:
    assert [(step.name, step.at) for step in plan(situation(**fields))] == steps


@pytest.mark.parametrize("report", [EDM, ADM])
def test_a_waiting_side_that_cannot_be_found_knocks_again_and_again(report: NatReport) -> None:
    steps = plan(situation(waiting=True, local=report))
    assert [step.name for step in steps] == [PRIME, *[SEND_ANYWAY] * SEND_ANYWAY_TIMES]
    assert 0 < steps[1].at <= SEND_ANYWAY_DELAY
    assert steps[2].at - steps[1].at == pytest.approx(SEND_ANYWAY_INTERVAL)


def test_knocking_alone_does_not_use_up_what_an_address_may_get() -> None:
    assert SEND_ANYWAY_TIMES < PROBES


@pytest.mark.parametrize(("waiting", "local", "remote"), list(product((False, True), REPORTS, REPORTS)))
def test_plain_checks_or_primes_come_first_whatever_the_classification(
    waiting: bool, local: NatReport, remote: NatReport
) -> None:
    steps = plan(situation(waiting=waiting, local=local, remote=remote))
    assert (steps[0].name, steps[0].at) == (PRIME if waiting else CHECK, 0.0)
    assert [step.at for step in steps] == sorted(step.at for step in steps)


@pytest.mark.parametrize(("waiting", "local", "remote"), list(product((False, True), REPORTS, REPORTS)))
def test_no_plan_costs_more_tuples_than_two_rounds_of_candidates(
    waiting: bool, local: NatReport, remote: NatReport
) -> None:
    assert sum(step.tuples for step in plan(situation(waiting=waiting, local=local, remote=remote))) <= 32


def test_every_row_of_the_table_has_a_name_of_its_own_and_applies_somewhere() -> None:
    assert len({row.name for row in STRATEGIES}) == len(STRATEGIES)
    everything = [
        situation(waiting=waiting, local=local, remote=remote)
        for waiting, local, remote in product((False, True), REPORTS, REPORTS)
    ]
    for row in STRATEGIES:
        assert any(row.applies(each) for each in everything)
        assert 0 < row.expected <= 1


HERE, THERE = outer("45.0.0.1"), outer("45.0.0.2")


@pytest.mark.parametrize(
    ("fields", "heard", "said", "helps"),
    [
        ({"local": EDM, "remote": EDM}, False, "both NATs give every destination another port", "Forward a UDP port"),
        ({"local": ADM, "remote": EDM}, False, "both NATs", "IPv6"),
        ({"local": EDM}, False, "this side's NAT", "the peer's router"),
        ({"remote": EDM}, False, "the peer's NAT", "this side's router"),
        ({"local_candidates": HERE}, False, "the peer offered no address", "doctor"),
        ({"local_candidates": HERE, "remote_candidates": HERE}, False, "no hairpinning", "same local network"),
        (
            {"local_candidates": HERE, "remote_candidates": THERE, "local": UNKNOWN},
            False,
            "no packet of the peer arrived",
            "doctor",
        ),
        (
            {
                "local_candidates": HERE,
                "remote_candidates": THERE,
                "remote": NatReport(mapping=Mapping.NONE, filtering=Filtering.ENDPOINT_INDEPENDENT),
            },
            False,
            "no packet of the peer arrived",
            "UDP is allowed out",
        ),
        # What was heard tells more than what was classified.
        ({"local": EDM, "remote": EDM}, True, "packets from the peer arrive", "firewall"),
    ],
)
def test_a_failure_is_told_with_its_reason_and_what_would_help(
    fields: dict[str, Any], heard: bool, said: str, helps: str
) -> None:
    reason, hint = explain(situation(**fields), heard=heard)
    assert said in reason
    assert helps in hint


@pytest.mark.parametrize(("local", "remote", "heard"), list(product(REPORTS, REPORTS, (False, True))))
def test_every_failure_is_a_sentence_and_a_hint(local: NatReport, remote: NatReport, heard: bool) -> None:
    for here, there in product(((), HERE), ((), HERE, THERE)):
        reason, hint = explain(
            situation(local=local, remote=remote, local_candidates=here, remote_candidates=there), heard=heard
        )
        assert reason
        assert reason[0].islower()
        assert hint.endswith(".")
