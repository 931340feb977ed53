"""The STUN server: what it answers, from where, and what it leaves unanswered."""

import pytest
from aioice import stun as aioice_stun
from hypothesis import given
from hypothesis import strategies as st

from holepunch.proto.machine import Address, OpenSocket
from holepunch.proto.stun.attributes import Attribute, encode_error_code
from holepunch.proto.stun.message import (
    Message,
    MessageClass,
    binding_request,
    decode_message,
    error_of,
    mapped_address,
    other_address,
    response_origin,
)
from holepunch.proto.stun.responder import RateLimit, Responder, Unavailable

ID = bytes(range(12))
PRIMARY, OTHER = ("192.0.2.1", 3478), ("192.0.2.2", 3479)
CLIENT = ("198.51.100.7", 40000)
ENDPOINTS = [PRIMARY, ("192.0.2.1", 3479), ("192.0.2.2", 3478), OTHER]


def opened(responder: Responder, now: float = 0.0) -> Responder:
    """Opens all the sockets it asks for."""
    while isinstance(event := responder.next_event(), OpenSocket):
        responder.socket_opened(event.local, (event.host, event.port), now)
    return responder


def ask(responder: Responder, data: bytes, local: int = 0) -> tuple[Message, Address, int]:
    responder.receive_datagram(data, CLIENT, 0.0, local)
    (transmit,) = responder.datagrams_to_send(0.0)
    return decode_message(transmit.data), transmit.remote, transmit.local


@pytest.mark.parametrize("local", range(4))
@pytest.mark.parametrize("change_ip", [False, True])
@pytest.mark.parametrize("change_port", [False, True])
def test_the_answer_comes_from_where_change_request_says(local: int, change_ip: bool, change_port: bool) -> None:
    responder = opened(Responder(PRIMARY, OTHER))
    request = binding_request(ID, change_ip=change_ip, change_port=change_port)
    message, remote, answering = ask(responder, request, local)
    assert remote == CLIENT
    assert mapped_address(message) == CLIENT
    assert message.transaction_id == ID
    asked, answered = ENDPOINTS[local], ENDPOINTS[answering]
    assert (asked[0] != answered[0], asked[1] != answered[1]) == (change_ip, change_port)
    assert response_origin(message) == answered
    other = other_address(message)
    assert other is not None
    assert other[0] != asked[0]
    assert other[1] != asked[1]


def test_it_opens_two_addresses_by_two_ports() -> None:
    responder = Responder(PRIMARY, OTHER, first_local=10)
    assert [responder.next_event() for _ in range(5)] == [
        OpenSocket(10, 4, "192.0.2.1", 3478),
        OpenSocket(11, 4, "192.0.2.1", 3479),
        OpenSocket(12, 4, "192.0.2.2", 3478),
        OpenSocket(13, 4, "192.0.2.2", 3479),
        None,
    ]


def test_its_sockets_may_be_numbered_from_anywhere() -> None:
    responder = opened(Responder(PRIMARY, OTHER, first_local=10))
    message, _, answering = ask(responder, binding_request(ID, change_ip=True), 11)
    assert answering == 13
    assert response_origin(message) == OTHER


def test_a_plain_server_has_one_socket_and_refuses_to_change() -> None:
    responder = opened(Responder(("192.0.2.1", 0)))
    message, _, _ = ask(responder, binding_request(ID))
    assert mapped_address(message) == CLIENT
    assert other_address(message) is None
    message, _, _ = ask(responder, binding_request(ID, change_port=True))
    assert message.message_class is MessageClass.ERROR
    assert error_of(message) == (420, "Unknown Attribute")
    assert message.get(Attribute.UNKNOWN_ATTRIBUTES) == Attribute.CHANGE_REQUEST.to_bytes(2)


def test_ipv6_is_served_too() -> None:
    responder = opened(Responder(("2001:db8::1", 3478), ("2001:db8::2", 3479)))
    answer = responder.respond(binding_request(ID, change_ip=True), ("2001:db8::7", 5), 0)
    assert answer is not None
    assert mapped_address(decode_message(answer.data)) == ("2001:db8::7", 5)
    assert answer.local == 2


def test_a_server_behind_a_one_to_one_nat_names_its_outer_addresses() -> None:
    responder = opened(Responder(("10.0.0.4", 3478), ("10.0.0.5", 3479), advertised=("192.0.2.1", "192.0.2.2")))
    message, _, _ = ask(responder, binding_request(ID))
    assert (response_origin(message), other_address(message)) == (PRIMARY, OTHER)


def test_a_classic_request_gets_a_classic_answer() -> None:
    responder = opened(Responder(PRIMARY, OTHER))
    request = Message(message_class=MessageClass.REQUEST, transaction_id=ID, cookie=b"\1\2\3\4").encode()
    message, _, _ = ask(responder, request)
    assert message.cookie == b"\1\2\3\4"
    assert [kind for kind, _ in message.attributes] == [
        Attribute.MAPPED_ADDRESS,
        Attribute.SOURCE_ADDRESS,
        Attribute.CHANGED_ADDRESS,
    ]
    assert (mapped_address(message), other_address(message)) == (CLIENT, OTHER)


def test_response_port_sends_the_answer_to_another_port_of_the_same_host() -> None:
    responder = opened(Responder(PRIMARY, OTHER))
    message, remote, _ = ask(responder, binding_request(ID, response_port=5000))
    assert remote == (CLIENT[0], 5000)
    assert mapped_address(message) == CLIENT


def test_an_answer_to_somebody_else_is_refused() -> None:
    responder = opened(Responder(PRIMARY, OTHER))
    attributes = ((int(Attribute.RESPONSE_ADDRESS), bytes.fromhex("00010050c0000263")),)
    request = Message(message_class=MessageClass.REQUEST, transaction_id=ID, attributes=attributes)
    message, remote, _ = ask(responder, request.encode())
    assert remote == CLIENT
    assert error_of(message) == (420, "Unknown Attribute")
    classic = Message(
        message_class=MessageClass.REQUEST, transaction_id=ID, attributes=attributes, cookie=bytes(4)
    ).encode()
    responder.receive_datagram(classic, CLIENT, 0.0)
    assert responder.datagrams_to_send(0.0) == [], "a classic client may ask again at once, for ever"


def test_aioice_reads_the_answer() -> None:
    responder = opened(Responder(PRIMARY, OTHER))
    request = aioice_stun.Message(aioice_stun.Method.BINDING, aioice_stun.Class.REQUEST, ID)
    answer = responder.respond(bytes(request), CLIENT)
    assert answer is not None
    theirs = aioice_stun.parse_message(answer.data)
    assert theirs.attributes["XOR-MAPPED-ADDRESS"] == CLIENT
    assert theirs.attributes["OTHER-ADDRESS"] == OTHER
    assert theirs.attributes["RESPONSE-ORIGIN"] == PRIMARY


@pytest.mark.parametrize(
    "message_class", [MessageClass.INDICATION, MessageClass.SUCCESS, MessageClass.ERROR], ids=lambda c: str(c.name)
)
def test_only_requests_are_answered(message_class: MessageClass) -> None:
    attributes = ((int(Attribute.ERROR_CODE), encode_error_code(400, "")),)
    data = Message(message_class=message_class, transaction_id=ID, attributes=attributes).encode()
    assert Responder(PRIMARY, OTHER).respond(data, CLIENT) is None


def test_only_binding_is_answered() -> None:
    data = Message(message_class=MessageClass.REQUEST, transaction_id=ID, method=3).encode()
    assert Responder(PRIMARY, OTHER).respond(data, CLIENT) is None


@given(st.binary(max_size=100))
def test_no_bytes_make_it_raise_or_answer_at_length(body: bytes) -> None:
    responder = Responder(PRIMARY, OTHER)
    data = b"\0\1" + len(body).to_bytes(2) + bytes.fromhex("2112a442") + ID + body
    answer = responder.respond(data, CLIENT)
    assert answer is None or len(answer.data) <= 80


def test_a_source_over_its_budget_is_not_answered_until_time_has_passed() -> None:
    responder = opened(Responder(PRIMARY, limit=RateLimit(rate=10, burst=5)))
    for _ in range(20):
        responder.receive_datagram(binding_request(ID), CLIENT, 0.0)
    assert len(responder.datagrams_to_send(0.0)) == 5
    responder.receive_datagram(binding_request(ID), ("198.51.100.8", 1), 0.0)
    assert len(responder.datagrams_to_send(0.0)) == 1, "another source has a budget of its own"
    for _ in range(20):
        responder.receive_datagram(binding_request(ID), CLIENT, 0.35)
    assert len(responder.datagrams_to_send(0.35)) == 3


def test_an_ipv6_site_has_one_budget() -> None:
    limit = RateLimit(rate=1, burst=2)
    assert [limit.allows(f"2001:db8::{host}", 0.0) for host in range(3)] == [True, True, False]
    assert limit.allows("2001:db8:0:1::1", 0.0)


def test_the_sources_remembered_are_bounded() -> None:
    limit = RateLimit(rate=1, burst=1, max_sources=100)
    for host in range(1000):
        limit.allows(f"198.51.{host // 250}.{host % 250}", 0.0)
    assert len(limit._buckets) == 100


def test_a_socket_that_fails_is_reported_and_never_answered_from() -> None:
    responder = Responder(PRIMARY, OTHER)
    for local in range(3):
        responder.socket_opened(local, ENDPOINTS[local], 0.0)
    responder.socket_failed(3, "the address is not ours", 0.0)
    events = [responder.next_event() for _ in range(6)]
    assert Unavailable(OTHER, "the address is not ours") in events
    responder.receive_datagram(binding_request(ID, change_ip=True, change_port=True), CLIENT, 0.0, 0)
    assert responder.datagrams_to_send(0.0) == []
