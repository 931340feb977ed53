"""`holepunch completion SHELL`: the script that makes a shell complete our words, peers included."""

import os

import click
from click.shell_completion import get_completion_class

from ..errors import ConfigurationError, HolepunchError

WHERE = {
    "bash": "~/.local/share/bash-completion/completions/holepunch",
    "zsh": "a file `_holepunch` in a folder of $fpath",
    "fish": "~/.config/fish/completions/holepunch.fish",
}


@click.command(
    epilog='For now: eval "$(holepunch completion bash)".  For good, write it to '
    + "; ".join(f"{place} ({shell})" for shell, place in WHERE.items())
    + "."
)
@click.argument("shell", type=click.Choice(list(WHERE)))
@click.pass_context
def command(ctx: click.Context, shell: str) -> None:
    """Print the completion script of SHELL: bash, zsh or fish."""
    factory = get_completion_class(shell)
    if factory is None:
        raise ConfigurationError(f"no completion is known for {shell}")
    completion = factory(ctx.find_root().command, {}, "holepunch", "_HOLEPUNCH_COMPLETE")
    click.echo(completion.source_template % completion.source_vars())


def peer_names() -> list[str]:
    """Returns the names of the peer book; none where there is no home, since a shell wants no error."""
    from ..home import Home

    try:
        return [peer.name for peer in Home.locate(os.environ).peers.list()]
    except HolepunchError:
        return []
