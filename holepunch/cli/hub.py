"""`holepunch hub run`: mailboxes and STUN for a group of peers, in one process."""

import asyncio
import json
import logging
import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from ..errors import ConfigurationError
from ..home import Home
from ..proto.address import parse_address

EXTRA = {"fastapi", "sqlalchemy", "uvicorn", "starlette"}
WEB_PORT, STUN_PORT = 8080, 3478  # RFC 8489, 8: STUN's own


@click.group()
def command() -> None:
    """A server for peers: mailboxes for offers, and STUN.

    Anybody may use a public hub; it needs no accounts and sees only sealed offers.  It learns who writes
    to whom, and nothing else.
    """


RUN_HELP = """Runs a hub until SIGTERM or Ctrl-C.

\b
Behind a reverse proxy that speaks TLS:
    holepunch hub run --listen 127.0.0.1:8080 --name hub.example
Alone:
    holepunch hub run --listen [::]:443 --tls-cert chain.pem --tls-key key.pem
Peers then use it by its URL:
    holepunch --accept --mediator https://hub.example --stun hub.example ...
"""


@command.command(help=RUN_HELP)
@click.option(
    "--listen",
    default=f"[::]:{WEB_PORT}",
    show_default=True,
    metavar="HOST:PORT",
    help="Where the mailboxes are served.",
)
@click.option(
    "--stun",
    metavar="HOST:PORT",
    help=f"Where STUN is served.  [default: [::]:{STUN_PORT}, if that port is free]",
)
@click.option(
    "--stun-other", metavar="HOST:PORT", help="A second address and port: lets `holepunch probe` tell filtering."
)
@click.option("--no-stun", is_flag=True, help="Mailboxes only.")
@click.option(
    "--state",
    metavar="FILE|URL",
    envvar="HOLEPUNCH_HUB_STATE",
    help="SQLite file, or postgresql://user@host/database.  [default: hub.sqlite in HOLEPUNCH_HOME]",
)
@click.option("--tls-cert", type=click.Path(dir_okay=False), help="Certificate chain (PEM); read again on SIGHUP.")
@click.option("--tls-key", type=click.Path(dir_okay=False), help="Its private key (PEM).")
@click.option(
    "--name",
    "names",
    multiple=True,
    metavar="HOST[:PORT]",
    help="What clients call this hub; logins for other names are refused.  May be repeated.",
)
@click.option(
    "--trust-proxy", "proxies", multiple=True, metavar="IP", help="Reverse proxy that tells clients' addresses."
)
@click.option("--json", "as_json", is_flag=True, help="Events as JSON, one per line, to stdout.")
@click.option("-v", "--verbose", count=True, help="Say more; -vv says everything.")
@click.pass_context
def run(ctx: click.Context, /, **options: Any) -> None:
    """Runs a hub until SIGTERM or Ctrl-C."""
    verbosity = options["verbose"] or (ctx.obj or {}).get("verbosity", 0)
    _log_to_stderr(verbosity)
    try:
        services, reload = _services(options)
    except ModuleNotFoundError as error:
        if error.name not in EXTRA:
            raise
        raise ConfigurationError(
            f"a hub needs {error.name}, which is not installed", hint="pip install 'holepunch-p2p[hub]'"
        ) from error
    asyncio.run(_serve(services, reload, as_json=options["as_json"]))


def _services(options: dict[str, Any]) -> tuple[list[Any], Callable[[], None]]:
    """Makes the services that the options ask for; also what to call on SIGHUP."""
    from ..hub.stun import StunService
    from ..hub.web import WebOptions, WebService

    if bool(options["tls_cert"]) < bool(options["tls_key"]):
        raise click.UsageError("--tls-key makes sense only with --tls-cert")
    if options["no_stun"] and (options["stun"] or options["stun_other"]):
        raise click.UsageError("--no-stun and --stun exclude each other")
    if options["stun_other"] and not options["stun"]:
        raise click.UsageError("--stun-other makes sense only with --stun")
    web = WebService(
        WebOptions(
            listen=parse_address(options["listen"], default_port=WEB_PORT),
            state=options["state"] or _default_state(),
            tls_cert=options["tls_cert"] or "",
            tls_key=options["tls_key"] or "",
            names=frozenset(name.lower() for name in options["names"]),
            proxies=options["proxies"],
        )
    )
    services: list[Any] = [web]
    if not options["no_stun"]:
        primary = parse_address(options["stun"] or f"[::]:{STUN_PORT}", default_port=STUN_PORT)
        other = parse_address(options["stun_other"], default_port=STUN_PORT + 1) if options["stun_other"] else None
        services.append(StunService(primary, other, required=bool(options["stun"])))
    # A relay is one more service: it goes here.
    return services, web.reload


def _default_state() -> str:
    """Returns the store's file in this machine's home."""
    return str(Path(Home.locate(os.environ).path) / "hub.sqlite")


async def _serve(services: list[Any], reload: Callable[[], None], *, as_json: bool) -> None:
    from ..hub.service import Hub

    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    if sys.platform == "win32":
        signal.signal(signal.SIGTERM, lambda *_: loop.call_soon_threadsafe(stop.set))
    else:
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, stop.set)
        loop.add_signal_handler(signal.SIGHUP, reload)
    hub = Hub(services)
    urls = await hub.start()
    _tell(as_json, "ready", urls=urls)
    await hub.run(stop)
    _tell(as_json, "stopped", urls=[])


def _tell(as_json: bool, name: str, *, urls: list[str]) -> None:
    if as_json:
        click.echo(json.dumps({"event": name, "t": round(time.time(), 6), "urls": urls}))
    else:
        click.echo(" ".join([name, *urls]), err=True)


def _log_to_stderr(verbosity: int) -> None:
    level = {0: logging.WARNING, 1: logging.INFO}.get(verbosity, logging.DEBUG if verbosity > 0 else logging.ERROR)
    logging.basicConfig(level=level, stream=sys.stderr, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
