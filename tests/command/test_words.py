"""From the text of `--exec` to an argument list, and what is refused on the way."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holepunch import command
from holepunch.command.words import Endpoints, expand
from holepunch.errors import ConfigurationError
from tests.command.examples import ENDPOINTS


def test_a_command_is_split_as_a_shell_would_and_nothing_is_expanded() -> None:
    assert command.parse_command("""run 'a b' "c d"\\ e $HOME *.py ; rm""") == [
        "run", "a b", "c d e", "$HOME", "*.py", ";", "rm",
    ]  # fmt: skip


@pytest.mark.parametrize("text", ["", "   ", "run 'a"])
def test_what_is_no_command_is_a_configuration_error(text: str) -> None:
    with pytest.raises(ConfigurationError, match="command"):
        command.parse_command(text)


def test_without_a_placeholder_the_six_classic_arguments_are_appended() -> None:
    assert expand(["run", "-x"], ENDPOINTS) == [
        "run", "-x", "192.168.1.2", "5000", "203.0.113.5", "6000", "2001:db8::1", "7000",
    ]  # fmt: skip


def test_placeholders_are_replaced_inside_words() -> None:
    argv = ["run", "--on={inner}", "{inner_ip}/{inner_port}", "{outer}", "{peer}", "{peer_ip}", "{peer_name}:{role}"]
    assert expand(argv, ENDPOINTS) == [
        "run", "--on=192.168.1.2:5000", "192.168.1.2/5000", "203.0.113.5:6000", "[2001:db8::1]:7000", "2001:db8::1",
        "remote:accept",
    ]  # fmt: skip


def test_a_value_is_never_read_again_and_other_braces_stay() -> None:
    sly = Endpoints(
        inner=("1.2.3.4", 1), outer=("1.2.3.4", 2), peer=("1.2.3.4", 3), peer_name="{role}; rm", role="accept"
    )
    assert expand(["{peer_name}", "${HOME}", "{}", "{inner_port"], sly) == [
        "{role}; rm", "${HOME}", "{}", "{inner_port",
    ]  # fmt: skip


@given(st.lists(st.text(st.characters(exclude_characters="{}")), min_size=1))
def test_words_without_braces_pass_unchanged(argv: list[str]) -> None:
    assert expand(argv, ENDPOINTS)[: len(argv)] == argv


def test_a_program_that_is_not_there_is_told_before_anything_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    command.check_command(["sh"])
    with pytest.raises(ConfigurationError, match="no-such-program is not found"):
        command.check_command(["no-such-program"])
    script = tmp_path / "script.sh"
    script.write_text("#!/bin/sh\n")
    with pytest.raises(ConfigurationError, match="not executable") as info:
        command.check_command([str(script)])
    assert info.value.hint.startswith("chmod +x")
    script.chmod(0o700)
    command.check_command([str(script)])
    with pytest.raises(ConfigurationError, match="is a folder"):
        command.check_command([str(tmp_path)])
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigurationError) as info:
        command.check_command(["script.sh"])
    assert "./script.sh" in info.value.hint
