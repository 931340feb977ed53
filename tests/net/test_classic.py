"""pystun3 in its child process: its opinion, its limits, and what it prints."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holepunch.errors import ConfigurationError
from holepunch.net.classic import MAX_SENDS, ClassicOpinion, classic_opinion, read_opinion, require_pystun3
from holepunch.net.udp import UdpSocket
from holepunch.proto.machine import Address
from tests.stunning import stun_server

SOURCE = "127.83.85.9"  # loopback addresses of this test alone
SERVER, OTHER = "127.83.85.1", "127.83.85.2"


async def test_a_machine_without_a_nat_is_open() -> None:
    with stun_server(SERVER, OTHER):
        opinion = await classic_opinion((SERVER, 3478), SOURCE)
    assert opinion.nat_type == "Open Internet"
    assert opinion.external is not None
    assert opinion.external[0] == SOURCE


async def test_its_endless_loop_on_an_error_response_is_ended() -> None:
    asked = 0

    def refuse(data: bytes, remote: Address) -> None:
        nonlocal asked
        asked += 1
        socket.send(b"\x01\x11\x00\x00" + data[4:20], remote)

    socket = UdpSocket(4, "127.83.85.3", 3478)
    socket.start(refuse)
    try:
        opinion = await classic_opinion(socket.address, SOURCE)
    finally:
        socket.close()
    assert "wanted to go on" in opinion.failure
    assert asked == MAX_SENDS


@pytest.mark.parametrize("answer", [b"", b"junk", b"\x01\x01\x00\x08" + bytes(24)], ids=["empty", "junk", "stranger's"])
async def test_whatever_makes_it_fall_over_is_a_failure(answer: bytes) -> None:
    def reply(_: bytes, remote: Address) -> None:
        socket.send(answer, remote)

    socket = UdpSocket(4, "127.83.85.4", 3478)
    socket.start(reply)
    try:
        opinion = await classic_opinion(socket.address, SOURCE)
    finally:
        socket.close()
    assert opinion.nat_type == ""
    assert opinion.failure


async def test_it_is_killed_when_its_time_is_up() -> None:
    silent = UdpSocket(4, "127.83.85.5", 3478)
    try:
        opinion = await classic_opinion(silent.address, SOURCE, time_limit=0.5)
    finally:
        silent.close()
    assert opinion == ClassicOpinion(failure="no opinion after 0.5 s")


@given(st.binary(max_size=60))
def test_nothing_that_the_child_prints_raises(output: bytes) -> None:
    opinion = read_opinion(output)
    assert opinion.nat_type or opinion.failure


@given(
    st.recursive(
        st.none() | st.integers() | st.text(), lambda inner: st.dictionaries(st.text(), inner) | st.lists(inner)
    )
)
def test_no_json_that_the_child_prints_raises(value: object) -> None:
    read_opinion(json.dumps(value).encode())


def test_a_whole_opinion_is_read() -> None:
    output = json.dumps({"nat_type": "Full Cone", "host": "192.0.2.1", "port": 5}).encode()
    assert read_opinion(output) == ClassicOpinion(nat_type="Full Cone", external=("192.0.2.1", 5))
    output = json.dumps({"nat_type": "Restric Port NAT", "host": None, "port": None}).encode()
    assert read_opinion(output) == ClassicOpinion(nat_type="Restric Port NAT")


def test_without_the_library_a_person_is_told_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    require_pystun3()
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    with pytest.raises(ConfigurationError) as failure:
        require_pystun3()
    assert "pip install" in failure.value.hint
