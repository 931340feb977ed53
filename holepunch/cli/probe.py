"""`holepunch probe`: what our NATs do, in words, and who can reach us."""

import asyncio
import contextlib
import json
import os
import sys
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

    from ..probe import FamilyReport, ProbeReport


@click.command(epilog="Exit status: 0 where any STUN server answered, 6 where none did.")
@click.option("--stun", multiple=True, metavar="HOST[:PORT]", help="Ask this STUN server; may be repeated.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object with every field.")
@click.option("--lifetime", is_flag=True, help="Also measure how long an idle mapping lives; takes up to 5 minutes.")
@click.option("--classic", is_flag=True, help="Also ask pystun3, for a second opinion by RFC 3489 (IPv4 only).")
@click.pass_context
def command(ctx: click.Context, stun: tuple[str, ...], as_json: bool, lifetime: bool, classic: bool) -> None:
    """Find out what the NATs in front of this machine do, and which peers can reach it directly.

    Asks several STUN servers, for IPv4 and IPv6 at once: which outer endpoint we get and for whom, who may send to
    it, how outer ports are chosen, and how many hops lead out of our own NATs.  Takes about two seconds.

    The result is evidence, not a verdict: holepunch always tries a direct path.
    """
    from ..config import Settings
    from ..errors import NetworkError
    from ..home import Home
    from ..probe import probe

    settings = Settings.load(Home.locate(os.environ).settings_path, os.environ, {"stun": stun})
    verbosity: int = (ctx.obj or {}).get("verbosity", 0)
    with _progress(shown=not as_json and verbosity >= 0) as tell:
        report = asyncio.run(probe(settings.stun, lifetime=lifetime, classic=classic, on_event=tell))
    if as_json:
        click.echo(json.dumps(report.to_json(), indent=2))
    elif report.answered:
        _print(report)
    if not report.answered:
        raise NetworkError(
            f"none of {len(settings.stun)} STUN servers answered" if report.families else "there is no network",
            hint="UDP may be blocked here; try a server on another port: --stun HOST:443, or `holepunch doctor`.",
        )


@contextlib.contextmanager
def _progress(*, shown: bool) -> Iterator[Callable[[int, object], None]]:
    """Shows on stderr, where that is a terminal, what is being found out."""
    if not (shown and sys.stderr.isatty()):
        yield lambda _family, _event: None
        return
    from rich.console import Console

    from ..proto.stun.behaviour import Step, StepBegun
    from ..proto.stun.lifetime import AgeReached

    with Console(stderr=True).status("asking STUN servers ...") as status:

        def tell(family: int, event: object) -> None:
            if isinstance(event, StepBegun) and event.step is not Step.DONE:
                status.update(f"IPv{family}: {event.step.value} ...")
            elif isinstance(event, AgeReached):
                state = "still there" if event.alive else "gone"
                status.update(f"IPv{family}: an idle mapping is {state} after {event.age:g} s ...")

        yield tell


def _print(report: "ProbeReport") -> None:
    from rich.console import Console

    # A pipe or a file has no width: lines must not be broken there.
    console = Console(highlight=False, width=None if sys.stdout.isatty() else 200)
    with console.capture() as capture:
        _write(console, report)
    for line in capture.get().splitlines():
        click.echo(line.rstrip())  # what tables are filled up with is of no use in a pipe


def _write(console: "Console", report: "ProbeReport") -> None:
    from rich.text import Text

    from .natwords import explain, reach_sentence

    answered = [family for family in report.families if family.answered]
    console.print(Text(reach_sentence(report.reach), "bold"))
    for family in answered:
        console.print(Text(f"  IPv{family.family}: {explain(family)}"))
    for family in report.families:
        if not family.answered:
            console.print(Text(f"  IPv{family.family}: no STUN server answered"))
    console.print()
    console.print(_behaviour_table(answered))
    console.print()
    console.print(_server_table(report))
    _print_notes(console, report)


def _behaviour_table(families: "list[FamilyReport]") -> "Table":
    from rich.table import Table
    from rich.text import Text

    from .natwords import rows

    table = Table(box=None, padding=(0, 2, 0, 0), show_header=len(families) > 1)
    table.add_column("", style="dim", no_wrap=True)
    for family in families:
        table.add_column(f"IPv{family.family}", overflow="fold")
    columns = [rows(family) for family in families]
    for index, (label, _) in enumerate(columns[0]):
        cells = [column[index][1] for column in columns]
        if any(cells):
            table.add_row(label, *(Text(cell) for cell in cells))
    return table


def _server_table(report: "ProbeReport") -> "Table":
    from rich.table import Table
    from rich.text import Text

    from ..proto.address import format_address
    from .sentences import duration

    table = Table(box=None, padding=(0, 2, 0, 0))
    for title in ("STUN server", "sees us as", "answers in", ""):
        table.add_column(title, overflow="fold")
    for family in report.families:
        for answer in family.found.servers:
            mapped = format_address(answer.mapped) if answer.mapped else "-"
            note = answer.failure or ("has two addresses (RFC 5780)" if answer.other else "")
            if answer.server in family.found.mapping.dissenting:
                note = "disagrees with the others"
            cells = format_address(answer.server), mapped, duration(answer.rtt) if answer.mapped else "-", note
            table.add_row(*(Text(cell) for cell in cells), style=None if answer.mapped else "dim")
    for name, reason in report.unresolved:
        table.add_row(Text(name), "-", "-", Text(reason), style="dim")
    return table


def _print_notes(console: "Console", report: "ProbeReport") -> None:
    from rich.text import Text

    from .natwords import notes

    found = [note for family in report.families for note in notes(family)]
    if found:
        console.print()
    for note in found:
        console.print(Text(f"Note: {note}"))
