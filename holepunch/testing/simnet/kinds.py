"""The kinds of sites that peers sit at, by name, and whether plain punching can open a pair of them.

The names are those of holepunch.testing.netlab, which builds the same kinds out of the kernel.
"""

from dataclasses import dataclass

from ...errors import ConfigurationError
from ...proto.nat import Allocation, Filtering, Mapping
from .behaviour import FIREWALL, LINUX, Behaviour, Unsolicited

_ROUTER = Behaviour()
_DEPENDENT = Behaviour(mapping=Mapping.ADDRESS_AND_PORT_DEPENDENT)
_SEQUENTIAL = _DEPENDENT.but(allocation=Allocation.SEQUENTIAL)
_RANDOM = _DEPENDENT.but(allocation=Allocation.RANDOM)
_BLOCK = _DEPENDENT.but(allocation=Allocation.BLOCK)
_TO_HOSTS = Filtering.ADDRESS_DEPENDENT


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """What stands between a peer and the internet."""

    name: str
    summary: str
    ipv4: Behaviour | None = None
    """The box before the peer; None: the peer has a global address and nothing in the way."""
    carrier: Behaviour | None = None
    """A second NAT, the provider's, before the first."""
    ipv6: Behaviour | None = None
    """The box's treatment of IPv6; without one the site has no IPv6."""

    def side(self, ipv6: bool) -> tuple[Mapping, Filtering] | None:
        """Returns how the site as a whole behaves in one family; None where it has no such family.

        Of two NATs in a row the more dependent mapping and the narrower filter show outside.
        """
        boxes = [self.ipv6] if ipv6 else [box for box in (self.ipv4, self.carrier) if box is not None]
        boxes = [box for box in boxes if box is not None]
        if not boxes:
            return None if ipv6 else (Mapping.NONE, Filtering.ENDPOINT_INDEPENDENT)
        mappings, filters = list(Mapping), list(Filtering)
        return (
            max((box.mapping for box in boxes), key=mappings.index),
            max((box.filtering for box in boxes), key=filters.index),
        )


_ALL = [
    Kind(name="public", summary="a global address, nothing in the way"),
    Kind(name="firewall", summary="a global address behind a stateful firewall", ipv4=FIREWALL),
    Kind(
        name="eim-eif",
        summary="one outer port, open to everybody",
        ipv4=_ROUTER.but(filtering=Filtering.ENDPOINT_INDEPENDENT),
    ),
    Kind(name="eim-adf", summary="one outer port, open to the hosts sent to", ipv4=_ROUTER.but(filtering=_TO_HOSTS)),
    Kind(name="eim-apdf", summary="one outer port, open to the endpoints sent to: most homes", ipv4=LINUX),
    Kind(
        name="strict",
        summary="like eim-apdf, but an unsolicited packet costs the mapping",
        ipv4=_ROUTER.but(unsolicited=Unsolicited.MOVE),
    ),
    Kind(
        name="clash",
        summary="like eim-apdf, but a packet that comes too early moves the outer port",
        ipv4=LINUX.but(unsolicited=Unsolicited.CLASH),
    ),
    Kind(
        name="sequential-adf",
        summary="the next outer port per destination, open to the hosts sent to",
        ipv4=_SEQUENTIAL.but(filtering=_TO_HOSTS),
    ),
    Kind(name="sequential-apdf", summary="the next outer port per destination", ipv4=_SEQUENTIAL),
    Kind(
        name="random-adf",
        summary="a random outer port per destination, open to the hosts sent to",
        ipv4=_RANDOM.but(filtering=_TO_HOSTS),
    ),
    Kind(name="random-apdf", summary="a random outer port per destination", ipv4=_RANDOM),
    Kind(
        name="block-adf",
        summary="a port from the subscriber's block per destination, open to the hosts sent to",
        ipv4=_BLOCK.but(filtering=_TO_HOSTS),
    ),
    Kind(name="block-apdf", summary="a port from the subscriber's block per destination", ipv4=_BLOCK),
    Kind(
        name="adm-apdf",
        summary="a random outer port per destination host",
        ipv4=_RANDOM.but(mapping=Mapping.ADDRESS_DEPENDENT),
    ),
    Kind(name="double", summary="a home NAT behind a provider's NAT", ipv4=LINUX, carrier=_ROUTER),
    Kind(
        name="ipv6",
        summary="global IPv6 behind a stateful firewall, and a random outer IPv4 port per destination",
        ipv4=_RANDOM,
        ipv6=FIREWALL,
    ),
]

KINDS: dict[str, Kind] = {kind.name: kind for kind in _ALL}

RELATIONS: dict[str, bool] = {
    "same-lan": True,
    "common-cgnat-hairpin": True,
    "common-cgnat": False,
    "equal-networks": True,
}
"""Pairs that are more than two sites apart, and whether plain punching can open them: two computers
on one LAN; two homes behind one provider's NAT that hairpins, and one that does not; two homes whose
private networks, and whose computers' addresses, are the same."""


def kind_named(name: str | Kind) -> Kind:
    """Returns the kind of that name; a kind of one's own is returned as it is.

    Raises:
        ConfigurationError: there is none.
    """
    if isinstance(name, Kind):
        return name
    try:
        return KINDS[name]
    except KeyError:
        raise ConfigurationError(f"no such kind of site: {name!r}", hint=f"Kinds: {', '.join(KINDS)}.") from None


def expected(kind_a: str | Kind, kind_b: str | Kind) -> bool:
    """Predicts whether plain punching can open a pair of kinds, in either family.

    Plain punching: each side sends to what the other announced, answers what it hears where it came
    from, and sends nothing that arrives before the other's filter is ready.
    """
    a, b = kind_named(kind_a), kind_named(kind_b)
    for ipv6 in (False, True):
        side_a, side_b = a.side(ipv6), b.side(ipv6)
        if side_a is not None and side_b is not None and (_opens(side_a, side_b) or _opens(side_b, side_a)):
            return True
    return False


def _opens(sender: tuple[Mapping, Filtering], target: tuple[Mapping, Filtering]) -> bool:
    """Tells whether a packet to the announced endpoint gets in, and the answer to it comes back.

    The answer always comes back if the target's outer endpoint for the sender is the announced one:
    the sender has just sent there.  If not, the sender's filter must not look at ports, and the
    sender's next packet, to where the answer came from, must leave by the same outer endpoint.
    """
    (our_mapping, our_filter), (their_mapping, their_filter) = sender, target
    if their_filter is Filtering.ADDRESS_AND_PORT_DEPENDENT and our_mapping.is_dependent:
        return False
    if their_mapping.is_dependent:
        if their_filter is not Filtering.ENDPOINT_INDEPENDENT:
            return False  # what it announced lets in the STUN server, and nobody else
        return our_filter is not Filtering.ADDRESS_AND_PORT_DEPENDENT and not our_mapping.is_dependent
    return True
