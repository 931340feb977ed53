"""A mediator in virtual time: mailboxes that envelopes reach late, twice, in another order, or never."""

from collections.abc import Callable
from random import Random

from ...proto.envelope import Envelope, decode_envelope
from .internet import Internet

OnEnvelope = Callable[[Envelope], None]


class SimMediator:
    """One channel with any number of mailboxes, one per recipient.

    Every envelope is carried as bytes, so what does not decode does not arrive.  A mailbox keeps
    what it got until the envelope expires: a reader that comes later gets all of it.
    """

    def __init__(
        self,
        net: Internet,
        *,
        latency: float = 0.1,
        jitter: float = 0.0,
        loss: float = 0.0,
        duplicate: float = 0.0,
        name: str = "mediator",
    ) -> None:
        """Makes a channel.

        Args:
            net: whose time it lives in.
            latency: seconds from post to delivery.
            jitter: up to so many more, uniform and independent for each copy.
            loss: probability that an envelope is never delivered.
            duplicate: probability that it is delivered twice.
            name: of its stream of luck; two channels of one simulation need two names.
        """
        self.latency = latency
        self.jitter = jitter
        self.loss = loss
        self.duplicate = duplicate
        self.posted: list[Envelope] = []
        """Everything ever posted: what the operator of the channel sees."""
        self._net = net
        self._rng: Random = net.rng(name)
        self._readers: dict[bytes, list[OnEnvelope]] = {}
        self._boxes: dict[bytes, list[bytes]] = {}

    def post(self, envelope: Envelope) -> None:
        """Takes an envelope, which arrives later."""
        self.posted.append(envelope)
        if self._rng.random() < self.loss:
            return
        copies = 2 if self._rng.random() < self.duplicate else 1
        for _ in range(copies):
            delay = self.latency + self.jitter * self._rng.random()
            self._net.clock.post(delay, self._deliver, envelope.encode())

    def read(self, recipient: bytes, on_envelope: OnEnvelope) -> None:
        """Gives a reader everything in a mailbox (by the owner's 32 bytes), waiting and to come."""
        self._readers.setdefault(recipient, []).append(on_envelope)
        for data in list(self._boxes.get(recipient, [])):
            envelope = decode_envelope(data)
            if envelope.expires > self._net.time:
                on_envelope(envelope)

    def stop(self, recipient: bytes, on_envelope: OnEnvelope) -> None:
        """Stops giving a reader anything; harmless where it was given nothing."""
        readers = self._readers.get(recipient, [])
        if on_envelope in readers:
            readers.remove(on_envelope)

    def _deliver(self, data: bytes) -> None:
        envelope = decode_envelope(data)
        if envelope.expires <= self._net.time:
            return
        self._boxes.setdefault(envelope.recipient, []).append(data)
        for reader in list(self._readers.get(envelope.recipient, [])):
            reader(envelope)
