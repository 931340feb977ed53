"""The hub's STUN service on loopback."""

import asyncio
import os
import socket

import pytest

from holepunch.errors import ConfigurationError
from holepunch.hub.stun import StunService
from holepunch.proto.address import parse_address
from holepunch.proto.machine import Address
from holepunch.proto.stun.attributes import Attribute, decode_mapped_address
from holepunch.proto.stun.message import Message, binding_request, decode_message, mapped_address


async def asked(
    server: str, request: bytes, *, family: socket.AddressFamily = socket.AF_INET
) -> tuple[Message, Address, Address]:
    """Sends a request; returns (response, who answered, who we are)."""
    address = parse_address(server.removeprefix("stun:"))
    with socket.socket(family, socket.SOCK_DGRAM) as client:
        client.setblocking(False)
        client.bind(("127.0.0.1" if family == socket.AF_INET else "::1", 0))
        loop = asyncio.get_running_loop()
        await loop.sock_sendto(client, request, address)
        async with asyncio.timeout(5):
            data, source = await loop.sock_recvfrom(client, 2048)
        return decode_message(data), source[:2], client.getsockname()[:2]


async def test_a_hub_says_how_it_sees_us_by_both_families() -> None:
    service = StunService(("::", 0), required=True)
    urls = await service.start()
    try:
        assert len(urls) == 2
        for url, host, family in ((urls[0], "127.0.0.1", socket.AF_INET), (urls[1], "::1", socket.AF_INET6)):
            port = parse_address(url.removeprefix("stun:"))[1]
            where = f"[{host}]:{port}" if family == socket.AF_INET6 else f"{host}:{port}"
            response, _, ours = await asked(where, binding_request(os.urandom(12)), family=family)
            assert mapped_address(response) == ours
    finally:
        await service.stop()


async def test_with_a_second_address_the_answer_comes_from_where_it_is_asked_to_come_from() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind(("127.0.0.2", 0))
        other = probe.getsockname()[:2]
    service = StunService(("127.0.0.1", 0), other)
    urls = await service.start()
    try:
        assert len(urls) == 4
        response, source, _ = await asked(urls[0], binding_request(os.urandom(12)))
        assert source == parse_address(urls[0].removeprefix("stun:"))
        assert decode_mapped_address(response.get(Attribute.OTHER_ADDRESS) or b"") == other
        request = binding_request(os.urandom(12), change_ip=True, change_port=True)
        assert (await asked(urls[0], request))[1] == other
    finally:
        await service.stop()


async def test_a_taken_port_is_an_error_where_it_was_asked_for_and_a_warning_where_not(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as taken:
        taken.bind(("127.0.0.1", 0))
        address = taken.getsockname()[:2]
        with pytest.raises(ConfigurationError, match="in use") as caught:
            await StunService(address).start()
        assert "--no-stun" in caught.value.hint
        service = StunService(address, required=False)
        assert await service.start() == []
        assert "no stun" in caplog.text
        await service.stop()


@pytest.mark.parametrize(
    ("primary", "other"),
    [
        (("0.0.0.0", 3478), ("127.0.0.2", 3479)),
        (("127.0.0.1", 3478), ("::1", 3479)),
        (("127.0.0.1", 3478), ("127.0.0.1", 3479)),
        (("127.0.0.1", 3478), ("127.0.0.2", 3478)),
    ],
)
def test_two_addresses_that_make_no_rfc_5780_server_are_refused(primary: Address, other: Address) -> None:
    with pytest.raises(ConfigurationError):
        StunService(primary, other)
