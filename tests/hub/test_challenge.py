"""Challenges: good once, for a minute, for one hub and one owner."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holepunch.hub import challenge as challenge_module
from holepunch.hub.challenge import LIFETIME, Challenges
from holepunch.hub.refusal import RefusedError
from holepunch.proto.identity import Identity
from holepunch.proto.mailbox import CHALLENGE_LENGTH, Login, Reason, login_statement

from .harness import ALICE, MALLORY

HUB = "hub.example"


def signed(challenge: bytes, *, owner: Identity = ALICE, signer: Identity | None = None, audience: str = HUB) -> Login:
    return Login(owner.peer_id.raw, (signer or owner).sign(login_statement(challenge, audience)))


def test_a_challenge_is_good_once() -> None:
    challenges = Challenges()
    challenge = challenges.issue(100.0)
    assert len(challenge) == CHALLENGE_LENGTH
    challenges.check(signed(challenge), challenge, HUB, 101.0)
    with pytest.raises(RefusedError, match="answered before"):
        challenges.check(signed(challenge), challenge, HUB, 102.0)


def test_a_challenge_is_good_for_a_minute_and_then_forgotten() -> None:
    challenges = Challenges()
    used, late = challenges.issue(100.0), challenges.issue(100.0)
    challenges.check(signed(used), used, HUB, 100.0 + LIFETIME)
    with pytest.raises(RefusedError, match="61 s old"):
        challenges.check(signed(late), late, HUB, 101.0 + LIFETIME)
    fresh = challenges.issue(200.0)
    challenges.check(signed(fresh), fresh, HUB, 200.0)
    assert len(challenges._answered) == 1


def test_a_challenge_of_another_hub_or_an_earlier_run_is_refused() -> None:
    challenge = Challenges().issue(100.0)
    with pytest.raises(RefusedError, match="not one of this hub"):
        Challenges().check(signed(challenge), challenge, HUB, 100.0)


def test_a_login_signed_by_somebody_else_is_refused() -> None:
    challenges = Challenges()
    challenge = challenges.issue(0.0)
    with pytest.raises(RefusedError, match="not signed by its owner") as caught:
        challenges.check(signed(challenge, signer=MALLORY), challenge, HUB, 0.0)
    assert caught.value.reason is Reason.NOT_AUTHENTIC
    challenges.check(signed(challenge), challenge, HUB, 0.0)  # the failed attempt has not used it up


def test_a_login_for_another_hubs_name_is_refused_whatever_host_header_the_relaying_hub_sends() -> None:
    challenges = Challenges(frozenset({HUB, "hub.example:8443"}))
    challenge = challenges.issue(0.0)
    for host in (HUB, "evil.example"):
        with pytest.raises(RefusedError, match=r"named hub\.example or hub\.example:8443"):
            challenges.check(signed(challenge, audience="evil.example"), challenge, host, 0.0)
    challenges.check(signed(challenge, audience="hub.example:8443"), challenge, "behind-a-proxy", 0.0)


def test_an_owner_that_is_no_key_is_not_authentic() -> None:
    challenges = Challenges()
    challenge = challenges.issue(0.0)
    for raw in (bytes(32), b"\xff" * 32, b"\1" + bytes(31)):
        with pytest.raises(RefusedError, match="not signed by its owner"):
            challenges.check(Login(raw, bytes(64)), challenge, HUB, 0.0)


def test_a_flood_of_good_logins_is_refused_before_it_fills_the_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(challenge_module, "MOST_REMEMBERED", 2)
    challenges = Challenges()
    for _ in range(2):
        challenge = challenges.issue(0.0)
        challenges.check(signed(challenge), challenge, HUB, 0.0)
    challenge = challenges.issue(0.0)
    with pytest.raises(RefusedError) as caught:
        challenges.check(signed(challenge), challenge, HUB, 0.0)
    assert caught.value.reason is Reason.HUB_FULL
    later = challenges.issue(LIFETIME + 1)
    challenges.check(signed(later), later, HUB, LIFETIME + 1)


@given(st.binary(max_size=64), st.binary(min_size=64, max_size=64))
def test_no_challenge_or_signature_raises_anything_but_a_refusal(challenge: bytes, signature: bytes) -> None:
    with pytest.raises(RefusedError):
        Challenges().check(Login(ALICE.peer_id.raw, signature), challenge, HUB, 0.0)
