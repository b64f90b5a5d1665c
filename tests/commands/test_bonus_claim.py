"""A growing bonus: worth more the longer it is left alone, until it is claimed or gone."""

from datetime import UTC, datetime, timedelta

import pytest

from domain.ledger.bonus import Bonus, worth_minor
from domain.ledger.entry import EntryKind
from domain.members.member import Member
from domain.problems import NotFound, WrongState
from tests.ledger.conftest import OpenShop
from tests.ledger.shop import CASHBACK, Shop
from tests.ledger.spending import claim

GROWING = """
cashback: {expiry: {policy: rolling, after: P6M}}
earning:
  - {id: welcome, event: joined, award: {bonus: growing}}
bonuses:
  - {id: growing, worth: "10.00", grows: [{after: P30D, worth: "12.00"}, {after: P60D, worth: "15.00"}], expires: P90D}
"""
"""Joined at noon on 1 March in Ljubljana: grows on 31 March and 30 April, is there through 30 May."""


@pytest.fixture
async def shop(shop_with: OpenShop) -> Shop:
    return await shop_with(GROWING, start_at=datetime(2026, 3, 1, 11, tzinfo=UTC))


@pytest.fixture
async def member(shop: Shop) -> Member:
    return await shop.member()


async def bonus_of(shop: Shop, member: Member) -> Bonus:
    (bonus,) = (await shop.wallet(member)).bonuses.values()
    return bonus


@pytest.mark.parametrize(
    ("instant", "worth"),
    [
        (datetime(2026, 3, 1, 12, tzinfo=UTC), 10_00),
        (datetime(2026, 3, 30, 21, 59, 30, tzinfo=UTC), 10_00),
        (datetime(2026, 3, 30, 22, tzinfo=UTC), 12_00),
        (datetime(2026, 4, 29, 21, 59, 30, tzinfo=UTC), 12_00),
        (datetime(2026, 4, 29, 22, tzinfo=UTC), 15_00),
        (datetime(2026, 5, 30, 21, 59, 30, tzinfo=UTC), 15_00),
    ],
)
async def test_the_whole_worth_of_the_moment_becomes_cashback(
    shop: Shop, member: Member, instant: datetime, worth: int
) -> None:
    bonus = await bonus_of(shop, member)
    await shop.move_to(instant)

    assert worth_minor(bonus, instant) == worth
    entry = await shop.posted(claim(shop, member, bonus.id))

    assert (entry.kind, entry.moved(CASHBACK)) == (EntryKind.BONUS_CLAIM, worth)
    assert await shop.available(member, CASHBACK) == worth
    assert (await shop.wallet(member)).bonuses == {}


async def test_a_reader_whose_instant_was_just_before_the_grant_sees_its_first_worth(
    shop: Shop, member: Member
) -> None:
    bonus = await bonus_of(shop, member)

    assert worth_minor(bonus, bonus.steps[0].at - timedelta(milliseconds=5)) == 10_00


async def test_it_is_claimed_once(shop: Shop, member: Member) -> None:
    bonus = await bonus_of(shop, member)

    outcomes = await shop.spread_over(
        [shop.ledger, shop.another_ledger()], [claim(shop, member, bonus.id) for _ in range(10)]
    )

    states = [outcome.decided.state for outcome in outcomes if isinstance(outcome.decided, WrongState)]
    assert states == ["CLAIMED"] * 9
    assert await shop.available(member, CASHBACK) == 10_00


async def test_past_its_time_it_is_worth_nothing_and_cannot_be_claimed(shop: Shop, member: Member) -> None:
    bonus = await bonus_of(shop, member)
    gone_at = datetime(2026, 5, 30, 22, tzinfo=UTC)
    await shop.move_to(gone_at)

    outcome = await shop.ledger.commit(claim(shop, member, bonus.id))

    assert bonus.expires_at == gone_at
    assert worth_minor(bonus, gone_at) == 0
    assert isinstance(outcome.decided, WrongState)
    assert outcome.decided.state == "EXPIRED"
    assert await shop.available(member, CASHBACK) == 0


@pytest.mark.parametrize("identifier", ["junk", "", "x.1.b0", "x.99999999999999999999.b0"])
async def test_what_is_no_bonus_of_the_member_is_not_found(shop: Shop, member: Member, identifier: str) -> None:
    other = await shop.member()

    assert isinstance(await shop.refused(claim(shop, member, identifier)), NotFound)
    assert isinstance(await shop.refused(claim(shop, member, (await bonus_of(shop, other)).id)), NotFound)


async def test_a_bonus_goes_with_the_purchase_that_granted_it_unless_it_was_claimed(shop_with: OpenShop) -> None:
    rule = "{id: big, event: purchase, when: 'purchase.total_minor >= 5000', award: {bonus: growing}}"
    shop = await shop_with(GROWING.replace("bonuses:", f"  - {rule}\nbonuses:"))
    member = await shop.member()
    kept, claimed, gone = [await shop.buy(member, 60_00) for _ in range(3)]
    await shop.posted(claim(shop, member, f"{claimed.id}.b0"))

    await shop.give_back(member, kept, 10_00)
    for bought in (claimed, gone):
        await shop.give_back(member, bought, 10_01)
    refused = await shop.refused(claim(shop, member, f"{gone.id}.b0"))

    held = [bonus.id for bonus in (await shop.wallet(member)).bonuses.values()]
    assert held == [f"{member.id}.1.b0", f"{kept.id}.b0"]
    assert isinstance(refused, WrongState)
    assert refused.state == "CANCELLED"
    assert await shop.available(member, CASHBACK) == 10_00
