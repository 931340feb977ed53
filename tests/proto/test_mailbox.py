"""The frames between a client and the hub's mailbox."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holepunch.errors import WireError
from holepunch.proto.mailbox import (
    MAX_FRAME,
    Challenge,
    ClientFrame,
    Delivery,
    Discard,
    HubFrame,
    Login,
    Post,
    Posted,
    Reason,
    Refused,
    Subscribe,
    Welcome,
    decode_client_frame,
    decode_deliveries,
    decode_hub_frame,
    encode_deliveries,
    login_statement,
)

CLIENT_FRAMES: list[ClientFrame] = [
    Login(b"o" * 32, b"s" * 64),
    Subscribe(b"e" * 8, 2**63),
    Post(1, 900, b"envelope"),
    Post(0xFFFFFFFF, 0, b""),
    Discard(b"i" * 16),
]
HUB_FRAMES: list[HubFrame] = [
    Challenge(b"c" * 48, b"e" * 8),
    Welcome(),
    Posted(7),
    Refused(7, Reason.RATE, 1.5, "too fast"),
    Delivery(12, b"envelope"),
]


@pytest.mark.parametrize("frame", CLIENT_FRAMES)
def test_a_clients_frame_survives_the_wire(frame: ClientFrame) -> None:
    assert decode_client_frame(frame.encode()) == frame


@pytest.mark.parametrize("frame", HUB_FRAMES)
def test_a_hubs_frame_survives_the_wire(frame: HubFrame) -> None:
    assert decode_hub_frame(frame.encode()) == frame


def test_the_bytes_of_the_frames_are_those_of_the_protocol() -> None:
    assert Post(5, 900, b"HP").encode().hex() == "0300000005000003844850"
    assert Subscribe(bytes(8), 9).encode().hex() == "02" + "00" * 8 + "0000000000000009"
    assert Refused(1, Reason.MAILBOX_FULL, 0.25, "no").encode().hex() == "840000000105000000fa00026e6f"
    assert Delivery(3, b"HP").encode().hex() == "8500000000000000034850"


@pytest.mark.parametrize("frame", [frame for frame in CLIENT_FRAMES if not isinstance(frame, Post)])
def test_a_clients_frame_cut_or_lengthened_is_a_wire_error(frame: ClientFrame) -> None:
    data = frame.encode()
    for wrong in [*(data[:length] for length in range(len(data))), data + b"x"]:
        with pytest.raises(WireError):
            decode_client_frame(wrong)


@pytest.mark.parametrize("frame", [frame for frame in HUB_FRAMES if not isinstance(frame, Delivery)])
def test_a_hubs_frame_cut_or_lengthened_is_a_wire_error(frame: HubFrame) -> None:
    data = frame.encode()
    for wrong in [*(data[:length] for length in range(len(data))), data + b"x"]:
        with pytest.raises(WireError):
            decode_hub_frame(wrong)


def test_a_frame_that_is_too_long_a_post_numbered_0_and_an_unknown_reason_are_wire_errors() -> None:
    with pytest.raises(WireError, match=f"no more than {MAX_FRAME}"):
        decode_client_frame(Post(1, 1, bytes(MAX_FRAME)).encode())
    with pytest.raises(WireError, match="number 0"):
        decode_client_frame(Post(0, 1, b"x").encode())
    with pytest.raises(WireError):
        decode_hub_frame(bytes.fromhex("84000000016300000000" + "0000"))


@given(st.binary(max_size=200))
def test_no_bytes_from_the_network_raise_anything_but_wire_error(data: bytes) -> None:
    for decode in (decode_client_frame, decode_hub_frame, decode_deliveries):
        try:
            decode(data)
        except WireError:
            continue


@given(st.lists(st.builds(Delivery, st.integers(0, 2**64 - 1), st.binary(max_size=300))))
def test_a_list_of_deliveries_survives_the_wire(deliveries: list[Delivery]) -> None:
    assert decode_deliveries(encode_deliveries(deliveries)) == deliveries


def test_a_list_holds_nothing_but_deliveries() -> None:
    welcome = Welcome().encode()
    with pytest.raises(WireError, match="found Welcome"):
        decode_deliveries(len(welcome).to_bytes(2) + welcome)


def test_statements_differ_by_challenge_and_by_hub() -> None:
    statements = {
        login_statement(challenge, audience)
        for challenge in (b"a" * 48, b"b" * 48)
        for audience in ("hub.example", "hub.example:8443")
    }
    assert len(statements) == 4
