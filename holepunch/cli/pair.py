"""`holepunch pair`: two machines that know nothing of each other meet by a short code."""

import asyncio
import os
import sys
import time
from typing import TYPE_CHECKING

import click

from ..errors import ConfigurationError

if TYPE_CHECKING:
    from ..proto.pairing import Pairing, Profile

CREATOR_TIMEOUT = 600.0  # seconds: long enough for a telephone call, short enough that a code is soon worthless
JOINER_TIMEOUT = 60.0  # seconds: the creator's message waits already
_TRIPS = 20  # a slow mediator gets as long as this many messages take


@click.command()
@click.argument("code", required=False)
@click.option("--name", metavar="NAME", help="What to call the peer.  [default: what it calls itself]")
@click.option(
    "--mediator",
    "mediators",
    multiple=True,
    metavar="URL",
    help="Meet there; may be repeated.  [default: the mediators of our settings]",
)
@click.option(
    "--timeout",
    type=click.FloatRange(min=1),
    metavar="SECONDS",
    help="Give up after so long.  [default: 600 without CODE, 60 with it; longer over slow mediators]",
)
def command(code: str | None, name: str | None, mediators: tuple[str, ...], timeout: float | None) -> None:
    """Exchange identities with a peer by a short code.

    Without CODE, make one and wait: read it to the person at the other machine, who runs `holepunch pair CODE`
    there.  Both then have each other in their peer books.  A code is good for one try, right or wrong.

    CODE may be `-`: it is then read from stdin, where other users of this machine cannot see it.
    """
    from ..config import Settings
    from ..home import Home, check_name
    from ..home.meeting import is_local, meet, remember
    from ..mediator import Mailbox, make_mediator
    from ..proto.pairing import MAX_MEDIATORS, MAX_TEXT, Code, Pairing, Profile, Role

    home = Home.locate()
    identity = home.identity()
    settings = Settings.load(home.settings_path, os.environ, {"mediators": mediators})
    if not settings.mediators:
        raise ConfigurationError(
            "there is no mediator to meet at",
            hint="Add --mediator URL, the same on both machines; `holepunch pair --help` has more.",
        )
    if name is not None and home.peers.find(check_name(name)):
        raise ConfigurationError(
            f"{name} is already in the book", hint=f"Take another --name, or `holepunch peer rm {name}` first."
        )
    role = Role.CREATOR if code is None else Role.JOINER
    secret = Code.make(os.urandom) if code is None else Code.parse(sys.stdin.readline() if code == "-" else code)
    told = tuple(url for url in settings.mediators if not is_local(url) and len(url.encode()) <= MAX_TEXT)
    profile = Profile(name=settings.name or home.name, id=identity.peer_id, mediators=told[:MAX_MEDIATORS])
    mailbox = Mailbox(secret.mailbox.peer_id.raw, secret.mailbox.sign, os.environ)

    async def run() -> "Profile":
        # Mediators are made where their loop runs.
        channels = [make_mediator(url, mailbox) for url in settings.mediators]
        limit = timeout or max(
            CREATOR_TIMEOUT if role is Role.CREATOR else JOINER_TIMEOUT,
            _TRIPS * max(channel.latency_hint for channel in channels),
        )
        pairing = Pairing(role, secret, profile, entropy=os.urandom, expires=int(time.time() + limit))
        return await meet(pairing, channels, limit, lambda: _invite(pairing, limit))

    peer = remember(home, asyncio.run(run()), name=name, chosen=mediators, ours=settings.mediators)
    click.echo(f"{peer.name}\t{peer.id}")
    click.echo(
        f"{peer.name} is in the peer book; it may open a session with this machine, and this one with it", err=True
    )


def _invite(pairing: "Pairing", limit: float) -> None:
    """Tells the person what happens now."""
    from ..proto.pairing import Role
    from .sentences import duration

    if pairing.role is Role.CREATOR:
        click.echo(str(pairing.code))
        click.echo(f"on the other machine, within {duration(limit)}: holepunch pair {pairing.code}", err=True)
    else:
        click.echo("waiting for the machine that made the code", err=True)
