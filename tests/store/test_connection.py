"""The store: prepared before traffic by any number of processes, clear about what it cannot work with."""

import asyncio
import gc
from dataclasses import replace
from datetime import UTC, datetime

import pytest
from bson import encode
from bson.raw_bson import RawBSONDocument
from pymongo.errors import DuplicateKeyError

from domain.settings import Settings
from domain.store.codec import to_bson
from domain.store.collections import ALL, INDEXES, IndexConflict
from domain.store.connection import Store, StoreUnavailable, open_store, opened_store

NOW = datetime(2026, 11, 22, 14, 0, tzinfo=UTC)


async def test_all_collections_and_indexes_exist_once_prepared(store: Store) -> None:
    await asyncio.gather(store.prepare(), store.prepare())

    assert set(ALL) <= set(await store.database.list_collection_names())
    for name, indexes in INDEXES.items():
        assert {index.name for index in indexes} <= set(await store.database[name].index_information())


async def test_many_processes_may_prepare_a_fresh_database_at_once(settings: Settings) -> None:
    fresh = replace(settings, database=f"{settings.database}_fresh")
    store = await open_store(fresh)
    try:
        await asyncio.gather(*(store.prepare() for _ in range(5)))

        assert set(await store.database.list_collection_names()) == set(ALL)
    finally:
        await store.client.drop_database(fresh.database)
        await store.close()


async def test_an_index_of_the_same_name_with_other_keys_stops_the_start(settings: Settings) -> None:
    conflicting = replace(settings, database=f"{settings.database}_conflict")
    store = await open_store(conflicting)
    try:
        await store.journal.create_index([("member", 1)], name="member_seq")

        with pytest.raises(IndexConflict, match=r"_conflict\.journal has an index that is not what .* needs"):
            await store.prepare()
    finally:
        await store.client.drop_database(conflicting.database)
        await store.close()


async def test_a_member_has_each_number_and_each_key_once_and_refusals_have_no_number(store: Store) -> None:
    await store.journal.insert_one({"member": "a", "seq": 1, "key": "k1"})
    await store.journal.insert_many([{"member": "a", "key": "k2"}, {"member": "a", "key": "k3"}])
    await store.journal.insert_one({"member": "b", "seq": 1, "key": "k1"})

    with pytest.raises(DuplicateKeyError, match="member_seq"):
        await store.journal.insert_one({"member": "a", "seq": 1, "key": "k4"})
    with pytest.raises(DuplicateKeyError, match="member_key"):
        await store.journal.insert_one({"member": "a", "seq": 2, "key": "k2"})
    assert await store.journal.count_documents({}) == 4


async def test_a_partners_reference_names_one_member(store: Store) -> None:
    await store.members.insert_many([{"_id": "a"}, {"_id": "b"}, {"_id": "c", "references": ["till:1", "web:1"]}])

    with pytest.raises(DuplicateKeyError):
        await store.members.update_one({"_id": "a"}, {"$push": {"references": "web:1"}})
    await store.members.update_one({"_id": "a"}, {"$push": {"references": "till:2"}})

    assert await store.members.find_one({"references": "till:2"}) == {"_id": "a", "references": ["till:2"]}


@pytest.mark.parametrize(
    ("collection", "query", "index"),
    [
        ("wallets", {"slot": {"$in": [1, 2]}, "next_due_at": {"$lte": NOW}}, "slot_due"),
        ("journal", {"member": "a", "seq": {"$gt": 3}}, "member_seq"),
        ("journal", {"member": "a", "key": "k"}, "member_key"),
        ("journal", {"member": "a", "reverses": "e1"}, "member_reverses"),
        ("journal", {"posted_at": {"$gte": NOW}}, "posted_at"),
        ("members", {"references": "till:1"}, "references"),
    ],
)
async def test_what_is_looked_for_is_found_by_its_index(
    store: Store, collection: str, query: dict[str, object], index: str
) -> None:
    await store.journal.insert_many(
        [{"member": "a", "seq": n, "key": f"k{n}", "posted_at": NOW} for n in range(1, 50)]
        + [{"member": "a", "seq": 50, "key": "k", "reverses": "e1", "posted_at": NOW}]
    )

    plan = (await store.database[collection].find(query).explain())["queryPlanner"]["winningPlan"]

    assert plan["inputStage"]["indexName"] == index


async def test_what_was_written_is_read_again(store: Store) -> None:
    document = {
        "_id": "a",
        "small": 1,
        "large": 2**63 - 1,
        "at": NOW,
        "deep": [{"amount": -5, "flag": True, "none": None, "text": "é"}],
    }

    await store.wallets.insert_one(to_bson(document))
    found = await store.wallets.find_one({"_id": "a"})

    assert found == document
    assert found is not None
    assert [type(found["small"]), type(found["large"]), type(found["deep"][0]["amount"])] == [int, int, int]
    assert found["at"].tzinfo is UTC


def test_integers_are_written_with_64_bits_whatever_their_size() -> None:
    small, large = (len(RawBSONDocument(encode(to_bson({"n": number}))).raw) for number in (1, 2**40))

    assert small == large


@pytest.mark.filterwarnings("ignore:unclosed <socket:ResourceWarning")  # the driver's, cancelled while connecting
async def test_a_server_that_does_not_answer_is_named_as_that(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("domain.store.connection.SELECTION_MS", 200)

    with pytest.raises(StoreUnavailable, match=r"The database does not answer: .*127\.0\.0\.1:1"):
        await open_store(replace(settings, mongodb_url="mongodb://127.0.0.1:1/?directConnection=true"))
    gc.collect()


async def test_an_opened_store_is_prepared_and_answers(settings: Settings) -> None:
    async with opened_store(settings) as store:
        await store.ping()

        assert set(ALL) <= set(await store.database.list_collection_names())
