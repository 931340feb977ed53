"""The hub's STUN service: holepunch.proto.stun.responder on real sockets."""

import asyncio

from ..errors import ConfigurationError
from ..log import get_logger
from ..net.driver import Driver
from ..proto.address import format_address, is_ipv6
from ..proto.machine import Address
from ..proto.stun.responder import RateLimit, Responder

log = get_logger("hub.stun")

ANY_IPV4, ANY_IPV6 = "0.0.0.0", "::"


class StunService:
    """Answers Binding requests (RFC 8489) and, with a second address, tells behaviour (RFC 5780).

    Args:
        primary: where to listen; `::` stands for every address of both families.
        other: a second address and port of this machine.
        required: whether it is an error that the port is taken; else the hub does without STUN.

    Raises:
        ConfigurationError: the two addresses do not make a server of RFC 5780.
    """

    def __init__(self, primary: Address, other: Address | None = None, *, required: bool = True) -> None:
        if other is not None:
            _check_pair(primary, other)
        self._primary = primary
        self._other = other
        self._required = required
        self._drivers: list[Driver] = []

    async def start(self) -> list[str]:
        """Opens the sockets; returns `stun:host:port` for each."""
        host, port = self._primary
        # Two sockets and not one for both families: to clients of the other, answers would come from mapped addresses.
        hosts = [ANY_IPV4, ANY_IPV6] if host == ANY_IPV6 else [host]
        responders = []
        for each in hosts:
            responders.append(Responder((each, port), self._other, limit=RateLimit()))
            self._drivers.append(Driver(responders[-1]))
            await asyncio.sleep(0)  # a driver opens its machine's sockets in the loop's next turn
            if not port and self._drivers[-1].sockets:
                port = responders[-1].endpoints[0][1]  # any port, but the same for both families
        opened = [socket.address for driver in self._drivers for socket in driver.sockets.values()]
        expected = sum(len(responder.endpoints) for responder in responders)
        if not opened or (self._other and len(opened) < expected):
            failed = [
                driver
                for driver, responder in zip(self._drivers, responders, strict=True)
                if len(driver.sockets) < len(responder.endpoints)
            ]
            reason = getattr(await failed[0].next_event(), "reason", "")
            text = f"STUN cannot listen on {format_address(self._primary)}: {reason}"
            if self._required:
                await self.stop()
                hint = "Give another address with --stun, or leave STUN out with --no-stun."
                raise ConfigurationError(text, hint=hint)
            log.warning("no stun", reason=text)
        return [f"stun:{format_address(address)}" for address in opened]

    async def failed(self) -> None:
        """Raises what a responder failed of."""
        if self._drivers:
            await asyncio.gather(*map(_watch, self._drivers))
        await asyncio.Event().wait()

    async def stop(self) -> None:
        """Closes the sockets."""
        for driver in self._drivers:
            driver.close()
        self._drivers.clear()


async def _watch(driver: Driver) -> None:
    """Takes the driver's events, so that an error of its machine is raised here."""
    async for _ in driver:
        pass


def _check_pair(primary: Address, other: Address) -> None:
    """Checks that RFC 5780 section 3 can be served: two addresses, two ports, one family."""
    both = f"{format_address(primary)} and {format_address(other)}"
    hint = "Give two addresses of this machine, with two ports: --stun IP1:3478 --stun-other IP2:3479."
    if {primary[0], other[0]} & {ANY_IPV4, ANY_IPV6}:
        raise ConfigurationError(f"STUN with two addresses needs both by name, not {both}", hint=hint)
    if is_ipv6(primary[0]) != is_ipv6(other[0]):
        raise ConfigurationError(f"{both} are of different address families", hint=hint)
    if primary[0] == other[0] or primary[1] == other[1]:
        raise ConfigurationError(f"{both} share an address or a port", hint=hint)
