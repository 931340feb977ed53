import pytest

from holepunch.errors import NetworkError
from holepunch.testing.simnet import Host, Internet, Link
from holepunch.testing.simnet.host import EPHEMERAL_PORTS

from .probes import ear


def two_hosts() -> tuple[Internet, Host, Host]:
    net = Internet()
    return net, net.public("a", ipv6=True), net.public("b", addresses=2, ipv6=True)


def test_port_0_gives_an_ephemeral_port_that_nobody_else_has() -> None:
    _, a, _ = two_hosts()
    ports = [a.open().address[1] for _ in range(2000)]
    assert len(set(ports)) == 2000
    assert all(port in EPHEMERAL_PORTS for port in ports)


def test_a_port_is_taken_once_until_it_is_closed() -> None:
    _, a, _ = two_hosts()
    first = a.open(4, "", 5000)
    for host in ("", a.address):
        with pytest.raises(NetworkError, match="in use"):
            a.open(4, host, 5000)
    first.close()
    first.close()
    assert a.open(4, a.address, 5000).address == (a.address, 5000)


def test_families_have_ports_of_their_own() -> None:
    net, a, b = two_hosts()
    four, six = ear(a, 5000), ear(a, 5000, family=6)
    ear(b, 1).socket.send(b"4", (a.addresses(4)[0], 5000))
    ear(b, 1, family=6).socket.send(b"6", (a.addresses(6)[0], 5000))
    net.run()
    assert ([data for data, _ in four.heard], [data for data, _ in six.heard]) == ([b"4"], [b"6"])


def test_a_foreign_address_cannot_be_bound_and_a_missing_family_not_opened() -> None:
    net = Internet()
    host = net.public("a")
    with pytest.raises(NetworkError, match=r"no address 1\.2\.3\.4"):
        host.open(4, "1.2.3.4")
    with pytest.raises(NetworkError, match="IPv6"):
        host.open(6)


def test_a_bound_socket_sends_from_its_address_and_hears_only_for_it() -> None:
    net, a, b = two_hosts()
    first, second = b.addresses(4)
    listener, source = ear(a, 5000), ear(b, 6000, second)
    source.socket.send(b"x", (a.address, 5000))
    listener.socket.send(b"x", (first, 6000))
    net.run()
    assert listener.sources() == [(second, 6000)]
    assert not source.heard
    assert b.refused == 1


def test_a_closed_port_answers_with_port_unreachable_unless_told_to_be_silent() -> None:
    net, a, b = two_hosts()
    source = ear(a)
    source.socket.send(b"x", (b.address, 9))
    net.run()
    assert [(e.type, e.code, e.source) for e in source.errors] == [(3, 3, b.address)]
    b.unreachable_errors = False
    source.socket.send(b"x", (b.address, 9))
    net.run()
    assert len(source.errors) == 1


def test_what_cannot_be_sent_is_counted_and_raises_nothing() -> None:
    net = Internet()
    host = net.public("a")
    socket = host.open()
    socket.send(b"wrong family", ("2a02::1", 5))
    socket.close()
    socket.send(b"closed", ("45.0.0.1", 5))
    assert (host.unsendable, host.sent) == (2, 0)


def test_an_address_nobody_has_swallows_packets() -> None:
    net = Internet()
    host = net.public("a")
    socket = ear(host)
    for target in ("45.99.99.99", "192.168.1.1", "10.0.0.1"):
        socket.socket.send(b"x", (target, 5))
    net.run()
    assert (host.sent, net.core.dropped, socket.errors) == (3, 3, [])


def test_a_host_reaches_itself() -> None:
    net, a, _ = two_hosts()
    first, second = ear(a, 1000), ear(a, 2000)
    first.socket.send(b"x", (a.address, 2000))
    net.run()
    assert second.sources() == [(a.address, 1000)]


def test_a_host_with_two_interfaces_uses_the_one_that_knows_the_destination() -> None:
    net = Internet()
    home, office = net.nat("home", None), net.nat("office", None, inner_hosts=("10.1.0.1",))
    host = net.host("laptop", home.inside, "192.168.1.10")
    net.join(host, office.inside, "10.1.0.10", link=Link())
    colleague = ear(net.host("colleague", office.inside, "10.1.0.20"), 1000)
    ear(host, 5000).socket.send(b"x", ("10.1.0.20", 1000))
    net.run()
    assert colleague.sources() == [("10.1.0.10", 5000)]
    assert [interface.host for interface in host.interfaces()] == ["192.168.1.10", "10.1.0.10"]


def test_a_host_counts_the_5_tuples_it_costs() -> None:
    net, a, b = two_hosts()
    first, second = a.open(), a.open()
    for _ in range(3):
        first.send(b"x", (b.address, 1))
        second.send(b"x", (b.address, 1))
    first.send(b"x", (b.address, 2))
    assert (a.sent, len(a.flows)) == (7, 3)
    net.run()
    assert b.received == 7
