"""A direct, authenticated UDP path between two machines behind NATs.

    from holepunch import Home, Puncher, Settings

    async def main() -> None:
        async with Puncher(Home.locate(), Settings(mediators=("file:///srv/shared",))) as puncher:
            session = await puncher.connect("remote")
            await session.send(b"hello")
            print(await session.receive())
            await session.close()

The names in `__all__` are the library's promise (docs/reference.md).  They are loaded when first
used (PEP 562), so that `import holepunch` costs nothing: the command line depends on it.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .config import Settings
    from .errors import (
        AuthenticationError,
        ConfigurationError,
        HolepunchError,
        MediatorError,
        NetworkError,
        PeerTimeoutError,
        TraversalError,
    )
    from .home import Home
    from .mediator import Finding, Mailbox, Mediator
    from .proto.envelope import Envelope
    from .proto.events import Event
    from .proto.identity import Identity, PeerId
    from .puncher import Puncher
    from .session import Session

__version__ = "0.1.0"

__all__ = [
    "AuthenticationError",
    "ConfigurationError",
    "Envelope",
    "Event",
    "Finding",
    "HolepunchError",
    "Home",
    "Identity",
    "Mailbox",
    "Mediator",
    "MediatorError",
    "NetworkError",
    "PeerId",
    "PeerTimeoutError",
    "Puncher",
    "Session",
    "Settings",
    "TraversalError",
    "__version__",
]

_HOMES = {
    "AuthenticationError": "errors",
    "ConfigurationError": "errors",
    "Envelope": "proto.envelope",
    "Event": "proto.events",
    "Finding": "mediator",
    "Home": "home",
    "HolepunchError": "errors",
    "Identity": "proto.identity",
    "Mailbox": "mediator",
    "Mediator": "mediator",
    "MediatorError": "errors",
    "NetworkError": "errors",
    "PeerId": "proto.identity",
    "PeerTimeoutError": "errors",
    "Puncher": "puncher",
    "Session": "session",
    "Settings": "config",
    "TraversalError": "errors",
}
"""Which module each public name comes from; tests/test_house.py keeps it equal to `__all__`."""


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f".{_HOMES[name]}", __name__), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
