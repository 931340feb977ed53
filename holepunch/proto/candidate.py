"""Candidates: the addresses where a peer may be reached, and which of them we dare to probe.

The kinds are RFC 8445's (section 5.1.1) and RFC 5245's successors' words; priorities put the nearest
first.  A candidate that a peer offers is a claim.  `admissible` is the one gate between claims and the
packets we send: at most 16, at most two global hosts per family, nothing in special-use ranges unless
both sides share a network (docs/attacks.md, "the voice hammer" of RFC 8445, section 19.4.1).
"""

import enum
import ipaddress
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from ..errors import WireError
from .address import Scope, decode_address, encode_address, is_ipv6, scope_of
from .machine import Address
from .wire import Reader, Writer

MAX_CANDIDATES = 16
MAX_GLOBAL_HOSTS = 2  # per address family


class CandidateKind(enum.Enum):
    """How a candidate was learnt (RFC 8445, section 5.1.1)."""

    HOST = "host"
    PORT_MAPPED = "port-mapped"
    SERVER_REFLEXIVE = "server-reflexive"
    PEER_REFLEXIVE = "peer-reflexive"
    PREDICTED = "predicted"
    RELAYED = "relayed"


_KINDS = list(CandidateKind)

# Preferences by class of path, higher is better: one's own network, IPv6 without NAT, a mapping that
# was asked for, a mapping that was found, a guess, a relay.  RFC 8445 5.1.2 leaves the values free.
_PREFERENCE = {
    CandidateKind.HOST: 110,
    CandidateKind.PORT_MAPPED: 105,
    CandidateKind.SERVER_REFLEXIVE: 100,
    CandidateKind.PEER_REFLEXIVE: 99,
    CandidateKind.PREDICTED: 90,
    CandidateKind.RELAYED: 20,
}
_SITE_BONUS = 16  # a private or loopback host candidate that answers is on our own network


@dataclass(frozen=True, slots=True)
class Candidate:
    """One address where a peer may be reached."""

    kind: CandidateKind
    address: Address

    @property
    def preference(self) -> int:
        """How good a path to this candidate would be, 0-126; higher is better (RFC 8445, 5.1.2.1)."""
        value = _PREFERENCE[self.kind]
        if self.kind is CandidateKind.HOST and scope_of(self.address[0]) in _SITE_SCOPES:
            return value + _SITE_BONUS
        return value + (5 if is_ipv6(self.address[0]) and self.kind is not CandidateKind.RELAYED else 0)


_SITE_SCOPES = (Scope.PRIVATE, Scope.LOOPBACK, Scope.LINK)


@dataclass(frozen=True, slots=True)
class Interface:
    """One address of one of our own network interfaces."""

    host: str
    prefix_length: int

    def holds(self, host: str) -> bool:
        """Tells whether `host` is on this interface's network."""
        network = ipaddress.ip_network(f"{self.host.partition('%')[0]}/{self.prefix_length}", strict=False)
        ip = ipaddress.ip_address(host.partition("%")[0])
        return ip.version == network.version and ip in network


def encode_candidate(writer: Writer, candidate: Candidate) -> None:
    """Appends kind (1 byte) and address."""
    encode_address(writer.u8(_KINDS.index(candidate.kind)), candidate.address)


def decode_candidate(reader: Reader) -> Candidate:
    """Reads what encode_candidate wrote.

    Raises:
        WireError: the kind is unknown, or the address malformed.
    """
    kind = reader.u8()
    if kind >= len(_KINDS):
        raise WireError(f"candidate kind is {kind}, expected less than {len(_KINDS)}")
    return Candidate(_KINDS[kind], decode_address(reader))


def host_candidates(interfaces: Iterable[Interface], port_v4: int, port_v6: int) -> list[Candidate]:
    """Returns one host candidate per usable interface address (RFC 8445, 5.1.1.1).

    Loopback only where there is nothing else (two peers on one machine without a network);
    link-local never.  A port of 0 means that there is no socket of that family.
    """
    site: list[Candidate] = []
    loopback: list[Candidate] = []
    for interface in interfaces:
        port = port_v6 if is_ipv6(interface.host) else port_v4
        scope = scope_of(interface.host)
        if not port or scope in (Scope.LINK, Scope.RESERVED):
            continue
        (loopback if scope is Scope.LOOPBACK else site).append(Candidate(CandidateKind.HOST, (interface.host, port)))
    return site or loopback


def share_network(local: Sequence[Candidate], remote: Sequence[Candidate]) -> bool:
    """Tells whether two peers may be on one network.

    They may when they leave it by the same outer address, or when neither has any that reaches the Internet.
    """

    def outer(candidates: Sequence[Candidate]) -> set[str]:
        hosts = {candidate.address[0] for candidate in candidates}
        return {host for host in hosts if scope_of(host) is Scope.GLOBAL and not is_ipv6(host)}

    ours, theirs = outer(local), outer(remote)
    return bool(ours & theirs) or not (ours or theirs)


def admissible(remote: Sequence[Candidate], local: Sequence[Candidate]) -> list[Candidate]:
    """Returns those of a peer's candidates that may be probed, best first, without repeats.

    Args:
        remote: what the peer claims.
        local: our own candidates, the evidence for sharing a network.
    """
    shared = share_network(local, remote)
    own = {candidate.address for candidate in local}
    we_offer_loopback = any(scope_of(host) is Scope.LOOPBACK for host, _ in own)
    chosen: list[Candidate] = []
    addresses: set[Address] = set()
    global_hosts: dict[bool, set[str]] = {False: set(), True: set()}
    for candidate in sorted(remote[: 4 * MAX_CANDIDATES], key=lambda c: -c.preference):
        host, port = candidate.address
        scope = scope_of(host)
        if port == 0 or candidate.address in addresses or (candidate.address in own and scope is not Scope.GLOBAL):
            continue
        if scope is Scope.GLOBAL:
            hosts = global_hosts[is_ipv6(host)]
            if host not in hosts and len(hosts) >= MAX_GLOBAL_HOSTS:
                continue
            hosts.add(host)
        elif scope is Scope.LOOPBACK:
            if not we_offer_loopback:
                continue
        elif scope not in (Scope.PRIVATE, Scope.CGNAT) or not shared:
            continue
        addresses.add(candidate.address)
        chosen.append(candidate)
        if len(chosen) == MAX_CANDIDATES:
            break
    return chosen
