"""What the tests of commands share: endpoints, a home, and commands written in Python."""

import sys
import textwrap
from dataclasses import dataclass
from pathlib import Path

from holepunch.command.words import Endpoints

ENDPOINTS = Endpoints(
    inner=("192.168.1.2", 5000),
    outer=("203.0.113.5", 6000),
    peer=("2001:db8::1", 7000),
    peer_name="remote",
    role="accept",
)


@dataclass
class Files:
    cert_path: Path = Path("/home/of/cert.pem")
    key_path: Path = Path("/home/of/key.pem")
    fingerprint: bytes = bytes(range(32))


class Home:
    def certificate(self) -> Files:
        return Files()


def python(code: str, *arguments: str) -> list[str]:
    """Returns a command that runs some Python."""
    return [sys.executable, "-c", textwrap.dedent(code), *arguments]
