from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import datetime

import pytest

from domain.members.member import Member
from domain.store.connection import Store
from tests.ledger.shop import POINT_PER_EURO, START, Shop, assert_sound, open_shop

OpenShop = Callable[..., Awaitable[Shop]]


@pytest.fixture
async def shop_with(store: Store) -> AsyncIterator[OpenShop]:
    """Opens the shop of a test with those sections of a programme; at the end every journal in it must be sound."""
    opened: list[Shop] = []

    async def build(sections: str, *, start_at: datetime = START, zone: str = "Europe/Ljubljana") -> Shop:
        opened.append(await open_shop(store, sections, start_at=start_at, zone=zone))
        return opened[-1]

    yield build
    for shop in opened:
        await shop.close()
    await assert_sound(store)


@pytest.fixture
async def shop(shop_with: OpenShop) -> Shop:
    """A shop that gives one point for a euro; nothing expires."""
    return await shop_with(POINT_PER_EURO)


@pytest.fixture
async def member(shop: Shop) -> Member:
    return await shop.member()
