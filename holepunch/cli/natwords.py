"""What a probe found, in words that a person understands; pure functions from a report to text."""

from ..probe import FamilyReport, Reach
from ..proto.address import Scope, format_address, scope_of
from ..proto.nat import Allocation, Filtering, Mapping, NatReport
from ..proto.stun.findings import EarlyPacket

_REACH = {
    Reach.EVERYONE: "Peers can reach you directly: all of them.",
    Reach.MOST: "Peers can reach you directly: most of them.",
    Reach.SOME: "Peers can reach you directly: some of them, others only through a relay.",
    Reach.RELAY: "Peers can reach you only through a relay.",
    Reach.UNKNOWN: "Too few STUN servers answered to tell who can reach you.",
}
_MAPPING = {
    Mapping.UNKNOWN: "not known: two servers must answer to tell",
    Mapping.NONE: "none: the world sees this machine's own address",
    Mapping.ENDPOINT_INDEPENDENT: "one outer port for all peers (endpoint-independent)",
    Mapping.ADDRESS_DEPENDENT: "another outer port for every peer's address (address-dependent)",
    Mapping.ADDRESS_AND_PORT_DEPENDENT: "another outer port for every peer (address-and-port-dependent)",
}
_FILTERING = {
    Filtering.UNKNOWN: "not known: no server with two addresses answered",
    Filtering.ENDPOINT_INDEPENDENT: "everybody (endpoint-independent)",
    Filtering.ADDRESS_DEPENDENT: "hosts that this machine has sent to (address-dependent)",
    Filtering.ADDRESS_AND_PORT_DEPENDENT: "exactly whom this machine has sent to (address-and-port-dependent)",
}
_EARLY = {
    EarlyPacket.UNKNOWN: "",
    EarlyPacket.HARMLESS: "does no harm",
    EarlyPacket.MOVES_US: "gives us another outer port for its sender, so we must send first",
    EarlyPacket.COSTS_MAPPING: "costs us the outer port, so we must send first",
}
_DEPENDENT = (Mapping.ADDRESS_DEPENDENT, Mapping.ADDRESS_AND_PORT_DEPENDENT)


def reach_sentence(reach: Reach) -> str:
    """Returns who can reach us, as one sentence."""
    return _REACH[reach]


def explain(family: FamilyReport) -> str:
    """Returns why that is so, as one sentence without a full stop."""
    match family.reach:
        case Reach.EVERYONE if family.found.nat.mapping is Mapping.NONE:
            return "a public address that nothing filters"
        case Reach.EVERYONE:
            return "the NAT lets everybody in who knows our outer port"
        case Reach.MOST if family.found.nat.mapping is Mapping.NONE:
            if family.found.nat.filtering is Filtering.UNKNOWN:
                return "our own address; a firewall, if there is one, opens when both sides send"
            return "our own address, behind a firewall that opens when both sides send"
        case Reach.MOST:
            return "all whose NAT also keeps one outer port, or lets in hosts it has sent to; the rest with luck"
        case Reach.SOME:
            return "those with a public address, or whose NAT lets in hosts it has sent to; the rest with luck"
        case _:
            return "only one server answered"


def known_as(nat: NatReport) -> str:
    """Returns the name by which RFC 3489 and most programs call it; empty where too little is known."""
    if nat.mapping in _DEPENDENT:
        return "symmetric NAT"
    if nat.mapping is Mapping.NONE:
        return {
            Filtering.UNKNOWN: "",
            Filtering.ENDPOINT_INDEPENDENT: "open Internet",
        }.get(nat.filtering, "stateful firewall")
    if nat.mapping is Mapping.UNKNOWN:
        return ""
    return {
        Filtering.UNKNOWN: "cone NAT",
        Filtering.ENDPOINT_INDEPENDENT: "full-cone NAT",
        Filtering.ADDRESS_DEPENDENT: "restricted-cone NAT",
        Filtering.ADDRESS_AND_PORT_DEPENDENT: "port-restricted-cone NAT",
    }[nat.filtering]


def rows(family: FamilyReport) -> list[tuple[str, str]]:
    """Returns (label, text) of each property, always the same labels; empty text where there is nothing to say."""
    found, nat = family.found, family.found.nat
    translated = nat.mapping is not Mapping.NONE
    outer = format_address(found.outer) if found.outer else "-"
    return [
        ("inside", format_address((family.source, found.inner_port))),
        ("seen from outside as", outer),
        ("translation", _MAPPING[nat.mapping]),
        ("lets in", _FILTERING[nat.filtering]),
        ("known as", known_as(nat)),
        ("outer ports", _ports(nat) if translated else ""),
        ("a packet that comes early", _EARLY[found.early_packet]),
        ("reached from inside (hairpin)", {True: "yes", False: "no", None: ""}[nat.hairpin] if translated else ""),
        ("hops out of our NATs", _hops(family)),
        ("an idle port lives", _lifetime(family)),
        ("pystun3 says", _classic(family)),
    ]


def notes(family: FamilyReport) -> list[str]:
    """Returns what a person should know besides, as sentences."""
    found, out = family.found, []
    name = f"IPv{family.family}"
    if found.mapping.dissenting:
        odd = ", ".join(format_address(server) for server in found.mapping.dissenting)
        out.append(f"{name}: {odd} sees us elsewhere than the others do; one of the routes differs, or it is wrong.")
    if found.nat.mapping in _DEPENDENT and not found.mapping.is_exact:
        out.append(f"{name}: no server with two addresses answered, so mapping may be no more than address-dependent.")
    if len(found.outer_hosts) > 1:
        hosts = ", ".join(found.outer_hosts)
        out.append(f"{name}: there are {len(found.outer_hosts)} outer addresses: {hosts}.")
    if found.outer and found.nat.mapping is not Mapping.NONE and scope_of(found.outer[0]) is Scope.CGNAT:
        out.append(
            f"{name}: the outer address is a carrier's (100.64.0.0/10): the servers are on this side of its NAT."
        )
    return out


def _ports(nat: NatReport) -> str:
    match nat.allocation:
        case Allocation.PRESERVING:
            return "the same as inside"
        case Allocation.SEQUENTIAL:
            way = "up" if nat.port_delta > 0 else "down"
            return f"one after the other, {way} by {abs(nat.port_delta)}"
        case Allocation.BLOCK:
            return f"from a block; {nat.port_low} to {nat.port_high} were seen"
        case Allocation.RANDOM:
            return f"at random; {nat.port_low} to {nat.port_high} were seen"
        case _:
            return "not known"


def _hops(family: FamilyReport) -> str:
    hops = family.found.hops
    if hops is None:
        return ""
    if hops.hops:
        return f"{hops.hops} (told by {'ICMP' if hops.method == 'icmp' else 'answers that came in'})"
    return "nothing filters, so nothing was to be measured" if hops.is_open else "not known"


def _lifetime(family: FamilyReport) -> str:
    lifetime = family.lifetime
    if lifetime is None:
        return ""
    if lifetime.failure:
        return f"not measured: {lifetime.failure}"
    if not lifetime.dead:
        return f"longer than {lifetime.alive:g} s"
    return f"{lifetime.alive:g} to {lifetime.dead:g} s" if lifetime.alive else f"less than {lifetime.dead:g} s"


def _classic(family: FamilyReport) -> str:
    opinion = family.classic
    if opinion is None:
        return ""
    if opinion.failure:
        return f"nothing: {opinion.failure}"
    return opinion.nat_type + (f", {format_address(opinion.external)}" if opinion.external else "")
