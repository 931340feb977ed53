"""A laboratory leaves nothing behind, however it ends."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable

import pytest

from holepunch.errors import ConfigurationError, NetworkError
from holepunch.testing.netlab import Lab, namespace

pytestmark = pytest.mark.lab

PATIENCE = 20.0  # seconds, for a machine with other things to do

# Builds a laboratory with a process in it, says so, and waits for its end.
VICTIM = """
import time
from holepunch.testing.netlab import Lab
with Lab() as lab:
    host = lab.site("strict").host()
    inside = host.popen(["sleep", "1000"])
    print(lab.prefix, lab.cable.pid, inside.pid, flush=True)
    time.sleep(1000)
"""


def eventually(true: Callable[[], bool]) -> bool:
    deadline = time.monotonic() + PATIENCE
    while not true():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


def is_gone(pid: int) -> bool:
    return namespace.start_time(pid) is None


class Victim:
    """A laboratory in a process of its own, to be killed."""

    def __init__(self) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", VICTIM], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        )
        assert self.process.stdout is not None
        self.prefix, wire, inside = self.process.stdout.readline().split()
        self.wire, self.inside = int(wire), int(inside)
        self.process.stdout.close()
        assert len(namespace.names(self.prefix)) == 2

    def kill(self, number: signal.Signals) -> None:
        self.process.send_signal(number)
        self.process.wait(PATIENCE)


def nothing_is_left(prefix: str, *pids: int) -> bool:
    return eventually(lambda: not namespace.names(prefix) and all(is_gone(pid) for pid in pids))


def test_a_laboratory_removes_itself() -> None:
    with Lab() as lab:
        host = lab.site("eim-apdf").host()
        inside, wire = host.popen(["sleep", "1000"]), lab.cable.pid
        detached = host.popen(["sh", "-c", "setsid sleep 1000 & echo $!"], stdout=subprocess.PIPE)
        assert detached.stdout is not None
        grandchild = int(detached.stdout.readline())
        assert len(namespace.names(lab.prefix)) == 2
    assert nothing_is_left(lab.prefix, inside.pid, grandchild, wire)


def test_it_does_so_after_an_exception() -> None:
    lab = Lab()

    def use_it_wrongly() -> None:
        with lab:
            lab.site("eim-apdf").host().popen(["sleep", "1000"])
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        use_it_wrongly()
    assert nothing_is_left(lab.prefix)


def test_it_does_so_when_it_cannot_be_built() -> None:
    lab = Lab()

    def build_one_twice() -> None:
        with lab:
            for _ in range(2):
                lab.site("eim-apdf", name="x")

    with pytest.raises(NetworkError, match="File exists"):
        build_one_twice()
    assert nothing_is_left(lab.prefix)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGKILL])
def test_it_does_so_after_a_signal(number: signal.Signals) -> None:
    victim = Victim()
    victim.kill(number)
    assert nothing_is_left(victim.prefix, victim.inside, victim.wire)


def test_the_next_laboratory_removes_one_whose_wire_was_killed_too() -> None:
    victim = Victim()
    os.kill(victim.wire, signal.SIGKILL)
    victim.kill(signal.SIGKILL)
    assert len(namespace.names(victim.prefix)) == 2
    with Lab():
        assert nothing_is_left(victim.prefix, victim.inside)


def test_a_process_with_the_same_number_is_not_the_owner() -> None:
    name = f"hp-{os.getpid()}-1-1-old"
    namespace.batch([f"netns add {name}"])
    assert namespace.remove_stale() == [name]
    assert name not in namespace.names()


def test_other_namespaces_and_living_laboratories_are_left_alone() -> None:
    foreign = f"hpother{os.getpid()}"
    namespace.batch([f"netns add {foreign}"])
    try:
        with Lab() as one, Lab() as other:
            one.site("eim-apdf")
            other.site("eim-apdf")
            assert not set(namespace.remove_stale()) & {*namespace.names(one.prefix), *namespace.names(other.prefix)}
            one.close()
            assert len(namespace.names(other.prefix)) == 1
            assert (namespace.DIRECTORY / foreign).exists()
    finally:
        namespace.batch([f"netns del {foreign}"])


def test_a_closed_laboratory_says_so() -> None:
    with Lab() as lab:
        pass
    with pytest.raises(NetworkError, match="not open"):
        lab.site("public")


def test_an_unknown_kind_names_those_there_are() -> None:
    with Lab() as lab, pytest.raises(ConfigurationError, match="no such kind") as caught:
        lab.site("symmetric")
    assert "random-apdf" in caught.value.hint
