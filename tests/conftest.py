"""One embedded server for all test processes of a run, and for each of them a database of its own.

The process that starts the run makes a folder for the server and removes it at the end. A test that asks
for `store` finds the collections empty: they are made once per process and emptied before each test, which
takes a tenth of the time of making them.
"""

import asyncio
import shutil
import signal
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any, Final

import pytest
from hypothesis import settings as hypothesis_settings
from pymongo import WriteConcern
from pymongo.asynchronous.database import AsyncDatabase
from pymongo.read_concern import ReadConcern

from domain.settings import Settings, read_settings
from domain.store.connection import Document, Store, open_store
from domain.store.embedded import is_stopped, open_embedded

STOP_SECONDS: Final = 60

_FOLDER = pytest.StashKey[Path]()

# A run of the suite says the same each time; `--hypothesis-profile=default` looks for what nobody has tried yet.
hypothesis_settings.register_profile("same", derandomize=True)
hypothesis_settings.load_profile("same")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--receipts", type=Path, help="a whole year's receipts (JSONL, gzipped) to replay and count")


def pytest_configure(config: pytest.Config) -> None:
    # A run in the background of a script ignores Ctrl-C, and so would every process that a test starts.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    if not hasattr(config, "workerinput"):
        config.stash[_FOLDER] = Path(tempfile.mkdtemp(prefix="member-wallet-tests-"))


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:
    node.workerinput["server_folder"] = str(node.config.stash[_FOLDER])


def pytest_unconfigure(config: pytest.Config) -> None:
    folder = config.stash.get(_FOLDER, None)
    if folder is None:
        return
    deadline = time.monotonic() + STOP_SECONDS
    while not is_stopped(folder) and time.monotonic() < deadline:
        time.sleep(0.05)
    shutil.rmtree(folder, ignore_errors=True)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Long tests come first: a process that is done takes tests from the end of another's list, never half of these."""
    items.sort(key=lambda item: item.get_closest_marker("slow") is None)


@pytest.fixture(scope="session")
def server_folder(pytestconfig: pytest.Config) -> Path:
    """The data folder of the server that all test processes share."""
    shared = getattr(pytestconfig, "workerinput", {}).get("server_folder")
    return Path(shared) if shared else pytestconfig.stash[_FOLDER]


@pytest.fixture(scope="session")
def server_url(server_folder: Path) -> Iterator[str]:
    """The address of that server, which runs for as long as the test process does."""
    with open_embedded(server_folder) as embedded:
        yield embedded.url


@pytest.fixture(scope="session")
def settings(server_url: str, worker_id: str) -> Settings:
    """A sandbox's settings on this test process's own database."""
    return read_settings({}, mode="sandbox", mongodb_url=server_url, database=f"test_{worker_id}")


@pytest.fixture(scope="session")
async def prepared_store(settings: Settings) -> AsyncIterator[Store]:
    store = await open_store(settings)
    await store.client.drop_database(settings.database)
    await store.prepare()
    yield store
    await store.client.drop_database(settings.database)
    await store.close()


@pytest.fixture
async def store(prepared_store: Store) -> Store:
    """The prepared database, empty."""
    quick = WriteConcern(w=1, j=False)
    database = prepared_store.database
    await asyncio.gather(
        *(
            database.get_collection(name, write_concern=quick).delete_many({})
            for name in await _filled(await database.list_collection_names(), database)
        )
    )
    return prepared_store


async def _filled(names: list[str], database: AsyncDatabase[Document]) -> list[str]:
    """The collections that hold something, asked for in one command."""
    if not names:
        return []
    parts: list[list[Document]] = [
        [{"$limit": 1}, {"$project": {"_id": False, "name": {"$literal": name}}}] for name in names
    ]
    others: list[Document] = [
        {"$unionWith": {"coll": name, "pipeline": part}} for name, part in zip(names[1:], parts[1:], strict=True)
    ]
    first = database.get_collection(names[0], read_concern=ReadConcern("local"))
    found = await first.aggregate([*parts[0], *others])
    return [document["name"] async for document in found]
