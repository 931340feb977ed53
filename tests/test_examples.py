"""Every example, run: here on loopback and on a cable between two namespaces, in tests/lab across NATs."""

import os
import secrets
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import pytest

from holepunch.home import Home, Peer
from holepunch.net.udp import UdpSocket
from tests.net.namespaces import link, namespaces

EXAMPLES = Path(__file__).parent.parent / "examples"
HOSTS = {"accept": "10.77.0.1", "connect": "10.77.0.2"}
PORT = "5000"


def until(condition: Callable[[], bool], what: str, seconds: float = 50) -> None:
    """Waits for something that other processes do."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, f"{what} has not happened in {seconds:g} s"
        time.sleep(0.05)


def all_argument_lists() -> bytes:
    """Returns what `ps` shows to everybody."""
    shown = b""
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with suppress(OSError):  # it has ended since
            shown += path.read_bytes()
    return shown


@dataclass
class Side:
    """One machine on the cable: its namespace, its home and what a command gets there."""

    role: str
    namespace: str
    home: Home
    environment: dict[str, str]

    @property
    def classic(self) -> list[str]:
        other = HOSTS["connect" if self.role == "accept" else "accept"]
        return [HOSTS[self.role], PORT, HOSTS[self.role], PORT, other, PORT]

    def start(self, *argv: str, classic: bool = True) -> "subprocess.Popen[str]":
        """Starts an example as holepunch would."""
        words = ["ip", "netns", "exec", self.namespace, *argv, *(self.classic if classic else [])]
        return subprocess.Popen(
            words, env=self.environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, process_group=0
        )

    def pings(self, host: str) -> bool:
        words = ["ip", "netns", "exec", self.namespace, "ping", "-c", "1", "-W", "1", host]
        return subprocess.run(words, check=False, capture_output=True).returncode == 0

    def tunnel(self) -> tuple[str, str]:
        """Returns (local, peer) addresses of the tunnel, as addresses.sh says."""
        script = f". {EXAMPLES}/addresses.sh 2>/dev/null; echo $tunnel_local $tunnel_peer"
        out = subprocess.run(["sh", "-c", script], env=self.environment, check=True, capture_output=True, text=True)
        local, peer = out.stdout.split()
        return local, peer


def make_sides(folder: Path, namespaces_: list[str]) -> dict[str, Side]:
    """Makes two machines that share a session, with the environment that holepunch gives."""
    secret, session = secrets.token_hex(32), secrets.token_hex(16)
    sides = {}
    homes = {role: Home(folder / role) for role in HOSTS}
    for (role, other), namespace in zip((("accept", "connect"), ("connect", "accept")), namespaces_, strict=True):
        certificate, theirs = homes[role].certificate(), homes[other].certificate()
        sides[role] = Side(
            role,
            namespace,
            homes[role],
            {
                "PATH": os.environ["PATH"],
                "HOLEPUNCH_ROLE": role,
                "HOLEPUNCH_MODE": "hand-over",
                "HOLEPUNCH_INNER": f"{HOSTS[role]}:{PORT}",
                "HOLEPUNCH_PEER": f"{HOSTS[other]}:{PORT}",
                "HOLEPUNCH_PEER_NAME": other,
                "HOLEPUNCH_SESSION": session,
                "HOLEPUNCH_SECRET": secret,
                "HOLEPUNCH_CERT": str(certificate.cert_path),
                "HOLEPUNCH_KEY": str(certificate.key_path),
                "HOLEPUNCH_FINGERPRINT": certificate.fingerprint.hex(":").upper(),
                "HOLEPUNCH_PEER_FINGERPRINT": theirs.fingerprint.hex(":").upper(),
                "HOME": str(folder / role),
            },
        )
    return sides


@pytest.fixture
def sides(tmp_path: Path) -> Iterator[dict[str, Side]]:
    """Two machines on one cable."""
    with namespaces("accept", "connect") as names:
        link(names[0], f"{HOSTS['accept']}/24", names[1], f"{HOSTS['connect']}/24")
        yield make_sides(tmp_path, names)


@contextmanager
def running(*processes: "subprocess.Popen[str]") -> Iterator[None]:
    """Ends processes that have not ended; shows what they said where a test failed."""
    try:
        yield
    finally:
        for process in processes:
            if process.poll() is None:
                os.killpg(process.pid, 15)
            try:
                out, _ = process.communicate(timeout=15)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, 9)
                out, _ = process.communicate()
            print("---", process.args, "->", process.returncode, out, sep="\n")


# Addresses ---------------------------------------------------------------------------------------


def test_both_sides_agree_on_the_tunnels_addresses(tmp_path: Path) -> None:
    sides = make_sides(tmp_path, ["", ""])
    local, peer = sides["accept"].tunnel()
    assert sides["connect"].tunnel() == (peer, local)
    assert local.startswith("10.")
    assert (local.rsplit(".", 1)[1], peer.rsplit(".", 1)[1]) == ("1", "2")
    sides["accept"].environment |= {"TUNNEL_LOCAL": "172.20.0.1", "TUNNEL_PEER": "172.20.0.9"}
    assert sides["accept"].tunnel() == ("172.20.0.1", "172.20.0.9")


# UDP ---------------------------------------------------------------------------------------------


def test_udp_echo_answers_and_measures() -> None:
    one, two = UdpSocket(4, "127.0.0.1"), UdpSocket(4, "127.0.0.1")
    here, there = [(sock.address[0], str(sock.address[1])) for sock in (one, two)]
    one.close()
    two.close()

    def start(role: str, *addresses: str) -> "subprocess.Popen[str]":
        return subprocess.Popen(
            [sys.executable, str(EXAMPLES / "udp_echo.py"), *addresses],
            env={"HOLEPUNCH_ROLE": role, "HOLEPUNCH_PEER_NAME": "remote", "PYTHONUNBUFFERED": "1"},
            stdout=subprocess.PIPE,
            text=True,
        )

    accept = start("accept", *here, *here, *there)
    connect = start("connect", *there, *there, *here)
    out, _ = connect.communicate(timeout=30)
    assert connect.returncode == 0
    assert "remote answered in" in out
    assert accept.wait(5) == 0  # it heard the good-bye, and did not wait for silence
    accept.communicate()


# The library -------------------------------------------------------------------------------------


def test_the_library_opens_a_path_and_talks_on_it(tmp_path: Path) -> None:
    homes = {name: Home(tmp_path / name) for name in ("local", "remote")}
    ids = {name: home.create_identity(name).peer_id for name, home in homes.items()}
    homes["local"].peers.add(Peer("remote", ids["remote"]))
    homes["remote"].peers.add(Peer("local", ids["local"]))
    (tmp_path / "shared").mkdir()

    def start(name: str, *words: str) -> "subprocess.Popen[str]":
        settings = {
            "HOLEPUNCH_HOME": str(tmp_path / name),
            "HOLEPUNCH_MEDIATORS": f"file://{tmp_path}/shared",
            "HOLEPUNCH_STUN": "",
            "PYTHONUNBUFFERED": "1",
        }
        return subprocess.Popen(
            [sys.executable, str(EXAMPLES / "library_use.py"), *words],
            env={**os.environ, **settings},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            process_group=0,
        )

    remote = start("remote")
    local = start("local", "remote", "good morning")
    with running(remote, local):
        out, _ = local.communicate(timeout=40)
        assert "path to remote: direct" in out
        assert "local said 'good morning'" in out
        assert local.returncode == 0
        assert remote.stdout is not None
        assert remote.stdout.readline() == "local is here\n"
        assert remote.stdout.readline() == "local has left\n"


# Tunnels -----------------------------------------------------------------------------------------


@pytest.mark.lab
def test_openvpn_links_two_machines_and_both_ends_end_together(sides: dict[str, Side]) -> None:
    commands = [side.start(str(EXAMPLES / "openvpn.sh")) for side in sides.values()]
    with running(*commands):
        _, peer = sides["connect"].tunnel()
        until(lambda: sides["connect"].pings(peer), "a ping through OpenVPN")
        assert sides["accept"].pings(sides["accept"].tunnel()[1])
        os.killpg(commands[1].pid, 15)
        for command in commands:
            assert command.wait(30) == 0


@pytest.mark.lab
def test_openvpn_refuses_a_peer_with_another_certificate(sides: dict[str, Side], tmp_path: Path) -> None:
    impostor = Home(tmp_path / "impostor").certificate()
    sides["connect"].environment |= {"HOLEPUNCH_CERT": str(impostor.cert_path), "HOLEPUNCH_KEY": str(impostor.key_path)}
    commands = [side.start(str(EXAMPLES / "openvpn.sh")) for side in sides.values()]
    with running(*commands):
        said = ""
        assert commands[0].stdout is not None
        while "TLS handshake failed" not in said:
            said += commands[0].stdout.readline()
        assert "certificate verif" in said.lower()
        assert not sides["connect"].pings(sides["connect"].tunnel()[1])


@pytest.mark.lab
def test_wireguard_links_two_machines_and_leaves_no_device(sides: dict[str, Side]) -> None:
    commands = [side.start(str(EXAMPLES / "wireguard.sh")) for side in sides.values()]
    with running(*commands):
        _, peer = sides["connect"].tunnel()
        until(lambda: sides["connect"].pings(peer), "a ping through WireGuard")
        # One group has it all, as holepunch starts it: no word of the secret in any argument list.
        shown = all_argument_lists()
        assert b"wireguard-go" in shown
        assert sides["connect"].environment["HOLEPUNCH_SECRET"].encode() not in shown
        for command in commands:
            os.killpg(command.pid, 15)
            assert command.wait(30) == 143
    for side in sides.values():
        devices = subprocess.run(
            ["ip", "-n", side.namespace, "link"], check=True, capture_output=True, text=True
        ).stdout
        assert "hp" not in devices.replace("hpt", "")


@pytest.mark.lab
@pytest.mark.timeout(180)
def test_ssh_runs_a_command_on_the_peer_through_openvpn(sides: dict[str, Side], tmp_path: Path) -> None:
    for name in ("host", "user"):
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(tmp_path / name)], check=True)
    (tmp_path / "authorized").write_text((tmp_path / "user.pub").read_text())
    os.chmod(tmp_path / "authorized", 0o600)
    os.makedirs("/run/sshd", exist_ok=True)  # where sshd separates privileges, on Debian
    options = {
        "HostKey": tmp_path / "host",
        "AuthorizedKeysFile": tmp_path / "authorized",
        "PidFile": "none",
        "StrictModes": "no",
        "UsePAM": "no",
        "PermitRootLogin": "prohibit-password",
    }
    words = [part for name, value in options.items() for part in ("-o", f"{name}={value}")]
    server = sides["accept"].start(
        "/usr/sbin/sshd", "-D", "-E", str(tmp_path / "log"), "-p", "22", *words, classic=False
    )
    known = tmp_path / "known"
    known.write_text(f"remote {(tmp_path / 'host.pub').read_text()}")
    sides["connect"].environment["SSH_OPTIONS"] = (
        f"-F none -i {tmp_path / 'user'} -o UserKnownHostsFile={known} -o StrictHostKeyChecking=yes -o BatchMode=yes"
    )
    tunnel = sides["accept"].start(str(EXAMPLES / "openvpn.sh"))
    script = str(EXAMPLES / "ssh_over_openvpn.sh")
    shell = sides["connect"].start(script, "root@remote", "echo there: $SSH_CONNECTION; exit 7", classic=False)
    with running(server, tunnel, shell):
        assert shell.wait(120) == 7  # the exit status of what ran there
        assert shell.stdout is not None
        ours, theirs = sides["connect"].tunnel()
        said = shell.stdout.read()
        assert any(line.startswith(f"there: {ours} ") and f" {theirs} 22" in line for line in said.splitlines()), said
        assert tunnel.wait(30) == 0
