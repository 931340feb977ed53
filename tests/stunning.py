"""A real STUN server on loopback, for tests that run the real thing."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def stun_server(address: str, other: str = "", *, port: int = 3478) -> Iterator[str]:
    """Runs the laboratory's server on loopback addresses; yields `HOST:PORT` when it is up."""
    command = [sys.executable, "-m", "holepunch.testing.stunserver", "--address", address, "--port", str(port)]
    if other:
        command += ["--other-address", other]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
            yield f"[{address}]:{port}" if ":" in address else f"{address}:{port}"
        finally:
            process.terminate()
