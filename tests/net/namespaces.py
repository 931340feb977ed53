"""Network namespaces for tests: made with ip(8), entered by a thread, and removed."""

import ctypes
import os
import secrets
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

_CLONE_NEWNET = 0x40000000
T = TypeVar("T")


def ip(*arguments: str) -> None:
    """Runs ip(8)."""
    subprocess.run(["ip", *arguments], check=True, capture_output=True, text=True)


@contextmanager
def namespaces(*names: str) -> Iterator[list[str]]:
    """Makes namespaces with loopback up; gives their full names, and removes them at the end."""
    prefix = f"hpt{secrets.token_hex(3)}"
    made = [f"{prefix}-{name}" for name in names]
    try:
        for name in made:
            ip("netns", "add", name)
            ip("-n", name, "link", "set", "lo", "up")
        yield made
    finally:
        for name in made:
            subprocess.run(["ip", "netns", "del", name], check=False, capture_output=True)


def link(one: str, one_host: str, two: str, two_host: str) -> None:
    """Joins two namespaces by a cable; hosts are `ADDRESS/PREFIX`, several separated by commas."""
    tag = secrets.token_hex(3)
    ip("link", "add", f"a{tag}", "netns", one, "type", "veth", "peer", "name", f"b{tag}", "netns", two)
    for namespace, device, hosts in ((one, f"a{tag}", one_host), (two, f"b{tag}", two_host)):
        for host in hosts.split(","):
            ip("-n", namespace, "address", "add", host, "dev", device, *(["nodad"] if ":" in host else []))
        ip("-n", namespace, "link", "set", device, "up")


def inside(namespace: str, call: Callable[[], T]) -> T:
    """Calls something inside a namespace: what it opens (a socket) belongs there for good."""
    result: list[T] = []
    failure: list[BaseException] = []

    def run() -> None:
        fd = os.open(f"/run/netns/{namespace}", os.O_RDONLY)
        try:
            libc = ctypes.CDLL(None, use_errno=True)
            if libc.setns(fd, _CLONE_NEWNET) != 0:
                raise OSError(ctypes.get_errno(), f"cannot enter {namespace}")
            result.append(call())
        except BaseException as error:
            failure.append(error)
        finally:
            os.close(fd)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    if failure:
        raise failure[0]
    return result[0]
