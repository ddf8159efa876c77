"""Moments: whatever others write is read or refused, and what is written is a date in any calendar."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tntcore.messaging import times


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("1970-01-01T00:00:00Z", 0),
        ("1970-01-01", 0),
        ("1970-01-01T00:00:00", 0),
        ("1970-01-01T01:00:00.001+01:00", 1),
        ("1970-01-01T24:00:00Z", 86_400_000),
        ("1970-01-01T24:00:00.00+01:00", 82_800_000),
        ("2024-W05-1", 1_706_486_400_000),
        ("9999-12-31T23:59:59-05:00", times.LATEST),
        ("9999-12-31T23:59:59.9999999Z", times.LATEST),
        ("9999-12-31T24:00:00Z", times.LATEST),
        ("0001-01-01T00:00:00Z", -62_135_596_800_000),
        ("0001-01-01T00:00:00+05:00", -62_135_596_800_000),
    ],
)
def test_what_is_read(text: str, moment: int) -> None:
    assert times.read(text) == moment


@pytest.mark.parametrize(
    "text", ["", "now", "2024-13-01", "2024-01-31T24:00:01Z", "2024-02-30T24:00:00Z", "0000-01-01",
             "10000-01-01T00:00:00Z", "2024-01-31" + " " * 100, None, 5, ["2024-01-31"]]
)  # fmt: skip
def test_what_is_no_date(text: object) -> None:
    with pytest.raises(ValueError, match=r"."):
        times.read(text)


@given(st.integers() | st.floats(allow_nan=False))
def test_whatever_the_number_it_is_written_as_a_date_that_is_read_again(number: float) -> None:
    moment = times.bounded(number)
    for written, unit in ((times.iso(moment), 1), (times.iso_seconds(moment), 1000)):
        assert datetime.fromisoformat(written).tzinfo == UTC
        assert times.read(written) == moment // unit * unit
    assert len(times.iso(moment)) == 24


@pytest.mark.parametrize(
    ("text", "local", "zoned"),
    [
        ("2024-01-31T12:00:00Z", True, True),
        ("2024-01-31T12:00:00.123456789+05:30", True, True),
        ("2024-01-31T24:00:00Z", True, True),
        ("2024-01-31T12:00:00", True, False),
        ("2024-01-31", False, False),
        ("2024-W05-1", False, False),
        ("2024-01-31 12:00:00Z", False, False),
        ("20240131T120000Z", False, False),
        ("2024-01-31T12:00Z", False, False),
        ("2024-02-30T12:00:00Z", False, False),
        ("2024-01-31T12:00:00+0530", False, False),
        ("٢٠٢٤-01-31T12:00:00Z", False, False),
        (5, False, False),
    ],
)
def test_what_is_a_date_time(text: object, local: bool, zoned: bool) -> None:
    assert times.is_date_time(text, zone=False) is local
    assert times.is_date_time(text, zone=True) is zoned
