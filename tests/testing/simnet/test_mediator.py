from holepunch.proto.envelope import Envelope, Kind
from holepunch.testing.simnet import Internet, SimMediator

ALICE, BOB = bytes(32), bytes([1] * 32)


def envelope(net: Internet, number: int = 0, *, recipient: bytes = BOB, life: float = 900) -> Envelope:
    return Envelope(
        kind=Kind.INVITE,
        session=bytes(16),
        id=number.to_bytes(16),
        recipient=recipient,
        expires=int(net.time + life),
        body=b"sealed",
    )


def test_an_envelope_arrives_after_the_latency_and_only_in_its_mailbox() -> None:
    net = Internet()
    mediator = SimMediator(net, latency=5.0)
    alice: list[Envelope] = []
    bob: list[tuple[float, Envelope]] = []
    mediator.read(ALICE, alice.append)
    mediator.read(BOB, lambda each: bob.append((net.now, each)))
    sent = envelope(net)
    mediator.post(sent)
    net.run()
    assert bob == [(5.0, sent)]
    assert not alice


def test_a_reader_that_comes_later_finds_what_has_not_expired() -> None:
    net = Internet()
    mediator = SimMediator(net, latency=1.0)
    mediator.post(envelope(net, 1, life=60))
    mediator.post(envelope(net, 2, life=600))
    net.run(100)
    found: list[Envelope] = []
    mediator.read(BOB, found.append)
    assert [each.id[-1] for each in found] == [2]


def test_an_envelope_that_expires_on_its_way_never_arrives() -> None:
    net = Internet()
    mediator = SimMediator(net, latency=90.0)
    found: list[Envelope] = []
    mediator.read(BOB, found.append)
    mediator.post(envelope(net, life=60))
    net.run()
    assert not found


def test_loss_duplicates_and_jitter_happen_as_often_as_asked() -> None:
    net = Internet()
    mediator = SimMediator(net, latency=1.0, jitter=1.0, loss=0.2, duplicate=0.1)
    found: list[int] = []
    mediator.read(BOB, lambda each: found.append(int.from_bytes(each.id)))
    for number in range(1000):
        mediator.post(envelope(net, number))
    net.run()
    assert 760 < len(set(found)) < 840
    assert 50 < len(found) - len(set(found)) < 110
    assert found != sorted(found)
    assert len(mediator.posted) == 1000


def test_a_reader_that_stops_hears_no_more() -> None:
    net = Internet()
    mediator = SimMediator(net, latency=1.0)
    found: list[Envelope] = []
    mediator.read(BOB, found.append)
    mediator.stop(BOB, found.append)
    mediator.post(envelope(net))
    net.run()
    assert not found
