"""What we send to addresses that a peer only claims: the bound that keeps us from being its weapon.

Anybody whom we know may list a victim's addresses as its own candidates (RFC 8445, section 19.4.1, "the
voice hammer").  An address is *proven* when a counter that we sent there comes back from there; until
then it may be asked PROBES times, and no more than ADDRESSES of them are asked at all, whatever offers,
rounds and spoofed packets name them.  Both counts begin anew after MEMORY.  On a host where one address
was proven others take no place among the ADDRESSES: a router that was rebooted gives the peer another
port each time.  All probes of all sessions with one peer come from one allowance.

Answers are not counted here: each is caused by an authentic packet, and no longer than it.
"""

from .budget import TokenBucket
from .machine import Address

PROBES = 20  # full-TTL packets to an address that has not proven itself
ADDRESSES = 16  # as many as one offer may list
MEMORY = 600.0  # seconds
# All sessions with one peer together: four attempts (holepunch.puncher) may do their worst at once, after
# which 20 packets of 96 bytes each second are the most that a peer can make us send in the long run.
ALLOWANCE_BURST = 4 * ADDRESSES * PROBES
ALLOWANCE_RATE = 20.0  # packets per second
_MAX_KNOWN = 1024  # addresses of either sort that are remembered; more are not asked


def make_allowance() -> TokenBucket:
    """Returns a fresh allowance, for all sessions with one peer."""
    return TokenBucket(rate=ALLOWANCE_RATE, burst=ALLOWANCE_BURST)


class Claims:
    """What was sent to claimed addresses, for one session.

    Args:
        allowance: shared by all sessions with the peer.
    """

    def __init__(self, allowance: TokenBucket | None = None) -> None:
        self._allowance = allowance or make_allowance()
        self._asked: dict[Address, tuple[float, int]] = {}  # since when, and how often
        self._proven: dict[str, float] = {}  # host -> when

    def admit(self, address: Address, now: float) -> bool:
        """Tells whether an address may be sent anything unasked, and keeps it a place."""
        if address in self._asked:
            return True
        self._forget(now)
        places = sum(host not in self._proven for host, _ in self._asked)
        if len(self._asked) >= _MAX_KNOWN or (address[0] not in self._proven and places >= ADDRESSES):
            return False
        self._asked[address] = now, 0
        return True

    def may_ask(self, address: Address, now: float) -> bool:
        """Tells whether one more full-TTL packet may go to an address that is not proven."""
        self._forget(now)
        return self.admit(address, now) and self._asked[address][1] < PROBES

    def ask(self, address: Address, now: float) -> bool:
        """Counts one full-TTL packet to an address of which may_ask is true; False: not now, but later."""
        if not self._allowance.take(now):
            return False
        since, count = self._asked[address]
        self._asked[address] = since, count + 1
        return True

    def prove(self, address: Address, now: float) -> None:
        """Takes note that a counter of ours came back from there."""
        self._asked.pop(address, None)
        if len(self._proven) >= _MAX_KNOWN:
            del self._proven[next(iter(self._proven))]
        self._proven.pop(address[0], None)
        self._proven[address[0]] = now

    def _forget(self, now: float) -> None:
        for address in [a for a, (since, _) in self._asked.items() if now - since > MEMORY]:
            del self._asked[address]
        for host in [host for host, since in self._proven.items() if now - since > MEMORY]:
            del self._proven[host]
