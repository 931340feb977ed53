"""A second opinion on our NAT by RFC 3489, from pystun3, in a child process with a time limit.

pystun3 knows IPv4 only, mixes mapping and filtering up in one word, is misled by NATs that an
unsolicited packet spoils, and loops for ever on an error response.  So it is asked only where a person
wants to compare (`holepunch probe --classic`), with a socket that sends so often and no more, and it is
never on the way to a peer.

    python -m holepunch.net.classic STUN_HOST STUN_PORT SOURCE_HOST     prints one JSON object
"""

import asyncio
import contextlib
import importlib.util
import json
import socket
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ..errors import ConfigurationError
from ..proto.machine import Address

TIME_LIMIT = 20.0  # seconds for the child; with ANSWER_TIMEOUT its longest honest course takes 12
ANSWER_TIMEOUT = 0.7  # seconds for an answer; it asks four times
MAX_SENDS = 64  # requests; an honest course has at most 20


@dataclass(frozen=True, slots=True, kw_only=True)
class ClassicOpinion:
    """What pystun3 says."""

    nat_type: str = ""
    """In its own words: `Full Cone`, `Restric NAT`, `Restric Port NAT`, `Symmetric NAT`, ..."""
    external: Address | None = None
    """How its last answer saw it; it forgets this where that answer did not come."""
    failure: str = ""
    """Why it has no opinion."""


def require_pystun3() -> None:
    """Checks that the optional library is there.

    Raises:
        ConfigurationError: it is not.
    """
    if importlib.util.find_spec("stun") is None:
        raise ConfigurationError(
            "pystun3 is not installed, and --classic asks for its opinion",
            hint="pip install 'holepunch-p2p[classic]', or leave --classic out.",
        )


async def classic_opinion(server: Address, source: str, *, time_limit: float = TIME_LIMIT) -> ClassicOpinion:
    """Asks pystun3 about our NAT.

    Args:
        server: an IPv4 STUN server with two addresses; with any other it fails.
        source: our own address towards it.
        time_limit: seconds after which the child process is killed.
    """
    command = [sys.executable, "-m", "holepunch.net.classic", server[0], str(server[1]), source]
    child = await asyncio.create_subprocess_exec(
        *command,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
    )
    try:
        async with asyncio.timeout(time_limit):
            output, _ = await child.communicate()
    except TimeoutError:
        return ClassicOpinion(failure=f"no opinion after {time_limit:g} s")
    finally:
        if child.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                child.kill()
            await child.wait()
    return read_opinion(output)


def read_opinion(output: bytes) -> ClassicOpinion:
    """Reads what the child printed; nothing that it prints raises."""
    try:
        fields = json.loads(output)
        if fields.get("failure"):
            return ClassicOpinion(failure=str(fields["failure"]))
        host, port = fields["host"], fields["port"]
        external = (str(host), int(port)) if host and port else None
        return ClassicOpinion(nat_type=str(fields["nat_type"]), external=external)
    except (ValueError, KeyError, TypeError, AttributeError):
        return ClassicOpinion(failure="it ended without an opinion")


class _LimitedSocket(socket.socket):
    """A UDP socket that refuses to go on for ever."""

    sends = 0

    def sendto(self, *arguments: Any) -> int:
        self.sends += 1
        if self.sends > MAX_SENDS:
            raise RuntimeError(f"it asked {MAX_SENDS} times and wanted to go on")
        return super().sendto(*arguments)


def main(arguments: Sequence[str]) -> None:
    """Is the child: asks, and prints one JSON object.

    Args:
        arguments: host and port of the server, and our own host.
    """
    import stun  # noqa: PLC0415 - an optional library, which only the child may load

    host, port, source = arguments
    opinion: dict[str, object]
    with _LimitedSocket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.settimeout(ANSWER_TIMEOUT)
        sock.bind((source, 0))
        try:
            nat_type, answer = stun.get_nat_type(sock, source, sock.getsockname()[1], host, int(port))
            opinion = {"nat_type": nat_type, "host": answer["ExternalIP"], "port": answer["ExternalPort"]}
        except Exception as error:  # noqa: BLE001 - KeyError, ValueError, TypeError: it checks little of what it reads
            opinion = {"failure": f"{type(error).__name__}: {error}"}
    sys.stdout.write(json.dumps(opinion))


if __name__ == "__main__":
    main(sys.argv[1:])
