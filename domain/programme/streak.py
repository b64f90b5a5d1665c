"""Streaks (SEMANTICS §8.3): how many periods in a row a member met the goal. Pure; the entry carries the new log.

Nothing here depends on the order in which events arrive: the log keeps what happened in the days that a late event
can still fall into, and everything that is shown is derived from it anew. What a milestone paid is remembered, so
that it is paid once per run, whatever late events make of the runs.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, timedelta
from itertools import pairwise, zip_longest
from typing import Final, NamedTuple

from domain.programme.format import Streak
from domain.programme.period import first_day, next_start
from domain.programme.stays import Stays, date_at, earliest_date, over_at
from domain.programme.streak_log import Day, Paid, Settled, StreakLog, Visit

LATE: Final = timedelta(days=7)
"""Events that are told later than this count for no streak (SEMANTICS §8.3)."""

ClosedDays = Mapping[str, frozenset[date]]
"""Place → its closed days; places without any are left out."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Occasion:
    """An event: the streaks that it counts for, by id, and its place, the last one even if it counts for none."""

    occurred_at: datetime
    counts_for: tuple[str, ...]
    place: str | None = None


class Reached(NamedTuple):
    """A milestone to be paid."""

    streak: str
    milestone: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Recorded:
    """The log after an event, the milestones to be paid for it, and how the streaks that it touches stand then."""

    log: StreakLog | None
    reached: tuple[Reached, ...] = ()
    standings: Mapping[str, "StreakStanding"] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class StreakStanding:
    """A streak at an instant. `current` is 0 once it is broken, and `broken` is the length that it had then.

    `freezes_left` are those that missed periods have not used. `is_safe` says that the member's present period has
    met the goal. `at_risk_at` is the first instant at which one more period is over unmet, if nothing more happens;
    None while there is no streak.
    """

    current: int
    longest: int
    broken: int
    freezes_left: int
    is_safe: bool
    at_risk_at: datetime | None = None
    next_milestone: int | None = None


def record(
    log: StreakLog | None,
    streaks: Sequence[Streak],
    occasion: Occasion,
    *,
    stays: Stays,
    closed: ClosedDays,
    now: datetime,
) -> Recorded:
    """What comes of the event; the log is as it was when the event is too late.

    `stays` are the member's up to now, `streaks` all those of the programme.
    """
    if occasion.occurred_at < now - LATE:
        return Recorded(log=log)
    before = _settled(log, streaks, stays=stays, closed=closed, now=now)
    on = date_at(stays, occasion.occurred_at)
    if on < before.settled_on:
        return Recorded(log=log)
    days = {**before.days, on: _with(before.days.get(on, Day()), occasion)}
    after = StreakLog(settled_on=before.settled_on, place=before.place, days=days, streaks=before.streaks)
    shut = _shut(after, closed)
    # A visit may close days, or open them, and so join a run for a streak that the event itself does not count for.
    moves_days = shut != _shut(before, closed)
    states, reached, standings = dict(before.streaks), [], {}
    for streak in streaks:
        if moves_days or streak.id in occasion.counts_for:
            state = _noticed(streak, before, stays=stays, closed=closed, now=now)
            course = _course(streak, after, stays=stays, shut=shut, now=now)
            due = _due(course, state.paid)
            if due or course.longest != state.best:
                state = replace(state, paid=(*state.paid, *due), best=course.longest)
            states[streak.id] = state
            reached += [Reached(streak.id, paid.milestone) for paid in due]
            if due or streak.id in occasion.counts_for:
                standings[streak.id] = _standing(course, stays=stays, shut=shut, now=now)
    told = StreakLog(settled_on=before.settled_on, place=before.place, days=days, streaks=states)
    return Recorded(log=told, reached=tuple(reached), standings=standings)


def standing(
    log: StreakLog | None, streak: Streak, *, stays: Stays, closed: ClosedDays, now: datetime
) -> StreakStanding:
    """The streak at that instant, if nothing happened since the last event that the log knows."""
    log = log or StreakLog(settled_on=earliest_date(stays, now - LATE))
    shut = _shut(log, closed)
    return _standing(_course(streak, log, stays=stays, shut=shut, now=now), stays=stays, shut=shut, now=now)


def _standing(course: "_Course", *, stays: Stays, shut: frozenset[date], now: datetime) -> StreakStanding:
    """The course is followed to its next risk."""
    streak, current = course.streak, 0 if course.is_broken else course.length
    return StreakStanding(
        current=current,
        longest=course.longest,
        broken=course.length if course.is_broken else 0,
        freezes_left=course.freezes - (0 if course.is_broken else course.missed),
        is_safe=first_day(streak.period, date_at(stays, now)) in course.met,
        at_risk_at=_at_risk_at(course, stays, shut=shut, now=now) if current else None,
        next_milestone=min((each.at for each in streak.milestones if each.at > current), default=None),
    )


@dataclass(slots=True, kw_only=True)
class _Run:
    """Periods in a row: the first of them, and the milestones reached, each with its period."""

    first: date
    reached: list[Paid] = field(default_factory=list)


class _Course:
    """A streak followed from period to period, from what is settled of it.

    `next` is the first period that was not looked at, `met` are those that met the goal, and `open_until` the ends
    of unmet ones of the last run that are not over. The first run is the one that was settled.
    """

    def __init__(self, streak: Streak, settled: Settled, counts: Mapping[date, int]) -> None:
        self.streak, self.settled = streak, settled
        self.next = first_day(streak.period, settled.settled_on)
        self.met = sorted([period for period, count in counts.items() if count >= streak.goal])
        self.length, self.longest, self.missed = settled.length, settled.longest, settled.missed
        self.freezes = 0 if streak.freezes is None else min(settled.freezes, streak.freezes.max)
        self.runs = [_Run(first=date.min)]
        self.open_until: list[datetime] = []

    @property
    def is_broken(self) -> bool:
        return self.missed > self.freezes

    def meet(self) -> None:
        """The next period met the goal: it goes on with the run, missed periods frozen, or begins one."""
        if self.is_broken or not self.length:
            self.length = 0
            self.runs.append(_Run(first=self.next))
            self.open_until.clear()
        else:
            self.freezes -= self.missed
        self.missed = 0
        self.length += 1
        self.longest = max(self.longest, self.length)
        freezes = self.streak.freezes
        if freezes is not None and self.length % freezes.every == 0:
            self.freezes = min(self.freezes + 1, freezes.max)
        if self.length in [milestone.at for milestone in self.streak.milestones]:
            self.runs[-1].reached.append(Paid(self.length, self.next))
        self.next = self._following

    def fail(self, stays: Stays, shut: frozenset[date], now: datetime) -> None:
        """The next period did not meet it, which says nothing of one that was closed throughout, or never was."""
        following = self._following
        over = None if self._is_shut(shut) else over_at(stays, self.next, following)
        if over is not None and over > now:
            self.open_until.append(over)
        elif over is not None:
            self.missed += 1
        self.next = following

    @property
    def _following(self) -> date:
        following = next_start(self.streak.period, self.next)
        assert following is not None, self.streak.period
        return following

    def _is_shut(self, shut: frozenset[date]) -> bool:
        if not shut or (self.settled.was_open and self.next <= self.settled.settled_on):
            return False
        begun = max(self.next, self.settled.settled_on)
        return all(begun + timedelta(days=index) in shut for index in range((self._following - begun).days))


def _course(
    streak: Streak,
    log: StreakLog,
    *,
    stays: Stays,
    shut: frozenset[date],
    now: datetime,
    until: date | None = None,
) -> _Course:
    """The course through the periods before `until`, else through all that can be missed or met by now.

    Of who never moved, no period ends before one that is open: it goes no further after the last that met the goal.
    """
    settled = _state(log, streak)
    course = _Course(streak, settled, _counts(log, settled, streak, shut=shut))
    until = until or max([now.astimezone(UTC).date() + _AHEAD, *course.met[-1:]]) + timedelta(days=1)
    for met in [*course.met, until]:
        while course.next < min(met, until) and course.length and not course.is_broken:
            if met == until and course.open_until and len(stays) == 1:
                break
            course.fail(stays, shut, now)
        if met < until:
            course.next = met
            course.meet()
    return course


def _at_risk_at(course: _Course, stays: Stays, *, shut: frozenset[date], now: datetime) -> datetime:
    """The first end of an unmet period, open now or yet to come."""
    while not course.open_until:
        course.fail(stays, shut, now)
    return min(course.open_until)


def _settled(
    log: StreakLog | None, streaks: Sequence[Streak], *, stays: Stays, closed: ClosedDays, now: datetime
) -> StreakLog:
    """The log with all dates summed up that no event can fall on any more."""
    settled_on = earliest_date(stays, now - LATE)
    if log is None:
        return StreakLog(settled_on=settled_on)
    if settled_on <= log.settled_on:
        return log
    shut = _shut(log, closed)
    visits = [(day, each.visit) for day, each in log.days.items() if day < settled_on and each.visit is not None]
    states = {streak.id: _summed_up(streak, log, settled_on, stays=stays, shut=shut, now=now) for streak in streaks}
    return StreakLog(
        settled_on=settled_on,
        place=max(visits)[1].place if visits else log.place,
        days={day: each for day, each in log.days.items() if day >= settled_on},
        streaks={**log.streaks, **states},
    )


def _summed_up(
    streak: Streak, log: StreakLog, settled_on: date, *, stays: Stays, shut: frozenset[date], now: datetime
) -> Settled:
    before, until = _state(log, streak), first_day(streak.period, settled_on)
    course = _course(streak, log, stays=stays, shut=shut, now=now, until=until)
    run = course.runs[-1]
    begun = max(until, before.settled_on)
    days = [begun + timedelta(days=index) for index in range((settled_on - begun).days)]
    is_same = first_day(streak.period, before.settled_on) == until
    return replace(
        before,
        settled_on=settled_on,
        length=course.length,
        longest=course.longest,
        freezes=course.freezes,
        missed=course.missed,
        counted=(before.counted if is_same else 0) + sum(_counted(log, day, streak, shut) for day in days),
        was_open=(before.was_open and is_same) or any(day not in shut for day in days),
        paid=tuple(
            paid
            for paid in before.paid
            if paid.period >= until or (paid.period >= run.first and paid.milestone > course.length)
        ),
    )


def _state(log: StreakLog, streak: Streak) -> Settled:
    """What is settled of the streak; nothing for a new one, and for one whose periods were other ones."""
    state = log.streaks.get(streak.id)
    if state is None or state.per != streak.period:
        return Settled(per=streak.period, settled_on=log.settled_on)
    return state


def _noticed(streak: Streak, log: StreakLog, *, stays: Stays, closed: ClosedDays, now: datetime) -> Settled:
    """The state, with what was reached before the programme offered something for it set down as paid."""
    state = _state(log, streak)
    offered = tuple(milestone.at for milestone in streak.milestones)
    if offered == state.offered:
        return state
    course = _course(streak, log, stays=stays, shut=_shut(log, closed), now=now)
    passed = [paid for paid in _due(course, state.paid) if paid.milestone not in state.offered]
    return replace(state, paid=(*state.paid, *passed), offered=offered)


def _due(course: _Course, paid: Iterable[Paid]) -> list[Paid]:
    """The milestones reached that were not paid in their run: since its first period, before that of the next run."""
    due: list[Paid] = []
    if not any(run.reached for run in course.runs):
        return due
    for run, following in zip_longest(course.runs, course.runs[1:]):
        has = {
            each.milestone
            for each in paid
            if run.first <= each.period and (not following or each.period < following.first)
        }
        due += [each for each in run.reached if each.milestone not in has]
    return due


def _counts(log: StreakLog, settled: Settled, streak: Streak, *, shut: frozenset[date]) -> dict[date, int]:
    """Events by period: those of its settled days, and those of the others that were not closed."""
    counts = {first_day(streak.period, settled.settled_on): settled.counted}
    for day in log.days:
        if counted := _counted(log, day, streak, shut):
            period = first_day(streak.period, day)
            counts[period] = counts.get(period, 0) + counted
    return counts


def _counted(log: StreakLog, day: date, streak: Streak, shut: frozenset[date]) -> int:
    return log.days[day].counts.get(streak.id, 0) if day in log.days and day not in shut else 0


def _shut(log: StreakLog, closed: ClosedDays) -> frozenset[date]:
    """The closed days of the place where the member was last, on each date (SEMANTICS §8.3)."""
    visits = sorted([(day, each.visit.place) for day, each in log.days.items() if each.visit is not None])
    if closed.keys().isdisjoint([log.place, *(place for _, place in visits)]):
        return _NEVER_SHUT
    stretches = [(date.min, log.place), *visits, (date.max, None)]
    return frozenset(
        day
        for (begin, place), (end, _) in pairwise(stretches)
        for day in closed.get(place or "", ())
        if begin <= day < end
    )


def _with(day: Day, occasion: Occasion) -> Day:
    counts = dict(day.counts)
    for streak in occasion.counts_for:
        counts[streak] = counts.get(streak, 0) + 1
    visit = day.visit
    if occasion.place is not None:
        here = Visit(occasion.occurred_at, occasion.place)
        visit = here if visit is None else max(visit, here)
    return Day(counts=counts, visit=visit)


_NEVER_SHUT: Final[frozenset[date]] = frozenset()

_AHEAD: Final = timedelta(days=2)
"""No zone is so far ahead of UTC; what is later cannot be missed yet."""
