"""The words for a NAT, from tables of what servers saw."""

import random

import pytest

from holepunch.proto.machine import Address
from holepunch.proto.nat import Allocation, Mapping
from holepunch.proto.stun.classify import classify_allocation, classify_mapping

A1, A2, B1, B2 = ("192.0.2.1", 3478), ("192.0.2.1", 3479), ("192.0.2.2", 3478), ("192.0.2.2", 3479)
C1, D1 = ("198.51.100.1", 3478), ("198.51.100.2", 3478)
P, Q, R, S = (("203.0.113.7", port) for port in (4000, 5000, 6000, 7000))
EI, AD, APD = Mapping.ENDPOINT_INDEPENDENT, Mapping.ADDRESS_DEPENDENT, Mapping.ADDRESS_AND_PORT_DEPENDENT


@pytest.mark.parametrize(
    ("seen", "mapping", "is_exact", "dissenting"),
    [
        ({}, Mapping.UNKNOWN, False, ()),
        ({A1: P}, Mapping.UNKNOWN, False, ()),
        ({A1: P, A2: P}, Mapping.UNKNOWN, False, ()),
        ({A1: P, B1: P}, EI, True, ()),
        ({A1: P, A2: P, B1: P, B2: P}, EI, True, ()),
        ({A1: P, A2: P, B1: Q, B2: Q}, AD, True, ()),
        ({A1: P, A2: Q, B1: R, B2: S}, APD, True, ()),
        ({A1: P, A2: Q}, APD, True, ()),
        ({A1: P, B1: Q}, APD, False, ()),
        ({A1: P, B1: Q, C1: R}, APD, False, ()),
        ({A1: P, B1: P, C1: Q}, EI, False, (C1,)),
        ({A1: P, B1: P, C1: P, D1: Q}, EI, False, (D1,)),
        ({A1: P, B1: P, C1: Q, D1: R}, APD, False, ()),
    ],
    ids=lambda value: str(value.value) if isinstance(value, Mapping) else "",
)
def test_mapping(
    seen: dict[Address, Address], mapping: Mapping, is_exact: bool, dissenting: tuple[Address, ...]
) -> None:
    verdict = classify_mapping(4000, seen)
    assert (verdict.mapping, verdict.is_exact, verdict.dissenting) == (mapping, is_exact, dissenting)


def test_our_own_endpoint_means_no_translation() -> None:
    own = ["192.168.1.2", P[0]]
    assert classify_mapping(4000, {A1: P, B1: P}, own).mapping is Mapping.NONE
    assert classify_mapping(4000, {A1: P}, own).mapping is Mapping.NONE
    assert classify_mapping(4001, {A1: P, B1: P}, own).mapping is EI
    assert classify_mapping(4000, {A1: P, B1: P}).mapping is EI, "preserving the port is not having no NAT"
    verdict = classify_mapping(4000, {A1: P, B1: P, C1: Q}, own)
    assert (verdict.mapping, verdict.dissenting) == (Mapping.NONE, (C1,))


INNER = [50001, 41007, 33333, 60010, 52001, 38111, 45454, 59999, 40404, 51515]


@pytest.mark.parametrize(
    ("outer", "allocation", "delta"),
    [
        (INNER, Allocation.PRESERVING, 0),
        ([*INNER[:8], 1, 2], Allocation.PRESERVING, 0),
        ([20000 + n for n in range(10)], Allocation.SEQUENTIAL, 1),
        ([20000 + 2 * n for n in range(10)], Allocation.SEQUENTIAL, 2),
        ([20000 - 3 * n for n in range(10)], Allocation.SEQUENTIAL, -3),
        ([20000, 20001, 20002, 20005, 20006, 20008, 20009, 20010, 20013, 20014], Allocation.SEQUENTIAL, 1),
        ([65534, 65535, 1024, 1025, 1026, 1027, 1028, 1029, 1030, 1031], Allocation.SEQUENTIAL, 1),
        ([10240 + n for n in (3, 400, 77, 250, 311, 9, 500, 123, 222, 444)], Allocation.BLOCK, 0),
        ([5000, 61000, 33000, 20000, 47000, 11000, 58000, 27000, 39000, 2000], Allocation.RANDOM, 0),
        ([20000, 20001, 20002], Allocation.UNKNOWN, 0),
        ([], Allocation.UNKNOWN, 0),
    ],
)
def test_allocation(outer: list[int], allocation: Allocation, delta: int) -> None:
    verdict = classify_allocation(list(zip(INNER, outer, strict=False)))
    assert (verdict.allocation, verdict.delta) == (allocation, delta)
    assert (verdict.low, verdict.high) == (min(outer, default=0), max(outer, default=0))


@pytest.mark.parametrize(
    ("size", "expected"), [(64, Allocation.BLOCK), (512, Allocation.BLOCK), (64511, Allocation.RANDOM)]
)
def test_ports_drawn_at_random_are_never_called_counting(size: int, expected: Allocation) -> None:
    rng = random.Random(7)
    verdicts = [
        classify_allocation(list(zip(INNER, rng.sample(range(1024, 1024 + size), 10), strict=True)))
        for _ in range(2000)
    ]
    assert sum(verdict.allocation is expected for verdict in verdicts) >= 1990


def test_a_counter_that_others_use_too_is_still_seen() -> None:
    rng = random.Random(3)
    found = 0
    for _ in range(500):
        port, outer = 20000, []
        for _ in INNER:
            port += 1 + (rng.random() < 0.3)
            outer.append(port)
        found += classify_allocation(list(zip(INNER, outer, strict=True))).allocation is Allocation.SEQUENTIAL
    assert found == 500
