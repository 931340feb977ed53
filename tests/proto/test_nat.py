"""The NAT report: what goes over the wire comes back, and any bytes are a report or a WireError."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holepunch.errors import WireError
from holepunch.proto.nat import Allocation, Filtering, Mapping, NatReport, decode_report, encode_report
from holepunch.proto.wire import Reader, Writer

LENGTH = 16

reports = st.builds(
    NatReport,
    mapping=st.sampled_from(Mapping),
    filtering=st.sampled_from(Filtering),
    allocation=st.sampled_from(Allocation),
    port_delta=st.integers(-0x8000, 0x7FFF),
    port_low=st.integers(0, 65535),
    port_high=st.integers(0, 65535),
    hairpin=st.sampled_from([None, False, True]),
    hops=st.integers(0, 255),
    lifetime=st.integers(0, 0xFFFFFFFF).map(float),
)


def encoded(report: NatReport) -> bytes:
    writer = Writer()
    encode_report(writer, report)
    return writer.getvalue()


@given(reports)
def test_a_report_survives_the_wire(report: NatReport) -> None:
    reader = Reader(encoded(report))
    assert decode_report(reader) == report
    reader.end()


@given(st.binary(min_size=0, max_size=32))
def test_any_bytes_are_a_report_or_a_wire_error(data: bytes) -> None:
    try:
        report = decode_report(Reader(data))
    except WireError:
        return
    assert isinstance(report, NatReport)


@pytest.mark.parametrize(("at", "value"), [(0, 5), (1, 4), (2, 5), (9, 3)])
def test_a_value_outside_its_enumeration_is_refused(at: int, value: int) -> None:
    data = bytearray(encoded(NatReport()))
    data[at] = value
    with pytest.raises(WireError):
        decode_report(Reader(bytes(data)))


def test_only_mappings_that_change_with_the_destination_are_dependent() -> None:
    assert [mapping for mapping in Mapping if mapping.is_dependent] == [
        Mapping.ADDRESS_DEPENDENT,
        Mapping.ADDRESS_AND_PORT_DEPENDENT,
    ]


def test_a_report_says_nothing_until_something_is_known() -> None:
    report = NatReport()
    assert report.mapping is Mapping.UNKNOWN
    assert report.hairpin is None
    assert len(encoded(report)) == LENGTH
