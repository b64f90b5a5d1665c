"""The worker and the sandbox's clock: what falls due is posted, in order, once, by however many."""

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta

import pytest

from domain.ledger.commit import Ledger
from domain.ledger.entry import EntryKind
from domain.store.clock import ClockMovedBack, SandboxClock
from notifications.advance import advance
from notifications.worker import Worker
from tests.ledger.conftest import OpenShop
from tests.ledger.shop import CASHBACK, Shop

FADING = """
points: {expiry: {policy: rolling, after: P12M}}
cashback: {pending: P14D, expiry: {policy: rolling, after: P6M}}
earning:
  - {id: base, event: purchase, award: {points: {per: "1.00", give: 1}}}
  - {id: back, event: purchase, award: {cashback: {percent: "5"}}}
"""
MATURES_AT = datetime(2026, 3, 15, 23, tzinfo=UTC)
CASHBACK_GONE_AT = datetime(2026, 9, 16, 22, tzinfo=UTC)
POINTS_GONE_AT = datetime(2027, 3, 2, 23, tzinfo=UTC)


@pytest.fixture
async def shop(shop_with: OpenShop) -> Shop:
    return await shop_with(FADING)


async def kinds(shop: Shop) -> Counter[str]:
    """How many entries of each kind the journal has."""
    return Counter([document["kind"] async for document in shop.store.journal.find({"kind": {"$exists": True}})])


async def eventually(holds: Callable[[], Awaitable[bool]], seconds: float = 90) -> None:
    deadline = time.monotonic() + seconds
    while not await holds():
        assert time.monotonic() < deadline, "it never came"
        await asyncio.sleep(0.02)


@asynccontextmanager
async def running(shop: Shop, count: int = 1, *, lease_seconds: float = 2) -> AsyncIterator[list[Worker]]:
    """Workers, each with a clock and a ledger of its own as in a process of its own."""
    workers, ledgers = [], []
    for _ in range(count):
        clock = SandboxClock(shop.store)
        await clock.refresh()
        ledgers.append(Ledger(shop.store, clock, shop.programmes))
        workers.append(Worker(shop.store, clock, ledgers[-1], lease_seconds=lease_seconds))
    tasks = [asyncio.create_task(worker.run()) for worker in workers]
    try:
        yield workers
    finally:
        for worker in workers:
            worker.stop()
        await asyncio.gather(*tasks)
        await asyncio.gather(*(ledger.close() for ledger in ledgers))


async def test_advancing_posts_all_that_falls_due_on_the_way_in_order(shop: Shop) -> None:
    member = await shop.member()
    await shop.buy(member, 30_00)

    done = await advance(shop.store, shop.clock, shop.ledger, POINTS_GONE_AT + timedelta(hours=1))

    due = (await shop.entries(member))[2:]
    assert done == 3
    assert [(entry.kind, entry.occurred_at) for entry in due] == [
        (EntryKind.MATURE, MATURES_AT),
        (EntryKind.EXPIRE, CASHBACK_GONE_AT),
        (EntryKind.EXPIRE, POINTS_GONE_AT),
    ]
    assert all(entry.posted_at - entry.occurred_at < timedelta(seconds=10) for entry in due)
    assert await shop.available(member) == 0
    assert await shop.available(member, CASHBACK) == 0
    assert timedelta(0) <= shop.clock.now() - POINTS_GONE_AT - timedelta(hours=1) < timedelta(seconds=10)


async def test_advancing_stops_short_of_what_falls_due_later(shop: Shop) -> None:
    member = await shop.member()
    await shop.buy(member, 30_00)

    early = await advance(shop.store, shop.clock, shop.ledger, MATURES_AT - timedelta(minutes=1))
    late = await advance(shop.store, shop.clock, shop.ledger, MATURES_AT)

    assert (early, late) == (0, 1)
    assert await kinds(shop) == {"JOIN": 1, "PURCHASE": 1, "MATURE": 1}


async def test_advancing_backwards_is_refused_and_moves_nothing(shop: Shop) -> None:
    before = shop.clock.now()

    with pytest.raises(ClockMovedBack):
        await advance(shop.store, shop.clock, shop.ledger, before - timedelta(seconds=1))

    assert shop.clock.now() - before < timedelta(seconds=5)


async def test_several_who_advance_at_once_beside_workers_post_everything_once(shop: Shop) -> None:
    members = [await shop.member() for _ in range(10)]
    for member in members:
        await shop.buy(member, 30_00)

    async with running(shop, 2):
        await asyncio.gather(
            *(
                advance(shop.store, shop.clock, shop.ledger, POINTS_GONE_AT + timedelta(hours=hours))
                for hours in range(4)
            )
        )

    assert await kinds(shop) == {"JOIN": 10, "PURCHASE": 10, "MATURE": 10, "EXPIRE": 20}


async def test_a_year_of_sixty_members_passes_in_seconds(shop: Shop) -> None:
    members = await shop.members(60)
    for day in range(6):
        await shop.all(shop.purchase(member, 10_00) for member in members[day::6])
        await shop.move_by(days=1)
    began = time.process_time()

    done = await advance(shop.store, shop.clock, shop.ledger, POINTS_GONE_AT + timedelta(days=10))

    assert done == 180
    assert time.process_time() - began < 10


async def test_a_worker_posts_what_falls_due_while_it_runs(shop: Shop) -> None:
    member = await shop.member()
    await shop.buy(member, 30_00)

    async with running(shop):
        await shop.move_to(MATURES_AT)
        await eventually(lambda: has(shop, "MATURE", 1))

    assert await shop.available(member, CASHBACK) == 150


async def test_three_workers_settle_two_hundred_due_wallets_once_each(shop: Shop) -> None:
    members = await shop.members(200)
    await shop.all(shop.purchase(member, 20_00) for member in members)
    await shop.move_to(POINTS_GONE_AT)

    async with running(shop, 3):
        await eventually(lambda: has(shop, "EXPIRE", 400))
        await asyncio.sleep(0.2)

    assert await kinds(shop) == {"JOIN": 200, "PURCHASE": 200, "MATURE": 200, "EXPIRE": 400}


async def test_workers_share_the_slots_and_give_them_back_when_stopped(shop: Shop) -> None:
    async with running(shop, 2) as (one, other):

        async def shared() -> bool:
            return len(one.slots) == len(other.slots) == 32

        await eventually(shared)
        assert not one.slots & other.slots

    assert await shop.store.leases.count_documents({"owner": {"$in": [one.name, other.name]}}) == 0


async def test_a_wallet_that_cannot_be_settled_stops_no_other(shop: Shop) -> None:
    broken, sound = await shop.member(), await shop.member()
    await shop.buy(broken, 30_00)
    await shop.buy(sound, 30_00)
    kept = await shop.store.wallets.find_one({"_id": broken.id})
    assert kept is not None
    await shop.store.wallets.update_one({"_id": broken.id}, {"$set": {"lots.0.remaining": -5}})

    async with running(shop):
        await shop.move_to(POINTS_GONE_AT)
        await eventually(lambda: has(shop, "EXPIRE", 2))

    assert [entry.member for entry in await shop.entries(sound)] == [sound.id] * 5
    await shop.store.wallets.replace_one({"_id": broken.id}, kept)


async def has(shop: Shop, kind: str, count: int) -> bool:
    return (await kinds(shop))[kind] >= count
