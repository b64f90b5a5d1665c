"""Instants and integers on their way into documents and texts, and out of them."""

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.store.codec import (
    InstantError,
    epoch_ms,
    format_instant,
    from_epoch_ms,
    parse_instant,
    to_bson,
    utc_ms,
)

instants = st.datetimes(min_value=datetime(1, 1, 2), max_value=datetime(9999, 12, 30), timezones=st.just(UTC))  # noqa: DTZ001 -- the zone comes beside it


@pytest.mark.parametrize(
    ("text", "instant"),
    [
        ("2026-11-22T14:00:00Z", datetime(2026, 11, 22, 14, tzinfo=UTC)),
        ("2026-11-22t14:00:00z", datetime(2026, 11, 22, 14, tzinfo=UTC)),
        ("2026-11-22T14:00:00+01:00", datetime(2026, 11, 22, 13, tzinfo=UTC)),
        ("2026-11-22T14:00:00.1-00:30", datetime(2026, 11, 22, 14, 30, 0, 100_000, tzinfo=UTC)),
        ("2026-11-22T14:00:00.123999999Z", datetime(2026, 11, 22, 14, 0, 0, 123_000, tzinfo=UTC)),
        ("2024-02-29T23:59:59.999-12:00", datetime(2024, 3, 1, 11, 59, 59, 999_000, tzinfo=UTC)),
    ],
)
def test_an_instant_is_read_in_utc_and_cut_to_the_millisecond(text: str, instant: datetime) -> None:
    assert parse_instant(text) == instant
    assert parse_instant(text).tzinfo is UTC


@pytest.mark.parametrize(
    "text",
    [
        "2026-11-22T14:00:00",
        "2026-11-22",
        "2026-11-22 14:00:00Z",
        "2026-11-22T14:00Z",
        "20261122T140000Z",
        "2026-W47-7T14:00:00Z",
        "2026-11-22T14:00:00,5Z",
        "2026-11-22T14:00:00.Z",
        "2026-11-22T14:00:00+01",
        "2026-11-22T14:00:00+0100",
        "2026-11-22T14:00:00Z ",
        "\u0662026-11-22T14:00:00Z",
        "",
    ],
)
def test_what_is_no_rfc_3339_instant_with_an_offset_is_refused(text: str) -> None:
    with pytest.raises(InstantError, match="is written as 2026-11-22T14:00:00Z or with an offset"):
        parse_instant(text)


@pytest.mark.parametrize(
    "text",
    [
        "2026-02-29T14:00:00Z",
        "2026-13-01T14:00:00Z",
        "2026-11-22T24:00:00Z",
        "2026-11-22T14:60:00Z",
        "2026-12-31T23:59:60Z",
        "2026-11-22T14:00:00+24:00",
        "0000-01-01T00:00:00Z",
        "0001-01-01T00:00:00+00:01",
        "9999-12-31T23:59:59-00:01",
    ],
)
def test_an_instant_that_does_not_exist_is_refused(text: str) -> None:
    with pytest.raises(InstantError, match="There is no such instant as"):
        parse_instant(text)


def test_an_instant_is_written_with_milliseconds_only_where_it_has_some() -> None:
    instant = datetime(2026, 11, 22, 15, 0, tzinfo=timezone(timedelta(hours=1)))

    assert format_instant(instant) == "2026-11-22T14:00:00Z"
    assert format_instant(instant + timedelta(milliseconds=7)) == "2026-11-22T14:00:00.007Z"
    assert format_instant(instant + timedelta(microseconds=7)) == "2026-11-22T14:00:00Z"


@given(instants)
def test_an_instant_survives_text_and_number(instant: datetime) -> None:
    cut = utc_ms(instant)

    assert timedelta(0) <= instant - cut < timedelta(milliseconds=1)
    assert parse_instant(format_instant(instant)) == cut
    assert from_epoch_ms(epoch_ms(instant)) == cut


def test_an_instant_without_a_zone_is_the_programmers_error() -> None:
    with pytest.raises(AssertionError, match="has no zone"):
        to_bson({"at": datetime(2026, 11, 22)})  # noqa: DTZ001 -- the error that is meant


@pytest.mark.parametrize("number", [2**63, -(2**63) - 1])
def test_a_number_beyond_64_bits_is_not_written(number: int) -> None:
    with pytest.raises(OverflowError, match="does not fit into 64 bits"):
        to_bson({"deep": [{"amount": number}]})
