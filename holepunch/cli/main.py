"""The program: options of a session on the main command, everything else in commands loaded late."""

from collections.abc import Mapping
from typing import Any

import click

from .. import __version__
from .lazy import LazyGroup

COMMANDS = {
    "init": "Make this machine's identity.",
    "id": "Print this machine's hp1... line.",
    "peer": "The peer book: add, ls, rm.",
    "pair": "Exchange identities with a peer by a short code.",
    "probe": "What is my NAT, and who can reach me?",
    "doctor": "What works from here, and what to fix.",
    "hub": "Run a hub: mailboxes and STUN.",
    "lab": "A NAT laboratory on this machine (Linux, root).",
    "completion": "Print the completion script of a shell.",
}

# --relay and its kin are known, and hidden until there are relays.
SECTIONS = {
    "Session": ["accept", "peer", "once", "timeout"],
    "Command": ["exec_command", "proxy", "pass_fd"],
    "Way to the peer": ["mediators", "stun", "relay", "bind", "punch_hops", "no_relay", "relay_only"],
    "Output": ["json", "verbose", "quiet", "version", "help"],
}

CHAPTERS = {
    "What the command gets": """
CMD runs on both sides, without a shell, when the path works; the acceptor's is up first.
Without a placeholder six arguments are appended: innerip innerport outerip outerport peerip
peerport.  Placeholders: {inner} {outer} {peer}, each also with _ip or _port, {peer_name} {role}.
The environment has HOLEPUNCH_INNER, _OUTER, _PEER, _PEER_NAME, _ROLE, _MODE, _PATH, _SESSION,
_SECRET, _CERT, _KEY, _FINGERPRINT, _PEER_FINGERPRINT and, with --pass-fd, _FD.
Without --exec the endpoints are printed and the session is closed.
""",
    "Examples": """
Once on each machine, then swap the two hp1... lines by any means you trust:
    holepunch init --name remote
    holepunch peer add local hp1...

A VPN through a folder that both machines synchronise:
    remote$ holepunch --accept --mediator file:///srv/shared --exec ./openvpn.sh
    local$  holepunch --peer remote --mediator file:///srv/shared --exec ./openvpn.sh

What a script would do:
    holepunch --peer remote --timeout 30 --json | jq -r 'select(.event == "endpoints").peer'
""",
    "Settings": """
Flags come before HOLEPUNCH_* variables, these before config.toml, and that before defaults.
Everything of this machine is in HOLEPUNCH_HOME, or the platform's configuration folder.
""",
    "Exit status": """
0  done                                   5  a mediator failed
2  usage or configuration                 6  no network, or no STUN server
3  no path to the peer                    7  the peer did not answer in time
4  the peer is unknown or not authentic   130 interrupted, 143 terminated
With --exec and --peer or --once: otherwise the command's own.
""",
}


def _complete_peer(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:
    """Offers the names of the peer book to the shell."""
    from .completion import peer_names

    return [name for name in peer_names() if name.startswith(incomplete)]


def _complete_mediator(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:
    """Offers the schemes of the installed mediators to the shell."""
    from ..mediator import installed

    starts = [f"{name}:" if name == "paste" else f"{name}://" for name in sorted(installed())]
    return [start for start in starts if start.startswith(incomplete)]


@click.group(
    cls=LazyGroup,
    lazy_commands=COMMANDS,
    sections=SECTIONS,
    chapters=CHAPTERS,
    invoke_without_command=True,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    options_metavar="[--accept | --peer NAME] [OPTIONS]",
    subcommand_metavar="| COMMAND ...",
    help="""Opens a direct, authenticated UDP path between two machines behind NATs, and hands it to a command.

    The two machines need some channel between them, a mediator: a folder that both see, a hub, a mailbox,
    a chat where a line can be pasted.  It carries one sealed offer each way; then it is no longer needed.""",
)
@click.option("--accept", is_flag=True, help="Wait for peers of the peer book; serve them side by side, until stopped.")
@click.option("--peer", metavar="NAME", shell_complete=_complete_peer, help="Connect to this peer: a name, or hp1...")
@click.option("--once", is_flag=True, help="With --accept: end after the first session.")
@click.option(
    "--timeout",
    metavar="SECONDS",
    help="How long to wait for the peer.  [default: 60 with --peer, for ever with --accept]",
)
@click.option("--exec", "exec_command", metavar="CMD", help="Run this command on the path; see below.")
@click.option(
    "--proxy",
    is_flag=True,
    help="Keep the socket and give the command a loopback one: the session heals and moves under it.",
)
@click.option("--pass-fd", is_flag=True, help="Give the command the open socket, as descriptor HOLEPUNCH_FD.")
@click.option(
    "--mediator",
    "mediators",
    multiple=True,
    metavar="URL",
    shell_complete=_complete_mediator,
    help="file:///folder, http(s)://hub[:port], paste: ...; may be repeated, all are used at once.",
)
@click.option("--stun", multiple=True, metavar="HOST[:PORT]", help="Ask this STUN server; may be repeated.")
@click.option("--relay", multiple=True, metavar="URL", hidden=True, help="Relay through this hub where a path fails.")
@click.option("--bind", metavar="IP[:PORT]", help="The inner endpoint.  [default: any address, a free port]")
@click.option("--punch-hops", metavar="N|auto", help="TTL of the first packets.  [default: auto, measured]")
@click.option("--no-relay", is_flag=True, hidden=True, help="A direct path or none.")
@click.option("--relay-only", is_flag=True, hidden=True, help="Never tell the peer our addresses.")
@click.option("--json", is_flag=True, help="Events as JSON, one per line, to stdout (to stderr with --exec).")
@click.option("-v", "--verbose", count=True, help="Say more; -vv says everything.")
@click.option("-q", "--quiet", is_flag=True, help="Say nothing but results and errors.")
@click.version_option(__version__, "--version", prog_name="holepunch", message="%(prog)s %(version)s")
@click.pass_context
def cli(ctx: click.Context, /, verbose: int, **options: Any) -> int:
    """Runs a session, unless a command was named."""
    if ctx.invoked_subcommand:
        _refuse_session_options(ctx)
        ctx.obj = {"verbosity": -1 if options["quiet"] else verbose}
        return 0
    if not options["accept"] and not options["peer"]:
        raise click.UsageError("say --accept, --peer NAME or a command", ctx)
    _check(ctx, options)
    from .run import run

    return run({**_given(ctx, options), "verbosity": -1 if options["quiet"] else verbose})


def _given(ctx: click.Context, options: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the options that were on the command line; the others are left to the settings."""
    source = click.core.ParameterSource.COMMANDLINE
    return {name: value for name, value in options.items() if ctx.get_parameter_source(name) is source}


def _check(ctx: click.Context, options: Mapping[str, Any]) -> None:
    """Refuses combinations that contradict each other."""
    for one, other in (
        ("accept", "peer"),
        ("no_relay", "relay_only"),
        ("proxy", "pass_fd"),
        ("verbose", "quiet"),
    ):
        if ctx.params[one] and ctx.params[other]:
            raise click.UsageError(f"--{one} and --{other} exclude each other".replace("_", "-"), ctx)
    for name, needed in (("once", "accept"), ("proxy", "exec_command"), ("pass_fd", "exec_command")):
        if options[name] and not options[needed]:
            flag, needs = name.replace("_", "-"), needed.removesuffix("_command")
            raise click.UsageError(f"--{flag} makes sense only with --{needs}", ctx)


def _refuse_session_options(ctx: click.Context) -> None:
    """Refuses `holepunch --exec x probe`: a command has options of its own, after its name."""
    names = _given(ctx, ctx.params).keys() - {"verbose", "quiet"}
    if names:
        flag = next(param.opts[0] for param in ctx.command.params if param.name in names)
        raise click.UsageError(f"{flag} belongs to a session, not to the command {ctx.invoked_subcommand}", ctx)


def main() -> None:
    """Is the `holepunch` program."""
    cli.main(prog_name="holepunch")
