"""When value becomes spendable and when it is gone (SEMANTICS §2.3, §2.4, §2.6).

Everything is counted in the programme's days and turned into an instant once: the first instant of a local
date, also where midnight does not exist or exists twice. The results are stored and never derived again.
"""

import calendar
import re
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from enum import StrEnum
from functools import lru_cache
from zoneinfo import ZoneInfo

MAX_YEARS = 100
"""No period is longer; dates stay far inside the calendar."""

_PERIOD = re.compile(
    r"P(?:(\d{1,5})Y)?(?:(\d{1,5})M)?(?:(\d{1,5})W)?(?:(\d{1,5})D)?"
    r"(?:T(?=\d)(?:(\d{1,7})H)?(?:(\d{1,7})M)?(?:(\d{1,7})S)?)?",
    re.ASCII,
)


class PeriodError(ValueError):
    """A duration that cannot be taken; its text is fit to be shown to the caller."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Period:
    """A calendar period: whole years, months and days, and `seconds` where a time of day may count."""

    years: int = 0
    months: int = 0
    days: int = 0
    seconds: int = 0


class ExpiryKind(StrEnum):
    ROLLING = "rolling"
    CALENDAR = "calendar"
    INACTIVITY = "inactivity"
    NONE = "none"


class Rounding(StrEnum):
    END_OF_MONTH = "end_of_month"
    END_OF_QUARTER = "end_of_quarter"
    END_OF_YEAR = "end_of_year"


@dataclass(frozen=True, slots=True, kw_only=True)
class ExpiryPolicy:
    """`after` is the period of the rolling and inactivity kinds, None for the others."""

    kind: ExpiryKind = ExpiryKind.NONE
    after: Period | None = None
    round_to: Rounding | None = None

    def __post_init__(self) -> None:
        assert (self.after is not None) == (self.kind in {ExpiryKind.ROLLING, ExpiryKind.INACTIVITY}), self


@dataclass(frozen=True, slots=True, kw_only=True)
class LotPolicy:
    """How an asset's new value is placed: unspendable for `pending`, then usable until it expires."""

    pending: Period | None = None
    expiry: ExpiryPolicy = ExpiryPolicy()


def place(
    policy: LotPolicy, earned_at: datetime, *, posted_at: datetime, zone: ZoneInfo
) -> tuple[datetime | None, datetime | None]:
    """(`pending_until`, `expires_at`) of value earned at the one instant and posted at the other.

    `pending_until` is None when the value is spendable at `posted_at`. `expires_at` is None when it does not
    expire, and for the inactivity kind, whose date belongs to the wallet: :func:`expires_at` of the day of
    its last activity. Source: SEMANTICS §2.3, §2.4, §2.6.
    """
    pending_until = None
    if policy.pending is not None:
        matures_at = start_of_day(add_period(local_date(earned_at, zone), policy.pending), zone)
        pending_until = matures_at if matures_at > posted_at else None
    if policy.expiry.kind is ExpiryKind.INACTIVITY:
        return pending_until, None
    spendable_on = local_date(pending_until or max(earned_at, posted_at), zone)
    return pending_until, expires_at(policy.expiry, spendable_on, zone=zone)


def expires_at(policy: ExpiryPolicy, spendable_on: date, *, zone: ZoneInfo) -> datetime | None:
    """The first instant at which value is gone: that of the day after its last day. None if it never is."""
    last = last_day(policy, spendable_on)
    return None if last is None else start_of_day(last + timedelta(days=1), zone)


def last_day(policy: ExpiryPolicy, spendable_on: date) -> date | None:
    """The last programme's day on which value that became spendable on that day can be used; None for always.

    For the inactivity kind the day is that of the last earning or spending.
    """
    match policy.kind:
        case ExpiryKind.NONE:
            return None
        case ExpiryKind.CALENDAR:
            return date(spendable_on.year, 12, 31)
        case ExpiryKind.ROLLING | ExpiryKind.INACTIVITY:
            assert policy.after is not None
            return _rounded(add_period(spendable_on, policy.after), policy.round_to)


@lru_cache(maxsize=4096)
def add_period(day: date, period: Period, times: int = 1) -> date:
    """The day `times` periods later; months clamp and do not chain: 31 Jan + P1M = 28 Feb, + 2 × P1M = 31 Mar."""
    assert period.seconds == 0, period
    months = day.year * 12 + day.month - 1 + (period.years * 12 + period.months) * times
    year, month = months // 12, months % 12 + 1
    clamped = date(year, month, min(day.day, _days_in(year, month)))
    return clamped + timedelta(days=period.days * times)


@lru_cache(maxsize=4096)
def start_of_day(day: date, zone: ZoneInfo) -> datetime:
    """The first instant, in UTC, of that local date.

    Where the clocks skip midnight it is the instant of the change; where midnight comes twice, the first one;
    for a date that a zone left out altogether (Apia, 2011-12-30), the start of the next.
    """
    midnight = datetime(day.year, day.month, day.day, tzinfo=zone)
    start = midnight.astimezone(UTC)
    if start.astimezone(zone).replace(tzinfo=None) == midnight.replace(tzinfo=None):
        return start
    before = midnight.replace(fold=1).astimezone(UTC)
    while start - before > timedelta(seconds=1):
        middle = before + timedelta(seconds=(start - before) // timedelta(seconds=2))
        if local_date(middle, zone) < day:
            before = middle
        else:
            start = middle
    return start


@lru_cache(maxsize=1024)
def local_date(instant: datetime, zone: ZoneInfo) -> date:
    """The date on a calendar in that zone at that instant."""
    return instant.astimezone(zone).date()


def parse_period(text: str, *, time: bool = False) -> Period:
    """An ISO 8601 duration: ``P12M``, ``P14D``, ``P1Y2M``, ``P2W``; with `time` also ``PT30M`` and ``P1DT12H``.

    Raises :class:`PeriodError` for anything else, for nothing at all (``P0D``) and for over a hundred years.
    """
    match = _PERIOD.fullmatch(text)
    if match is None or not any(match.groups()):
        raise PeriodError(f"{text!r} is not an ISO 8601 duration, such as {'PT30M' if time else 'P14D'}.")
    years, months, weeks, days, hours, minutes, seconds = (int(part or 0) for part in match.groups())
    period = Period(
        years=years,
        months=months,
        days=weeks * 7 + days,
        seconds=hours * 3600 + minutes * 60 + seconds,
    )
    if "T" in text and not time:
        raise PeriodError(f"{text!r} has a time part; whole days are counted here, such as P1D.")
    if period == Period():
        raise PeriodError(f"{text!r} is no time at all; leave it out, or say at least {'PT1S' if time else 'P1D'}.")
    if years + months / 12 + period.days / 365 + period.seconds / (365 * 86_400) > MAX_YEARS:
        raise PeriodError(f"{text!r} is more than {MAX_YEARS} years.")
    return period


def format_period(period: Period) -> str:
    """The period as ISO 8601: what :func:`parse_period` reads."""
    parts = ((period.years, "Y"), (period.months, "M"), (period.days, "D"))
    days = "".join(f"{number}{unit}" for number, unit in parts if number)
    return f"P{days}" + (f"T{period.seconds}S" if period.seconds else "")


def end_of_month(day: date) -> date:
    """The last day of that day's month."""
    return day.replace(day=_days_in(day.year, day.month))


def _rounded(day: date, rounding: Rounding | None) -> date:
    match rounding:
        case None:
            return day
        case Rounding.END_OF_MONTH:
            return end_of_month(day)
        case Rounding.END_OF_QUARTER:
            month = (day.month + 2) // 3 * 3
            return date(day.year, month, _days_in(day.year, month))
        case Rounding.END_OF_YEAR:
            return date(day.year, 12, 31)


def _days_in(year: int, month: int) -> int:
    return calendar.monthrange(year, month)[1]
