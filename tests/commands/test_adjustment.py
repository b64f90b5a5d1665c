from datetime import UTC, datetime

import pytest

from domain.members.member import Member
from domain.problems import InsufficientBalance, InvalidInput
from domain.programme.earning import ExplanationRow
from tests.ledger.conftest import OpenShop
from tests.ledger.shop import CASHBACK, POINT_PER_EURO, Shop

IDLE = "points: {expiry: {policy: inactivity, after: P1M}}\n" + POINT_PER_EURO


async def test_staff_give_and_take_points_with_a_reason(shop: Shop, member: Member) -> None:
    given = await shop.adjust(member, 100)
    taken = await shop.adjust(member, -30)

    assert (given.points, taken.points) == (100, -30)
    assert taken.note is not None
    assert taken.note.text == "Goodwill"
    assert taken.explanation == (ExplanationRow("adjustment", "adjustment", -30, 0),)
    assert await shop.available(member) == 70


@pytest.mark.parametrize("asset", [CASHBACK, "bonus/EUR", "prepaid/EUR"])
async def test_staff_give_and_take_money_of_one_pocket(shop: Shop, member: Member, asset: str) -> None:
    await shop.adjust(member, 250, asset=asset)
    entry = await shop.adjust(member, -50, asset=asset)

    assert entry.balances.money == {asset: 200}
    assert await shop.available(member) == 0


async def test_no_more_can_be_taken_than_there_is(shop: Shop, member: Member) -> None:
    await shop.adjust(member, 100)

    problem = await shop.refused(shop.adjustment(member, -101))

    assert isinstance(problem, InsufficientBalance)
    assert (problem.asset, problem.available, problem.required) == ("points", "100", "101")
    assert await shop.available(member) == 100


async def test_money_of_another_currency_is_refused(shop: Shop, member: Member) -> None:
    problem = await shop.refused(shop.adjustment(member, 100, asset="cashback/USD"))

    assert isinstance(problem, InvalidInput)
    assert [one.path for one in problem.fields] == ["money.currency"]


async def test_what_staff_give_expires_by_the_programmes_policy(shop_with: OpenShop) -> None:
    shop = await shop_with("points: {expiry: {policy: calendar}}\n")
    member = await shop.member()
    await shop.adjust(member, 100)

    standing = await shop.standing(member)

    assert standing.expiring == ((100, datetime(2026, 12, 31, 23, tzinfo=UTC)),)


async def test_what_staff_give_can_be_spent_at_once(shop_with: OpenShop) -> None:
    shop = await shop_with("cashback: {pending: P14D, expiry: {policy: rolling, after: P1M}}\n")
    member = await shop.member()
    await shop.adjust(member, 10_00, asset=CASHBACK)

    standing = await shop.standing(member, CASHBACK)

    assert (standing.available, standing.pending) == (10_00, 0)
    assert standing.expiring == ((10_00, datetime(2026, 4, 2, 22, tzinfo=UTC)),)


async def test_an_adjustment_is_no_activity(shop_with: OpenShop) -> None:
    shop = await shop_with(IDLE)
    member = await shop.member()
    await shop.buy(member, 1000)
    await shop.move_by(days=20)
    await shop.adjust(member, 5)
    await shop.adjust(member, -3)

    standing = await shop.standing(member)

    assert standing.expiring == ((12, datetime(2026, 4, 2, 22, tzinfo=UTC)),)


async def test_an_adjustment_of_a_wallet_gone_idle_lasts_from_its_day(shop_with: OpenShop) -> None:
    shop = await shop_with(IDLE)
    member = await shop.member()
    await shop.buy(member, 1000)
    await shop.move_to(datetime(2026, 6, 10, 10, tzinfo=UTC))

    await shop.adjust(member, 5)

    assert (await shop.standing(member)).expiring == ((5, datetime(2026, 7, 10, 22, tzinfo=UTC)),)


async def test_an_adjustment_moves_no_tier_and_no_counter(shop: Shop, member: Member) -> None:
    before = await shop.wallet(member)
    await shop.adjust(member, 1000)

    after = await shop.wallet(member)

    assert (after.tier, after.metric, after.purchases, after.visits) == (None, {}, 0, 0)
    assert after.lifetime_points == before.lifetime_points
