"""The STUN codec against the vectors of RFC 5769, aioice's codec both ways, truncation and junk."""

import ipaddress

import pytest
from aioice import stun as aioice_stun
from hypothesis import given
from hypothesis import strategies as st

from holepunch.errors import WireError
from holepunch.proto.machine import Address
from holepunch.proto.stun.attributes import (
    MAGIC_COOKIE,
    Attribute,
    decode_error_code,
    decode_response_port,
    encode_error_code,
    encode_mapped_address,
    encode_response_port,
    encode_xor_mapped_address,
)
from holepunch.proto.stun.message import (
    MAX_ATTRIBUTES,
    Message,
    MessageClass,
    binding_request,
    decode_message,
    error_of,
    is_stun,
    mapped_address,
    other_address,
    response_origin,
)

# RFC 5769, sections 2.1-2.3.
REQUEST = bytes.fromhex(
    "000100582112a442b7e7a701bc34d686fa87dfae"
    "802200105354554e207465737420636c69656e74"
    "002400046e0001ff80290008932ff9b151263b36"
    "000600096576746a3a68367659202020"
    "000800149aeaa70cbfd8cb56781ef2b5b2d3f249c1b571a280280004e57a3bcf"
)
RESPONSE_IPV4 = bytes.fromhex(
    "0101003c2112a442b7e7a701bc34d686fa87dfae"
    "8022000b7465737420766563746f7220"
    "002000080001a147e112a643"
    "000800142b91f599fd9e90c38c7489f92af9ba53f06be7d780280004c07d4c96"
)
RESPONSE_IPV6 = bytes.fromhex(
    "010100482112a442b7e7a701bc34d686fa87dfae"
    "8022000b7465737420766563746f7220"
    "002000140002a1470113a9faa5d3f179bc25f4b5bed2b9d9"
    "00080014a382954e4be67bf11784c97c8292c275bfe3ed4180280004c8fb0b4c"
)
VECTORS = (REQUEST, RESPONSE_IPV4, RESPONSE_IPV6)
ID = bytes(range(12))

ipv4 = st.integers(0, 2**32 - 1).map(lambda n: str(ipaddress.IPv4Address(n)))
ipv6 = st.integers(0, 2**128 - 1).map(lambda n: str(ipaddress.IPv6Address(n)))
addresses = st.tuples(st.one_of(ipv4, ipv6), st.integers(0, 65535))


def response(*attributes: tuple[int, bytes], cookie: bytes = MAGIC_COOKIE) -> Message:
    return Message(message_class=MessageClass.SUCCESS, transaction_id=ID, attributes=attributes, cookie=cookie)


def test_the_request_of_rfc_5769_is_read_with_its_padding_and_fingerprint() -> None:
    message = decode_message(REQUEST)
    assert message.message_class is MessageClass.REQUEST
    assert message.get(Attribute.SOFTWARE) == b"STUN test client"
    assert message.get(Attribute.USERNAME) == b"evtj:h6vY"
    assert len(message.attributes) == 5


def test_the_responses_of_rfc_5769_give_their_addresses() -> None:
    assert mapped_address(decode_message(RESPONSE_IPV4)) == ("192.0.2.1", 32853)
    assert mapped_address(decode_message(RESPONSE_IPV6)) == ("2001:db8:1234:5678:11:2233:4455:6677", 32853)


@pytest.mark.parametrize("vector", VECTORS, ids=["request", "IPv4 response", "IPv6 response"])
def test_every_truncation_is_a_wire_error(vector: bytes) -> None:
    for length in range(len(vector)):
        with pytest.raises(WireError):
            decode_message(vector[:length])


@pytest.mark.parametrize("vector", VECTORS, ids=["request", "IPv4 response", "IPv6 response"])
def test_every_truncation_with_a_true_length_field_is_a_wire_error_or_ends_between_attributes(vector: bytes) -> None:
    whole = decode_message(vector)
    for length in range(20, len(vector) - 1):
        data = vector[:2] + (length - 20).to_bytes(2) + vector[4:length]
        try:
            shorter = decode_message(data)
        except WireError:
            continue
        assert shorter.attributes == whole.attributes[: len(shorter.attributes)]


@pytest.mark.parametrize("vector", VECTORS, ids=["request", "IPv4 response", "IPv6 response"])
def test_a_flipped_bit_in_a_fingerprinted_message_is_a_wire_error(vector: bytes) -> None:
    # The header, the value before FINGERPRINT and FINGERPRINT's own; a flipped attribute length may hide it.
    for at in (*range(20), *range(len(vector) - 28, len(vector) - 8), *range(len(vector) - 4, len(vector))):
        data = bytearray(vector)
        data[at] ^= 0x10
        with pytest.raises(WireError):
            decode_message(bytes(data))


@given(st.binary(max_size=200))
def test_no_bytes_from_the_network_raise_anything_but_wire_error(data: bytes) -> None:
    try:
        decode_message(data)
    except WireError:
        pass
    else:
        assert is_stun(data)


@given(st.binary(max_size=120), st.booleans(), st.sampled_from([0x0001, 0x0101, 0x0111, 0x0003]))
def test_no_attributes_from_the_network_raise_anything_but_wire_error(body: bytes, classic: bool, kind: int) -> None:
    data = kind.to_bytes(2) + len(body).to_bytes(2) + (bytes(4) if classic else MAGIC_COOKIE) + ID + body
    try:
        message = decode_message(data)
    except WireError:
        return
    # What was accepted can be asked anything.
    mapped_address(message), other_address(message), response_origin(message), error_of(message)


@given(
    st.sampled_from(MessageClass),
    st.integers(0, 0xFFF),
    st.binary(min_size=12, max_size=12),
    st.lists(st.tuples(st.integers(0x8100, 0xFFFF), st.binary(max_size=30)), max_size=8),
    st.booleans(),
)
def test_what_is_encoded_is_decoded_to_the_same(
    message_class: MessageClass, method: int, identifier: bytes, attributes: list[tuple[int, bytes]], fingerprint: bool
) -> None:
    message = Message(
        message_class=message_class, method=method, transaction_id=identifier, attributes=tuple(attributes)
    )
    assert decode_message(message.encode(fingerprint=fingerprint)) == message


@given(addresses)
def test_aioice_reads_our_addresses_as_we_do(address: Address) -> None:
    kind = Attribute.XOR_MAPPED_ADDRESS
    data = response((kind, encode_xor_mapped_address(address, MAGIC_COOKIE + ID))).encode(fingerprint=True)
    assert aioice_stun.parse_message(data).attributes["XOR-MAPPED-ADDRESS"] == address
    assert mapped_address(decode_message(data)) == address


@given(addresses, addresses, st.text(max_size=20))
def test_we_read_what_aioice_writes(mapped: Address, other: Address, software: str) -> None:
    theirs = aioice_stun.Message(aioice_stun.Method.BINDING, aioice_stun.Class.RESPONSE, ID)
    theirs.attributes["XOR-MAPPED-ADDRESS"] = mapped
    theirs.attributes["OTHER-ADDRESS"] = other
    theirs.attributes["RESPONSE-ORIGIN"] = other
    theirs.attributes["SOFTWARE"] = software
    theirs.add_fingerprint()
    message = decode_message(bytes(theirs))
    assert (message.message_class, message.transaction_id) == (MessageClass.SUCCESS, ID)
    assert (mapped_address(message), other_address(message), response_origin(message)) == (mapped, other, other)
    assert message.get(Attribute.SOFTWARE) == software.encode()


@pytest.mark.parametrize(
    ("change_ip", "change_port", "expected"), [(True, True, 6), (True, False, 4), (False, True, 2)]
)
def test_aioice_reads_our_change_request(change_ip: bool, change_port: bool, expected: int) -> None:
    data = binding_request(ID, change_ip=change_ip, change_port=change_port, fingerprint=True)
    theirs = aioice_stun.parse_message(data)
    assert theirs.attributes["CHANGE-REQUEST"] == expected
    assert theirs.message_method == aioice_stun.Method.BINDING
    assert theirs.message_class == aioice_stun.Class.REQUEST


def test_a_plain_request_is_only_a_header() -> None:
    assert binding_request(ID) == bytes.fromhex("000100002112a442") + ID


def test_aioice_reads_our_error_and_we_read_its() -> None:
    error = Message(
        message_class=MessageClass.ERROR,
        transaction_id=ID,
        attributes=((Attribute.ERROR_CODE, encode_error_code(420, "Unknown Attribute")),),
    )
    assert aioice_stun.parse_message(error.encode()).attributes["ERROR-CODE"] == (420, "Unknown Attribute")
    theirs = aioice_stun.Message(aioice_stun.Method.BINDING, aioice_stun.Class.ERROR, ID)
    theirs.attributes["ERROR-CODE"] = (500, "Server Error")
    assert error_of(decode_message(bytes(theirs))) == (500, "Server Error")


def test_a_classic_answer_is_understood_by_its_old_names() -> None:
    mapped, changed, source = ("192.0.2.7", 4000), ("192.0.2.9", 3479), ("192.0.2.8", 3478)
    message = response(
        (Attribute.MAPPED_ADDRESS, encode_mapped_address(mapped)),
        (Attribute.CHANGED_ADDRESS, encode_mapped_address(changed)),
        (Attribute.SOURCE_ADDRESS, encode_mapped_address(source)),
        cookie=b"\1\2\3\4",
    )
    read = decode_message(message.encode())
    assert read.is_classic
    assert (mapped_address(read), other_address(read), response_origin(read)) == (mapped, changed, source)


def test_xor_mapped_address_is_believed_before_mapped_address() -> None:
    real, rewritten = ("192.0.2.1", 1), ("10.0.0.1", 2)
    message = response(
        (Attribute.MAPPED_ADDRESS, encode_mapped_address(rewritten)),
        (Attribute.OLD_XOR_MAPPED_ADDRESS, encode_xor_mapped_address(real, MAGIC_COOKIE + ID)),
    )
    assert mapped_address(message) == real
    assert mapped_address(response()) is None


def test_a_malformed_address_spoils_the_message() -> None:
    for value in (b"", b"\0\1", bytes(8), encode_mapped_address(("1.2.3.4", 5)) + bytes(4)):
        with pytest.raises(WireError):
            decode_message(response((Attribute.MAPPED_ADDRESS, value)).encode())


def test_the_number_of_attributes_is_bounded() -> None:
    decode_message(response(*[(0x8100, b"")] * MAX_ATTRIBUTES).encode())
    with pytest.raises(WireError, match=str(MAX_ATTRIBUTES)):
        decode_message(response(*[(0x8100, b"")] * (MAX_ATTRIBUTES + 1)).encode())


def test_stun_is_told_from_other_traffic() -> None:
    assert is_stun(binding_request(ID))
    assert is_stun(b"\1\1\0\0" + bytes(16)), "a classic response has no cookie"
    assert not is_stun(b"\x80\1\0\0" + MAGIC_COOKIE + ID), "RTP begins with bit 0"
    assert not is_stun(b"\0\1\0\4" + MAGIC_COOKIE + ID), "the length must fit"
    assert not is_stun(b"\0\3\0\0" + bytes(16)), "no classic type"
    assert not is_stun(b"")


def test_response_port_is_read_in_both_of_its_forms() -> None:
    assert decode_response_port(encode_response_port(4000)) == 4000
    assert decode_response_port((4000).to_bytes(2)) == 4000
    for value in (b"", b"\1", bytes(4), bytes(5)):
        with pytest.raises(WireError):
            decode_response_port(value)


def test_an_error_number_outside_its_range_is_a_wire_error() -> None:
    assert decode_error_code(b"\0\0\3\0Try Alternate") == (300, "Try Alternate")
    for value in (b"\0\0\2\0", b"\0\0\7\0", b"\0\0\4\x64", b"\0\0\4"):
        with pytest.raises(WireError):
            decode_error_code(value)
