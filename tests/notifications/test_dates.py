"""Dates that come to a member, to the instant, over the nights on which the clocks change (SEMANTICS §10.1)."""

from datetime import UTC, date, datetime, timedelta
from typing import Any, Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.ledger.bonus import Bonus, Growth
from domain.ledger.lot import Lot, LotKey
from domain.ledger.posting import POINTS
from domain.ledger.wallet import Wallet
from domain.members.member import Member, Profile, stays
from domain.programme.definition import load_definition
from domain.programme.programme import Programme, compile_programme
from domain.programme.streak import Occasion, record
from domain.programme.streak_log import StreakLog, streak_log_documents
from domain.programme.streaks import SECTION
from domain.programme.tiers import TierState
from notifications.dates import ComingDate, coming, fallen, next_at
from notifications.signal import Signal
from tests.ledger.shop import source

SECTIONS: Final = """
tiers:
  metric: points_earned
  window: {policy: rolling, length: P12M}
  review: {downgrade: one_level}
  levels: [{id: base, from: 0, name: {en: Base}}, {id: gold, from: 1500, name: {en: Gold}}]
streaks:
  - {id: weekly, event: purchase, period: week, goal: 1, name: {en: Week by week}, milestones: []}
templates: {t: {en: {title: Hello, body: "Hello."}}}
cascades:
  - {id: lapsed, category: SERVICE, trigger: {event: lapsed, days: 21}, steps: [{send: PUSH, template: t}]}
  - id: points
    category: SERVICE
    trigger: {event: points_expiring, before: P14D, at_least: 50}
    steps: [{send: PUSH, template: t}]
  - {id: grows, category: SERVICE, trigger: {event: bonus_step, before: P5D}, steps: [{send: PUSH, template: t}]}
  - {id: ends, category: SERVICE, trigger: {event: bonus_expiring, before: P5D}, steps: [{send: PUSH, template: t}]}
  - {id: tier, category: SERVICE, trigger: {event: tier_at_risk, before: P30D}, steps: [{send: PUSH, template: t}]}
  - id: streak
    category: SERVICE
    trigger: {event: streak_at_risk, streak: weekly, before: P1D, at_least: 3}
    steps: [{send: PUSH, template: t}]
  - {id: birthday, category: SERVICE, trigger: {event: birthday}, steps: [{send: PUSH, template: t}]}
"""
PROGRAMME: Final[Programme] = compile_programme(load_definition(source(SECTIONS)), 1)
NOW: Final = datetime(2026, 3, 1, 12, tzinfo=UTC)
SECOND: Final = timedelta(seconds=1)


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).astimezone(UTC)


def member(**profile: Any) -> Member:
    return Member(id="m1", joined_at=at("2025-01-01T00:00Z"), profile=Profile(**profile))


def dates(wallet: Wallet, who: Member | None = None, *, now: datetime = NOW) -> list[ComingDate]:
    return coming(who or member(), wallet, PROGRAMME, now=now)


def told(found: list[ComingDate]) -> list[tuple[str, datetime, datetime | None]]:
    return [(date.signal.event, date.at, date.until) for date in found]


@pytest.mark.parametrize(
    ("bought", "comes"),
    [
        ("2026-03-10T23:59:59+01:00", "2026-03-31T00:00+02:00"),
        ("2026-03-11T00:00:00+01:00", "2026-04-01T00:00+02:00"),
        ("2026-10-10T23:59:59+02:00", "2026-10-31T00:00+01:00"),
        ("2026-03-08T12:00:00+01:00", "2026-03-29T00:00+01:00"),
    ],
)
def test_one_has_lapsed_from_the_midnight_so_many_days_after_the_day_of_the_purchase(bought: str, comes: str) -> None:
    found = dates(Wallet(member="m1", purchased_at=at(bought)))

    assert told(found) == [("lapsed", at(comes), None)]
    assert found[0].signal.facts == {"days": 21, "cascades": ["lapsed"]}
    assert dates(Wallet(member="m1")) == []


@pytest.mark.parametrize(
    ("gone", "comes", "last_day"),
    [
        ("2026-05-01T00:00+02:00", "2026-04-17T00:00+02:00", "2026-04-30"),
        ("2026-04-01T00:00+02:00", "2026-03-18T00:00+01:00", "2026-03-31"),
        ("2026-11-01T00:00+01:00", "2026-10-18T00:00+02:00", "2026-10-31"),
    ],
)
def test_points_are_about_to_expire_whole_days_before_at_the_same_local_time(
    gone: str, comes: str, last_day: str
) -> None:
    def lots(amount: int) -> tuple[Lot, ...]:
        key = LotKey(expires_at=at(gone), pending_until=None, origin="PURCHASE")
        return (Lot(asset=POINTS, key=key, remaining=amount, earned_at=NOW),)

    found = dates(Wallet(member="m1", lots=lots(50)))

    assert told(found) == [("points_expiring", at(comes), at(gone))]
    assert found[0].signal.facts == {"points": 50, "date": last_day, "cascades": ["points"]}
    assert dates(Wallet(member="m1", lots=lots(49))) == []


def test_a_bonus_that_grows_and_ends_is_told_of_at_the_same_local_time_before() -> None:
    steps = (Growth(at=NOW, worth_minor=500), Growth(at=at("2026-04-01T12:15+02:00"), worth_minor=1_500))
    bonus = Bonus(id="e.b0", definition="d", currency="EUR", steps=steps, expires_at=at("2026-11-01T00:00+01:00"))

    found = dates(Wallet(member="m1", bonuses={"e.b0": bonus}))

    assert told(found) == [
        ("bonus_step", at("2026-03-27T12:15+01:00"), at("2026-04-01T12:15+02:00")),
        ("bonus_expiring", at("2026-10-27T00:00+01:00"), at("2026-11-01T00:00+01:00")),
    ]
    step, end = (each.signal.facts for each in found)
    assert (step["now_minor"], step["next_minor"], step["date"]) == (500, 1_500, "2026-04-01")
    assert (end["now_minor"], end["date"]) == (1_500, "2026-10-31")


def test_a_tier_is_at_risk_while_its_review_would_lower_it() -> None:
    gold = TierState(
        level="gold", threshold=1_500, since_on=date(2025, 5, 10), valid_until=at("2026-06-01T00:00+02:00")
    )

    found = dates(Wallet(member="m1", tier=gold, metric={"2026-02-01": 1_000}))
    safe = dates(Wallet(member="m1", tier=gold, metric={"2026-02-01": 1_500}))

    assert told(found) == [("tier_at_risk", at("2026-05-02T00:00+02:00"), at("2026-06-01T00:00+02:00"))]
    assert found[0].signal.facts["missing"] == 500
    assert safe == []


def with_purchases(*instants: str) -> Wallet:
    """A wallet whose streaks know of purchases at those instants."""
    log: StreakLog | None = None
    streaks, where = PROGRAMME.definition.streaks, stays(member(), PROGRAMME)
    for instant in instants:
        occasion = Occasion(occurred_at=at(instant), counts_for=("weekly",))
        log = record(log, streaks, occasion, stays=where, closed=PROGRAMME.closed, now=at(instant)).log
    assert log is not None
    return Wallet(member="m1", progress={SECTION: streak_log_documents(log)})


def test_a_streak_is_at_risk_a_local_day_before_the_week_is_over() -> None:
    three = with_purchases("2026-03-04T12:00Z", "2026-03-11T12:00Z", "2026-03-18T12:00Z")
    two = with_purchases("2026-03-11T12:00Z", "2026-03-18T12:00Z")
    now = at("2026-03-18T12:00Z")

    found = dates(three, now=now)

    assert told(found) == [("streak_at_risk", at("2026-03-29T00:00+01:00"), at("2026-03-30T00:00+02:00"))]
    assert found[0].signal.facts["length"] == 3
    assert dates(two, now=now) == []


@pytest.mark.parametrize(
    ("now", "zone", "first", "second"),
    [
        ("2026-02-20T12:00Z", None, "2026-02-28T00:00+01:00", "2027-02-28T00:00+01:00"),
        ("2027-06-01T12:00Z", None, "2028-02-29T00:00+01:00", "2029-02-28T00:00+01:00"),
        ("2026-02-20T12:00Z", "America/New_York", "2026-02-28T00:00-05:00", "2027-02-28T00:00-05:00"),
        ("2026-02-28T22:00Z", None, "2026-02-28T00:00+01:00", "2027-02-28T00:00+01:00"),
        ("2026-02-28T23:00Z", None, "2027-02-28T00:00+01:00", "2028-02-29T00:00+01:00"),
    ],
)
def test_who_was_born_on_a_leap_day_has_a_birthday_every_year(
    now: str, zone: str | None, first: str, second: str
) -> None:
    who = member(birthday=date(2000, 2, 29), time_zone=zone)

    found = [date for date in dates(Wallet(member="m1"), who, now=at(now)) if date.until and date.until > at(now)]

    assert [date.at for date in found[:2]] == [at(first), at(second)][: len(found)]
    assert found[0].until == at(first) + timedelta(days=1)


hours = st.integers(0, 200).map(lambda number: NOW + timedelta(hours=number))
some_dates = st.lists(st.tuples(hours, st.none() | st.integers(1, 50)), max_size=8)


@given(drawn=some_dates, looks=st.lists(hours, min_size=1, max_size=12).map(sorted))
def test_each_date_is_told_once_however_often_one_looks(
    drawn: list[tuple[datetime, int | None]], looks: list[datetime]
) -> None:
    found = [
        ComingDate(
            signal=Signal(id=f"d{number}", member="m1", event="birthday", at=at_),
            until=None if late is None else at_ + timedelta(hours=late),
        )
        for number, (at_, late) in enumerate(drawn)
    ]
    through, told_ids = NOW - SECOND, list[str]()

    for now in looks:
        told_ids += [each.signal.id for each in fallen(found, through=through, now=now, told=told_ids)]
        armed, through = next_at(found, now=now), now
        ahead = [
            instant for each in found for instant in (each.at, each.until) if instant is not None and instant > now
        ]
        assert armed == min(ahead, default=None)

    first_look = {each.signal.id: next((now for now in looks if now >= each.at), None) for each in found}
    due = [each.signal.id for each in found if first_look[each.signal.id] is not None and in_time(each, first_look)]
    assert sorted(told_ids) == sorted(due)


def in_time(date: ComingDate, first_look: dict[str, datetime | None]) -> bool:
    looked_at = first_look[date.signal.id]
    return date.until is None or (looked_at is not None and looked_at < date.until)
