"""Events as a person and as a program see them."""

import io
import json
import logging
import re
import sys
from dataclasses import fields
from typing import Any

import pytest
from rich.console import Console

from holepunch.cli import render
from holepunch.cli.live import View
from holepunch.cli.render import JsonRenderer, LiveRenderer, PlainRenderer, make_renderer
from holepunch.cli.sentences import _SENTENCES, EVERYTHING, count, describe, duration
from holepunch.log import get_logger
from holepunch.proto import events
from holepunch.proto.machine import Address

PEER: Address = ("198.51.100.2", 5000)
S = "abcd1234"

GATHERING: list[events.Event] = [
    events.CandidateFound(kind="host", address=("192.168.1.7", 40112)),
    events.StunAnswered(server=("192.0.2.1", 3478), mapped=("203.0.113.9", 40112), rtt=0.0213),
    events.CandidateFound(kind="server-reflexive", address=("203.0.113.9", 40112)),
    events.Gathered(candidates=2, mapping="endpoint-independent", hops=2, elapsed=0.312),
]
EXCHANGE: list[events.Event] = [
    events.OfferSent(session=S, kind="invite", mediator="file:///shared"),
    events.OfferFailed(session=S, kind="invite", mediator="http://hub", reason="connection refused"),
    events.OfferReceived(session=S, kind="accept", mediator="file:///shared", peer="remote", candidates=4),
    events.StepBegun(session=S, strategy="prime", targets=2),
    events.StepBegun(session=S, strategy="check", targets=0),
    events.PeerHeard(session=S, remote=PEER),
]
SUCCESS: list[events.Event] = [
    events.PathValid(session=S, remote=PEER, kind="server-reflexive", rtt=0.0834),
    events.PathSelected(
        session=S, path="direct", inner=("192.168.1.7", 40112), outer=("203.0.113.9", 40112), remote=PEER,
        rtt=0.0834, elapsed=0.254, packets=12, tuples=3,
    ),
]  # fmt: skip
FAILURE = events.Failed(session=S, reason="no path to remote", hint="Use a relay.", status=3)


def picture(view: View) -> str:
    console = Console(file=io.StringIO(), width=100, color_system=None, legacy_windows=False)
    console.print(view)
    out = console.file
    assert isinstance(out, io.StringIO)
    return "\n".join(line.rstrip() for line in out.getvalue().splitlines())


def view_of(*happened: events.Event, several: bool = False) -> View:
    now = iter(range(10_000))
    view = View(lambda: float(next(now)), several=several)
    for event in happened:
        view.take(event)
    return view


def sample(kind: type[events.Event]) -> events.Event:
    """Returns an event of a kind, with a value of the right type in each field."""
    by_type: dict[Any, Any] = {str: "word", int: 3, float: 0.25, Address: PEER}
    return kind(**{field.name: by_type[field.type] for field in fields(kind)})


EVENTS = [kind for kind in vars(events).values() if isinstance(kind, type) and issubclass(kind, events.Event)
          and kind is not events.Event]  # fmt: skip


@pytest.mark.parametrize("kind", EVENTS, ids=lambda kind: kind.name)
def test_every_event_has_a_sentence_a_json_line_and_a_place_in_the_picture(kind: type[events.Event]) -> None:
    assert kind in _SENTENCES
    event = sample(kind)
    _, sentence = describe(event)
    assert sentence
    assert not sentence.endswith(".")
    assert json.dumps(event.to_json())
    assert picture(view_of(event))
    assert picture(view_of(event, several=True))


def test_an_event_of_tomorrow_is_shown_to_those_who_want_everything() -> None:
    class Tomorrow(events.Event):
        name = "tomorrow"

    assert describe(Tomorrow(session=S)) == (EVERYTHING, f"tomorrow session={S}")


def test_durations_and_counts_have_the_unit_a_person_would_use() -> None:
    assert [duration(s) for s in (0.00085, 0.0234, 0.9994, 1.44, 119, 720)] == [
        "850 us", "23 ms", "999 ms", "1.4 s", "119.0 s", "12 min",
    ]  # fmt: skip
    assert [count(n, "hop") for n in (0, 1, 2)] == ["0 hops", "1 hop", "2 hops"]


def test_the_picture_shows_what_is_being_tried() -> None:
    shown = picture(view_of(events.Started(role="connect", peer="remote"), *GATHERING, *EXCHANGE))
    assert re.search(r"^. remote +\d", shown)
    assert "✓ addresses 2 candidates in 312 ms, mapping endpoint-independent, 2 hops to leave our NATs" in shown
    assert "server-reflexive 203.0.113.9:40112" in shown
    assert "invite sent by file:///shared; accept received by file:///shared (4 candidates)" in shown
    assert "http://hub: connection refused" in shown
    assert "prime → check, 2 targets; heard 198.51.100.2:5000" in shown


def test_the_last_picture_is_a_summary() -> None:
    shown = picture(view_of(events.Started(role="connect", peer="remote"), *GATHERING, *EXCHANGE, *SUCCESS))
    assert "✓ path      direct to 198.51.100.2:5000, 83 ms there and back, found in 254 ms with 12 packets" in shown
    assert "192.168.1.7" not in shown


def test_a_failure_marks_the_line_where_it_stopped() -> None:
    shown = picture(view_of(events.Started(role="connect", peer="remote"), *GATHERING, *EXCHANGE, FAILURE))
    assert re.search("✗ remote +failed after", shown)
    assert "no path to remote" not in shown, "the program says it, and its hint, below the picture"
    assert "✓ offer" in shown
    assert "✗ path" in shown


def test_an_attempt_that_was_stopped_has_no_mark_of_success() -> None:
    closed = events.SessionClosed(session=S, reason="closed by this side")
    shown = picture(view_of(events.Started(role="connect", peer="remote"), *GATHERING, EXCHANGE[0], closed))
    assert re.search("✗ remote +stopped after", shown)
    assert "invite sent by file:///shared; no answer" in shown


def test_loopback_is_shown_only_where_there_is_nothing_else() -> None:
    lo = events.CandidateFound(kind="host", address=("127.0.0.1", 9))
    assert "127.0.0.1:9" in picture(view_of(lo))
    assert "127.0.0.1:9" not in picture(view_of(lo, GATHERING[0]))


def test_an_acceptor_shows_its_peers_side_by_side() -> None:
    view = view_of(
        *GATHERING,
        events.Waiting(mediators=2),
        *EXCHANGE,
        events.OfferReceived(session="ffff0000", kind="invite", mediator="paste:", peer="berlin", candidates=1),
        several=True,
    )
    shown = picture(view)
    assert "waiting for peers on 2 mediators" in shown
    assert "remote" in shown
    assert "berlin" in shown
    view.take(FAILURE)
    assert "Use a relay." in picture(view)
    view.forget(S)
    assert "remote" not in picture(view)


def test_a_hundred_peers_do_not_fill_the_screen() -> None:
    many = [
        events.OfferReceived(session=f"{n:08x}", kind="invite", mediator="paste:", peer=f"peer{n}", candidates=1)
        for n in range(100)
    ]
    shown = picture(view_of(*many, several=True))
    assert len(shown.splitlines()) < 30
    assert "and 94 more sessions" in shown


def test_a_machine_with_many_addresses_does_not_fill_the_screen() -> None:
    found = [events.CandidateFound(kind="host", address=("10.0.0.1", port)) for port in range(1, 21)]
    assert "and 14 more" in picture(view_of(*found))


def test_json_has_one_object_per_line_with_the_event_first_and_unix_time() -> None:
    out = io.StringIO()
    renderer = JsonRenderer(out, clock=lambda: 1_700_000_000.1234567)
    for event in [*GATHERING, *EXCHANGE, *SUCCESS, FAILURE]:
        renderer(event)
    lines = [json.loads(line) for line in out.getvalue().splitlines()]
    assert all(list(line)[:2] == ["event", "t"] for line in lines)
    assert {line["t"] for line in lines} == {1_700_000_000.123457}
    selected = next(line for line in lines if line["event"] == "path-selected")
    assert selected["remote"] == "198.51.100.2:5000"
    assert lines[-1]["status"] == 3


def plain(verbosity: int, *happened: events.Event, single: bool = True) -> list[str]:
    out = io.StringIO()
    renderer = PlainRenderer(verbosity, out, single=single)
    for event in happened:
        renderer(event)
    return out.getvalue().splitlines()


def test_plain_lines_say_the_main_steps_and_more_when_asked() -> None:
    told = [plain(verbosity, *GATHERING, *EXCHANGE, *SUCCESS) for verbosity in (-1, 0, 1, 2)]
    assert told[0] == []
    assert told[1][0] == "holepunch: invite sent by file:///shared"
    assert told[1][-1].startswith("holepunch: direct path to 198.51.100.2:5000, 83 ms there and back")
    assert len(told[1]) < len(told[2]) == len(told[3])


def test_the_failure_of_a_single_peer_is_left_to_the_program_and_that_of_one_of_many_is_not() -> None:
    assert plain(0, FAILURE) == []
    closed = events.SessionClosed(session=S, reason="no path to remote")
    lines = plain(0, EXCHANGE[2], FAILURE, closed, single=False)
    assert lines[1:] == ["holepunch: remote: no path to remote; Use a relay."], "and it is said once"


class Terminal(io.StringIO):
    """A stream that says that it is a terminal."""

    def isatty(self) -> bool:
        return True


def use_terminal(monkeypatch: pytest.MonkeyPatch) -> Terminal:
    """Makes stderr a terminal; called by the test itself, since pytest captures anew for each phase of a test."""
    out = Terminal()
    monkeypatch.setattr(sys, "stderr", out)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "100")
    return out


def test_a_terminal_gets_the_picture_unless_something_else_was_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    use_terminal(monkeypatch)

    def chosen(*, quiet: bool = False, **flags: bool) -> str:
        options = {"as_json": False, "single": True, "command": False, "interactive": False} | flags
        made = make_renderer(verbosity=-1 if quiet else 0, **options)
        made.close()
        return type(made).__name__

    assert chosen() == "LiveRenderer"
    assert chosen(as_json=True) == "JsonRenderer"
    assert chosen(quiet=True) == chosen(interactive=True) == "PlainRenderer"
    monkeypatch.setenv("TERM", "dumb")
    assert chosen() == "PlainRenderer"


def test_json_goes_to_stdout_unless_a_command_owns_it(capsys: pytest.CaptureFixture[str]) -> None:
    for command in (False, True):
        make_renderer(as_json=True, verbosity=0, single=True, command=command, interactive=False)(FAILURE)
        captured = capsys.readouterr()
        assert bool(captured.out) is not command
        assert bool(captured.err) is command


def is_drawing(renderer: LiveRenderer) -> bool:
    return renderer._live is not None


def test_the_picture_gives_the_terminal_back_to_a_command_and_returns(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = use_terminal(monkeypatch)
    renderer = LiveRenderer(0, single=False, clock=lambda: 0.0)
    for event in [*EXCHANGE, *SUCCESS, events.SessionReady(session=S)]:
        renderer(event)
    assert not is_drawing(renderer)
    before = len(terminal.getvalue())
    renderer(events.PathLost(session=S, remote=PEER, silent=12.0))
    assert terminal.getvalue()[before:].startswith("holepunch: remote: the path to 198.51.100.2:5000 is lost")
    renderer(events.SessionClosed(session=S, reason="the command ended"))
    assert is_drawing(renderer)
    renderer.close()
    renderer.close()


def test_endpoints_are_three_lines_on_stdout(capsys: pytest.CaptureFixture[str]) -> None:
    render.write_endpoints(
        {"inner": "10.0.0.1:1", "outer": "203.0.113.9:2", "peer": "198.51.100.2:3", "path": "direct"}
    )
    assert capsys.readouterr().out == "inner 10.0.0.1:1\nouter 203.0.113.9:2\npeer 198.51.100.2:3\n"


def test_the_log_is_shown_through_the_renderer_and_left_as_it_was(capsys: pytest.CaptureFixture[str]) -> None:
    logger = logging.getLogger("holepunch")
    before = list(logger.handlers), logger.level, logger.propagate
    for verbosity, expected in ((-1, 0), (0, 1), (1, 2), (2, 3)):
        with render.show_logs(JsonRenderer(io.StringIO()), verbosity):
            log = get_logger("sample")
            log.warning("trouble", remote="x")
            log.info("done")
            log.debug("detail")
        assert len(capsys.readouterr().err.splitlines()) == expected
        assert (logger.handlers, logger.level, logger.propagate) == before
