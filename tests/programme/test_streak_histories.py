"""Streaks against the naive ones: zones, moves between them, late events in any order, closed days, goals, freezes."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Final
from zoneinfo import ZoneInfo

from hypothesis import example, given, settings
from hypothesis import strategies as st

from domain.programme.format import Streak
from domain.programme.stays import Stay, Stays
from domain.programme.streak import Occasion, record, standing
from domain.programme.streak_log import StreakLog, streak_log_documents, streak_log_from
from tests.programme.naive_streak import HOUR, Event, Move, NaiveStreak, Shown

ZONES = [
    ZoneInfo(name)
    for name in (
        "Europe/Ljubljana",
        "America/New_York",
        "Asia/Almaty",
        "Pacific/Apia",
        "Africa/Cairo",
        "Pacific/Kiritimati",
        "Pacific/Pago_Pago",
    )
]

BEGINNINGS = [
    datetime(2026, 10, 19, tzinfo=UTC),  # New York, Ljubljana and Cairo set their clocks back in the weeks after
    datetime(2026, 3, 23, tzinfo=UTC),  # Ljubljana sets its clocks forward on the 29th
    datetime(2024, 2, 26, tzinfo=UTC),  # Almaty changes its offset at the end of the 29th
    datetime(2011, 12, 26, tzinfo=UTC),  # Apia has no 30 December
    datetime(2024, 4, 22, tzinfo=UTC),  # Cairo has no midnight on 26 April
]

HOURS = {"day": 24, "week": 7 * 24, "month": 30 * 24}
"""About so long is a period; events mostly come one period after the other."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Life:
    """What happens to a member: `told` are the events with the instants at which they are told, in order."""

    begins_at: datetime
    streak: Streak
    moves: Sequence[Move]
    closed: dict[str, frozenset[date]]
    told: Sequence[tuple[datetime, Event]]
    read_at: Sequence[datetime]


@st.composite
def closed_days(draw: st.DrawFn, first: date, days: int) -> frozenset[date]:
    """Some days here and there, and one stretch of them."""
    stretch = range(draw(st.integers(0, 16)))
    begun = draw(st.integers(0, days))
    single = draw(st.frozensets(st.integers(0, days), max_size=5))
    return frozenset(first + timedelta(days=day) for day in (*single, *(begun + each for each in stretch)))


@st.composite
def lives(draw: st.DrawFn, *, latest_days: int = 9) -> Life:
    per = draw(st.sampled_from(["day", "day", "week", "month"]))
    begins_at = draw(st.sampled_from(BEGINNINGS))
    steps = draw(
        st.lists(
            st.tuples(
                st.sampled_from([1.0, 1.0, 1.0, 1.0, 0.4, 2.0, 3.0]),
                st.sampled_from([0, 0, 0, 0, 1, 24, 60, 150, 168, 24 * latest_days]),
                st.sampled_from([None, None, "shut", "open"]),
                st.sampled_from([True, True, True, True, False]),
            ),
            min_size=6,
            max_size={"day": 20, "week": 12, "month": 7}[per],
        )
    )
    events, hour = [], draw(st.integers(24, 47))
    for step, late, place, counts in steps:
        events.append((hour, late, place, counts))
        hour += int(step * HOURS[per])
    zones = draw(st.lists(st.sampled_from(ZONES), min_size=1, max_size=4))
    moved = sorted(draw(st.sets(st.integers(30, hour), min_size=len(zones) - 1, max_size=len(zones) - 1)))
    moves = [Move(begins_at + hour * HOUR, zone) for hour, zone in zip([0, *moved], zones, strict=True)]
    closed = {place: draw(closed_days(begins_at.date(), hour // 24)) for place in ("shut", "open")}
    told = [
        (begins_at + (hour + late) * HOUR, Event(begins_at + hour * HOUR, place, counts))
        for hour, late, place, counts in events
    ]
    milestones = sorted(draw(st.sets(st.integers(1, 6), max_size=3)))
    freezes = draw(st.none() | st.fixed_dictionaries({"max": st.integers(1, 3), "every": st.integers(1, 3)}))
    streak = Streak.model_validate(
        {
            "id": "regular",
            "event": "purchase",
            "period": per,
            "goal": draw(st.sampled_from([1, 1, 2])),
            "freezes": freezes,
            "milestones": [{"at": step, "award": {"points": 1}} for step in milestones],
            "name": {"en": "Regular"},
        }
    )
    told.sort(key=lambda each: each[0])
    instants = [told[-1][0], *(move.at for move in moves[1:])]
    read_at = [at + draw(st.sampled_from([0, 1, 5, 9, 14, 20, 30, 50])) * HOUR for at in instants]
    return Life(begins_at=begins_at, streak=streak, moves=moves, closed=closed, told=told, read_at=sorted(read_at))


def naive_of(life: Life) -> NaiveStreak:
    streak = life.streak
    return NaiveStreak(
        life.begins_at,
        life.moves,
        per=streak.period,
        goal=streak.goal,
        most_freezes=0 if streak.freezes is None else streak.freezes.max,
        every=1 if streak.freezes is None else streak.freezes.every,
        milestones=[milestone.at for milestone in streak.milestones],
        closed={place: tuple(days) for place, days in life.closed.items()},
    )


def stays_at(life: Life, now: datetime) -> Stays:
    first, *later = life.moves
    return (
        Stay(datetime.min.replace(tzinfo=UTC), first.zone),
        *(Stay(move.at, move.zone) for move in later if move.at <= now),
    )


def told(life: Life, log: StreakLog | None, event: Event, now: datetime) -> tuple[StreakLog | None, list[int]]:
    occasion = Occasion(occurred_at=event.at, counts_for=(life.streak.id,) if event.counts else (), place=event.place)
    recorded = record(log, [life.streak], occasion, stays=stays_at(life, now), closed=life.closed, now=now)
    log = recorded.log and streak_log_from(streak_log_documents(recorded.log))
    for found in recorded.standings.values():
        assert found == standing(log, life.streak, stays=stays_at(life, now), closed=life.closed, now=now)
    return log, [each.milestone for each in recorded.reached]


def shown(life: Life, log: StreakLog | None, now: datetime) -> Shown:
    found = standing(log, life.streak, stays=stays_at(life, now), closed=life.closed, now=now)
    return Shown(
        current=found.current,
        longest=found.longest,
        freezes_left=found.freezes_left,
        is_safe=found.is_safe,
        at_risk_at=found.at_risk_at,
    )


JOINED_BY_A_VISIT: Final = Life(
    begins_at=datetime(2026, 10, 19, tzinfo=UTC),
    streak=Streak.model_validate(
        {
            "id": "regular",
            "event": "purchase",
            "period": "day",
            "milestones": [{"at": length, "award": {"points": 1}} for length in (1, 3)],
            "name": {"en": "Regular"},
        }
    ),
    moves=[Move(datetime(2026, 10, 19, tzinfo=UTC), ZoneInfo("Europe/Ljubljana"))],
    closed={"shut": frozenset({date(2026, 10, 22)}), "open": frozenset()},
    told=[
        *(
            (datetime(2026, 10, day, 9, tzinfo=UTC), Event(datetime(2026, 10, day, 9, tzinfo=UTC), None))
            for day in (20, 21, 23)
        ),
        (datetime(2026, 10, 28, 6, tzinfo=UTC), Event(datetime(2026, 10, 22, 9, tzinfo=UTC), "shut", counts=False)),
        (datetime(2026, 11, 2, 6, tzinfo=UTC), Event(datetime(2026, 10, 27, 9, tzinfo=UTC), None)),
    ],
    read_at=[datetime(2026, 11, 2, 6, tzinfo=UTC)],
)


@given(lives())
@example(JOINED_BY_A_VISIT)
@settings(max_examples=80, deadline=None)
def test_a_streak_is_what_its_whole_history_says(life: Life) -> None:
    naive, log, to_read = naive_of(life), None, list(life.read_at)

    for now, event in life.told:
        while to_read and to_read[0] < now:
            assert shown(life, log, to_read[0]) == naive.shown(to_read[0])
            to_read.pop(0)
        log, paid = told(life, log, event, now)
        assert paid == naive.tell(event, now)

    for now in to_read:
        assert shown(life, log, now) == naive.shown(now)
