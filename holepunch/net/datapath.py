"""The filter of a session's socket: data of the peer goes one way, everything else to the machine.

    path = DataPath(agent.is_control, deliver)
    driver.set_filter(local, path.keep, path.keep_run)
    path.remotes = {selected, and whatever other path is valid}

A datagram is data when it comes from a remote of the session and is not one of our own packets
(holepunch.proto.packet: fixed length, recognised by their tag).  Accepting data from every valid path,
not only from the selected one, is what lets the two sides move at different moments without loss.
"""

from collections.abc import Callable, Container

from ..proto.machine import Address
from .udp import split_run

Deliver = Callable[[memoryview, int], None]
"""Takes (data, segment) of a run (holepunch.net.udp); the view is valid during the call only."""


class DataPath:
    """Tells data from control on one socket, a run at a time.

    Args:
        is_control: tells whether `length` bytes are a control packet of the session.
        deliver: takes the data.
        length: bytes of every control packet; a datagram of any other length is data unseen.
    """

    def __init__(self, is_control: Callable[[bytes], bool], deliver: Deliver, *, length: int = 96) -> None:
        self.deliver = deliver
        self.remotes: Container[Address] = ()
        """Where data may come from."""
        self._is_control = is_control
        self._length = length

    def keep(self, data: bytes, remote: Address) -> bool:
        """Takes one datagram where it is data (holepunch.net.driver.Filter)."""
        if remote not in self.remotes or (len(data) == self._length and self._is_control(data)):
            return False
        self.deliver(memoryview(data), len(data))
        return True

    def keep_run(self, data: memoryview, segment: int, remote: Address) -> bool:
        """Takes a run where all of it is data; with a control packet inside, it is to be cut for keep()."""
        if remote not in self.remotes:
            return False
        if segment == self._length or len(data) % segment == self._length:
            lengthy = (bytes(part) for part in split_run(data, segment) if len(part) == self._length)
            if any(self._is_control(part) for part in lengthy):
                return False
        self.deliver(data, segment)
        return True
