"""The 64 slots that members fall into, and the leases by which workers share them.

A lease is a document per slot: its owner, until when, and a fencing number that grows by one whenever
somebody takes the slot. Whoever holds a slot writes that number as a condition with everything it writes, so
that a worker that was away too long cannot write over its successor. Leases run in real time by the server's
clock, never by a worker's or the sandbox's. Workers share evenly: each counts who lives and gives back what
is above its share, so that a newcomer finds slots within two beats.
"""

import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from hashlib import sha256
from typing import Any, Final

from pymongo import DeleteMany, InsertOne, UpdateOne
from pymongo.errors import BulkWriteError

from domain.store.codec import from_epoch_ms, to_bson
from domain.store.connection import Document, Store

SLOTS: Final = 64
LEASE_SECONDS: Final = 10
FORGET_SECONDS: Final = 3600

_WORKER: Final = "worker:"
_DUPLICATE_KEY: Final = 11000


def slot_of(member_id: str) -> int:
    """The slot of a member, 0 to 63: SHA-256 of the id in UTF-8, its first 8 bytes, big-endian, modulo 64.

    Stored with the member's documents. It must never change.
    """
    return int.from_bytes(sha256(member_id.encode()).digest()[:8], "big") % SLOTS


def share_of(owner: str, workers: Iterable[str]) -> int:
    """How many slots `owner` should hold when `workers` live: even, the remainder to the first by name."""
    living = sorted({owner, *workers})
    share, rest = divmod(SLOTS, len(living))
    return share + (living.index(owner) < rest)


def _in_turn(free: tuple[int, ...], owner: str, workers: Iterable[str]) -> tuple[int, ...]:
    """The free slots, from another place on for each worker, so that who starts together does not collide."""
    living = sorted({owner, *workers})
    start = SLOTS * living.index(owner) // len(living)
    return tuple(sorted(free, key=lambda slot: (slot - start) % SLOTS))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Picture:
    """What the server knew at one moment: the asker's slots with their fences, the free ones, the workers."""

    held: Mapping[int, int]
    free: tuple[int, ...]
    workers: tuple[str, ...]


class Leases:
    """The slots that one worker holds. Use it from one task; `owner` is unlike every other living worker's.

    `want` limits how many slots it takes, whatever its share.
    """

    def __init__(self, store: Store, owner: str, *, want: int = SLOTS, lease_seconds: float = LEASE_SECONDS) -> None:
        assert owner, "a worker without a name"
        assert 0 <= want <= SLOTS, f"{want} of {SLOTS} slots"
        self.owner = owner
        self._documents = store.leases
        self._want = want
        self._lease_seconds = lease_seconds
        self._held: Mapping[int, int] = {}
        self._held_until = 0.0

    @property
    def held(self) -> Mapping[int, int]:
        """Slot to fence, of the leases that have not run out since the last beat; empty when they have."""
        return self._held if time.monotonic() < self._held_until else {}

    async def acquire(self) -> Mapping[int, int]:
        """One beat, wanted several times within a lease: renews, gives back above the share, takes what is free.

        Returns what is held now, slot to fence; for a slot that is missing nothing may be written any more.
        """
        asked = time.monotonic()
        await self._renew()
        picture = await self._look()
        share = min(self._want, share_of(self.owner, picture.workers))
        surplus = sorted(picture.held)[share:]
        if surplus:
            await self._give_back(surplus)
        wanted = _in_turn(picture.free, self.owner, picture.workers)[: max(0, share - len(picture.held))]
        if wanted:
            await self._take(wanted)
        if surplus or wanted:
            picture = await self._look()
        self._held, self._held_until = picture.held, asked + self._lease_seconds
        return self._held

    async def renew(self) -> Mapping[int, int]:
        """Only renews what is held, for a worker in the middle of long work; returns what is still held."""
        asked = time.monotonic()
        await self._renew()
        held = (await self._look()).held
        self._held = {slot: fence for slot, fence in held.items() if self._held.get(slot) == fence}
        self._held_until = asked + self._lease_seconds
        return self._held

    async def release(self) -> None:
        """Gives everything back at once, so that others need not wait for the leases to run out."""
        self._held = {}
        await self._give_back(range(SLOTS))
        await self._documents.delete_one({"_id": f"{_WORKER}{self.owner}"})

    async def _renew(self) -> None:
        until = {"$add": ["$$NOW", int(self._lease_seconds * 1000)]}
        long_ago = {"$subtract": ["$$NOW", FORGET_SECONDS * 1000]}
        await self._documents.bulk_write(
            [
                UpdateOne(
                    {"_id": f"{_WORKER}{self.owner}"},
                    [{"$set": {"owner": self.owner, "expires_at": until}}],
                    upsert=True,
                ),
                *(
                    UpdateOne({"_id": slot, "owner": self.owner}, [{"$set": {"expires_at": until}}])
                    for slot in self._held
                ),
                DeleteMany({"_id": {"$type": "string"}, "$expr": {"$lt": ["$expires_at", long_ago]}}),
            ],
            ordered=False,
        )

    async def _look(self) -> _Picture:
        """The picture of now; makes the documents of the slots the first time."""
        documents = await self._read()
        missing = set(range(SLOTS)) - documents.keys()
        if missing:
            await self._make(missing)
            documents = await self._read()
        slots = {slot: documents[slot] for slot in range(SLOTS)}
        return _Picture(
            held={slot: each["fence"] for slot, each in slots.items() if each["lives"] and each["owner"] == self.owner},
            free=tuple(slot for slot, each in slots.items() if not each["lives"]),
            workers=tuple(each["owner"] for key, each in documents.items() if isinstance(key, str) and each["lives"]),
        )

    async def _read(self) -> dict[int | str, Document]:
        cursor = await self._documents.aggregate([{"$set": {"lives": {"$gt": ["$expires_at", "$$NOW"]}}}])
        return {document["_id"]: document async for document in cursor}

    async def _make(self, slots: Iterable[int]) -> None:
        free: dict[str, Any] = {"owner": None, "fence": 0, "expires_at": from_epoch_ms(0)}
        try:
            await self._documents.bulk_write(
                [InsertOne(to_bson({"_id": slot, **free})) for slot in sorted(slots)], ordered=False
            )
        except BulkWriteError as error:
            if any(each["code"] != _DUPLICATE_KEY for each in error.details["writeErrors"]):
                raise

    async def _take(self, slots: Iterable[int]) -> None:
        until = {"$add": ["$$NOW", int(self._lease_seconds * 1000)]}
        taken = {"owner": self.owner, "fence": {"$add": ["$fence", 1]}, "expires_at": until}
        await self._documents.bulk_write(
            [
                UpdateOne({"_id": slot, "$expr": {"$lte": ["$expires_at", "$$NOW"]}}, [{"$set": taken}])
                for slot in slots
            ],
            ordered=False,
        )

    async def _give_back(self, slots: Iterable[int]) -> None:
        await self._documents.update_many(
            {"_id": {"$in": list(slots)}, "owner": self.owner},
            {"$set": {"owner": None, "expires_at": from_epoch_ms(0)}},
        )
