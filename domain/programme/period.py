"""The periods of limits: which one a programme's day belongs to, named so that names of a kind sort by time.

day 2017-06-01 · ISO week 2017-W22 · month 2017-06 · year 2017 · lifetime "ever"
"""

from datetime import date
from typing import Literal, assert_never

Per = Literal["day", "week", "month", "year", "lifetime"]

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
