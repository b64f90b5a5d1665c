"""One change stream for everything that a process follows live, fanned out to whoever waits for a document's key.

A listener is told only that something arrived for its key, never what: it reads on from where it stands itself.
So nothing can be missed or seen twice, a listener that is slow holds nothing up and nothing is kept for it, and
after the database was away, or the stream's place in the oplog is lost, all listeners are told and read on. The
stream is opened by the first listener and begins at what a majority had by then: who listens first and reads with
read concern `majority` after that has no gap between the two.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from contextvars import Context
from dataclasses import dataclass
from typing import Any, Final

import structlog
from bson import Timestamp
from pymongo.errors import OperationFailure, PyMongoError
from pymongo.read_concern import ReadConcern

from domain.store import collections
from domain.store.connection import Document, Store

WATCH_MS: Final = 1_000
BATCH: Final = 1_000
RETRY_SECONDS: Final = (0.1, 0.2, 0.5, 1.0)
"""Waits after the stream was lost; the last one repeats."""
OPEN_SECONDS: Final = 10.0
FOLLOWED: Final[Mapping[str, tuple[dict[str, Any], str]]] = {
    # Entries; a refusal changes no wallet.
    collections.JOURNAL: ({"operationType": "insert", "fullDocument.seq": {"$exists": True}}, "fullDocument.member"),
    collections.INBOX: ({"operationType": "insert"}, "fullDocument.member"),
    # A session that ended, however; it is its own key.
    collections.SESSIONS: (
        {"operationType": "update", "updateDescription.updatedFields.ended_at": {"$exists": True}},
        "documentKey._id",
    ),
}
"""For each collection: which changes matter, and where the key is in their event."""

_LOG: Final = structlog.get_logger(__name__)


class ChangesClosed(Exception):  # noqa: N818 -- says what is the case
    """The process stops following; nothing will arrive any more."""


@dataclass(frozen=True, slots=True, eq=False)
class Listener:
    """Hears what arrives under its key: `tell` is called, and may be called when nothing arrived."""

    collection: str
    key: str
    tell: Callable[[], None]


class Arrivals:
    """What arrived since it was asked last. Belongs to one task."""

    __slots__ = ("_arrived", "_changes")

    def __init__(self, changes: "Changes") -> None:
        self._changes = changes
        self._arrived = asyncio.Event()

    async def wait(self) -> None:
        """Returns when something may have arrived since the last call. Raises ChangesClosed."""
        await self._arrived.wait()
        if self._changes.closed:
            raise ChangesClosed
        self._arrived.clear()

    def tell(self) -> None:
        self._arrived.set()


class Changes:
    """What one process follows; :meth:`close` it at the end."""

    def __init__(self, store: Store) -> None:
        self.closed = False
        self._store = store
        self._listeners: dict[tuple[str, str], set[Listener]] = {}
        self._open = asyncio.Event()
        self._runner: asyncio.Task[None] | None = None
        self._resume_after: Mapping[str, Any] | None = None

    @asynccontextmanager
    async def listening(self, collection: str, key: str) -> AsyncIterator[Arrivals]:
        """What arrives for one key of a followed collection, from now on.

        Raises ChangesClosed, and TimeoutError when the database does not answer.
        """
        arrivals = Arrivals(self)
        listener = self.listen(collection, key, arrivals.tell)
        try:
            await self.opened()
            yield arrivals
        finally:
            self.leave(listener)

    def listen(self, collection: str, key: str, tell: Callable[[], None]) -> Listener:
        """A listener, which hears from when the stream is open; it is to :meth:`leave`."""
        assert collection in FOLLOWED, collection
        listener = Listener(collection, key, tell)
        self._listeners.setdefault((collection, key), set()).add(listener)
        return listener

    def leave(self, listener: Listener) -> None:
        """The listener hears nothing any more."""
        key = (listener.collection, listener.key)
        listeners = self._listeners.get(key, set())
        listeners.discard(listener)
        if not listeners:
            self._listeners.pop(key, None)

    async def close(self) -> None:
        """Stops following; who waits is told so."""
        self.closed = True
        self._tell_all()
        self._open.set()
        if self._runner is not None:
            self._runner.cancel()
            await asyncio.gather(self._runner, return_exceptions=True)
            self._runner = None

    async def opened(self) -> None:
        """Returns when the stream is open. Raises ChangesClosed, and TimeoutError."""
        if self.closed:
            raise ChangesClosed
        if self._runner is None:
            self._runner = asyncio.get_running_loop().create_task(self._run(), name="changes", context=Context())
        async with asyncio.timeout(OPEN_SECONDS):
            await self._open.wait()

    async def _run(self) -> None:
        task, failures = asyncio.current_task(), 0
        assert task is not None
        # The driver may swallow a cancellation while it puts a connection away: the task remembers it.
        while not task.cancelling():
            try:
                await self._follow(task)
                failures = 0
            except OperationFailure as error:
                # The place in the oplog is gone, or the server is another one: begin anew, and all read on.
                _LOG.warning("changes.begin_anew", code=error.code)
                self._resume_after = None
            except PyMongoError as error:
                _LOG.warning("changes.lost", error=type(error).__name__, failures=failures)
            self._open.clear()
            await asyncio.sleep(RETRY_SECONDS[min(failures, len(RETRY_SECONDS) - 1)])
            failures += 1

    async def _follow(self, task: asyncio.Task[None]) -> None:
        resumed = self._resume_after
        followed = self._store.database.with_options(read_concern=ReadConcern("majority"))
        stream = await followed.watch(
            _pipeline(),
            max_await_time_ms=WATCH_MS,
            batch_size=BATCH,
            resume_after=resumed,
            start_at_operation_time=None if resumed is not None else await self._majority(),
        )
        async with stream:
            self._open.set()
            if resumed is None:
                self._tell_all()
            while stream.alive and not task.cancelling():
                change = await stream.try_next()
                if change is not None:
                    self._tell(change)
                self._resume_after = stream.resume_token

    async def _majority(self) -> Timestamp | None:
        """Up to where a majority has the data; None where only shards know (mongos)."""
        hello = await self._store.client.admin.command("hello")
        last_write = hello.get("lastWrite", {})
        return last_write["majorityOpTime"]["ts"] if "majorityOpTime" in last_write else None

    def _tell(self, change: Document) -> None:
        for listener in tuple(self._listeners.get((change["ns"]["coll"], change["key"]), ())):
            listener.tell()

    def _tell_all(self) -> None:
        for listener in [each for listeners in self._listeners.values() for each in listeners]:
            listener.tell()


def _pipeline() -> list[dict[str, Any]]:
    """Only what matters, and of it only the key: the server sends little however large the documents are."""
    alternatives = [{"ns.coll": name, **wanted} for name, (wanted, _) in FOLLOWED.items()]
    branches = [{"case": {"$eq": ["$ns.coll", name]}, "then": f"${key}"} for name, (_, key) in FOLLOWED.items()]
    return [
        {"$match": {"$or": alternatives}},
        {"$project": {"ns": 1, "key": {"$switch": {"branches": branches, "default": None}}}},
    ]
