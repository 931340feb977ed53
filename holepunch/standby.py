"""A socket that has gathered already: an acceptor keeps one, so that an offer is answered at once.

Gathering costs a round trip to the STUN servers and another to measure the hops.  An acceptor has all the
time in the world before the offer comes and none after, so it gathers ahead, refreshes the mapping every
12±2 s as it would while an offer travels, and begins anew when the network changes.
"""

import asyncio
import contextlib
from collections.abc import Callable

from .log import get_logger
from .net.driver import Driver
from .net.udp import UdpSocket
from .proto.candidate import Interface
from .proto.gather import Gatherer, GatherFailed, MappingChanged

log = get_logger("standby")

HOPS_LIFETIME = 600.0  # seconds that the way out is taken to be as long as it was
RETRY = 30.0  # seconds after a failure; an offer that comes meanwhile gathers for itself


class Standby:
    """Keeps one done gatherer and its sockets.

    Args:
        make: makes a new gatherer for the present network, given the hops out of it or 0.
        interfaces: returns our present addresses.
    """

    def __init__(self, make: Callable[[int], Gatherer], interfaces: Callable[[], tuple[Interface, ...]]) -> None:
        self._make = make
        self._interfaces = interfaces
        self._gatherer: Gatherer | None = None
        self._driver: Driver | None = None
        self._network: tuple[Interface, ...] = ()
        self._measured: tuple[tuple[Interface, ...], int, float] = ((), 0, 0.0)
        self._task = asyncio.create_task(self._keep(), name="standby")

    def take(self) -> tuple[Gatherer, dict[int, UdpSocket]] | None:
        """Returns the gatherer and its sockets by number, where they are ready and the network is the same."""
        gatherer, driver = self._gatherer, self._driver
        if gatherer is None or driver is None:
            return None
        if self._network != self._interfaces():
            driver.close()  # ends _keep's wait, which gathers on the network of today
            return None
        if not gatherer.is_done:
            return None
        sockets = {local: driver.release(local) for local in gatherer.sockets}
        self._gatherer = None
        driver.close()
        return gatherer, sockets

    async def close(self) -> None:
        """Closes the sockets."""
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)

    async def _keep(self) -> None:
        while True:
            self._network = self._interfaces()
            self._gatherer = gatherer = self._make(self._known_hops())
            self._driver = driver = Driver(gatherer)
            failed = False
            with contextlib.closing(driver):
                gatherer.start(driver.now)
                driver.wake()
                async for event in driver:
                    if isinstance(event, GatherFailed):
                        failed = True
                        log.info("standby failed", reason=event.reason)
                        break
                    if isinstance(event, MappingChanged):
                        break
                    if gatherer.is_done:
                        # A 1 is not remembered: it may come from a port on which an older flow was still
                        # alive, and it would leave every session of ten minutes without priming.
                        if gatherer.hops > 1 and not self._known_hops():
                            self._measured = self._network, gatherer.hops, driver.now
                        gatherer.keep_alive(driver.now)
                        driver.wake()
            if self._gatherer is gatherer:
                self._gatherer = None
            if failed:
                await asyncio.sleep(RETRY)

    def _known_hops(self) -> int:
        """Returns the hops that an earlier socket measured on this network; 0 for none, or long ago.

        Measuring takes 25 flows of the routers that each session would cost again.
        """
        network, hops, at = self._measured
        is_fresh = network == self._network and asyncio.get_running_loop().time() - at < HOPS_LIFETIME
        return hops if is_fresh else 0
