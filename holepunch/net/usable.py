"""Which of our own addresses a peer may be offered."""

from ..proto.candidate import Interface
from .interfaces import interfaces


def usable_interfaces() -> tuple[Interface, ...]:
    """Returns our addresses that a peer may be offered: no tunnels and bridges, unless there is nothing else."""
    known = [i for i in interfaces() if i.is_up and not i.is_deprecated]
    plain = [i for i in known if not (i.is_tunnel or i.is_virtual)]
    chosen = plain if any(not i.is_loopback for i in plain) else known
    return tuple(Interface(i.host, i.prefix_length) for i in chosen)
