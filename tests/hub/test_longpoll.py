"""The mailbox by plain requests."""

import asyncio
import sqlite3
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from holepunch.errors import WireError
from holepunch.hub.limits import Limits, Rate
from holepunch.hub.longpoll import decode_authorization
from holepunch.proto.envelope import decode_envelope
from holepunch.proto.identity import Identity
from holepunch.proto.mailbox import (
    MAX_ENVELOPE,
    Posted,
    Reason,
    Refused,
    decode_deliveries,
    decode_hub_frame,
    login_statement,
)

from .harness import ALICE, BOB, MALLORY, UNHURRIED, Url, client, envelope, port_of, running_hub


class Asker:
    """Signs requests of one identity."""

    def __init__(self, http: httpx.AsyncClient, identity: Identity) -> None:
        self.http = http
        self.identity = identity

    async def challenge(self) -> bytes:
        answer = await self.http.get("/v1/mailbox")
        assert answer.status_code == 401
        assert answer.headers["WWW-Authenticate"] == "Holepunch"
        return urlsafe_b64decode(answer.headers["Holepunch-Challenge"])

    def token(self, challenge: bytes, signer: Identity | None = None) -> str:
        statement = login_statement(challenge, self.http.base_url.netloc.decode())
        signature = (signer or self.identity).sign(statement)
        return "Holepunch " + urlsafe_b64encode(challenge + self.identity.peer_id.raw + signature).decode()

    async def ask(self, method: str, tail: str = "", **options: Any) -> httpx.Response:
        headers = {"Authorization": self.token(await self.challenge())}
        return await self.http.request(method, f"/v1/mailbox{tail}", headers=headers, **options)


@pytest.fixture
async def hub(tmp_path: Path) -> AsyncIterator[Url]:
    async with running_hub(tmp_path / "hub.sqlite") as url:
        yield url


@pytest.fixture
async def http(hub: Url) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(base_url=hub) as made:
        yield made


def refusal(answer: httpx.Response) -> Reason:
    frame = decode_hub_frame(answer.content)
    assert isinstance(frame, Refused)
    return frame.reason


def numbers(answer: httpx.Response) -> list[int]:
    assert answer.status_code == 200
    return [int.from_bytes(decode_envelope(item.envelope).id) for item in decode_deliveries(answer.content)]


async def test_post_poll_and_discard(http: httpx.AsyncClient) -> None:
    alice, bob = Asker(http, ALICE), Asker(http, BOB)
    for number in (1, 2):
        assert (await bob.ask("POST", "?life=60", content=envelope(number).encode())).status_code == 204
    answer = await alice.ask("GET", "?wait=5")
    assert numbers(answer) == [1, 2]
    first, last = (item.cursor for item in decode_deliveries(answer.content))
    epoch = answer.headers["Holepunch-Epoch"]
    assert numbers(await alice.ask("GET", f"?cursor={first}&epoch={epoch}")) == [2]
    assert numbers(await alice.ask("GET", f"?cursor={last}&epoch={epoch}&wait=0")) == []
    assert numbers(await alice.ask("GET", f"?cursor={last}&epoch=00")) == [1, 2]
    assert numbers(await bob.ask("GET")) == []
    assert (await bob.ask("DELETE", f"/{envelope(1).id.hex()}")).status_code == 204
    assert (await alice.ask("DELETE", f"/{envelope(2).id.hex()}")).status_code == 204
    assert numbers(await alice.ask("GET")) == [1]


async def test_a_poll_waits_for_what_is_posted_by_websocket_and_the_reverse(hub: Url, http: httpx.AsyncClient) -> None:
    alice = Asker(http, ALICE)
    async with client(hub) as bob:
        await bob.login(BOB)
        polling = asyncio.create_task(alice.ask("GET", "?wait=30"))
        assert await bob.post(1, envelope(1)) == Posted(1)
        assert numbers(await polling) == [1]
        await bob.subscribe()
        await alice.ask("POST", "?life=60", content=envelope(2, BOB).encode())
        delivery = await bob.next()
        assert decode_envelope(delivery.envelope).id == envelope(2).id  # type: ignore[union-attr]


async def test_a_poll_ends_empty_when_its_time_is_over_or_the_hub_stops(tmp_path: Path) -> None:
    async with httpx.AsyncClient() as http:
        async with running_hub(tmp_path / "hub.sqlite") as url:
            http.base_url = httpx.URL(url)
            alice = Asker(http, ALICE)
            assert numbers(await alice.ask("GET", "?wait=0")) == []
            headers = {"Authorization": alice.token(await alice.challenge())}
            polling = asyncio.create_task(http.get("/v1/mailbox?wait=40", headers=headers))
            while not url.mailboxes._readers:
                await asyncio.sleep(0.01)
        assert numbers(await polling) == []


async def test_a_challenge_answers_one_request_only_and_a_forged_or_missing_answer_none(
    http: httpx.AsyncClient,
) -> None:
    alice = Asker(http, ALICE)
    challenge = await alice.challenge()
    headers = {"Authorization": alice.token(challenge)}
    assert (await http.get("/v1/mailbox", headers=headers)).status_code == 200
    for authorization in (
        alice.token(challenge),
        alice.token(await alice.challenge(), signer=MALLORY),
        alice.token(bytes(48)),
        "Basic YWxpY2U6eA==",
        "Holepunch !!!",
        "Holepunch",
    ):
        answer = await http.get("/v1/mailbox", headers={"Authorization": authorization})
        assert (answer.status_code, refusal(answer)) == (401, Reason.NOT_AUTHENTIC)
        assert len(urlsafe_b64decode(answer.headers["Holepunch-Challenge"])) == 48


async def test_every_refusal_has_its_status(http: httpx.AsyncClient) -> None:
    alice = Asker(http, ALICE)
    for tail, content, status in (
        ("?life=60", bytes(MAX_ENVELOPE + 1), 413),
        ("?life=60", b"junk", 400),
        ("?life=soon", envelope(1).encode(), 400),
        ("", envelope(1).encode(), 400),
    ):
        assert (await alice.ask("POST", tail, content=content)).status_code == status
    assert (await alice.ask("DELETE", "/nonsense")).status_code == 400
    assert (
        await alice.ask("GET", "?cursor=-1&epoch=" + "00" * 8)
    ).status_code == 200  # of another epoch: not looked at
    assert (await alice.ask("GET", "?wait=long")).status_code == 400


async def test_requests_that_come_too_fast_are_told_when_to_come_again(tmp_path: Path) -> None:
    limits = Limits(login_rate=Rate(per_second=0.1, burst=2))
    async with running_hub(tmp_path / "hub.sqlite", limits=limits) as url, httpx.AsyncClient(base_url=url) as http:
        answers = [await http.get("/v1/mailbox") for _ in range(3)]
        assert [answer.status_code for answer in answers] == [401, 401, 429]
        assert 0 < int(answers[2].headers["Retry-After"]) <= 10


async def test_the_address_a_proxy_tells_is_believed_from_loopback_and_from_nobody_else(tmp_path: Path) -> None:
    limits = Limits(login_rate=Rate(per_second=0.001, burst=1))
    async with running_hub(tmp_path / "hub.sqlite", limits=limits) as url:
        for local, expected in (("127.0.0.1", [401, 401, 429]), ("127.0.0.2", [401, 429, 429])):
            transport = httpx.AsyncHTTPTransport(local_address=local)
            async with httpx.AsyncClient(base_url=url, transport=transport) as http:
                statuses = []
                for client_address in ("198.51.100.1", "198.51.100.2", "198.51.100.1"):
                    headers = {"X-Forwarded-For": client_address}
                    statuses.append((await http.get("/v1/mailbox", headers=headers)).status_code)
            assert statuses == expected


async def test_a_body_that_does_not_come_is_not_waited_for(tmp_path: Path) -> None:
    limits = Limits(login_rate=UNHURRIED, login_time=0.2)
    async with running_hub(tmp_path / "hub.sqlite", limits=limits) as url, httpx.AsyncClient(base_url=url) as http:
        alice = Asker(http, ALICE)
        reader, writer = await asyncio.open_connection("127.0.0.1", port_of(url))
        head = ["POST /v1/mailbox?life=60 HTTP/1.1", f"Host: 127.0.0.1:{port_of(url)}", "Content-Length: 100"]
        head += [f"Authorization: {alice.token(await alice.challenge())}", "", "H"]
        writer.write("\r\n".join(head).encode())
        assert b" 400 " in await reader.readline()
        await reader.readuntil(b"did not come")
        writer.close()
        await writer.wait_closed()


async def test_healthz_says_how_it_is(tmp_path: Path, http: httpx.AsyncClient) -> None:
    answer = await http.get("/healthz")
    assert (answer.status_code, answer.text) == (200, "ok, 0 envelopes wait\n")


async def test_healthz_says_so_when_the_store_is_gone(tmp_path: Path) -> None:
    async with running_hub(tmp_path / "hub.sqlite") as url, httpx.AsyncClient(base_url=url) as http:
        with sqlite3.connect(tmp_path / "hub.sqlite") as other:
            other.execute("drop table envelopes")
        answer = await http.get("/healthz")
        assert (answer.status_code, "store" in answer.text) == (503, True)


@given(st.one_of(st.text(max_size=300), st.binary(max_size=200).map(lambda data: "Holepunch " + data.hex())))
def test_no_authorization_raises_anything_but_wire_error(value: str) -> None:
    try:
        decode_authorization(value)
    except WireError:
        return
    raise AssertionError("accepted")
