"""Points and cashback for a charity: each has its own account."""

import pytest

from domain.ledger.posting import POINTS
from domain.problems import InsufficientBalance, InvalidInput, NotFound
from tests.ledger.conftest import OpenShop
from tests.ledger.shop import CASHBACK, Shop
from tests.ledger.spending import REWARDS, donation


@pytest.fixture
async def shop(shop_with: OpenShop) -> Shop:
    return await shop_with(REWARDS)


async def test_points_and_cashback_go_to_the_charitys_own_account(shop: Shop) -> None:
    member = await shop.member()
    await shop.adjust(member, 50)
    await shop.adjust(member, 5_00, asset=CASHBACK)

    points = await shop.posted(donation(shop, member, 30))
    cashback = await shop.posted(donation(shop, member, 1_25, asset=CASHBACK, charity="shelter"))

    (given,), (paid,) = points.postings, cashback.postings
    assert (given.destination, given.asset, given.amount) == ("charity/food-bank", POINTS, 30)
    assert (paid.destination, paid.asset, paid.amount) == ("charity/shelter", CASHBACK, 1_25)
    assert (await shop.available(member), await shop.available(member, CASHBACK)) == (20, 3_75)


async def test_more_than_there_is_an_unknown_charity_and_nothing_are_refused(shop: Shop) -> None:
    member = await shop.member()
    await shop.adjust(member, 50)

    assert isinstance(await shop.refused(donation(shop, member, 51)), InsufficientBalance)
    assert isinstance(await shop.refused(donation(shop, member, 1, charity="nobody")), NotFound)
    assert isinstance(await shop.refused(donation(shop, member, 0)), InvalidInput)
    assert isinstance(await shop.refused(donation(shop, member, 1, asset="cashback/USD")), InvalidInput)
    assert await shop.available(member) == 50
