"""A second, deliberately naive streak: it keeps every event and works everything out from the beginning, each time.

It looks at each hour of a member's life, for zones whose offsets are whole hours and moves on the hour, and shares
nothing with `domain.programme.streak` but the values that go in.
"""

from collections.abc import Mapping, Sequence
from copy import copy
from datetime import UTC, date, datetime, timedelta
from typing import NamedTuple
from zoneinfo import ZoneInfo

HOUR = timedelta(hours=1)
DAY = timedelta(days=1)


class Event(NamedTuple):
    """`counts` tells whether it counts for the streak."""

    at: datetime
    place: str | None
    counts: bool = True


class Move(NamedTuple):
    at: datetime
    zone: ZoneInfo


class Shown(NamedTuple):
    """What a member is shown of the streak."""

    current: int
    longest: int
    freezes_left: int
    is_safe: bool
    at_risk_at: datetime | None


class Run(NamedTuple):
    """`unmet` are the periods that were missed since its first period, frozen or not yet followed by another."""

    first: date
    length: int
    reached: Sequence[tuple[int, date]]
    unmet: frozenset[date]


class NaiveStreak:
    """One member's streak. `begins_at` is on the hour and before everything else."""

    def __init__(
        self,
        begins_at: datetime,
        moves: Sequence[Move],
        *,
        per: str,
        goal: int = 1,
        most_freezes: int = 0,
        every: int = 1,
        milestones: Sequence[int] = (),
        closed: Mapping[str, Sequence[date]] | None = None,
    ) -> None:
        self.begins_at, self.moves, self.per, self.goal = begins_at, moves, per, goal
        self.most_freezes, self.every, self.milestones, self.closed = most_freezes, every, milestones, closed or {}
        self.hours: list[tuple[datetime, date, ZoneInfo]] = []  # those at which a period or a zone begins
        self.events: list[tuple[Event, date]] = []
        self.by_period: dict[date, list[tuple[Event, date]]] = {}
        self.paid: list[tuple[int, date]] = []

    def tell(self, event: Event, now: datetime) -> list[int]:
        """Tell of an event at an instant; the milestones that are paid for it."""
        if now - event.at > timedelta(days=7):
            return []
        on = local(event.at, self.zone_at(event.at))
        self.events.append((event, on))
        self.by_period.setdefault(self.first_of(on), []).append((event, on))
        runs, new = self.runs(now)[0], []
        for number, run in enumerate(runs):
            until = runs[number + 1].first if number + 1 < len(runs) else date.max
            for milestone, period in run.reached:
                if not any(each == milestone and run.first <= on < until for each, on in self.paid):
                    new.append((milestone, period))
        self.paid += new
        return [milestone for milestone, _ in new]

    def shown(self, now: datetime) -> Shown:
        """What is shown at an instant, at which nobody knows where the member goes next."""
        known = copy(self)
        known.moves = [move for move in self.moves if move.at <= now]
        known.hours = [hour for hour in self.hours if hour[0] <= now]
        return known.shown_for_good(now)

    def shown_for_good(self, now: datetime) -> Shown:
        runs, freezes, longest = self.runs(now)
        lives = bool(runs) and runs[-1].length > 0
        today = self.first_of(local(now, self.zone_at(now)))
        return Shown(
            current=runs[-1].length if lives else 0,
            longest=longest,
            freezes_left=freezes,
            is_safe=self.count(today) >= self.goal,
            at_risk_at=self.next_miss(now, runs[-1]) if lives else None,
        )

    def next_miss(self, now: datetime, run: Run) -> datetime:
        at = now.replace(minute=0, second=0, microsecond=0) + HOUR
        zones = {move.zone for move in self.moves}
        while True:
            if any(local(at, zone) != local(at - HOUR, zone) for zone in zones):
                later = self.runs(at)[0][-1]
                if later.unmet != run.unmet or later.length != run.length or later.first != run.first:
                    return at
            at += HOUR

    def runs(self, now: datetime) -> tuple[list[Run], int, int]:
        """All runs, a last one of length 0 if the streak is broken; the freezes left; the longest length."""
        runs: list[Run] = []
        freezes, missed, where = 0, list[date](), self.zones_by_period(now)
        for period in self.periods(now):
            if self.count(period) >= self.goal:
                if not runs or len(missed) > freezes:
                    runs.append(Run(period, 0, (), frozenset()))
                else:
                    freezes -= len(missed)
                missed = []
                runs[-1] = self.longer(runs[-1], period)
                if runs[-1].length % self.every == 0:
                    freezes = min(freezes + 1, self.most_freezes)
            elif runs and self.is_missed(period, where.get(period, set()), now):
                missed.append(period)
                runs[-1] = runs[-1]._replace(unmet=runs[-1].unmet | {period})
        longest = max((run.length for run in runs), default=0)
        if len(missed) > freezes:
            return [*runs, Run(date.max, 0, (), frozenset())], freezes, longest
        return runs, freezes - len(missed), longest

    def longer(self, run: Run, period: date) -> Run:
        length = run.length + 1
        reached = [(length, period)] if length in self.milestones else []
        return run._replace(length=length, reached=(*run.reached, *reached))

    def is_missed(self, period: date, zones: set[ZoneInfo], now: datetime) -> bool:
        everywhere = {*zones, self.zone_at(now)}
        is_over = bool(zones) and all(local(now, zone) >= self.following(period) for zone in everywhere)
        return is_over and not all(self.is_closed(day) for day in self.days_of(period))

    def count(self, period: date) -> int:
        return sum(event.counts for event, on in self.by_period.get(period, ()) if not self.is_closed(on))

    def is_closed(self, day: date) -> bool:
        visits = [(on, event.at, event.place) for event, on in self.events if event.place is not None and on <= day]
        return bool(visits) and day in self.closed.get(max(visits)[2] or "", ())

    def zones_by_period(self, now: datetime) -> dict[date, set[ZoneInfo]]:
        """The zones that the member was in, or came from, by the period that it was there: looked up at every hour."""
        at = self.hours[-1][0] if self.hours else self.begins_at
        while at <= now:
            zone = self.zone_at(at)
            period = self.first_of(local(at, zone))
            if not self.hours or self.hours[-1][1:] != (period, zone):
                self.hours.append((at, period, zone))
            at += HOUR
        found: dict[date, set[ZoneInfo]] = {}
        before: ZoneInfo | None = None
        for at, period, zone in self.hours:
            if at <= now:
                found.setdefault(period, set()).update({zone, before or zone})
                before = zone
        return found

    def periods(self, now: datetime) -> list[date]:
        dates = [on for _, on in self.events]
        day = self.first_of(min(dates, default=local(now, ZoneInfo("UTC"))))
        periods = []
        while day <= local(now, ZoneInfo("UTC")) + 2 * DAY:
            periods.append(day)
            day = self.following(day)
        return periods

    def zone_at(self, at: datetime) -> ZoneInfo:
        return [move.zone for move in self.moves if move.at <= at or move is self.moves[0]][-1]

    def days_of(self, period: date) -> list[date]:
        return [period + number * DAY for number in range((self.following(period) - period).days)]

    def following(self, period: date) -> date:
        day = period + DAY
        while self.first_of(day) == period:
            day += DAY
        return day

    def first_of(self, day: date) -> date:
        while self.per == "week" and day.weekday():
            day -= DAY
        return day.replace(day=1) if self.per == "month" else day


def local(at: datetime, zone: ZoneInfo) -> date:
    assert at.tzinfo is UTC
    return at.astimezone(zone).date()
