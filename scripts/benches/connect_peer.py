"""One end of a connection for scripts/benches/connect.py: ours, or aioice's, over the same folder.

    connect_peer.py TOOL ROLE FOLDER STUN LATE HOST

It writes its description to the folder, waits for the other's, waits LATE seconds more, connects, and
prints one line of JSON: whether it has a path, and the seconds since both descriptions were known to it.
"""

import asyncio
import contextlib
import json
import logging
import os
import sys
import time
from pathlib import Path

from holepunch.net.driver import Driver
from holepunch.net.interfaces import source_address
from holepunch.proto.address import parse_address
from holepunch.proto.agent import Agent, AgentOptions, OffersWaiting
from holepunch.proto.candidate import Interface
from holepunch.proto.envelope import decode_envelope
from holepunch.proto.events import PathSelected, SessionClosed
from holepunch.proto.identity import Identity
from holepunch.proto.seal import open_invite

PATIENCE = 12.0  # seconds for one attempt; aioice's own checks end after 6 transmissions of one request
SEEDS = {"connect": b"c" * 32, "accept": b"a" * 32}


async def read(path: Path) -> bytes:
    """Waits for a file and returns its content."""
    while not path.exists():  # noqa: ASYNC110 - another process makes it
        await asyncio.sleep(0.002)
    return path.read_bytes()


def write(path: Path, data: bytes) -> None:
    """Writes a file so that a reader sees all of it or nothing."""
    temporary = path.with_suffix(f".{os.getpid()}")
    temporary.write_bytes(data)
    temporary.rename(path)


async def ours(role: str, folder: Path, stun: list[str], late: float, host: str) -> dict[str, object]:
    """Connects with holepunch's agent."""
    me = Identity.from_seed(SEEDS[role])
    other = "accept" if role == "connect" else "connect"
    options = AgentOptions(
        servers=tuple(parse_address(server) for server in stun),
        interfaces=(Interface(host, 24),),
        source=lambda remote: source_address(remote) or host,
        attempt=PATIENCE,
        keeps_socket=True,
    )
    loop = asyncio.get_running_loop()
    epoch = time.time() - loop.time()
    invitation = None
    if role == "accept":
        envelope = decode_envelope(await read(folder / "connect.0"))
        await asyncio.sleep(late)
        invitation = open_invite(envelope, me, time.time())
    peer = Identity.from_seed(SEEDS[other]).peer_id
    agent = Agent(me, peer, options, entropy=os.urandom, epoch=epoch, invitation=invitation)
    driver = Driver(agent)
    agent.start(driver.now)
    driver.wake()

    async def mail() -> None:
        for number in range(1 if role == "accept" else 0, 100):
            envelope = decode_envelope(await read(folder / f"{other}.{number}"))
            if number == 0 and role == "connect":
                await asyncio.sleep(late)
            agent.receive_envelope(envelope, driver.now)
            driver.wake()

    reading = asyncio.create_task(mail())
    sent = 0
    result: dict[str, object] = {"ok": False}
    async for event in driver:
        if isinstance(event, OffersWaiting):
            for envelope in agent.envelopes_to_send(driver.now):
                write(folder / f"{role}.{sent}", envelope.encode())
                sent += 1
        elif isinstance(event, PathSelected):
            result = {"ok": True, "elapsed": event.elapsed, "packets": event.packets, "tuples": event.tuples}
            break
        elif isinstance(event, SessionClosed):
            break
    # The other side needs our answers a little longer.
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(1.0):
            async for _ in driver:
                pass
    reading.cancel()
    driver.close()
    return result


async def theirs(role: str, folder: Path, stun: list[str], late: float, _: str) -> dict[str, object]:
    """Connects with aioice, which gathers first and then connects, once both descriptions are known."""
    import aioice

    connection = aioice.Connection(
        ice_controlling=role == "connect", stun_server=parse_address(stun[0]), use_ipv6=False
    )
    await connection.gather_candidates()
    description = {
        "candidates": [candidate.to_sdp() for candidate in connection.local_candidates],
        "username": connection.local_username,
        "password": connection.local_password,
    }
    write(folder / role, json.dumps(description).encode())
    other = json.loads(await read(folder / ("accept" if role == "connect" else "connect")))
    for line in other["candidates"]:
        await connection.add_remote_candidate(aioice.Candidate.from_sdp(line))
    await connection.add_remote_candidate(None)  # the end of candidates
    connection.remote_username, connection.remote_password = other["username"], other["password"]
    await asyncio.sleep(late)
    began = time.monotonic()
    try:
        async with asyncio.timeout(PATIENCE):
            await connection.connect()
    except (TimeoutError, ConnectionError):
        return {"ok": False}
    elapsed = time.monotonic() - began
    await asyncio.sleep(1.0)
    await connection.close()
    return {"ok": True, "elapsed": elapsed}


def main() -> None:
    """Runs one end and prints its result."""
    logging.disable()
    tool, role, folder, stun, late, host = sys.argv[1:]
    connect = ours if tool == "holepunch" else theirs
    result = asyncio.run(connect(role, Path(folder), stun.split(","), float(late), host))
    print(json.dumps(result))


if __name__ == "__main__":
    main()
