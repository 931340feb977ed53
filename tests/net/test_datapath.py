"""Data goes to the command, control to the machine, whatever the kernel has joined."""

from hypothesis import given
from hypothesis import strategies as st

from holepunch.net.datapath import DataPath
from holepunch.net.udp import split_run

PEER = ("192.0.2.1", 5000)
CONTROL = b"tag" + b"\0" * 93
LOOKALIKE = b"not" + b"\0" * 93


def is_control(data: bytes) -> bool:
    return data.startswith(b"tag")


def test_data_of_the_peer_is_kept_and_control_is_not() -> None:
    got: list[tuple[bytes, int]] = []
    path = DataPath(is_control, lambda data, segment: got.append((bytes(data), segment)))
    path.remotes = {PEER}
    assert path.keep(b"data", PEER)
    assert path.keep(LOOKALIKE, PEER)
    assert not path.keep(CONTROL, PEER)
    assert path.keep(CONTROL + b"!", PEER)  # not the length of a control packet
    assert got == [(b"data", 4), (LOOKALIKE, 96), (CONTROL + b"!", 97)]


def test_a_stranger_is_left_to_the_machine() -> None:
    path = DataPath(is_control, lambda *_: None)
    assert not path.keep(b"data", PEER)
    path.remotes = {("192.0.2.1", 5001)}
    assert not path.keep(b"data", PEER)
    assert not path.keep_run(memoryview(b"data"), 4, PEER)


def test_a_run_without_control_goes_whole_and_one_with_it_is_to_be_cut() -> None:
    got: list[tuple[bytes, int]] = []
    path = DataPath(is_control, lambda data, segment: got.append((bytes(data), segment)))
    path.remotes = {PEER}
    whole = [(LOOKALIKE * 3, 96), (b"x" * 500 + LOOKALIKE, 500), (b"x" * 1000, 400)]
    for data, segment in whole:
        assert path.keep_run(memoryview(data), segment, PEER)
    assert got == whole
    for data, segment in ((LOOKALIKE + CONTROL, 96), (b"x" * 500 + CONTROL, 500), (CONTROL + b"x", 96)):
        assert not path.keep_run(memoryview(data), segment, PEER)
    assert got == whole


@given(st.lists(st.sampled_from([b"a" * 96, CONTROL]), min_size=1), st.sampled_from([b"", b"end", b"e" * 95]))
def test_every_datagram_goes_to_exactly_one_side(parts: list[bytes], tail: bytes) -> None:
    data_side: list[bytes] = []
    path = DataPath(
        is_control, lambda data, segment: data_side.extend(bytes(part) for part in split_run(data, segment))
    )
    path.remotes = {PEER}
    sent = [*parts, tail] if tail else parts
    run = memoryview(b"".join(sent))
    if not path.keep_run(run, 96, PEER):
        machine_side = [bytes(part) for part in split_run(run, 96) if not path.keep(bytes(part), PEER)]
    else:
        machine_side = []
    assert data_side == [part for part in sent if part != CONTROL]
    assert machine_side == [part for part in sent if part == CONTROL]
