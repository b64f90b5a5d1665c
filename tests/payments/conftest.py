from collections.abc import AsyncIterator, Iterator
from dataclasses import replace

import pytest

from domain.settings import Settings
from domain.store.connection import Store
from tests.api.shop import Shop, opened_shop, shop
from tests.payments.bank import WEBHOOK_SECRET, Bank, running_stand_in

__all__ = ("shop",)


@pytest.fixture(scope="session")
def stand_in() -> Iterator[str]:
    """The address of Stripe's stand-in."""
    with running_stand_in() as url:
        yield url


@pytest.fixture
async def stripe_settings(settings: Settings, stand_in: str) -> Settings:
    return replace(settings, stripe_key="sk_test_wallet", stripe_webhook_secret=WEBHOOK_SECRET, stripe_url=stand_in)


@pytest.fixture
async def stripe_shop(store: Store, stripe_settings: Settings) -> AsyncIterator[Shop]:
    """A shop that tops up through Stripe's stand-in."""
    async with opened_shop(store, stripe_settings) as opened:
        yield opened


@pytest.fixture
async def bank(stripe_shop: Shop, stand_in: str) -> AsyncIterator[Bank]:
    """What Stripe does on its side: cards, confirmations, and webhooks signed by its own library."""
    async with Bank(shop=stripe_shop, url=stand_in) as opened:
        yield opened
