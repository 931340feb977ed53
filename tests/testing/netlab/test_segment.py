"""What the wire decides about a packet, without a wire: routes, sources, hops, chance."""

import ipaddress
from random import Random

from hypothesis import given
from hypothesis import strategies as st

from holepunch.testing.netlab import Conditions, packet
from holepunch.testing.netlab.segment import Port, Segment

HOPS = [(bytes([11, 0, 0, n]), bytes(15) + bytes([n])) for n in range(1, 4)]


class World:
    """A segment with three sites, and what it scheduled."""

    def __init__(self, conditions: Conditions | None = None, hops: int = 3) -> None:
        self.due: list[tuple[float, Port, bytearray]] = []
        self.segment = Segment(
            conditions or Conditions(delay=0.02), HOPS[:hops], lambda *each: self.due.append(each), Random(1)
        )
        self.a, self.b, self.rest = (
            Port("a", nets("11.1.1.1/32")),
            Port("b", nets("11.1.2.0/24")),
            Port("r", nets("11.1.0.0/16")),
        )
        for port in (self.a, self.b, self.rest):
            self.segment.attach(port)

    def send(self, port: Port, source: str, target: str, *, ttl: int = 64, size: int = 100, now: float = 0.0) -> None:
        sent = packet.ipv4_header(pack(source), pack(target), packet.UDP, size, ttl) + bytes(size)
        self.segment.receive(port, sent, now)


def nets(*networks: str) -> list[ipaddress.IPv4Network | ipaddress.IPv6Network]:
    return [ipaddress.ip_network(network) for network in networks]


def pack(address: str) -> bytes:
    return ipaddress.ip_address(address).packed


def test_the_longest_prefix_wins() -> None:
    world = World()
    world.send(world.a, "11.1.1.1", "11.1.2.9")
    world.send(world.a, "11.1.1.1", "11.1.3.9")
    assert [(due, port) for due, port, _ in world.due] == [(0.02, world.b), (0.02, world.rest)]
    assert [sent[8] for _, _, sent in world.due] == [61, 61]


def test_what_has_no_route_or_no_right_to_its_source_is_dropped_and_counted() -> None:
    world = World()
    world.send(world.a, "11.1.1.1", "9.9.9.9")
    world.send(world.a, "192.168.1.2", "11.1.2.9")
    world.send(world.b, "11.1.1.1", "11.1.2.9")
    assert not world.due
    assert world.a.counts == {"in": 2, "no-route": 1, "spoofed": 1}
    assert world.b.counts["spoofed"] == 1


def test_the_answer_of_a_hop_comes_from_it_and_takes_as_long_as_the_way_to_it() -> None:
    world = World()
    for ttl in (1, 2, 3, 4):
        world.send(world.a, "11.1.1.1", "11.1.2.9", ttl=ttl)
    *answers, through = world.due
    assert [bytes(answer[12:16]) for _, _, answer in answers] == [four for four, _ in HOPS]
    assert [port for _, port, _ in answers] == [world.a] * 3
    assert [round(due, 6) for due, _, _ in answers] == [0.01, 0.02, 0.03]
    assert through[1] is world.b
    assert through[2][8] == 1


def test_an_expired_error_is_not_answered() -> None:
    world = World()
    error = packet.time_exceeded(
        packet.ipv4_header(pack("11.1.2.9"), pack("11.1.1.1"), packet.UDP, 0), pack("11.1.2.9")
    )
    error[8] = 1
    error[10:12] = bytes(2)
    error[10:12] = packet.checksum(error[:20]).to_bytes(2, "big")
    # From b, whose network the source is in, to the sender of the quoted packet.
    error[12:20] = pack("11.1.2.9") + pack("11.1.1.1")
    world.segment.receive(world.b, error, 0.0)
    assert not world.due
    assert world.b.counts["expired"] == 1


def test_the_conditions_of_a_site_go_before_those_of_the_core() -> None:
    world = World()
    world.b.conditions = Conditions(delay=0.5)
    world.send(world.a, "11.1.1.1", "11.1.2.9")
    world.send(world.b, "11.1.2.9", "11.1.1.1")
    world.send(world.a, "11.1.1.1", "11.1.3.9")
    assert [due for due, _, _ in world.due] == [0.5, 0.5, 0.02]


def test_a_pulled_cable_carries_nothing_either_way() -> None:
    world = World()
    world.b.blocked = True
    world.send(world.a, "11.1.1.1", "11.1.2.9")
    world.send(world.b, "11.1.2.9", "11.1.1.1")
    assert not world.due


@given(st.floats(0, 0.1), st.floats(0, 0.1), st.lists(st.floats(0, 0.01), min_size=2, max_size=30))
def test_jitter_delays_but_never_reorders(delay: float, jitter: float, gaps: list[float]) -> None:
    world = World(Conditions(delay=delay, jitter=jitter))
    now = 0.0
    for gap in gaps:
        now += gap
        world.send(world.a, "11.1.1.1", "11.1.2.9", now=now)
        assert now + delay <= world.due[-1][0] <= now + delay + jitter + 1e-9
    times = [due for due, _, _ in world.due]
    assert times == sorted(times)


def test_the_same_seed_loses_the_same_packets() -> None:
    worlds = World(Conditions(loss=0.5)), World(Conditions(loss=0.5))
    for world in worlds:
        for size in range(50):
            world.send(world.a, "11.1.1.1", "11.1.2.9", size=size)
    one, other = ([len(sent) for _, _, sent in world.due] for world in worlds)
    assert one == other
    assert 10 < len(one) < 40


def test_a_doubled_packet_is_two_packets() -> None:
    world = World(Conditions(duplicate=1.0))
    world.send(world.a, "11.1.1.1", "11.1.2.9")
    (_, _, one), (_, _, other) = world.due
    assert one == other
    assert one is not other, "a NAT writes into each of them"


def test_a_detached_port_is_no_longer_a_route() -> None:
    world = World()
    world.send(world.a, "11.1.1.1", "11.1.2.9")
    world.segment.detach(world.b)
    world.send(world.a, "11.1.1.1", "11.1.2.9")
    assert [port for _, port, _ in world.due] == [world.b, world.rest]


@given(st.binary(max_size=60))
def test_any_bytes_from_a_site_are_survived(data: bytes) -> None:
    world = World()
    world.segment.receive(world.a, bytearray(data), 0.0)


def test_a_scan_of_the_address_space_does_not_fill_memory() -> None:
    world = World()
    for n in range(20_000):
        world.send(world.rest, "11.1.9.9", str(ipaddress.IPv4Address(n)), size=0)
    assert len(world.segment._cache) <= 16384
