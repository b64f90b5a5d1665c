"""The programme's accounts: the other side of all postings, summed from the journal (DESIGN §2, "No hot document").

The holder of a slot follows the journal's change stream and adds up what arrives. Sums, position and number of
entries counted are one document per slot, changed by one write on condition that the position is still the one
counted from and the fence the holder's own, so that every entry is counted exactly once, whoever dies or is taken
over where. (A transaction over several documents would do as well, but whoever is killed within one leaves its
documents locked for a minute.)
A position is a resume token: the order of the log itself, which no late insert can slip behind. When the log
no longer reaches back to it, the slot is summed anew from a scan at one instant, and followed from there.
What else is counted from the journal (:class:`Beside`) is counted before the position moves on.

    SlotLost    somebody else holds one of the slots now, or a position had to be given up; open again
"""

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple, Protocol

import pymongo
import structlog
from bson.int64 import Int64
from bson.timestamp import Timestamp
from pymongo import UpdateOne
from pymongo.asynchronous.change_stream import AsyncChangeStream
from pymongo.errors import DuplicateKeyError, OperationFailure
from pymongo.read_concern import ReadConcern

from domain.ledger.posting import is_members
from domain.store.connection import Document, Store
from domain.store.slots import SLOTS

Account = tuple[str, str]
"""An account's name and an asset."""

CatchUp = Callable[[Sequence[int]], Awaitable[None]]
"""Takes slots, and looks at all entries of theirs that stand in the journal."""

WANTED: Final = ("member", "slot", "seq", "postings")
"""What is read of an entry that arrives."""

MAX_BATCH: Final = 1_000
BATCH_SECONDS: Final = 0.25
"""How long entries are gathered before they are counted together."""
TOKEN_SECONDS: Final = 30.0
"""How often the position of a slot without entries moves on, so that the log does not outgrow it, and those who read
from it have little to read; the first time at once."""
SCAN_SECONDS: Final = 240.0
"""Below the five minutes for which the server keeps an instant readable."""
SUMMED_TOGETHER: Final = 200_000
"""About as many entries are summed anew as of one instant: with all that is counted of them in well below that time."""
MAX_ACCOUNTS: Final = 100_000

HISTORY_LOST: Final = {260, 280, 286}  # InvalidResumeToken, ChangeStreamFatalError, ChangeStreamHistoryLost
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


class Change(NamedTuple):
    """An entry that arrived: its place in the log's order, and the fields of it that were wanted."""

    order: str
    entry: Mapping[str, Any]


class Beside(Protocol):
    """What is counted beside the accounts. It must bear to be given an entry again, by whoever follows the slot next.

    `name` is written with the position of a slot that it has counted all of; a slot without it is counted anew.
    """

    name: str
    wanted: tuple[str, ...]

    async def recount(self, slots: Sequence[int], at: Timestamp, *, order: str) -> None:
        """Counts all entries of the slots as of an instant of the log, whatever was counted; `order` is just after."""

    async def count(self, changes: Sequence[Change]) -> None:
        """Counts entries that arrived, in the log's order."""


@dataclass(slots=True, kw_only=True)
class Arrived:
    """Entries not counted yet. `heads` are their members, each with the last sequence that arrived.

    Per slot: what they add up to, how many they are, and the positions that they lie between.
    """

    changes: list[Change] = field(default_factory=list)

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
    sums: Counter[Account] = Counter()
    async for slot in store.accounts.find():
        sums.update(balances_in(slot))
    return dict(sums)


def balances_in(document: Mapping[str, Any]) -> dict[Account, int]:
    """The balances in a slot's document."""
    return {_account_of(name): balance for name, balance in document.get("balances", {}).items()}


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
async def following(
    store: Store, held: Mapping[int, int], *, catch_up: CatchUp | None = None, beside: Beside | None = None
) -> AsyncIterator["Following"]:
    """Follows the journal of the held slots (slot to fence) from where each of them was counted to.

    A slot that was never counted, or too long ago, is summed anew first, and `catch_up` is called for such
    slots: what it is to see of the entries before is not among those that arrive. Raises SlotLost.
    """
    tokens = await _positions(store, held, beside)
    for fresh in await _in_groups(store, [slot for slot in held if slot not in tokens]):
        tokens |= await _sum_anew(store, {slot: held[slot] for slot in fresh}, catch_up, beside)
    wanted = WANTED if beside is None else (*WANTED, *beside.wanted)
    try:
        stream = await watch(store, held, wanted=wanted, resume_after=min(tokens.values(), key=order_of))
    except OperationFailure as error:
        await _give_up(store, held, error)
        raise SlotLost from error
    async with stream:
        yield Following(store, stream, held=held, tokens=tokens, beside=beside)


class Following:
    """The journal of some slots as it grows; made by :func:`following`."""

    def __init__(
        self,
        store: Store,
        stream: AsyncChangeStream[Document],
        *,
        held: Mapping[int, int],
        tokens: dict[int, Document],
        beside: Beside | None,
    ) -> None:
        self._store = store
        self._stream = stream
        self._held = held
        self._tokens = tokens
        self._beside = beside
        self._moved_on_at = -TOKEN_SECONDS

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
        if time.monotonic() > self._moved_on_at + TOKEN_SECONDS:
            self._move_on(arrived)
        return arrived

    async def count(self, arrived: Arrived) -> None:
        """Adds what arrived to the sums, exactly once. Raises SlotLost."""
        if not arrived.until:
            return
        if self._beside is not None and arrived.changes:
            await self._beside.count(arrived.changes)
        await _write(
            self._store,
            [
                UpdateOne(
                    {"_id": slot, "fence": self._held[slot], "token": arrived.since[slot]},
                    {
                        "$set": {"token": token},
                        "$inc": {
                            "entries": Int64(arrived.entries[slot]),
                            **{
                                f"balances.{_name_of(account)}": Int64(amount)
                                for account, amount in arrived.sums.get(slot, {}).items()
                            },
                        },
                    },
                )
                for slot, token in arrived.until.items()
            ],
        )
        self._tokens |= arrived.until

    def _add(self, arrived: Arrived, change: Mapping[str, Any]) -> None:
        entry, token = change["fullDocument"], change["_id"]
        slot = entry["slot"]
        if order_of(token) <= order_of(self._tokens[slot]):
            return
        arrived.changes.append(Change(order_of(token), entry))
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
        for slot, since in self._tokens.items():
            if token is not None and slot not in arrived.until and order_of(since) < order_of(token):
                arrived.since[slot], arrived.until[slot] = since, dict(token)


async def _positions(store: Store, held: Mapping[int, int], beside: Beside | None) -> dict[int, Document]:
    """Where the slots were counted to; from now on nobody with an older fence counts them."""
    positions = await asyncio.gather(*(_open(store, slot, fence, beside) for slot, fence in held.items()))
    return {slot: token for slot, token in zip(held, positions, strict=True) if token is not None}


async def _open(store: Store, slot: int, fence: int, beside: Beside | None) -> Document | None:
    try:
        document = await store.accounts.find_one_and_update(
            {"_id": slot, "fence": {"$lte": fence}},
            {"$set": {"fence": Int64(fence)}},
            {"token": 1, "beside": 1},
            upsert=True,
        )
    except DuplicateKeyError as error:
        raise SlotLost from error
    if document is None or (beside is not None and document.get("beside") != beside.name):
        return None
    return document.get("token")


async def _in_groups(store: Store, slots: Sequence[int]) -> list[Sequence[int]]:
    """The slots in groups that can be summed while an instant is readable; a small journal's are one."""
    if not slots:
        return []
    entries = await store.journal.estimated_document_count()
    size = max(1, SLOTS * SUMMED_TOGETHER // max(entries, 1))
    return [slots[at : at + size] for at in range(0, len(slots), size)]


async def _sum_anew(
    store: Store, held: Mapping[int, int], catch_up: CatchUp | None, beside: Beside | None
) -> dict[int, Document]:
    summed = await scan(store, held)
    token = await _token_after(store, summed.at)
    if beside is not None:
        await beside.recount(sorted(held), summed.at, order=order_of(token))
    if catch_up is not None:
        await catch_up(sorted(held))
    await _write(
        store,
        [
            UpdateOne(
                {"_id": slot, "fence": fence},
                {
                    "$set": {
                        "token": token,
                        "beside": None if beside is None else beside.name,
                        "entries": Int64(summed.entries[slot]),
                        "balances": {_name_of(each): Int64(amount) for each, amount in summed.sums[slot].items()},
                    }
                },
            )
            for slot, fence in held.items()
        ],
    )
    log.info("accounts.summed_anew", slots=len(held), entries=sum(summed.entries.values()))
    return dict.fromkeys(held, token)


async def _write(store: Store, updates: Sequence[UpdateOne]) -> None:
    """Each slot by itself: one that is lost harms no other."""
    result = await store.accounts.bulk_write(updates, ordered=False)
    if result.matched_count < len(updates):
        raise SlotLost


async def watch(
    store: Store, slots: Iterable[int], *, wanted: Iterable[str] = WANTED, **start: Any
) -> AsyncChangeStream[Document]:
    """The entries of the slots as they are inserted into the journal; `start` says from where in the log."""
    arrival = {
        "operationType": "insert",
        "fullDocument.slot": {"$in": sorted(slots)},
        "fullDocument.seq": {"$exists": True},
    }
    fields = {f"fullDocument.{name}": 1 for name in wanted}
    journal = store.journal.with_options(read_concern=ReadConcern("majority"))
    return await journal.watch(
        [{"$match": arrival}, {"$project": fields}], max_await_time_ms=int(BATCH_SECONDS * 1000), **start
    )


async def _token_after(store: Store, at: Timestamp) -> Document:
    """The position just after an instant of the log: a stream that begins there and was asked for nothing yet."""
    stream = await watch(store, (), start_at_operation_time=Timestamp(at.time, at.inc + 1), batch_size=0)
    async with stream:
        token = stream.resume_token
        assert token is not None, at
        return dict(token)


async def _give_up(store: Store, held: Mapping[int, int], error: OperationFailure) -> None:
    """Forgets positions that the log does not reach back to; any other failure is raised on."""
    if error.code not in HISTORY_LOST:
        raise error
    log.warning("accounts.position_lost", slots=len(held), code=error.code)
    for slot, fence in held.items():
        await store.accounts.update_one({"_id": slot, "fence": fence}, {"$unset": {"token": ""}})


def _name_of(account: Account) -> str:
    """The account as a field's name, in which a dot and a dollar would mean something else."""
    name = "|".join(account)
    return name.replace("%", "%25").replace(".", "%2E").replace("$", "%24")


def _account_of(name: str) -> Account:
    account, _, asset = name.replace("%24", "$").replace("%2E", ".").replace("%25", "%").rpartition("|")
    return account, asset


def order_of(token: Mapping[str, Any]) -> str:
    """Tokens are ordered by their text, as the server itself orders the streams of several shards."""
    order: str = token["_data"]
    return order
