"""What observations say about a NAT: pure functions from what servers saw to the words of RFC 4787."""

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

from ..machine import Address
from ..nat import Allocation
from ..nat import Mapping as MappingBehaviour

# Carriers give a subscriber blocks of 64 to 8064 ports (RFC 7422 examples, nat-traversal surveys); ten random
# ports out of 64511 lie that close together once in 10**8 times.
MAX_BLOCK = 8192
MAX_STEP = 64  # more between two mappings, 10 ms apart, is not counting
MIN_SAMPLES = 4  # fewer say nothing about an allocator


@dataclass(frozen=True, slots=True, kw_only=True)
class MappingVerdict:
    """How outer endpoints depend on destinations."""

    mapping: MappingBehaviour
    is_exact: bool
    """Whether RFC 5780's destinations were there to tell address from address-and-port dependence."""
    dissenting: tuple[Address, ...] = ()
    """Destinations that saw something else than the majority: a lie, another route, or a port that was taken."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AllocationVerdict:
    """How outer ports are chosen."""

    allocation: Allocation
    delta: int = 0
    """SEQUENTIAL: ports between one new mapping and the next."""
    low: int = 0
    """Lowest outer port seen; 0: none."""
    high: int = 0


def classify_mapping(
    inner_port: int, seen: Mapping[Address, Address], own_hosts: Collection[str] = ()
) -> MappingVerdict:
    """Tells the mapping behaviour of one socket's NATs (RFC 5780 section 4.3, with any number of servers).

    Args:
        inner_port: the socket's own port.
        seen: how each destination saw the socket.
        own_hosts: this machine's addresses; without them "no translation" cannot be told.
    """
    hosts = {host for host, _ in seen}
    voters: dict[Address, set[str]] = {}
    for destination, mapped in seen.items():
        voters.setdefault(mapped, set()).add(destination[0])
    if not seen:
        return MappingVerdict(mapping=MappingBehaviour.UNKNOWN, is_exact=False)
    favourite = max(voters, key=lambda mapped: len(voters[mapped]))
    dissenting = tuple(sorted(destination for destination, mapped in seen.items() if mapped != favourite))
    agreed = len(voters) == 1 or (len(voters[favourite]) >= 2 and 2 * len(voters[favourite]) > len(hosts))
    if agreed and favourite[0] in own_hosts and favourite[1] == inner_port:
        return MappingVerdict(mapping=MappingBehaviour.NONE, is_exact=not dissenting, dissenting=dissenting)
    if agreed and len(hosts) >= 2:
        # Dependent mapping gives every host another endpoint: where most hosts agree, the rest are odd.
        return MappingVerdict(
            mapping=MappingBehaviour.ENDPOINT_INDEPENDENT, is_exact=not dissenting, dissenting=dissenting
        )
    if len(voters) == 1:
        return MappingVerdict(mapping=MappingBehaviour.UNKNOWN, is_exact=False)  # one host cannot tell
    by_host: dict[str, list[Address]] = {}
    for (host, _), mapped in seen.items():
        by_host.setdefault(host, []).append(mapped)
    several = [mapped for mapped in by_host.values() if len(mapped) > 1]
    if several and all(len(set(mapped)) == 1 for mapped in several):
        return MappingVerdict(mapping=MappingBehaviour.ADDRESS_DEPENDENT, is_exact=True)
    # Without two ports of one host the safer word is the one that promises less.
    return MappingVerdict(mapping=MappingBehaviour.ADDRESS_AND_PORT_DEPENDENT, is_exact=bool(several))


def classify_allocation(samples: Sequence[tuple[int, int]]) -> AllocationVerdict:
    """Tells how a NAT chooses outer ports.

    Args:
        samples: (inner port, outer port) of new mappings, in the order in which they were made.
    """
    outer = [port for _, port in samples]
    if len(outer) < MIN_SAMPLES:
        return AllocationVerdict(allocation=Allocation.UNKNOWN, low=min(outer, default=0), high=max(outer, default=0))
    low, high = min(outer), max(outer)
    preserved = sum(inner == port for inner, port in samples)
    if 4 * preserved >= 3 * len(outer):
        return AllocationVerdict(allocation=Allocation.PRESERVING, low=low, high=high)
    if delta := _step(outer):
        return AllocationVerdict(allocation=Allocation.SEQUENTIAL, delta=delta, low=low, high=high)
    block = len(outer) >= 6 and high - low < MAX_BLOCK
    return AllocationVerdict(allocation=Allocation.BLOCK if block else Allocation.RANDOM, low=low, high=high)


def _step(ports: Sequence[int]) -> int:
    """Returns the step of an allocator that counts, 0 where it does not.

    Other hosts behind the NAT take ports in between, and the counter wraps around once in a while: so
    four of five steps must go one way and be small, and one of three must be the same.
    """
    steps = [(after - before + 0x8000) % 0x10000 - 0x8000 for before, after in pairwise(ports)]
    for direction in (1, -1):
        small = Counter(step for step in steps if 0 < step * direction <= MAX_STEP)
        if small and 5 * small.total() >= 4 * len(steps):
            most = max(small.values())
            if 3 * most >= len(steps):
                return min((step for step, count in small.items() if count == most), key=abs)
    return 0
