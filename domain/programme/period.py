"""The periods of limits: which one a programme's day belongs to, named so that names of a kind sort by time.

day 2017-06-01 · ISO week 2017-W22 · month 2017-06 · year 2017 · lifetime "ever"
"""

from datetime import date, timedelta
from typing import Literal, assert_never

Per = Literal["day", "week", "month", "year", "lifetime"]
Calendar = Literal["day", "week", "month"]

EVER = "ever"


def period_key(per: Per, day: date) -> str:
    """The name of the period of that kind that the programme's day belongs to."""
    match per:
        case "day":
            return day.isoformat()
        case "week":
            year, week, _ = day.isocalendar()
            return f"{year}-W{week:02}"
        case "month":
            return f"{day.year:04}-{day.month:02}"
        case "year":
            return f"{day.year:04}"
        case "lifetime":
            return EVER
    assert_never(per)


def is_past(key: str, oldest_day: date) -> bool:
    """Whether the named period is over before that day, so that no event from that day on falls into it."""
    if key == EVER:
        return False
    _, _, rest = key.partition("-")
    if not rest:
        return key < period_key("year", oldest_day)
    if rest.startswith("W"):
        return key < period_key("week", oldest_day)
    return key < period_key("day" if "-" in rest else "month", oldest_day)


def first_day(per: Calendar, day: date) -> date:
    """The first day of the period that the day belongs to: an ISO week begins on Monday."""
    match per:
        case "day":
            return day
        case "week":
            return day - timedelta(days=day.isoweekday() - 1)
        case "month":
            return day.replace(day=1)
    assert_never(per)


def next_start(per: Per, day: date) -> date | None:
    """The first day of the period after the one that the day belongs to; None for the lifetime."""
    match per:
        case "day":
            return day + timedelta(days=1)
        case "week":
            return day + timedelta(days=8 - day.isoweekday())
        case "month":
            return date(day.year + day.month // 12, day.month % 12 + 1, 1)
        case "year":
            return date(day.year + 1, 1, 1)
        case "lifetime":
            return None
    assert_never(per)
