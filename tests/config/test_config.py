"""Settings: which source counts, and what a person is told of a mistake."""

from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holepunch.config import DEFAULT_STUN, Settings
from holepunch.config.options import OPTIONS
from holepunch.config.sources import line_of
from holepunch.errors import ConfigurationError

HUB, OTHER = "https://hub.example", "file:///mnt/share"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "config.toml"


def load(path: Path, toml: str = "", environ: dict[str, str] | None = None, **flags: object) -> Settings:
    if toml:
        path.write_text(toml, encoding="utf-8")
    return Settings.load(path, environ or {}, flags)


def refusal(path: Path, toml: str = "", environ: dict[str, str] | None = None, **flags: object) -> ConfigurationError:
    with pytest.raises(ConfigurationError) as caught:
        load(path, toml, environ, **flags)
    return caught.value


def test_every_setting_has_one_row_in_the_table() -> None:
    assert [field.name for field in fields(Settings)] == list(OPTIONS)


def test_without_anything_the_defaults_hold(path: Path) -> None:
    assert load(path) == Settings()
    assert Settings().stun == DEFAULT_STUN
    assert len(DEFAULT_STUN) >= 3


def test_flags_count_more_than_variables_these_more_than_the_file_that_more_than_defaults(path: Path) -> None:
    toml, environ = "punch_hops = 3", {"HOLEPUNCH_PUNCH_HOPS": "4"}
    assert load(path).punch_hops == "auto"
    assert load(path, toml).punch_hops == 3
    assert load(path, toml, environ).punch_hops == 4
    assert load(path, toml, environ, punch_hops="5").punch_hops == 5
    assert load(path, toml, environ, punch_hops=None, mediators=()).punch_hops == 4


def test_every_setting_can_be_said_in_each_of_the_three_places(path: Path) -> None:
    said: dict[str, tuple[str, str, Any, Any]] = {
        # name: TOML, variable, flag, what Settings holds
        "name": ('"me"', "me", "me", "me"),
        "mediators": (f'["{HUB}", "{OTHER}"]', f"{HUB} {OTHER}", (HUB, OTHER), (HUB, OTHER)),
        "stun": ('["192.0.2.1", "a.example:99"]', " 192.0.2.1  a.example:99", ("192.0.2.1", "a.example:99"), None),
        "relay": (f'["{HUB}"]', HUB, (HUB,), (HUB,)),
        "bind": ('"192.0.2.1:5000"', "192.0.2.1:5000", "192.0.2.1:5000", ("192.0.2.1", 5000)),
        "punch_hops": ("12", "12", "12", 12),
        "timeout": ("2.5", "2.5", 2.5, 2.5),
        "no_relay": ("true", "yes", True, True),
        "relay_only": ("true", "1", True, True),
        "proxy": ("true", "on", True, True),
        "pass_fd": ("true", "TRUE", True, True),
        "json": ("true", "true", True, True),
        "verbosity": ("2", "2", 2, 2),
    }
    assert said.keys() == OPTIONS.keys()
    for name, (toml, variable, flag, value) in said.items():
        expected = flag if value is None else value
        assert getattr(load(path, f"{name} = {toml}"), name) == expected
        path.unlink()
        assert getattr(load(path, environ={f"HOLEPUNCH_{name.upper()}": variable}), name) == expected
        assert getattr(load(path, **{name: flag}), name) == expected


def test_an_empty_list_is_a_list_and_another_empty_variable_says_nothing(path: Path) -> None:
    assert load(path, environ={"HOLEPUNCH_STUN": ""}).stun == ()
    assert load(path, "stun = []").stun == ()
    assert load(path, "json = true", {"HOLEPUNCH_JSON": "", "HOLEPUNCH_PUNCH_HOPS": ""}).json


def test_addresses_to_bind_are_read_in_all_forms(path: Path) -> None:
    for text, address in [
        ("192.0.2.1", ("192.0.2.1", 0)),
        ("[2001:DB8::1]:5", ("2001:db8::1", 5)),
        ("2001:db8::1", ("2001:db8::1", 0)),
        ("0.0.0.0:1194", ("0.0.0.0", 1194)),
        ("", None),
    ]:
        assert load(path, bind=text).bind == address


def test_a_switch_undoes_its_opposite_of_a_place_that_counts_less(path: Path) -> None:
    settings = load(path, "relay_only = true\nproxy = true", {"HOLEPUNCH_NO_RELAY": "1"}, pass_fd=True)
    assert (settings.no_relay, settings.relay_only) == (True, False)
    assert (settings.proxy, settings.pass_fd) == (False, True)
    assert load(path, "relay_only = true", {"HOLEPUNCH_NO_RELAY": "0"}).relay_only


def test_two_opposites_in_one_place_are_refused(path: Path) -> None:
    error = refusal(path, "\nno_relay = true\nrelay_only = true")
    assert str(error) == f"{path}, line 2: no_relay and {path}, line 3: relay_only exclude each other"
    path.unlink()
    error = refusal(path, environ={"HOLEPUNCH_PROXY": "1", "HOLEPUNCH_PASS_FD": "1"})
    assert str(error) == "HOLEPUNCH_PROXY and HOLEPUNCH_PASS_FD exclude each other"
    assert str(refusal(path, no_relay=True, relay_only=True)) == "--no-relay and --relay-only exclude each other"
    with pytest.raises(ConfigurationError, match="no_relay and relay_only exclude each other"):
        Settings(no_relay=True, relay_only=True)


@pytest.mark.parametrize(
    ("toml", "line", "message"),
    [
        ("# punch_hops = 1\npunch_hops = 99", 2, 'punch_hops is 99, expected "auto", or a number from 1 to 64'),
        ('\n\npunch_hops = "no"', 3, 'punch_hops is "no", expected "auto", or a number from 1 to 64'),
        ("punch_hops = true", 1, 'punch_hops is true, expected "auto", or a number from 1 to 64'),
        ("punch_hops = 7.0", 1, 'punch_hops is 7.0, expected "auto", or a number from 1 to 64'),
        ("timeout = 0", 1, "timeout is 0, expected seconds, more than 0"),
        ("timeout = nan", 1, "timeout is NaN, expected seconds, more than 0"),
        ("timeout = 2026-01-01", 1, "timeout is 2026-01-01, expected seconds, more than 0"),
        ('json = "yes"', 1, 'json is "yes", expected true or false'),
        ("json = 1", 1, "json is 1, expected true or false"),
        ("verbosity = 10", 1, "verbosity is 10, expected a number from -1 (quiet) to 9"),
        ('stun = "a.example"', 1, 'stun is "a.example", expected a list of HOST[:PORT]'),
        ('stun = [\n  "a.example",\n  7,\n]', 1, "stun contains 7, expected a list of HOST[:PORT]"),
        ('stun = ["a.example,b.example"]', 1, 'stun contains "a.example,b.example", expected a list of HOST[:PORT]'),
        ('stun = ["a.example:0"]', 1, 'stun contains "a.example:0", expected a list of HOST[:PORT]'),
        ('stun = ["stun:a.example:3478"]', 1, 'stun contains "stun:a.example:3478", expected a list of HOST[:PORT]'),
        ('x="""\nstun = 1\n"""\nstun = [1]', 1, "there is no setting x"),
        ("stun = []\n[stun2]\na = 1", 2, "there is no setting stun2"),
        ("bind.port = 1", 1, "bind is a table, expected IP[:PORT]"),
        ('bind = "localhost"', 1, "bind: 'localhost' is not an IP address, expected IP[:PORT]"),
        ('name = "my machine"', 1, "name: 'my machine' is not a name, expected a name of letters, digits, . _ and -"),
        ('mediators = ["hub.example"]', 1, "mediators: 'hub.example' is not a URL, expected a list of URLs"),
    ],
)
def test_a_mistake_in_the_file_is_named_with_its_line_and_what_is_allowed(
    path: Path, toml: str, line: int, message: str
) -> None:
    assert str(refusal(path, toml)) == f"{path}, line {line}: {message}"


@pytest.mark.parametrize(
    ("toml", "line"),
    [("json = ", 1), ("json = true\njson = false", 2), ("\nno quotes", 2), ('\n\nname = """', 3), ("a = [1,\n2", 2)],
)
def test_what_is_not_toml_is_named_with_its_line(path: Path, toml: str, line: int) -> None:
    error = refusal(path, toml)
    assert str(error).startswith(f"{path}, line {line}: not TOML: ")
    assert "(at" not in str(error)


def test_an_unknown_key_is_named_with_the_one_that_was_meant(path: Path) -> None:
    error = refusal(path, 'json = true\nmediator = ["x"]')
    assert str(error) == f"{path}, line 2: there is no setting mediator"
    assert error.hint.startswith("Did you mean mediators?  The settings are name, mediators, stun,")
    assert refusal(path, "punch-hops = 1").hint.startswith("Did you mean punch_hops?")


@pytest.mark.parametrize(
    ("variable", "text", "message"),
    [
        ("PUNCH_HOPS", "99", 'HOLEPUNCH_PUNCH_HOPS is 99, expected "auto", or a number from 1 to 64'),
        ("PUNCH_HOPS", "many", 'HOLEPUNCH_PUNCH_HOPS is "many", expected "auto", or a number from 1 to 64'),
        ("TIMEOUT", "-1", "HOLEPUNCH_TIMEOUT is -1, expected seconds, more than 0"),
        ("JSON", "maybe", 'HOLEPUNCH_JSON is "maybe", expected true or false'),
        ("MEDIATORS", f"{HUB},{OTHER} x", "HOLEPUNCH_MEDIATORS: 'x' is not a URL, expected a list of URLs"),
        (
            "STUN",
            "a.example,b.example",
            'HOLEPUNCH_STUN contains "a.example,b.example", expected a list of HOST[:PORT]',
        ),
        ("BIND", "nowhere", "HOLEPUNCH_BIND: 'nowhere' is not an IP address, expected IP[:PORT]"),
    ],
)
def test_a_mistake_in_a_variable_is_named_with_the_variable(path: Path, variable: str, text: str, message: str) -> None:
    assert str(refusal(path, environ={f"HOLEPUNCH_{variable}": text})) == message


def test_a_misspelt_variable_is_refused_and_those_of_others_are_left_alone(path: Path) -> None:
    error = refusal(path, environ={"HOLEPUNCH_MEDIATOR": HUB})
    assert (str(error), error.hint) == (
        "there is no variable HOLEPUNCH_MEDIATOR",
        "Did you mean HOLEPUNCH_MEDIATORS?",
    )
    told = [
        "HOME",
        "INNER",
        "OUTER",
        "PEER",
        "PEER_NAME",
        "PEER_FINGERPRINT",
        "ROLE",
        "PATH",
        "SESSION",
        "SECRET",
        "FD",
    ]
    others = ["EMAIL_PASSWORD", "RELAY_KEY", "HUB_TOKEN"]
    assert load(path, environ={f"HOLEPUNCH_{name}": "x" for name in told + others}) == Settings()


def test_a_mistake_in_a_flag_is_named_with_the_flag(path: Path) -> None:
    assert str(refusal(path, punch_hops="0")) == '--punch-hops is 0, expected "auto", or a number from 1 to 64'
    assert str(refusal(path, mediators=("x",))) == "--mediator: 'x' is not a URL, expected a list of URLs"
    assert str(refusal(path, timeout=0.0)) == "--timeout is 0.0, expected seconds, more than 0"


def test_a_password_in_a_url_is_refused_and_not_repeated(path: Path) -> None:
    error = refusal(path, mediators=("https://me:secret@hub.example/x",))
    assert "https://hub.example/x' carries a password" in str(error)
    assert "secret" not in str(error) + error.hint


def test_settings_made_by_a_program_are_checked_too() -> None:
    assert Settings(bind=("2001:DB8::1", 5), mediators=(HUB, HUB)) == Settings(
        bind=("2001:db8::1", 5), mediators=(HUB,)
    )
    with pytest.raises(ConfigurationError, match=r"mediators is .*, expected a list of URLs"):
        Settings(mediators=HUB)  # type: ignore[arg-type]
    with pytest.raises(ConfigurationError, match="punch_hops is 65"):
        Settings(punch_hops=65)


def test_a_file_that_cannot_be_read_is_one_sentence(path: Path) -> None:
    path.mkdir()
    assert str(refusal(path)) == f"cannot read {path}: Is a directory"
    path.rmdir()
    path.write_bytes(b"json = true\nname = '\xff'")
    assert str(refusal(path)) == f"{path}, line 2: not UTF-8 text"
    path.write_bytes(b"\xef\xbb\xbfjson = true\r\n")  # as Windows editors begin and end lines
    assert load(path).json


SAMPLE = '''# json = 1
name = "a"   # json
mediators = [
  "https://hub.example", # json = true
]
[stun]
json = 1
text = """
json = 2
[json]
"""
[json]
'''


@pytest.mark.parametrize(("name", "line"), [("name", 2), ("mediators", 3), ("stun", 6), ("json", 12)])
def test_the_line_is_that_of_the_statement_not_of_the_word(name: str, line: int) -> None:
    assert line_of(SAMPLE, name) == line


@given(st.permutations(["a = 1", "b = [\n1,\n\n2]", 'c = """\na = 1\n\nb = 2"""', "# d", "", "e.f = 1", 'g = "#"']))
def test_the_line_of_every_key_is_where_its_statement_begins(statements: list[str]) -> None:
    text = "\n".join(statements)
    line = 1
    for statement in statements:
        if statement and statement[0] != "#":
            assert line_of(text, statement[0]) == line
        line += statement.count("\n") + 1
