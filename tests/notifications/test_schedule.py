"""Quiet hours and local times, over the nights on which the clocks change (SEMANTICS §10.9)."""

import itertools
from datetime import UTC, date, datetime, time, timedelta
from typing import Final
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


NIGHTS: Final = {
    "Europe/Ljubljana": (date(2026, 3, 29), date(2026, 10, 25)),
    "America/New_York": (date(2026, 3, 8), date(2026, 11, 1)),
    "Australia/Lord_Howe": (date(2026, 10, 4), date(2026, 4, 5)),
    "America/Santiago": (date(2026, 9, 6), date(2026, 4, 5)),
    "Asia/Almaty": (date(2024, 3, 1), date(2024, 3, 1)),
}
"""The days on which the clocks go forward, and back; in Almaty one day had an hour of midnight twice."""
MINUTE: Final = timedelta(minutes=1)


def minutes_around(day: date, zone: ZoneInfo) -> list[tuple[datetime, datetime]]:
    """Every minute from noon three days before to noon three days after, with its local time."""
    begins = datetime.combine(day, time(12), tzinfo=UTC) - timedelta(days=3)
    found = [begins + number * MINUTE for number in range(6 * 24 * 60)]
    return [(instant, instant.astimezone(zone).replace(tzinfo=None)) for instant in found]


def first_minute_of(wanted: datetime, minutes: list[tuple[datetime, datetime]]) -> datetime:
    """The first minute that the local clock shows as wanted, or else the first one that it shows later on that day."""
    shown = [instant for instant, local in minutes if local == wanted]
    return shown[0] if shown else next(instant for instant, local in minutes if local > wanted)


@pytest.mark.parametrize(("zone", "night"), [(zone, night) for zone in NIGHTS for night in NIGHTS[zone]])
def test_local_times_and_quiet_hours_are_those_of_a_search_minute_by_minute(zone: str, night: date) -> None:
    here = ZoneInfo(zone)
    minutes = minutes_around(night, here)
    inside = minutes[48 * 60 : -48 * 60]
    days = [night + timedelta(days=number) for number in (-1, 0, 1)]
    clock = [time(hour, minute) for hour in range(24) for minute in (0, 15, 30, 45)]

    for day, at in itertools.product(days, clock):
        wanted = datetime.combine(day, at)
        assert instant_of(day, at, here) == first_minute_of(wanted, minutes), wanted
    for at in (time(0), time(0, 30), time(1, 45), time(2), time(2, 30), time(3), time(10)):
        firsts = [first_minute_of(datetime.combine(night + timedelta(days=n), at), minutes) for n in (-1, 0, 1, 2)]
        for instant, _ in inside[::7]:
            assert next_local(instant, at, here) == next(first for first in firsts if first >= instant), (instant, at)
    for start, end in ((TEN, EIGHT), (time(23, 30), time(2, 30)), (time(0), time(2, 30)), (time(1, 30), time(3, 15))):
        spans = [
            (
                first_minute_of(datetime.combine(night + timedelta(days=n), start), minutes),
                first_minute_of(datetime.combine(night + timedelta(days=n + (end <= start)), end), minutes),
            )
            for n in (-2, -1, 0, 1)
        ]
        for instant, _ in inside[::3]:
            quiet = next((ends for begins, ends in spans if begins <= instant < ends), None)
            assert quiet_until(instant, start, end, here) == quiet, (instant, start, end)
