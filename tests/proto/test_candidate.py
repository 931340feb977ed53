"""Candidates: which are offered, which of a peer's claims are probed, and which path they promise."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holepunch.errors import WireError
from holepunch.proto.address import Scope, is_ipv6, scope_of
from holepunch.proto.candidate import (
    MAX_CANDIDATES,
    MAX_GLOBAL_HOSTS,
    Candidate,
    CandidateKind,
    Interface,
    admissible,
    decode_candidate,
    encode_candidate,
    host_candidates,
    share_network,
)
from holepunch.proto.machine import Address
from holepunch.proto.wire import Reader, Writer

HOST, REFLEXIVE, MAPPED = CandidateKind.HOST, CandidateKind.SERVER_REFLEXIVE, CandidateKind.PORT_MAPPED
PREDICTED, RELAYED, PEER = CandidateKind.PREDICTED, CandidateKind.RELAYED, CandidateKind.PEER_REFLEXIVE

hosts = st.one_of(st.ip_addresses(v=4), st.ip_addresses(v=6)).map(str)
candidates = st.builds(Candidate, st.sampled_from(CandidateKind), st.tuples(hosts, st.integers(0, 65535)))


def of(kind: CandidateKind, *addresses: Address) -> list[Candidate]:
    """Candidates of one kind."""
    return [Candidate(kind, address) for address in addresses]


@pytest.mark.parametrize(
    ("better", "worse"),
    [
        # One's own network, then IPv6, then IPv4; what was asked for, what was found, what was guessed; a relay last.
        (Candidate(HOST, ("192.168.1.2", 1)), Candidate(HOST, ("2600::1", 1))),
        (Candidate(HOST, ("2600::1", 1)), Candidate(HOST, ("45.0.0.1", 1))),
        (Candidate(HOST, ("45.0.0.1", 1)), Candidate(MAPPED, ("45.0.0.1", 1))),
        (Candidate(MAPPED, ("45.0.0.1", 1)), Candidate(REFLEXIVE, ("45.0.0.1", 1))),
        (Candidate(REFLEXIVE, ("45.0.0.1", 1)), Candidate(PEER, ("45.0.0.1", 1))),
        (Candidate(PEER, ("45.0.0.1", 1)), Candidate(PREDICTED, ("45.0.0.1", 1))),
        (Candidate(PREDICTED, ("45.0.0.1", 1)), Candidate(RELAYED, ("2600::1", 1))),
        (Candidate(REFLEXIVE, ("2600::1", 1)), Candidate(REFLEXIVE, ("45.0.0.1", 1))),
        (Candidate(HOST, ("10.0.0.1", 1)), Candidate(MAPPED, ("2600::1", 1))),
    ],
)
def test_nearer_candidates_are_preferred(better: Candidate, worse: Candidate) -> None:
    assert better.preference > worse.preference


@given(candidates)
def test_preferences_stay_within_the_range_of_the_rfc(candidate: Candidate) -> None:
    assert 0 <= candidate.preference <= 126


@given(candidates)
def test_a_candidate_survives_the_wire(candidate: Candidate) -> None:
    writer = Writer()
    encode_candidate(writer, candidate)
    assert decode_candidate(Reader(writer.getvalue())) == candidate


@given(st.binary(max_size=24))
def test_any_bytes_are_a_candidate_or_a_wire_error(data: bytes) -> None:
    try:
        candidate = decode_candidate(Reader(data))
    except WireError:
        return
    assert isinstance(candidate, Candidate)


def test_each_usable_address_of_a_machine_is_a_host_candidate() -> None:
    interfaces = [
        Interface("127.0.0.1", 8),
        Interface("192.168.1.2", 24),
        Interface("2600::2", 64),
        Interface("fe80::2%eth0", 64),
    ]
    found = host_candidates(interfaces, 4000, 6000)
    assert [candidate.address for candidate in found] == [("192.168.1.2", 4000), ("2600::2", 6000)]


def test_loopback_is_offered_where_there_is_nothing_else() -> None:
    assert host_candidates([Interface("127.0.0.1", 8)], 4000, 0) == of(HOST, ("127.0.0.1", 4000))


def test_a_family_without_a_socket_has_no_candidates() -> None:
    assert host_candidates([Interface("192.168.1.2", 24), Interface("2600::2", 64)], 0, 6000) == of(
        HOST, ("2600::2", 6000)
    )


def test_an_interface_holds_the_hosts_of_its_network() -> None:
    interface = Interface("192.168.1.2", 24)
    assert interface.holds("192.168.1.77")
    assert not interface.holds("192.168.2.77")
    assert not interface.holds("2600::1")
    assert Interface("fe80::1%eth0", 64).holds("fe80::2%eth0")


LAN_US, LAN_PEER = ("192.168.1.2", 4000), ("192.168.1.3", 5000)
WAN, OTHER_WAN = "45.0.0.1", "45.0.0.2"


@pytest.mark.parametrize(
    ("local", "remote", "shared"),
    [
        # One router: the same outer address.
        ([*of(HOST, LAN_US), *of(REFLEXIVE, (WAN, 1))], [*of(HOST, LAN_PEER), *of(REFLEXIVE, (WAN, 2))], True),
        # Two homes whose private networks happen to have the same numbers.
        ([*of(HOST, LAN_US), *of(REFLEXIVE, (WAN, 1))], [*of(HOST, LAN_PEER), *of(REFLEXIVE, (OTHER_WAN, 2))], False),
        # A network without a way out.
        (of(HOST, LAN_US), of(HOST, LAN_PEER), True),
        # One of the two has a way out that the other does not have.
        (of(HOST, LAN_US), [*of(HOST, LAN_PEER), *of(REFLEXIVE, (WAN, 2))], False),
        # IPv6 addresses are everybody's own and say nothing.
        ([*of(HOST, LAN_US), *of(HOST, ("2600::1", 1))], [*of(HOST, LAN_PEER), *of(HOST, ("2600::2", 1))], True),
    ],
)
def test_sharing_a_network_is_told_by_the_way_out(
    local: list[Candidate], remote: list[Candidate], shared: bool
) -> None:
    assert share_network(local, remote) is shared


HOME = [*of(HOST, LAN_US), *of(REFLEXIVE, (WAN, 4000))]


@pytest.mark.parametrize(
    ("remote", "probed"),
    [
        # What a peer behind another NAT offers: its outer address, and not the printer at our own home.
        ([*of(HOST, LAN_PEER), *of(REFLEXIVE, (OTHER_WAN, 5000))], of(REFLEXIVE, (OTHER_WAN, 5000))),
        # A peer behind our own NAT: the private address first.
        (
            [*of(REFLEXIVE, (WAN, 5000)), *of(HOST, LAN_PEER)],
            [*of(HOST, LAN_PEER), *of(REFLEXIVE, (WAN, 5000))],
        ),
        # Special-use ranges, of every sort, even of a peer behind our own NAT.
        (
            of(
                HOST,
                ("127.0.0.1", 22),
                ("::1", 22),
                ("0.0.0.0", 22),
                ("169.254.169.254", 80),
                ("fe80::1", 22),
                ("224.0.0.251", 5353),
                ("255.255.255.255", 9),
                ("192.0.2.1", 9),
                ("198.18.0.1", 9),
                ("ff02::1", 9),
                ("2001:db8::1", 9),
                ("::ffff:10.0.0.1", 9),
            )
            + of(REFLEXIVE, (WAN, 5000)),
            of(REFLEXIVE, (WAN, 5000)),
        ),
        # Port 0 is nobody's.
        (of(REFLEXIVE, (OTHER_WAN, 0)), []),
        # The same address twice is one, under its better kind.
        ([*of(REFLEXIVE, (OTHER_WAN, 5)), *of(HOST, (OTHER_WAN, 5))], of(HOST, (OTHER_WAN, 5))),
        # Our own private address is us, whoever claims it.
        ([*of(HOST, LAN_US), *of(REFLEXIVE, (WAN, 9))], of(REFLEXIVE, (WAN, 9))),
        # Nothing offered, nothing probed.
        ([], []),
    ],
)
def test_only_admissible_claims_are_probed_best_first(remote: list[Candidate], probed: list[Candidate]) -> None:
    assert admissible(remote, HOME) == probed


def test_carrier_addresses_are_probed_behind_one_carrier_only() -> None:
    inside = of(HOST, ("100.64.1.1", 5000))
    assert admissible([*inside, *of(REFLEXIVE, (WAN, 5000))], HOME) == [*inside, *of(REFLEXIVE, (WAN, 5000))]
    assert admissible([*inside, *of(REFLEXIVE, (OTHER_WAN, 5000))], HOME) == of(REFLEXIVE, (OTHER_WAN, 5000))


def test_loopback_is_probed_by_those_who_have_nothing_else_themselves() -> None:
    theirs = of(HOST, ("127.0.0.1", 5000))
    assert admissible(theirs, of(HOST, ("127.0.0.1", 4000))) == theirs
    assert admissible(theirs, of(HOST, LAN_US)) == []
    assert admissible(of(HOST, ("127.0.0.1", 4000)), of(HOST, ("127.0.0.1", 4000))) == []


def test_two_global_hosts_per_family_are_enough_for_any_honest_peer() -> None:
    remote = [
        *of(REFLEXIVE, *((f"45.0.1.{number}", 53) for number in range(10))),
        *of(HOST, *((f"2600::{number}", 53) for number in range(10))),
    ]
    probed = {candidate.address[0] for candidate in admissible(remote, HOME)}
    assert sum(is_ipv6(host) for host in probed) == MAX_GLOBAL_HOSTS
    assert sum(not is_ipv6(host) for host in probed) == MAX_GLOBAL_HOSTS


def test_no_more_than_16_are_probed() -> None:
    assert len(admissible(of(REFLEXIVE, *((OTHER_WAN, port) for port in range(1, 500))), HOME)) == MAX_CANDIDATES


@given(st.lists(candidates, max_size=80), st.lists(candidates, max_size=8))
def test_whatever_is_claimed_the_bounds_hold(remote: list[Candidate], local: list[Candidate]) -> None:
    probed = admissible(remote, local)
    addresses = [candidate.address for candidate in probed]
    scopes = [scope_of(host) for host, _ in addresses]
    assert len(probed) <= MAX_CANDIDATES
    assert len(set(addresses)) == len(addresses)
    assert all(port for _, port in addresses)
    assert Scope.RESERVED not in scopes
    assert Scope.LINK not in scopes
    if not share_network(local, remote):
        assert Scope.PRIVATE not in scopes
        assert Scope.CGNAT not in scopes
    globally = {host for host, _ in addresses if scope_of(host) is Scope.GLOBAL}
    assert sum(is_ipv6(host) for host in globally) <= MAX_GLOBAL_HOSTS
    assert sum(not is_ipv6(host) for host in globally) <= MAX_GLOBAL_HOSTS
    assert [candidate.preference for candidate in probed] == sorted((c.preference for c in probed), reverse=True)
