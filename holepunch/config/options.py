"""What each setting may be, and how it is read: one table.

A value comes from TOML as an int, a list and so on, from a variable as text.  Text is first turned into what
TOML would have given (`from_text`), so one reader judges all.
"""

import ipaddress
import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from ..errors import ConfigurationError
from ..home.peers import check_name, check_url
from ..proto.address import canonical_host, parse_address
from ..proto.machine import Address

STUN_PORT = 3478  # RFC 8489, 14.1

_LABEL = "[A-Za-z0-9_]([A-Za-z0-9_-]*[A-Za-z0-9_])?"
_HOST = re.compile(rf"(?=.{{1,253}}$){_LABEL}(\.{_LABEL})*\.?")


class _WrongError(Exception):
    """A value is not what the option allows; holds the value, or the part of it that is wrong."""


# How values are read: from what TOML or a flag gives to what Settings holds.


def _switch(value: object) -> bool:
    if not isinstance(value, bool):
        raise _WrongError(value)
    return value


def _seconds(value: object) -> float | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < float("inf"):
        raise _WrongError(value)
    return float(value)


def _hops(value: object) -> int | Literal["auto"]:
    if value == "auto":
        return "auto"
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= 64:
        raise _WrongError(value)
    return value


def _verbosity(value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not -1 <= value <= 9:
        raise _WrongError(value)
    return value


def _name(value: object) -> str:
    if not isinstance(value, str):
        raise _WrongError(value)
    return check_name(value) if value else ""


def _bind(value: object) -> Address | None:
    if value is None or value == "":
        return None
    if isinstance(value, tuple) and len(value) == 2:
        host, port = value
    elif isinstance(value, str):
        host, port = parse_address(value, default_port=0)
    else:
        raise _WrongError(value)
    if not isinstance(host, str) or not isinstance(port, int) or not 0 <= port <= 65535:
        raise _WrongError(value)
    return canonical_host(host), port


def _server(text: str) -> str:
    host, port = parse_address(text, default_port=STUN_PORT)
    if ":" in host:
        ipaddress.IPv6Address(host)
    elif not _HOST.fullmatch(host):
        raise _WrongError(text)
    if port == 0:
        raise _WrongError(text)
    return text


def _list_of(read: Callable[[str], str]) -> Callable[[object], tuple[str, ...]]:
    def read_list(value: object) -> tuple[str, ...]:
        if not isinstance(value, list | tuple):
            raise _WrongError(value)
        items = []
        for item in value:
            if not isinstance(item, str):
                raise _WrongError(item)
            try:
                items.append(read(item))
            except ValueError as error:
                raise _WrongError(item) from error
        return tuple(dict.fromkeys(items))

    return read_list


# How variables, which are text, become what TOML would have given; what does not fit is left for the reader to refuse.


def _text(value: str) -> object:
    return value


def words(value: str) -> object:
    """Reads a list from text: its items are apart by spaces, for a URL has none."""
    return value.split()


def _boolean(value: str) -> object:
    words = {"1": True, "true": True, "yes": True, "on": True, "0": False, "false": False, "no": False, "off": False}
    return words.get(value.strip().lower(), value)


def _number(value: str) -> object:
    for convert in (int, float):
        try:
            return convert(value)
        except ValueError:
            continue
    return value.strip()


@dataclass(frozen=True, slots=True)
class Option:
    """One setting."""

    flag: str
    expected: str
    """What it may be, for a person."""
    read: Callable[[object], Any]
    """Returns what Settings holds."""
    from_text: Callable[[str], object]
    """Turns the text of a variable or flag into what TOML would have given."""


_ON_OFF = "true or false"
OPTIONS: dict[str, Option] = {
    "name": Option("--name", "a name of letters, digits, . _ and -", _name, _text),
    "mediators": Option("--mediator", "a list of URLs", _list_of(check_url), words),
    "stun": Option("--stun", "a list of HOST[:PORT]", _list_of(_server), words),
    "relay": Option("--relay", "a list of URLs", _list_of(check_url), words),
    "bind": Option("--bind", "IP[:PORT]", _bind, _text),
    "punch_hops": Option("--punch-hops", '"auto", or a number from 1 to 64', _hops, _number),
    "timeout": Option("--timeout", "seconds, more than 0", _seconds, _number),
    "no_relay": Option("--no-relay", _ON_OFF, _switch, _boolean),
    "relay_only": Option("--relay-only", _ON_OFF, _switch, _boolean),
    "proxy": Option("--proxy", _ON_OFF, _switch, _boolean),
    "pass_fd": Option("--pass-fd", _ON_OFF, _switch, _boolean),
    "json": Option("--json", _ON_OFF, _switch, _boolean),
    "verbosity": Option("-v", "a number from -1 (quiet) to 9", _verbosity, _number),
}


def read(option: Option, place: str, value: object) -> Any:
    """Returns what Settings holds for a value.

    Args:
        option: which setting.
        place: where the value stands, for a person.
        value: what TOML, a flag or a program gave.

    Raises:
        ConfigurationError: it is not what the option expects.
    """
    try:
        return option.read(value)
    except _WrongError as error:
        wrong = error.args[0]
        verb = "is" if wrong is value else "contains"
        raise ConfigurationError(f"{place} {verb} {_show(wrong)}, expected {option.expected}") from None
    except ConfigurationError as error:
        raise ConfigurationError(f"{place}: {error}, expected {option.expected}", hint=error.hint) from error


def _show(value: object) -> str:
    """Returns a value as a person wrote it."""
    if isinstance(value, dict):
        return "a table"
    try:
        return json.dumps(value, ensure_ascii=False)
    except TypeError:  # TOML's dates and times
        return str(value)
