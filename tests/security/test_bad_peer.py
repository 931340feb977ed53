"""A peer that we know lists a victim's addresses, in every way that there is: what reaches the victim is counted."""

from collections import Counter

import pytest

from holepunch.proto.agent import AgentOptions
from holepunch.proto.claims import ADDRESSES, ALLOWANCE_BURST, ALLOWANCE_RATE, PROBES, make_allowance
from holepunch.proto.machine import Address
from holepunch.testing.simnet import Conditions, Host, Internet, SimMediator, SimPeer, build

from .hostile import BadPeer, count_packets


class Scene:
    """Bob, who accepts; Mallory, whom he knows; and victims, who know nobody."""

    def __init__(self, kind: str = "eim-apdf", *, victims: int = 2, seed: int = 1, shared: bool = False) -> None:
        self.net = Internet(seed)
        world = build(self.net, "public", kind, Conditions(rtt=0.08))
        self.mediator = SimMediator(self.net, latency=0.1)
        allowance = make_allowance() if shared else None
        options = AgentOptions(keeps_socket=True, allowance=allowance)
        self.bob = SimPeer(self.net, world.b, "bob", [self.mediator], servers=world.stun, options=options)
        mallory = SimPeer(self.net, world.a, "mallory", [self.mediator], servers=world.stun)
        self.bob.know(mallory)
        self.bob.accept()
        self.victims: list[Host] = [self.net.public(f"victim {number}") for number in range(victims)]
        self.arrived = [count_packets(victim) for victim in self.victims]
        self.bad = BadPeer(self.net, self.bob, mallory, self.mediator)

    def addresses(self, victim: int, ports: range) -> list[Address]:
        """Addresses of a victim."""
        return [(self.victims[victim].address, port) for port in ports]

    @property
    def counts(self) -> Counter[Address]:
        """How many packets reached each address of each victim."""
        return Counter(address for arrived in self.arrived for address in arrived)

    def invite(self, *addresses: Address) -> None:
        """Lets Mallory invite, and wait until she has Bob's answer."""
        self.bad.invite(*addresses)
        assert self.net.run(10, until=lambda: self.bad.seal.keys is not None)

    def check(self, *, addresses: int = ADDRESSES) -> None:
        """The bound of one session: 20 for each address, 16 addresses; and that it was put to the test."""
        assert self.counts
        assert max(self.counts.values(), default=0) <= PROBES
        assert len(self.counts) <= addresses


def test_an_acceptor_that_waits_sends_a_victim_nothing_at_all() -> None:
    scene = Scene()
    scene.invite(*scene.addresses(0, range(53, 69)))
    scene.net.run(120)
    assert scene.bob.arrivals
    assert scene.counts == {}


def test_a_victim_that_is_listed_gets_20_packets_at_each_of_16_addresses() -> None:
    scene = Scene()
    scene.invite(*scene.addresses(0, range(53, 69)))
    scene.bad.start()
    scene.net.run(120)
    scene.check()
    assert len(scene.counts) == ADDRESSES


def test_inviting_again_and_again_with_other_addresses_does_not_raise_it() -> None:
    scene = Scene()
    scene.invite(*scene.addresses(0, range(1, 17)))
    for number in range(12):
        scene.bad.invite(*scene.addresses(number % 2, range(100 * number + 1, 100 * number + 17)))
        scene.net.run(1)
        scene.bad.start()
    scene.net.run(120)
    scene.check()


def test_inviting_again_and_again_with_the_same_addresses_does_not_raise_it() -> None:
    scene = Scene()
    scene.invite(*scene.addresses(0, range(53, 57)))
    for _ in range(12):
        scene.bad.invite(*scene.addresses(0, range(53, 57)))
        scene.net.run(1)
        scene.bad.start()
    scene.net.run(120)
    scene.check(addresses=4)


def test_asking_for_round_after_round_does_not_raise_it() -> None:
    scene = Scene()
    scene.invite(*scene.addresses(0, range(53, 69)))
    scene.bad.start()
    for number in range(30):
        scene.bad.ask_for_a_round(*scene.addresses(number % 2, range(100 * number + 1, 100 * number + 17)))
        scene.net.run(2)
        scene.bad.start()
        scene.net.run(3)
    scene.net.run(120)
    scene.check()


def test_asking_for_rounds_with_the_same_addresses_does_not_raise_it() -> None:
    scene = Scene()
    scene.invite(*scene.addresses(0, range(53, 57)))
    for _ in range(30):
        scene.bad.ask_for_a_round(*scene.addresses(0, range(53, 57)))
        scene.net.run(2)
        scene.bad.start()
        scene.net.run(3)
    scene.net.run(120)
    scene.check(addresses=4)


@pytest.mark.parametrize("kind", ["eim-apdf", "random-apdf", "public"])
def test_an_acceptor_that_cannot_be_found_knocks_within_the_same_bound(kind: str) -> None:
    scene = Scene(kind)
    scene.invite(*scene.addresses(0, range(53, 69)))
    scene.net.run(15)
    scene.bad.start()
    scene.net.run(300)
    scene.check()


def test_all_sessions_of_one_peer_have_one_allowance() -> None:
    scene = Scene(shared=True)
    began = scene.net.now
    for number in range(60):
        scene.bad.begin()
        scene.invite(*scene.addresses(number % 2, range(100 * number + 1, 100 * number + 17)))
        scene.net.run(1)
        scene.bad.start()
    scene.net.run(60)
    bound = ALLOWANCE_BURST + ALLOWANCE_RATE * (scene.net.now - began)
    assert sum(scene.counts.values()) <= bound
    assert max(scene.counts.values()) <= PROBES


def test_no_special_address_is_ever_probed() -> None:
    scene = Scene()
    special = [
        ("127.0.0.1", 53), ("192.168.1.1", 53), ("10.0.0.1", 53), ("169.254.169.254", 80), ("224.0.0.251", 5353),
        ("255.255.255.255", 9), ("100.64.0.1", 53), ("0.0.0.0", 53), ("192.0.2.1", 53), ("240.0.0.1", 53),
    ]  # fmt: skip
    scene.invite(*special, *scene.addresses(0, range(53, 54)))
    scene.net.run(1)
    scene.bad.start()
    scene.net.run(60)
    sent_to = {remote for _, remote in scene.bob.host.flows}
    assert sent_to.isdisjoint(special)
