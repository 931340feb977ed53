"""What a peer that lists a victim's addresses can make us send there."""

from holepunch.proto.budget import TokenBucket
from holepunch.proto.claims import (
    ADDRESSES,
    ALLOWANCE_BURST,
    ALLOWANCE_RATE,
    MEMORY,
    PROBES,
    Claims,
    make_allowance,
)
from holepunch.proto.machine import Address

VICTIM = ("1.2.3.4", 53)


def probes(claims: Claims, address: Address, now: float, wanted: int = 100) -> int:
    """Asks an address as often as is allowed; returns how often that was."""
    return sum(claims.may_ask(address, now) and claims.ask(address, now) for _ in range(wanted))


def test_an_address_that_never_answers_is_asked_20_times() -> None:
    claims = Claims()
    assert probes(claims, VICTIM, 0.0) == PROBES
    assert probes(claims, VICTIM, MEMORY - 1) == 0


def test_after_ten_minutes_it_may_be_asked_again() -> None:
    claims = Claims()
    probes(claims, VICTIM, 0.0)
    assert probes(claims, VICTIM, MEMORY + 1) == PROBES


def test_no_more_than_16_addresses_are_asked_however_many_are_named() -> None:
    claims = Claims()
    asked = [number for number in range(1000) if probes(claims, (f"9.9.{number // 250}.{number % 250}", 53), 0.0, 1)]
    assert asked == list(range(ADDRESSES))


def test_priming_an_address_takes_a_place_too() -> None:
    claims = Claims()
    assert all(claims.admit(("9.9.9.9", port), 0.0) for port in range(1, ADDRESSES + 1))
    assert not claims.admit(VICTIM, 0.0)
    assert not claims.may_ask(VICTIM, 0.0)


def test_an_address_that_answered_is_no_claim_any_more() -> None:
    claims = Claims()
    probes(claims, VICTIM, 0.0)
    claims.prove(VICTIM, 1.0)
    assert probes(claims, VICTIM, 2.0) == PROBES


def test_a_host_that_answered_once_may_have_other_ports_without_taking_a_place() -> None:
    claims = Claims()
    claims.prove(("5.5.5.5", 1000), 0.0)
    assert all(claims.admit(("5.5.5.5", port), 1.0) for port in range(2000, 2100))
    assert all(claims.admit(("9.9.9.9", port), 1.0) for port in range(1, ADDRESSES + 1))
    assert not claims.admit(VICTIM, 1.0)


def test_a_host_is_proven_for_ten_minutes() -> None:
    claims = Claims()
    claims.prove(("5.5.5.5", 1000), 0.0)
    assert sum(claims.admit(("5.5.5.5", port), MEMORY) for port in range(2000, 2100)) == 100
    assert sum(claims.admit(("5.5.5.5", port), 2 * MEMORY + 1) for port in range(3000, 3100)) == ADDRESSES


def test_to_prove_a_host_again_begins_its_ten_minutes_anew() -> None:
    claims = Claims()
    for moment in (0.0, MEMORY - 1):
        claims.prove(("5.5.5.5", 1000), moment)
    assert sum(claims.admit(("5.5.5.5", port), MEMORY + 5) for port in range(2000, 2100)) == 100


def test_each_port_of_a_proven_host_is_asked_20_times_at_most() -> None:
    claims = Claims()
    claims.prove(("5.5.5.5", 1000), 0.0)
    assert probes(claims, ("5.5.5.5", 2000), 1.0) == PROBES


def test_all_sessions_with_one_peer_share_one_allowance() -> None:
    allowance = make_allowance()
    sent = 0
    for session in range(200):
        claims = Claims(allowance)
        sent += sum(probes(claims, (f"9.9.9.{number}", session + 1), 0.0) for number in range(ADDRESSES))
    assert sent == ALLOWANCE_BURST


def test_an_empty_allowance_fills_slowly() -> None:
    allowance = TokenBucket(rate=ALLOWANCE_RATE, burst=1)
    claims = Claims(allowance)
    assert probes(claims, VICTIM, 0.0) == 1
    assert claims.may_ask(VICTIM, 0.01)
    assert not claims.ask(VICTIM, 0.01)
    assert claims.ask(VICTIM, 1.0)


def test_what_it_remembers_is_bounded() -> None:
    claims = Claims(TokenBucket(rate=1e9, burst=1e9))
    for number in range(5000):
        claims.prove((f"5.5.{number // 250}.{number % 250}", 1), 0.0)
        claims.may_ask((f"5.5.{number // 250}.{number % 250}", 2), 0.0)
    assert len(claims._proven) <= 1024
    assert len(claims._asked) <= 1024
