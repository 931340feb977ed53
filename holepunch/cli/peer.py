"""`holepunch peer`: the book of machines that may open a session with this one."""

import json
import sys
from collections.abc import Iterable
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from ..home import Peer


@click.group()
def command() -> None:
    """The peer book: who may open a session with this machine, and how to reach them."""


def _complete_name(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:
    from .completion import peer_names

    return [name for name in peer_names() if name.startswith(incomplete)]


@command.command()
@click.argument("name")
@click.argument("identity", metavar="ID")
@click.option(
    "--mediator",
    "mediators",
    multiple=True,
    metavar="URL",
    help="Where this peer can be reached; may be repeated.  [default: the mediators of our own settings]",
)
def add(name: str, identity: str, mediators: tuple[str, ...]) -> None:
    """Add a peer, or give a known one other mediators.

    ID is the hp1... line that `holepunch id` prints on the peer.
    """
    from ..errors import ConfigurationError
    from ..home import Home, Peer
    from ..proto.identity import PeerId

    home = Home.locate()
    peer_id = PeerId.parse(identity)
    if home.identity_path.exists() and home.identity().peer_id == peer_id:
        raise ConfigurationError(
            "this is the identity of this machine itself", hint="Run `holepunch id` on the other machine."
        )
    home.peers.add(Peer(name, peer_id, mediators))


@command.command()
@click.option("--json", "as_json", is_flag=True, help="One JSON object per line: name, id, mediators.")
def ls(as_json: bool) -> None:
    """List the peers."""
    from ..home import Home

    peers = Home.locate().peers.list()
    if as_json:
        for peer in peers:
            click.echo(json.dumps({"name": peer.name, "id": str(peer.id), "mediators": list(peer.mediators)}))
    elif sys.stdout.isatty():
        _show(peers)
    else:
        for peer in peers:
            click.echo("\t".join((peer.name, str(peer.id), *peer.mediators)))


def _show(peers: "Iterable[Peer]") -> None:
    """Shows a table on a terminal."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table.grid(padding=(0, 2))
    for peer in peers:
        # An identity has 61 characters: beside it nothing else fits on 80 columns, and cut it is of no use.
        below = Text("".join(f"\n{url}" for url in peer.mediators), style="dim")
        table.add_row(Text(peer.name, style="bold"), Text(str(peer.id), overflow="fold") + below)
    if table.row_count:
        Console().print(table)
    else:
        click.echo("the peer book is empty: meet one with `holepunch pair`", err=True)


@command.command()
@click.argument("names", nargs=-1, required=True, metavar="NAME...", shell_complete=_complete_name)
def rm(names: tuple[str, ...]) -> None:
    """Remove peers: they can open no new session with this machine."""
    from ..home import Home

    peers = Home.locate().peers
    for name in dict.fromkeys(names):
        peers.remove(name)
