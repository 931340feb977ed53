from functools import partial

import pytest

from holepunch.errors import ConfigurationError
from holepunch.testing.simnet import Internet, Link, Trace

from .probes import Ear, ear


def pair(link: Link, *, seed: int = 1) -> tuple[Internet, Ear, Ear]:
    """Two public hosts, the second on `link`."""
    net = Internet(seed)
    a = net.public("a", ipv6=True, link=Link(delay=0.01))
    b = net.public("b", ipv6=True, link=link)
    return net, ear(a, 1000, a.address), ear(b, 2000, b.address)


def received(link: Link, count: int = 1000, *, seed: int = 1) -> list[int]:
    """Numbers of the packets that arrived, in their order; one is sent each millisecond."""
    net, a, b = pair(link, seed=seed)
    for number in range(count):
        net.clock.call_later(number / 1000, partial(a.socket.send, number.to_bytes(4), b.address))
    net.run()
    return [int.from_bytes(data) for data, _ in b.heard]


def test_a_packet_takes_the_delay_of_both_links() -> None:
    net, a, b = pair(Link(delay=0.03))
    a.socket.send(b"x", b.address)
    net.run()
    assert net.now == pytest.approx(0.04)
    assert b.sources() == [a.address]


def test_a_plain_link_keeps_order_and_loses_nothing() -> None:
    assert received(Link(delay=0.01)) == list(range(1000))


def test_loss_is_about_as_frequent_as_asked() -> None:
    assert 850 < len(received(Link(loss=0.1))) < 950


def test_duplicates_are_about_as_frequent_as_asked() -> None:
    numbers = received(Link(duplicate=0.05))
    assert set(numbers) == set(range(1000))
    assert 1020 < len(numbers) < 1080


def test_jitter_larger_than_the_spacing_changes_order() -> None:
    numbers = received(Link(jitter=0.01))
    assert sorted(numbers) == list(range(1000))
    assert numbers != sorted(numbers)


def test_a_held_back_packet_is_overtaken_by_those_behind_it() -> None:
    numbers = received(Link(reorder=0.02, reorder_delay=0.01))
    overtaken = [n for place, n in enumerate(numbers) if place and n < numbers[place - 1]]
    assert sorted(numbers) == list(range(1000))
    assert 5 < len(overtaken) < 40


def test_the_same_seed_gives_the_same_luck_and_another_seed_another() -> None:
    link = Link(loss=0.1, jitter=0.01, duplicate=0.05, reorder=0.05)
    assert received(link, seed=3) == received(link, seed=3)
    assert received(link, seed=3) != received(link, seed=4)


def test_a_link_changed_on_the_way_holds_for_what_is_sent_from_then_on() -> None:
    net, a, b = pair(Link(delay=0.01))
    a.socket.send(b"before", b.address)
    attachment = net.hosts["b"].attachments[0]
    attachment.link = attachment.link.but(loss=1.0)
    a.socket.send(b"after", b.address)
    net.run()
    assert [data for data, _ in b.heard] == [b"before"]


@pytest.mark.parametrize(("family", "fits", "answer"), [(4, 1172, (3, 4)), (6, 1152, (2, 0))])
def test_a_packet_above_the_mtu_is_dropped_and_the_sender_told(family: int, fits: int, answer: tuple[int, int]) -> None:
    net, _, _ = pair(Link(delay=0.01, mtu=1200, hops=2))
    a, b = (ear(net.hosts[name], 4000, net.hosts[name].addresses(family)[0], family) for name in "ab")
    a.socket.send(bytes(fits), b.address)
    a.socket.send(bytes(fits + 1), b.address)
    net.run()
    assert [len(data) for data, _ in b.heard] == [fits]
    assert [(error.type, error.code, error.remote) for error in a.errors] == [(*answer, b.address)]


def test_the_trace_tells_the_life_of_each_packet() -> None:
    net, a, b = pair(Link(delay=0.01, hops=3))
    net.trace = Trace()
    a.socket.send(b"one", b.address)
    net.run()
    a.socket.send(b"two", b.address, ttl=2)
    net.run()
    assert [row.what for row in net.trace.of(1)] == ["sent", "carried", "received"]
    assert [row.what for row in net.trace.of(2)] == ["sent", "TTL ran out", "received"]
    assert str(net.trace).count("\n") == 5


@pytest.mark.parametrize("wrong", [{"loss": 1.5}, {"delay": -1}, {"hops": -1}, {"mtu": 20}, {"duplicate": -0.1}])
def test_an_impossible_link_is_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ConfigurationError):
        Link(**wrong)  # type: ignore[arg-type]
