"""The http mediator against a real hub: delivery, restarts, what a person is told, TLS, two processes."""

import asyncio
import contextlib
import datetime as dt
import ipaddress
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from holepunch.errors import ConfigurationError, MediatorError
from holepunch.hub.limits import Limits, Rate
from holepunch.mediator import Mailbox, make_mediator
from holepunch_mediators import http as http_module
from holepunch_mediators.hub_link import tls_context, unreachable
from holepunch_mediators.hub_poll import HubPoll
from tests.hub.harness import (
    ALICE,
    BOB,
    MALLORY,
    UNHURRIED,
    Url,
    envelope,
    hub_process,
    mailbox_of,
    port_of,
    running_hub,
)
from tests.mediators.through_hub import mediator, numbered, opened, receiving


@pytest.fixture
async def hub(tmp_path: Path) -> AsyncIterator[Url]:
    async with running_hub(tmp_path / "hub.sqlite") as url:
        yield url


async def test_what_waits_and_what_comes_is_received_and_what_is_discarded_is_gone(hub: Url) -> None:
    async with opened(hub, BOB) as bob:
        await bob.post(envelope(1))
        async with receiving(hub) as (alice, queue):
            assert numbered(await queue.get()) == 1
            await bob.post(envelope(2))
            second = await queue.get()
            assert second == envelope(2)
            await alice.discard(second)
            await alice.post(envelope(3, BOB))  # the hub has dealt with the discard before it answers this
        async with receiving(hub) as (_, queue):
            await bob.post(envelope(4))
            assert [numbered(await queue.get()) for _ in range(2)] == [1, 4]


async def test_two_readers_of_one_mailbox_both_get_everything(hub: Url) -> None:
    async with receiving(hub) as (_, one), receiving(hub) as (_, two), opened(hub, BOB) as bob:
        await bob.post(envelope(1))
        assert [numbered(await queue.get()) for queue in (one, two)] == [1, 1]


async def test_a_hub_that_restarts_is_found_again_and_nothing_is_lost_or_doubled(tmp_path: Path) -> None:
    state = tmp_path / "hub.sqlite"
    async with contextlib.AsyncExitStack() as stack:
        async with running_hub(state) as url:
            _, queue = await stack.enter_async_context(receiving(url))
            bob = await stack.enter_async_context(opened(url, BOB))
            await bob.post(envelope(1))
            assert numbered(await queue.get()) == 1
        meanwhile = asyncio.create_task(bob.post(envelope(2)))
        async with running_hub(state, port=port_of(url)):
            await meanwhile
            await bob.post(envelope(3))
            assert [numbered(await queue.get()) for _ in range(2)] == [2, 3]
            assert queue.empty()


async def test_a_hub_that_begins_anew_is_read_from_its_beginning(tmp_path: Path) -> None:
    async with contextlib.AsyncExitStack() as stack:
        async with running_hub(tmp_path / "old.sqlite") as url:
            _, queue = await stack.enter_async_context(receiving(url))
            bob = await stack.enter_async_context(opened(url, BOB))
            for number in range(5):
                await bob.post(envelope(number))
                await queue.get()
        async with running_hub(tmp_path / "new.sqlite", port=port_of(url)):
            await bob.post(envelope(10))
            assert numbered(await queue.get()) == 10


# What a person is told ---------------------------------------------------------------------------


async def test_a_hub_that_is_not_there_is_one_sentence_and_a_hint() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    with pytest.raises(MediatorError) as caught:
        await mediator(f"http://127.0.0.1:{port}").open()
    assert str(caught.value) == f"the hub http://127.0.0.1:{port} cannot be reached: connection refused"
    assert "hub run" in caught.value.hint
    (finding,) = await mediator(f"http://127.0.0.1:{port}").check()
    assert (finding.level, "connection refused" in finding.text, bool(finding.fix)) == ("problem", True, True)


async def test_open_may_be_tried_again(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    alice = mediator(f"http://127.0.0.1:{port}")
    with pytest.raises(MediatorError):
        await alice.open()
    async with running_hub(tmp_path / "hub.sqlite", port=port):
        await alice.open()
        await alice.post(envelope(1))
        await alice.close()


async def test_a_web_server_that_is_no_hub_is_told_apart() -> None:
    async def not_found(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
        writer.close()

    async with await asyncio.start_server(not_found, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        with pytest.raises(MediatorError, match="answers 404 and is not a hub"):
            await mediator(f"http://127.0.0.1:{port}").open()


async def test_a_key_that_is_not_the_owners_ends_the_receiving_with_the_reason(hub: Url) -> None:
    forged = Mailbox(owner=ALICE.peer_id.raw, sign=MALLORY.sign)
    made = make_mediator(str(hub), forged)
    await made.open()
    with pytest.raises(MediatorError, match="not signed by its owner"):
        await anext(made.receive())
    with pytest.raises(MediatorError, match="not signed by its owner"):
        await made.post(envelope(1))
    await made.close()
    (finding, *_) = await make_mediator(str(hub), forged).check()
    assert finding.level == "problem"


async def test_a_full_mailbox_is_an_error_and_a_rate_limit_is_waited_for(tmp_path: Path) -> None:
    limits = Limits(login_rate=UNHURRIED, pair_envelopes=2, sender_rate=Rate(per_second=20, burst=1))
    async with running_hub(tmp_path / "hub.sqlite", limits=limits) as url, opened(url, BOB) as bob:
        await bob.post(envelope(1))
        await bob.post(envelope(2))
        with pytest.raises(MediatorError, match="2 envelopes waiting") as caught:
            await bob.post(envelope(3))
        assert "--accept" in caught.value.hint


async def test_an_offer_that_expires_while_the_hub_is_away_fails_then(tmp_path: Path) -> None:
    async with contextlib.AsyncExitStack() as stack:
        async with running_hub(tmp_path / "hub.sqlite") as url:
            bob = await stack.enter_async_context(opened(url, BOB))
        with pytest.raises(MediatorError, match="the hub http"):
            await bob.post(replace(envelope(1), expires=int(time.time()) + 2))


async def test_closing_ends_the_receiving(hub: Url) -> None:
    async with receiving(hub) as (alice, _):
        await alice.close()
        await alice.close()
    with pytest.raises(MediatorError, match="closed"):
        await alice.post(envelope(1))


@pytest.mark.parametrize(
    "url",
    ["http://", "https://user:secret@host", "http://host:port", "http://host/?x=1", "http://host/#f", "http://a..b"],
)
def test_a_url_that_is_not_a_hubs_is_refused_without_showing_a_password(url: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        mediator(url)
    assert "secret" not in str(caught.value)


def test_a_name_that_does_not_resolve_is_said_so() -> None:
    error = unreachable(socket.gaierror(socket.EAI_NONAME, "Name or service not known"))
    assert str(error) == "cannot be found: Name or service not known"


# TLS ---------------------------------------------------------------------------------------------


@pytest.fixture
def certificate(tmp_path: Path) -> Iterator[tuple[str, str]]:
    """A self-signed certificate for 127.0.0.1."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "hub")])
    now = dt.datetime.now(dt.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(hours=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    encoding = serialization.Encoding.PEM
    (tmp_path / "cert.pem").write_bytes(made.public_bytes(encoding))
    form, plain = serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    (tmp_path / "key.pem").write_bytes(key.private_bytes(encoding, form, plain))
    tls_context.cache_clear()
    yield str(tmp_path / "cert.pem"), str(tmp_path / "key.pem")
    tls_context.cache_clear()


async def test_a_certificate_is_always_verified_and_ssl_cert_file_says_whom_to_trust(
    tmp_path: Path, certificate: tuple[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    cert, key = certificate
    async with running_hub(tmp_path / "hub.sqlite", tls_cert=cert, tls_key=key) as url:
        assert url.startswith("https://")
        with pytest.raises(MediatorError, match="certificate that is not valid") as caught:
            await mediator(url).open()
        assert "SSL_CERT_FILE" in caught.value.hint
        tls_context.cache_clear()
        monkeypatch.setenv("SSL_CERT_FILE", cert)
        async with receiving(url) as (alice, queue):
            await alice.post(envelope(1))
            assert numbered(await queue.get()) == 1
        link = HubPoll(alice._address, mailbox_of(ALICE))
        await link.open()
        await link.welcomed()
        assert [finding.level for finding in await mediator(url).check()] == ["ok"]
        with pytest.raises(MediatorError, match="certificate that is not valid"):
            await mediator(url.replace("127.0.0.1", "localhost")).open()


async def test_http_to_a_tls_port_and_https_to_a_plain_one_are_explained(
    hub: Url, tmp_path: Path, certificate: tuple[str, str]
) -> None:
    with pytest.raises(MediatorError, match="does not speak TLS"):
        await mediator(hub.replace("http:", "https:")).open()
    cert, key = certificate
    async with running_hub(tmp_path / "tls.sqlite", tls_cert=cert, tls_key=key) as url:
        with pytest.raises(MediatorError, match="the hub http://"):
            await mediator(url.replace("https:", "http:")).open()


# Two processes -----------------------------------------------------------------------------------

PEER = """
import asyncio, sys, time
from holepunch.mediator import Mailbox, make_mediator
from holepunch.proto.envelope import Envelope, Kind
from holepunch.proto.identity import Identity

async def main(url, me, other):
    me, other = (Identity.from_seed(bytes([int(number)]) * 32) for number in (me, other))
    link = make_mediator(url, Mailbox(owner=me.peer_id.raw, sign=me.sign))
    await link.open()
    for number in range(10):
        await link.post(Envelope(kind=Kind.INVITE, session=bytes(16), id=number.to_bytes(16), body=b"sealed",
                                 recipient=other.peer_id.raw, expires=int(time.time()) + 60))
    seen = set()
    async for envelope in link.receive():
        seen.add(envelope.id)
        if len(seen) == 10:
            break
    await link.close()
    print("done")

asyncio.run(main(*sys.argv[1:]))
"""


async def test_two_peers_and_a_hub_are_three_processes(tmp_path: Path) -> None:
    async with hub_process("--listen", "127.0.0.1:0", "--no-stun", "--state", str(tmp_path / "s")) as (_, (url,)):
        peers = [
            await asyncio.create_subprocess_exec(sys.executable, "-c", PEER, url, *who, stdout=subprocess.PIPE)
            for who in (("1", "2"), ("2", "1"))
        ]
        assert [(await peer.communicate())[0] for peer in peers] == [b"done\n", b"done\n"]


async def test_a_fault_of_ours_while_reconnecting_ends_the_waiting(hub: Url, monkeypatch: pytest.MonkeyPatch) -> None:
    async with opened(hub) as alice:
        await alice.post(envelope(1))

        async def broken(*_: object) -> None:
            raise ValueError("a fault of ours")

        monkeypatch.setattr(http_module, "open_socket", broken)
        assert alice._link
        await alice._link.close()
        with pytest.raises(MediatorError, match="a fault of ours"):
            await alice.post(envelope(2))
