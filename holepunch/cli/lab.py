"""`holepunch lab`: NATs to try things on, built of network namespaces on this machine."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NoReturn

import click

if TYPE_CHECKING:
    from ..testing.netlab import Host
    from ..testing.netlab.registry import Entry

STOP_PATIENCE = 15.0  # seconds for a laboratory to end

GROUP_HELP = """A NAT laboratory on this machine (Linux, root).

Hosts behind real NATs, made of network namespaces, and a wire between them with distance and faults.
Nothing in it can reach the world outside, or be reached.

\b
    holepunch lab kinds                                what NATs there are
    holepunch lab run eim-apdf -- holepunch probe      one command behind one NAT
    holepunch lab up eim-apdf clash --rtt 0.08         two sites, until `holepunch lab down`
    holepunch lab shell a                              a shell in the first one's host
"""

WIRE_OPTIONS = [
    click.option("--rtt", type=float, default=0.04, show_default=True, help="Seconds of round trip."),
    click.option("--jitter", type=float, default=0.0, help="Up to that many seconds more, each way."),
    click.option("--loss", type=float, default=0.0, help="Probability that a packet is lost, each way."),
    click.option("--reorder", type=float, default=0.0, help="Probability that a packet overtakes others."),
    click.option("--duplicate", type=float, default=0.0, help="Probability that a packet arrives twice."),
    click.option("--mtu", type=int, default=1500, show_default=True, help="Bytes of the largest packet."),
    click.option("--core-hops", type=int, default=10, show_default=True, help="Routers between two sites."),
    click.option("--seed", type=int, default=None, help="Of chance; the same one gives the same luck."),
]


@click.group(help=GROUP_HELP)
def command() -> None:
    """Holds the commands."""


def _complete_kind(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:
    """Offers kinds of sites to the shell."""
    from ..testing.netlab import KINDS
    from ..testing.netlab.pairs import RELATION_SUMMARIES

    return [name for name in [*KINDS, *RELATION_SUMMARIES] if name.startswith(incomplete)]


def _complete_host(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:
    """Offers the hosts of the laboratories that are up to the shell."""
    from ..testing.netlab import registry

    return sorted(name for entry in registry.published() for name in entry.hosts if name.startswith(incomplete))


def _wire(function: Callable[..., Any]) -> Callable[..., Any]:
    for option in reversed(WIRE_OPTIONS):
        function = option(function)
    return function


@command.command()
@click.option("--json", "as_json", is_flag=True, help="One JSON object per line: name, summary.")
def kinds(as_json: bool) -> None:
    """List the kinds of sites, and the pairs that are nearer than two sites."""
    from ..testing.netlab import KINDS
    from ..testing.netlab.pairs import RELATION_SUMMARIES

    for name, summary in [*((kind.name, kind.summary) for kind in KINDS.values()), *RELATION_SUMMARIES.items()]:
        click.echo(json.dumps({"name": name, "summary": summary}) if as_json else f"{name:<22}{summary}")


@command.command()
@click.argument("names", metavar="KIND...", nargs=-1, required=True, shell_complete=_complete_kind)
@_wire
@click.option("--foreground", is_flag=True, help="Stay until Ctrl-C instead of going to the background.")
@click.option("--json", "as_json", is_flag=True, help="Describe the laboratory as one JSON object.")
def up(names: tuple[str, ...], foreground: bool, as_json: bool, **wire: Any) -> int:
    """Start a laboratory with a site of each KIND, called a, b, c ..."""
    from ..testing.netlab.pairs import check_names

    check_names(names)
    if not foreground:
        return _start_in_background(names, wire, as_json)
    signal.signal(signal.SIGTERM, _interrupt)
    with contextlib.suppress(KeyboardInterrupt), _laboratory(names, wire) as (entry, _):
        _describe(entry, as_json)
        signal.pause()
    return 0


@command.command(name="list")
@click.option("--json", "as_json", is_flag=True, help="One JSON object per laboratory and line.")
def list_(as_json: bool) -> None:
    """List the laboratories that are up, and their hosts."""
    from ..testing.netlab import registry

    for entry in registry.published():
        _describe(entry, as_json)


@command.command()
@click.option("--lab", "identifier", default="", metavar="ID", help="Which one; see `holepunch lab list`.")
@click.option("--all", "everyone", is_flag=True, help="All of them, and what killed ones left behind.")
def down(identifier: str, everyone: bool) -> None:
    """Stop a laboratory and everything that runs in it."""
    from ..testing.netlab import namespace, registry

    for entry in registry.published() if everyone else [registry.find(identifier)]:
        _stop(entry)
        click.echo(f"laboratory {entry.id} is down", err=True)
    if everyone:
        for name in namespace.remove_stale():
            click.echo(f"removed {name}", err=True)


@command.command(context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False})
@click.option("--lab", "identifier", default="", metavar="ID", help="Which laboratory; see `holepunch lab list`.")
@click.argument("host", shell_complete=_complete_host)
@click.argument("arguments", metavar="[COMMAND...]", nargs=-1, type=click.UNPROCESSED)
def shell(host: str, arguments: tuple[str, ...], identifier: str) -> NoReturn:
    """Run a shell, or COMMAND, in a host: a, b, b.host2, a.router, servers.stun ..."""
    from ..errors import ConfigurationError
    from ..testing.netlab import namespace, registry

    entry = registry.find(identifier)
    if host not in entry.hosts:
        raise ConfigurationError(
            f"laboratory {entry.id} has no host {host!r}", hint=f"It has {', '.join(sorted(entry.hosts))}."
        )
    argv = [word for n, word in enumerate(arguments) if n or word != "--"] or [os.environ.get("SHELL", "/bin/sh")]
    place = namespace.DIRECTORY / entry.hosts[host]
    sys.stdout.flush()
    command_line = ["nsenter", f"--net={place}", "--", *argv]
    os.execvpe("nsenter", command_line, {**os.environ, **entry.environment})  # noqa: S606  # a list, no shell


@command.command(context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False})
@_wire
@click.argument(
    "words",
    metavar="KIND... -- COMMAND...",
    nargs=-1,
    required=True,
    type=click.UNPROCESSED,
    shell_complete=_complete_kind,
)
def run(words: tuple[str, ...], **wire: Any) -> int:
    """Run COMMAND in the host of the first KIND, in a laboratory of its own.

    Options come before the kinds.  The exit status is the command's.  HOLEPUNCH_STUN is set, so a
    holepunch in there asks the laboratory's STUN servers; the other hosts are reached with
    `holepunch lab shell b COMMAND`.
    """
    from ..testing.netlab.pairs import check_names

    place = words.index("--") if "--" in words else len(words)
    names, argv = words[:place], words[place + 1 :]
    if not names or not argv:
        raise click.UsageError("write one kind or more, then --, then a command")
    check_names(names)
    signal.signal(signal.SIGTERM, _interrupt)
    with _laboratory(names, wire) as (entry, host):
        return _run_to_end(host, argv, {**os.environ, **entry.environment})


@contextlib.contextmanager
def _laboratory(names: Sequence[str], wire: Mapping[str, Any]) -> "Iterator[tuple[Entry, Host]]":
    """Builds a laboratory that other processes can find; gives its entry in the list, and its first host."""
    from ..testing.netlab import Lab, registry
    from ..testing.netlab.pairs import build_sites

    with Lab(**wire) as lab:
        sites = build_sites(lab, names)
        _ = lab.stun
        try:
            yield registry.publish(lab), sites[0].hosts[0]
        finally:
            registry.withdraw(lab)


def _run_to_end(host: "Host", argv: Sequence[str], environment: Mapping[str, str]) -> int:
    """Runs a command inside and returns its exit status, as a shell would say it."""
    from ..errors import ConfigurationError

    try:
        process = host.popen(argv, env=environment, stdin=None)
    except OSError as error:
        raise ConfigurationError(f"cannot run {argv[0]!r}: {error.strerror}") from error
    # Ctrl-C reaches the command too, and what it means is the command's to decide.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda *_: process.terminate())
    status = process.wait()
    return status if status >= 0 else 128 - status


def _interrupt(number: int, frame: object) -> NoReturn:
    raise KeyboardInterrupt


def _start_in_background(names: Sequence[str], wire: Mapping[str, Any], as_json: bool) -> int:
    """Starts this same command in a session of its own, waits until the laboratory is there, and describes it."""
    flags = [f"--{name.replace('_', '-')}={value}" for name, value in wire.items() if value is not None]
    # Its stderr is not ours: whoever waits for the end of ours would wait for the end of the laboratory.
    with tempfile.TemporaryFile("w+") as complaints:
        process = subprocess.Popen(
            [sys.executable, "-m", "holepunch", "lab", "up", *names, *flags, "--foreground", "--json"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=complaints,
            start_new_session=True,
            text=True,
        )
        with process.stdout or contextlib.nullcontext() as output:
            line = output.readline() if output else ""
        if not line:
            status = process.wait()
            complaints.seek(0)
            click.echo(complaints.read(), err=True, nl=False)
            return status
    process.returncode = 0  # it lives on, and is not ours to wait for
    description = json.loads(line)
    if as_json:
        click.echo(line, nl=False)
    else:
        _show(description)
    return 0


def _describe(entry: "Entry", as_json: bool) -> None:
    description = {"id": entry.id, "pid": entry.pid, **entry.description}
    if as_json:
        click.echo(json.dumps(description))
    else:
        _show(description)


def _show(description: Mapping[str, Any]) -> None:
    """Writes a laboratory as lines for people."""
    conditions = description["conditions"]
    told = [f"rtt {2 * conditions['delay']:g} s"]
    told += [f"{name} {conditions[name]:g}" for name in ("jitter", "loss", "reorder", "duplicate") if conditions[name]]
    click.echo(f"laboratory {description['id']}: {', '.join(told)}")
    for site in description["sites"]:
        click.echo(f"  {site['name']:<8} {site['kind']:<16} {site['outer']}")
        for host in site["hosts"]:
            click.echo(f"    {host['name']:<24} {' '.join(host['addresses'])}")
    click.echo(f"  STUN     {' '.join(description['stun'])}")


def _stop(entry: "Entry") -> None:
    """Ends a laboratory.

    Raises:
        NetworkError: it does not end.
    """
    from ..errors import NetworkError
    from ..testing.netlab import registry

    with contextlib.suppress(ProcessLookupError):
        os.kill(entry.pid, signal.SIGTERM)
    deadline = time.monotonic() + STOP_PATIENCE
    while any(other.id == entry.id for other in registry.published()):
        if time.monotonic() > deadline:
            raise NetworkError(
                f"laboratory {entry.id} did not end in {STOP_PATIENCE:g} s", hint=f"Kill process {entry.pid}."
            )
        time.sleep(0.05)
