"""`holepunch hub run` as a process: ready, used by two other processes, restarted, stopped."""

import asyncio
import json
import os
import signal
import socket
import ssl
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from holepunch.home import Home
from holepunch.home.certificate import Certificate
from holepunch.proto.mailbox import Posted
from holepunch.proto.stun.message import binding_request, decode_message, mapped_address

from .harness import ALICE, BOB, client, envelope, hub_process, port_of

LOOPBACK = ("--listen", "127.0.0.1:0", "--no-stun")


async def stop(process: asyncio.subprocess.Process) -> tuple[str, str]:
    process.send_signal(signal.SIGTERM)
    stdout, stderr = await process.communicate()
    return stdout.decode(), stderr.decode()


async def test_a_hub_is_ready_serves_and_ends_cleanly_on_sigterm(tmp_path: Path) -> None:
    async with hub_process("--listen", "127.0.0.1:0", "--stun", "127.0.0.1:0", "--state", f"{tmp_path}/s") as (
        hub,
        urls,
    ):
        web, stun = urls
        async with httpx.AsyncClient() as http:
            assert (await http.get(f"{web}/healthz")).status_code == 200
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asker:
            asker.setblocking(False)
            asker.connect(("127.0.0.1", int(stun.rpartition(":")[2])))
            await asyncio.get_running_loop().sock_sendall(asker, binding_request(os.urandom(12)))
            answer = await asyncio.get_running_loop().sock_recv(asker, 1024)
            assert mapped_address(decode_message(answer)) == asker.getsockname()
        async with client(web) as alice:
            await alice.login(ALICE)
            stdout, stderr = await stop(hub)
        assert (hub.returncode, stderr) == (0, "")
        assert json.loads(stdout)["event"] == "stopped"


async def test_what_was_posted_is_there_after_the_hub_was_killed_and_started_again(tmp_path: Path) -> None:
    state = ("--state", str(tmp_path / "hub.sqlite"))
    async with hub_process(*LOOPBACK, *state) as (hub, (url,)), client(url) as bob:
        await bob.login(BOB)
        assert await bob.post(1, envelope(1)) == Posted(1)
        hub.kill()
        await hub.wait()
    async with hub_process("--listen", f"127.0.0.1:{port_of(url)}", "--no-stun", *state) as (hub, (again,)):
        assert again == url
        async with client(url) as alice:
            await alice.login(ALICE)
            await alice.subscribe()
            assert (await alice.next()).envelope == envelope(1).encode()  # type: ignore[union-attr]


async def test_both_address_families_are_served_on_one_port(tmp_path: Path) -> None:
    async with hub_process("--listen", "[::]:0", "--no-stun", "--state", str(tmp_path / "s")) as (_, urls):
        assert urls[0].startswith("http://0.0.0.0:")
        port = port_of(urls[0])
        assert urls[1] == f"http://[::]:{port}"
        async with client(f"http://127.0.0.1:{port}") as bob, client(f"http://[::1]:{port}") as alice:
            await alice.login(ALICE)
            await alice.subscribe()
            await bob.login(BOB)
            await bob.post(1, envelope(1))
            assert (await alice.next()).envelope == envelope(1).encode()  # type: ignore[union-attr]


async def test_the_state_is_in_the_home_unless_told_otherwise(tmp_path: Path) -> None:
    environment = {**os.environ, "HOLEPUNCH_HOME": str(tmp_path / "home")}
    async with hub_process(*LOOPBACK, environment=environment) as (hub, _):
        await stop(hub)
    assert (tmp_path / "home" / "hub.sqlite").stat().st_mode & 0o777 == 0o600
    assert (tmp_path / "home").stat().st_mode & 0o777 == 0o700


async def test_tls_is_spoken_and_a_renewed_certificate_is_taken_on_sighup(tmp_path: Path) -> None:
    certificates = []
    for name in ("old", "new"):
        home = Home(tmp_path / name)
        home.create_identity(name)
        certificates.append(home.certificate())
    cert, key = tmp_path / "cert.pem", tmp_path / "key.pem"

    def install(certificate: Certificate) -> None:
        cert.write_bytes(Path(certificate.cert_path).read_bytes())
        key.write_bytes(Path(certificate.key_path).read_bytes())

    def shown(port: int) -> bytes:
        return ssl.PEM_cert_to_DER_cert(ssl.get_server_certificate(("127.0.0.1", port)))

    install(certificates[0])
    tls = ("--tls-cert", str(cert), "--tls-key", str(key), "--state", str(tmp_path / "s"))
    async with hub_process(*LOOPBACK, *tls) as (hub, (url,)):
        assert url.startswith("https://127.0.0.1:")
        before = await asyncio.to_thread(shown, port_of(url))
        install(certificates[1])
        hub.send_signal(signal.SIGHUP)
        while (after := await asyncio.to_thread(shown, port_of(url))) == before:
            await asyncio.sleep(0.05)
        key.write_text("damaged")
        hub.send_signal(signal.SIGHUP)
        assert await asyncio.to_thread(shown, port_of(url)) == after
        _, stderr = await stop(hub)
        assert "certificate not reloaded" in stderr


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--listen", "127.0.0.1:TAKEN"), "Address already in use"),
        (("--listen", "nowhere"), ""),
        (("--stun", "127.0.0.1:1", "--stun-other", "127.0.0.1:2"), "share an address"),
        (("--stun-other", "127.0.0.1:2"), "only with --stun"),
        (("--no-stun", "--stun", "127.0.0.1:1"), "exclude each other"),
        (("--tls-key", "x"), "only with --tls-cert"),
        (("--tls-cert", "/nonexistent"), "certificate"),
        (("--state", "nonsense://"), "--state"),
    ],
)
def test_what_cannot_run_says_why_and_ends_with_status_2(tmp_path: Path, arguments: tuple[str, ...], said: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        given = [argument.replace("TAKEN", str(taken.getsockname()[1])) for argument in arguments]
        rest = [] if "--listen" in given else ["--listen", "127.0.0.1:0"]
        rest += [] if "--state" in given else ["--state", str(tmp_path / "s")]
        rest += [] if any("stun" in argument for argument in given) else ["--no-stun"]
        command = [sys.executable, "-m", "holepunch", "hub", "run", *given, *rest]
        ended = subprocess.run(command, check=False, capture_output=True, text=True, timeout=30)
    assert ended.returncode == 2
    assert said in ended.stderr
    assert "Traceback" not in ended.stderr


def test_the_help_needs_none_of_the_extra() -> None:
    code = (
        "import sys; sys.modules.update(dict.fromkeys(('fastapi', 'uvicorn', 'sqlalchemy')));"
        "from holepunch.cli.main import main; sys.argv = ['holepunch', 'hub', 'run', *sys.argv[1:]]; main()"
    )
    shown = subprocess.run([sys.executable, "-c", code, "--help"], check=False, capture_output=True, text=True)
    assert (shown.returncode, "--stun-other" in shown.stdout) == (0, True)
    refused = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True, text=True)
    assert (refused.returncode, "pip install 'holepunch-p2p[hub]'" in refused.stderr) == (2, True)
