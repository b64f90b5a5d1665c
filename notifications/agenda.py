"""What comes next, of every kind, found in one round trip: for a sandbox's clock that is to move, and for workers.

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


class Kind(StrEnum):
    """SIGNAL: one that was not heard. DATE, RUN, WALLET, PAYMENT, BIRTHDAY: due.

    STALE: dates of a member that are armed by another version of the programme. PAUSE: a cascade that is paused.
    RECALL: a push to be taken off a screen. ERASURE: one that was cut short. These four are always at hand.
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


MESSAGES: Final = frozenset({Kind.SIGNAL, Kind.RECALL, Kind.DATE, Kind.STALE, Kind.RUN, Kind.PAUSE})
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
    """The first of each of the kinds in the slots that comes at `until` or before; `version` is the programme's."""
    queues = [queue for queue in _queues(sorted(slots), version) if queue.kind in kinds]
    first, *others = [(queue.collection, _first(queue, until)) for queue in queues]
    unions = [{"$unionWith": {"coll": collection, "pipeline": stages}} for collection, stages in others]
    found: Agenda = {}
    async for each in await store.database[first[0]].aggregate([*first[1], *unions]):
        kind = Kind(each["kind"])
        found[kind] = min(each["at"], found.get(kind, each["at"]))
    return found


def _queues(slots: list[int], version: int) -> list[_Queue]:
    here = {"slot": {"$in": slots}}
    return [
        _Queue(kind=Kind.SIGNAL, collection=collections.SIGNALS, field="at", where={**here, "pending": True}),
        _Queue(
            kind=Kind.RECALL,
            collection=collections.RUNS,
            field=None,
            where={**here, "recall_at": {"$exists": True, "$lte": datetime.now(UTC)}},
        ),
        _Queue(kind=Kind.DATE, collection=collections.RECIPIENTS, field="due_at", where=here),
        _Queue(
            kind=Kind.STALE, collection=collections.RECIPIENTS, field=None, where={**here, "version": {"$lt": version}}
        ),
        _Queue(kind=Kind.RUN, collection=collections.RUNS, field="due_at", where=here),
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
