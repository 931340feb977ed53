"""A hub is one process with several services: mailboxes, STUN, and later a relay.

A service is an object that starts, names the addresses where it is reached, and stops.  To add one,
write the class and put it on the list in holepunch.cli.hub; nothing else knows how many there are.
"""

import asyncio
from collections.abc import Sequence
from typing import Protocol

from ..log import get_logger

log = get_logger("hub")


class Service(Protocol):
    """One trade of a hub."""

    async def start(self) -> list[str]:
        """Opens everything; returns where it is reached, as URLs.

        Raises:
            ConfigurationError: it cannot run as it was told to.
        """

    async def failed(self) -> None:
        """Returns never while the service is well.

        Raises:
            Exception: what ended it.
        """

    async def stop(self) -> None:
        """Ends it in a few seconds, its clients told where the protocol can; harmless if never started."""


class Hub:
    """Runs services together: all or none."""

    def __init__(self, services: Sequence[Service]) -> None:
        self._services = services
        self._started: list[Service] = []

    async def start(self) -> list[str]:
        """Starts the services in order; returns where they are reached.

        Raises:
            ConfigurationError: one of them cannot run; those started before are stopped.
        """
        urls: list[str] = []
        try:
            for service in self._services:
                self._started.append(service)
                urls += await service.start()
        except BaseException:
            await self.stop()
            raise
        return urls

    async def run(self, until: asyncio.Event) -> None:
        """Waits for the event, or for a service to fail; then stops all of them.

        Raises:
            Exception: what a service failed of.
        """
        waits = [asyncio.create_task(service.failed()) for service in self._started]
        end = asyncio.create_task(until.wait())
        try:
            done, _ = await asyncio.wait([end, *waits], return_when=asyncio.FIRST_COMPLETED)
            for task in done - {end}:
                task.result()
        finally:
            for task in (end, *waits):
                task.cancel()
            await self.stop()

    async def stop(self) -> None:
        """Stops the services, the last started first; harmless twice."""
        while self._started:
            service = self._started.pop()
            try:
                await service.stop()
            except OSError as error:
                log.warning("service did not stop well", service=type(service).__name__, reason=error)
