"""How the hub says no: a reason, a sentence, and when it may be different."""

from ..errors import HolepunchError
from ..proto.mailbox import Reason, Refused


class RefusedError(HolepunchError):
    """The hub does not do what a client asked; it is answered and never shown on the hub's own terminal."""

    def __init__(self, reason: Reason, text: str, *, wait: float = 0.0) -> None:
        super().__init__(text)
        self.reason = reason
        self.wait = wait

    def frame(self, number: int = 0) -> Refused:
        """Returns what to send for it."""
        return Refused(number, self.reason, self.wait, str(self))
