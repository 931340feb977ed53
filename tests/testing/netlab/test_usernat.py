"""The user-space NAT: what it writes into packets, and what it lets through."""

import socket
import struct
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holepunch.proto.nat import Allocation, Filtering, Mapping
from holepunch.testing.netlab import packet as p
from holepunch.testing.netlab.usernat import UserNat
from holepunch.testing.simnet.behaviour import Behaviour, Unsolicited

OUTER, INNER, OTHER, REMOTE = "11.1.1.1", "192.168.1.2", "192.168.1.3", "11.2.9.2"
Endpoint = tuple[str, int]


def nat(**behaviour: object) -> UserNat:
    return UserNat(Behaviour().but(**behaviour), OUTER, Random(1))


def build(protocol: int, source: Endpoint, target: Endpoint, payload: bytes = b"hello") -> bytearray:
    """A packet of UDP or TCP with right checksums."""
    ports = struct.pack("!HH", source[1], target[1])
    if protocol == p.UDP:
        at, body = 6, bytearray(ports + struct.pack("!HH", 8 + len(payload), 0) + payload)
    else:
        at, body = 16, bytearray(ports + bytes(8) + bytes([0x50, 2, 0xFF, 0xFF]) + bytes(4) + payload)
    here, there = socket.inet_aton(source[0]), socket.inet_aton(target[0])
    body[at : at + 2] = p.checksum(pseudo(here, there, protocol, len(body)) + body).to_bytes(2, "big")
    return p.ipv4_header(here, there, protocol, len(body)) + body


def echo(source: str, target: str, kind: int, identifier: int) -> bytearray:
    """An ICMP echo request or reply."""
    body = bytearray(struct.pack("!BBHHH", kind, 0, 0, identifier, 1) + b"data")
    body[2:4] = p.checksum(body).to_bytes(2, "big")
    return p.ipv4_header(socket.inet_aton(source), socket.inet_aton(target), p.ICMP, len(body)) + body


def pseudo(source: bytes | bytearray, target: bytes | bytearray, protocol: int, length: int) -> bytes:
    return bytes(source) + target + struct.pack("!BBH", 0, protocol, length)


def ends(packet: bytearray | None) -> tuple[Endpoint, Endpoint]:
    """Source and target of a packet whose checksums are right."""
    assert packet is not None
    assert p.checksum(packet[:20]) == 0
    if packet[9] == p.ICMP:
        assert p.checksum(packet[20:]) == 0
        ports = (packet[24] << 8 | packet[25],) * 2
    else:
        assert p.checksum(pseudo(packet[12:16], packet[16:20], packet[9], len(packet) - 20) + packet[20:]) == 0
        ports = struct.unpack("!HH", packet[20:24])
    return (socket.inet_ntoa(packet[12:16]), ports[0]), (socket.inet_ntoa(packet[16:20]), ports[1])


@pytest.mark.parametrize("protocol", [p.UDP, p.TCP])
@given(payload=st.binary(max_size=50), port=st.integers(1, 65535), far=st.integers(1, 65535))
def test_a_packet_goes_out_and_its_answer_comes_in(protocol: int, payload: bytes, port: int, far: int) -> None:
    box = nat(allocation=Allocation.RANDOM)
    out, back = box.outgoing(build(protocol, (INNER, port), (REMOTE, far), payload), 0.0)
    (outer, target) = ends(out)
    assert not back
    assert outer[0] == OUTER
    assert target == (REMOTE, far)
    assert out is not None
    assert out[len(out) - len(payload) :] == payload
    answer = box.incoming(build(protocol, (REMOTE, far), outer, payload), 0.1)
    assert ends(answer) == ((REMOTE, far), (INNER, port))


def test_an_echo_is_told_by_its_identifier() -> None:
    box = nat(allocation=Allocation.SEQUENTIAL)
    outs = [box.outgoing(echo(host, REMOTE, p.ICMP_ECHO_REQUEST, 7), 0.0)[0] for host in (INNER, OTHER)]
    identifiers = [ends(out)[0][1] for out in outs]
    assert identifiers[0] != identifiers[1]
    for host, identifier in zip((INNER, OTHER), identifiers, strict=True):
        answer = box.incoming(echo(REMOTE, OUTER, p.ICMP_ECHO_REPLY, identifier), 0.1)
        assert ends(answer)[1] == (host, 7)
    assert box.incoming(echo(REMOTE, OUTER, p.ICMP_ECHO_REQUEST, 7), 0.1) is None


def test_an_error_about_a_packet_finds_its_sender() -> None:
    box = nat(allocation=Allocation.RANDOM)
    out, _ = box.outgoing(build(p.UDP, (INNER, 5000), (REMOTE, 6000)), 0.0)
    assert out is not None
    error = box.incoming(p.time_exceeded(out, socket.inet_aton("11.0.0.1")), 0.1)
    assert error is not None
    assert p.checksum(error[:20]) == 0
    assert p.checksum(error[20:]) == 0
    assert socket.inet_ntoa(error[12:16]) == "11.0.0.1"
    assert socket.inet_ntoa(error[16:20]) == INNER
    quoted = error[28:]
    assert p.checksum(quoted[:20]) == 0
    assert socket.inet_ntoa(quoted[12:16]) == INNER
    assert struct.unpack("!HH", quoted[20:24]) == (5000, 6000)


def test_an_error_from_inside_shows_the_outer_address_only() -> None:
    box = nat(allocation=Allocation.RANDOM)
    out, _ = box.outgoing(build(p.UDP, (INNER, 5000), (REMOTE, 6000)), 0.0)
    outer = ends(out)[0]
    arrived = box.incoming(build(p.UDP, (REMOTE, 6000), outer), 0.1)
    assert arrived is not None
    error, _ = box.outgoing(p.time_exceeded(arrived, socket.inet_aton("192.168.1.1")), 0.2)
    assert error is not None
    assert p.checksum(error[20:]) == 0
    assert socket.inet_ntoa(error[12:16]) == OUTER
    assert socket.inet_ntoa(error[44:48]) == OUTER
    assert struct.unpack("!HH", error[48:52]) == (6000, outer[1])


def test_errors_about_nothing_we_sent_are_dropped() -> None:
    box = nat()
    stranger = build(p.UDP, (OUTER, 5000), (REMOTE, 6000))
    assert box.incoming(p.time_exceeded(stranger, socket.inet_aton("11.0.0.1")), 0.0) is None
    assert box.counts["unknown"] == 1


@pytest.mark.parametrize(
    ("filtering", "source", "passes"),
    [
        (Filtering.ENDPOINT_INDEPENDENT, ("11.9.9.9", 1), True),
        (Filtering.ADDRESS_DEPENDENT, (REMOTE, 1), True),
        (Filtering.ADDRESS_DEPENDENT, ("11.9.9.9", 6000), False),
        (Filtering.ADDRESS_AND_PORT_DEPENDENT, (REMOTE, 6000), True),
        (Filtering.ADDRESS_AND_PORT_DEPENDENT, (REMOTE, 1), False),
    ],
)
def test_who_may_send_to_a_mapping(filtering: Filtering, source: Endpoint, passes: bool) -> None:
    box = nat(filtering=filtering)
    outer = ends(box.outgoing(build(p.UDP, (INNER, 5000), (REMOTE, 6000)), 0.0)[0])[0]
    assert (box.incoming(build(p.UDP, source, outer), 0.1) is not None) == passes
    assert box.counts["unsolicited"] == (not passes)


def test_a_strict_nat_moves_after_an_unsolicited_packet_but_tcp_is_not_harmed() -> None:
    box = nat(unsolicited=Unsolicited.MOVE)
    for protocol, same in ((p.UDP, False), (p.TCP, True)):
        before = ends(box.outgoing(build(protocol, (INNER, 5000), (REMOTE, 6000)), 0.0)[0])[0]
        assert box.incoming(build(protocol, ("11.9.9.9", 1), before), 0.1) is None
        after = ends(box.outgoing(build(protocol, (INNER, 5000), (REMOTE, 6000)), 0.2)[0])[0]
        assert (after == before) == same


@pytest.mark.parametrize("hairpin", [False, True])
def test_inside_hosts_meet_by_their_outer_endpoints_where_it_hairpins(hairpin: bool) -> None:
    box = nat(hairpin=hairpin)
    outers = [ends(box.outgoing(build(p.UDP, (host, 5000), (REMOTE, 6000)), 0.0)[0])[0] for host in (INNER, OTHER)]
    assert box.outgoing(build(p.UDP, (INNER, 5000), outers[1]), 0.1)[0] is None, "the other has not sent yet"
    turned, back = box.outgoing(build(p.UDP, (OTHER, 5000), outers[0]), 0.2)
    if hairpin:
        assert back
        assert ends(turned) == (outers[1], (INNER, 5000))
    else:
        assert turned is None


def test_a_flush_forgets_and_flows_end_in_time() -> None:
    box = nat(mapping=Mapping.ADDRESS_AND_PORT_DEPENDENT, allocation=Allocation.SEQUENTIAL, unreplied_timeout=30.0)
    first = ends(box.outgoing(build(p.UDP, (INNER, 5000), (REMOTE, 6000)), 0.0)[0])[0]
    assert box.flows(29.0) == 1
    assert box.flows(31.0) == 0
    box.flush()
    assert box.flows(1.0) == 0
    assert box.incoming(build(p.UDP, (REMOTE, 6000), first), 1.0) is None


def test_fragments_unknown_protocols_and_ipv6() -> None:
    box = nat()
    fragment = build(p.UDP, (INNER, 5000), (REMOTE, 6000))
    fragment[6] = 0x20
    assert box.outgoing(fragment, 0.0) == (None, False)
    other = p.ipv4_header(socket.inet_aton(INNER), socket.inet_aton(REMOTE), 47, 8) + bytes(8)
    assert box.outgoing(other, 0.0) == (None, False)
    six = p.ipv6_header(bytes(16), bytes(16), p.UDP, 8) + bytes(8)
    assert box.outgoing(six[:], 0.0) == (six, False)
    assert box.incoming(six[:], 0.0) == six
    assert box.counts == {"fragment": 1, "unknown": 1}


def test_a_datagram_without_a_checksum_stays_without() -> None:
    bare = build(p.UDP, (INNER, 5000), (REMOTE, 6000))
    bare[26:28] = b"\0\0"
    out, _ = nat().outgoing(bare, 0.0)
    assert out is not None
    assert out[26:28] == b"\0\0"


@given(st.binary(max_size=120), st.booleans())
def test_any_bytes_are_survived(data: bytes, as_ipv4: bool) -> None:
    box = nat(filtering=Filtering.ENDPOINT_INDEPENDENT)
    packet = bytearray(data)
    if as_ipv4 and len(packet) >= 20:
        packet[0] = 0x45
        packet[2:4] = len(packet).to_bytes(2, "big")
        packet[6:8] = b"\0\0"
        packet[9] = (p.UDP, p.TCP, p.ICMP)[packet[9] % 3]
    box.outgoing(packet[:], 0.0)
    box.incoming(packet[:], 0.0)
