"""`holepunch doctor`: what works from here, and for each finding what to do about it."""

import asyncio
import json
import os
import shutil
import sys
import textwrap
from dataclasses import asdict

import click

from .. import __version__
from ..home import Home
from ..mediator import Finding
from .examination import Result, Visit, examine, exit_status

WIDTH = 11  # of the column that names what was looked at
_MARKS = {"ok": ("✓", "green"), "warning": ("!", "yellow"), "problem": ("✗", "red")}


@click.command(
    epilog="Exit status: 0 where nothing is a problem; else that of the first problem: 2 identity, peers, settings or "
    "clock, 6 network or STUN, 5 mediators."
)
@click.option("--json", "as_json", is_flag=True, help="One JSON object: version, status, findings.")
@click.pass_context
def command(ctx: click.Context, as_json: bool) -> None:
    """Look at everything a session needs, and say what to fix.

    Identity and key permissions, peer book, settings, clock, interfaces, STUN servers, this machine's NATs, and every
    mediator that is configured.  Nothing is changed.  The output holds no secret: it is what a fault report needs.
    """
    status = asyncio.run(_run(as_json))
    ctx.exit(status)


async def _run(as_json: bool) -> int:
    results: list[Result] = []
    async for result in examine(Visit(Home.locate(os.environ), os.environ)):
        results.append(result)
        if not as_json:
            for finding in result.findings:
                _show(result.area, finding)
    status = exit_status(results)
    if as_json:
        findings = [{"area": result.area, **asdict(finding)} for result in results for finding in result.findings]
        click.echo(json.dumps({"version": __version__, "status": status, "findings": findings}, indent=2))
    else:
        click.echo(_verdict(results))
    return status


def _show(area: str, finding: Finding) -> None:
    """Writes a finding as a hanging paragraph: mark, what was looked at, how it is and what to do."""
    mark, colour = _MARKS[finding.level]
    label, text = finding.subject, finding.text
    if len(label) > WIDTH or area == "mediators":
        text = text if label in text else f"{label}: {text}"
        label = area.removesuffix("s")
    columns = shutil.get_terminal_size().columns if sys.stdout.isatty() else sys.maxsize
    indent = " " * (WIDTH + 3)
    body = textwrap.fill(text, columns, initial_indent=indent, subsequent_indent=indent, break_on_hyphens=False)
    click.echo(f"{click.style(mark, fg=colour)} {label:<{WIDTH}} {body[len(indent) :]}")
    if finding.fix:
        fix = textwrap.fill(
            finding.fix, columns, initial_indent=indent, subsequent_indent=indent, break_on_hyphens=False
        )
        click.echo(click.style(fix, bold=True))


def _verdict(results: list[Result]) -> str:
    levels = [finding.level for result in results for finding in result.findings]
    problems, warnings = levels.count("problem"), levels.count("warning")
    if problems:
        return f"\n{problems} of {len(levels)} findings must be fixed before a session can work."
    return "\nEverything a session needs works." if not warnings else "\nA session can work; see the warnings."
