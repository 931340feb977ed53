"""A STUN server as a program for laboratories: the product's own responder on plain sockets.

    python -m holepunch.testing.stunserver --address 198.51.100.1 --other-address 198.51.100.2

It loads little and prints `ready` when every socket is bound, so a test waits for a line, not for a
length of time.  Without --other-address it is a plain server: no OTHER-ADDRESS, no CHANGE-REQUEST.
"""

import argparse
import contextlib
import selectors
import socket
import sys
import time

from holepunch.proto.address import is_ipv6
from holepunch.proto.machine import OpenSocket
from holepunch.proto.stun.responder import RateLimit, Responder

MAX_BATCH = 64  # datagrams read from one socket before the others have their turn


def open_sockets(responder: Responder) -> dict[int, socket.socket]:
    """Opens every socket the responder asks for.

    Raises:
        OSError: an address is not ours, or a port is taken.
    """
    sockets: dict[int, socket.socket] = {}
    for _ in range(len(responder.endpoints)):
        event = responder.next_event()
        if not isinstance(event, OpenSocket):
            break
        family = socket.AF_INET6 if event.family == 6 else socket.AF_INET
        opened = sockets[event.local] = socket.socket(family, socket.SOCK_DGRAM)
        opened.setblocking(False)
        opened.bind((event.host, event.port))
        responder.socket_opened(event.local, opened.getsockname()[:2], time.monotonic())
    return sockets


def serve(responder: Responder, sockets: dict[int, socket.socket]) -> None:
    """Answers until the process is ended."""
    selector = selectors.DefaultSelector()
    for local, opened in sockets.items():
        selector.register(opened, selectors.EVENT_READ, local)
    while True:
        for key, _ in selector.select():
            for _ in range(MAX_BATCH):
                try:
                    data, remote = sockets[key.data].recvfrom(2048)
                except OSError:  # nothing more, or an ICMP error for an earlier answer
                    break
                responder.receive_datagram(data, remote[:2], time.monotonic(), key.data)
            for transmit in responder.datagrams_to_send(time.monotonic()):
                with contextlib.suppress(OSError):  # a client without a route back has no answer
                    sockets[transmit.local].sendto(transmit.data, transmit.remote)


def main(arguments: list[str] | None = None) -> None:
    """Runs the server.

    Args:
        arguments: the command line; that of the process if None.
    """
    parser = argparse.ArgumentParser(prog="holepunch.testing.stunserver", description=__doc__.partition("\n")[0])
    parser.add_argument("--address", required=True, help="where it is asked first")
    parser.add_argument("--other-address", help="a second address of this machine, for RFC 5780")
    parser.add_argument("--port", type=int, default=3478)
    parser.add_argument("--other-port", type=int, default=3479)
    parser.add_argument("--rate", type=float, default=0.0, help="requests per second and source; 0: no limit")
    options = parser.parse_args(arguments)
    primary = (options.address, options.port)
    other = (options.other_address, options.other_port) if options.other_address else None
    if other is not None and is_ipv6(primary[0]) != is_ipv6(other[0]):
        parser.error("both addresses must be of one family")
    limit = RateLimit(options.rate, options.rate) if options.rate > 0 else None
    responder = Responder(primary, other, limit=limit)
    sockets = open_sockets(responder)
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    with contextlib.suppress(KeyboardInterrupt):
        serve(responder, sockets)


if __name__ == "__main__":
    main()
