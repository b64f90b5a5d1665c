"""Counts the journal for reports, beside the programme's accounts, each entry once (DESIGN §3).

Whoever holds a slot hands over the entries of it as they arrive, in the log's order. The sums of a slot's day are one
document, and those of its month, with the place in the log up to which it was counted; a member's days are one document
with the sequence of the entry that it was counted to. Each is changed by one write on condition that it still stands
where it was read, and takes only what lies after that. So an entry that is handed over twice, by a worker and by its
successor, counts once, without a transaction and without a fence: there is only one thing that can be written there.
"""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, Final

from bson.int64 import Int64
from bson.timestamp import Timestamp
from pymongo import ReplaceOne, UpdateOne
from pymongo.asynchronous.collection import AsyncCollection
from pymongo.errors import BulkWriteError

from domain.ledger.accounts import Change
from domain.programme.published import Programmes
from domain.reports.tally import (
    ENTRY_FIELDS,
    VERSION,
    Basis,
    MemberDays,
    Tally,
    basis_of,
    member_days_document,
    member_days_from,
    tally_of,
    with_tally,
)
from domain.store.codec import to_bson
from domain.store.connection import Document, Store
from domain.store.deadline import unlimited

BATCH: Final = 1_000
MAX_TRIES: Final = 20
"""Rivals count the same; each try that fails was overtaken by one that did not."""

_DUPLICATE_KEY: Final = 11000
_FIELDS: Final = ("member", "slot", "seq", *ENTRY_FIELDS)


class Overtaken(Exception):  # noqa: N818 -- says what is the case
    """Others counted the same at the same time, again and again; nothing is lost, and it may be tried again."""


@dataclass(slots=True, kw_only=True)
class Counted:
    """What entries add up to: sums by day and slot, and their members' days."""

    sums: dict[str, Counter[str]] = field(default_factory=dict)
    members: dict[str, MemberDays] = field(default_factory=dict)


class Counting:
    """Counts for one store. `programmes` has the versions that entries name; it is `Beside` the accounts."""

    name: str = f"days {VERSION}"
    wanted: tuple[str, ...] = ENTRY_FIELDS

    def __init__(self, store: Store, programmes: Programmes) -> None:
        self._store = store
        self._programmes = programmes
        self._bases: dict[int, Basis] = {}

    async def tallies(self, entries: Sequence[Mapping[str, Any]]) -> list[Tally]:
        """What each stored entry adds."""
        for version in {entry["programme_version"] for entry in entries} - self._bases.keys():
            self._bases[version] = basis_of(await self._programmes.at(version))
        return [tally_of(entry, self._bases[entry["programme_version"]]) for entry in entries]

    async def count(self, changes: Sequence[Change]) -> None:
        """Counts entries that arrived, in the log's order. Raises Overtaken."""
        tallies = await self.tallies([change.entry for change in changes])
        await asyncio.gather(self._count_days(changes, tallies), self._count_members(changes, tallies))

    async def recount(self, slots: Sequence[int], at: Timestamp, *, order: str) -> None:
        """Counts all of the slots' entries as of that instant, in place of what was counted before."""
        sums: dict[str, Counter[str]] = {}
        kept: list[ReplaceOne[Document]] = []
        async for known, slot in self.members_at(slots, at, sums):
            kept.append(
                ReplaceOne(
                    {"_id": known.member, "seq": {"$lte": known.sequence}},
                    to_bson(member_days_document(known, slot)),
                    upsert=True,
                )
            )
            if len(kept) >= BATCH:
                await _replace(self._store.member_days, kept)
                kept = []
        await _replace(self._store.member_days, kept)
        documents = (
            {"_id": name, "slot": slot_in(name), "token": order, "sums": dict(of)} for name, of in sums.items()
        )
        for some in _batches(documents):
            await _replace(
                self._store.day_sums,
                [
                    ReplaceOne({"_id": each["_id"], "token": {"$lt": order}}, to_bson(each), upsert=True)
                    for each in some
                ],
            )
        await self._store.day_sums.delete_many({"slot": {"$in": list(slots)}, "token": {"$lt": order}})

    async def members_at(
        self, slots: Sequence[int], at: Timestamp | None, sums: dict[str, Counter[str]]
    ) -> AsyncIterator[tuple[MemberDays, int]]:
        """Each member of the slots who has days, with his slot, as of that instant; adds up `sums` on the way.

        The journal is read member by member, so that only one of them is held at a time.
        """
        known: MemberDays | None = None
        slot = 0
        async for entries in _entries_at(self._store, slots, at):
            for entry, tally in zip(entries, await self.tallies(entries), strict=True):
                if known is None or known.member != entry["member"]:
                    if known is not None and known.sequence:
                        yield known, slot
                    known, slot = MemberDays(member=entry["member"]), entry["slot"]
                for name in sums_ids(tally, slot):
                    sums.setdefault(name, Counter()).update(tally.sums)
                if tally.is_members:
                    known = with_tally(known, entry["seq"], tally)
        if known is not None and known.sequence:
            yield known, slot

    async def _count_days(self, changes: Sequence[Change], tallies: Sequence[Tally]) -> None:
        arrived: dict[str, list[tuple[str, Tally]]] = {}
        for change, tally in zip(changes, tallies, strict=True):
            for name in sums_ids(tally, change.entry["slot"]):
                arrived.setdefault(name, []).append((change.order, tally))
        for _ in range(MAX_TRIES):
            stored = self._store.day_sums.find({"_id": {"$in": list(arrived)}}, {"token": 1})
            tokens: dict[str, str] = {document["_id"]: document["token"] async for document in stored}
            updates = [
                UpdateOne(
                    {"_id": name, "token": tokens.get(name)},
                    {
                        "$set": {"token": new[-1][0], "slot": Int64(slot_in(name))},
                        "$inc": _increments(tally for _, tally in new),
                    },
                    upsert=name not in tokens,
                )
                for name, all_of_it in arrived.items()
                if (new := [each for each in all_of_it if each[0] > tokens.get(name, "")])
            ]
            if await _all_written(self._store.day_sums, updates):
                return
        raise Overtaken

    async def _count_members(self, changes: Sequence[Change], tallies: Sequence[Tally]) -> None:
        arrived: dict[str, list[tuple[Mapping[str, Any], Tally]]] = {}
        for change, tally in zip(changes, tallies, strict=True):
            if tally.is_members:
                arrived.setdefault(change.entry["member"], []).append((change.entry, tally))
        for _ in range(MAX_TRIES):
            stored = self._store.member_days.find({"_id": {"$in": list(arrived)}})
            known = {document["_id"]: member_days_from(document) async for document in stored}
            updates: list[ReplaceOne[Document]] = []
            for member, new in arrived.items():
                before = after = known.get(member, MemberDays(member=member))
                for entry, tally in new:
                    if entry["seq"] > after.sequence:
                        after = with_tally(after, entry["seq"], tally)
                if after.sequence > before.sequence:
                    document = to_bson(member_days_document(after, new[0][0]["slot"]))
                    expected = before.sequence if member in known else None
                    updates.append(ReplaceOne({"_id": member, "seq": expected}, document, upsert=member not in known))
            if await _all_written(self._store.member_days, updates):
                return
        raise Overtaken


def sums_ids(tally: Tally, slot: int) -> tuple[str, str]:
    """The ids of the documents that a tally is summed in: of its day, and of its month."""
    day = tally.day.isoformat()
    return sums_id(day, slot), sums_id(month_of(day), slot)


def month_of(day: str) -> str:
    """The month of an ISO day, named so that months stand after all days."""
    return f"m{day[:7]}"


def sums_id(span: str, slot: int) -> str:
    """The id of the sums of a day or a month in that slot."""
    return f"{span}|{slot:02}"


def span_in(name: str) -> str:
    """The day or month in :func:`sums_id`."""
    return name.partition("|")[0]


def slot_in(name: str) -> int:
    """The slot in :func:`sums_id`."""
    return int(name.rpartition("|")[2])


def _increments(tallies: Iterable[Tally]) -> dict[str, Int64]:
    sums: Counter[str] = Counter()
    for tally in tallies:
        sums.update(tally.sums)
    # Also where nothing was added: an entry that only claims a place in the log needs its day to stand.
    return {f"sums.{name}": Int64(amount) for name, amount in sums.items()} or {"sums.purchases": Int64(0)}


async def _all_written(
    collection: AsyncCollection[Document], updates: Sequence[UpdateOne | ReplaceOne[Document]]
) -> bool:
    """Whether every write found its document as it was read, or made it."""
    if not updates:
        return True
    try:
        result = await collection.bulk_write(updates, ordered=False)
    except BulkWriteError as error:
        if any(each["code"] != _DUPLICATE_KEY for each in error.details["writeErrors"]):
            raise
        return False
    return result.matched_count + result.upserted_count == len(updates)


async def _replace(collection: AsyncCollection[Document], replacements: Sequence[ReplaceOne[Document]]) -> None:
    """Replaces those that are older; one that is newer was counted by somebody who came after."""
    if not replacements:
        return
    try:
        await collection.bulk_write(replacements, ordered=False)
    except BulkWriteError as error:
        if any(each["code"] != _DUPLICATE_KEY for each in error.details["writeErrors"]):
            raise


def _entries_at(store: Store, slots: Sequence[int], at: Timestamp | None) -> AsyncIterator[list[Document]]:
    """The entries of the slots, by member and sequence; all of them as of one instant, if one is given."""
    return found_at(
        store.journal,
        {"seq": {"$exists": True}, "slot": {"$in": list(slots)}},
        at,
        projection=dict.fromkeys(_FIELDS, 1),
        sort={"member": 1, "seq": 1},
        hint="member_seq",
    )


async def found_at(
    collection: AsyncCollection[Document], wanted: Mapping[str, Any], at: Timestamp | None, **options: Any
) -> AsyncIterator[list[Document]]:
    """What is wanted of the collection in batches, as of that instant; as the majority has it where there is none."""
    concern: dict[str, Any] = {"level": "majority"} if at is None else {"level": "snapshot", "atClusterTime": at}
    database = collection.database
    reply = await database.command(
        {"find": collection.name, "filter": wanted, "batchSize": BATCH, "readConcern": concern, **options}
    )
    cursor, batch = reply["cursor"]["id"], reply["cursor"]["firstBatch"]
    while batch:
        yield batch
        batch = []
        if cursor:
            asked = {"getMore": Int64(cursor), "collection": collection.name, "batchSize": BATCH}
            with unlimited():
                more = await database.command(asked)
            cursor, batch = more["cursor"]["id"], more["cursor"]["nextBatch"]


def _batches(documents: Iterable[Document]) -> Iterator[list[Document]]:
    source = iter(documents)
    while batch := list(islice(source, BATCH)):
        yield batch
