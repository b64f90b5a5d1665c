"""The audit: re-derives every hash, every wallet and every sum from the journal, and says what differs.

The journal is streamed in the order of members and sequences beside the wallets and the members; one member's
running total is held at a time, so memory stays the same however long the journal is. It may run while the
system is in use. There is no one instant for all of it, since a server keeps an instant readable for minutes
only; each member is judged by himself: a stored wallet is compared with the fold at its own sequence, and
whoever seems to differ is read once more, wallet first, before it is said. The programme's accounts are
compared at one instant of their own, and so is what is kept for reports.
"""

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from bson.int64 import Int64
from bson.timestamp import Timestamp
from pymongo.asynchronous.cursor import AsyncCursor
from pymongo.errors import OperationFailure, PyMongoError

from domain.ledger.accounts import Account, balances_in, scan
from domain.ledger.entry import decided_from
from domain.ledger.trail import MALFORMED, Difference, Trail
from domain.reports.counting import Counting
from domain.reports.proof import differing_days
from domain.store.connection import Document, Store
from domain.store.slots import SLOTS, slot_of

MAX_LISTED: Final = 100
"""How many differences are listed; all are counted."""
BATCH: Final = 1_000
CLAIMS_AT_ONCE: Final = 1_000
_SNAPSHOT_GONE: Final = {50, 239, 246}  # MaxTimeMSExpired, SnapshotTooOld, SnapshotUnavailable

Progress = Callable[[int, int], None]
"""Called now and then with how many journal documents are through, and about how many there are."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditReport:
    """What was looked at, and what differs (the first 100 listed, all counted).

    `behind` is how many stored wallets have yet to catch up with their journal, which is no difference.
    `uncounted` is how many entries the programme's accounts have yet to take in; slots with any could not be
    compared. `accounts_compared` is False when the journal could not be summed at one instant in time.
    `totals` are all accounts, the members' too, in minus out: per asset they add up to zero.
    """

    entries: int
    refusals: int
    members: int
    behind: int
    uncounted: int
    accounts_compared: bool
    totals: Mapping[Account, int]
    differences: tuple[Difference, ...]
    difference_count: int
    seconds: float

    @property
    def ok(self) -> bool:
        return self.difference_count == 0


async def audit(store: Store, *, progress: Progress | None = None) -> AuditReport:
    """Audits everything. Errors of the database are the caller's."""
    began, found = time.monotonic(), _Findings()
    expected = await store.journal.estimated_document_count()
    await _audit_members(store, found, lambda: progress and progress(found.entries + found.refusals, expected))
    await _audit_refusals(store, found)
    accounts_compared, uncounted = await _audit_accounts(store, found)
    for asset in sorted({asset for _, asset in found.totals}):
        if total := sum(amount for (_, of), amount in found.totals.items() if of == asset):
            found.differ(None, None, f"all accounts of {asset} add up to {total}")
    if progress is not None:
        progress(found.entries + found.refusals, max(expected, found.entries + found.refusals))
    return AuditReport(
        entries=found.entries,
        refusals=found.refusals,
        members=found.members,
        behind=found.behind,
        uncounted=uncounted,
        accounts_compared=accounts_compared,
        totals=dict(found.totals),
        differences=tuple(found.differences),
        difference_count=found.difference_count,
        seconds=time.monotonic() - began,
    )


@dataclass(slots=True, kw_only=True)
class _Findings:
    entries: int = 0
    refusals: int = 0
    members: int = 0
    behind: int = 0
    totals: Counter[Account] = field(default_factory=Counter)
    differences: list[Difference] = field(default_factory=list)
    difference_count: int = 0

    def differ(self, member: str | None, entry: str | None, what: str) -> None:
        self.take([Difference(member=member, entry=entry, what=what)])

    def take(self, differences: Iterable[Difference]) -> None:
        for difference in differences:
            self.difference_count += 1
            if len(self.differences) < MAX_LISTED:
                self.differences.append(difference)


class _Sorted:
    """A stream of documents in the order of their ids, taken up to one id after the other."""

    def __init__(self, cursor: AsyncCursor[Document]) -> None:
        self._batches = _batches(cursor)
        self._documents: Iterator[Document] = iter(())
        self._head: Document | None = None

    async def through(self, identifier: str | None) -> AsyncIterator[Document]:
        """The documents up to that id, it included; all that are left for None."""
        while (head := await self._peek()) is not None and (identifier is None or head["_id"] <= identifier):
            self._head = None
            yield head

    async def _peek(self) -> Document | None:
        while self._head is None:
            self._head = next(self._documents, None)
            if self._head is None:
                batch = await anext(self._batches, None)
                if batch is None:
                    return None
                self._documents = iter(batch)
        return self._head


async def _audit_members(store: Store, found: _Findings, tell: Callable[[], object]) -> None:
    wallets = _Sorted(store.wallets.find(batch_size=BATCH).sort("_id", 1))
    members = _Sorted(store.members.find({"is_joined": True}, {"_id": 1}, batch_size=BATCH).sort("_id", 1))
    claims: dict[str, tuple[str, str, str]] = {}
    trail: Trail | None = None
    async for batch in _batches(_entries(store)):
        for document in batch:
            if trail is None or document["member"] != trail.member:
                await _end(store, trail, found, claims)
                trail = await _begin(store, document["member"], found, wallets, members)
            trail.follow(document)
            found.entries += 1
        tell()
    await _end(store, trail, found, claims)
    await _begin(store, None, found, wallets, members)
    await _audit_claims(store, claims, found)


async def _begin(store: Store, member: str | None, found: _Findings, wallets: _Sorted, members: _Sorted) -> Trail:
    """The trail of that member; those before it who have a wallet or joined have no journal, it seems."""
    stored: Document | None = None
    is_joined = False
    silent: set[str] = set()
    async for wallet in wallets.through(member):
        if wallet["_id"] == member:
            stored = wallet
        else:
            silent.add(wallet["_id"])
    async for joined in members.through(member):
        if joined["_id"] == member:
            is_joined = True
        else:
            silent.add(joined["_id"])
    for other in sorted(silent):
        found.take((await _read_alone(store, other)).differences)
    return Trail(member or "", stored, is_joined)


async def _end(store: Store, trail: Trail | None, found: _Findings, claims: dict[str, tuple[str, str, str]]) -> None:
    if trail is None:
        return
    trail.finish()
    if trail.differences:
        trail = await _read_alone(store, trail.member)
    found.members += 1
    found.behind += trail.is_behind
    found.take(trail.differences)
    found.totals.update(trail.sums)
    for claim, (identifier, key) in trail.claims.items():
        if claim in claims:
            found.differ(trail.member, identifier, f"{claims[claim][1]} has the same claim {claim}")
        claims[claim] = (trail.member, identifier, key)
    if len(claims) >= CLAIMS_AT_ONCE:
        await _audit_claims(store, claims, found)


async def _read_alone(store: Store, member: str) -> Trail:
    """The member's trail, read wallet first: what was posted since is in the journal, and nothing is ahead of it."""
    stored = await store.wallets.find_one({"_id": member})
    joined = await store.members.find_one({"_id": member, "is_joined": True}, {"_id": 1})
    trail = Trail(member, stored, joined is not None)
    async for batch in _batches(_entries(store, member)):
        for document in batch:
            trail.follow(document)
    trail.finish()
    return trail


async def _audit_claims(store: Store, claims: dict[str, tuple[str, str, str]], found: _Findings) -> None:
    """Every entry owns its receipt and its caller's key; a claim has one owner, so no two entries have one receipt."""
    names = list(claims)
    for start in range(0, len(names), CLAIMS_AT_ONCE):
        wanted = names[start : start + CLAIMS_AT_ONCE]
        owners = {claim["_id"]: claim async for claim in store.claims.find({"_id": {"$in": wanted}})}
        for name in wanted:
            member, identifier, key = claims[name]
            owner = owners.get(name)
            if owner is None:
                found.differ(member, identifier, f"nobody owns {name}")
            elif (owner["member"], owner["key"]) != (member, key):
                found.differ(member, identifier, f"{name} belongs to {owner['member']} and key {owner['key']}")
    claims.clear()


async def _audit_refusals(store: Store, found: _Findings) -> None:
    async for batch in _batches(store.journal.find({"seq": {"$exists": False}})):
        for document in batch:
            found.refusals += "top_up" not in document
            member = document.get("member")
            try:
                decision = decided_from(document)
                is_sound = document["_id"] == f"{member}|{decision.key}" and document["slot"] == slot_of(
                    decision.member
                )
            except MALFORMED as error:
                found.differ(member, str(document["_id"]), f"neither entry nor refusal: {error!r}")
                continue
            if not is_sound or "postings" in document:
                found.differ(member, str(document["_id"]), "a refusal with another id, slot, or postings")


async def _audit_accounts(store: Store, found: _Findings) -> tuple[bool, int]:
    """Whether the programme's accounts were compared, and how many entries they have yet to take in."""
    try:
        summed = await scan(store, range(SLOTS))
        accounts = await _accounts_at(store, summed.at)
    except PyMongoError as error:
        if error.timeout or (isinstance(error, OperationFailure) and error.code in _SNAPSHOT_GONE):
            return False, 0
        raise
    uncounted, whole = 0, list[int]()
    for slot in range(SLOTS):
        missing = summed.entries[slot] - accounts.get(slot, {}).get("entries", 0)
        if missing > 0:
            uncounted += missing
        elif missing < 0:
            found.differ(None, None, f"slot {slot} counted {-missing} entries more than the journal has")
        else:
            _compare_accounts(slot, balances_in(accounts.get(slot, {})), summed.sums[slot], found)
            whole += [slot] if accounts.get(slot, {}).get("beside") == Counting.name else []
    return await _audit_days(store, whole, summed.at, found), uncounted


async def _audit_days(store: Store, slots: list[int], at: Timestamp, found: _Findings) -> bool:
    """Compares what is kept for reports; False where the instant could not be read any more."""
    if not slots:
        return True
    try:
        async for member, what in differing_days(store, slots, at):
            found.differ(member, None, what)
    except PyMongoError as error:
        if error.timeout or (isinstance(error, OperationFailure) and error.code in _SNAPSHOT_GONE):
            return False
        raise
    return True


def _compare_accounts(slot: int, kept: Mapping[Account, int], summed: Mapping[Account, int], found: _Findings) -> None:
    for account in sorted(kept.keys() | summed.keys()):
        if kept.get(account, 0) != summed.get(account, 0):
            name, asset = account
            what = f"{name} has {kept.get(account, 0)} of {asset}, its journal {summed.get(account, 0)}"
            found.differ(None, None, f"slot {slot}: {what}")


async def _accounts_at(store: Store, at: Timestamp) -> dict[int, Document]:
    """The slots' documents, as they were at that instant."""
    reply = await store.database.command(
        {
            "find": store.accounts.name,
            "batchSize": SLOTS,
            "readConcern": {"level": "snapshot", "atClusterTime": at},
        }
    )
    accounts = {document["_id"]: document for document in reply["cursor"]["firstBatch"]}
    cursor = reply["cursor"]["id"]
    while cursor:
        reply = await store.database.command({"getMore": Int64(cursor), "collection": store.accounts.name})
        accounts |= {document["_id"]: document for document in reply["cursor"]["nextBatch"]}
        cursor = reply["cursor"]["id"]
    return accounts


def _entries(store: Store, member: str | None = None) -> AsyncCursor[Document]:
    wanted: dict[str, Any] = {"seq": {"$exists": True}} if member is None else {"member": member, "seq": {"$gte": 0}}
    return store.journal.find(wanted, batch_size=BATCH).sort([("member", 1), ("seq", 1)]).hint("member_seq")


async def _batches(cursor: AsyncCursor[Document]) -> AsyncIterator[list[Document]]:
    """The documents in batches; the server looks for the next one while this one is worked through."""
    async with cursor:
        coming = asyncio.create_task(cursor.to_list(BATCH))
        try:
            while batch := await coming:
                coming = asyncio.create_task(cursor.to_list(BATCH))
                await asyncio.sleep(0)
                yield batch
        finally:
            coming.cancel()
            await asyncio.gather(coming, return_exceptions=True)
