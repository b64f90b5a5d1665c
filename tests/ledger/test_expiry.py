from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.ledger.expiry import (
    ExpiryKind,
    ExpiryPolicy,
    LotPolicy,
    Period,
    PeriodError,
    Rounding,
    add_period,
    expires_at,
    format_period,
    last_day,
    local_date,
    parse_period,
    place,
    start_of_day,
)

NEW_YORK = ZoneInfo("America/New_York")
LJUBLJANA = ZoneInfo("Europe/Ljubljana")
YEAR_TO_MONTH_END = ExpiryPolicy(kind=ExpiryKind.ROLLING, after=Period(months=12), round_to=Rounding.END_OF_MONTH)

DAYS = st.dates(date(1971, 1, 1), date(2099, 12, 31))
ZONES = st.sampled_from(
    [
        "Europe/Ljubljana",
        "America/New_York",
        "Asia/Almaty",
        "Pacific/Apia",
        "Africa/Cairo",
        "Pacific/Kiritimati",
        "Asia/Beirut",
        "America/Sao_Paulo",
        "America/Havana",
        "Australia/Lord_Howe",
        "UTC",
    ]
).map(ZoneInfo)
PERIODS = st.builds(Period, years=st.integers(0, 5), months=st.integers(0, 30), days=st.integers(0, 400)).filter(
    lambda period: period != Period()
)


@pytest.mark.parametrize(
    ("text", "period"),
    [
        ("P12M", Period(months=12)),
        ("P14D", Period(days=14)),
        ("P1Y2M", Period(years=1, months=2)),
        ("P2W", Period(days=14)),
        ("P1Y2M3D", Period(years=1, months=2, days=3)),
    ],
)
def test_a_period_is_read_from_iso_8601(text: str, period: Period) -> None:
    assert parse_period(text) == period


@pytest.mark.parametrize(
    "text", ["", "P", "12M", "PT", "P1.5M", "P-1D", "P1D ", "p1d", "P0D", "P101Y", "P1DT", "P99999D", "P\u0661D"]
)
def test_what_is_no_period_is_refused(text: str) -> None:
    with pytest.raises(PeriodError):
        parse_period(text, time=True)


def test_a_time_of_day_is_refused_where_days_are_counted() -> None:
    with pytest.raises(PeriodError, match="time part"):
        parse_period("PT12H")

    assert parse_period("PT30M", time=True) == Period(seconds=1_800)
    assert parse_period("P1DT12H", time=True) == Period(days=1, seconds=43_200)


@given(PERIODS)
def test_a_period_is_written_as_it_is_read(period: Period) -> None:
    assert parse_period(format_period(period)) == period


def test_months_clamp_and_do_not_chain() -> None:
    january = date(2026, 1, 31)

    assert add_period(january, Period(months=1)) == date(2026, 2, 28)
    assert add_period(january, Period(months=2)) == date(2026, 3, 31)
    assert add_period(january, Period(months=1), 2) == date(2026, 3, 31)
    assert add_period(date(2024, 2, 29), Period(years=1)) == date(2025, 2, 28)
    assert add_period(date(2026, 3, 31), Period(months=1), -1) == date(2026, 2, 28)


@given(DAYS, PERIODS)
def test_a_period_leads_forward_and_back_within_what_clamping_takes(day: date, period: Period) -> None:
    later = add_period(day, period)

    assert later > day
    assert abs(add_period(later, period, -1) - day) <= timedelta(days=4)


def test_earned_on_6_july_for_a_year_to_the_month_end_is_usable_through_31_july() -> None:
    assert last_day(YEAR_TO_MONTH_END, date(2026, 7, 6)) == date(2027, 7, 31)
    assert expires_at(YEAR_TO_MONTH_END, date(2026, 7, 6), zone=NEW_YORK) == datetime(2027, 8, 1, 4, tzinfo=UTC)


@pytest.mark.parametrize(
    ("rounding", "last"),
    [
        (None, date(2026, 8, 15)),
        (Rounding.END_OF_MONTH, date(2026, 8, 31)),
        (Rounding.END_OF_QUARTER, date(2026, 9, 30)),
        (Rounding.END_OF_YEAR, date(2026, 12, 31)),
    ],
)
def test_an_expiry_is_rounded_after_adding(rounding: Rounding | None, last: date) -> None:
    policy = ExpiryPolicy(kind=ExpiryKind.ROLLING, after=Period(months=1), round_to=rounding)

    assert last_day(policy, date(2026, 7, 15)) == last


def test_a_calendar_policy_ends_on_31_december_that_day_included() -> None:
    policy = ExpiryPolicy(kind=ExpiryKind.CALENDAR)

    assert last_day(policy, date(2026, 1, 1)) == date(2026, 12, 31)
    assert last_day(policy, date(2026, 12, 31)) == date(2026, 12, 31)
    assert expires_at(policy, date(2026, 12, 31), zone=LJUBLJANA) == datetime(2026, 12, 31, 23, tzinfo=UTC)


def test_inactivity_is_counted_from_the_last_activity_and_belongs_to_the_wallet() -> None:
    policy = ExpiryPolicy(kind=ExpiryKind.INACTIVITY, after=Period(months=12))
    at = datetime(2026, 7, 6, 12, tzinfo=UTC)

    assert last_day(policy, date(2026, 7, 6)) == date(2027, 7, 6)
    assert place(LotPolicy(expiry=policy), at, posted_at=at, zone=NEW_YORK) == (None, None)


def test_value_without_a_policy_never_expires() -> None:
    at = datetime(2026, 7, 6, 12, tzinfo=UTC)

    assert place(LotPolicy(), at, posted_at=at, zone=NEW_YORK) == (None, None)


def test_pending_value_matures_at_midnight_and_its_expiry_is_counted_from_there() -> None:
    policy = LotPolicy(pending=Period(days=14), expiry=ExpiryPolicy(kind=ExpiryKind.ROLLING, after=Period(months=6)))
    earned_at = datetime(2017, 6, 2, 2, 30, tzinfo=UTC)  # 1 June, 22:30, in New York

    pending_until, gone_at = place(policy, earned_at, posted_at=earned_at, zone=NEW_YORK)

    assert pending_until == datetime(2017, 6, 15, 4, tzinfo=UTC)
    assert gone_at == datetime(2017, 12, 16, 5, tzinfo=UTC)


def test_a_late_receipt_whose_pending_time_is_over_is_spendable_at_once() -> None:
    policy = LotPolicy(pending=Period(days=14), expiry=ExpiryPolicy(kind=ExpiryKind.ROLLING, after=Period(months=6)))
    earned_at = datetime(2017, 6, 1, 12, tzinfo=UTC)
    posted_at = datetime(2017, 6, 15, 4, tzinfo=UTC)

    pending_until, gone_at = place(policy, earned_at, posted_at=posted_at, zone=NEW_YORK)

    assert pending_until is None
    assert gone_at == datetime(2017, 12, 16, 5, tzinfo=UTC)


@pytest.mark.parametrize(
    ("zone", "day", "start"),
    [
        # Clocks skip midnight: the day begins at 01:00.
        ("Africa/Cairo", date(2024, 4, 26), datetime(2024, 4, 25, 22, tzinfo=UTC)),
        ("Asia/Beirut", date(2022, 3, 27), datetime(2022, 3, 26, 22, tzinfo=UTC)),
        ("America/Sao_Paulo", date(2018, 11, 4), datetime(2018, 11, 4, 3, tzinfo=UTC)),
        # Clocks go back to 23:00 at midnight: the day begins when midnight comes for good.
        ("America/Sao_Paulo", date(2018, 2, 18), datetime(2018, 2, 18, 3, tzinfo=UTC)),
        # Midnight comes twice: the first one.
        ("America/Havana", date(2024, 11, 3), datetime(2024, 11, 3, 4, tzinfo=UTC)),
        # Clocks skip from 23:30 to 00:30: the day begins at 00:30.
        ("America/Toronto", date(1919, 3, 31), datetime(1919, 3, 31, 4, 30, tzinfo=UTC)),
        # The date does not exist at all.
        ("Pacific/Apia", date(2011, 12, 30), datetime(2011, 12, 30, 10, tzinfo=UTC)),
        ("Pacific/Apia", date(2011, 12, 31), datetime(2011, 12, 30, 10, tzinfo=UTC)),
        ("Pacific/Kiritimati", date(2026, 7, 6), datetime(2026, 7, 5, 10, tzinfo=UTC)),
        ("Asia/Almaty", date(2024, 3, 1), datetime(2024, 2, 29, 19, tzinfo=UTC)),
    ],
)
def test_a_day_starts_at_its_first_instant(zone: str, day: date, start: datetime) -> None:
    assert start_of_day(day, ZoneInfo(zone)) == start


@given(DAYS, ZONES)
def test_the_instant_before_a_day_is_another_day(day: date, zone: ZoneInfo) -> None:
    start = start_of_day(day, zone)

    assert local_date(start, zone) == day or (zone.key, day) == ("Pacific/Apia", date(2011, 12, 30))
    assert local_date(start - timedelta(seconds=1), zone) < day


@given(DAYS, st.integers(0, 40), ZONES, st.sampled_from([None, *Rounding]))
def test_what_is_earned_later_never_expires_earlier(
    day: date, later: int, zone: ZoneInfo, rounding: Rounding | None
) -> None:
    policy = ExpiryPolicy(kind=ExpiryKind.ROLLING, after=Period(months=1), round_to=rounding)

    first = expires_at(policy, day, zone=zone)
    second = expires_at(policy, day + timedelta(days=later), zone=zone)

    assert first is not None
    assert second is not None
    assert first <= second
    assert local_date(first, zone) > day
