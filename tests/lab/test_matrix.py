"""Whole peers through real kernel NATs: a sample of what scripts/bench matrix runs in full."""

import sys
from pathlib import Path

import pytest

from holepunch.testing.netlab import Lab, Outcome, Peers, build_pair

pytestmark = pytest.mark.lab

COMMAND = f"{sys.executable} {Path(__file__).parents[2] / 'examples' / 'udp_echo.py'}"

# Each kind once on each side at least, and the pairs in which an early packet does harm.
OPENABLE = [
    ("eim-apdf eim-apdf", "file"),
    ("eim-apdf eim-apdf", "http"),
    ("strict clash", "file"),
    ("clash strict", "http"),
    ("strict strict", "file"),
    ("clash clash", "file"),
    ("public firewall", "file"),
    ("firewall public", "http"),
    ("eim-eif random-apdf", "file"),
    ("random-apdf eim-adf", "file"),
    ("eim-adf sequential-apdf", "http"),
    ("sequential-adf eim-eif", "file"),
    ("eim-adf random-adf", "file"),
    ("double strict", "file"),
    ("clash double", "http"),
    ("ipv6 ipv6", "file"),
    ("same-lan", "file"),
    ("common-cgnat-hairpin", "http"),
    ("equal-networks", "file"),
]


def attempt(folder: Path, name: str, mediator: str, loss: float = 0.0) -> Outcome:
    """Lets the peers of a pair meet once, in a laboratory of their own."""
    with Lab(rtt=0.04, loss=loss) as lab:
        peers = Peers(lab, build_pair(lab, name), folder)
        return peers.attempt(peers.mediator(mediator), COMMAND)


@pytest.mark.parametrize(("name", "mediator"), OPENABLE)
def test_a_pair_that_plain_punching_can_open_is_opened(tmp_path: Path, name: str, mediator: str) -> None:
    outcome = attempt(tmp_path, name, mediator)
    assert outcome.opened, (outcome, outcome.events)


@pytest.mark.parametrize("name", ["eim-apdf strict", "clash eim-adf", "strict double"])
def test_a_lost_packet_here_and_there_does_not_matter(tmp_path: Path, name: str) -> None:
    outcome = attempt(tmp_path, name, "file", loss=0.05)
    assert outcome.opened, (outcome, outcome.events)


@pytest.mark.parametrize("name", ["eim-apdf random-apdf", "random-adf strict", "common-cgnat"])
def test_a_pair_that_cannot_be_opened_ends_with_status_three_and_a_reason(tmp_path: Path, name: str) -> None:
    outcome = attempt(tmp_path, name, "file")
    assert not outcome.opened
    assert outcome.statuses[0] == 3
    assert outcome.sentence
