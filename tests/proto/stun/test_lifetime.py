"""The lifetime of idle mappings, in virtual time."""

import random
from functools import partial

import pytest

from holepunch.proto.machine import Address, OpenSocket, Transmit
from holepunch.proto.nat import Filtering, Mapping
from holepunch.proto.stun.attributes import Attribute
from holepunch.proto.stun.lifetime import AGES, AgeReached, LifetimeFound, LifetimeProbe
from holepunch.proto.stun.message import decode_message
from holepunch.proto.stun.responder import Responder
from tests.proto.stun.fakenet import FakeNat, World

A, B = ("192.0.2.1", 3478), ("192.0.2.2", 3479)


def measure(nat: FakeNat, responder: Responder | None = None, loss: float = 0.0, seed: int = 0) -> LifetimeFound:
    rng = random.Random(seed)
    probe = LifetimeProbe(A, rng.randbytes)
    probe.start(0.0)
    world = World(probe, [responder or Responder(A, B)], {1: nat}, loses=lambda: rng.random() < loss)
    *ages, found = world.run(until=1000)
    assert isinstance(found, LifetimeFound)
    assert all(isinstance(event, AgeReached) for event in ages)
    assert world.source_of == {}
    assert probe.get_timer() is None
    assert len(world.sent) < 100
    return found


@pytest.mark.parametrize(
    ("lifetime", "alive", "dead"), [(30, 28, 32), (60, 58, 65), (120, 115, 125), (180, 175, 185), (1000, 300, 0)]
)
@pytest.mark.parametrize("mapping", [Mapping.ENDPOINT_INDEPENDENT, Mapping.ADDRESS_AND_PORT_DEPENDENT])
def test_the_ages_on_both_sides_of_the_lifetime_are_found(
    mapping: Mapping, lifetime: float, alive: float, dead: float
) -> None:
    assert measure(FakeNat(mapping, lifetime=lifetime)) == LifetimeFound(alive, dead)


def test_a_mapping_that_is_gone_at_once_is_less_than_the_first_age() -> None:
    assert measure(FakeNat(lifetime=2)) == LifetimeFound(0, AGES[0])


def test_loss_costs_little() -> None:
    found = [measure(FakeNat(lifetime=60), loss=0.05, seed=seed) for seed in range(20)]
    assert sum(one.alive == 58 for one in found) >= 19


def test_an_open_nat_is_measured_too() -> None:
    assert measure(FakeNat(filtering=Filtering.ENDPOINT_INDEPENDENT, lifetime=60)) == LifetimeFound(58, 65)


class Deaf(Responder):
    """Does not know RESPONSE-PORT, and answers to where the request came from."""

    def respond(self, data: bytes, remote: Address, local: int = 0) -> Transmit | None:
        answer = super().respond(data, remote, local)
        return answer and answer._replace(remote=remote)


class Refusing(Responder):
    """Refuses RESPONSE-PORT by saying nothing."""

    def respond(self, data: bytes, remote: Address, local: int = 0) -> Transmit | None:
        if decode_message(data).get(Attribute.RESPONSE_PORT):
            return None
        return super().respond(data, remote, local)


@pytest.mark.parametrize("responder", [Deaf(A), Refusing(A)], ids=["deaf", "refusing"])
def test_a_server_that_cannot_do_it_ends_it_early(responder: Responder) -> None:
    found = measure(FakeNat(), responder)
    assert found.alive == 0
    assert "RESPONSE-PORT" in found.failure


def test_a_silent_server_ends_it_early() -> None:
    found = measure(FakeNat(), Responder(("192.0.2.77", 1)))
    assert found.failure.startswith("no answer")


def test_a_pool_of_outer_addresses_cannot_be_measured() -> None:
    class Pool(FakeNat):
        def outbound(self, source: Address, remote: Address, now: float) -> Address:
            host, port = super().outbound(source, remote, now)
            return (host if source[1] % 2 else "198.51.100.8"), port

    assert "one outer address" in measure(Pool()).failure


def test_without_its_first_sockets_it_ends() -> None:
    probe = LifetimeProbe(A, partial(random.Random(0).randbytes))
    probe.start(0.0)
    event = probe.next_event()
    assert isinstance(event, OpenSocket)
    probe.socket_failed(event.local, "too many open files", 0.0)
    assert probe.next_event() == LifetimeFound(0, 0, "too many open files")
