"""The mailboxes of a hub: who may do what, how fast, and who is woken by it.

Nothing is queued in memory.  A reader holds a cursor and an event: a post sets the event, and the reader
fetches from the store what comes after its cursor, as fast as its own connection takes it.  So a slow
reader costs a connection and no more, and stalls nobody.
"""

import asyncio
import contextlib
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import ParamSpec, TypeVar

from ..errors import WireError
from ..log import get_logger
from ..proto.envelope import decode_envelope
from ..proto.mailbox import MAX_ENVELOPE, Delivery, Login, Reason
from .challenge import Challenges
from .limits import Buckets, Limits
from .refusal import RefusedError
from .store import Store, StoreError

log = get_logger("hub.mailboxes")

EXPIRE_EVERY = 5.0  # seconds
FETCH = 16  # envelopes read at once for one reader: at most 132 kB in memory

_P = ParamSpec("_P")
_T = TypeVar("_T")


class Reader:
    """One connection or long poll that waits for a mailbox to change."""

    def __init__(self, owner: bytes) -> None:
        self.owner = owner
        self.changed = asyncio.Event()
        self.changed.set()  # what waits already is news to it


class Mailboxes:
    """All mailboxes of one hub process.

    Args:
        store: where envelopes wait; used from one thread of this object's only.
        limits: what is allowed.
        names: what clients may call this hub; empty: whatever they connected to.
        clock: seconds since 1970.
    """

    def __init__(
        self,
        store: Store,
        limits: Limits,
        *,
        names: frozenset[str] = frozenset(),
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.limits = limits
        self.epoch = store.epoch
        self.stopping = False
        self._store = store
        self._clock = clock
        self._challenges = Challenges(names)
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="holepunch-hub-store")
        self._readers: defaultdict[bytes, set[Reader]] = defaultdict(set)
        self._networks: Counter[bytes] = Counter()
        self._logins = Buckets(limits.login_rate)
        self._by_sender = Buckets(limits.sender_rate)
        self._by_network = Buckets(limits.network_rate)

    # Coming and going --------------------------------------------------------------------------

    @contextlib.contextmanager
    def visit(self, network: bytes) -> Iterator[None]:
        """Counts a connection or request of a network while it lasts.

        Raises:
            RefusedError: there are too many, or they come too fast.
        """
        if self.stopping:
            raise RefusedError(Reason.HUB_FULL, "the hub is stopping", wait=1)
        if wait := self._logins.take(network, time.monotonic()):
            raise RefusedError(Reason.RATE, "too many connections from this network", wait=wait)
        most = self.limits.network_connections
        if self._networks[network] >= most:
            raise RefusedError(Reason.RATE, f"this network has {most} connections, the most allowed", wait=5)
        self._networks[network] += 1
        try:
            yield
        finally:
            self._networks[network] -= 1
            if not self._networks[network]:
                del self._networks[network]

    @contextlib.contextmanager
    def reading(self, owner: bytes) -> Iterator[Reader]:
        """Gives a Reader whose event is set when the owner's mailbox has something new, or the hub stops.

        Raises:
            RefusedError: the owner has too many already.
        """
        most = self.limits.owner_connections
        if len(self._readers.get(owner, ())) >= most:
            raise RefusedError(Reason.RATE, f"this mailbox has {most} readers, the most allowed", wait=5)
        reader = Reader(owner)
        self._readers[owner].add(reader)
        try:
            yield reader
        finally:
            self._readers[owner].discard(reader)
            if not self._readers[owner]:
                del self._readers[owner]

    def challenge(self) -> bytes:
        """Returns a new challenge."""
        return self._challenges.issue(time.monotonic())

    def login(self, login: Login, challenge: bytes, host: str) -> None:
        """Accepts a login, once for each challenge.

        Raises:
            RefusedError: it is not authentic.
        """
        self._challenges.check(login, challenge, host, time.monotonic())

    # Mail --------------------------------------------------------------------------------------

    async def post(self, data: bytes, *, sender: bytes, network: bytes, life: float) -> None:
        """Puts an envelope into its recipient's mailbox and wakes who reads it; the same one twice is one.

        Raises:
            RefusedError: it is none, or too large, or too much is waiting, or it comes too fast.
        """
        self._allow(sender, network)
        if len(data) > MAX_ENVELOPE:
            raise RefusedError(
                Reason.TOO_LARGE, f"the envelope has {len(data)} bytes, expected no more than {MAX_ENVELOPE}"
            )
        try:
            envelope = decode_envelope(data)
        except WireError as error:
            raise RefusedError(Reason.MALFORMED, str(error)) from error
        if life <= 0:
            raise RefusedError(Reason.MALFORMED, "the envelope has expired")
        now = self._clock()
        new = await self._do(self._store.post, envelope, data, sender=sender, network=network, life=life, now=now)
        if new:
            for reader in self._readers.get(envelope.recipient, ()):
                reader.changed.set()

    async def fetch(self, owner: bytes, cursor: int) -> list[Delivery]:
        """Returns the next envelopes of a mailbox after a cursor.

        Raises:
            RefusedError: the store failed.
        """
        return await self._do(self._store.fetch, owner, cursor, FETCH, self._clock())

    async def discard(self, message_id: bytes, *, owner: bytes, network: bytes) -> None:
        """Removes a message from the owner's mailbox.

        Raises:
            RefusedError: it comes too fast, or the store failed.
        """
        self._allow(owner, network)
        await self._do(self._store.discard, owner, message_id)

    async def healthy(self) -> int:
        """Returns how many envelopes wait, after the store has answered.

        Raises:
            RefusedError: the store failed.
        """
        await self._do(self._store.fetch, bytes(32), 0, 1, self._clock())
        return self._store.count

    # Life --------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Removes what has expired, until cancelled."""
        while True:
            try:
                await self._do(self._store.expire, self._clock())
            except RefusedError as error:
                log.warning("expiry failed", reason=error.__cause__)
            await asyncio.sleep(EXPIRE_EVERY)

    def stop(self) -> None:
        """Lets every reader go and refuses new ones."""
        self.stopping = True
        for readers in self._readers.values():
            for reader in readers:
                reader.changed.set()

    async def close(self) -> None:
        """Ends the store, after what was begun."""
        await asyncio.get_running_loop().run_in_executor(self._thread, self._store.close)
        self._thread.shutdown()

    def _allow(self, sender: bytes, network: bytes) -> None:
        now = time.monotonic()
        # The network first: a flood of new keys must not push real senders out of the other table.
        if wait := self._by_network.take(network, now):
            raise RefusedError(Reason.RATE, "this network posts too fast", wait=wait)
        if wait := self._by_sender.take(sender, now):
            raise RefusedError(Reason.RATE, "this sender posts too fast", wait=wait)

    async def _do(self, method: Callable[_P, _T], *args: _P.args, **kwargs: _P.kwargs) -> _T:
        """Calls a method of the store in its thread."""
        try:
            return await asyncio.get_running_loop().run_in_executor(self._thread, lambda: method(*args, **kwargs))
        except StoreError as error:
            log.warning("store failed", reason=error)
            raise RefusedError(Reason.HUB_FULL, "the hub's store does not work at the moment", wait=5) from error
