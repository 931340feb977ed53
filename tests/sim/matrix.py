"""What the matrix of the simulator is made of: pairs of sites, and conditions."""

from itertools import product

from holepunch.testing.simnet import KINDS, RELATIONS, Conditions

PAIRS = [*product(KINDS, KINDS), *((relation, relation) for relation in RELATIONS)]
LOSSES = (0.0, 0.02, 0.1)
RTTS = (0.02, 0.08, 0.25)  # seconds
LATENCIES = (0.1, 5.0, 30.0, 90.0)  # seconds that a mediator takes, one way
CELLS = list(product(LOSSES, RTTS, LATENCIES))


def conditions(loss: float, rtt: float) -> Conditions:
    """Returns what lies between the peers in one cell; the path lengths are a home's to a home."""
    return Conditions(loss=loss, rtt=rtt)
