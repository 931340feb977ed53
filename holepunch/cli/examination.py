"""What `holepunch doctor` looks at: each area is a function that returns findings and never raises.

A finding names what was looked at, how it is, and - unless all is well - what the person can do.
"""

import asyncio
import os
import shutil
import sys
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping
from dataclasses import dataclass
from typing import Any

from ..config import Settings
from ..errors import ConfigurationError, HolepunchError, MediatorError, NetworkError
from ..home import Home
from ..mediator import Finding, Mailbox, make_mediator
from ..net.interfaces import gateway, interfaces
from ..post import display_name
from ..probe import FamilyReport, ProbeReport, Reach, probe
from ..proto.address import Scope, format_address, scope_of
from .natwords import explain, reach_sentence
from .sentences import count, duration

MEDIATOR_TIMEOUT = 10.0  # seconds for one mediator to be opened and looked at
PROBE_TIMEOUT = 15.0  # seconds for the whole question what our NAT is
FEWEST_SERVERS = 2  # with one alone nobody can tell whether the mapping depends on the destination
BLOCKED = (
    "Outgoing UDP seems to be blocked: allow it, or try a server on port 443 (--stun HOST:443); "
    "in a network that you do not run, another one (a phone's) may do."
)
FEWEST_FILES = 512  # a search for a port opens 256 sockets at once (docs/topics/punching.md)
# Offers are valid for 15 minutes; a clock that is off by more makes each of them expired or from the future.
RELEASED = 1_767_225_600  # 2026-01-01: a clock before it has never been set


@dataclass(slots=True)
class Visit:
    """One visit to the doctor; what an area learns, later areas use."""

    home: Home
    environ: Mapping[str, str]
    settings: Settings | None = None
    mailbox: Mailbox | None = None


@dataclass(frozen=True, slots=True)
class Result:
    """What was found in one area."""

    area: str
    status: int
    """The exit status of a run that fails because of a problem here."""
    findings: list[Finding]


async def examine(visit: Visit) -> AsyncIterator[Result]:
    """Looks at every area and yields the results in order; those that wait for the network wait together."""
    for name, status, look in _HERE:
        yield Result(name, status, await look(visit))
    async with asyncio.TaskGroup() as group:
        looking = [(name, status, group.create_task(look(visit))) for name, status, look in _NETWORK]
        for name, status, task in looking:
            yield Result(name, status, await task)


def exit_status(results: list[Result]) -> int:
    """Returns 0 where nothing is a problem, else the status with which a session would fail first."""
    broken = [result.status for result in results if any(finding.level == "problem" for finding in result.findings)]
    return broken[0] if broken else 0


def _problem(subject: str, error: HolepunchError, fix: str = "") -> Finding:
    return Finding(subject, "problem", str(error), error.hint or fix)


# This machine -------------------------------------------------------------------------------------


async def _identity(visit: Visit) -> list[Finding]:
    home = visit.home
    try:
        identity, name = home.identity(), home.name
    except HolepunchError as error:
        return [_problem("identity", error)]
    visit.mailbox = Mailbox(identity.peer_id.raw, identity.sign, visit.environ)
    findings = [Finding("identity", "ok", f"{name}, {identity.peer_id.short}..., key private, in {home.path}")]
    if not os.access(home.path, os.W_OK):
        findings.append(
            Finding(
                "identity",
                "problem",
                f"{home.path} cannot be written, so replayed offers cannot be told",
                "Make it yours again: chown -R $USER it.",
            )
        )
    return findings


async def _peers(visit: Visit) -> list[Finding]:
    try:
        peers = visit.home.peers.list()
    except HolepunchError as error:
        return [_problem("peer book", error)]
    if not peers:
        return [
            Finding(
                "peer book",
                "warning",
                "nobody is in it, so nobody can connect",
                "holepunch peer add NAME hp1... with the line that `holepunch id` prints there, or `holepunch pair`.",
            )
        ]
    names = ", ".join(peer.name for peer in peers[:5])
    return [Finding("peer book", "ok", f"{count(len(peers), 'peer')}: {names}{', ...' if len(peers) > 5 else ''}")]


async def _settings(visit: Visit) -> list[Finding]:
    path = visit.home.settings_path
    try:
        visit.settings = Settings.load(path, visit.environ)
    except HolepunchError as error:
        return [_problem("settings", error)]
    given = sorted(name for name in visit.environ if name.startswith("HOLEPUNCH_") and name != "HOLEPUNCH_HOME")
    text = f"{path} is right" if path.exists() else "defaults; there is no config.toml"
    if given:
        text += f"; the environment sets {', '.join(given)}"
    return [Finding("settings", "ok", text)]


async def _clock(visit: Visit) -> list[Finding]:
    now = time.time()
    if now < RELEASED:
        today = time.strftime("%Y-%m-%d", time.gmtime(now))
        return [
            Finding(
                "clock", "problem", f"it says {today}, so every offer looks expired", "Set it: timedatectl set-ntp true"
            )
        ]
    synchronised = kernel_clock_is_synchronised()
    if synchronised is None:
        return [Finding("clock", "ok", "set; whether it is exact this system does not tell")]
    if not synchronised:
        return [
            Finding(
                "clock",
                "warning",
                "nothing keeps it exact; peers refuse offers when it is off by more than some minutes",
                "Turn time synchronisation on: timedatectl set-ntp true",
            )
        ]
    return [Finding("clock", "ok", "synchronised")]


def kernel_clock_is_synchronised() -> bool | None:
    """Returns what Linux knows of its clock (adjtimex(2)); None elsewhere, or where it is not told."""
    if sys.platform != "linux":
        return None
    import ctypes

    try:
        state = ctypes.CDLL(None, use_errno=True).adjtimex(ctypes.create_string_buffer(512))
    except (OSError, AttributeError):
        return None
    return None if state < 0 else state != 5  # TIME_ERROR: not synchronised


async def _system(visit: Visit) -> list[Finding]:
    findings = []
    if sys.platform != "win32":
        import resource

        soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        if soft < FEWEST_FILES:
            findings.append(
                Finding("open files", "warning", f"at most {soft}, and hard NATs take {FEWEST_FILES}", "ulimit -n 4096")
            )
    firewall = _firewall()
    if firewall:
        findings.append(
            Finding(
                "firewall",
                "ok",
                f"{firewall} is on; holepunch needs no open port, only outgoing UDP and the answers to it",
            )
        )
    return findings or [Finding("system", "ok", "limits suffice, and no known firewall is on")]


def _firewall() -> str:
    """Returns the name of this machine's firewall, where it is one that we know and that is on."""
    try:
        with open("/etc/ufw/ufw.conf", encoding="utf-8") as file:
            if "ENABLED=yes" in file.read():
                return "ufw"
    except OSError:
        pass
    return "firewalld" if os.path.exists("/run/firewalld") and shutil.which("firewall-cmd") else ""


# The network --------------------------------------------------------------------------------------


async def _interfaces(visit: Visit) -> list[Finding]:
    usable = [i for i in interfaces() if i.is_up and not i.is_loopback and not i.is_deprecated]
    outward = [i for i in usable if not i.is_tunnel and not i.is_virtual and scope_of(i.host) is not Scope.LINK]
    if not usable:
        return [
            Finding("interfaces", "problem", "no network but loopback", "Connect a cable or join a wireless network.")
        ]
    if not outward:
        names = ", ".join(sorted({i.name for i in usable}))
        return [
            Finding(
                "interfaces",
                "warning",
                f"only tunnels, bridges and link-local addresses ({names})",
                "holepunch uses them where there is nothing else; a path through a VPN is slower than one beside it.",
            )
        ]
    texts = [f"{i.host} ({i.name})" if i.name else i.host for i in outward]
    shown = ", ".join(texts[:4]) + (", ..." if len(texts) > 4 else "")
    router = gateway(4) or gateway(6)
    findings = [Finding("interfaces", "ok", f"{shown}{f', router {router}' if router else ''}")]
    if sys.platform == "linux" and router is None:
        findings.append(
            Finding("route", "warning", "there is no default route", "Only peers on this network can be met.")
        )
    return findings


async def _nat(visit: Visit) -> list[Finding]:
    if visit.settings is None:
        return [Finding("STUN", "warning", "not asked: which servers to ask is in the settings", "See above.")]
    if not visit.settings.stun:
        text = "no server is configured, so only peers on this network or with public addresses can be met"
        return [Finding("STUN", "warning", text, "Name some with --stun, HOLEPUNCH_STUN or in config.toml.")]
    try:
        async with asyncio.timeout(PROBE_TIMEOUT):
            report = await probe(visit.settings.stun)
    except TimeoutError:
        return [Finding("STUN", "problem", f"no result within {PROBE_TIMEOUT:g} s", BLOCKED)]
    except HolepunchError as error:
        return [_problem("STUN", error)]
    return [*_servers(report), *(finding for family in report.families for finding in _family(family))]


def _servers(report: ProbeReport) -> list[Finding]:
    """Says which STUN servers answered; a few that do not are no harm."""
    answers = [answer for family in report.families for answer in family.found.servers]
    good = [answer for answer in answers if answer.mapped]
    bad = [f"{format_address(answer.server)} ({answer.failure})" for answer in answers if not answer.mapped]
    bad += [f"{server} ({reason})" for server, reason in report.unresolved]
    if not good:
        return [Finding("STUN", "problem", f"no server answers: {', '.join(bad) or 'none has a route'}", BLOCKED)]
    text = f"{count(len(good), 'answer')}, the fastest after {duration(min(answer.rtt for answer in good))}"
    if bad:
        return [
            Finding("STUN", "ok" if len(good) >= FEWEST_SERVERS else "warning", f"{text}; not by {', '.join(bad)}", "")
        ]
    if len({answer.server[0] for answer in good}) < FEWEST_SERVERS:
        return [
            Finding("STUN", "warning", f"{text}; one server alone cannot tell how a NAT maps", "Name a second one.")
        ]
    return [Finding("STUN", "ok", text)]


def _family(family: FamilyReport) -> list[Finding]:
    """Says what the NATs of one address family mean for the person."""
    if not family.answered:
        return []
    why = explain(family)
    text = f"{reach_sentence(family.reach)} {why[0].upper()}{why[1:]}."
    if family.reach in (Reach.SOME, Reach.RELAY):
        fix = "To reach more: IPv6 on both sides, an `open` or `gaming` NAT in the router's settings, another network."
        return [Finding(f"NAT, IPv{family.family}", "warning", text, fix)]
    return [Finding(f"NAT, IPv{family.family}", "ok", text)]


async def _mediators(visit: Visit) -> list[Finding]:
    if visit.settings is None or visit.mailbox is None:
        return [Finding("mediators", "warning", "not looked at: they need the identity and the settings", "See above.")]
    try:
        peers = visit.home.peers.list()
    except HolepunchError:
        peers = []  # said already, by its own area
    urls = dict.fromkeys((*visit.settings.mediators, *(url for peer in peers for url in peer.mediators)))
    if not urls:
        fix = f'Write mediators = ["file:///folder/both/see"] to {visit.home.settings_path}, or use --mediator.'
        return [Finding("mediators", "warning", "none is configured, so each command must name one", fix)]
    found = await asyncio.gather(*(_one_mediator(url, visit.mailbox) for url in urls))
    return [finding for findings in found for finding in findings]


async def _one_mediator(url: str, mailbox: Mailbox) -> list[Finding]:
    name = display_name(url)
    try:
        mediator = make_mediator(url, mailbox)
    except HolepunchError as error:
        return [_problem(name, error)]
    try:
        async with asyncio.timeout(MEDIATOR_TIMEOUT):
            await mediator.open()
            findings = await mediator.check()
    except TimeoutError:
        return [Finding(name, "problem", f"no answer within {MEDIATOR_TIMEOUT:g} s", "Is its server up and reachable?")]
    except HolepunchError as error:
        return [_problem(name, error)]
    except Exception as error:  # noqa: BLE001  # a plug-in may be anybody's; its failure is a finding
        return [Finding(name, "problem", f"its plug-in failed: {type(error).__name__}: {error}", "Tell its author.")]
    finally:
        await mediator.close()
    return findings or [Finding(name, "ok", "works")]


_Look = Callable[[Visit], Coroutine[Any, Any, list[Finding]]]
_HERE: list[tuple[str, int, _Look]] = [
    ("identity", ConfigurationError.exit_status, _identity),
    ("peer book", ConfigurationError.exit_status, _peers),
    ("settings", ConfigurationError.exit_status, _settings),
    ("clock", ConfigurationError.exit_status, _clock),
    ("system", ConfigurationError.exit_status, _system),
]
_NETWORK: list[tuple[str, int, _Look]] = [
    ("interfaces", NetworkError.exit_status, _interfaces),
    ("NAT", NetworkError.exit_status, _nat),
    ("mediators", MediatorError.exit_status, _mediators),
]
