"""The numbers of SEMANTICS §8.3. Days are those of Ljubljana, two hours before UTC in summer, unless said otherwise."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from domain.programme.format import Streak
from domain.programme.stays import Stay, settled_in
from domain.programme.streak import Occasion, StreakStanding, record, standing
from domain.programme.streak_log import StreakLog, streak_log_documents, streak_log_from

LJUBLJANA, NEW_YORK = ZoneInfo("Europe/Ljubljana"), ZoneInfo("America/New_York")
ALMATY, APIA = ZoneInfo("Asia/Almaty"), ZoneInfo("Pacific/Apia")


@dataclass(slots=True, kw_only=True)
class Member:
    """One member with one streak, who lives in a zone until he moves."""

    streak: Streak
    stays: Sequence[Stay] = settled_in(LJUBLJANA)
    closed: Mapping[str, frozenset[date]] = field(default_factory=dict)
    log: StreakLog | None = None

    def does(self, at: datetime, *, told_at: datetime | None = None, place: str | None = None) -> list[int]:
        """Something that counts; the milestones that are paid for it."""
        return self._tell(Occasion(occurred_at=at, counts_for=(self.streak.id,), place=place), told_at or at)

    def visits(self, at: datetime, *, place: str, told_at: datetime | None = None) -> None:
        """Something that counts for nothing, somewhere."""
        self._tell(Occasion(occurred_at=at, counts_for=(), place=place), told_at or at)

    def moves(self, at: datetime, zone: ZoneInfo) -> None:
        self.stays = (*self.stays, Stay(at, zone))

    def at(self, now: datetime) -> StreakStanding:
        return standing(self.log, self.streak, stays=self.stays, closed=self.closed, now=now)

    def length(self, now: datetime) -> int:
        return self.at(now).current

    def _tell(self, occasion: Occasion, now: datetime) -> list[int]:
        recorded = record(self.log, [self.streak], occasion, stays=self.stays, closed=self.closed, now=now)
        self.log = recorded.log and streak_log_from(streak_log_documents(recorded.log))
        return [each.milestone for each in recorded.reached]


def member(
    per: str = "day",
    *,
    goal: int = 1,
    freezes: tuple[int, int] | None = None,
    milestones: Sequence[int] = (),
    zone: ZoneInfo = LJUBLJANA,
    closed: Mapping[str, Sequence[date]] | None = None,
) -> Member:
    """`freezes` are at most how many, and one for how many periods."""
    streak = Streak.model_validate(
        {
            "id": "regular",
            "event": "purchase",
            "period": per,
            "goal": goal,
            "freezes": None if freezes is None else {"max": freezes[0], "every": freezes[1]},
            "milestones": [{"at": milestone, "award": {"points": 1}} for milestone in milestones],
            "name": {"en": "Regular"},
        }
    )
    days = {place: frozenset(days) for place, days in (closed or {}).items()}
    return Member(streak=streak, stays=settled_in(zone), closed=days)


def june(day: int, hour: int = 12) -> datetime:
    """An hour of June 2026, UTC. The first is a Monday."""
    return datetime(2026, 6, day, hour, tzinfo=UTC)


def test_each_day_that_is_met_adds_one_and_many_events_of_a_day_are_one() -> None:
    ana = member()

    for day, hour in [(1, 8), (1, 9), (2, 20), (3, 6), (3, 21)]:
        ana.does(june(day, hour))

    assert ana.at(june(3, 21)) == StreakStanding(
        current=3, longest=3, broken=0, freezes_left=0, is_safe=True, at_risk_at=june(4, 22)
    )


def test_a_streak_breaks_by_itself_at_the_end_of_the_first_day_without() -> None:
    ana = member()
    ana.does(june(1))
    ana.does(june(2))

    last_moment = june(3, 22) - timedelta(milliseconds=1)

    assert ana.at(last_moment) == StreakStanding(
        current=2, longest=2, broken=0, freezes_left=0, is_safe=False, at_risk_at=june(3, 22)
    )
    assert ana.at(june(3, 22)) == StreakStanding(current=0, longest=2, broken=2, freezes_left=0, is_safe=False)
    assert ana.does(june(10)) == []
    assert ana.length(june(10)) == 1


def test_before_anything_happened_there_is_no_streak() -> None:
    ana = member(milestones=[3])

    assert ana.at(june(1)) == StreakStanding(
        current=0, longest=0, broken=0, freezes_left=0, is_safe=False, next_milestone=3
    )


def test_both_hours_of_an_autumn_night_are_one_day_and_a_spring_day_of_23_hours_is_one() -> None:
    ana, bor = member(goal=2), member()

    ana.does(datetime(2026, 10, 25, 0, 30, tzinfo=UTC))
    ana.does(datetime(2026, 10, 25, 1, 30, tzinfo=UTC))
    bor.does(datetime(2026, 3, 28, 22, 30, tzinfo=UTC))
    bor.does(datetime(2026, 3, 28, 23, 30, tzinfo=UTC))
    bor.does(datetime(2026, 3, 29, 21, 59, tzinfo=UTC))
    bor.does(datetime(2026, 3, 29, 22, 0, tzinfo=UTC))

    assert ana.length(datetime(2026, 10, 25, 2, tzinfo=UTC)) == 1
    assert ana.at(datetime(2026, 10, 25, 2, tzinfo=UTC)).at_risk_at == datetime(2026, 10, 26, 23, tzinfo=UTC)
    assert bor.length(datetime(2026, 3, 29, 22, 0, tzinfo=UTC)) == 3


@pytest.mark.parametrize(
    ("per", "first", "second", "at_risk"),
    [
        ("week", june(7, 21), june(7, 22), june(21, 22)),
        ("month", datetime(2026, 5, 31, 21, 59, tzinfo=UTC), datetime(2026, 5, 31, 22, tzinfo=UTC), None),
    ],
)
def test_weeks_are_iso_weeks_and_months_those_of_the_members_calendar(
    per: str, first: datetime, second: datetime, at_risk: datetime | None
) -> None:
    ana = member(per)

    ana.does(first)
    ana.does(second)

    assert ana.length(second) == 2
    assert ana.at(second).at_risk_at == (at_risk or datetime(2026, 7, 31, 22, tzinfo=UTC))


def test_a_goal_is_so_many_events_in_one_period() -> None:
    ana = member("week", goal=3)

    ana.does(june(1))
    ana.does(june(1))
    assert ana.at(june(1)) == StreakStanding(current=0, longest=0, broken=0, freezes_left=0, is_safe=False)
    ana.does(june(7))

    assert ana.at(june(7)) == StreakStanding(
        current=1, longest=1, broken=0, freezes_left=0, is_safe=True, at_risk_at=june(14, 22)
    )


def test_freezes_are_granted_every_n_periods_up_to_the_maximum_and_each_missed_period_uses_one() -> None:
    ana = member(freezes=(2, 2))
    for day in range(1, 7):
        ana.does(june(day))

    assert ana.at(june(6)).freezes_left == 2
    assert ana.at(june(8)).at_risk_at == june(8, 22)
    assert (ana.at(june(8)).current, ana.at(june(8)).freezes_left) == (6, 1)
    ana.does(june(9))

    frozen = ana.at(june(9))
    assert (frozen.current, frozen.freezes_left, frozen.longest) == (7, 0, 7)


def test_freezes_that_are_too_few_for_all_missed_periods_are_not_used_and_the_streak_is_broken() -> None:
    ana = member(freezes=(2, 2))
    for day in range(1, 5):
        ana.does(june(day))

    assert ana.at(june(7)).current == 4
    assert ana.at(june(7, 22)) == StreakStanding(current=0, longest=4, broken=4, freezes_left=2, is_safe=False)
    ana.does(june(8))

    assert (ana.length(june(8)), ana.at(june(8)).freezes_left) == (1, 2)


def test_a_late_event_is_set_in_its_own_period_and_the_freeze_of_it_comes_back() -> None:
    ana = member(freezes=(1, 3))
    for day in (1, 2, 3, 5):
        ana.does(june(day))
    assert (ana.length(june(5)), ana.at(june(5)).freezes_left) == (4, 0)

    ana.does(june(4), told_at=june(5, 15))

    assert (ana.length(june(5, 15)), ana.at(june(5, 15)).freezes_left) == (5, 1)


def test_a_late_event_joins_two_runs_within_seven_days_and_does_nothing_after_them() -> None:
    in_time, too_late = member(), member()
    for ana in (in_time, too_late):
        for day in (1, 2, 4, 5):
            ana.does(june(day))

    in_time.does(june(3), told_at=june(3) + timedelta(days=7))
    too_late.does(june(3), told_at=june(3) + timedelta(days=7, milliseconds=1))

    assert (in_time.at(june(5)).current, in_time.at(june(10)).longest) == (5, 5)
    assert (too_late.at(june(5)).current, too_late.at(june(10)).longest) == (2, 2)


def test_a_milestone_pays_once_per_run() -> None:
    ana = member(milestones=[2, 3])

    paid = [ana.does(june(day)) for day in (1, 2, 2, 3, 5, 6, 7)]

    assert paid == [[], [2], [], [3], [], [2], [3]]
    assert ana.at(june(3)).next_milestone is None
    assert ana.at(june(30)).next_milestone == 2


def test_a_late_event_that_joins_two_runs_pays_nothing_that_one_of_them_was_paid() -> None:
    ana = member(milestones=[2, 3, 5])
    for day in (1, 2):
        ana.does(june(day))
    assert [ana.does(june(day)) for day in (4, 5)] == [[], [2]]

    assert ana.does(june(3), told_at=june(6)) == [3, 5]
    assert ana.does(june(6)) == []


def test_what_a_run_was_paid_is_remembered_though_late_news_made_it_shorter() -> None:
    ana = member("week", freezes=(3, 1), milestones=[4], closed={"harbour": [june(9).date()]})
    for weeks in (3, 2, 1):
        ana.does(june(9) - timedelta(weeks=weeks))
    assert ana.does(june(9)) == [4]
    ana.visits(june(9, 15), place="harbour", told_at=june(10))
    assert ana.length(june(10)) == 3

    paid = ana.does(june(30))

    assert (ana.length(june(30)), ana.at(june(30)).freezes_left) == (4, 1)
    assert paid == []


def test_a_new_milestone_is_for_those_who_reach_it_from_then_on() -> None:
    ana = member()
    for day in (1, 2, 3):
        ana.does(june(day))

    ana.streak = member(milestones=[2, 4]).streak

    assert [ana.does(june(day)) for day in (3, 4)] == [[], [4]]


def test_another_period_begins_the_streak_anew() -> None:
    ana = member()
    for day in (1, 2, 3):
        ana.does(june(day))

    ana.streak = member("week").streak
    ana.does(june(4))

    assert ana.at(june(4)).longest == 1


def test_a_date_that_is_counted_counts_once_after_a_move_west_and_is_not_missed_before_it_is_over_there() -> None:
    ana = member(zone=ALMATY)
    ana.does(june(1, 20))
    ana.does(june(2, 20))
    ana.moves(june(3, 1), NEW_YORK)

    ana.does(june(3, 2))
    ana.does(june(3, 6))

    assert ana.length(june(3, 6)) == 2
    assert ana.at(june(3, 6)).at_risk_at == june(5, 4)
    ana.does(june(5, 3))
    assert ana.length(june(5, 3)) == 3


def test_a_day_unmet_before_a_move_east_is_not_missed_before_it_is_over_where_the_member_was() -> None:
    ana = member(zone=NEW_YORK)
    ana.does(june(1))
    ana.moves(june(2, 20), ALMATY)

    ana.does(june(2, 21))

    assert ana.length(june(3, 3)) == 2
    assert ana.at(june(3, 3)).at_risk_at == june(3, 4)
    assert ana.length(june(3, 4)) == 1


def test_a_day_that_is_still_open_elsewhere_is_no_risk_to_a_run_that_began_after_it() -> None:
    ana = member(zone=ZoneInfo("Pacific/Pago_Pago"))
    ana.does(june(1, 10))
    ana.moves(june(2, 12), ZoneInfo("Pacific/Kiritimati"))

    ana.does(june(3, 10))

    assert ana.at(june(3, 10)) == StreakStanding(
        current=1, longest=1, broken=0, freezes_left=0, is_safe=True, at_risk_at=june(5, 10)
    )


def test_a_late_event_is_dated_where_the_member_was_when_it_happened() -> None:
    ana = member(zone=NEW_YORK)
    ana.does(june(1, 23))
    ana.moves(june(2, 12), ALMATY)
    ana.does(june(3, 12))

    ana.does(june(3, 3) - timedelta(days=1), told_at=june(3, 13))
    assert ana.length(june(3, 13)) == 1
    ana.does(june(2, 5), told_at=june(3, 14))

    assert ana.length(june(3, 14)) == 3


def test_the_day_into_which_a_member_moves_is_not_missed_before_it_is_over_where_he_came_from() -> None:
    ana = member(zone=NEW_YORK)
    ana.does(june(2, 15))
    ana.moves(june(2, 16), ZoneInfo("Pacific/Kiritimati"))

    assert (ana.length(june(3, 10)), ana.at(june(3, 10)).at_risk_at) == (1, june(4, 4))
    assert ana.length(june(4, 4)) == 0


def test_a_date_that_a_zone_left_out_is_no_missed_day() -> None:
    ana = member(zone=APIA)

    ana.does(datetime(2011, 12, 30, 9, tzinfo=UTC))
    ana.does(datetime(2011, 12, 31, 9, tzinfo=UTC))

    assert datetime(2011, 12, 31, 9, tzinfo=UTC).astimezone(APIA).date() == date(2011, 12, 31)
    assert ana.length(datetime(2011, 12, 31, 9, tzinfo=UTC)) == 2


def test_closed_days_of_the_last_place_neither_count_nor_break() -> None:
    closed = {"harbour": [june(3).date(), june(4).date()]}
    ana, bor = member(closed=closed), member(closed=closed)

    at_risk = []
    for one, place in ((ana, "harbour"), (bor, "park")):
        one.does(june(2), place=place)
        at_risk.append(one.at(june(2)).at_risk_at)
        one.does(june(3))
        one.does(june(5))

    assert at_risk == [june(5, 22), june(3, 22)]
    assert (ana.length(june(5)), bor.length(june(5))) == (2, 1)


def test_of_a_week_that_was_closed_throughout_nothing_is_said() -> None:
    closed = {"harbour": [date(2026, 6, day) for day in range(8, 15)], "park": [date(2026, 6, 8)]}
    ana, bor = member("week", closed=closed), member("week", closed=closed)

    for one, place in ((ana, "harbour"), (bor, "park")):
        one.does(june(2), place=place)
        one.does(june(16))

    assert (ana.length(june(16)), bor.length(june(16))) == (2, 1)


def test_who_comes_elsewhere_on_a_closed_day_has_come_whatever_is_told_first() -> None:
    closed = {"harbour": [june(3).date()]}
    for order in ([0, 1], [1, 0]):
        ana = member(closed=closed)
        ana.does(june(2), place="harbour")
        told = [(june(3, 9), "harbour"), (june(3, 15), "park")]
        for index in order:
            at, place = told[index]
            ana.does(at, place=place, told_at=june(3, 18))

        assert ana.length(june(3, 18)) == 2


def test_what_a_wallet_keeps_does_not_grow() -> None:
    ana = member(freezes=(2, 2), milestones=[2, 50], closed={"harbour": [june(9).date()]})
    begun = datetime(2026, 1, 1, 12, tzinfo=UTC)

    for day in range(400):
        ana.does(begun + timedelta(days=day), place="harbour")

    assert ana.length(begun + timedelta(days=399)) == 399
    assert ana.log is not None
    assert len(ana.log.days) == 10
    assert ana.log.streaks["regular"].paid == ()


def test_a_week_is_at_risk_until_its_end_and_a_broken_streak_is_not() -> None:
    ana = member("week")
    ana.does(june(3))

    assert ana.at(june(9)).at_risk_at == june(14, 22)
    assert ana.at(june(15)).at_risk_at is None
