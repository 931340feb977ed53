"""The laboratory's end of the control socket of its wire."""

import json
import os
import socket
import subprocess
import sys
import threading
from typing import Any

from ...errors import ConfigurationError, NetworkError
from ..simnet.behaviour import Behaviour
from .conditions import Conditions
from .engine import behaviour_to_dict

_LONGEST_ANSWER = 1 << 18
_PATIENCE = 30.0  # seconds; the wire answers between two batches of packets, but the machine may be busy


class Cable:
    """Starts the wire of a laboratory and tells it what to do.

    Args:
        prefix: what the names of the laboratory's namespaces begin with.

    Raises:
        NetworkError: the wire cannot be started.
    """

    def __init__(self, prefix: str) -> None:
        self._lock = threading.Lock()
        self._socket, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._socket.settimeout(_PATIENCE)
        descriptor = theirs.fileno()
        argv = [sys.executable, "-m", f"{__package__}.wire", prefix, str(descriptor)]
        with theirs:
            self._process = subprocess.Popen(
                argv, pass_fds=[descriptor], stdin=subprocess.DEVNULL, cwd="/", start_new_session=True
            )

    @property
    def pid(self) -> int:
        """The wire's process."""
        return self._process.pid

    def ask(self, do: str, **arguments: Any) -> Any:
        """Gives one command and returns its result.

        Raises:
            NetworkError: the wire refused, or is gone.
        """
        with self._lock:
            try:
                self._socket.send(json.dumps({"do": do, **arguments}).encode())
                message = self._socket.recv(_LONGEST_ANSWER)
            except OSError as error:
                raise NetworkError(f"the laboratory's wire does not answer: {error}") from error
        if not message:
            raise NetworkError(f"the laboratory's wire ended with status {self._process.poll()}")
        answer = json.loads(message)
        if "error" in answer:
            raise NetworkError(f"the laboratory's wire refused {do!r}: {answer['error']}")
        return answer["result"]

    def segment(self, name: str, conditions: Conditions, hops: list[tuple[str, str]]) -> None:
        """Makes a network; hops are the (IPv4, IPv6) addresses of the routers inside."""
        self.ask("segment", name=name, conditions=conditions.to_dict(), hops=hops)

    def attach(self, segment: str, port: str, namespace: str, device: str, networks: list[str]) -> None:
        """Makes a device in a namespace that leads to a network, which routes these prefixes to it."""
        self.ask("attach", segment=segment, port=port, namespace_name=namespace, device=device, networks=networks)

    def translate(self, port: str, behaviour: Behaviour, outer: str, seed: int) -> None:
        """Puts a user-space NAT at a port."""
        self.ask("translate", port=port, behaviour=behaviour_to_dict(behaviour), outer=outer, seed=seed)

    def close(self) -> None:
        """Stops the wire; harmless when it is gone."""
        try:
            self.ask("goodbye")
        except NetworkError:
            self._process.kill()
        self._socket.close()
        self._process.wait()


def ensure_tun() -> None:
    """Checks that this machine has what the wire needs.

    Raises:
        ConfigurationError: there is no /dev/net/tun.
    """
    if not os.path.exists("/dev/net/tun"):
        raise ConfigurationError("this machine has no /dev/net/tun", hint="Load the kernel module: modprobe tun.")
