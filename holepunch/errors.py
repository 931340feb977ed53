"""Every exception of holepunch, and the exit status each one means.

    HolepunchError                 1   (never raised itself)
     ├─ ConfigurationError         2   a flag, a variable or a file says something impossible
     ├─ TraversalError             3   no path to the peer
     ├─ AuthenticationError        4   the peer is unknown, or is not who it says
     ├─ MediatorError              5   no mediator carried the offer
     ├─ NetworkError               6   no network, or no STUN server answered
     ├─ PeerTimeoutError           7   the peer did not answer in time
     └─ WireError                  -   bad bytes; caught where they arrive, counted and dropped

An error is one sentence (`str(error)`) and one `hint`: what the person can do now.  The numbers
are a promise to scripts (docs/reference.md) and do not change.
"""

from typing import ClassVar


class HolepunchError(Exception):
    """Something a person should read: one sentence, one hint, one exit status."""

    exit_status: ClassVar[int] = 1

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.hint = hint


class ConfigurationError(HolepunchError):
    """A flag, an environment variable, or a file says something impossible."""

    exit_status = 2


class TraversalError(HolepunchError):
    """No path to the peer; the sentence says why, and what was tried."""

    exit_status = 3


class AuthenticationError(HolepunchError):
    """The peer is unknown, or is not who it says."""

    exit_status = 4


class MediatorError(HolepunchError):
    """A mediator failed, and no other one carried the offer."""

    exit_status = 5


class NetworkError(HolepunchError):
    """There is no network, or no STUN server answered."""

    exit_status = 6


class PeerTimeoutError(HolepunchError):
    """The peer did not answer in time."""

    exit_status = 7


class WireError(HolepunchError):
    """Bytes that are not what the format says.

    Raised by decoders only, and caught where the bytes arrived: the datagram or envelope is
    counted and dropped.  Never shown to a person.
    """
