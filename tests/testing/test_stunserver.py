"""The laboratory's STUN server, as a process on loopback."""

import socket
from collections.abc import Iterator

import pytest

from holepunch.proto.stun.message import binding_request, decode_message, mapped_address, other_address
from holepunch.testing import stunserver
from tests.stunning import stun_server

ADDRESS, OTHER = "127.83.84.1", "127.83.84.2"  # loopback addresses of this test alone
ID = bytes(range(12))


@pytest.fixture
def client() -> Iterator[socket.socket]:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.bind(("127.83.84.3", 0))
        client.settimeout(10)
        yield client


def test_it_answers_from_all_four_endpoints(client: socket.socket) -> None:
    seen = set()
    with stun_server(ADDRESS, OTHER):
        for change_ip in (False, True):
            for change_port in (False, True):
                request = binding_request(ID, change_ip=change_ip, change_port=change_port)
                client.sendto(request, (ADDRESS, 3478))
                data, remote = client.recvfrom(2048)
                seen.add(remote)
                message = decode_message(data)
                assert mapped_address(message) == client.getsockname()
                assert other_address(message) == (OTHER, 3479)
    assert seen == {(ADDRESS, 3478), (ADDRESS, 3479), (OTHER, 3478), (OTHER, 3479)}


def test_it_survives_junk(client: socket.socket) -> None:
    with stun_server(ADDRESS):
        for junk in (b"", b"\0", bytes(20), b"\xff" * 1400, binding_request(ID)[:-1]):
            client.sendto(junk, (ADDRESS, 3478))
        client.sendto(binding_request(ID), (ADDRESS, 3478))
        assert decode_message(client.recv(2048)).transaction_id == ID


def test_two_addresses_are_of_one_family(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        stunserver.main(["--address", ADDRESS, "--other-address", "::1"])
    assert "one family" in capsys.readouterr().err
