"""Addresses: text, wire form, and the scopes that decide who may be sent a probe."""

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holepunch.errors import ConfigurationError, WireError
from holepunch.proto.address import (
    Scope,
    canonical_host,
    decode_address,
    encode_address,
    format_address,
    is_ipv6,
    parse_address,
    scope_of,
)
from holepunch.proto.wire import Reader, Writer

hosts = st.one_of(st.ip_addresses(v=4), st.ip_addresses(v=6)).map(str)
addresses = st.tuples(hosts, st.integers(0, 65535))


@pytest.mark.parametrize(
    ("host", "scope"),
    [
        ("127.0.0.1", Scope.LOOPBACK),
        ("127.255.255.255", Scope.LOOPBACK),
        ("::1", Scope.LOOPBACK),
        ("169.254.1.1", Scope.LINK),
        ("fe80::1", Scope.LINK),
        ("fe80::1%eth0", Scope.LINK),
        ("10.0.0.1", Scope.PRIVATE),
        ("172.16.0.1", Scope.PRIVATE),
        ("172.31.255.255", Scope.PRIVATE),
        ("192.168.1.1", Scope.PRIVATE),
        ("fd00::1", Scope.PRIVATE),
        ("100.64.0.1", Scope.CGNAT),
        ("100.127.255.255", Scope.CGNAT),
        ("100.63.255.255", Scope.GLOBAL),
        ("100.128.0.0", Scope.GLOBAL),
        ("172.32.0.1", Scope.GLOBAL),
        ("1.1.1.1", Scope.GLOBAL),
        ("2606:4700::1111", Scope.GLOBAL),
        ("0.0.0.0", Scope.RESERVED),
        ("0.1.2.3", Scope.RESERVED),
        ("192.0.2.1", Scope.RESERVED),
        ("198.51.100.7", Scope.RESERVED),
        ("203.0.113.9", Scope.RESERVED),
        ("198.18.0.1", Scope.RESERVED),
        ("224.0.0.1", Scope.RESERVED),
        ("239.255.255.255", Scope.RESERVED),
        ("240.0.0.1", Scope.RESERVED),
        ("255.255.255.255", Scope.RESERVED),
        ("::", Scope.RESERVED),
        ("ff02::1", Scope.RESERVED),
        ("2001:db8::1", Scope.RESERVED),
        ("2002::1", Scope.RESERVED),
        ("2001::1", Scope.RESERVED),
        ("64:ff9b::1.2.3.4", Scope.RESERVED),
        ("4000::1", Scope.RESERVED),
    ],
)
def test_each_address_has_the_reach_that_its_rfc_gives_it(host: str, scope: Scope) -> None:
    assert scope_of(host) is scope


@pytest.mark.parametrize("host", ["::ffff:127.0.0.1", "::ffff:10.0.0.1", "::ffff:224.0.0.1", "::ffff:8.8.8.8"])
def test_an_ipv4_address_in_ipv6_clothes_never_passes_as_global(host: str) -> None:
    assert scope_of(host) is not Scope.GLOBAL


@given(hosts)
def test_every_address_has_a_scope(host: str) -> None:
    assert isinstance(scope_of(host), Scope)


@given(addresses)
def test_an_address_survives_the_wire(address: tuple[str, int]) -> None:
    writer = Writer()
    encode_address(writer, address)
    reader = Reader(writer.getvalue())
    assert decode_address(reader) == address
    reader.end()


def test_the_scope_of_a_link_is_not_sent() -> None:
    writer = Writer()
    encode_address(writer, ("fe80::1%eth0", 7))
    assert decode_address(Reader(writer.getvalue())) == ("fe80::1", 7)


@given(st.binary(max_size=24))
def test_decoding_any_bytes_gives_an_address_or_a_wire_error(data: bytes) -> None:
    try:
        host, port = decode_address(Reader(data))
    except WireError:
        return
    assert str(ipaddress.ip_address(host)) == host
    assert 0 <= port <= 65535


@pytest.mark.parametrize("family", [0, 1, 5, 255])
def test_an_unknown_family_is_named(family: int) -> None:
    with pytest.raises(WireError, match=f"family is {family}"):
        decode_address(Reader(bytes([family]) + bytes(30)))


@given(addresses)
def test_text_is_read_as_it_was_written(address: tuple[str, int]) -> None:
    assert parse_address(format_address(address)) == address


@pytest.mark.parametrize(
    ("text", "default", "address"),
    [
        ("192.0.2.1:5000", None, ("192.0.2.1", 5000)),
        ("[2001:db8::1]:5000", None, ("2001:db8::1", 5000)),
        ("[2001:db8::1]", 3478, ("2001:db8::1", 3478)),
        ("2001:db8::1", 3478, ("2001:db8::1", 3478)),
        ("stun.example.org", 3478, ("stun.example.org", 3478)),
        ("stun.example.org:443", 3478, ("stun.example.org", 443)),
    ],
)
def test_hosts_and_ports_are_told_apart(text: str, default: int | None, address: tuple[str, int]) -> None:
    assert parse_address(text, default_port=default) == address


@pytest.mark.parametrize(
    "text", ["", ":1", "host", "host:", "host:70000", "host:-1", "host:x", "[::1", "[::1]x", "[]:5", "a:٣"]
)
def test_what_is_no_address_is_refused_in_words(text: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        parse_address(text)
    assert str(caught.value)


def test_hosts_are_written_in_one_way() -> None:
    assert canonical_host("2001:0DB8::0001") == "2001:db8::1"
    with pytest.raises(ConfigurationError, match="not an IP address"):
        canonical_host("example.org")


def test_families_are_told_by_the_colon() -> None:
    assert is_ipv6("::1")
    assert not is_ipv6("127.0.0.1")
