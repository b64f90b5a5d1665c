"""Buckets hold over processes: each `Buckets` here stands for one."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from domain.store.buckets import Allowance, Buckets
from domain.store.connection import Store

HUNDRED = Allowance(capacity=100, refill_per_second=1)


@asynccontextmanager
async def process(store: Store) -> AsyncIterator[Buckets]:
    buckets = Buckets(store)
    try:
        yield buckets
    finally:
        await buckets.close()


async def served(buckets: Buckets, times: int, *, cost: int = 10, key: str = "member:m1") -> int:
    waits = [await buckets.charge(key, HUNDRED, cost=cost) for _ in range(times)]
    return waits.count(0)


async def test_a_bucket_gives_its_capacity_at_once_and_then_says_how_long_to_wait(store: Store) -> None:
    async with process(store) as buckets:
        first = await served(buckets, 10)
        wait = await buckets.charge("member:m1", HUNDRED, cost=10)
        other = await buckets.charge("member:m2", HUNDRED, cost=10)

    assert first == 10
    assert 8 <= wait <= 10
    assert other == 0


async def test_two_hundred_requests_at_once_are_served_ten(store: Store) -> None:
    async with process(store) as buckets:
        waits = await asyncio.gather(*(buckets.charge("member:m1", HUNDRED, cost=10) for _ in range(200)))

    assert waits.count(0) == 10


async def test_what_one_process_did_not_spend_another_may(store: Store) -> None:
    async with process(store) as one:
        assert await served(one, 3) == 3
    async with process(store) as another:
        assert await served(another, 20) == 7


async def test_four_processes_together_give_little_more_than_one(store: Store) -> None:
    async with process(store) as one, process(store) as two, process(store) as three, process(store) as four:
        given = [await served(each, 20) for each in (one, two, three, four)]
    document = await store.buckets.find_one({"_id": "member:m1"})

    assert given[0] == 10
    assert sum(given) <= 10 + 3 * 2
    assert document is not None
    assert document["level"] <= 100 - 10 * sum(given) + 5
    assert document["holders"] == []


async def test_what_was_spent_already_is_owed(store: Store) -> None:
    async with process(store) as buckets:
        buckets.debit("member:m1", HUNDRED, cost=150)
        waits = [await buckets.charge("member:m1", HUNDRED, cost=1) for _ in range(3)]

    assert all(wait > 40 for wait in waits)


async def test_a_partner_may_have_a_bucket_of_its_own_size(store: Store) -> None:
    large = Allowance(capacity=1_000_000, refill_per_second=1_000_000)

    async with process(store) as buckets:
        waits = [await buckets.charge("partner:p", large, cost=1_000) for _ in range(200)]

    assert waits == [0] * 200
