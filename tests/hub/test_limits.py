"""Token buckets, and what an address counts as."""

from hypothesis import given
from hypothesis import strategies as st

from holepunch.hub.limits import Buckets, Rate, network_of


def test_a_bucket_gives_its_burst_at_once_and_then_its_rate() -> None:
    buckets = Buckets(Rate(per_second=2, burst=3))
    assert [buckets.take(b"a", 0.0) for _ in range(4)] == [0, 0, 0, 0.5]
    assert buckets.take(b"a", 0.25) == 0.25
    assert buckets.take(b"a", 0.5) == 0
    assert buckets.take(b"b", 0.5) == 0


def test_a_clock_that_goes_back_gives_nothing() -> None:
    buckets = Buckets(Rate(per_second=1, burst=1))
    assert buckets.take(b"a", 100.0) == 0
    assert buckets.take(b"a", 50.0) > 0


def test_buckets_stay_bounded_and_the_one_longest_unused_goes_first() -> None:
    buckets = Buckets(Rate(per_second=0.1, burst=1), most=3)
    for key in (b"a", b"b", b"c", b"a", b"d"):
        buckets.take(key, 0.0)
    assert len(buckets) == 3
    assert buckets.take(b"a", 0.0) > 0  # still known to be empty
    assert buckets.take(b"b", 0.0) == 0  # forgotten, so full again


@given(st.lists(st.floats(0, 100), max_size=50))
def test_never_more_than_burst_and_rate_allow(moments: list[float]) -> None:
    buckets = Buckets(Rate(per_second=1, burst=5))
    allowed = sum(buckets.take(b"a", moment) == 0 for moment in sorted(moments))
    assert allowed <= 5 + 100


def test_an_ipv6_network_is_a_64_and_a_mapped_address_is_its_ipv4_one() -> None:
    assert network_of("2001:db8::1") == network_of("2001:db8::ffff:1") != network_of("2001:db8:0:1::1")
    assert network_of("::ffff:192.0.2.1") == network_of("192.0.2.1") != network_of("192.0.2.2")
    assert network_of("fe80::1%eth0") == network_of("fe80::2")
    assert network_of("testclient") == b"testclient"
