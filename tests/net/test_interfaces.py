"""What this machine says of its own addresses, by two independent ways."""

import sys

import pytest

from holepunch.net import getifaddrs, interfaces, rtnetlink

ours = interfaces.interfaces()


def test_loopback_is_known_and_marked() -> None:
    loopback = next(one for one in ours if one.host == "127.0.0.1")
    assert loopback.is_loopback
    assert loopback.is_up
    assert not loopback.is_tunnel
    assert (loopback.family, loopback.prefix_length) == (4, 8)


@pytest.mark.skipif(sys.platform != "linux", reason="rtnetlink is Linux's")
def test_rtnetlink_and_getifaddrs_see_the_same_addresses() -> None:
    def seen(found: list[interfaces.Interface]) -> set[tuple[str, str, int, bool, bool]]:
        return {(one.name, one.host, one.prefix_length, one.is_loopback, one.is_tunnel) for one in found}

    assert seen(rtnetlink.read_interfaces()) == seen(getifaddrs.read_interfaces())


def test_a_link_local_address_carries_its_scope() -> None:
    for one in ours:
        assert ("%" in one.host) == one.host.startswith("fe80")


def test_the_way_to_loopback_is_loopback() -> None:
    assert interfaces.source_address(("127.0.0.1", 0)) == "127.0.0.1"


def test_the_source_of_an_impossible_destination_is_unknown() -> None:
    assert interfaces.source_address(("not an address", 0)) is None


def test_the_gateway_is_an_address_or_unknown() -> None:
    router = interfaces.gateway()
    assert router is None or router.count(".") == 3
