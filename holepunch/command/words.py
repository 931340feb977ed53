"""From the text of `--exec` to the words of an argument list: split, checked, placeholders replaced.

No shell sees them.  A value that is put in is never read again, so nothing that a peer calls itself
can become a word or a placeholder of its own.
"""

import re
import shlex
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ..errors import ConfigurationError
from ..proto.address import format_address
from ..proto.machine import Address

_PLACEHOLDER = re.compile(r"\{((?:inner|outer|peer)(?:_ip|_port)?|peer_name|role)\}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoints:
    """What placeholders and classic arguments are made of."""

    inner: Address
    outer: Address
    peer: Address
    peer_name: str
    role: str

    def values(self) -> dict[str, str]:
        """Returns the value of each placeholder."""
        values = {"peer_name": self.peer_name, "role": self.role}
        for name, address in (("inner", self.inner), ("outer", self.outer), ("peer", self.peer)):
            values[name] = format_address(address)
            values[f"{name}_ip"], values[f"{name}_port"] = address[0], str(address[1])
        return values


def parse_command(text: str) -> list[str]:
    """Splits CMD into words, as a shell would, without expanding anything.

    Raises:
        ConfigurationError: it is empty, or a quotation mark has no partner.
    """
    try:
        argv = shlex.split(text)
    except ValueError as error:
        raise ConfigurationError(f"cannot read the command {text!r}: {error}") from error
    if not argv:
        raise ConfigurationError("the command of --exec is empty")
    return argv


def check_command(argv: Sequence[str]) -> None:
    """Makes sure that the command can be started, before any work on the network.

    Raises:
        ConfigurationError: the program is not there, or is not executable.
    """
    program = argv[0]
    if shutil.which(program) is not None:
        return
    path = Path(program)
    if path.is_dir():
        raise ConfigurationError(f"the command {program} is a folder")
    if path.exists() and path.name != program:
        raise ConfigurationError(f"the command {program} is not executable", hint=f"chmod +x {shlex.quote(program)}")
    hint = f"Write ./{program} for the one in this folder." if path.is_file() else "Check its name and PATH."
    raise ConfigurationError(f"the command {program} is not found", hint=hint)


def expand(argv: Sequence[str], endpoints: Endpoints) -> list[str]:
    """Replaces placeholders; where there is none, appends the six classic arguments.

    Other braces stay as they are: they may be the command's own.
    """
    values = endpoints.values()
    if any(_PLACEHOLDER.search(word) for word in argv):
        return [_PLACEHOLDER.sub(lambda match: values[match[1]], word) for word in argv]
    classic = [values[f"{name}_{part}"] for name in ("inner", "outer", "peer") for part in ("ip", "port")]
    return [*argv, *classic]
