"""Local time: when it is quiet at a member's, and when a local time comes (SEMANTICS §10.9). Pure.

A local time that the clocks skip becomes the first instant after the gap; one that comes twice is the first of the
two. So every date has each local time once.
"""

from datetime import UTC, date, datetime, time, timedelta
from typing import Final
from zoneinfo import ZoneInfo

from domain.ledger.expiry import Period, add_period, local_date
from domain.programme.programme import PILOT_SCALE, stable_share

SPREAD_SECONDS: Final = 600
"""What was held back in quiet hours goes out within this after their end: of one member together, members spread."""


def instant_of(day: date, at: time, zone: ZoneInfo) -> datetime:
    """The instant, UTC, of that local time on that date."""
    local = datetime.combine(day, at, tzinfo=zone)
    instant = local.astimezone(UTC)
    if instant.astimezone(zone).replace(tzinfo=None) == local.replace(tzinfo=None):
        return instant
    before, after = local.replace(fold=1).astimezone(UTC), instant
    while after - before > timedelta(seconds=1):
        middle = before + timedelta(seconds=(after - before) // timedelta(seconds=2))
        if middle.astimezone(zone).replace(tzinfo=None) < local.replace(tzinfo=None):
            before = middle
        else:
            after = middle
    return after


def next_local(after: datetime, at: time, zone: ZoneInfo) -> datetime:
    """The first instant at `after` or later at which that local time comes."""
    day = local_date(after, zone)
    today = instant_of(day, at, zone)
    return today if today >= after else instant_of(day + timedelta(days=1), at, zone)


def quiet_until(now: datetime, start: time, end: time, zone: ZoneInfo) -> datetime | None:
    """When the quiet hours `[start, end)` that hold at `now` end; None when none do.

    They belong to the date on which they start and go past midnight where `end` is not after `start`.
    """
    today = local_date(now, zone)
    for day in (today - timedelta(days=1), today):
        ends_on = day if end > start else day + timedelta(days=1)
        begins_at, ends_at = instant_of(day, start, zone), instant_of(ends_on, end, zone)
        if begins_at <= now < ends_at:
            return ends_at
    return None


def spread(salt: str) -> timedelta:
    """A delay in `[0, 10 minutes)`, in whole milliseconds, that is that name's own for ever."""
    return timedelta(milliseconds=stable_share("spread", salt) * SPREAD_SECONDS * 1000 // PILOT_SCALE)


def plus(instant: datetime, period: Period, zone: ZoneInfo) -> datetime:
    """That much later: whole days keep the local time of day, the time part is exact seconds."""
    if not (period.years or period.months or period.days):
        return instant + timedelta(seconds=period.seconds)
    local = instant.astimezone(zone)
    day = add_period(local.date(), Period(years=period.years, months=period.months, days=period.days))
    return instant_of(day, local.time(), zone) + timedelta(seconds=period.seconds)


def minus(instant: datetime, period: Period) -> datetime:
    """That much earlier, for windows that roll: a day is 24 hours, a month 30 days, a year 365."""
    days = period.years * 365 + period.months * 30 + period.days
    return instant - timedelta(days=days, seconds=period.seconds)
