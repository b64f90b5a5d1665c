"""The database killed with SIGKILL under load: whatever was acknowledged is there, and the rest can be asked again."""

import asyncio
import json
import os
import shutil
import signal
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from domain.ledger.audit import audit
from domain.ledger.command import Command
from domain.ledger.entry import Entry
from domain.ledger.outcome import Outcome, Unavailable
from domain.settings import read_settings
from domain.store.connection import opened_store
from domain.store.embedded import is_stopped, open_embedded
from tests.ledger.shop import POINT_PER_EURO, START, Shop, open_shop


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    data = tmp_path / "data"
    yield data
    deadline = time.monotonic() + 90
    while not is_stopped(data):
        assert time.monotonic() < deadline, "the server did not stop"
        time.sleep(0.05)
    shutil.rmtree(data, ignore_errors=True)


@pytest.fixture
async def shop(folder: Path) -> AsyncIterator[Shop]:
    """A shop on a server of its own."""
    with await asyncio.to_thread(open_embedded, folder) as embedded:
        async with opened_store(read_settings({}, mode="sandbox", mongodb_url=embedded.url, database="own")) as store:
            shop = await open_shop(store, POINT_PER_EURO, start_at=START, zone="Europe/Ljubljana")
            yield shop
            await shop.ledger.close()


async def until_answered(shop: Shop, command: Command) -> Outcome:
    """Asks again with the same key, as a till does."""
    for _ in range(150):
        try:
            return await shop.ledger.commit(command)
        except Unavailable:
            await asyncio.sleep(0.2)
    raise AssertionError("never answered")


async def test_what_was_acknowledged_before_mongod_was_killed_is_there_and_the_rest_is_posted_once(
    shop: Shop, folder: Path
) -> None:
    members = [await shop.member() for _ in range(8)]
    commands = [shop.purchase(member, 1_00) for member in members for _ in range(25)]
    acknowledged: dict[str, Entry] = {}

    async def send(command: Command) -> None:
        outcome = await until_answered(shop, command)
        assert isinstance(outcome.decided, Entry)
        acknowledged[command.key] = outcome.decided

    async def kill() -> None:
        while len(acknowledged) < 20:  # noqa: ASYNC110 -- the moment is the point
            await asyncio.sleep(0)
        os.kill(json.loads((folder / "server.json").read_bytes())["pid"], signal.SIGKILL)

    tills = [commands[start::10] for start in range(10)]

    async def till(mine: list[Command]) -> None:
        for command in mine:
            await send(command)

    await asyncio.gather(kill(), *(till(mine) for mine in tills))

    entries = {entry.id: entry for member in members for entry in await shop.entries(member)}
    assert {entry.id: entry for entry in acknowledged.values()}.items() <= entries.items()
    assert len(acknowledged) == 200
    assert len(entries) == 208
    assert [await shop.available(member) for member in members] == [25] * 8
    report = await audit(shop.store)
    assert report.ok, report.differences
