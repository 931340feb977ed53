"""A real OpenVPN session through two kernel NATs, by examples/openvpn.sh: found, used, cut and healed."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.lab.linked import Machine, linked, until

pytestmark = [pytest.mark.lab, pytest.mark.slow, pytest.mark.timeout(240)]

COPY = 50_000_000  # bytes

RECEIVE = """
import hashlib, socket, sys
with socket.create_server((sys.argv[1], 7000)) as server:
    print("listening", flush=True)
    connection, _ = server.accept()
    digest = hashlib.sha256()
    while data := connection.recv(1 << 20):
        digest.update(data)
    print(digest.hexdigest(), flush=True)
"""
SEND = """
import hashlib, os, socket, sys, time
data = os.urandom(int(sys.argv[2]))
start = time.monotonic()
with socket.create_connection((sys.argv[1], 7000), timeout=30) as connection:
    connection.settimeout(120)
    connection.sendall(data)
    connection.shutdown(socket.SHUT_WR)
    connection.recv(1)
print(hashlib.sha256(data).hexdigest(), time.monotonic() - start, flush=True)
"""


def copy(source: Machine, sink: Machine, size: int) -> float:
    """Copies random bytes through the tunnel and compares their digests; returns bytes per second."""
    here, there = source.tunnel()
    assert sink.tunnel() == (there, here)
    receiving = sink.host.popen([sys.executable, "-c", RECEIVE, there], stdout=subprocess.PIPE)
    assert receiving.stdout is not None
    assert receiving.stdout.readline() == "listening\n"
    sent, seconds = source.host.run([sys.executable, "-c", SEND, there, str(size)], timeout=120).stdout.split()
    assert receiving.stdout.readline().strip() == sent
    return size / float(seconds)


def test_openvpn_copies_50_megabytes_across_two_nats(tmp_path: Path) -> None:
    with linked(tmp_path, "openvpn.sh") as (_, local, remote):
        print(f"{copy(local, remote, COPY) / 1e6:.1f} MB/s by hand-over")


def test_a_router_that_forgets_everything_is_healed_under_openvpn(tmp_path: Path) -> None:
    with linked(tmp_path, "openvpn.sh", "--proxy") as (lab, local, remote):
        print(f"{copy(local, remote, COPY) / 1e6:.1f} MB/s through the proxy")
        for site in (lab.sites[1], lab.sites[0]):
            site.router.flush()
            took = until(lambda: local.pings(local.tunnel()[1]), "a ping after the router forgot", 60)
            print(f"{site.kind.name} rebooted: healed after {took:.1f} s")
        # The same OpenVPN, with its keys of before: nobody started anew.
        assert local.said.count("Initialization Sequence Completed") == 1
        assert remote.said.count("Initialization Sequence Completed") == 1
        copy(remote, local, 1_000_000)


def test_a_router_that_comes_back_with_another_outer_port_is_followed(tmp_path: Path) -> None:
    with linked(tmp_path, "openvpn.sh", "--proxy", kinds=("random-apdf", "eim-adf")) as (lab, local, remote):
        for _ in range(2):
            lab.sites[0].router.flush()
            took = until(lambda: local.pings(local.tunnel()[1]), "a ping after the outer port changed", 60)
            print(f"random-apdf rebooted: healed after {took:.1f} s")
        lab.sites[1].router.flush()
        took = until(lambda: remote.pings(remote.tunnel()[1]), "a ping after the filter forgot", 60)
        print(f"eim-adf rebooted: healed after {took:.1f} s")
        assert local.said.count("Initialization Sequence Completed") == 1
        copy(remote, local, 1_000_000)
