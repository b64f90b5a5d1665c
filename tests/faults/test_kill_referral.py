"""A worker killed with SIGKILL while it rewards a referral: the next one finishes, and each is rewarded once."""

import signal
from collections.abc import AsyncIterator
from typing import Final

import pytest

from domain.ledger.audit import audit
from domain.settings import Settings
from domain.store.connection import Store
from notifications.advance import advance
from tests.commands.test_referral import FINAL, PLAIN, friend_of, points
from tests.faults.test_kill_worker import eventually, started
from tests.ledger.conftest import OpenShop

TRANSACTION_SECONDS: Final = 5
"""The server gives up a dead process's transaction after so long, and the next try waits for that."""


@pytest.fixture
async def _short_transactions(store: Store) -> AsyncIterator[None]:
    admin, name = store.client.admin, "transactionLifetimeLimitSeconds"
    before = await admin.command({"setParameter": 1, name: TRANSACTION_SECONDS})
    yield
    await admin.command({"setParameter": 1, name: before["was"]})


@pytest.mark.slow
@pytest.mark.usefixtures("_short_transactions")
@pytest.mark.parametrize(
    ("friends_before", "killed", "left", "awards"),
    [
        (0, {"command": "insert", "collection": "journal", "when": "after"}, [0, 0], [200, 100]),
        (0, {"command": "update", "collection": "wallets", "when": "after"}, [0, 0], [200, 100]),
        (2, {"command": "insert", "collection": "journal", "when": "after"}, [400, 0], [400, 100]),
    ],
    ids=["referrer's entry in the transaction", "referrer's wallet in the transaction", "referrer at his limit"],
)
async def test_a_worker_killed_between_the_two_awards_is_followed_by_one_that_finishes(
    shop_with: OpenShop,
    settings: Settings,
    *,
    friends_before: int,
    killed: dict[str, str],
    left: list[int],
    awards: list[int],
) -> None:
    shop = await shop_with(PLAIN)
    referrer = await shop.member()
    for _ in range(friends_before):
        await shop.buy(await friend_of(shop, referrer), 20_00)
    friend = await friend_of(shop, referrer)
    await advance(shop.store, shop.clock, shop.ledger, FINAL)
    await shop.buy(friend, 20_00, occurred_at=FINAL)
    await shop.move_by(days=14)

    first = started(settings, killed)
    died = await first.ended()
    between = await points(shop, referrer, friend)
    second = started(settings)

    async def rewarded() -> bool:
        return await points(shop, friend) != [0]

    await eventually(rewarded)

    assert died == -signal.SIGKILL
    assert between == left
    assert await second.stop() == 0
    assert await points(shop, referrer, friend) == awards
    await shop.ledger.settle([referrer.id, friend.id])
    report = await audit(shop.store)
    assert report.ok, report.differences
