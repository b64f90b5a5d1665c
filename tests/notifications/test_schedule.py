"""Quiet hours and local times, over the nights on which the clocks change (SEMANTICS §10.9)."""

from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from notifications.schedule import instant_of, next_local, quiet_until, spread

TEN, EIGHT = time(22), time(8)


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).astimezone(UTC)


@pytest.mark.parametrize(
    ("zone", "evening", "end"),
    [
        ("Europe/Ljubljana", "2026-03-28T22:00+01:00", "2026-03-29T08:00+02:00"),
        ("Europe/Ljubljana", "2026-10-24T22:00+02:00", "2026-10-25T08:00+01:00"),
        ("America/New_York", "2026-03-07T22:00-05:00", "2026-03-08T08:00-04:00"),
        ("America/New_York", "2026-10-31T22:00-04:00", "2026-11-01T08:00-05:00"),
        ("Australia/Lord_Howe", "2026-10-03T22:00+10:30", "2026-10-04T08:00+11:00"),
        ("Australia/Lord_Howe", "2026-04-04T22:00+11:00", "2026-04-05T08:00+10:30"),
        ("America/Santiago", "2026-09-05T22:00-04:00", "2026-09-06T08:00-03:00"),
        ("America/Santiago", "2026-04-04T22:00-03:00", "2026-04-05T08:00-04:00"),
    ],
)
def test_quiet_hours_begin_at_ten_and_end_before_eight_on_both_nights(zone: str, evening: str, end: str) -> None:
    here, begins, ends = ZoneInfo(zone), at(evening), at(end)
    tick = timedelta(milliseconds=1)

    assert quiet_until(begins - tick, TEN, EIGHT, here) is None
    assert quiet_until(begins, TEN, EIGHT, here) == ends
    assert quiet_until(begins + timedelta(hours=2, minutes=30), TEN, EIGHT, here) == ends
    assert quiet_until(ends - tick, TEN, EIGHT, here) == ends
    assert quiet_until(ends, TEN, EIGHT, here) is None


def test_a_local_time_that_is_skipped_is_the_first_instant_after_the_gap() -> None:
    zone = ZoneInfo("Europe/Ljubljana")

    assert instant_of(date(2026, 3, 29), time(2, 30), zone) == at("2026-03-29T03:00+02:00")
    assert quiet_until(at("2026-03-29T01:59+01:00"), time(0), time(2, 30), zone) == at("2026-03-29T03:00+02:00")


def test_a_local_time_that_comes_twice_is_the_first() -> None:
    zone = ZoneInfo("Europe/Ljubljana")

    assert instant_of(date(2026, 10, 25), time(2, 30), zone) == at("2026-10-25T02:30+02:00")
    assert quiet_until(at("2026-10-25T02:30+01:00"), time(22), time(2, 30), zone) is None


def test_the_next_local_time_is_today_or_tomorrow() -> None:
    zone = ZoneInfo("Europe/Ljubljana")

    assert next_local(at("2026-07-06T10:00+02:00"), time(10), zone) == at("2026-07-06T10:00+02:00")
    assert next_local(at("2026-07-06T10:01+02:00"), time(10), zone) == at("2026-07-07T10:00+02:00")


@given(st.text(max_size=30))
def test_the_spread_is_stable_and_below_ten_minutes(salt: str) -> None:
    assert spread(salt) == spread(salt)
    assert timedelta(0) <= spread(salt) < timedelta(minutes=10)


@given(
    minutes=st.integers(0, 10 * 365 * 24 * 60),
    zone=st.sampled_from(["Europe/Ljubljana", "America/New_York", "Australia/Lord_Howe", "Asia/Kathmandu"]),
    start=st.times(),
    end=st.times(),
)
def test_after_their_end_quiet_hours_are_over(minutes: int, zone: str, start: time, end: time) -> None:
    instant, here = datetime(2020, 1, 1, tzinfo=UTC) + timedelta(minutes=minutes), ZoneInfo(zone)
    start, end = start.replace(second=0, microsecond=0), end.replace(second=0, microsecond=0)
    if start == end:
        return

    ends_at = quiet_until(instant, start, end, here)

    if ends_at is not None:
        assert instant < ends_at <= instant + timedelta(hours=26)
        assert quiet_until(ends_at, start, end, here) is None
