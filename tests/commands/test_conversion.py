"""Points into cashback: whole steps of the programme's rate, and nothing else."""

import pytest

from domain.ledger.entry import EntryKind
from domain.problems import InsufficientBalance, InvalidInput, NotEligible
from tests.ledger.conftest import OpenShop
from tests.ledger.shop import CASHBACK, POINT_PER_EURO, Shop
from tests.ledger.spending import REWARDS, conversion


@pytest.fixture
async def shop(shop_with: OpenShop) -> Shop:
    return await shop_with(REWARDS)


async def test_whole_steps_become_cashback_that_can_be_spent_at_once(shop: Shop) -> None:
    member = await shop.member()
    await shop.buy(member, 350_00)

    entry = await shop.posted(conversion(shop, member, 300))

    assert (entry.kind, entry.points, entry.moved(CASHBACK)) == (EntryKind.CONVERT, -300, 3_00)
    assert (await shop.available(member), await shop.available(member, CASHBACK)) == (50, 3_00)


@pytest.mark.parametrize("points", [0, -100, 1, 99, 150])
async def test_what_is_no_whole_step_is_invalid(shop: Shop, points: int) -> None:
    member = await shop.member()
    await shop.buy(member, 350_00)

    assert isinstance(await shop.refused(conversion(shop, member, points)), InvalidInput)


async def test_more_than_there_is_is_refused(shop: Shop) -> None:
    member = await shop.member()
    await shop.buy(member, 99_00)

    problem = await shop.refused(conversion(shop, member, 100))

    assert isinstance(problem, InsufficientBalance)
    assert (problem.available, problem.required) == ("99", "100")


async def test_a_programme_without_a_rate_converts_nothing(shop: Shop) -> None:
    await shop.publish(POINT_PER_EURO)
    member = await shop.member()

    problem = await shop.refused(conversion(shop, member, 100))

    assert isinstance(problem, NotEligible)
    assert problem.reason == "NO_CONVERSION"
