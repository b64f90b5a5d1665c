"""Counts the journal for reports, alongside the programme's accounts, each entry once (DESIGN §3).

Whoever holds a slot hands over the entries of it as they arrive, in the log's order. The sums of a slot's day are one
document, and so are those of its other spans (:mod:`domain.reports.span`), with the place in the log up to which it was
counted; a member's days are one document with the sequence of the entry that it was counted to. Each is changed by one
write on condition that it still stands where it was read, and takes only what lies after that; what an entry adds
follows from it and its member's entries before it alone. So an entry that is handed over twice, by a worker and by its
successor, counts once, without a transaction and without a fence: there is only one thing that can be written there.
"""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any, Final

from bson.int64 import Int64
from bson.timestamp import Timestamp
from pymongo import ReplaceOne, UpdateOne
from pymongo.asynchronous.collection import AsyncCollection
from pymongo.errors import BulkWriteError

from domain.ledger.accounts import Change
from domain.programme.published import Programmes
from domain.reports.span import slot_in, sums_id
from domain.reports.tally import (
    AFTER,
    ENTRY_FIELDS,
    VERSION,
    Basis,
    MemberDays,
    Spans,
    Tally,
    basis_of,
    member_days_document,
    member_days_from,
    spans_of,
    tally_of,
    with_tally,
)
from domain.store.codec import to_bson
from domain.store.connection import Document, Store
from domain.store.deadline import unlimited

BATCH: Final = 1_000
MAX_TRIES: Final = 20
"""Rivals count the same; each try that fails was overtaken by one that did not."""

_SUMS: Final = "sums"
_AFTER: Final = "after"
_DUPLICATE_KEY: Final = 11000
_FIELDS: Final = ("member", "slot", *ENTRY_FIELDS)


class Overtaken(Exception):  # noqa: N818 -- says what is the case
    """Others counted the same at the same time, again and again; nothing is lost, and it may be tried again."""


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

    async def added(self, changes: Sequence[Change]) -> list[Spans]:
        """What each of them adds: all that arrived since their slots were counted, in the log's order."""
        tallies = await self.tallies([change.entry for change in changes])
        return _added(changes, tallies, await self._known(changes, tallies))

    async def count(self, changes: Sequence[Change]) -> None:
        """Counts entries that arrived, in the log's order. Raises Overtaken."""
        tallies = await self.tallies([change.entry for change in changes])
        known = await self._known(changes, tallies)
        await asyncio.gather(
            self._count_sums(changes, _added(changes, tallies, known)), self._count_members(changes, tallies, known)
        )

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
        documents = ({"_id": name, "slot": slot_in(name), "token": order, **_stored(of)} for name, of in sums.items())
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
                for span, added in spans_of(tally, known).items():
                    sums.setdefault(sums_id(span, slot), Counter()).update(added)
                if tally.is_members:
                    known = with_tally(known, tally)
        if known is not None and known.sequence:
            yield known, slot

    async def _known(self, changes: Sequence[Change], tallies: Sequence[Tally]) -> dict[str, MemberDays]:
        """The members of whom the entries say something, as they were counted."""
        members = {change.entry["member"] for change, tally in zip(changes, tallies, strict=True) if tally.is_members}
        if not members:
            return {}
        stored = self._store.member_days.find({"_id": {"$in": sorted(members)}})
        return {document["_id"]: member_days_from(document) async for document in stored}

    async def _count_sums(self, changes: Sequence[Change], added: Sequence[Spans]) -> None:
        arrived: dict[str, list[tuple[str, Counter[str]]]] = {}
        for change, spans in zip(changes, added, strict=True):
            for span, sums in spans.items():
                arrived.setdefault(sums_id(span, change.entry["slot"]), []).append((change.order, sums))
        for _ in range(MAX_TRIES):
            stored = self._store.day_sums.find({"_id": {"$in": list(arrived)}}, {"token": 1})
            tokens: dict[str, str] = {document["_id"]: document["token"] async for document in stored}
            updates = [
                UpdateOne(
                    {"_id": name, "token": tokens.get(name)},
                    {
                        "$set": {"token": new[-1][0], "slot": Int64(slot_in(name))},
                        "$inc": _increments(sums for _, sums in new),
                    },
                    upsert=name not in tokens,
                )
                for name, all_of_it in arrived.items()
                if (new := [each for each in all_of_it if each[0] > tokens.get(name, "")])
            ]
            if await _all_written(self._store.day_sums, updates):
                return
        raise Overtaken

    async def _count_members(
        self, changes: Sequence[Change], tallies: Sequence[Tally], known: Mapping[str, MemberDays]
    ) -> None:
        slots = {change.entry["member"]: change.entry["slot"] for change in changes}
        for _ in range(MAX_TRIES):
            after = dict(known)
            for change, tally in zip(changes, tallies, strict=True):
                _take(after, change.entry["member"], tally)
            updates = [
                ReplaceOne(
                    {"_id": member, "seq": known[member].sequence if member in known else None},
                    to_bson(member_days_document(new, slots[member])),
                    upsert=member not in known,
                )
                for member, new in after.items()
                if member not in known or new.sequence > known[member].sequence
            ]
            if await _all_written(self._store.member_days, updates):
                return
            known = await self._known(changes, tallies)
        raise Overtaken


def sums_in(document: Mapping[str, Any]) -> dict[str, int]:
    """The sums in a stored document, as far as it was read, by name."""
    sums: Mapping[str, int] = document.get(_SUMS, {})
    after: Mapping[str, int] = document.get(_AFTER, {})
    return {**sums, **{f"{AFTER}{name}": amount for name, amount in after.items()}}


def _added(changes: Sequence[Change], tallies: Sequence[Tally], known: Mapping[str, MemberDays]) -> list[Spans]:
    members, added = dict(known), []
    for change, tally in zip(changes, tallies, strict=True):
        member = change.entry["member"]
        added.append(spans_of(tally, members.get(member, MemberDays(member=member))))
        _take(members, member, tally)
    return added


def _take(members: dict[str, MemberDays], member: str, tally: Tally) -> None:
    """Takes the entry into what is known of its member, unless it is."""
    known = members.get(member, MemberDays(member=member))
    if tally.is_members and tally.sequence > known.sequence:
        members[member] = with_tally(known, tally)


def _stored(sums: Mapping[str, int]) -> dict[str, dict[str, int]]:
    fields: dict[str, dict[str, int]] = {}
    for name, amount in sums.items():
        field, key = _place(name)
        fields.setdefault(field, {})[key] = amount
    return fields


def _place(name: str) -> tuple[str, str]:
    """The field, and its key, that a sum is stored under: most readers want no distinct members."""
    return (_AFTER, name.removeprefix(AFTER)) if name.startswith(AFTER) else (_SUMS, name)


def _increments(added: Iterable[Counter[str]]) -> dict[str, Int64]:
    sums: Counter[str] = Counter()
    for each in added:
        sums.update(each)
    # Also where nothing was added: an entry that only claims a place in the log needs its day to stand.
    return {".".join(_place(name)): Int64(amount) for name, amount in sums.items()} or {"sums.purchases": Int64(0)}


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
