"""A hop limit seen by real routers: where the datagram dies, and who says so."""

import asyncio
from collections.abc import Iterator

import pytest

from holepunch.net import interfaces
from holepunch.net.udp import UdpSocket
from holepunch.proto.machine import Address, IcmpError
from tests.net.namespaces import inside, ip, link, namespaces

pytestmark = pytest.mark.lab

FAR: dict[int, Address] = {4: ("10.2.0.2", 5000), 6: ("fd02::2", 5000)}
ROUTER = {4: "10.1.0.1", 6: "fd01::1"}


@pytest.fixture(scope="module")
def near_and_far() -> Iterator[tuple[str, str]]:
    """A host, a router, and a host behind it."""
    with namespaces("near", "router", "far") as (near, router, far):
        link(near, "10.1.0.2/24,fd01::2/64", router, "10.1.0.1/24,fd01::1/64")
        link(router, "10.2.0.1/24,fd02::1/64", far, "10.2.0.2/24,fd02::2/64")
        for key in ("net.ipv4.ip_forward=1", "net.ipv6.conf.all.forwarding=1"):
            ip("netns", "exec", router, "sysctl", "-qw", key)
        for name, route in ((near, 1), (far, 2)):
            ip("-n", name, "route", "add", "default", "via", f"10.{route}.0.1")
            ip("-n", name, "-6", "route", "add", "default", "via", f"fd0{route}::1")
        yield near, far


@pytest.mark.parametrize("family", [4, 6])
async def test_a_datagram_of_one_hop_dies_at_the_router_and_later_ones_are_not_lost(
    near_and_far: tuple[str, str], family: int
) -> None:
    near, far = near_and_far
    ours = inside(near, lambda: UdpSocket(family))
    theirs = inside(far, lambda: UdpSocket(family, *FAR[family]))
    arrived: asyncio.Queue[bytes] = asyncio.Queue()
    errors: asyncio.Queue[IcmpError] = asyncio.Queue()
    ours.start(lambda *_: None, errors.put_nowait)
    theirs.start(lambda data, _: arrived.put_nowait(data))
    for number in range(4):
        assert ours.send(b"prime %d" % number, FAR[family], 1)
        assert ours.send(b"check %d" % number, FAR[family])
        assert await arrived.get() == b"check %d" % number
    error = await errors.get()
    assert (error.source, error.remote, error.data) == (ROUTER[family], FAR[family], b"prime 0")
    assert (error.type, error.code) == ((11, 0) if family == 4 else (3, 0))
    assert ours.send(b"two hops", FAR[family], 2)
    assert await arrived.get() == b"two hops"
    assert ours.counters.send_failures == 0
    ours.close()
    theirs.close()


async def test_a_run_too_large_for_the_path_arrives_all_the_same(near_and_far: tuple[str, str]) -> None:
    near, far = near_and_far
    ours = inside(near, lambda: UdpSocket(4))
    theirs = inside(far, lambda: UdpSocket(4, *FAR[4]))
    arrived: asyncio.Queue[bytes] = asyncio.Queue()
    theirs.start(lambda data, _: arrived.put_nowait(data))
    for _ in range(2):
        assert ours.send_run(b"a" * 3000 + b"b" * 3000 + b"c", 3000, FAR[4])  # the cable carries 1500
        assert [await arrived.get() for _ in range(3)] == [b"a" * 3000, b"b" * 3000, b"c"]
    assert ours.send_run(b"d" * 1000 + b"e" * 1000, 1000, FAR[4])
    assert [await arrived.get() for _ in range(2)] == [b"d" * 1000, b"e" * 1000]
    ours.close()
    theirs.close()


def test_the_router_and_the_way_out_are_known(near_and_far: tuple[str, str]) -> None:
    near, _ = near_and_far
    assert inside(near, interfaces.gateway) == "10.1.0.1"
    assert inside(near, lambda: interfaces.gateway(6)) == "fd01::1"
    assert inside(near, lambda: interfaces.source_address(FAR[4])) == "10.1.0.2"
    assert inside(near, lambda: interfaces.source_address(FAR[6])) == "fd01::2"


def test_a_tunnel_is_told_from_a_cable_and_a_dead_end_has_no_router() -> None:
    with namespaces("alone") as (alone,):
        ip("-n", alone, "tuntap", "add", "vpn0", "mode", "tun")
        ip("-n", alone, "address", "add", "10.8.0.1/24", "dev", "vpn0")
        ip("-n", alone, "link", "add", "docker0", "type", "bridge")
        ip("-n", alone, "address", "add", "172.17.0.1/16", "dev", "docker0")
        found = {one.host: one for one in inside(alone, interfaces.interfaces)}
        assert found["10.8.0.1"].is_tunnel
        assert not found["10.8.0.1"].is_up
        assert found["172.17.0.1"].is_virtual
        assert not found["172.17.0.1"].is_tunnel
        assert inside(alone, interfaces.gateway) is None
        assert inside(alone, lambda: interfaces.source_address(FAR[4])) is None
