"""What comes next, of every kind, found in one round trip: for a sandbox's clock about to move, and for workers.

Each kind of thing that falls due stands in a collection with an index on slot and instant. One aggregation takes the
first of each. A run of a paused cascade is on the agenda too: PAUSE says that there may be some.
"""

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any, Final

from domain.store import collections
from domain.store.connection import Store
from notifications.control import CascadeState
from notifications.setback import members_aside, not_aside


class Kind(StrEnum):
    """SIGNAL: one that was not heard. DATE, RUN, WALLET, PAYMENT, BIRTHDAY: due.

    STALE: dates of a member that are armed by another version of the programme. PAUSE: a cascade that is paused.
    RECALL: a push to be taken off a screen. ERASURE: one that was cut short. ASIDE: a member who is left alone after a
    setback; UP_AGAIN: one who was for long enough. These are always at hand.
    """

    SIGNAL = "SIGNAL"
    RECALL = "RECALL"
    DATE = "DATE"
    STALE = "STALE"
    RUN = "RUN"
    PAUSE = "PAUSE"
    WALLET = "WALLET"
    PAYMENT = "PAYMENT"
    BIRTHDAY = "BIRTHDAY"
    ERASURE = "ERASURE"
    ASIDE = "ASIDE"
    UP_AGAIN = "UP_AGAIN"


MESSAGES: Final = frozenset(
    {Kind.SIGNAL, Kind.RECALL, Kind.DATE, Kind.STALE, Kind.RUN, Kind.PAUSE, Kind.ASIDE, Kind.UP_AGAIN}
)
VALUE: Final = frozenset({Kind.WALLET, Kind.PAYMENT, Kind.BIRTHDAY, Kind.ERASURE})

Agenda = dict[Kind, datetime]
"""When the first of each kind comes; what is always at hand comes at the instant that was asked about."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Queue:
    """Where a kind is found; `field` is its instant, None for what is always at hand."""

    kind: Kind
    collection: str
    field: str | None
    where: dict[str, Any]


async def agenda(
    store: Store, slots: Iterable[int], *, until: datetime, version: int, kinds: Collection[Kind]
) -> Agenda:
    """The first of each of the kinds in the slots that comes at `until` or before; `version` is the programme's.

    What is of members who are set aside is left out; it takes a second look when there are any.
    """
    slots = sorted(slots)
    found = await _look(store, [each for each in _queues(slots, version) if each.kind in kinds], until=until)
    if Kind.ASIDE in found and not found.keys().isdisjoint({Kind.SIGNAL, Kind.RUN}):
        aside = await members_aside(store, slots)
        found = await _look(store, [each for each in _queues(slots, version, aside) if each.kind in kinds], until=until)
    return found


async def _look(store: Store, queues: Iterable[_Queue], *, until: datetime) -> Agenda:
    first, *others = [(queue.collection, _first(queue, until)) for queue in queues]
    unions = [{"$unionWith": {"coll": collection, "pipeline": stages}} for collection, stages in others]
    found: Agenda = {}
    async for each in await store.database[first[0]].aggregate([*first[1], *unions]):
        kind = Kind(each["kind"])
        found[kind] = min(each["at"], found.get(kind, each["at"]))
    return found


def _queues(slots: list[int], version: int, aside: Collection[str] = ()) -> list[_Queue]:
    here, now = {"slot": {"$in": slots}}, datetime.now(UTC)
    well: dict[str, Any] = {**here, "retry_at": {"$exists": False}}
    others: dict[str, Any] = {**here, "member": {"$nin": list(aside)}} if aside else here
    return [
        _Queue(kind=Kind.SIGNAL, collection=collections.SIGNALS, field="at", where={**others, "pending": True}),
        _Queue(
            kind=Kind.RECALL,
            collection=collections.RUNS,
            field=None,
            where={**here, "recall_at": {"$exists": True, "$lte": now}},
        ),
        _Queue(kind=Kind.DATE, collection=collections.RECIPIENTS, field="due_at", where=well),
        _Queue(
            kind=Kind.STALE, collection=collections.RECIPIENTS, field=None, where={**well, "version": {"$lt": version}}
        ),
        _Queue(
            kind=Kind.ASIDE,
            collection=collections.RECIPIENTS,
            field=None,
            where={**here, "retry_at": {"$exists": True, "$gt": now}},
        ),
        _Queue(
            kind=Kind.UP_AGAIN,
            collection=collections.RECIPIENTS,
            field=None,
            where={**here, "retry_at": {"$exists": True, "$lte": now}},
        ),
        _Queue(kind=Kind.RUN, collection=collections.RUNS, field="due_at", where={**others, **not_aside()}),
        _Queue(
            kind=Kind.PAUSE,
            collection=collections.CASCADE_STATES,
            field=None,
            where={"state": CascadeState.PAUSED.value},
        ),
        _Queue(kind=Kind.WALLET, collection=collections.WALLETS, field="next_due_at", where=here),
        _Queue(kind=Kind.PAYMENT, collection=collections.TOP_UPS, field="due_at", where=here),
        _Queue(kind=Kind.PAYMENT, collection=collections.TOP_UP_REFUNDS, field="due_at", where=here),
        _Queue(kind=Kind.BIRTHDAY, collection=collections.MEMBERS, field="birthday_due_at", where=here),
        _Queue(
            kind=Kind.ERASURE,
            collection=collections.MEMBERS,
            field=None,
            where={**here, "erasing": {"$exists": True}},
        ),
    ]


def _first(queue: _Queue, until: datetime) -> list[dict[str, Any]]:
    """The stages that find the first of the queue."""
    if queue.field is None:
        return [
            {"$match": queue.where},
            {"$limit": 1},
            {"$project": {"_id": False, "kind": {"$literal": queue.kind.value}, "at": {"$literal": until}}},
        ]
    return [
        # The index is partial: it is taken where the query says that the field is there.
        {"$match": {**queue.where, queue.field: {"$exists": True, "$lte": until}}},
        {"$sort": {queue.field: 1}},
        {"$limit": 1},
        {"$project": {"_id": False, "kind": {"$literal": queue.kind.value}, "at": f"${queue.field}"}},
    ]
