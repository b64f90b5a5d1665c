"""What a wallet keeps of its streaks: enough for all that late events can still change, and no more.

Dates before `settled_on` can get no event any more, and are summed up by streak; of the dates from then on the log
knows how many events each streak counts and where the member was last. Dates are the member's own, stored once
derived: neither a move nor new rules of a zone touch them (SEMANTICS §8.3).
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date, datetime
from typing import Any, NamedTuple

from domain.programme.period import Calendar


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
    are the milestones that the programme had when the streak last changed.
    """

    per: Calendar
    settled_on: date
    length: int = 0
    longest: int = 0
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


def streak_log_document(log: StreakLog) -> dict[str, Any]:
    """The log as entries and wallets store it."""
    document: dict[str, Any] = {
        "settled_on": log.settled_on.isoformat(),
        "days": {day.isoformat(): _day_document(log.days[day]) for day in sorted(log.days)},
        "streaks": {streak: _settled_document(settled) for streak, settled in log.streaks.items()},
    }
    if log.place is not None:
        document["place"] = log.place
    return document


def streak_log_from(document: Mapping[str, Any]) -> StreakLog:
    """The log that :func:`streak_log_document` wrote."""
    return StreakLog(
        settled_on=date.fromisoformat(document["settled_on"]),
        place=document.get("place"),
        days={
            date.fromisoformat(day): Day(
                counts=each.get("counts", {}),
                visit=Visit(each["visited_at"], each["place"]) if "place" in each else None,
            )
            for day, each in document["days"].items()
        },
        streaks={streak: _settled_from(settled) for streak, settled in document["streaks"].items()},
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
    return Settled(
        **{
            **document,
            "settled_on": date.fromisoformat(document["settled_on"]),
            "paid": tuple(Paid(each["at"], date.fromisoformat(each["period"])) for each in document.get("paid", ())),
            "offered": tuple(document.get("offered", ())),
        }
    )
