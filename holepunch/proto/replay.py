"""Accepts each counter once (RFC 6479's sliding window, as an integer used as a bitmap)."""

WINDOW = 1024  # counters; a datagram that is later than this many others is as good as lost


class ReplayWindow:
    """Remembers which of the last WINDOW counters have been seen."""

    def __init__(self) -> None:
        self._top = -1
        self._seen = 0  # bit k stands for counter _top - k

    def accept(self, counter: int) -> bool:
        """Returns True the first time a counter is seen, and False ever after or when it is too old.

        Call it only with counters of authentic packets: the window moves with the highest one.
        """
        if counter > self._top:
            self._seen = ((self._seen << min(counter - self._top, WINDOW)) | 1) & ((1 << WINDOW) - 1)
            self._top = counter
            return True
        age = self._top - counter
        if age >= WINDOW or self._seen >> age & 1:
            return False
        self._seen |= 1 << age
        return True
