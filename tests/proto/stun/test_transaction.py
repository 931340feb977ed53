"""One STUN request on a bad network, in virtual time."""

import pytest

from holepunch.proto.machine import Address
from holepunch.proto.stun.attributes import (
    MAGIC_COOKIE,
    Attribute,
    encode_error_code,
    encode_xor_mapped_address,
)
from holepunch.proto.stun.message import Message, MessageClass, binding_request, mapped_address
from holepunch.proto.stun.transaction import Answered, GaveUp, Transaction

ID = bytes(range(12))
SERVER = ("192.0.2.1", 3478)
MAPPED = ("198.51.100.7", 4000)


def answer(identifier: bytes = ID, message_class: MessageClass = MessageClass.SUCCESS) -> bytes:
    attributes = [(Attribute.XOR_MAPPED_ADDRESS, encode_xor_mapped_address(MAPPED, MAGIC_COOKIE + identifier))]
    if message_class is MessageClass.ERROR:
        attributes = [(Attribute.ERROR_CODE, encode_error_code(500, "Server Error"))]
    return Message(message_class=message_class, transaction_id=identifier, attributes=tuple(attributes)).encode()


def run_silently(transaction: Transaction) -> tuple[list[float], float]:
    """Plays a server that never answers; returns when requests were sent, and the end."""
    sent, now = [], 0.0
    transaction.start(now)
    for _ in range(100):
        sent += [now] * len(transaction.datagrams_to_send(now))
        if (deadline := transaction.get_timer()) is None:
            return sent, now
        now = deadline
        transaction.handle_timer(now)
    raise AssertionError("it never gave up")


def test_silent_server_is_asked_seven_times_in_39_5_seconds() -> None:
    transaction = Transaction(binding_request(ID), SERVER)
    assert run_silently(transaction) == ([0, 0.5, 1.5, 3.5, 7.5, 15.5, 31.5], 39.5)
    assert isinstance(transaction.next_event(), GaveUp)
    assert transaction.next_event() is None


def test_the_schedule_can_be_shortened() -> None:
    transaction = Transaction(binding_request(ID), SERVER, rto=0.2, max_requests=3, last_wait=4)
    sent, end = run_silently(transaction)
    assert sent == pytest.approx([0, 0.2, 0.6])
    assert end == pytest.approx(1.4)


def test_an_answer_ends_it_and_gives_the_round_trip_time() -> None:
    transaction = Transaction(binding_request(ID), SERVER, local=3, ttl=9)
    transaction.start(1.0)
    (transmit,) = transaction.datagrams_to_send(1.0)
    assert (transmit.remote, transmit.local, transmit.ttl) == (SERVER, 3, 9)
    transaction.receive_datagram(answer(), SERVER, 1.08)
    event = transaction.next_event()
    assert isinstance(event, Answered)
    assert (mapped_address(event.response), event.remote) == (MAPPED, SERVER)
    assert event.rtt == pytest.approx(0.08)
    assert transaction.get_timer() is None
    transaction.receive_datagram(answer(), SERVER, 1.1)
    assert transaction.next_event() is None, "a duplicate is not a second answer"


@pytest.mark.parametrize(
    ("data", "remote"),
    [
        (answer(), ("192.0.2.1", 3479)),
        (answer(), ("192.0.2.2", 3478)),
        (answer(bytes(12)), SERVER),
        (answer()[:-4], SERVER),
        (binding_request(ID), SERVER),
        (b"", SERVER),
    ],
    ids=["other port", "other host", "other transaction", "truncated", "our request reflected", "empty"],
)
def test_what_is_not_our_answer_is_ignored(data: bytes, remote: Address) -> None:
    transaction = Transaction(binding_request(ID), SERVER)
    transaction.start(0)
    transaction.receive_datagram(data, remote, 0.01)
    assert transaction.next_event() is None
    assert transaction.is_running


def test_an_answer_to_a_change_request_may_come_from_anywhere() -> None:
    transaction = Transaction(binding_request(ID, change_ip=True), SERVER, any_source=True)
    transaction.start(0)
    transaction.receive_datagram(answer(), ("192.0.2.2", 3479), 0.01)
    event = transaction.next_event()
    assert isinstance(event, Answered)
    assert event.remote == ("192.0.2.2", 3479)


def test_an_error_ends_it_at_once() -> None:
    transaction = Transaction(binding_request(ID), SERVER)
    transaction.start(0)
    transaction.receive_datagram(answer(message_class=MessageClass.ERROR), SERVER, 0.01)
    event = transaction.next_event()
    assert isinstance(event, GaveUp)
    assert event.code == 500
    assert transaction.get_timer() is None


def test_a_stopped_transaction_is_silent() -> None:
    transaction = Transaction(binding_request(ID), SERVER)
    transaction.start(0)
    transaction.stop()
    transaction.handle_timer(100)
    assert transaction.datagrams_to_send(100) == []
    assert (transaction.next_event(), transaction.get_timer()) == (None, None)


def test_a_timer_called_early_does_nothing() -> None:
    transaction = Transaction(binding_request(ID), SERVER)
    transaction.start(0)
    transaction.datagrams_to_send(0)
    transaction.handle_timer(0.4)
    assert transaction.datagrams_to_send(0.4) == []
