"""Challenges that cost the hub nothing until they come back signed.

A challenge is 16 random bytes, the time, and a MAC of both under a key made at the start; so a flood of
connections that never log in leaves nothing behind.  One that was answered well is remembered until it
would expire, so it is good once.  After a restart the key is new and old challenges are worthless.
"""

import hmac
import secrets
from collections import deque
from hashlib import blake2s

from ..errors import ConfigurationError
from ..proto.identity import PeerId
from ..proto.mailbox import CHALLENGE_LENGTH, Login, Reason, login_statement
from .refusal import RefusedError

LIFETIME = 60.0  # seconds; a login follows its challenge by a round trip, a long poll's by a few
MOST_REMEMBERED = 100_000  # answered within LIFETIME; beyond it the hub refuses logins for a moment

_RANDOM_LENGTH, _TIME_LENGTH = 16, 8  # bytes
_MAC_LENGTH = CHALLENGE_LENGTH - _RANDOM_LENGTH - _TIME_LENGTH


class Challenges:
    """Issues challenges and judges their answers.

    Args:
        names: what clients may call this hub, in lower case; empty: whatever name they connected to.
    """

    def __init__(self, names: frozenset[str] = frozenset()) -> None:
        self._names = names
        self._key = secrets.token_bytes(32)
        self._answered: set[bytes] = set()
        self._order: deque[tuple[float, bytes]] = deque()

    def issue(self, now: float) -> bytes:
        """Returns a new challenge."""
        head = secrets.token_bytes(_RANDOM_LENGTH) + int(now * 1000).to_bytes(_TIME_LENGTH)
        return head + self._mac(head)

    def check(self, login: Login, challenge: bytes, host: str, now: float) -> None:
        """Accepts a login once.

        Args:
            login: the owner and its signature.
            challenge: what was signed.
            host: the Host header of the request, as the client sent it.
            now: seconds, of the same clock as at `issue`.

        Raises:
            RefusedError: the challenge is not ours, old or used, or the signature is not the owner's.
        """
        head = challenge[: _RANDOM_LENGTH + _TIME_LENGTH]
        if len(challenge) != CHALLENGE_LENGTH or not hmac.compare_digest(self._mac(head), challenge[len(head) :]):
            raise RefusedError(Reason.NOT_AUTHENTIC, "the challenge is not one of this hub")
        issued = int.from_bytes(head[_RANDOM_LENGTH:]) / 1000
        if not -1 <= now - issued <= LIFETIME:
            raise RefusedError(
                Reason.NOT_AUTHENTIC, f"the challenge is {now - issued:.0f} s old, expected {LIFETIME:.0f}"
            )
        self._forget(now)
        if challenge in self._answered:
            raise RefusedError(Reason.NOT_AUTHENTIC, "the challenge has been answered before")
        if len(self._answered) >= MOST_REMEMBERED:
            raise RefusedError(Reason.HUB_FULL, "the hub has no room for more logins", wait=LIFETIME / 4)
        names = self._names or {host.lower()}
        if not any(_verifies(login, login_statement(challenge, name)) for name in names):
            expected = " or ".join(sorted(names))
            raise RefusedError(
                Reason.NOT_AUTHENTIC, f"the login is not signed by its owner for this hub, which is named {expected}"
            )
        self._answered.add(challenge)
        self._order.append((issued, challenge))

    def _mac(self, head: bytes) -> bytes:
        return blake2s(head, key=self._key, digest_size=_MAC_LENGTH).digest()

    def _forget(self, now: float) -> None:
        # In order of answering, not of issue: one may stay a little longer than it must, never shorter.
        while self._order and now - self._order[0][0] > LIFETIME:
            self._answered.discard(self._order.popleft()[1])


def _verifies(login: Login, statement: bytes) -> bool:
    try:
        return PeerId(login.owner).verify(login.signature, statement)
    except ConfigurationError:  # 32 bytes that are no key; a login, and not a setting, says so
        return False
