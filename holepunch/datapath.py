"""Tells the user's datagrams from our own on a session's socket, and seals them where we are asked to.

Whatever arrives passes here first.  Punch packets and STUN answers go on to the agent.  Raw datagrams are the
user's when they come on a proven path; sealed ones when they open, wherever they come from.
"""

from collections import deque
from collections.abc import Callable

from .errors import TraversalError
from .net.driver import Driver
from .proto.agent import Agent
from .proto.machine import Address
from .proto.offer import Carry
from .proto.packet import LENGTH, Opener, Sealer
from .proto.stun.message import is_stun

MAX_QUEUE = 1024  # datagrams waiting for receive(); the oldest are dropped first

Forward = Callable[[memoryview, int], None]
"""Takes (data, segment) of a run of datagrams; the view is valid during the call only."""


class DataPath:
    """The datagrams of one session.

    Args:
        agent: whose packets are not the user's.
        driver: the agent's; its sockets are filtered here.
        on_arrival: called when `queue` has one more.
    """

    def __init__(self, agent: Agent, driver: Driver, on_arrival: Callable[[], None]) -> None:
        self.queue: deque[bytes] = deque(maxlen=MAX_QUEUE)
        """What has come, oldest first, while nothing is forwarded."""
        self.forward: Forward | None = None
        """Takes what comes, instead of the queue; `watch` after a change."""
        self.dropped = 0
        """Datagrams that came from elsewhere than the peer, or did not open."""
        self._agent = agent
        self._driver = driver
        self._on_arrival = on_arrival
        self._sealer: Sealer | None = None
        self._opener: Opener | None = None

    def seal(self, data: bytes) -> bytes:
        """Returns what to send for one datagram of the user's: 32 bytes more in a sealed session."""
        if self._agent.options.carry is not Carry.SEALED:
            return data
        if self._sealer is None:
            self._sealer = Sealer(self._key(ours=True))
        return self._sealer.seal(data)

    def watch(self, local: int) -> None:
        """Begins to look at what arrives on a socket."""
        forward = self.forward

        def keep(data: bytes, remote: Address) -> bool:
            return self._take(local, data, remote)

        def keep_run(data: memoryview, segment: int, remote: Address) -> bool:
            if forward is None or not self._agent.checks.is_path(local, remote) or self._may_hold_ours(data, segment):
                return False  # they come again one by one
            forward(data, segment)
            return True

        whole_runs = forward is not None and self._agent.options.carry is Carry.RAW  # sealed ones are opened singly
        self._driver.set_filter(local, keep, keep_run if whole_runs else None)

    def _key(self, *, ours: bool) -> bytes:
        if self._agent.keys is None:
            raise TraversalError("the session has no keys yet")
        return self._agent.keys.derive(b"data i2r" if self._agent.is_inviter is ours else b"data r2i")

    def _may_hold_ours(self, data: memoryview, segment: int) -> bool:
        """Whether a run holds a packet that is for the agent: only a last one can differ in length."""
        starts = range(0, len(data), LENGTH) if segment == LENGTH else [len(data) - LENGTH]
        if segment != LENGTH and len(data) % segment != LENGTH:
            return False
        return any(self._agent.recognises(bytes(data[at : at + LENGTH])) for at in starts)

    def _take(self, local: int, data: bytes, remote: Address) -> bool:
        """Decides about one datagram: True where it was the user's, or nobody's."""
        agent = self._agent
        if agent.recognises(data) or (is_stun(data) and remote in agent.options.servers):
            return False
        if agent.options.carry is Carry.SEALED:
            if self._opener is None:
                self._opener = Opener(self._key(ours=False))
            opened = self._opener.open(data)
            if opened is None:
                self.dropped += 1
                return True
            data = opened[1]
        elif not agent.checks.is_path(local, remote):
            self.dropped += 1
            return True
        if self.forward is not None:
            self.forward(memoryview(data), len(data))
        else:
            self.queue.append(data)
            self._on_arrival()
        return True
