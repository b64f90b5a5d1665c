"""Writes to one collection that come at the same time are sent together, each with its own outcome.

What one caller waits for is on its way while the next ones gather; so a single write waits for nothing, and many at
once share the round trips and the flushes of the server's journal. Only for writes that do not depend on each other.
"""

import asyncio
from typing import Any, Final

from pymongo import InsertOne, UpdateOne
from pymongo.asynchronous.collection import AsyncCollection
from pymongo.errors import BulkWriteError, DuplicateKeyError, WriteError

MAX_TOGETHER: Final = 100
_DUPLICATE: Final = 11_000

Write = InsertOne[dict[str, Any]] | UpdateOne


class Together:
    """Belongs to one collection and the event loop of its client."""

    def __init__(self, collection: AsyncCollection[dict[str, Any]]) -> None:
        self._collection = collection
        self._waiting: list[tuple[Write, asyncio.Future[None]]] = []
        self._going: asyncio.Task[None] | None = None

    async def write(self, write: Write) -> None:
        """Returns when the write is acknowledged. Raises DuplicateKeyError, WriteError, and what the connection raises.

        A caller that is cancelled does not take the write back.
        """
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((write, done))
        if self._going is None:
            self._going = asyncio.create_task(self._go(), name=f"writes-{self._collection.name}")
        await done

    async def _go(self) -> None:
        # Those that are about to come in this turn of the loop come along.
        await asyncio.sleep(0)
        while self._waiting:
            batch, self._waiting = self._waiting[:MAX_TOGETHER], self._waiting[MAX_TOGETHER:]
            errors = await self._sent([write for write, _ in batch])
            for number, (_, done) in enumerate(batch):
                if done.done():
                    continue
                if (error := errors.get(number)) is None:
                    done.set_result(None)
                else:
                    done.set_exception(error)
        self._going = None

    async def _sent(self, writes: list[Write]) -> dict[int, Exception]:
        """The error of each write that failed, by its number."""
        try:
            await self._collection.bulk_write(writes, ordered=False)
        except BulkWriteError as error:
            details = error.details or {}
            if details.get("writeConcernErrors"):
                return dict.fromkeys(range(len(writes)), error)
            return {each["index"]: _error_of(each) for each in details["writeErrors"]}
        except Exception as error:  # noqa: BLE001 -- each of the callers is told
            return dict.fromkeys(range(len(writes)), error)
        return {}


def _error_of(told: dict[str, Any]) -> WriteError:
    kind = DuplicateKeyError if told["code"] == _DUPLICATE else WriteError
    return kind(told["errmsg"], told["code"], told)
