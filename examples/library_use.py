#!/usr/bin/env python3
"""holepunch as a library: a path to a peer inside a program, sealed, and healed when the network changes.

remote$  python library_use.py                    answers whoever of the peer book connects
local$   python library_use.py remote hello       says hello to `remote`

Identity, peer book and settings are those of the command line: `holepunch init`, `holepunch peer add`.
"""

import asyncio
import sys

from holepunch import HolepunchError, Home, Puncher, Session


async def ask(puncher: Puncher, name: str, text: str) -> None:
    session = await puncher.connect(name)
    print(f"path to {session.peer_name}: {session.path}, {session.rtt * 1000:.0f} ms there and back")
    # Datagrams are encrypted and authentic, but may be lost, as in UDP: ask again.
    for _ in range(5):
        session.send(text.encode())
        try:
            async with asyncio.timeout(1):
                print((await session.receive()).decode())
                break
        except TimeoutError:
            continue
    await session.close()


async def answer(session: Session) -> None:
    try:
        while True:
            data = await session.receive()
            session.send(f"{session.peer_name} said {data.decode()!r}".encode())
    except (EOFError, HolepunchError):  # it said good-bye, or there is no way to it any more
        print(f"{session.peer_name} has left")


async def main() -> None:
    async with Puncher(Home.locate()) as puncher, asyncio.TaskGroup() as sessions:
        if len(sys.argv) == 3:
            await ask(puncher, sys.argv[1], sys.argv[2])
        else:
            async for session in puncher.accept():
                print(f"{session.peer_name} is here")
                sessions.create_task(answer(session))


if __name__ == "__main__":
    try:
        asyncio.run(main())
    except HolepunchError as error:
        sys.exit(f"{error} {error.hint}")
    except KeyboardInterrupt:
        pass
