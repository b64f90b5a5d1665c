"""What arrives is told, also after the database was away and after the stream's place was lost."""

import asyncio
import json
import os
import signal
import time
from pathlib import Path

import pytest
from pymongo.errors import PyMongoError

from domain.settings import read_settings
from domain.store import collections
from domain.store.changes import Changes
from domain.store.connection import Store, opened_store
from domain.store.embedded import is_stopped, open_embedded


async def test_only_who_waits_for_the_key_is_told(store: Store) -> None:
    changes = Changes(store)
    async with (
        changes.listening(collections.INBOX, "m1") as mine,
        changes.listening(collections.INBOX, "m2") as others,
    ):
        # Whoever is there when the stream opens is told to read on once.
        await asyncio.wait_for(mine.wait(), 60)
        await store.inbox.insert_one({"_id": "i1", "member": "m1"})
        await asyncio.wait_for(mine.wait(), 60)
        waiting = asyncio.create_task(others.wait())
        await store.inbox.insert_one({"_id": "i2", "member": "m1"})
        await asyncio.wait_for(mine.wait(), 60)
        told = waiting.done()
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)
    await changes.close()

    assert not told
    assert changes._listeners == {}


async def test_a_place_that_is_lost_tells_everybody_to_read_on(store: Store) -> None:
    changes = Changes(store)
    changes._resume_after = {"_data": "00"}
    async with changes.listening(collections.INBOX, "m1") as mine:
        await asyncio.wait_for(mine.wait(), 60)
        await store.inbox.insert_one({"_id": "i1", "member": "m1"})
        await asyncio.wait_for(mine.wait(), 60)
    await changes.close()


@pytest.mark.slow
async def test_what_came_after_the_database_was_killed_is_told(tmp_path: Path) -> None:
    data = tmp_path / "data"
    with await asyncio.to_thread(open_embedded, data) as embedded:
        settings = read_settings({}, mode="sandbox", mongodb_url=embedded.url, database="own")
        async with opened_store(settings) as store:
            changes = Changes(store)
            async with changes.listening(collections.INBOX, "m1") as mine:
                await asyncio.wait_for(mine.wait(), 60)
                os.kill(json.loads((data / "server.json").read_bytes())["pid"], signal.SIGKILL)
                await _inserted(store, "i1")
                await asyncio.wait_for(mine.wait(), 90)
            await changes.close()
    await asyncio.to_thread(_until_stopped, data)


async def _inserted(store: Store, identifier: str) -> None:
    for _ in range(60):
        try:
            await store.inbox.update_one({"_id": identifier}, {"$set": {"member": "m1"}}, upsert=True)
        except PyMongoError:
            await asyncio.sleep(0.5)
        else:
            return
    raise AssertionError("the server is not back")


def _until_stopped(data: Path) -> None:
    deadline = time.monotonic() + 90
    while not is_stopped(data):
        assert time.monotonic() < deadline, "the server did not stop"
        time.sleep(0.05)
