"""What a wallet keeps of its streaks: enough for all that late events can still change, and no more.

Dates before `settled_on` can get no event any more, and are summed up by streak; of the dates from then on the log
knows how many events each streak counts and where the member was last. Dates are the member's own, stored once
derived: neither a move nor new rules of a zone touch them (SEMANTICS §8.3).
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date, datetime
from typing import Any, Final, NamedTuple

from domain.programme.period import Calendar

DAYS: Final = "*"
"""The key of what all streaks share; no streak is called so."""


class Visit(NamedTuple):
    """The last event of a date that had a place."""

    at: datetime
    place: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Day:
    """One date: the events that counted, by streak, and the last visit of it."""

    counts: Mapping[str, int] = field(default_factory=dict)
    visit: Visit | None = None


class Paid(NamedTuple):
    """A milestone that was paid, and the first day of the period that reached it then."""

    milestone: int
    period: date


@dataclass(frozen=True, slots=True, kw_only=True)
class Settled:
    """A streak after the last period that lies wholly before `settled_on`: the log's, unless it was dropped since.

    `length` is that of the last run, `missed` how many periods were missed since, no more than break it. `counted`
    events and `was_open` are those of the settled days of the period that `settled_on` falls into; `was_open` says
    that one of them was no closed day. `paid` are the milestones of the last run, and of what follows. `offered`
    are the milestones that the programme had when the streak last changed, `best` its longest run by then.
    """

    per: Calendar
    settled_on: date
    length: int = 0
    longest: int = 0
    best: int = 0
    freezes: int = 0
    missed: int = 0
    counted: int = 0
    was_open: bool = False
    paid: tuple[Paid, ...] = ()
    offered: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class StreakLog:
    """`place` is that of the last visit before `settled_on`; `days` are those with an event, in any order."""

    settled_on: date
    place: str | None = None
    days: Mapping[date, Day] = field(default_factory=dict)
    streaks: Mapping[str, Settled] = field(default_factory=dict)


def streak_log_documents(log: StreakLog, *, before: StreakLog | None = None) -> dict[str, dict[str, Any]]:
    """The log as states of a mechanism: one of each streak, and one of the days, under :data:`DAYS`.

    Streaks that are the same as `before` are left out.
    """
    days: dict[str, Any] = {
        "settled_on": log.settled_on.isoformat(),
        "days": {day.isoformat(): _day_document(log.days[day]) for day in sorted(log.days)},
    }
    if log.place is not None:
        days["place"] = log.place
    known = {} if before is None else before.streaks
    changed = {streak: settled for streak, settled in log.streaks.items() if settled is not known.get(streak)}
    return {DAYS: days, **{streak: _settled_document(settled) for streak, settled in changed.items()}}


def streak_log_from(documents: Mapping[str, Mapping[str, Any]]) -> StreakLog | None:
    """The log that :func:`streak_log_documents` wrote; None where there is none yet."""
    if DAYS not in documents:
        return None
    days = documents[DAYS]
    return StreakLog(
        settled_on=date.fromisoformat(days["settled_on"]),
        place=days.get("place"),
        days={
            date.fromisoformat(day): Day(
                counts=each.get("counts", {}),
                visit=Visit(each["visited_at"], each["place"]) if "place" in each else None,
            )
            for day, each in days["days"].items()
        },
        streaks={streak: _settled_from(settled) for streak, settled in documents.items() if streak != DAYS},
    )


def _day_document(day: Day) -> dict[str, Any]:
    document: dict[str, Any] = {"counts": dict(day.counts)} if day.counts else {}
    if day.visit is not None:
        document.update(visited_at=day.visit.at, place=day.visit.place)
    return document


def _settled_document(settled: Settled) -> dict[str, Any]:
    document = {name: value for name in Settled.__slots__ if (value := getattr(settled, name))}
    document["settled_on"] = settled.settled_on.isoformat()
    if settled.paid:
        document["paid"] = [{"at": paid.milestone, "period": paid.period.isoformat()} for paid in settled.paid]
    if settled.offered:
        document["offered"] = list(settled.offered)
    return document


def _settled_from(document: Mapping[str, Any]) -> Settled:
    values = {**document, "settled_on": date.fromisoformat(document["settled_on"])}
    if "paid" in document:
        values["paid"] = tuple([Paid(each["at"], date.fromisoformat(each["period"])) for each in document["paid"]])
    if "offered" in document:
        values["offered"] = tuple(document["offered"])
    return Settled(**values)
