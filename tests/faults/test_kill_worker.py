"""Workers as processes, some of them killed: each thing that is due happens once, and wallets are repaired."""

import asyncio
import signal
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Final

import pytest

from domain.ledger.accounts import account_sums
from domain.ledger.audit import audit
from domain.settings import Settings
from tests.faults.process import work
from tests.forked import PATIENCE_SECONDS, Forked, fork
from tests.ledger.conftest import OpenShop
from tests.ledger.shop import CASHBACK, Shop

FADING: Final = """
points: {expiry: {policy: rolling, after: P12M}}
cashback: {pending: P14D, expiry: {policy: rolling, after: P6M}}
earning:
  - {id: base, event: purchase, award: {points: {per: "1.00", give: 1}}}
  - {id: back, event: purchase, award: {cashback: {percent: "5"}}}
"""
ALL_GONE_AT: Final = datetime(2027, 3, 3, tzinfo=UTC)


@pytest.fixture
async def shop(shop_with: OpenShop) -> Shop:
    return await shop_with(FADING)


def started(settings: Settings, killed: dict[str, str] | None = None) -> Forked:
    return fork(work, settings=settings, killed=killed, lease_seconds=1.5)


async def kinds(shop: Shop) -> Counter[str]:
    return Counter([document["kind"] async for document in shop.store.journal.find({"kind": {"$exists": True}})])


async def eventually(holds: Callable[[], Awaitable[bool]]) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not await holds():
        assert time.monotonic() < deadline, "it never came"
        await asyncio.sleep(0.1)


async def with_value(shop: Shop, count: int) -> None:
    members = await shop.members(count)
    await shop.all(shop.purchase(member, 20_00) for member in members)


async def test_three_worker_processes_post_what_is_due_on_two_hundred_wallets_once(
    shop: Shop, settings: Settings
) -> None:
    await with_value(shop, 200)
    await shop.move_to(ALL_GONE_AT)

    workers = [started(settings) for _ in range(3)]

    async def done() -> bool:
        return (await kinds(shop))["EXPIRE"] >= 400 and not (await audit(shop.store)).uncounted

    await eventually(done)
    assert [await worker.stop() for worker in workers] == [0, 0, 0]
    assert await kinds(shop) == {"JOIN": 200, "PURCHASE": 200, "MATURE": 200, "EXPIRE": 400}
    assert await account_sums(shop.store) == {
        ("programme/points", "points"): -4_000,
        ("programme/cashback", CASHBACK): -200_00,
        ("programme/expired", "points"): 4_000,
        ("programme/expired", CASHBACK): 200_00,
    }
    report = await audit(shop.store)
    assert report.ok, report.differences


@pytest.mark.parametrize(
    "killed",
    [
        {"command": "insert", "collection": "journal", "when": "after"},
        {"command": "update", "collection": "wallets", "when": "before"},
        {"command": "update", "collection": "accounts", "when": "before"},
        {"command": "update", "collection": "accounts", "when": "after"},
    ],
    ids=["journal written", "wallet not written", "sums not written", "sums written"],
)
async def test_a_worker_killed_in_the_middle_is_followed_by_one_that_finishes(
    shop: Shop, settings: Settings, killed: dict[str, str]
) -> None:
    await with_value(shop, 30)
    await shop.move_to(ALL_GONE_AT)

    first = started(settings, killed)
    died = await first.ended()
    second = started(settings)

    async def done() -> bool:
        report = await audit(shop.store)
        return (await kinds(shop))["EXPIRE"] >= 60 and not report.uncounted and not report.behind

    await eventually(done)
    assert died == -signal.SIGKILL
    assert await second.stop() == 0
    assert await kinds(shop) == {"JOIN": 30, "PURCHASE": 30, "MATURE": 30, "EXPIRE": 60}
    assert (await account_sums(shop.store))["programme/expired", "points"] == 600
    report = await audit(shop.store)
    assert report.ok, report.differences


async def test_a_worker_repairs_wallets_that_were_left_behind_before_it_came(shop: Shop, settings: Settings) -> None:
    member, other = await shop.member(), await shop.member()
    early = await shop.store.wallets.find_one({"_id": member.id})
    assert early is not None
    await shop.buy(member, 20_00)
    await shop.buy(other, 20_00)
    await shop.store.wallets.replace_one({"_id": member.id}, early)
    await shop.store.wallets.delete_one({"_id": other.id})

    worker = started(settings)

    async def repaired() -> bool:
        return (await audit(shop.store)).behind == 0

    await eventually(repaired)
    assert await worker.stop() == 0
    wallets = [wallet["seq"] async for wallet in shop.store.wallets.find()]
    assert wallets == [2, 2]
