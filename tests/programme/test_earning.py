from collections.abc import Callable, Mapping
from datetime import UTC, date, datetime, timedelta
from fractions import Fraction
from math import floor
from zoneinfo import ZoneInfo

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from domain.programme.earning import (
    BonusAward,
    Earnings,
    ExplanationRow,
    Line,
    PurchaseEvent,
    Usage,
    UsageChange,
    Used,
    VoucherAward,
    earn_event,
    earn_purchase,
)
from domain.programme.facts import MemberFacts
from domain.programme.period import is_past, period_key
from domain.programme.programme import Programme, stable_share

Build = Callable[[str], Programme]

NEW_YORK = ZoneInfo("America/New_York")
THURSDAY_MORNING = datetime(2017, 6, 15, 14, tzinfo=UTC)
THURSDAY_EVENING = datetime(2017, 6, 15, 22, tzinfo=UTC)  # 18:00 in New York


def receipt(
    total_minor: int,
    *lines: Line,
    eligible_minor: int | None = None,
    at: datetime = THURSDAY_MORNING,
    place: str | None = None,
    region: str | None = None,
) -> PurchaseEvent:
    return PurchaseEvent(
        total_minor=total_minor,
        eligible_minor=total_minor if eligible_minor is None else eligible_minor,
        occurred_at=at,
        place=place,
        region=region,
        lines=lines,
    )


def line(amount_minor: int, category: str = "GROCERY", sku: str = "1") -> Line:
    return Line(sku=sku, category=category, brand="National", amount_minor=amount_minor)


def earned(programme: Programme, event: PurchaseEvent, *, tier: str = "bronze", usage: Usage | None = None) -> Earnings:
    return earn_purchase(programme, event, member=MemberFacts(id="m1", tier=tier), usage=usage or {})


def used_after(usage: Mapping[str, Mapping[str, Used]], changes: tuple[UsageChange, ...]) -> Usage:
    result = {rule: dict(periods) for rule, periods in usage.items()}
    for change in changes:
        before = result.setdefault(change.rule, {}).get(change.period, Used(count=0, amount=0))
        result[change.rule][change.period] = Used(
            count=before.count + change.count,
            amount=before.amount + change.amount,
            cashback_minor=before.cashback_minor + change.cashback_minor,
        )
    return result


def test_12_34_at_one_point_per_1_00_is_12(example: Programme) -> None:
    result = earned(example, receipt(1_234))

    assert result == Earnings(points=12, rows=(ExplanationRow("base", "award", 12, 0),))


def test_12_34_times_one_and_a_half_is_18_said_as_12_and_6(example: Programme) -> None:
    result = earned(example, receipt(1_234), tier="gold")

    assert result.points == 18
    assert result.rows == (
        ExplanationRow("base", "award", 12, 0),
        ExplanationRow("tier-gold", "multiplier", 6, 0),
    )


def test_gold_on_10_01_is_15(example: Programme) -> None:
    assert earned(example, receipt(1_001), tier="gold").points == 15


def test_three_lines_of_3_50_are_10_not_9(example: Programme) -> None:
    event = receipt(1_050, *(line(350, "PRODUCE", str(number)) for number in range(3)))

    result = earned(example, event)

    assert result.rows == (
        ExplanationRow("base", "award", 10, 0),
        ExplanationRow("produce-double", "award", 10, 0),
    )
    assert result.used == (UsageChange(rule="produce-double", period="2017-W24", count=1, amount=10),)


def test_cashback_counts_only_what_eligible_tender_paid(programme_with: Build) -> None:
    programme = programme_with('earning: [{id: five, event: purchase, award: {cashback: {percent: "5"}}}]')

    result = earned(programme, receipt(9_000, eligible_minor=7_000))

    assert result == Earnings(cashback_minor=350, rows=(ExplanationRow("five", "award", 0, 350),))


def test_cashback_on_lines_takes_the_same_part_of_them(programme_with: Build) -> None:
    programme = programme_with(
        "earning: [{id: pastry, event: purchase, lines: 'line.category == \"PASTRY\"', "
        'award: {cashback: {percent: "5"}}}]'
    )
    event = receipt(9_000, line(3_001, "PASTRY"), line(5_999), eligible_minor=7_000)

    result = earned(programme, event)

    assert result.cashback_minor == floor(Fraction(3_001 * 7_000, 9_000) * Fraction(5, 100)) == 116


def test_nothing_eligible_earns_no_cashback_but_points(example: Programme) -> None:
    result = earned(example, receipt(1_000, line(1_000, "PASTRY"), eligible_minor=0))

    assert (result.points, result.cashback_minor) == (10, 0)


def test_the_most_cashback_of_a_purchase_is_a_limit_with_its_own_row(example: Programme) -> None:
    result = earned(example, receipt(9_000, line(9_000, "PASTRY"), eligible_minor=7_000))

    assert result.cashback_minor == 300
    assert result.rows[1:] == (
        ExplanationRow("pastry-cashback", "award", 0, 350),
        ExplanationRow("pastry-cashback", "limit", 0, -50),
    )


def test_a_limit_by_amount_reduces_the_award_after_the_multipliers(example: Programme) -> None:
    usage = {"produce-double": {"2017-W24": Used(count=1, amount=30)}}

    result = earned(example, receipt(2_000, line(2_000, "PRODUCE")), tier="silver", usage=usage)

    assert result.rows[2:] == (
        ExplanationRow("produce-double", "award", 20, 0),
        ExplanationRow("tier-silver", "multiplier", 5, 0),
        ExplanationRow("produce-double", "limit", -15, 0),
    )
    assert result.points == 25 + 10
    assert result.used == (UsageChange(rule="produce-double", period="2017-W24", count=1, amount=10),)


def test_a_limit_that_is_used_up_takes_all_and_uses_no_more(example: Programme) -> None:
    usage = {"produce-double": {"2017-W24": Used(count=3, amount=40)}}

    result = earned(example, receipt(2_000, line(2_000, "PRODUCE")), usage=usage)

    assert result.points == 20
    assert result.rows[1:] == (
        ExplanationRow("produce-double", "award", 20, 0),
        ExplanationRow("produce-double", "limit", -20, 0),
    )
    assert result.used == ()


def test_a_limit_by_count_skips_the_award_without_a_row(example: Programme) -> None:
    first = earned(example, receipt(10_000))
    second = earned(example, receipt(10_000), usage=used_after({}, first.used))

    assert first.vouchers == (VoucherAward(kind="next-20", keeps_from_minor=10_000),)
    assert first.rows[1:] == (ExplanationRow("big-basket", "award", 0, 0),)
    assert first.used == (UsageChange(rule="big-basket", period="2017-06", count=1, amount=0),)
    assert second.vouchers == ()
    assert second.rows == (ExplanationRow("base", "award", 100, 0),)


def test_a_new_period_starts_a_limit_anew(example: Programme) -> None:
    june = earned(example, receipt(10_000))

    july = earned(
        example,
        receipt(10_000, at=datetime(2017, 7, 1, 4, tzinfo=UTC)),
        usage=used_after({}, june.used),
    )

    assert [voucher.kind for voucher in july.vouchers] == ["next-20"]


def test_multipliers_of_an_asset_all_apply_in_the_programmes_order(example: Programme) -> None:
    event = receipt(1_000, at=THURSDAY_EVENING, place="store-330")

    result = earned(example, event, tier="gold")

    assert result.points == 30
    assert result.rows == (
        ExplanationRow("base", "award", 10, 0),
        ExplanationRow("tier-gold", "multiplier", 5, 0),
        ExplanationRow("happy-hour", "multiplier", 15, 0),
    )


@pytest.mark.parametrize(
    ("at", "place", "points"),
    [
        (THURSDAY_EVENING, "store-330", 20),
        (THURSDAY_EVENING, "store-429", 10),
        (THURSDAY_EVENING, None, 10),
        (THURSDAY_EVENING - timedelta(seconds=1), "store-330", 10),
        (datetime(2017, 6, 17, 22, tzinfo=UTC), "store-330", 10),  # Saturday
        (datetime(2017, 6, 1, 3, tzinfo=UTC), "store-330", 10),  # still 31 May in New York
        (datetime(2017, 6, 1, 22, tzinfo=UTC), "store-330", 20),
        (datetime(2017, 9, 1, 3, tzinfo=UTC), "store-330", 20),  # still 31 August in New York
        (datetime(2017, 9, 1, 22, tzinfo=UTC), "store-330", 10),
    ],
)
def test_a_rule_is_in_force_in_its_window_hours_and_pilot(
    example: Programme, at: datetime, place: str | None, points: int
) -> None:
    assert earned(example, receipt(1_000, at=at, place=place)).points == points


def test_a_pilot_by_region_and_share_is_stable_for_a_member(programme_with: Build) -> None:
    programme = programme_with("""
places: [{id: one, name: One, location: {latitude: 46, longitude: 14}, region: north}]
earning: [{id: trial, event: purchase, pilot: {regions: [north], percent: "30"}, award: {points: 1}}]
""")

    def points(member: str, region: str) -> int:
        event = receipt(100, region=region)
        return earn_purchase(programme, event, member=MemberFacts(id=member), usage={}).points

    taking_part = sum(points(f"m{number}", "north") for number in range(2_000))

    assert 540 <= taking_part <= 660
    assert [points("m7", "north") for _ in range(3)] == [points("m7", "north")] * 3
    assert sum(points(f"m{number}", "south") for number in range(200)) == 0
    assert stable_share("corner\0happy-hour", "m1") == 784_326


def test_joining_gives_points_and_a_bonus(example: Programme) -> None:
    result = earn_event(example, "joined", occurred_at=THURSDAY_MORNING, member=MemberFacts(id="m1"), usage={})

    assert result == Earnings(
        points=100, rows=(ExplanationRow("welcome", "award", 100, 0),), bonuses=(BonusAward(kind="growing-ten"),)
    )


@pytest.mark.parametrize(("reporter", "points"), [("staff", 1), ("partner", 0), ("member", 0), (None, 0)])
def test_an_activity_gives_only_to_whom_the_rule_lets_report_it(
    example: Programme, reporter: str | None, points: int
) -> None:
    result = earn_event(
        example,
        "activity.on_time",
        occurred_at=THURSDAY_MORNING,
        member=MemberFacts(id="m1"),
        usage={},
        reporter=reporter,
    )

    assert result.points == points


def test_a_top_up_gift_depends_on_its_amount(example: Programme) -> None:
    gifts = [
        earn_event(
            example,
            "top_up",
            occurred_at=THURSDAY_MORNING,
            member=MemberFacts(id="m1"),
            usage={},
            amount_minor=amount_minor,
        ).cashback_minor
        for amount_minor in (9_999, 10_000)
    ]

    assert gifts == [0, 500]


def test_an_event_without_rules_gives_nothing(example: Programme) -> None:
    result = earn_event(
        example, "activity.unheard_of", occurred_at=THURSDAY_MORNING, member=MemberFacts(id="m1"), usage={}
    )

    assert result == Earnings()


def test_attributes_of_an_activity_are_facts(programme_with: Build) -> None:
    programme = programme_with(
        "earning: [{id: far, event: activity.run, when: 'activity.attributes.km >= 10', award: {points: 5}}]"
    )

    def points(attributes: dict[str, str | int | bool]) -> int:
        return earn_event(
            programme,
            "activity.run",
            occurred_at=THURSDAY_MORNING,
            member=MemberFacts(id="m1"),
            usage={},
            attributes=attributes,
            reporter="partner",
        ).points

    assert [points({"km": 12}), points({"km": 9}), points({}), points({"km": "far"})] == [5, 0, 0, 0]


@pytest.mark.parametrize(
    ("per", "day", "key"),
    [
        ("day", date(2017, 1, 1), "2017-01-01"),
        ("week", date(2017, 1, 1), "2016-W52"),
        ("week", date(2018, 12, 31), "2019-W01"),
        ("month", date(2017, 1, 1), "2017-01"),
        ("year", date(2017, 1, 1), "2017"),
        ("lifetime", date(2017, 1, 1), "ever"),
    ],
)
def test_a_period_is_named_by_the_programmes_day(per: str, day: date, key: str) -> None:
    assert period_key(per, day) == key  # type: ignore[arg-type]


@given(
    st.sampled_from(["day", "week", "month", "year"]),
    st.dates(date(1990, 1, 1), date(2090, 1, 1)),
    st.dates(date(1990, 1, 1), date(2090, 1, 1)),
)
def test_a_period_is_past_once_no_later_day_falls_into_it(per: str, day: date, oldest: date) -> None:
    key = period_key(per, day)  # type: ignore[arg-type]

    assert is_past(key, oldest) == (day < oldest and key != period_key(per, oldest))  # type: ignore[arg-type]
    assert not is_past("ever", oldest)


AMOUNTS = st.integers(0, 50_000)
LINES = st.lists(
    st.builds(line, AMOUNTS, st.sampled_from(["PASTRY", "PRODUCE", "GROCERY"]), st.sampled_from(["1", "2"])),
    min_size=1,
    max_size=8,
).filter(lambda lines: sum(item.amount_minor for item in lines) > 0)
INSTANTS = st.datetimes(datetime(2017, 5, 25), datetime(2017, 6, 20)).map(  # noqa: DTZ001 - made aware here
    lambda at: at.replace(microsecond=0, tzinfo=UTC)
)


@st.composite
def receipts(draw: st.DrawFn) -> PurchaseEvent:
    lines = draw(LINES)
    total_minor = sum(item.amount_minor for item in lines)
    return receipt(
        total_minor,
        *lines,
        eligible_minor=draw(st.integers(0, total_minor)),
        at=draw(INSTANTS),
        place=draw(st.sampled_from([None, "store-330", "store-429"])),
    )


TIERS = st.sampled_from(["bronze", "silver", "gold", "vip"])
FEW = settings(max_examples=60, suppress_health_check=[HealthCheck.too_slow], deadline=None)


Earn = Callable[..., Earnings]


@pytest.fixture(scope="session")
def earn(example: Programme) -> Earn:
    """What a receipt earns under the example programme."""

    def earn(event: PurchaseEvent, *, tier: str, usage: Usage | None = None) -> Earnings:
        return earned(example, event, tier=tier, usage=usage)

    return earn


@FEW
@given(receipts(), TIERS)
def test_the_rows_of_each_asset_add_up_to_the_award(earn: Earn, event: PurchaseEvent, tier: str) -> None:
    result = earn(event, tier=tier)

    assert sum(row.points for row in result.rows) == result.points >= 0
    assert sum(row.cashback_minor for row in result.rows) == result.cashback_minor >= 0
    assert earn(event, tier=tier) == result


def factor_of(event: PurchaseEvent, tier: str) -> Fraction:
    """What the example programme's multipliers come to for the event."""
    factor = {"bronze": Fraction(1), "silver": Fraction(5, 4), "gold": Fraction(3, 2), "vip": Fraction(2)}[tier]
    local = event.occurred_at.astimezone(NEW_YORK)
    is_happy = local.hour >= 18 and local.isoweekday() <= 5 and event.place == "store-330"
    return factor * (2 if is_happy and local.date() >= date(2017, 6, 1) else 1)


@FEW
@given(receipts(), TIERS)
def test_the_award_is_what_exact_fractions_give(earn: Earn, event: PurchaseEvent, tier: str) -> None:
    factor = factor_of(event, tier)
    of = {
        category: sum(item.amount_minor for item in event.lines if item.category == category)
        for category in ("PASTRY", "PRODUCE")
    }

    result = earn(event, tier=tier)

    produce = min(40, floor(Fraction(of["PRODUCE"], 100) * factor))
    assert result.points == floor(Fraction(event.total_minor, 100) * factor) + produce
    pastry = Fraction(of["PASTRY"] * event.eligible_minor, event.total_minor) * Fraction(5, 100)
    assert result.cashback_minor == min(300, floor(pastry))


@FEW
@given(st.lists(receipts(), max_size=7), TIERS)
def test_limits_are_never_exceeded_over_a_sequence(earn: Earn, events: list[PurchaseEvent], tier: str) -> None:
    usage: Usage = {}
    produce: dict[str, int] = {}
    vouchers: dict[str, int] = {}

    for event in events:
        result = earn(event, tier=tier, usage=usage)
        usage = used_after(usage, result.used)
        day = event.occurred_at.astimezone(NEW_YORK).date()
        week, month = period_key("week", day), period_key("month", day)
        base = floor(Fraction(event.total_minor, 100) * factor_of(event, tier))
        produce[week] = produce.get(week, 0) + result.points - base
        vouchers[month] = vouchers.get(month, 0) + len(result.vouchers)

    assert all(points <= 40 for points in produce.values())
    assert all(count <= 1 for count in vouchers.values())
    assert {key: used.amount for key, used in usage.get("produce-double", {}).items()} == {
        key: points for key, points in produce.items() if points
    }
