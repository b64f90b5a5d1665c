"""Writes that go together: each caller has the outcome of his own write."""

import asyncio

from pymongo import InsertOne, UpdateOne
from pymongo.errors import DuplicateKeyError, PyMongoError, WriteError

from domain.store.connection import Store
from domain.store.together import Together


async def test_hundreds_at_once_are_all_stored(store: Store) -> None:
    writes = Together(store.inbox)

    await asyncio.gather(*(writes.write(InsertOne({"_id": number})) for number in range(250)))

    assert await store.inbox.count_documents({}) == 250


async def test_only_the_caller_whose_write_fails_is_told_so(store: Store) -> None:
    writes = Together(store.inbox)
    await store.inbox.insert_one({"_id": 1, "text": "first"})

    outcomes = await asyncio.gather(
        writes.write(InsertOne({"_id": 0})),
        writes.write(InsertOne({"_id": 1})),
        writes.write(UpdateOne({"_id": 1}, {"$inc": {"text": 1}})),
        writes.write(UpdateOne({"_id": 2}, {"$set": {"text": "new"}}, upsert=True)),
        return_exceptions=True,
    )

    assert [type(outcome) for outcome in outcomes] == [type(None), DuplicateKeyError, WriteError, type(None)]
    assert {each["_id"]: each.get("text") async for each in store.inbox.find()} == {0: None, 1: "first", 2: "new"}


async def test_a_caller_who_is_cancelled_takes_no_other_along_and_later_writes_go_on(store: Store) -> None:
    writes = Together(store.inbox)
    given_up = asyncio.create_task(writes.write(InsertOne({"_id": 0})))
    other = asyncio.create_task(writes.write(InsertOne({"_id": 1})))
    await asyncio.sleep(0)

    given_up.cancel()
    await other
    await writes.write(InsertOne({"_id": 2}))

    assert given_up.cancelled()
    assert await store.inbox.count_documents({}) == 3


async def test_everybody_is_told_when_the_server_refuses_them_all(store: Store) -> None:
    writes = Together(store.database["system.views"])

    outcomes = await asyncio.gather(
        *(writes.write(InsertOne({"_id": number})) for number in range(2)), return_exceptions=True
    )

    assert all(isinstance(outcome, PyMongoError) for outcome in outcomes)
