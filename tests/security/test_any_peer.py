"""An authentic peer that says anything, in any order: no fault of ours comes to light, and every bound holds."""

import random
from collections import Counter
from dataclasses import dataclass, field, replace

from hypothesis import given, settings
from hypothesis import strategies as st

from holepunch.proto.agent import Agent, AgentOptions, State
from holepunch.proto.candidate import Candidate, CandidateKind, Interface
from holepunch.proto.checklist import MAX_PATHS
from holepunch.proto.claims import ADDRESSES, PROBES
from holepunch.proto.envelope import Envelope
from holepunch.proto.events import PathSelected
from holepunch.proto.machine import Address, CloseSocket, OpenSocket, Transmit
from holepunch.proto.nat import Mapping, NatReport
from holepunch.proto.noise import SessionKeys
from holepunch.proto.offer import Carry, Offer, OfferType
from holepunch.proto.packet import NOTHING_HEARD, Flag, Opener, Punch, Sealer, encode_punch
from holepunch.proto.seal import Seal, open_invite

from ..proto.sealing import ALICE, BOB, SESSION, WALL

OPTIONS = AgentOptions(interfaces=(Interface("45.0.0.1", 24), Interface("10.0.0.2", 24)), keeps_socket=True)

hosts = st.sampled_from(["9.9.9.9", "8.8.8.8", "45.0.0.2", "10.0.0.3", "127.0.0.1", "224.0.0.1", "2600::1", "::1"])
addresses = st.tuples(hosts, st.integers(0, 65535))
offers = st.builds(
    Offer,
    type=st.sampled_from(OfferType),
    sender=st.just(b""),
    created=st.integers(int(WALL) - 500, int(WALL) + 500),
    round=st.sampled_from([0, 0, 1, 1, 2, 3, 200, 255]),
    candidates=st.lists(st.builds(Candidate, st.sampled_from(CandidateKind), addresses), max_size=16).map(tuple),
    report=st.builds(NatReport, mapping=st.sampled_from(Mapping), hops=st.integers(0, 255)),
    carry=st.integers(0, 40).map(lambda luck: Carry.SEALED if luck == 40 else Carry.RAW),
    keeps_socket=st.booleans(),
    started=st.booleans(),
    answer=st.booleans(),
    latency=st.sampled_from([0.0, 0.1, 30.0, 6553.5]),
    reason=st.sampled_from(["", "enough"]),
)
punches = st.builds(
    Punch,
    flags=st.integers(0, 31).map(lambda bits: Flag(bits) & ~Flag.BYE),
    round=st.integers(0, 255),
    echo=st.one_of(st.integers(0, 60), st.just(NOTHING_HEARD), st.integers(0, NOTHING_HEARD)),
    observed=st.one_of(st.none(), addresses),
)
actions = st.lists(
    st.one_of(
        st.tuples(st.just("offer"), offers),
        st.tuples(st.just("punch"), punches, addresses, st.sampled_from([True, True, True, False])),
        st.tuples(st.just("junk"), st.binary(max_size=120), addresses),
        st.tuples(st.just("wait"), st.sampled_from([0.0, 0.01, 0.05, 0.3, 2.0, 6.0, 30.0])),
        st.tuples(st.just("user"), st.sampled_from(["ready", "repunch", "hurry", "mapping"])),
    ),
    max_size=25,
)


@dataclass
class Arena:
    """One honest agent, and the peer that says anything."""

    invited: bool
    now: float = 5.0
    open: set[int] = field(default_factory=set)
    most_open: int = 0
    sent: list[Transmit] = field(default_factory=list)
    caused: Counter[Address] = field(default_factory=Counter)
    """Authentic packets that we got, by where they came from."""

    def __post_init__(self) -> None:
        entropy = random.Random(3).randbytes
        me, peer = (BOB, ALICE) if self.invited else (ALICE, BOB)
        self.me, self.peer = me, peer
        if self.invited:
            self.theirs = Seal(peer, me.peer_id, SESSION, entropy)
            invite = self.theirs.seal(self._plain(OfferType.INVITE), int(WALL + 900))
            invitation = open_invite(invite, me, WALL)
            self.agent = Agent(me, peer.peer_id, OPTIONS, entropy=entropy, epoch=WALL, invitation=invitation)
        else:
            self.agent = Agent(me, peer.peer_id, OPTIONS, entropy=entropy, epoch=WALL)
        self.agent.start(self.now)
        (mine,) = self.turn()
        if self.invited:
            self.theirs.open(mine, WALL)
        else:
            self.theirs = Seal(peer, me.peer_id, mine.session, entropy, open_invite(mine, peer, WALL))
            accept = self.theirs.seal(self._plain(OfferType.ACCEPT), int(WALL + 900))
            self.agent.receive_envelope(accept, self.now)
        assert self.theirs.keys is not None
        self.keys: SessionKeys = self.theirs.keys
        label = b"i2r" if self.invited else b"r2i"
        self.sealer = Sealer(self.keys.derive(b"punch " + label))
        self.ours = self.keys.derive(b"punch " + (b"r2i" if self.invited else b"i2r"))

    def _plain(self, kind: OfferType) -> Offer:
        return Offer(type=kind, sender=self.peer.peer_id.raw, created=int(WALL), keeps_socket=True)

    def turn(self) -> list[Envelope]:
        """Does what the agent wants; returns what it posts."""
        for transmit in self.agent.datagrams_to_send(self.now):
            self.sent.append(transmit)
        while (event := self.agent.next_event()) is not None:
            if isinstance(event, OpenSocket):
                self.open.add(event.local)
                self.agent.socket_opened(event.local, ("0.0.0.0", 4000), self.now)
            elif isinstance(event, CloseSocket):
                self.open.discard(event.local)
            elif isinstance(event, PathSelected):
                assert event.remote[1] >= 0
            self.sent += self.agent.datagrams_to_send(self.now)
        self.most_open = max(self.most_open, len(self.open))
        return self.agent.envelopes_to_send(self.now)

    def act(self, action: tuple[object, ...]) -> None:
        """Does one thing to the agent."""
        match action:
            case ("offer", Offer() as offer):
                self._offer(offer)
            case ("punch", Punch() as punch, (str() as host, int() as port), bool() as echoes):
                self._punch(punch, (host, port), echoes=echoes)
            case ("junk", bytes() as data, (str() as host, int() as port)):
                self.agent.receive_datagram(data, (host, port), self.now, next(iter(self.open), 0))
            case ("wait", float() as seconds):
                self._wait(seconds)
            case ("user", str() as wish):
                self._wish(wish)
        self.turn()

    def _offer(self, offer: Offer) -> None:
        offer = replace(offer, sender=self.peer.peer_id.raw)
        if offer.type is OfferType.BYE and self.now < 60:
            return
        if offer.type is OfferType.ACCEPT or (offer.type is OfferType.INVITE and not self.invited):
            offer = replace(offer, type=OfferType.UPDATE)
        envelope = self.theirs.seal(offer, offer.created + 900)
        self.agent.receive_envelope(envelope, self.now)

    def _punch(self, punch: Punch, source: Address, *, echoes: bool) -> None:
        local = next(iter(self.open), 0)
        if echoes and self.sent:
            # From where our latest packet went, with its counter: what makes a path valid.
            latest = self.sent[-1]
            opened = Opener(self.ours).open(latest.data)
            if opened is not None:
                punch = replace(punch, echo=opened[0], flags=punch.flags | Flag.HEARD)
                source, local = latest.remote, latest.local
        data = self.sealer.seal(encode_punch(punch))
        if self.agent.recognises(data):
            self.caused[source] += 1
        self.agent.receive_datagram(data, source, self.now, local)

    def _wait(self, seconds: float) -> None:
        end = self.now + seconds
        for _ in range(20_000):
            timer = self.agent.get_timer()
            if timer is None or timer > end:
                break
            self.now = max(self.now, timer)
            self.agent.handle_timer(self.now)
            self.turn()
        else:
            raise AssertionError("its timer never rests")
        self.now = end

    def _wish(self, wish: str) -> None:
        if wish == "ready" and self.agent.state is State.ESTABLISHED:
            self.agent.ready(self.now)
        elif wish == "repunch":
            self.agent.repunch(self.now)
        elif wish == "hurry":
            self.agent.hurry(self.now)
        elif wish == "mapping":
            self.agent._mapping_changed(self.now)


@settings(max_examples=150)
@given(st.booleans(), actions)
def test_whatever_an_authentic_peer_says_nothing_breaks_and_every_bound_holds(
    invited: bool, story: list[tuple[object, ...]]
) -> None:
    arena = Arena(invited)
    for action in story:
        arena.act(action)
    arena.act(("wait", 130.0))
    checks = arena.agent.checks
    assert len(checks._paths) <= MAX_PATHS
    assert arena.most_open <= 8
    assert checks.tuples <= 32 + 100 * (arena.now - 5.0)
    proven = set(checks._claims._proven)
    unasked: Counter[Address] = Counter()
    for transmit in arena.sent:
        if transmit.ttl is None:
            unasked[transmit.remote] += 1
    strangers = {
        address: count - arena.caused[address] for address, count in unasked.items() if address[0] not in proven
    }
    epochs = 1 + int((arena.now - 5.0) / 600)
    assert all(count <= PROBES * epochs for count in strangers.values()), strangers
    assert sum(count > 0 for count in strangers.values()) <= ADDRESSES * epochs
