from dataclasses import replace
from datetime import UTC, date, datetime
from typing import Literal
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.ledger.expiry import Period, local_date
from domain.programme.programme import Programme
from domain.programme.tiers import (
    Level,
    Tiers,
    TierState,
    after_metric,
    held,
    metric,
    next_level,
    review,
)
from tests.ledger.conftest import OpenShop
from tests.ledger.shop import assert_sound

ZONE = ZoneInfo("America/New_York")
LEVELS = (
    Level(id="bronze", threshold=0),
    Level(id="silver", threshold=500),
    Level(id="gold", threshold=1_500),
    Level(id="vip", threshold=4_000),
)
TIERS = Tiers(metric="points_earned", rolling=Period(months=12), downgrade="one_level", levels=LEVELS)
TODAY = date(2026, 7, 6)


def upgraded(points: int, state: TierState | None = None) -> TierState | None:
    return after_metric(TIERS, state, buckets={TODAY.isoformat(): points}, on=TODAY, zone=ZONE)


def gold() -> TierState:
    state = upgraded(1_500)
    assert state is not None
    return state


def test_everybody_begins_at_the_lowest_level() -> None:
    assert held(TIERS, None).id == "bronze"
    assert next_level(TIERS, None) == LEVELS[1]


def test_a_level_is_reached_at_its_threshold_at_once_and_not_before() -> None:
    assert upgraded(499) is None
    assert upgraded(500) == TierState(
        level="silver",
        threshold=500,
        since_on=TODAY,
        valid_until=datetime(2027, 8, 1, 4, tzinfo=UTC),
    )


def test_levels_may_be_skipped() -> None:
    state = upgraded(4_000)

    assert state is not None
    assert held(TIERS, state).id == "vip"
    assert next_level(TIERS, state) is None


def test_a_falling_metric_lowers_nobody_before_the_review() -> None:
    assert upgraded(0, gold()) is None


def test_the_window_holds_twelve_months_and_forgets_the_day_before() -> None:
    buckets = {"2025-07-06": 1, "2025-07-07": 10, "2026-07-06": 100, "2026-07-07": 1_000}

    assert metric(TIERS, buckets, TODAY) == 110
    assert metric(replace(TIERS, rolling=None), buckets, TODAY) == 100


def test_a_review_keeps_who_still_qualifies_for_another_window() -> None:
    reviewed = review(TIERS, gold(), buckets={"2027-07-31": 1_500}, zone=ZONE)

    assert reviewed == replace(gold(), valid_until=datetime(2028, 8, 1, 4, tzinfo=UTC))


@pytest.mark.parametrize(
    ("downgrade", "points", "level"),
    [
        ("one_level", 0, "silver"),
        ("one_level", 499, "silver"),
        ("one_level", 500, "silver"),
        ("qualified", 0, "bronze"),
        ("qualified", 499, "bronze"),
        ("qualified", 500, "silver"),
    ],
)
def test_a_review_lowers_by_one_level_or_to_the_qualified_one(
    downgrade: Literal["one_level", "qualified"], points: int, level: str
) -> None:
    tiers = replace(TIERS, downgrade=downgrade)

    reviewed = review(tiers, gold(), buckets={"2027-07-31": points}, zone=ZONE)

    assert reviewed.level == level
    assert reviewed.since_on == date(2027, 8, 1)
    expected = None if level == "bronze" else datetime(2028, 8, 1, 4, tzinfo=UTC)
    assert reviewed.valid_until == expected


def test_what_came_after_the_last_valid_day_is_not_judged_by_that_review() -> None:
    reviewed = review(TIERS, gold(), buckets={"2027-08-01": 1_500}, zone=ZONE)

    assert reviewed.level == "silver"


def test_members_of_a_removed_level_fall_to_the_next_lower_one() -> None:
    without_gold = replace(TIERS, levels=tuple(level for level in LEVELS if level.id != "gold"))

    assert held(without_gold, gold()).id == "silver"
    assert held(replace(TIERS, levels=LEVELS[:1]), gold()).id == "bronze"


def test_raised_thresholds_lift_nobody_down() -> None:
    dearer = replace(TIERS, levels=(LEVELS[0], LEVELS[1], Level(id="gold", threshold=9_000)))

    assert held(dearer, gold()).id == "gold"


def test_the_example_programme_has_four_levels_by_points(example: Programme) -> None:
    assert example.tiers == TIERS


@given(st.lists(st.tuples(st.dates(date(2025, 1, 1), date(2026, 12, 31)), st.integers(-200, 900)), max_size=30))
def test_a_level_never_falls_by_metric_and_holds_what_the_metric_qualifies_for(
    events: list[tuple[date, int]],
) -> None:
    buckets: dict[str, int] = {}
    state: TierState | None = None

    for day, amount in sorted(events):
        buckets[day.isoformat()] = buckets.get(day.isoformat(), 0) + amount
        before = held(TIERS, state).threshold
        state = after_metric(TIERS, state, buckets=buckets, on=day, zone=ZONE) or state
        now = held(TIERS, state).threshold
        qualified = max(level.threshold for level in LEVELS if level.threshold <= metric(TIERS, buckets, day))
        assert now == max(before, qualified)


MEASURED = """
earning: [{{id: base, event: purchase, award: {{points: {{per: "1.00", give: 1}}}}}}]
tiers:
  metric: {metric}
  window: {{policy: rolling, length: P12M}}
  levels: [{{id: base, from: 0, name: {{en: Base}}}}, {{id: gold, from: {gold}, name: {{en: Gold}}}}]
"""


async def test_a_programme_that_measures_otherwise_counts_what_the_window_holds_of_the_new_measure(
    shop_with: OpenShop,
) -> None:
    shop = await shop_with(MEASURED.format(metric="points_earned", gold=5_000))
    member = await shop.member()
    first = await shop.buy(member, 400_50)
    await shop.move_by(days=1)
    await shop.publish(MEASURED.format(metric="spend", gold='"500.00"'))
    await shop.give_back(member, first, 10)

    below = await shop.buy(member, 99_59)
    reached = await shop.buy(member, 1)
    await shop.publish(MEASURED.format(metric="visits", gold=3))
    await shop.give_back(member, first)
    again = await shop.buy(member, 100)
    await shop.move_by(hours=1)
    visited = await shop.buy(member, 100)

    assert below.changes.tier is None
    assert reached.changes.tier is not None
    assert reached.changes.tier.level == "gold"
    programme, wallet = shop.programmes.current, await shop.wallet(member)
    assert programme.tiers is not None
    assert metric(programme.tiers, wallet.metric, local_date(shop.clock.now(), programme.zone)) == 2
    assert (again.changes.visits, visited.changes.visits) == (0, 1)
    await assert_sound(shop.store)
