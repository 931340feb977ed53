"""Checks every path to the peer until one is proven both ways, and agrees with the peer on one.

Each packet says whether its sender has HEARD the other on that path, and echoes the highest counter
it heard there.  A path is valid for me once a counter that I sent on it comes back.  Whoever does not
know yet that the path works sets WANT, and a WANT is answered at once, to where it came from; so one
exchange needs three packets, and no two machines answer each other for ever.

    inviter                      acceptor (has primed with low TTL: its own NAT lets us in)
      WANT                ---->
                          <----  HEARD WANT            valid here, after 1 round trip
      HEARD SELECTED WANT ---->                        valid and selected there, after 1.5
                          <----  HEARD SELECTED        confirmed here, after 2

The side that waits sends with low TTL only, until it has heard an authentic packet or is told that the
other side has sent: a packet that reaches the far NAT too early can cost the far side its mapping.  The
inviter is the controlling side (RFC 8445, 6.1.1): its SELECTED is the nomination.
"""

from collections import deque
from collections.abc import Iterable, Mapping

from ..errors import WireError
from .address import is_ipv6
from .budget import TokenBucket, TupleBudget
from .candidate import Candidate, CandidateKind
from .checkevents import PeerLeft, PeerReady, Progressed, Selected
from .claims import Claims
from .events import Event, PathValid, PeerHeard
from .machine import Address, Entropy, Transmit
from .packet import LENGTH, NOTHING_HEARD, Flag, Opener, Punch, Sealer, decode_punch, encode_punch
from .path import MAX_UNANSWERED, Path, best_of

MAX_PATHS = 64
# A better class of path may answer a moment after a worse one: wait for it one round trip of the
# worse, within these bounds; but never when nothing better is being checked.
MIN_SETTLE, MAX_SETTLE = 0.05, 0.3  # seconds
TUPLE_WAIT, ALLOWANCE_WAIT = 0.02, 1.0  # seconds until a path asks again that had no tuple, or no allowance
DEFAULT_TTL = 7  # hops, where the distance out of our NATs could not be measured


class CheckList:
    """All paths of one session; a machine whose sockets belong to someone else.

    Args:
        sealer: for the packets of our direction.
        opener: for the peer's.
        controlling: whether we nominate: the inviter does.
        entropy: random bytes for jitter.
        allowance: what all sessions with this peer share (holepunch.proto.claims).
    """

    def __init__(
        self,
        sealer: Sealer,
        opener: Opener,
        *,
        controlling: bool,
        entropy: Entropy,
        allowance: TokenBucket | None = None,
    ) -> None:
        self.selected: Path | None = None
        self.is_confirmed = False
        """Whether the peer is known to use the selected path too."""
        self.peer_ready = False
        self.packets = 0
        """Datagrams sent in all."""
        self.refused = 0
        """Datagrams that looked like ours and were forged, altered or replayed."""
        self.low_ttl: int | None = None
        """While not None, paths that were not heard get packets of this TTL only."""
        self.round = 0
        self.budget = TupleBudget()
        self.last_heard = 0.0
        """When the last authentic packet came, on any path."""
        self._sealer = sealer
        self._opener = opener
        self._controlling = controlling
        self._entropy = entropy
        self._paths: dict[tuple[int, Address], Path] = {}
        self._claims = Claims(allowance)
        self._settle_at: float | None = None
        self._selected_from = 0  # packets with at least this counter carry SELECTED for the chosen path
        self._ready_from: int | None = None
        self._echoed = -1  # the highest counter of ours that the peer has echoed
        self._newest = -1  # the highest counter of the peer's that came, on any path
        self._leaving = False
        self._out: deque[Transmit] = deque()
        self._events: deque[Event] = deque()

    # What the agent says.

    def begin(
        self, remote: Iterable[Candidate], sockets: Mapping[int, bool], now: float, *, low_ttl: int | None
    ) -> int:
        """Starts checking a peer's admissible candidates; returns how many paths that makes.

        Args:
            remote: already filtered (holepunch.proto.candidate.admissible).
            sockets: our sockets by number; True for one of IPv6.
            now: seconds.
            low_ttl: the TTL to prime with while we wait; None to check at once.
        """
        self.low_ttl = low_ttl
        count = 0
        for candidate in remote:
            address = candidate.address
            for local, ipv6 in sockets.items():
                if is_ipv6(address[0]) != ipv6:
                    continue
                path = self._path(local, address, candidate) if self._claims.admit(address, now) else None
                if path is None:
                    continue
                count += 1
                # An offer that comes again does not make us hurry: what is being primed goes on as it was.
                if low_ttl is None or path.next_send is None:
                    path.unanswered = 0
                    path.begin(now)
        self._send_due(now)
        return count

    def send_fully(self, now: float) -> None:
        """Ends the waiting: the peer has sent, or nothing else can help."""
        if self.low_ttl is None:
            return
        self.low_ttl = None
        for path in self._paths.values():
            if not path.is_heard:
                path.begin(now)
        self._send_due(now)

    def knock(self, now: float) -> int:
        """Sends one packet of full TTL to each address that was not heard, and goes on waiting; returns how many.

        A peer whose mail is slow cannot answer yet, and hears the next one.
        """
        silent = [path for path in self._paths.values() if not path.is_heard]
        return sum(self._ask(path, now) for path in silent)

    def set_ready(self, now: float) -> None:
        """Tells the peer that our user is ready, until is_ready_known."""
        if self._ready_from is None:
            self._ready_from = self._sealer.next_counter
            if self.selected is not None:
                self.selected.unanswered = 0
                self.selected.begin(now)
                self._send_due(now)

    def check(self, now: float) -> None:
        """Asks the peer for an answer on the selected path, now (consent, RFC 7675)."""
        if self.selected is not None:
            self._send(self.selected, now, want=True)

    def leave(self, now: float) -> None:
        """Says BYE thrice on the selected path; nobody answers it."""
        self._leaving = True
        if self.selected is not None:
            for _ in range(3):
                self._send(self.selected, now, want=False)

    @property
    def is_ready_known(self) -> bool:
        """Whether the peer has echoed a packet in which we said READY."""
        return self._ready_from is not None and self._echoed >= self._ready_from

    @property
    def has_heard(self) -> bool:
        """Whether any authentic packet has come at all."""
        return any(path.is_heard for path in self._paths.values())

    @property
    def tuples(self) -> int:
        """How many new 5-tuples were made."""
        return self.budget.spent

    def is_path(self, local: int, remote: Address) -> bool:
        """Tells whether a remote address is proven, so that user datagrams from it may be the peer's."""
        path = self._paths.get((local, remote))
        return path is not None and path.is_valid

    def restart(self, round_: int) -> None:
        """Begins a new round: what was proven is no longer, and only an authentic packet revives it.

        Nothing more is sent to the old paths.  A router that has lost its mappings takes a packet that
        comes in for its own, and then denies the inner host that 5-tuple for as long as they come.
        """
        self.round = round_
        self._settle_at = None
        self.is_confirmed = False
        self._paths = {}
        if self.selected is not None:
            old = self.selected
            self.selected = Path(old.local, old.remote, old.kind, old.preference, is_contacted=True)
            self._paths[old.local, old.remote] = self.selected

    # What whoever drives a machine calls.

    def recognises(self, data: bytes) -> bool:
        """Tells cheaply whether a datagram is a punch packet of this session."""
        return len(data) == LENGTH and self._opener.recognises(data)

    def receive_datagram(self, data: bytes, remote: Address, now: float, local: int = 0) -> bool:
        """Takes a datagram; returns whether it was authentic."""
        if not self.recognises(data):
            return False
        opened = self._opener.open(data)
        if opened is None:
            self.refused += 1
            return False
        counter, plaintext = opened
        try:
            punch = decode_punch(plaintext)
        except WireError:
            self.refused += 1
            return False
        path = self._path(local, remote, Candidate(CandidateKind.PEER_REFLEXIVE, remote))
        if path is not None:
            self._note(path, punch, counter, now)
        return True

    def handle_timer(self, now: float) -> None:
        """Sends what is due and settles on a path."""
        self._send_due(now)
        self._settle(now)

    def get_timer(self) -> float | None:
        """Returns when handle_timer wants to be called."""
        times = [self._settle_at, *(path.next_send for path in self._paths.values())]
        return min((at for at in times if at is not None), default=None)

    def datagrams_to_send(self, now: float) -> list[Transmit]:
        """Returns what to send now."""
        out = list(self._out)
        self._out.clear()
        return out

    def next_event(self) -> Event | None:
        """Returns PeerHeard, PathValid, Selected, Progressed, PeerReady or PeerLeft."""
        return self._events.popleft() if self._events else None

    # How it is done.

    def _path(self, local: int, remote: Address, candidate: Candidate) -> Path | None:
        path = self._paths.get((local, remote))
        if path is None:
            if len(self._paths) >= MAX_PATHS and not self._make_room():
                return None
            path = Path(local, remote, candidate.kind, candidate.preference)
            self._paths[local, remote] = path
        return path

    def _make_room(self) -> bool:
        """Forgets the path that was heard longest ago, never the selected one."""
        others = [(path.heard_at, key) for key, path in self._paths.items() if path is not self.selected]
        if others:
            del self._paths[min(others)[1]]
        return bool(others)

    def _note(self, path: Path, punch: Punch, counter: int, now: float) -> None:
        """Draws the conclusions from an authentic packet."""
        first, fresh = not path.is_heard, self._sealer.next_counter
        known = self.is_confirmed, self.is_ready_known
        newest, self._newest = counter > self._newest, max(counter, self._newest)
        self.last_heard = path.heard_at = now
        path.unanswered = 0
        if first:
            self._events.append(PeerHeard(remote=path.remote))
        if first or counter > path.heard:
            path.heard = counter
            path.peer_selected = Flag.SELECTED in punch.flags
            path.observed = punch.observed or path.observed
        became_valid = Flag.HEARD in punch.flags and path.note_echo(punch.echo, now)
        if punch.echo != NOTHING_HEARD:
            self._echoed = max(self._echoed, punch.echo)
        if became_valid:
            self._claims.prove(path.remote, now)
            path.next_send = None
            self._events.append(PathValid(remote=path.remote, kind=path.kind.value, rtt=path.rtt or 0.0))
        if Flag.BYE in punch.flags:
            self._events.append(PeerLeft())
            return
        if Flag.READY in punch.flags and not self.peer_ready:
            self.peer_ready = True
            self._events.append(PeerReady())
        # An authentic packet proves that the peer has sent: ours can spoil nothing any more.
        self.send_fully(now)
        if became_valid and path is self.selected:
            # The old path of a restarted list lives: losing it was a false alarm, or the network is back.
            self._select(path, now, confirmed=False)
        if newest or self.selected is None or not self.selected.is_valid:
            self._follow(path, now)  # a packet that was overtaken tells where the peer was
        self._settle(now)
        if self.selected is path and path.peer_selected and self._echoed >= self._selected_from:
            self.is_confirmed = True
        if known != (self.is_confirmed, self.is_ready_known):
            self._events.append(Progressed(ready=self.is_ready_known and not known[1]))
        answered = any(sent >= fresh for sent in reversed(path.sent))
        if (Flag.WANT in punch.flags or became_valid) and not answered and self._may_contact(path, now):
            self._send(path, now, want=not path.is_valid or self._awaits_answer(path))
            if first and not path.is_valid:
                path.attempt = 0
                path.schedule(now, self._entropy, low=False)

    def _awaits_answer(self, path: Path) -> bool:
        unknown = self._ready_from is not None and not self.is_ready_known
        return path is self.selected and (unknown or not self.is_confirmed)

    def _follow(self, path: Path, now: float) -> None:
        """Selects a valid path because the peer uses it."""
        if not (path.is_valid and path.peer_selected) or path is self.selected:
            return
        if not self._controlling:
            self._select(path, now, confirmed=True)
        elif self.selected is not None and path.local == self.selected.local and path.heard_at > self.selected.heard_at:
            # The peer goes on using what it selected, and its packets come from elsewhere now: its NAT
            # has given it a new mapping (a reboot, a timeout), and the old one is dead.
            self._select(path, now, confirmed=True)

    def _settle(self, now: float) -> None:
        """Nominates, when controlling: the best valid path, once nothing better may still come."""
        if not self._controlling:
            return
        valid = [path for path in self._paths.values() if path.is_valid]
        if not valid or (self.selected is not None and self.selected.is_valid):
            self._settle_at = None
            return
        best = best_of(valid)
        hopeful = any(
            path.preference > best.preference and path.next_send is not None and not path.is_valid
            for path in self._paths.values()
        )
        first_valid = min(path.valid_at for path in valid if path.valid_at is not None)
        self._settle_at = first_valid + min(max(best.rtt or 0.0, MIN_SETTLE), MAX_SETTLE)
        if not hopeful or now >= self._settle_at:
            self._settle_at = None
            self._select(best, now, confirmed=False)
            self._send_due(now)

    def _select(self, path: Path, now: float, *, confirmed: bool) -> None:
        self.selected = path
        self.is_confirmed = confirmed
        self._selected_from = self._sealer.next_counter
        for other in self._paths.values():
            other.next_send = None
        if not confirmed or (self._ready_from is not None and not self.is_ready_known):
            path.begin(now)
        self._events.append(Selected())

    def _send_due(self, now: float) -> None:
        for path in sorted(self._paths.values(), key=lambda path: -path.preference):
            if path.next_send is not None and now >= path.next_send:
                self._check_path(path, now)

    def _check_path(self, path: Path, now: float) -> None:
        if path is self.selected and path.is_valid and not self._awaits_answer(path):
            path.next_send = None
            return
        low = self.low_ttl is not None and not path.is_heard
        used_up = path.unanswered >= MAX_UNANSWERED or not (path.is_valid or self._claims.may_ask(path.remote, now))
        if used_up and not low:
            path.next_send = None
        elif self._ask(path, now, ttl=self.low_ttl if low else None):
            path.schedule(now, self._entropy, low=low)
        else:
            path.next_send = now + (ALLOWANCE_WAIT if path.is_contacted else TUPLE_WAIT)

    def _ask(self, path: Path, now: float, ttl: int | None = None) -> bool:
        """Sends a check unasked, within every budget; returns whether it was sent."""
        claimed = ttl is None and not path.is_valid
        if claimed and not self._claims.may_ask(path.remote, now):
            return False
        if not self._may_contact(path, now) or (claimed and not self._claims.ask(path.remote, now)):
            return False
        self._send(path, now, want=True, ttl=ttl)
        return True

    def _may_contact(self, path: Path, now: float) -> bool:
        """Tells whether a packet may go to a path, which costs a token if it is the first."""
        path.is_contacted = path.is_contacted or self.budget.take(now)
        return path.is_contacted

    def _send(self, path: Path, now: float, *, want: bool, ttl: int | None = None) -> None:
        flags = Flag(0)
        if path.is_heard:
            flags |= Flag.HEARD
        if want:
            flags |= Flag.WANT
        if path is self.selected:
            flags |= Flag.SELECTED
        if self._ready_from is not None:
            flags |= Flag.READY
        if self._leaving:
            flags |= Flag.BYE
        if ttl is None:
            path.unanswered += 1
        path.note_sent(self._sealer.next_counter, now)
        self.packets += 1
        observed = path.remote if path.is_heard else None
        punch = Punch(flags=flags, round=self.round, echo=path.heard, observed=observed)
        self._out.append(Transmit(self._sealer.seal(encode_punch(punch)), path.remote, ttl, path.local))
