"""Virtual time: a heap of things to do, done in order of their moment; nothing ever waits.

Two things due at the same moment are done in the order in which they were asked for, so a run is a
function of its seed alone.
"""

import heapq
from collections.abc import Callable
from itertools import count
from typing import Any

from ...errors import ConfigurationError


class Timer:
    """One call that can still be cancelled."""

    __slots__ = ("callback",)

    def __init__(self, callback: Callable[[], None]) -> None:
        self.callback: Callable[[], None] | None = callback

    def cancel(self) -> None:
        """Forgets the call; harmless when it has happened."""
        self.callback = None

    def fire(self, _: object) -> None:
        """Makes the call, once."""
        callback, self.callback = self.callback, None
        if callback is not None:
            callback()


class Clock:
    """Virtual seconds, and what happens at them."""

    def __init__(self) -> None:
        self.now = 0.0
        """Seconds since the simulation began."""
        self.steps = 0
        """How many things have been done."""
        self._queue: list[tuple[float, int, Callable[[Any], None], Any]] = []
        self._order = count()

    def post(self, delay: float, callback: Callable[[Any], None], argument: Any) -> None:
        """Does callback(argument) after `delay` seconds; the fast form, which cannot be cancelled."""
        heapq.heappush(self._queue, (self.now + delay, next(self._order), callback, argument))

    def call_later(self, delay: float, callback: Callable[[], None]) -> Timer:
        """Does callback() after `delay` seconds, unless the timer is cancelled first."""
        return self.call_at(self.now + max(0.0, delay), callback)

    def call_at(self, when: float, callback: Callable[[], None]) -> Timer:
        """Does callback() at `when`, or now if that is past, unless the timer is cancelled first."""
        timer = Timer(callback)
        heapq.heappush(self._queue, (max(when, self.now), next(self._order), timer.fire, None))
        return timer

    def run(
        self,
        duration: float | None = None,
        *,
        until: Callable[[], bool] | None = None,
        max_steps: int | None = None,
    ) -> bool:
        """Lets time pass.

        Args:
            duration: seconds to pass at most; None: until nothing is left to do.
            until: looked at after every step; time stops as soon as it holds.
            max_steps: a guard against a simulation that never ends.

        Returns:
            Whether `until` held; False where there is none.

        Raises:
            ConfigurationError: max_steps were done and there is still something to do.
        """
        if until is not None and until():
            return True
        queue, pop = self._queue, heapq.heappop
        end = float("inf") if duration is None else self.now + duration
        limit = float("inf") if max_steps is None else self.steps + max_steps
        while queue and queue[0][0] <= end:
            when, _, callback, argument = pop(queue)
            self.now = when
            self.steps += 1
            callback(argument)
            if until is not None and until():
                return True
            if self.steps >= limit:
                raise ConfigurationError(f"the simulation is not over after {max_steps} steps")
        if duration is not None:
            self.now = end
        return False
