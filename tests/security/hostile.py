"""Those who mean harm: the operator of a mediator, and a peer that we know and that has turned bad."""

from collections.abc import Callable, Sequence

from holepunch.errors import AuthenticationError, WireError
from holepunch.proto.candidate import Candidate, CandidateKind
from holepunch.proto.envelope import Envelope, Kind
from holepunch.proto.machine import Address
from holepunch.proto.nat import Mapping, NatReport
from holepunch.proto.offer import Offer, OfferType
from holepunch.proto.seal import Seal
from holepunch.testing.simnet import Host, Internet, SimMediator, SimPeer
from holepunch.testing.simnet.internet import EPOCH
from holepunch.testing.simnet.packet import Packet

Tamper = Callable[[Envelope], Sequence[Envelope]]
"""Takes what was posted; gives what is delivered instead."""


class Operator(SimMediator):
    """A mediator whose operator changes what it carries."""

    tamper: Tamper = staticmethod(lambda envelope: [envelope])

    def post(self, envelope: Envelope) -> None:
        """Takes an envelope, and delivers what it likes."""
        for number, each in enumerate(self.tamper(envelope)):
            self._net.clock.post(self.latency + number * 0.001, self._deliver, each.encode())
        self.posted.append(envelope)


class BadPeer:
    """An authentic peer that writes what it likes: it lists others' addresses, and asks for rounds.

    Args:
        net: where it is.
        target: whom it writes to; its book must have `identity`.
        peer: whose identity it uses.
        mediator: what it writes by.
    """

    def __init__(self, net: Internet, target: SimPeer, peer: SimPeer, mediator: SimMediator) -> None:
        self.net = net
        self.identity = peer.identity
        self.mediator = mediator
        self.round = 0
        self._target = target
        self._entropy = net.entropy("bad peer")
        self.seal = Seal(self.identity, target.peer_id, b"", self._entropy)
        self.begin()
        mediator.read(self.identity.peer_id.raw, self._receive)

    def begin(self) -> None:
        """Begins another session."""
        self.round = 0
        self.session = self._entropy(16)
        self.seal = Seal(self.identity, self._target.peer_id, self.session, self._entropy)

    def invite(self, *addresses: Address) -> None:
        """Invites, and claims to be at some addresses."""
        self._post(OfferType.INVITE, addresses)

    def start(self) -> None:
        """Says that it has begun to send, so that the target need not wait any more."""
        self._post(OfferType.UPDATE, (), started=True)

    def ask_for_a_round(self, *addresses: Address) -> None:
        """Asks for another round, and claims to be at some addresses."""
        self.round += 1
        self._post(OfferType.UPDATE, addresses)

    def _post(self, kind: OfferType, addresses: Sequence[Address], *, started: bool = False) -> None:
        if kind is not OfferType.INVITE and self.seal.keys is None:
            return
        wall = EPOCH + self.net.now
        offer = Offer(
            type=kind,
            sender=self.identity.peer_id.raw,
            created=int(wall),
            round=self.round,
            candidates=tuple(Candidate(CandidateKind.SERVER_REFLEXIVE, address) for address in addresses),
            report=NatReport(mapping=Mapping.ENDPOINT_INDEPENDENT),
            started=started,
            keeps_socket=True,
        )
        self.mediator.post(self.seal.seal(offer, int(wall + 900)))

    def _receive(self, envelope: Envelope) -> None:
        if envelope.session == self.session and envelope.kind is Kind.ACCEPT and self.seal.keys is None:
            try:
                self.seal.open(envelope, EPOCH + self.net.now)
            except (AuthenticationError, WireError):
                return


def count_packets(host: Host) -> list[Address]:
    """Lets a host say nothing and remember every datagram that reaches it, by where it went."""
    arrived: list[Address] = []
    host.unreachable_errors = False
    (attachment,) = host.attachments

    def note(packet: Packet) -> None:
        arrived.append(packet.dst)

    attachment.deliver = note
    return arrived
