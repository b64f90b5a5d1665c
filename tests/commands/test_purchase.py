from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.commands.purchase import Receipt, check_receipt
from domain.ledger.entry import Entry
from domain.members.member import Member
from domain.problems import InsufficientBalance, InvalidInput, NotFound, Problem
from domain.programme.definition import read_definition
from domain.programme.earning import ExplanationRow, Line, PurchaseEvent, earn_purchase
from domain.programme.facts import MemberFacts
from domain.programme.programme import compile_programme
from tests.ledger.conftest import OpenShop
from tests.ledger.shop import CASHBACK, POINT_PER_EURO, START, Shop, source

HALF_AS_MUCH_AGAIN = POINT_PER_EURO + '  - {id: bonus, event: purchase, multiply: {points: "1.5"}}\n'
FIVE_PERCENT = POINT_PER_EURO + '  - {id: five, event: purchase, award: {cashback: {percent: "5"}}}\n'
TIERS = (
    POINT_PER_EURO
    + """
  - {id: gold-bonus, event: purchase, when: 'member.tier == "gold"', multiply: {points: "1.5"}}
tiers:
  metric: points_earned
  window: {policy: rolling, length: P12M}
  levels:
    - {id: base, from: 0, name: {en: Base}}
    - {id: gold, from: 100, name: {en: Gold}}
"""
)


def row(rule: str, step: Any, points: int = 0, cashback_minor: int = 0) -> ExplanationRow:
    return ExplanationRow(rule, step, points, cashback_minor)


def amounts(*amounts_minor: int) -> tuple[Line, ...]:
    return tuple(Line(sku=f"sku-{index}", amount_minor=amount) for index, amount in enumerate(amounts_minor))


async def test_one_point_for_a_euro_of_12_34_is_12(shop: Shop, member: Member) -> None:
    entry = await shop.buy(member, 1234)

    assert entry.points == 12
    assert entry.explanation == (row("base", "award", 12),)
    assert entry.balances.points == 12
    assert entry.programme_version == 1
    assert await shop.available(member) == 12


async def test_what_a_multiplier_adds_has_its_own_row(shop_with: OpenShop) -> None:
    shop = await shop_with(HALF_AS_MUCH_AGAIN)
    member = await shop.member()

    entry = await shop.buy(member, 1234)

    assert entry.explanation == (row("base", "award", 12), row("bonus", "multiplier", 6))
    assert entry.points == 18


async def test_three_lines_of_3_50_are_10_points(shop: Shop, member: Member) -> None:
    entry = await shop.buy(member, 1050, lines=amounts(350, 350, 350))

    assert entry.points == 10


async def test_the_purchase_that_crosses_a_threshold_earns_at_the_old_tier(shop_with: OpenShop) -> None:
    shop = await shop_with(TIERS)
    member = await shop.member()

    crossing = await shop.buy(member, 10000)
    after = await shop.buy(member, 1001)

    assert crossing.explanation == (row("base", "award", 100),)
    assert crossing.changes.tier is not None
    assert crossing.changes.tier.level == "gold"
    assert after.explanation == (row("base", "award", 10), row("gold-bonus", "multiplier", 5))
    assert after.points == 15


async def test_cashback_counts_only_what_was_not_paid_by_cashback(shop_with: OpenShop) -> None:
    shop = await shop_with(FIVE_PERCENT)
    member = await shop.member()
    await shop.adjust(member, 2500, asset=CASHBACK)

    entry = await shop.buy(member, 9000, paid_minor=2000)

    assert entry.explanation == (row("base", "award", 90), row("five", "award", cashback_minor=350))
    assert entry.moved(CASHBACK) == -1650
    assert await shop.available(member, CASHBACK) == 2500 - 2000 + 350


async def test_cashback_that_pays_is_taken_in_the_same_entry_and_goes_to_the_merchant(shop: Shop) -> None:
    member = await shop.member()
    await shop.adjust(member, 500, asset=CASHBACK)

    entry = await shop.buy(member, 1000, paid_minor=500)

    paid = [(one.source, one.destination, one.amount) for one in entry.postings if one.asset == CASHBACK]
    assert paid == [("member/available", "merchant/till", 500)]
    assert await shop.available(member, CASHBACK) == 0


async def test_more_cashback_than_there_is_pays_nothing(shop: Shop, member: Member) -> None:
    await shop.adjust(member, 499, asset=CASHBACK)

    problem = await shop.refused(shop.purchase(member, 1000, paid_minor=500))

    assert isinstance(problem, InsufficientBalance)
    assert (problem.asset, problem.available, problem.required) == (CASHBACK, "4.99", "5.00")


async def test_what_earns_nothing_is_recorded_all_the_same(shop: Shop, member: Member) -> None:
    entry = await shop.buy(member, 99)

    assert entry.points == 0
    assert entry.postings == ()
    assert (await shop.wallet(member)).purchases == 1


async def test_a_limit_that_a_new_version_puts_on_the_other_asset_counts_what_was_given_of_that(
    shop_with: OpenShop,
) -> None:
    rule = 'earning: [{id: both, event: purchase, award: {points: {per: "1.00", give: 10}, cashback: {percent: "5"}}, '
    by_count, by_points, by_cashback = (
        f"{rule} limit: {{{limit}, per: month}}}}]\n" for limit in ("count: 9", "points: 150", 'cashback: "1.20"')
    )
    shop = await shop_with(by_count)
    member = await shop.member()
    given = []
    for version in (by_count, by_points, by_cashback, by_points):
        await shop.publish(version)
        entry = await shop.buy(member, 10_00)
        given.append((entry.points, sum(each.cashback_minor for each in entry.explanation)))

    assert given == [(100, 50), (50, 50), (100, 20), (0, 50)]


async def test_a_limit_by_amount_reduces_and_has_its_row_and_one_by_count_skips(shop_with: OpenShop) -> None:
    shop = await shop_with(
        """
earning:
  - {id: base, event: purchase, award: {points: {per: "1.00", give: 1}}, limit: {points: 15, per: day}}
  - {id: first, event: purchase, award: {points: 5}, limit: {count: 1, per: lifetime}}
"""
    )
    member = await shop.member()

    first = await shop.buy(member, 1000)
    second = await shop.buy(member, 1000)
    third = await shop.buy(member, 1000)

    assert first.explanation == (row("base", "award", 10), row("first", "award", 5))
    assert second.explanation == (row("base", "award", 10), row("base", "limit", -5))
    assert third.explanation == (row("base", "award", 10), row("base", "limit", -10))
    assert await shop.available(member) == 20


async def test_a_late_receipt_is_judged_by_the_rules_of_its_day(shop_with: OpenShop) -> None:
    shop = await shop_with(
        """
earning:
  - {id: march, event: purchase, award: {points: {per: "1.00", give: 1}}, valid: {from: 2026-03-01, until: 2026-04-01}}
  - {id: april, event: purchase, award: {points: {per: "1.00", give: 3}}, valid: {from: 2026-04-01}}
"""
    )
    member = await shop.member()
    await shop.move_by(days=31)

    of_march = await shop.buy(member, 1000, occurred_at=START.replace(day=31, hour=21, minute=59))
    of_april = await shop.buy(member, 1000, occurred_at=START.replace(day=31, hour=22))

    assert [entry.points for entry in (of_march, of_april)] == [10, 30]


async def test_an_entry_names_the_version_in_force_when_it_was_recorded(shop: Shop, member: Member) -> None:
    before = await shop.buy(member, 1000)
    await shop.publish('earning:\n  - {id: base, event: purchase, award: {points: {per: "1.00", give: 2}}}\n')

    after = await shop.buy(member, 1000, occurred_at=shop.clock.now() - timedelta(days=1))

    assert (before.programme_version, before.points) == (1, 10)
    assert (after.programme_version, after.points) == (2, 20)


@pytest.mark.parametrize(
    ("more", "paths"),
    [
        ({"total_minor": 0}, ["total.amount"]),
        ({"total_minor": -100}, ["total.amount"]),
        ({"currency": "USD"}, ["total.currency"]),
        ({"lines": amounts(350, 350)}, ["lines"]),
        ({"lines": amounts(350, 650, 1)}, ["lines"]),
        ({"paid_minor": 1001}, ["paidWithCashback.amount"]),
        ({"paid_minor": -1}, ["paidWithCashback.amount"]),
        ({"occurred_at": START + timedelta(minutes=6)}, ["occurredAt"]),
        ({"occurred_at": START - timedelta(days=30, minutes=1)}, ["occurredAt"]),
        (
            {"currency": "USD", "lines": amounts(1), "paid_minor": -1},
            ["total.currency", "lines", "paidWithCashback.amount"],
        ),
    ],
)
async def test_what_cannot_be_taken_is_named_and_posts_and_claims_nothing(
    shop: Shop, member: Member, more: dict[str, Any], paths: Sequence[str]
) -> None:
    sent = {"total_minor": 1000, **more}
    claims = await shop.store.claims.count_documents({})

    problem = await shop.refused(shop.purchase(member, receipt="R-1", key="key-of-it", **sent))

    assert isinstance(problem, InvalidInput)
    assert [one.path for one in problem.fields] == paths
    assert await shop.store.claims.count_documents({}) == claims
    assert (await shop.buy(member, 1000, receipt="R-1", key="key-of-it")).points == 10


async def test_an_unknown_place_is_not_found(shop: Shop, member: Member) -> None:
    problem = await shop.refused(shop.purchase(member, 1000, place="nowhere"))

    assert isinstance(problem, NotFound)
    assert problem.what == "place"


@pytest.mark.parametrize(
    ("off", "taken"),
    [
        (timedelta(minutes=5), True),
        (timedelta(minutes=5, milliseconds=1), False),
        (timedelta(days=-30), True),
        (timedelta(days=-30, milliseconds=-1), False),
    ],
)
def test_a_receipt_may_be_five_minutes_ahead_and_thirty_days_late(off: timedelta, taken: bool) -> None:
    programme = compile_programme(read_definition(source("")), 1)
    member = Member(id="m", joined_at=START)
    receipt = Receipt(
        member=member, merchant="till", number="R", total_minor=1, currency="EUR", occurred_at=START + off
    )

    problem: Problem | None = check_receipt(receipt, programme, START)

    assert (problem is None) is taken


async def test_a_preview_is_what_recording_then_posts_and_posts_nothing_itself(shop_with: OpenShop) -> None:
    shop = await shop_with(FIVE_PERCENT + '  - {id: bonus, event: purchase, multiply: {points: "1.5"}}\n')
    member = await shop.member()
    await shop.adjust(member, 700, asset=CASHBACK)
    command = shop.purchase(member, 1234, paid_minor=700)
    before = await shop.wallet(member)

    previewed = await shop.ledger.preview(command)

    assert await shop.wallet(member) == before
    recorded = await shop.posted(command)
    assert isinstance(previewed, Entry)
    assert previewed.postings == recorded.postings
    assert previewed.explanation == recorded.explanation
    assert previewed.balances == recorded.balances


async def test_a_preview_of_what_cannot_be_is_the_same_problem(shop: Shop, member: Member) -> None:
    invalid = shop.purchase(member, 1000, lines=amounts(1))
    unpaid = shop.purchase(member, 1000, paid_minor=1)

    assert await shop.ledger.preview(invalid) == await shop.refused(invalid)
    assert await shop.ledger.preview(unpaid) == await shop.refused(unpaid)


async def test_one_bad_purchase_among_many_harms_no_other(shop: Shop, member: Member) -> None:
    commands = [
        shop.purchase(member, 1000, receipt="R-1"),
        shop.purchase(member, 1000, lines=amounts(1)),
        shop.purchase(member, 1000, paid_minor=1),
        shop.purchase(member, 1000, receipt="R-1"),
        shop.purchase(member, 2000),
    ]

    outcomes = await shop.all(commands)

    codes = [one.decided.points if isinstance(one.decided, Entry) else one.decided.code for one in outcomes]
    assert codes == [10, "INVALID_INPUT", "INSUFFICIENT_BALANCE", "DUPLICATE_RECEIPT", 20]
    assert await shop.available(member) == 30


@given(total=st.integers(1, 10**13), factors=st.lists(st.integers(1, 400), max_size=3))
def test_rows_of_a_purchase_add_up_to_one_floor_of_the_exact_award(total: int, factors: list[int]) -> None:
    rules = "".join(
        f'  - {{id: m-{index}, event: purchase, multiply: {{points: "{factor / 100:.2f}"}}}}\n'
        for index, factor in enumerate(factors)
    )
    programme = compile_programme(read_definition(source(POINT_PER_EURO + rules)), 1)
    exact = total
    for factor in factors:
        exact *= factor

    earned = earn_purchase(
        programme,
        PurchaseEvent(total_minor=total, eligible_minor=total, occurred_at=START),
        member=MemberFacts(id="m"),
        usage={},
    )

    assert earned.points == exact // 100 ** (len(factors) + 1)
    assert sum(one.points for one in earned.rows) == earned.points
