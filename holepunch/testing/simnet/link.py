"""What happens to a packet between two boxes: delay, loss, duplication, reordering, routers, MTU."""

from dataclasses import dataclass, field, replace
from typing import Any

from ...errors import ConfigurationError


@dataclass(frozen=True, slots=True, kw_only=True)
class Link:
    """How one box is attached to a network; it holds for both directions."""

    delay: float = 0.0
    """Seconds, one way."""
    jitter: float = 0.0
    """Up to so many seconds more, uniform and independent for each packet: jitter reorders."""
    loss: float = 0.0
    """Probability that a packet vanishes."""
    duplicate: float = 0.0
    """Probability that a packet arrives twice."""
    reorder: float = 0.0
    """Probability that a packet is held back by `reorder_delay`."""
    reorder_delay: float = 0.02
    """Seconds."""
    mtu: int = 1500
    """Bytes of the largest packet, IP header included."""
    hops: int = 0
    """Routers on the way, each of which takes one from the TTL."""
    silent: bool = False
    """Whether those routers send no ICMP errors, as some carriers' do not."""

    def __post_init__(self) -> None:
        for name in ("loss", "duplicate", "reorder"):
            if not 0 <= getattr(self, name) <= 1:
                raise ConfigurationError(f"{name} is {getattr(self, name)}, expected 0 to 1")
        if min(self.delay, self.jitter, self.reorder_delay) < 0 or self.hops < 0 or self.mtu < 68:
            raise ConfigurationError(f"a link of delay {self.delay}, {self.hops} hops and MTU {self.mtu} cannot be")

    def but(self, **changes: Any) -> "Link":
        """Returns a link like this one with some fields changed."""
        return replace(self, **changes)


@dataclass(slots=True)
class Path:
    """The way from one attachment of a network to another: two links in a row, added up."""

    delay: float
    jitter: float
    loss: float
    duplicate: float
    reorder: float
    reorder_delay: float
    mtu: int
    hops: int
    routers: list[tuple[float, bool]] = field(default_factory=list)
    """For each router on the way: seconds from the start, and whether it is silent."""
    plain: bool = False
    """Whether nothing but delay happens here: no draw of luck is needed."""


def join(first: Link, second: Link) -> Path:
    """Returns the path over `first` towards the middle of a network and from there over `second`."""
    routers = [(first.delay * (n + 1) / (first.hops + 1), first.silent) for n in range(first.hops)]
    routers += [(first.delay + second.delay * (n + 1) / (second.hops + 1), second.silent) for n in range(second.hops)]
    path = Path(
        delay=first.delay + second.delay,
        jitter=first.jitter + second.jitter,
        loss=1 - (1 - first.loss) * (1 - second.loss),
        duplicate=1 - (1 - first.duplicate) * (1 - second.duplicate),
        reorder=1 - (1 - first.reorder) * (1 - second.reorder),
        reorder_delay=max(first.reorder_delay, second.reorder_delay),
        mtu=min(first.mtu, second.mtu),
        hops=first.hops + second.hops,
        routers=routers,
    )
    path.plain = not (path.jitter or path.loss or path.duplicate or path.reorder)
    return path
