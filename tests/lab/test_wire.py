"""What the wire does to packets on their way: distance, faults, hops."""

import socket
import struct
import time

import pytest

from holepunch.errors import ConfigurationError
from holepunch.testing.netlab import Conditions, Host, Lab

from .outside import PATIENCE, Inside, is_silent

pytestmark = pytest.mark.lab

IP_RECVERR = 11  # linux/in.h
SO_RCVBUFFORCE = 33  # asm-generic/socket.h
MTU_DISCOVER, DISCOVER_DO, DISCOVER_DONT = 10, 2, 0


def pair(lab: Lab, **options: object) -> tuple[Host, Host]:
    return lab.site("public", **options).host(), lab.site("public").host()  # type: ignore[arg-type]


def udp(host: Host, address: str = "", port: int = 0) -> socket.socket:
    return Inside(host, address, port).socket


def send_numbered(lab: Lab, sender: socket.socket, receiver: socket.socket, count: int) -> list[int]:
    """Sends that many numbered datagrams, then one that is sure to arrive, after all others; returns what arrived."""
    receiver.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, 1 << 24)  # it reads when all are sent
    for number in range(count):
        sender.sendto(struct.pack("!I", number), receiver.getsockname())
        if number % 100 == 99:
            time.sleep(0.001)
    lab.change(loss=0.0, reorder=0.0, duplicate=0.0)
    sender.sendto(struct.pack("!I", count), receiver.getsockname())
    got: list[int] = []
    while not got or got[-1] != count:
        got.append(struct.unpack("!I", receiver.recv(100))[0])
    return got[:-1]


def test_the_round_trip_takes_as_long_as_it_was_told() -> None:
    with Lab(rtt=0.1) as lab:
        one, other = pair(lab)
        with udp(one) as here, udp(other) as there:
            trips = []
            for _ in range(5):
                start = time.monotonic()
                here.sendto(b"ping", there.getsockname())
                there.sendto(b"pong", there.recvfrom(100)[1])
                here.recv(100)
                trips.append(time.monotonic() - start)
    assert min(trips) >= 0.1  # how much more depends on what else this machine does


@pytest.mark.parametrize("loss", [0.0, 0.1, 1.0])
def test_packets_are_lost_as_often_as_told(loss: float) -> None:
    with Lab(rtt=0.002, loss=loss, seed=1) as lab:
        one, other = pair(lab)
        with udp(one) as here, udp(other) as there:
            got = send_numbered(lab, here, there, 1000)
        counts = one_router(lab)
    assert got == sorted(got)
    # 1000 draws of 0.1: four standard deviations are 38.
    assert abs(len(got) - 1000 * (1 - loss)) <= (38 if 0 < loss < 1 else 0)
    assert counts.get("lost", 0) + len(got) == 1000


def one_router(lab: Lab) -> dict[str, int]:
    return lab.sites[0].router.counts()


def test_duplicates_and_overtaking_happen_when_told() -> None:
    with Lab(rtt=0.02, duplicate=0.2, reorder=0.2, seed=1) as lab:
        one, other = pair(lab)
        with udp(one) as here, udp(other) as there:
            got = send_numbered(lab, here, there, 500)
    assert set(got) == set(range(500))
    assert len(got) > 550
    assert got != sorted(got)


def test_jitter_keeps_the_order() -> None:
    with Lab(rtt=0.01, jitter=0.02, seed=1) as lab:
        one, other = pair(lab)
        with udp(one) as here, udp(other) as there:
            got = send_numbered(lab, here, there, 500)
    assert got == list(range(500))


def test_conditions_change_while_it_runs_and_for_one_site() -> None:
    with Lab(rtt=0.01) as lab:
        one, other = pair(lab, conditions=Conditions(delay=0.2))
        with udp(one) as here, udp(other) as there:
            start = time.monotonic()
            here.sendto(b"slow", there.getsockname())
            there.recv(100)
            assert time.monotonic() - start >= 0.2
            lab.sites[1].router.unplug()
            here.sendto(b"nowhere", there.getsockname())
            assert is_silent(there)
            lab.sites[1].router.unplug(unplugged=False)
            here.sendto(b"again", there.getsockname())
            assert there.recv(100) == b"again"
        third, fourth = pair(lab)
        lab.change(loss=1.0)
        with udp(third) as here, udp(fourth) as there:
            here.sendto(b"lost", there.getsockname())
            assert is_silent(there)
            lab.change(loss=0.0)
            here.sendto(b"found", there.getsockname())
            assert there.recv(100) == b"found"


def error_of(sock: socket.socket) -> tuple[str, int, int]:
    """Returns (who, ICMP type, ICMP code) of an ICMP error that comes to a socket with IP_RECVERR."""
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        try:
            _, ancillary, _, _ = sock.recvmsg(100, 512, socket.MSG_ERRQUEUE)
        except BlockingIOError:
            time.sleep(0.005)  # the error queue has no blocking read
            continue
        data = ancillary[0][2]
        return socket.inet_ntoa(data[20:24]), data[5], data[6]
    raise TimeoutError("no ICMP error")


@pytest.mark.parametrize("kind", ["public", "eim-apdf", "strict"])
def test_each_hop_of_the_core_answers_when_the_ttl_ends_there(kind: str) -> None:
    with Lab(rtt=0.01, core_hops=3) as lab:
        host, target = lab.site(kind).host(), lab.public()
        hops = []
        with udp(host) as here, udp(target, port=7000) as there:
            here.setsockopt(socket.IPPROTO_IP, IP_RECVERR, 1)
            for ttl in range(1, 5):
                here.setsockopt(socket.IPPROTO_IP, socket.IP_TTL, ttl)
                here.sendto(b"where", there.getsockname())
                hops.append(error_of(here))
            assert is_silent(there)
            far = lab.servers.router.outer
            # 1: our router, 2-4: the core, 5: the router of the servers, 6: there.
            here.setsockopt(socket.IPPROTO_IP, socket.IP_TTL, 5)
            here.sendto(b"where", there.getsockname())
            hops.append(error_of(here))
            assert is_silent(there)
            far = lab.servers.router.outer
            here.setsockopt(socket.IPPROTO_IP, socket.IP_TTL, 6)
            here.sendto(b"here", there.getsockname())
            assert there.recv(100) == b"here"
    assert [hop[0] for hop in hops[1:]] == ["11.0.0.1", "11.0.0.2", "11.0.0.3", far]
    assert {hop[1:] for hop in hops} == {(11, 0)}


def test_a_carrier_network_has_hops_of_its_own() -> None:
    with Lab(rtt=0.01, core_hops=2) as lab:
        host, target = lab.site("eim-apdf", carrier=lab.carrier(hops=4)).host(), lab.public()
        with udp(host) as here, udp(target, port=7000) as there:
            here.setsockopt(socket.IPPROTO_IP, IP_RECVERR, 1)
            seen = []
            for ttl in range(1, 9):
                here.setsockopt(socket.IPPROTO_IP, socket.IP_TTL, ttl)
                here.sendto(b"where", there.getsockname())
                seen.append(error_of(here)[0])
    assert [address.split(".")[0] for address in seen] == ["192", "100", "100", "100", "100", "100", "11", "11"]


@pytest.mark.parametrize("mtu", [1280, 1400])
def test_a_packet_too_big_for_the_way_is_refused_or_cut(mtu: int) -> None:
    with Lab(rtt=0.01, mtu=mtu) as lab:
        one, other = pair(lab)
        with udp(one) as here, udp(other) as there:
            here.setsockopt(socket.IPPROTO_IP, IP_RECVERR, 1)
            here.setsockopt(socket.IPPROTO_IP, MTU_DISCOVER, DISCOVER_DO)
            here.sendto(bytes(mtu - 28), there.getsockname())
            assert len(there.recv(2000)) == mtu - 28
            here.sendto(bytes(mtu - 27), there.getsockname())
            assert error_of(here) == ("11.0.0.1", 3, 4)
            assert is_silent(there)
            with udp(one) as careless:
                careless.setsockopt(socket.IPPROTO_IP, MTU_DISCOVER, DISCOVER_DONT)
                careless.sendto(bytes(range(250)) * 5, there.getsockname())
                assert there.recv(2000) == bytes(range(250)) * 5


def test_a_site_cannot_send_in_the_name_of_others() -> None:
    with Lab(rtt=0.01) as lab:
        one, other = pair(lab)
        one.run(["ip", "addr", "add", "11.9.9.9/32", "dev", "eth0"])
        with udp(one, "11.9.9.9") as here, udp(other) as there:
            here.sendto(b"not me", there.getsockname())
            assert is_silent(there)
        assert one_router(lab)["spoofed"] == 1


def test_an_attacker_outside_can_lie_about_its_address() -> None:
    with Lab(rtt=0.01) as lab:
        site, server = lab.site("eim-apdf"), lab.public()
        with udp(site.host()) as here, udp(server) as there:
            here.sendto(b"hello", there.getsockname())
            outer = there.recvfrom(100)[1]
            site.router.spoof(("11.9.9.9", 53), outer, b"filtered")
            site.router.spoof(there.getsockname(), outer, b"believed")
            assert here.recvfrom(100) == (b"believed", there.getsockname())


def test_nothing_leads_outside() -> None:
    with Lab(rtt=0.01) as lab:
        host = lab.site("eim-apdf").host()
        with udp(host) as here:
            here.sendto(b"anybody", ("9.9.9.9", 53))
            assert is_silent(here)
        assert one_router(lab)["no-route"] == 1


def test_it_can_carry_twenty_thousand_packets_per_second() -> None:
    burst, bursts = 2000, 20
    with Lab(rtt=0.02) as lab:
        one, other = pair(lab)
        with udp(one) as here, udp(other) as there:
            there.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, 1 << 24)
            used = wire_cpu(lab)
            for _ in range(bursts):
                for _ in range(burst):
                    here.sendto(bytes(1200), there.getsockname())
                for _ in range(burst):  # each arrives: nothing on the way overflows
                    there.recv(2000)
            used = wire_cpu(lab) - used
    # What it can do is told by what it uses; how fast this machine is at the moment is not the question.
    assert used / (burst * bursts) < 1 / 20_000, f"{used / burst / bursts * 1e6:.0f} us of processor time per packet"


def wire_cpu(lab: Lab) -> float:
    """Returns the seconds of processor time that the wire has used."""
    with open(f"/proc/{lab.cable.pid}/stat", encoding="ascii") as file:
        fields = file.read().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / 100


@pytest.mark.parametrize("wrong", [{"loss": 1.5}, {"delay": -1.0}, {"mtu": 20}, {"mtu": 9000}])
def test_impossible_conditions_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ConfigurationError):
        Conditions.from_dict(wrong)
