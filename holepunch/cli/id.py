"""`holepunch id`: the line that others add to their peer book."""

import io
import sys

import click


@click.command()
@click.option("--qr", is_flag=True, help="Draw it as a QR code as well, for a camera.")
def command(qr: bool) -> None:
    """Print this machine's hp1... line.

    It is public.  Give it to a peer by a way on which nobody can exchange it for another.
    """
    from ..home import Home

    text = str(Home.locate().identity().peer_id)
    if qr:
        click.echo(draw(text, sys.stdout.encoding), nl=False)
    click.echo(text)


def draw(text: str, encoding: str) -> str:
    """Returns a QR code for a terminal.

    Args:
        text: an `hp1...` line; drawn in capitals, which a QR code holds in fewer squares.
        encoding: of the terminal; without half blocks in it, colours are used instead.
    """
    import segno

    code = segno.make(text.upper(), error="m", micro=False)
    out = io.StringIO()
    try:
        "▀▄█".encode(encoding)
    except UnicodeEncodeError:
        code.terminal(out=out)
    else:
        code.terminal(out=out, compact=True)
    return out.getvalue()
