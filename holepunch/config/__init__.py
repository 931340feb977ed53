"""Settings: flags before HOLEPUNCH_* variables, these before config.toml, that before defaults.

    mediators = ["https://hub.example"]      --mediator https://hub.example      HOLEPUNCH_MEDIATORS
    punch_hops = 5                           --punch-hops 5                      HOLEPUNCH_PUNCH_HOPS

A variable that is a list has its items apart by spaces.  options.py has the table of what each may be;
sources.py reads the three places.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from ..proto.machine import Address
from . import sources
from .options import OPTIONS, read

CONNECT_TIMEOUT = 60.0
"""Seconds that `connect` tries where nothing else is said; `accept` then has no limit."""
DEFAULT_STUN = (
    "stun.l.google.com:19302",
    "stun.cloudflare.com:3478",
    "stun.nextcloud.com:443",
    "stun.sipgate.net:3478",
    "stunserver2025.stunprotocol.org:3478",
)
"""Public servers of different operators, so that one that lies or is down is outvoted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """How to do what is asked.

    Raises:
        ConfigurationError: a value is not allowed, or two exclude each other.
    """

    name: str = ""
    """What this machine calls itself in offers; empty: the name its identity was made with."""
    mediators: tuple[str, ...] = ()
    """URLs of the channels to peers; all are used at once."""
    stun: tuple[str, ...] = DEFAULT_STUN
    """STUN servers, HOST[:PORT]; empty: none."""
    relay: tuple[str, ...] = ()
    """URLs of hubs that relay where no direct path exists."""
    bind: Address | None = None
    """The inner endpoint, (host, port), port 0 for a free one; None: any address, a free port."""
    punch_hops: int | Literal["auto"] = "auto"
    """TTL of the first packets, 1-64; auto: measured."""
    timeout: float | None = None
    """Seconds until a path must be there; None: CONNECT_TIMEOUT to connect, no limit to accept."""
    no_relay: bool = False
    """A direct path or none."""
    relay_only: bool = False
    """Never tell the peer our addresses."""
    proxy: bool = False
    """Keep the socket, and give the command a loopback one."""
    pass_fd: bool = False
    """Give the command the open socket."""
    json: bool = False
    """Events as JSON, one per line."""
    verbosity: int = 0
    """-1 quiet, 0 as usual, 1 more, 2 everything."""

    def __post_init__(self) -> None:
        for name, option in OPTIONS.items():
            object.__setattr__(self, name, read(option, name, getattr(self, name)))
        sources.refuse_both({name: getattr(self, name) for name in OPTIONS}, str)

    @classmethod
    def load(
        cls, path: Path, environ: Mapping[str, str] | None = None, flags: Mapping[str, object] | None = None
    ) -> "Settings":
        """Returns the settings of one run.

        Args:
            path: config.toml (Home.settings_path); it need not exist.
            environ: the environment; None for that of the process.
            flags: what the command line says, by the names of the fields; None and () are not said.

        Raises:
            ConfigurationError: something is unknown or not allowed; the text says what, and where it stands.
        """
        values: dict[str, object] = {}
        _add(values, sources.from_file(path))
        _add(values, sources.from_environment(os.environ if environ is None else environ))
        _add(values, sources.from_flags(flags or {}))
        return cls(**values)  # type: ignore[arg-type]  # each value is what its option's reader returned


def _add(values: dict[str, object], more: dict[str, object]) -> None:
    """Lays one source over those that count less."""
    for pair in sources.EXCLUSIVE:
        if any(more.get(name) for name in pair):
            values.update(dict.fromkeys(pair, False))
    values.update(more)
