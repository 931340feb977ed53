"""From `HOST[:PORT]` to addresses, in bounded time.

The system's resolver cannot be interrupted, and may take half a minute.  Each look-up runs in a daemon
thread of its own: given up, it neither holds the caller nor the end of the program (the threads of
asyncio's executor would).
"""

import asyncio
import ipaddress
import socket
import threading
from collections.abc import Iterable

from ..errors import NetworkError
from ..log import get_logger
from ..proto.address import parse_address
from ..proto.machine import Address

log = get_logger("resolve")

QUICK = 2.0  # seconds; one name of several that takes longer would delay everything
TIMEOUT = 3.0  # seconds: as long as gathering takes, so that a later answer would be of no use


async def resolve(text: str, default_port: int, *, timeout: float = TIMEOUT, family: int = 0) -> list[Address]:
    """Returns the addresses of a host, in the system's order of preference (RFC 6724), without duplicates.

    Args:
        text: `HOST`, `HOST:PORT` or `[IPV6]:PORT`; a literal address asks no resolver.
        default_port: the port where the text has none.
        timeout: seconds to wait at most.
        family: 4 or 6 to have only these; 0 for both.

    Raises:
        ConfigurationError: the text is not of that form.
        NetworkError: the name has no address, or the resolver did not answer in time.
    """
    host, port = parse_address(text, default_port=default_port)
    try:
        literal = ipaddress.ip_address(host)
    except ValueError:
        return await _look_up(host, port, timeout, family)
    if family not in (0, literal.version):
        raise NetworkError(f"{host} is not an IPv{family} address")
    return [(str(literal), port)]


async def resolve_all(texts: Iterable[str], default_port: int, *, timeout: float = QUICK) -> tuple[Address, ...]:
    """Looks several hosts up at once; returns what was found, in order, without those that were not."""

    async def one(text: str) -> list[Address]:
        try:
            return await resolve(text, default_port, timeout=timeout)
        except NetworkError as error:
            log.info("host not found", host=text, reason=error)
            return []

    found = await asyncio.gather(*(one(text) for text in texts))
    return tuple(dict.fromkeys(address for addresses in found for address in addresses))


async def _look_up(host: str, port: int, timeout: float, family: int) -> list[Address]:
    loop = asyncio.get_running_loop()
    answer: asyncio.Future[list[Address]] = loop.create_future()

    def ask() -> None:
        result: list[Address] = []
        failure: Exception | None = None
        inet = {0: socket.AF_UNSPEC, 4: socket.AF_INET, 6: socket.AF_INET6}[family]
        try:
            infos = socket.getaddrinfo(host, port, inet, socket.SOCK_DGRAM)
            result.extend((str(info[4][0]), port) for info in infos)
        except (OSError, UnicodeError) as error:  # UnicodeError: no such name can be, by its letters or length
            failure = error

        def tell() -> None:
            if answer.done():
                return
            if failure is not None:
                answer.set_exception(failure)
            else:
                answer.set_result(list(dict.fromkeys(result)))

        # The caller may have given up, and its loop may be closed.
        if not loop.is_closed():
            loop.call_soon_threadsafe(tell)

    threading.Thread(target=ask, name=f"resolve {host}", daemon=True).start()
    try:
        async with asyncio.timeout(timeout):
            return await answer
    except TimeoutError as error:
        raise NetworkError(f"the resolver has not answered for {host} in {timeout:g} s") from error
    except (OSError, UnicodeError) as error:
        reason = getattr(error, "strerror", None) or error
        raise NetworkError(
            f"{host} has no address: {reason}", hint="Check the name, and that DNS works here."
        ) from error
