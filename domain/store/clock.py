"""The one clock that all code takes `now` from.

In production it is the machine's, cut to the millisecond, and it never steps back within a process. In a
sandbox a hand can be laid on it: the distance from the machine's clock is a document, so that every process
of the sandbox sees the same time, and it only ever moves forward and runs on from where it was moved to.
"""

import asyncio
from datetime import UTC, datetime
from typing import Final, Protocol

from pymongo import ReturnDocument
from pymongo.errors import DuplicateKeyError

from domain.settings import Settings
from domain.store.codec import epoch_ms, from_epoch_ms, to_bson
from domain.store.connection import Store

MOVE_ATTEMPTS: Final = 50
_HAND: Final = "sandbox"


class ClockMovedBack(Exception):  # noqa: N818 -- says what was asked
    """A sandbox's clock was to be moved to `asked_at`, which lies before its `now`."""

    def __init__(self, now: datetime, asked_at: datetime) -> None:
        self.now = now
        self.asked_at = asked_at
        super().__init__(f"the clock stands at {now.isoformat()} and cannot go back to {asked_at.isoformat()}")


class Clock(Protocol):
    """What tells the time."""

    def now(self) -> datetime:
        """The instant, UTC, in whole milliseconds; never before one that this process was told already."""

    async def refresh(self) -> None:
        """Learns of moves that other processes made and finished before this call."""


class SystemClock:
    """The machine's clock."""

    def __init__(self) -> None:
        self._last_ms = 0

    def now_ms(self) -> int:
        """Milliseconds since 1970-01-01T00:00:00Z."""
        self._last_ms = max(self._last_ms, epoch_ms(datetime.now(UTC)))
        return self._last_ms

    def now(self) -> datetime:
        return from_epoch_ms(self.now_ms())

    async def refresh(self) -> None:
        """Nothing to learn."""


class SandboxClock:
    """The machine's clock and a distance that everyone in the sandbox shares; belongs to one event loop.

    Before its first use it wants `start_at` or `refresh`; without a document the distance is zero.
    """

    def __init__(self, store: Store) -> None:
        self._documents = store.clock
        self._system = SystemClock()
        self._offset_ms: int | None = None
        self._reading: asyncio.Task[None] | None = None
        self._waiting: asyncio.Task[None] | None = None

    def now(self) -> datetime:
        return from_epoch_ms(self._system.now_ms() + (self._offset_ms or 0))

    async def start_at(self, instant: datetime | None = None) -> None:
        """Begins the sandbox's time at `instant` (by default the machine's), unless it has begun already."""
        offset_ms = 0 if instant is None else epoch_ms(instant) - self._system.now_ms()
        await self._begin(offset_ms)
        await self.refresh()

    async def move_to(self, instant: datetime) -> datetime:
        """Moves the clock forward to `instant`, from where it runs on; returns the new now.

        Raises ClockMovedBack, and moves nothing, when the clock stands after `instant` already. Of two moves
        at once the later instant stands.
        """
        for attempt in range(MOVE_ATTEMPTS):
            # What this process knows last is nearly always what stands; the write says so if not.
            before_ms = self._offset_ms if attempt == 0 else None
            if before_ms is None:
                before_ms = await self._read_offset()
            if before_ms is None:
                await self._begin(0)
                continue
            self._learn(before_ms)
            after_ms = epoch_ms(instant) - self._system.now_ms()
            if after_ms < before_ms:
                raise ClockMovedBack(self.now(), instant)
            moved = await self._documents.find_one_and_update(
                {"_id": _HAND, "offset_ms": before_ms},
                {"$set": to_bson({"offset_ms": after_ms})},
                return_document=ReturnDocument.AFTER,
            )
            if moved is not None:
                self._learn(after_ms)
                return self.now()
        raise AssertionError(f"the clock was moved by others {MOVE_ATTEMPTS} times in a row")

    async def refresh(self) -> None:
        """Reads the distance again; callers at one time share the next read that begins after their call."""
        if self._waiting is None:
            self._waiting = asyncio.create_task(self._read_after(self._reading))
            self._waiting.add_done_callback(_forget)
        await asyncio.shield(self._waiting)

    async def _read_after(self, reading: asyncio.Task[None] | None) -> None:
        if reading is not None and not reading.done():
            await asyncio.wait([reading])
        self._reading, self._waiting = self._waiting, None
        offset_ms = await self._read_offset()
        if offset_ms is not None:
            self._learn(offset_ms)

    def _learn(self, offset_ms: int) -> None:
        self._offset_ms = offset_ms if self._offset_ms is None else max(self._offset_ms, offset_ms)

    async def _begin(self, offset_ms: int) -> None:
        try:
            await self._documents.insert_one(to_bson({"_id": _HAND, "offset_ms": offset_ms}))
        except DuplicateKeyError:
            return

    async def _read_offset(self) -> int | None:
        document = await self._documents.find_one({"_id": _HAND})
        return None if document is None else int(document["offset_ms"])


async def open_clock(store: Store, settings: Settings) -> Clock:
    """The clock of the settings' mode."""
    if not settings.sandbox:
        return SystemClock()
    clock = SandboxClock(store)
    await clock.refresh()
    return clock


def _forget(task: asyncio.Task[None]) -> None:
    """Takes note of a failure that every caller was cancelled before it could hear of."""
    if not task.cancelled():
        task.exception()
