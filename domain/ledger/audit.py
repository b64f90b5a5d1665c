"""The audit: re-derives every hash, every wallet and every sum from the journal, and says what differs.

The journal is streamed in the order of members and sequences beside the wallets and the members; one member's
running total is held at a time, so memory stays the same however long the journal is. It may run while the
system is in use. There is no one instant for all of it, since a server keeps an instant readable for minutes
only; each member is judged by himself: a stored wallet is compared with the fold at its own sequence, and
whoever seems to differ is read once more, wallet first, before it is said. The programme's accounts are
compared at one instant of their own, and so is what is kept for reports.
"""

import asyncio
import hashlib
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import orjson
from bson.int64 import Int64
from bson.timestamp import Timestamp
from pymongo.asynchronous.cursor import AsyncCursor
from pymongo.errors import OperationFailure, PyMongoError

from domain.ledger.accounts import Account, balances_in, scan
from domain.ledger.claim import owned_receipt
from domain.ledger.command import claim_of_key
from domain.ledger.entry import GENESIS, Entry, EntryKind, decided_from, entry_from, entry_id
from domain.ledger.posting import AVAILABLE, HELD, OWED, PENDING
from domain.ledger.wallet import Wallet, apply, assets_of, balances, wallet_from
from domain.reports.counting import Counting
from domain.reports.proof import differing_days
from domain.store.connection import Document, Store
from domain.store.slots import SLOTS, slot_of

MAX_LISTED: Final = 100
"""How many differences are listed; all are counted."""
BATCH: Final = 1_000
CLAIMS_AT_ONCE: Final = 1_000

_UNHASHED: Final = ("_id", "slot", "hash", "note")
_CANONICAL: Final = orjson.OPT_SORT_KEYS | orjson.OPT_UTC_Z
_MALFORMED: Final = (KeyError, ValueError, TypeError, AttributeError, AssertionError)
_SNAPSHOT_GONE: Final = {50, 239, 246}  # MaxTimeMSExpired, SnapshotTooOld, SnapshotUnavailable

Progress = Callable[[int, int], None]
"""Called now and then with how many journal documents are through, and about how many there are."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """`what` differs; `member` and `entry` say where, None where it concerns all."""

    member: str | None
    entry: str | None
    what: str


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


@dataclass(slots=True)
class _Trail:
    """One member's journal on its way past: the running total, and what differs so far."""

    member: str
    stored: Mapping[str, Any] | None
    is_joined: bool
    wallet: Wallet = field(init=False)
    slot: int = field(init=False)
    entries: int = 0
    is_broken: bool = False
    has_join: bool = False
    head: str = GENESIS
    sums: Counter[Account] = field(default_factory=Counter)
    claims: dict[str, tuple[str, str]] = field(default_factory=dict)
    differences: list[Difference] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.wallet = Wallet(member=self.member)
        self.slot = slot_of(self.member)

    def differ(self, entry: str | None, what: str) -> None:
        self.differences.append(Difference(member=self.member, entry=entry, what=what))

    def follow(self, document: Mapping[str, Any]) -> None:
        """The next entry of the member's."""
        identifier, sequence = document["_id"], document["seq"]
        self.entries += 1
        if document.get("hash") != _derived_hash(document):
            self.differ(identifier, "its hash is not that of its content")
        if identifier != entry_id(self.member, sequence) or document.get("slot") != self.slot:
            self.differ(identifier, "its id or slot is not its member's and sequence's")
        if self.is_broken:
            return
        try:
            entry = entry_from(document)
        except _MALFORMED as error:
            self.differ(identifier, f"it cannot be read: {error!r}")
            self.is_broken = True
            return
        if entry.sequence != self.wallet.sequence + 1:
            self.differ(identifier, f"the entry before it is number {self.wallet.sequence}; there is a gap")
            self.is_broken = True
        elif entry.previous_hash != self.head:
            self.differ(identifier, "it does not stand on the hash of the entry before it")
            self.is_broken = True
        else:
            self._apply(entry)
        self._note(entry)

    def finish(self) -> None:
        """What can be said when the member's last entry has passed."""
        if not self.entries:
            if self.stored is not None:
                self.differ(None, "there is a wallet without a journal")
        elif self.stored is not None and self.stored["seq"] > self.wallet.sequence and not self.is_broken:
            self.differ(None, f"the wallet is at {self.stored['seq']}, its journal ends at {self.wallet.sequence}")
        if self.is_joined and not self.has_join:
            self.differ(None, "the member joined, but there is no JOIN entry")
        if not self.is_broken:
            self._balance()

    @property
    def is_behind(self) -> bool:
        return self.entries > 0 and (self.stored is None or self.stored["seq"] < self.wallet.sequence)

    def _apply(self, entry: Entry) -> None:
        try:
            self.wallet = wallet = apply(self.wallet, entry)
            self.head = entry.hash
            effective = balances(wallet, entry.posted_at)
        except _MALFORMED as error:
            self.differ(entry.id, f"it cannot be applied to the wallet before it: {error!r}")
            self.is_broken = True
            return
        if any(lot.remaining <= 0 for lot in wallet.lots) or any(owed < 0 for owed in wallet.owed.values()):
            self.differ(entry.id, "it leaves a lot or a debt below zero")
        if effective != entry.balances:
            self.differ(entry.id, f"it says that it left {entry.balances}; it left {effective}")
        if self.stored is not None and self.stored["seq"] == wallet.sequence:
            self._compare(entry.id, self.stored)

    def _compare(self, identifier: str, stored: Mapping[str, Any]) -> None:
        try:
            kept = wallet_from(stored)
        except _MALFORMED as error:
            self.differ(identifier, f"the stored wallet cannot be read: {error!r}")
            return
        if kept != self.wallet:
            names = [name for name in Wallet.__slots__ if getattr(kept, name) != getattr(self.wallet, name)]
            self.differ(identifier, f"the stored wallet differs from its journal in {', '.join(names)}")

    def _note(self, entry: Entry) -> None:
        if entry.note is not None and entry.note.digest != entry.note_digest:
            self.differ(entry.id, "its note is not the one that was sealed")
        self.has_join = self.has_join or entry.kind is EntryKind.JOIN
        for posting in entry.postings:
            self.sums[posting.source, posting.asset] -= posting.amount
            self.sums[posting.destination, posting.asset] += posting.amount
        if entry.actor.startswith(("partner:", "staff:")):
            self.claims[claim_of_key(entry.key)] = (entry.id, entry.key)
        if (receipt := owned_receipt(entry)) is not None:
            if receipt in self.claims:
                self.differ(entry.id, f"{self.claims[receipt][0]} has the same receipt {entry.receipt}")
            self.claims[receipt] = (entry.id, entry.key)

    def _balance(self) -> None:
        held_parts = [part for hold in self.wallet.holds.values() for part in hold.parts]
        for asset in assets_of(self.wallet) | {asset for _, asset in self.sums}:
            lots = [lot for lot in self.wallet.lots if lot.asset == asset]
            for account, held in (
                (AVAILABLE, sum(lot.remaining for lot in lots if lot.key.pending_until is None)),
                (PENDING, sum(lot.remaining for lot in lots if lot.key.pending_until is not None)),
                (HELD, sum(part.amount for part in held_parts if part.asset == asset)),
                (OWED, -self.wallet.owed.get(asset, 0)),
            ):
                if self.sums[account, asset] != held:
                    moved = self.sums[account, asset]
                    self.differ(None, f"postings left {moved} of {asset} on {account}, the wallet has {held}")


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
    trail: _Trail | None = None
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


async def _begin(store: Store, member: str | None, found: _Findings, wallets: _Sorted, members: _Sorted) -> _Trail:
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
    return _Trail(member or "", stored, is_joined)


async def _end(store: Store, trail: _Trail | None, found: _Findings, claims: dict[str, tuple[str, str, str]]) -> None:
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


async def _read_alone(store: Store, member: str) -> _Trail:
    """The member's trail, read wallet first: what was posted since is in the journal, and nothing is ahead of it."""
    stored = await store.wallets.find_one({"_id": member})
    joined = await store.members.find_one({"_id": member, "is_joined": True}, {"_id": 1})
    trail = _Trail(member, stored, joined is not None)
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
            except _MALFORMED as error:
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


def _derived_hash(document: Mapping[str, Any]) -> str:
    """The hash of a stored entry, from the definition: SHA-256 over the previous hash and the canonical entry."""
    part = {name: value for name, value in document.items() if name not in _UNHASHED}
    digest = hashlib.sha256(str(part.get("prev_hash")).encode())
    try:
        digest.update(orjson.dumps(part, option=_CANONICAL))
    except orjson.JSONEncodeError:
        return ""
    return digest.hexdigest()
