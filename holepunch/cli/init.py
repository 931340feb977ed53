"""`holepunch init`: make this machine's identity, once."""

import re

import click


@click.command()
@click.option("--name", metavar="NAME", help="What this machine calls itself.  [default: its host name]")
def command(name: str | None) -> None:
    """Make this machine's identity: a key that never leaves it.

    An identity that exists is never replaced: peers would no longer know this machine.
    """
    from ..home import Home

    home = Home.locate()
    identity = home.create_identity(host_name() if name is None else name)
    click.echo(str(identity.peer_id))
    click.echo(f"made the identity of {home.name} in {home.identity_path}: keep a copy of that file safe", err=True)
    click.echo("next, meet a peer: `holepunch pair`, or swap the lines of `holepunch id`", err=True)


def host_name() -> str:
    """Returns the first label of this machine's host name, with what a name cannot hold left out."""
    import socket

    from ..home.peers import MAX_NAME

    label = re.sub(r"[^A-Za-z0-9._-]+", "-", socket.gethostname().split(".")[0]).strip("._-")[:MAX_NAME]
    # `localhost` names every machine and so none; `hp1...` would look like an identity.
    return label if label not in ("", "localhost") and not label.lower().startswith("hp1") else "machine"
