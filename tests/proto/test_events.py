"""Events: names and fields that programs rely on."""

import json
from dataclasses import fields, is_dataclass

import pytest

from holepunch.proto import events
from holepunch.proto.events import Event, Failed, PathSelected, StunAnswered

PUBLIC = [
    each
    for each in vars(events).values()
    if isinstance(each, type) and issubclass(each, Event) and each is not Event and each.__module__ == events.__name__
]


@pytest.mark.parametrize("event", PUBLIC, ids=lambda event: event.__name__)
def test_every_event_has_a_name_of_its_own_and_is_frozen(event: type[Event]) -> None:
    assert event.name
    assert [other for other in PUBLIC if other.name == event.name] == [event]
    assert is_dataclass(event)
    assert "event" not in {field.name for field in fields(event)}


def test_an_event_becomes_one_line_of_json_with_addresses_as_text() -> None:
    event = StunAnswered(session="0a0b0c0d", server=("192.0.2.1", 3478), mapped=("2001:db8::1", 5), rtt=0.0123456789)
    assert json.loads(json.dumps(event.to_json())) == {
        "event": "stun-answered",
        "session": "0a0b0c0d",
        "server": "192.0.2.1:3478",
        "mapped": "[2001:db8::1]:5",
        "rtt": 0.012346,
    }


def test_numbers_and_texts_stay_as_they_are() -> None:
    event = Failed(reason="no path", hint="try again", status=3)
    assert event.to_json() == {"event": "failed", "session": "", "reason": "no path", "hint": "try again", "status": 3}


def test_counts_are_not_mistaken_for_addresses() -> None:
    there = ("192.0.2.1", 1)
    event = PathSelected(path="direct", inner=there, outer=there, remote=there, rtt=0, elapsed=0, packets=3, tuples=2)
    assert event.to_json()["packets"] == 3
    assert event.to_json()["inner"] == "192.0.2.1:1"
