"""The programme's accounts: the other side of all postings, summed from the journal (DESIGN §2, "No hot document").

The holder of a slot follows the journal's change stream and adds up what arrives. Sums, position and number of
entries counted are written in one transaction, on condition that the position is still the one counted from and
the fence the holder's own, so that every entry is counted exactly once, whoever dies or is taken over where.
A position is a resume token: the order of the log itself, which no late insert can slip behind. When the log
no longer reaches back to it, the slot is summed anew from a scan at one instant, and followed from there.

    SlotLost    somebody else holds one of the slots now, or a position had to be given up; open again
"""

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Final

import pymongo
import structlog
from bson.int64 import Int64
from bson.timestamp import Timestamp
from pymongo import UpdateOne
from pymongo.asynchronous.change_stream import AsyncChangeStream
from pymongo.asynchronous.client_session import AsyncClientSession
from pymongo.errors import OperationFailure
from pymongo.read_concern import ReadConcern
from pymongo.write_concern import WriteConcern

from domain.ledger.posting import is_members
from domain.store.connection import Document, Store
from domain.store.slots import open_cursor

Account = tuple[str, str]
"""An account's name and an asset."""

MAX_BATCH: Final = 1_000
BATCH_SECONDS: Final = 0.25
"""How long entries are gathered before they are counted together."""
TOKEN_SECONDS: Final = 30.0
"""How often the position of a slot without entries moves on, so that the log does not outgrow it."""
TRANSACTION_SECONDS: Final = 5.0
SCAN_SECONDS: Final = 240.0
"""Below the five minutes for which the server keeps an instant readable."""
MAX_ACCOUNTS: Final = 100_000

_SLOTS_AT_ONCE: Final = 16
_HISTORY_LOST: Final = {260, 280, 286}  # InvalidResumeToken, ChangeStreamFatalError, ChangeStreamHistoryLost
_ENTRIES: Final = ("", "")

log = structlog.get_logger(__name__)


class SlotLost(Exception):  # noqa: N818 -- says what is the case
    """Nothing was kept; what is held is to be looked at, and followed, anew."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Scan:
    """The sums of slots at the instant `at` of the log; `entries` is how many entries are in them."""

    at: Timestamp
    sums: Mapping[int, Mapping[Account, int]]
    entries: Mapping[int, int]


@dataclass(slots=True, kw_only=True)
class Arrived:
    """Entries not counted yet. `heads` are their members, each with the last sequence that arrived.

    Per slot: what they add up to, how many they are, and the positions that they lie between.
    """

    heads: dict[str, int] = field(default_factory=dict)
    sums: dict[int, Counter[Account]] = field(default_factory=dict)
    entries: Counter[int] = field(default_factory=Counter)
    since: dict[int, Document] = field(default_factory=dict)
    until: dict[int, Document] = field(default_factory=dict)


def moves(postings: Iterable[Mapping[str, Any]]) -> Counter[Account]:
    """What stored postings add to each of the programme's accounts, signed, in the asset's unit."""
    sums: Counter[Account] = Counter()
    for posting in postings:
        for account, amount in ((posting["source"], -posting["amount"]), (posting["destination"], posting["amount"])):
            if not is_members(account):
                sums[account, posting["asset"]] += amount
    return sums


async def account_sums(store: Store) -> dict[Account, int]:
    """The balance of each of the programme's accounts, as far as it has been counted: in minus out."""
    group = {"_id": {"account": "$account", "asset": "$asset"}, "balance": {"$sum": "$balance"}}
    cursor = await store.accounts.aggregate([{"$group": group}])
    return {(each["_id"]["account"], each["_id"]["asset"]): each["balance"] async for each in cursor}


async def scan(store: Store, slots: Iterable[int]) -> Scan:
    """Sums the slots' entries on the server, all at one instant, which the majority has."""
    mapped = {
        side: {
            "$map": {
                "input": "$postings",
                "in": {"account": f"$$this.{side}", "asset": "$$this.asset", "amount": {"$multiply": [sign, amount]}},
            }
        }
        for side, sign, amount in (("source", -1, "$$this.amount"), ("destination", 1, "$$this.amount"))
    }
    one = [{"account": _ENTRIES[0], "asset": _ENTRIES[1], "amount": 1}]
    pipeline = [
        {"$match": {"slot": {"$in": sorted(slots)}, "seq": {"$exists": True}}},
        {"$project": {"slot": 1, "move": {"$concatArrays": [one, mapped["source"], mapped["destination"]]}}},
        {"$unwind": "$move"},
        {"$match": {"move.account": {"$not": {"$regex": "^member/"}}}},
        {
            "$group": {
                "_id": {"slot": "$slot", "account": "$move.account", "asset": "$move.asset"},
                "balance": {"$sum": {"$toLong": "$move.amount"}},
            }
        },
    ]
    with pymongo.timeout(SCAN_SECONDS):
        reply = await store.database.command(
            {
                "aggregate": store.journal.name,
                "pipeline": pipeline,
                "cursor": {"batchSize": MAX_ACCOUNTS},
                "allowDiskUse": True,
                "readConcern": {"level": "snapshot"},
            }
        )
    assert reply["cursor"]["id"] == 0, f"more than {MAX_ACCOUNTS} accounts"
    sums: dict[int, dict[Account, int]] = {slot: {} for slot in slots}
    for each in reply["cursor"]["firstBatch"]:
        key = each["_id"]
        sums[key["slot"]][key["account"], key["asset"]] = each["balance"]
    entries = {slot: of.pop(_ENTRIES, 0) for slot, of in sums.items()}
    return Scan(at=reply["cursor"]["atClusterTime"], sums=sums, entries=entries)


@asynccontextmanager
async def following(store: Store, held: Mapping[int, int]) -> AsyncIterator["Following"]:
    """Follows the journal of the held slots (slot to fence) from where each of them was counted to.

    A slot that was never counted, or too long ago, is summed anew first. Raises SlotLost.
    """
    tokens = await _positions(store, held)
    if fresh := [slot for slot in held if slot not in tokens]:
        tokens |= await _sum_anew(store, {slot: held[slot] for slot in fresh})
    try:
        stream = await _watch(store, held, resume_after=min(tokens.values(), key=_order))
    except OperationFailure as error:
        await _give_up(store, held, error)
        raise SlotLost from error
    async with stream:
        yield Following(store, stream, held=held, tokens=tokens)


class Following:
    """The journal of some slots as it grows; made by :func:`following`."""

    def __init__(
        self,
        store: Store,
        stream: AsyncChangeStream[Document],
        *,
        held: Mapping[int, int],
        tokens: dict[int, Document],
    ) -> None:
        self._store = store
        self._stream = stream
        self._held = held
        self._tokens = tokens
        self._moved_on_at = time.monotonic()

    async def arrived(self) -> Arrived:
        """What arrived since, gathered for a moment; it may be nothing. Raises SlotLost."""
        arrived, until = Arrived(), time.monotonic() + BATCH_SECONDS
        for _ in range(MAX_BATCH):
            try:
                change = await self._stream.try_next()
            except OperationFailure as error:
                await _give_up(self._store, self._held, error)
                raise SlotLost from error
            if change is None:
                break
            self._add(arrived, change)
            if time.monotonic() > until:
                break
        if not arrived.until and time.monotonic() > self._moved_on_at + TOKEN_SECONDS:
            self._move_on(arrived)
        return arrived

    async def count(self, arrived: Arrived) -> None:
        """Adds what arrived to the sums, exactly once. Raises SlotLost."""
        if not arrived.until:
            return

        async def write(session: AsyncClientSession) -> None:
            await _keep_positions(
                self._store,
                session,
                [
                    UpdateOne(
                        {"_id": slot, "fence": self._held[slot], "token": arrived.since[slot]},
                        {"$set": {"token": token}, "$inc": {"entries": Int64(arrived.entries[slot])}},
                    )
                    for slot, token in arrived.until.items()
                ],
            )
            if adding := _additions(arrived.sums):
                await self._store.accounts.bulk_write(adding, ordered=False, session=session)

        await _transaction(self._store, write)
        self._tokens |= arrived.until

    def _add(self, arrived: Arrived, change: Mapping[str, Any]) -> None:
        entry, token = change["fullDocument"], change["_id"]
        slot = entry["slot"]
        if _order(token) <= _order(self._tokens[slot]):
            return
        arrived.since.setdefault(slot, self._tokens[slot])
        arrived.until[slot] = token
        arrived.entries[slot] += 1
        arrived.heads[entry["member"]] = entry["seq"]
        sums = arrived.sums.setdefault(slot, Counter())
        for account, amount in moves(entry["postings"]).items():
            sums[account] += amount

    def _move_on(self, arrived: Arrived) -> None:
        self._moved_on_at = time.monotonic()
        token = self._stream.resume_token
        if token is not None:
            arrived.since = {slot: since for slot, since in self._tokens.items() if _order(since) < _order(token)}
            arrived.until = {slot: dict(token) for slot in arrived.since}


async def _positions(store: Store, held: Mapping[int, int]) -> dict[int, Document]:
    """Where the slots were counted to; from now on nobody with an older fence counts them."""
    cursors = await asyncio.gather(*(open_cursor(store, slot, fence=fence) for slot, fence in held.items()))
    tokens: dict[int, Document] = {}
    for slot, cursor in zip(held, cursors, strict=True):
        if cursor is None:
            raise SlotLost
        if "token" in cursor:
            tokens[slot] = cursor["token"]
    return tokens


async def _sum_anew(store: Store, held: Mapping[int, int]) -> dict[int, Document]:
    summed = await scan(store, held)
    token = await _token_after(store, summed.at)
    slots = sorted(held)
    for start in range(0, len(slots), _SLOTS_AT_ONCE):
        part = slots[start : start + _SLOTS_AT_ONCE]
        await _replace(store, {slot: held[slot] for slot in part}, summed, token=token)
    log.info("accounts.summed_anew", slots=len(held), entries=sum(summed.entries.values()))
    return dict.fromkeys(held, token)


async def _replace(store: Store, held: Mapping[int, int], summed: Scan, *, token: Document) -> None:
    async def write(session: AsyncClientSession) -> None:
        await _keep_positions(
            store,
            session,
            [
                UpdateOne(
                    {"_id": slot, "fence": fence},
                    {"$set": {"token": token, "entries": Int64(summed.entries[slot])}},
                )
                for slot, fence in held.items()
            ],
        )
        await store.accounts.delete_many({"slot": {"$in": list(held)}}, session=session)
        if adding := _additions({slot: summed.sums[slot] for slot in held}):
            await store.accounts.bulk_write(adding, ordered=False, session=session)

    await _transaction(store, write)


async def _keep_positions(store: Store, session: AsyncClientSession, updates: Sequence[UpdateOne]) -> None:
    result = await store.cursors.bulk_write(updates, ordered=False, session=session)
    if result.matched_count < len(updates):
        raise SlotLost


async def _transaction(store: Store, write: Callable[[AsyncClientSession], Awaitable[None]]) -> None:
    with pymongo.timeout(TRANSACTION_SECONDS):
        async with store.client.start_session() as session:
            await session.with_transaction(
                write, read_concern=ReadConcern("snapshot"), write_concern=WriteConcern("majority")
            )


async def _watch(store: Store, slots: Iterable[int], **start: Any) -> AsyncChangeStream[Document]:
    arrival = {
        "operationType": "insert",
        "fullDocument.slot": {"$in": sorted(slots)},
        "fullDocument.seq": {"$exists": True},
    }
    wanted = {f"fullDocument.{name}": 1 for name in ("member", "slot", "seq", "postings")}
    journal = store.journal.with_options(read_concern=ReadConcern("majority"))
    return await journal.watch(
        [{"$match": arrival}, {"$project": wanted}], max_await_time_ms=int(BATCH_SECONDS * 1000), **start
    )


async def _token_after(store: Store, at: Timestamp) -> Document:
    """The position just after an instant of the log: a stream that begins there and was asked for nothing yet."""
    stream = await _watch(store, (), start_at_operation_time=Timestamp(at.time, at.inc + 1), batch_size=0)
    async with stream:
        token = stream.resume_token
        assert token is not None, at
        return dict(token)


async def _give_up(store: Store, held: Mapping[int, int], error: OperationFailure) -> None:
    """Forgets positions that the log does not reach back to; any other failure is raised on."""
    if error.code not in _HISTORY_LOST:
        raise error
    log.warning("accounts.position_lost", slots=len(held), code=error.code)
    for slot, fence in held.items():
        await store.cursors.update_one({"_id": slot, "fence": fence}, {"$unset": {"token": ""}})


def _additions(sums: Mapping[int, Mapping[Account, int]]) -> list[UpdateOne]:
    return [
        UpdateOne(
            {"_id": f"{slot}|{account}|{asset}"},
            {
                "$inc": {"balance": Int64(amount)},
                "$setOnInsert": {"slot": Int64(slot), "account": account, "asset": asset},
            },
            upsert=True,
        )
        for slot, accounts in sums.items()
        for (account, asset), amount in accounts.items()
    ]


def _order(token: Mapping[str, Any]) -> str:
    """Tokens are ordered by their text, as the server itself orders the streams of several shards."""
    order: str = token["_data"]
    return order
