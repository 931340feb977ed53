"""A socket that has gathered ahead: what it measured once it does not measure again."""

import asyncio
import os

from holepunch.proto.candidate import Interface
from holepunch.proto.gather import Gatherer
from holepunch.standby import Standby

LOOPBACK = (Interface("127.0.0.1", 8),)


class Network:
    """The present network, as a test changes it."""

    def __init__(self) -> None:
        self.interfaces: tuple[Interface, ...] = LOOPBACK
        self.given: list[int] = []
        self.measures = 3

    def make(self, hops: int) -> Gatherer:
        self.given.append(hops)
        # No server answers here, so a gatherer is told what it would have measured.
        return Gatherer((), self.interfaces, os.urandom, hops=hops or self.measures)


async def taken(standby: Standby) -> Gatherer:
    """Takes the gatherer as soon as there is one."""
    async with asyncio.timeout(10):
        while (found := standby.take()) is None:
            await asyncio.sleep(0)
    gatherer, sockets = found
    for socket in sockets.values():
        socket.close()
    return gatherer


async def test_the_next_socket_is_gathered_without_measuring_the_hops_again() -> None:
    network = Network()
    standby = Standby(network.make, lambda: network.interfaces)
    assert (await taken(standby)).hops == 3
    assert (await taken(standby)).hops == 3
    await standby.close()
    assert network.given[:2] == [0, 3]


async def test_a_single_hop_is_measured_again_each_time_since_it_may_be_wrong() -> None:
    network = Network()
    network.measures = 1
    standby = Standby(network.make, lambda: network.interfaces)
    await taken(standby)
    await taken(standby)
    await standby.close()
    assert network.given[:2] == [0, 0]


async def test_on_another_network_it_is_gathered_and_measured_anew() -> None:
    network = Network()
    standby = Standby(network.make, lambda: network.interfaces)
    await taken(standby)
    network.interfaces, network.measures = (*LOOPBACK, Interface("127.0.0.2", 8)), 5
    gatherer = await taken(standby)
    assert gatherer.hops == 5
    assert {candidate.address[0] for candidate in gatherer.candidates} == {"127.0.0.1", "127.0.0.2"}
    await standby.close()


async def test_closing_closes_its_sockets() -> None:
    network = Network()
    standby = Standby(network.make, lambda: network.interfaces)
    gatherer = await taken(standby)
    assert gatherer.is_done
    await standby.close()
    assert standby.take() is None
