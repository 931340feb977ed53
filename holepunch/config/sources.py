"""Where settings come from: flags, HOLEPUNCH_* variables, and config.toml.

Whatever is wrong is named with the place where it stands: the flag, the variable, or the file and line.
"""

import re
import tomllib
from collections.abc import Callable, Iterator, Mapping
from difflib import get_close_matches
from pathlib import Path

from ..errors import ConfigurationError
from .options import OPTIONS, read, words

EXCLUSIVE = (("no_relay", "relay_only"), ("proxy", "pass_fd"))
"""Pairs of switches of which one rules the other out."""
PREFIX = "HOLEPUNCH_"

# Variables that are not settings, and so no misspelt ones: where the home is, and what a command is told.
_OTHER_VARIABLES = {
    PREFIX + name
    for name in (
        "HOME", "INNER", "OUTER", "PEER", "PEER_NAME", "PEER_FINGERPRINT", "ROLE", "PATH", "SESSION", "SECRET",
        "FD", "CERT", "KEY",
    )
}  # fmt: skip


def refuse_both(values: Mapping[str, object], place: Callable[[str], str]) -> None:
    """Refuses two switches that rule each other out.

    Raises:
        ConfigurationError: both are on.
    """
    for one, other in EXCLUSIVE:
        if values.get(one) and values.get(other):
            raise ConfigurationError(
                f"{place(one)} and {place(other)} exclude each other", hint="Leave out one of them."
            )


def _unknown(place: str, name: str, known: list[str]) -> ConfigurationError:
    near = get_close_matches(name, known, n=1, cutoff=0.5)
    meant = f"Did you mean {near[0]}?  " if near else ""
    return ConfigurationError(f"{place}there is no setting {name}", hint=f"{meant}The settings are {', '.join(known)}.")


def from_flags(flags: Mapping[str, object]) -> dict[str, object]:
    """Reads what the command line says.

    Args:
        flags: by the names of the settings; None and () are not said.

    Raises:
        ConfigurationError: a value is not allowed, or two exclude each other.
    """
    values: dict[str, object] = {}
    for name, value in flags.items():
        option = OPTIONS[name]
        if value is not None and value != ():
            raw = option.from_text(value) if isinstance(value, str) else value
            values[name] = read(option, option.flag, raw)
    refuse_both(values, lambda name: OPTIONS[name].flag)
    return values


def from_environment(environ: Mapping[str, str]) -> dict[str, object]:
    """Reads the variables HOLEPUNCH_*.

    Raises:
        ConfigurationError: a value is not allowed, two exclude each other, or a name is nearly that of a setting.
    """
    variables = {PREFIX + name.upper(): name for name in OPTIONS}
    values: dict[str, object] = {}
    for variable, text in environ.items():
        if name := variables.get(variable):
            option = OPTIONS[name]
            # An empty list is a list; elsewhere an empty variable says nothing, as a shell's `VAR= command` means it.
            if text.strip() or option.from_text is words:
                values[name] = read(option, variable, option.from_text(text))
        # Plug-ins have variables of their own, so only what is nearly one of ours is taken for a mistake.
        elif variable not in _OTHER_VARIABLES and (near := get_close_matches(variable, variables, n=1, cutoff=0.92)):
            raise ConfigurationError(f"there is no variable {variable}", hint=f"Did you mean {near[0]}?")
    refuse_both(values, lambda name: PREFIX + name.upper())
    return values


def from_file(path: Path) -> dict[str, object]:
    """Reads config.toml; where there is none, nothing is said.

    Raises:
        ConfigurationError: it cannot be read or is not TOML, a key is unknown, a value is not allowed, or two
            exclude each other; the text has the file and the line.
    """
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise ConfigurationError(f"cannot read {path}: {error.strerror}", hint="Look at its permissions.") from error
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        raise ConfigurationError(f"{path}, line {line}: not UTF-8 text") from error
    text = text.replace("\r\n", "\n")
    try:
        table = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise _not_toml(path, text, str(error)) from error

    def place(name: str) -> str:
        return f"{path}, line {line_of(text, name)}: "

    values: dict[str, object] = {}
    for name, value in table.items():
        if name not in OPTIONS:
            raise _unknown(place(name), name, list(OPTIONS))
        values[name] = read(OPTIONS[name], place(name) + name, value)
    refuse_both(values, lambda name: place(name) + name)
    return values


def _not_toml(path: Path, text: str, message: str) -> ConfigurationError:
    """Returns the error for a file that TOML itself refuses; tomllib says where in its message only."""
    match = re.search(r" \(at (?:line (\d+), column \d+|end of document)\)$", message)
    line = match[1] if match and match[1] else str(text.count("\n") + 1)
    reason = message[: match.start()] if match else message
    return ConfigurationError(
        f"{path}, line {line}: not TOML: {reason}", hint='Write for example: mediators = ["https://hub.example"]'
    )


def line_of(text: str, name: str) -> int:
    """Returns the line, from 1, in which the statement begins that sets a top-level key.

    tomllib keeps no line numbers, and a search for the name would find it in comments and strings as well.
    So this asks tomllib: the statement begins after the longest beginning of the text that parses without
    the key and is followed by one that parses with it.  A statement over several lines parses only when it
    is whole.  O(lines) parses, spent only on a file that is wrong.

    Args:
        text: TOML that parses.
        name: one of its top-level keys.
    """
    last = 0
    for number, beginning in _beginnings(text):
        try:
            table = tomllib.loads(beginning)
        except tomllib.TOMLDecodeError:
            continue
        if name in table:
            break
        last = number
    return last + 1


def _beginnings(text: str) -> Iterator[tuple[int, str]]:
    """Yields the first line, the first two, and so on, each with its number of lines."""
    end = 0
    for number, line in enumerate(text.split("\n"), start=1):
        end += len(line) + 1
        yield number, text[:end]
