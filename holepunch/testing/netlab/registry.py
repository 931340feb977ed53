"""Which laboratories are up on this machine, so that other processes find their hosts."""

import contextlib
import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...errors import ConfigurationError
from . import namespace
from .lab import Lab

DIRECTORY = Path("/run/holepunch-lab")


@dataclass(frozen=True, slots=True)
class Entry:
    """One laboratory."""

    id: str
    """`PID-NUMBER`, of the process it lives in."""
    pid: int
    description: dict[str, Any]
    """What Lab.describe returned."""

    @property
    def hosts(self) -> dict[str, str]:
        """Returns the namespace of each host and router, by name; `a` is short for `a.host`."""
        found = {}
        for site in self.description["sites"]:
            for host in reversed(site["hosts"]):
                found[host["name"]] = host["namespace"]
                found[site["name"]] = host["namespace"]
            found[f"{site['name']}.router"] = site["router"]
        return found

    @property
    def environment(self) -> dict[str, str]:
        """Returns what a holepunch in one of its hosts needs to know: the laboratory's STUN servers."""
        return {"HOLEPUNCH_LAB": self.id, "HOLEPUNCH_STUN": " ".join(self.description["stun"])}


def publish(lab: Lab) -> Entry:
    """Lets other processes find a laboratory, as it is now, until it ends or `withdraw`."""
    DIRECTORY.mkdir(mode=0o755, exist_ok=True)
    description = lab.describe()
    path = DIRECTORY / f"{lab.prefix}.json"
    draft = path.with_suffix(f".{os.getpid()}")
    draft.write_text(json.dumps(description), encoding="utf-8")
    draft.replace(path)
    return _entry(lab.prefix, description)


def withdraw(lab: Lab) -> None:
    """Takes a laboratory out of the list; harmless when it is not there."""
    (DIRECTORY / f"{lab.prefix}.json").unlink(missing_ok=True)


def published() -> list[Entry]:
    """Returns the laboratories that are up, the oldest first; forgets those that are gone."""
    found = []
    for path in sorted(DIRECTORY.glob("*.json"), key=lambda path: path.name):
        owner = namespace.owner_of(path.stem + "x")
        with contextlib.suppress(FileNotFoundError, PermissionError):  # it ended while we looked, or is not ours
            if owner is None or namespace.start_time(owner[0]) != owner[1]:
                path.unlink()
            else:
                found.append(_entry(path.stem, json.loads(path.read_text(encoding="utf-8"))))
    return found


def find(identifier: str = "") -> Entry:
    """Returns one laboratory: the named one, or the only one.

    Raises:
        ConfigurationError: there is none, or several and none was named.
    """
    there = published()
    chosen = [entry for entry in there if entry.id == identifier] if identifier else there
    if not chosen:
        what = f"no laboratory {identifier}" if identifier else "no laboratory"
        raise ConfigurationError(f"{what} is up", hint="Start one with `holepunch lab up KIND KIND`.")
    if len(chosen) > 1:
        raise ConfigurationError(
            f"{len(chosen)} laboratories are up",
            hint=f"Say which one with --lab: {', '.join(entry.id for entry in chosen)}.",
        )
    return chosen[0]


def _entry(prefix: str, description: dict[str, Any]) -> Entry:
    _, pid, _, number, _ = prefix.split("-")
    return Entry(f"{pid}-{number}", int(pid), description)
