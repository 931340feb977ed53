"""Names become addresses, or one NetworkError, in bounded time."""

import socket
import threading

import pytest

from holepunch.errors import ConfigurationError, NetworkError
from holepunch.net.resolve import resolve


async def test_a_literal_address_needs_no_resolver(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket, "getaddrinfo", None)
    assert await resolve("192.0.2.1", 3478) == [("192.0.2.1", 3478)]
    assert await resolve("192.0.2.1:99", 3478) == [("192.0.2.1", 99)]
    assert await resolve("[2001:DB8::0:1]:99", 3478) == [("2001:db8::1", 99)]
    assert await resolve("2001:db8::1", 3478) == [("2001:db8::1", 3478)]


async def test_a_name_is_looked_up_without_duplicates() -> None:
    found = await resolve("localhost:5", 3478)
    assert ("127.0.0.1", 5) in found or ("::1", 5) in found
    assert len(found) == len(set(found))
    assert {port for _, port in found} == {5}


async def test_a_family_can_be_asked_for() -> None:
    assert await resolve("localhost", 7, family=4) == [("127.0.0.1", 7)]
    with pytest.raises(NetworkError, match="not an IPv6 address"):
        await resolve("192.0.2.1", 7, family=6)


@pytest.mark.parametrize("name", ["a name with spaces", "x" * 300, "a..b"])
async def test_a_name_that_cannot_be_is_a_network_error_that_names_it(name: str) -> None:
    with pytest.raises(NetworkError, match=name[:10]):
        await resolve(name, 1)


async def test_a_resolver_that_hangs_is_left_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    released = threading.Event()

    def hang(*_: object) -> list[object]:
        released.wait(30)
        return []

    monkeypatch.setattr(socket, "getaddrinfo", hang)
    with pytest.raises(NetworkError, match=r"stun\.example in 0\.01 s"):
        await resolve("stun.example", 1, timeout=0.01)
    released.set()


async def test_an_address_without_sense_is_a_configuration_error() -> None:
    with pytest.raises(ConfigurationError, match="port"):
        await resolve("host:99999", 1)
