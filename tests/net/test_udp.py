"""UdpSocket on loopback: what is sent arrives, in runs too, and nothing on the way raises."""

import asyncio
import socket

import pytest

from holepunch.errors import NetworkError
from holepunch.net.udp import MAX_SEGMENTS, UdpSocket, split_run
from holepunch.proto.machine import Address, IcmpError

LOOPBACK = {4: "127.0.0.1", 6: "::1"}


class Listener:
    """A socket whose datagrams and errors are queues."""

    def __init__(self, family: int = 4, *, runs: bool = False) -> None:
        self.socket = UdpSocket(family, LOOPBACK[family])
        self.datagrams: asyncio.Queue[tuple[bytes, Address]] = asyncio.Queue()
        self.errors: asyncio.Queue[IcmpError] = asyncio.Queue()
        self.runs: asyncio.Queue[tuple[bytes, int, Address]] = asyncio.Queue()
        self.socket.start(
            lambda data, remote: self.datagrams.put_nowait((data, remote)),
            self.errors.put_nowait,
            self._take_run if runs else None,
        )

    def _take_run(self, data: memoryview, segment: int, remote: Address) -> bool:
        self.runs.put_nowait((bytes(data), segment, remote))
        return True


@pytest.mark.parametrize("family", [4, 6])
async def test_a_datagram_arrives_with_the_address_of_its_sender(family: int) -> None:
    ours, theirs = UdpSocket(family, LOOPBACK[family]), Listener(family)
    assert ours.send(b"hello", theirs.socket.address)
    assert await theirs.datagrams.get() == (b"hello", ours.address)
    assert ours.send(b"", theirs.socket.address)
    assert await theirs.datagrams.get() == (b"", ours.address)
    assert (ours.counters.sent, theirs.socket.counters.received) == (2, 2)
    ours.close()
    theirs.socket.close()


@pytest.mark.parametrize("family", [4, 6])
async def test_a_hop_limit_is_of_one_datagram_only(family: int) -> None:
    inet, level = (socket.AF_INET, socket.IPPROTO_IP) if family == 4 else (socket.AF_INET6, socket.IPPROTO_IPV6)
    # 12 is IP_RECVTTL and 52 IPV6_HOPLIMIT of Linux: the socket module has no names for them.
    option, kind = (12, socket.IP_TTL) if family == 4 else (socket.IPV6_RECVHOPLIMIT, 52)
    receiver = socket.socket(inet, socket.SOCK_DGRAM)
    receiver.settimeout(5)
    receiver.setsockopt(level, option, 1)
    receiver.bind((LOOPBACK[family], 0))
    sender = UdpSocket(family, LOOPBACK[family])
    seen = []
    for ttl in (3, None, 200):
        sender.send(b"x", receiver.getsockname()[:2], ttl)
        _, control, _, _ = receiver.recvmsg(16, 64)
        seen += [int.from_bytes(value, "little") for place, type_, value in control if (place, type_) == (level, kind)]
    assert seen == [3, 64, 200]
    sender.close()
    receiver.close()


@pytest.mark.parametrize("family", [4, 6])
async def test_a_closed_port_is_told_as_an_icmp_error_and_costs_no_datagram(family: int) -> None:
    ours, theirs, gone = Listener(family), Listener(family), UdpSocket(family, LOOPBACK[family])
    closed = gone.address
    gone.close()
    for round_ in range(3):
        assert ours.socket.send(b"anyone?", closed)
        # On loopback the error is pending at once: this datagram would be refused in its place.
        assert ours.socket.send(b"%d" % round_, theirs.socket.address)
        assert await theirs.datagrams.get() == (b"%d" % round_, ours.socket.address)
    error = await ours.errors.get()
    assert (error.source, error.remote, error.data) == (LOOPBACK[family], closed, b"anyone?")
    assert (error.type, error.code) == ((3, 3) if family == 4 else (1, 4))  # port unreachable
    assert ours.socket.counters.send_failures == 0
    ours.socket.close()
    theirs.socket.close()


async def test_what_the_system_refuses_is_counted_and_does_not_raise() -> None:
    ours = UdpSocket(4, "127.0.0.1")
    assert not ours.send(b"x" * 65508, ("127.0.0.1", 9))  # longer than a datagram can be
    assert not ours.send(b"x", ("192.0.2.1", 9))  # not from loopback
    assert not ours.send(b"x", ("fe80::1%no-such-if", 9))
    assert ours.counters.send_failures == 3
    ours.close()
    assert not ours.send(b"x", ("127.0.0.1", 9))


async def test_a_run_is_sent_as_its_datagrams() -> None:
    ours, theirs = UdpSocket(4, "127.0.0.1"), Listener()
    run = b"".join(bytes([number]) * 100 for number in range(MAX_SEGMENTS + 9)) + b"end"
    assert ours.send_run(run, 100, theirs.socket.address)
    got = [(await theirs.datagrams.get())[0] for _ in range(MAX_SEGMENTS + 10)]
    assert got == [bytes([number]) * 100 for number in range(MAX_SEGMENTS + 9)] + [b"end"]
    assert ours.counters.sent == theirs.socket.counters.received == MAX_SEGMENTS + 10
    ours.close()
    theirs.socket.close()


async def test_a_run_arrives_whole_and_what_is_not_used_is_cut() -> None:
    ours, taker, cutter = UdpSocket(4, "127.0.0.1"), Listener(runs=True), Listener()
    cutter.socket.start(lambda data, remote: cutter.datagrams.put_nowait((data, remote)), None, lambda *_: False)
    run = b"a" * 1000 + b"b" * 1000 + b"c"
    ours.send_run(run, 1000, taker.socket.address)
    whole = b""
    while len(whole) < len(run):
        data, segment, remote = await taker.runs.get()
        assert remote == ours.address
        assert segment in (1000, 1)
        whole += data
    assert whole == run
    ours.send_run(run, 1000, cutter.socket.address)
    assert [(await cutter.datagrams.get())[0] for _ in range(3)] == [b"a" * 1000, b"b" * 1000, b"c"]
    for one in (ours, taker.socket, cutter.socket):
        one.close()


async def test_what_waits_is_joined_by_size_and_source_and_nothing_is_lost() -> None:
    ours, other = UdpSocket(4, "127.0.0.1"), UdpSocket(4, "127.0.0.1")
    theirs = UdpSocket(4, "127.0.0.1", receive_buffer=1 << 19)
    sizes = [0, 1, 0, 5, 5, 5, 3, 5, 7, 7, 7, 7, 2, 2, 0, 0, 65507, 65507, 1, 9]
    sent = [(bytes([number]) * size, ours.address) for number, size in enumerate(sizes)]
    for number, (data, _) in enumerate(sent):
        ours.send(data, theirs.address)
        if number in {5, 9}:  # a stranger in between
            other.send(data, theirs.address)
    sent.insert(10, (sent[9][0], other.address))
    sent.insert(6, (sent[5][0], other.address))
    got: list[tuple[bytes, Address]] = []
    runs: list[int] = []
    done = asyncio.Event()

    def take(data: memoryview, segment: int, remote: Address) -> bool:
        parts = [(bytes(part), remote) for part in split_run(data, segment)]
        got.extend(parts)
        runs.append(len(parts))
        if len(got) == len(sent):
            done.set()
        return True

    theirs.start(lambda *_: None, None, take)
    await done.wait()
    assert got == sent
    assert max(runs) == 3
    for one in (ours, other, theirs):
        one.close()


async def test_a_run_the_kernel_would_not_cut_is_sent_one_by_one() -> None:
    ours, theirs = UdpSocket(4, "127.0.0.1"), Listener()
    run = b"a" * 65000 + b"b"  # longer than one datagram may be, so each is one part
    assert ours.send_run(run, 65000, theirs.socket.address)
    assert [len((await theirs.datagrams.get())[0]) for _ in range(2)] == [65000, 1]
    ours.close()
    theirs.socket.close()


def test_a_run_is_cut_into_its_datagrams() -> None:
    assert [bytes(part) for part in split_run(memoryview(b"aabbc"), 2)] == [b"aa", b"bb", b"c"]
    assert [bytes(part) for part in split_run(memoryview(b"aa"), 2)] == [b"aa"]
    assert [bytes(part) for part in split_run(memoryview(b""), 0)] == [b""]


async def test_a_port_in_use_is_a_network_error_that_names_it() -> None:
    ours = UdpSocket(4, "127.0.0.1")
    with pytest.raises(NetworkError, match=f"127.0.0.1:{ours.address[1]}"):
        UdpSocket(4, *ours.address)
    ours.close()


async def test_a_detached_socket_still_has_what_arrived() -> None:
    ours, theirs = UdpSocket(4, "127.0.0.1"), UdpSocket(4, "127.0.0.1")
    theirs.start(lambda *_: None)
    theirs.stop()
    address = theirs.address
    ours.send(b"waiting", address)
    raw = theirs.detach()
    assert theirs.is_closed
    assert raw.getsockname() == address
    raw.settimeout(5)
    assert raw.recv(100) == b"waiting"
    again = UdpSocket.adopt(raw)
    assert again.address == address
    for one in (again, theirs, ours):
        one.close()


async def test_a_callback_may_close_the_socket_with_more_waiting() -> None:
    ours, theirs = UdpSocket(4, "127.0.0.1"), UdpSocket(4, "127.0.0.1")
    seen: list[bytes] = []
    done = asyncio.Event()

    def once(data: bytes, _: Address) -> None:
        seen.append(data)
        theirs.close()
        done.set()

    for number in range(5):
        ours.send(b"%d" % number, theirs.address)
    theirs.start(once)
    await done.wait()
    await asyncio.sleep(0)
    assert seen == [b"0"]
    ours.close()


async def test_an_ipv6_socket_leaves_the_same_ipv4_port_free() -> None:
    six = UdpSocket(6)
    four = UdpSocket(4, "", six.address[1])
    assert (six.address[0], four.address[0]) == ("::", "0.0.0.0")
    six.close()
    four.close()

    six.close()
