"""How NATs behave, in the words of RFC 4787, and what we know of ours.

"Full cone" and "symmetric" (RFC 3489) each say two things at once; mapping and filtering are two
questions, and the answers are kept apart here.  A report is evidence that orders strategies.  It
never forbids one: misclassification is the commonest fault of tools of this kind.
"""

import enum
from dataclasses import dataclass

from ..errors import WireError
from .wire import Reader, Writer


class Mapping(enum.Enum):
    """Which outer endpoint an inner endpoint gets (RFC 4787, section 4.1)."""

    UNKNOWN = "unknown"
    NONE = "none"
    """No translation: the outer endpoint is the inner one."""
    ENDPOINT_INDEPENDENT = "endpoint-independent"
    ADDRESS_DEPENDENT = "address-dependent"
    ADDRESS_AND_PORT_DEPENDENT = "address-and-port-dependent"

    @property
    def is_dependent(self) -> bool:
        """Whether another destination may see another outer endpoint."""
        return self in (Mapping.ADDRESS_DEPENDENT, Mapping.ADDRESS_AND_PORT_DEPENDENT)


class Filtering(enum.Enum):
    """Who may send to a mapping (RFC 4787, section 5)."""

    UNKNOWN = "unknown"
    ENDPOINT_INDEPENDENT = "endpoint-independent"
    ADDRESS_DEPENDENT = "address-dependent"
    ADDRESS_AND_PORT_DEPENDENT = "address-and-port-dependent"


class Allocation(enum.Enum):
    """How outer ports are chosen (RFC 4787, section 4.2, and RFC 7422 for blocks)."""

    UNKNOWN = "unknown"
    PRESERVING = "preserving"
    SEQUENTIAL = "sequential"
    BLOCK = "block"
    RANDOM = "random"


_MAPPINGS, _FILTERINGS, _ALLOCATIONS = list(Mapping), list(Filtering), list(Allocation)


@dataclass(frozen=True, slots=True, kw_only=True)
class NatReport:
    """What one side knows of its own NATs, for one address family."""

    mapping: Mapping = Mapping.UNKNOWN
    filtering: Filtering = Filtering.UNKNOWN
    allocation: Allocation = Allocation.UNKNOWN
    port_delta: int = 0
    """Ports between one new mapping and the next; 0 unless allocation is SEQUENTIAL."""
    port_low: int = 0
    """Lowest outer port seen; with port_high, the window of a BLOCK allocation.  0: none seen."""
    port_high: int = 0
    hairpin: bool | None = None
    """Whether a host inside reaches another inside by its outer endpoint; None: not tested."""
    hops: int = 0
    """Smallest TTL with which a packet leaves all our own NATs; 0: not measured."""
    lifetime: float = 0.0
    """Seconds an idle mapping lived at least; 0: not measured."""


def encode_report(writer: Writer, report: NatReport) -> None:
    """Appends a report: 16 bytes."""
    writer.u8(_MAPPINGS.index(report.mapping)).u8(_FILTERINGS.index(report.filtering))
    writer.u8(_ALLOCATIONS.index(report.allocation)).u16(report.port_delta & 0xFFFF)
    writer.u16(report.port_low).u16(report.port_high)
    writer.u8({None: 0, False: 1, True: 2}[report.hairpin]).u8(report.hops)
    writer.u32(min(int(report.lifetime), 0xFFFFFFFF)).u8(0)


def decode_report(reader: Reader) -> NatReport:
    """Reads what encode_report wrote.

    Raises:
        WireError: a value is outside its enumeration, or bytes are missing.
    """
    mapping, filtering, allocation = reader.u8(), reader.u8(), reader.u8()
    if mapping >= len(_MAPPINGS) or filtering >= len(_FILTERINGS) or allocation >= len(_ALLOCATIONS):
        raise WireError(f"no such NAT behaviour: {mapping}, {filtering}, {allocation}")
    delta, low, high, hairpin, hops = reader.u16(), reader.u16(), reader.u16(), reader.u8(), reader.u8()
    lifetime, _ = reader.u32(), reader.u8()
    if hairpin > 2:
        raise WireError(f"hairpin is {hairpin}, expected 0, 1 or 2")
    return NatReport(
        mapping=_MAPPINGS[mapping],
        filtering=_FILTERINGS[filtering],
        allocation=_ALLOCATIONS[allocation],
        port_delta=delta - 0x10000 if delta & 0x8000 else delta,
        port_low=low,
        port_high=high,
        hairpin=(None, False, True)[hairpin],
        hops=hops,
        lifetime=float(lifetime),
    )
