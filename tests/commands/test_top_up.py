"""Paid money into the wallet, and its limits (SEMANTICS §6.1, §6.2)."""

from datetime import datetime, timedelta

import pytest

from domain.ledger.entry import EntryKind
from domain.members.member import Member
from domain.problems import InvalidInput, LimitReached, Problem
from tests.ledger.conftest import OpenShop
from tests.ledger.shop import CASHBACK, POINT_PER_EURO, Shop
from tests.ledger.till import PREPAID, capture, payment, top_up

LIMITS = """
prepaid:
  limits: {top_up_min: "5.00", top_up_max: "150.00", balance_max: "250.00",
           top_up_window: {amount: "500.00", window: P30D}}
"""


def limit_of(problem: Problem) -> tuple[str, str]:
    assert isinstance(problem, LimitReached), problem
    return problem.limit, problem.headroom


def resets_at(problem: Problem) -> datetime | None:
    assert isinstance(problem, LimitReached), problem
    return problem.resets_at


async def reserve(shop: Shop, member: Member, amount_minor: int) -> None:
    """An open top-up through the provider."""
    await shop.store.top_ups.insert_one(
        {
            "_id": "tu_1",
            "member": member.id,
            "state": "OPEN",
            "currency": "EUR",
            "amount_minor": amount_minor,
            "created_at": shop.clock.now(),
        }
    )


async def test_paid_money_never_expires_and_earns_nothing_by_itself(shop: Shop, member: Member) -> None:
    entry = await shop.posted(top_up(shop, member, 5000))

    await shop.move_by(days=36_500)

    assert (entry.kind, entry.points, entry.balances.money) == (EntryKind.TOP_UP, 0, {PREPAID: 5000})
    assert await shop.available(member, PREPAID) == 5000
    assert (await shop.standing(member, PREPAID)).expiring == ()


async def test_a_gift_on_a_top_up_is_cashback_of_its_own_and_expires_alone(shop_with: OpenShop) -> None:
    shop = await shop_with(
        "cashback: {expiry: {policy: rolling, after: P10D}}\n"
        "earning: [{id: gift, event: top_up, when: 'top_up.amount_minor >= 10000',"
        ' award: {cashback: {amount: "5.00"}}, limit: {count: 1, per: month}}]\n'
    )
    member = await shop.member()

    below = await shop.posted(top_up(shop, member, 9999))
    given = await shop.posted(top_up(shop, member, 10_000))
    again = await shop.posted(top_up(shop, member, 10_000))
    await shop.move_by(days=12)

    assert [entry.moved(CASHBACK) for entry in (below, given, again)] == [0, 500, 0]
    assert await shop.available(member, CASHBACK) == 0
    assert await shop.available(member, PREPAID) == 29_999


@pytest.mark.parametrize(
    ("amount", "limit", "headroom"), [(499, "top_up_min", "0.00"), (15_001, "top_up_max", "150.00")]
)
async def test_one_top_up_has_a_least_and_a_most(shop_with: OpenShop, amount: int, limit: str, headroom: str) -> None:
    shop = await shop_with(LIMITS)
    member = await shop.member()

    problem = await shop.refused(top_up(shop, member, amount))

    assert limit_of(problem) == (limit, headroom)
    await shop.posted(top_up(shop, member, 500))
    await shop.posted(top_up(shop, member, 15_000))


async def test_the_wallet_has_a_most_and_what_is_held_counts(shop_with: OpenShop) -> None:
    shop = await shop_with(LIMITS)
    member = await shop.member()
    await shop.posted(top_up(shop, member, 15_000))
    held = await shop.posted(payment(shop, member, 12_000))

    problem = await shop.refused(top_up(shop, member, 10_001))
    await shop.posted(capture(shop, held, 2_000))
    after = await shop.refused(top_up(shop, member, 12_001))
    await shop.posted(top_up(shop, member, 12_000))
    full = await shop.refused(top_up(shop, member, 500))

    assert limit_of(problem) == ("balance_max", "100.00")
    assert limit_of(after) == ("balance_max", "120.00")
    assert limit_of(full) == ("balance_max", "0.00")


async def test_what_an_open_top_up_may_still_bring_counts(shop_with: OpenShop) -> None:
    shop = await shop_with(LIMITS)
    member = await shop.member()
    await shop.posted(top_up(shop, member, 15_000))
    await reserve(shop, member, 4_000)

    problem = await shop.refused(top_up(shop, member, 6_001))
    await shop.store.top_ups.update_one({"_id": "tu_1"}, {"$set": {"state": "FAILED"}})
    await shop.posted(top_up(shop, member, 10_000))

    assert limit_of(problem) == ("balance_max", "60.00")


async def test_the_window_rolls_by_the_instant(shop_with: OpenShop) -> None:
    shop = await shop_with(LIMITS, start_at=datetime.fromisoformat("2026-06-01T20:00:00+00:00"))
    member = await shop.member()
    first = await shop.posted(top_up(shop, member, 15_000))
    for _ in range(2):
        await shop.posted(payment(shop, member, 15_000, at_once=True))
        await shop.move_by(days=1)
        await shop.posted(top_up(shop, member, 15_000))
    await shop.posted(payment(shop, member, 15_000, at_once=True))

    await shop.move_to(first.posted_at + timedelta(days=30, seconds=-5))
    before = await shop.refused(top_up(shop, member, 5_001))
    await shop.move_to(first.posted_at + timedelta(days=30))
    await shop.posted(top_up(shop, member, 15_000))
    after = await shop.refused(top_up(shop, member, 5_001))

    assert limit_of(before) == ("top_up_window", "50.00")
    assert limit_of(after) == ("top_up_window", "50.00")
    leaves_at = first.posted_at.replace(microsecond=0) + timedelta(days=30)
    assert [resets_at(each) for each in (before, after)] == [leaves_at, leaves_at + timedelta(days=1)]


async def test_a_purchase_between_forgets_nothing_of_a_window_of_months(shop_with: OpenShop) -> None:
    shop = await shop_with(
        'late_days: 1\nprepaid: {limits: {top_up_window: {amount: "50.00", window: P2M}}}\n' + POINT_PER_EURO
    )
    member = await shop.member()
    await shop.posted(top_up(shop, member, 4_000))
    await shop.move_by(days=50)
    await shop.buy(member, 1_000)

    within = await shop.refused(top_up(shop, member, 1_001))
    await shop.move_by(days=12)
    await shop.posted(top_up(shop, member, 5_000))

    assert limit_of(within) == ("top_up_window", "10.00")
    assert resets_at(within) == (await shop.entries(member))[1].posted_at.replace(microsecond=0) + timedelta(
        days=61, hours=-1
    )


async def test_a_rule_that_is_named_like_the_limit_has_a_count_of_its_own(shop_with: OpenShop) -> None:
    shop = await shop_with(
        'prepaid: {limits: {top_up_window: {amount: "50.00", window: P30D}}}\n'
        "earning: [{id: top_up, event: top_up, award: {points: 5}, limit: {count: 1, per: day}}]\n"
    )
    member = await shop.member()

    entries = [await shop.posted(top_up(shop, member, 1_000)) for _ in range(3)]

    assert [entry.points for entry in entries] == [5, 0, 0]
    assert limit_of(await shop.refused(top_up(shop, member, 2_001))) == ("top_up_window", "20.00")


@pytest.mark.parametrize("amount", [0, -1])
async def test_a_top_up_is_of_more_than_zero(shop: Shop, member: Member, amount: int) -> None:
    problem = await shop.refused(top_up(shop, member, amount))

    assert isinstance(problem, InvalidInput)
    assert [one.path for one in problem.fields] == ["amount.amount"]


async def test_top_ups_at_once_stop_at_the_limit(shop_with: OpenShop) -> None:
    shop = await shop_with(LIMITS)
    member = await shop.member()
    ledgers = [shop.ledger, shop.another_ledger()]

    outcomes = await shop.spread_over(ledgers, [top_up(shop, member, 5_000) for _ in range(12)])

    assert sum(isinstance(outcome.decided, LimitReached) for outcome in outcomes) == 7
    assert await shop.available(member, PREPAID) == 25_000
