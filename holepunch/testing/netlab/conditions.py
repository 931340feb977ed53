"""What happens to packets on their way: delay, jitter, loss, reordering, duplication, packet size.

The kernel's own tool for this (netem) is a module that many kernels lack, so the laboratory's wire
does it in user space.
"""

from dataclasses import asdict, dataclass, fields
from typing import Any

from ...errors import ConfigurationError

# RFC 791, 3.2: every internet module must be able to forward a datagram of 68 bytes without fragmentation.
SMALLEST_MTU = 68
LARGEST_MTU = 1500


@dataclass(frozen=True, slots=True, kw_only=True)
class Conditions:
    """What the way between two sites does to a packet, in each direction."""

    delay: float = 0.02
    """Seconds from one site to the other; the round trip takes twice as long."""
    jitter: float = 0.0
    """A packet takes up to that many seconds longer, evenly spread; order is kept."""
    loss: float = 0.0
    """Probability that a packet is lost."""
    reorder: float = 0.0
    """Probability that a packet takes half the delay, and so overtakes those before it."""
    duplicate: float = 0.0
    """Probability that a packet arrives twice."""
    mtu: int = LARGEST_MTU
    """Largest packet that passes, in bytes with its IP header."""

    def __post_init__(self) -> None:
        for name in ("delay", "jitter"):
            if not 0 <= getattr(self, name) <= 60:
                raise ConfigurationError(f"{name} is {getattr(self, name)} s, expected 0 to 60")
        for name in ("loss", "reorder", "duplicate"):
            if not 0 <= getattr(self, name) <= 1:
                raise ConfigurationError(f"{name} is {getattr(self, name)}, expected a probability from 0 to 1")
        if not SMALLEST_MTU <= self.mtu <= LARGEST_MTU:
            raise ConfigurationError(f"mtu is {self.mtu} bytes, expected {SMALLEST_MTU} to {LARGEST_MTU}")

    def to_dict(self) -> dict[str, Any]:
        """Returns the fields, as JSON carries them."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> "Conditions":
        """Reads what to_dict returned.

        Raises:
            ConfigurationError: a field is unknown, or its value is impossible.
        """
        unknown = values.keys() - {field.name for field in fields(cls)}
        if unknown:
            raise ConfigurationError(f"no such condition: {', '.join(sorted(unknown))}")
        return cls(**values)
