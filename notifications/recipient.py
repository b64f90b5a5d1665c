"""A recipient: what cascades must know of a member beside his runs, in one document that decisions are written on.

`sequence` is how far into his journal signals were heard; an entry after it is heard again, and what starts by it
starts once. The next date that comes to him is armed in `due_at`. The reservations of frequency caps stand here too:
a message takes its places in one write that holds only while there is room (SEMANTICS §10.10).
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Final
from zoneinfo import ZoneInfo

from pymongo.errors import DuplicateKeyError

from domain.ledger.expiry import Period, local_date, start_of_day
from domain.programme.messaging import Cap
from domain.store.codec import to_bson
from domain.store.connection import Store
from domain.store.slots import slot_of
from notifications.schedule import minus

MAX_TOLD: Final = 50
"""Dates that were told, the last ones: more never count at one time."""
_SPARE: Final = 10
EMPTY: Final[Mapping[str, Any]] = {
    "sequence": 0,
    "version": 0,
    "told": [],
    "started": {},
    "places": {},
    "revision": 1,
}
"""The fields of a recipient of whom nothing was heard."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """One message that counts against a cap, and since when."""

    delivery: str
    at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipient:
    """`through` is the instant until which dates were told; `told` are those that may come late.

    `started` is when each cascade started last; `places` are those taken of each cap. `failures` are his setbacks in a
    row (:mod:`notifications.setback`). `revision` is 0 until stored.
    """

    member: str
    sequence: int = 0
    version: int = 0
    through: datetime | None = None
    due_at: datetime | None = None
    told: tuple[str, ...] = ()
    started: Mapping[str, datetime] = field(default_factory=dict)
    places: Mapping[str, tuple[Place, ...]] = field(default_factory=dict)
    failures: int = 0
    revision: int = 0


def caps_of(caps: Iterable[Cap], *, category: str, channel: str) -> list[Cap]:
    """The caps that a message of the category on the channel counts against."""
    return [cap for cap in caps if cap.category in {None, category} and cap.channel in {None, channel}]


def since(cap: Cap, *, now: datetime, zone: ZoneInfo) -> datetime:
    """From when on messages count against the cap at `now`: the member's day, or a window that rolls."""
    if isinstance(cap.per, Period):
        return minus(now, cap.per)
    return start_of_day(local_date(now, zone), zone) - timedelta(milliseconds=1)


def full(
    recipient: Recipient, caps: Iterable[Cap], *, now: datetime, zone: ZoneInfo, delivery: str
) -> tuple[str, datetime] | None:
    """A cap without room, and when it has room again; None when all have. A place that the delivery has is its own."""
    blocked: tuple[str, datetime] | None = None
    for cap in caps:
        places = [place for place in recipient.places.get(cap.id, ()) if place.delivery != delivery]
        counted = sorted(place.at for place in places if place.at > since(cap, now=now, zone=zone))
        if len(counted) >= cap.count:
            if isinstance(cap.per, Period):
                room_at = counted[-cap.count] + (now - minus(now, cap.per))
            else:
                room_at = start_of_day(local_date(now, zone) + timedelta(days=1), zone)
            if blocked is None or room_at > blocked[1]:
                blocked = cap.id, room_at
    return blocked


async def recipient_of(store: Store, member: str) -> Recipient:
    """The member's, as stored, or a new one."""
    document = await store.recipients.find_one({"_id": member})
    return Recipient(member=member) if document is None else recipient_from(document)


async def recipients_of(store: Store, members: Iterable[str]) -> dict[str, Recipient]:
    """Those members', by id."""
    wanted = list(members)
    found = {each["_id"]: recipient_from(each) async for each in store.recipients.find({"_id": {"$in": wanted}})}
    return {member: found.get(member) or Recipient(member=member) for member in wanted}


async def keep(store: Store, recipient: Recipient) -> bool:
    """Stores all but the places, which are taken by themselves; False when somebody stored it since it was read.

    Whoever is stored has had a turn without a setback.
    """
    values: dict[str, Any] = {
        "sequence": recipient.sequence,
        "version": recipient.version,
        "through": recipient.through,
        "due_at": recipient.due_at,
        "told": list(recipient.told[-MAX_TOLD:]),
        "started": dict(recipient.started),
        "revision": recipient.revision + 1,
    }
    kept = {name: value for name, value in values.items() if value is not None}
    if recipient.revision == 0:
        try:
            await store.recipients.insert_one(
                to_bson({"_id": recipient.member, "slot": slot_of(recipient.member), "places": {}, **kept})
            )
        except DuplicateKeyError:
            return False
        return True
    gone = ("failures", "retry_at", *(("due_at",) if recipient.due_at is None else ()))
    update: dict[str, Any] = {"$set": to_bson(kept), "$unset": dict.fromkeys(gone, "")}
    query = {"_id": recipient.member, "revision": recipient.revision}
    return (await store.recipients.update_one(query, update)).matched_count == 1


async def reserve(
    store: Store, member: str, caps: Iterable[Cap], *, delivery: str, now: datetime, zone: ZoneInfo
) -> bool:
    """Takes a place of every cap for the delivery, all or none, in one write; False when one of them has no room.

    A delivery keeps the places that it has. A recipient who was not stored yet, since who heard of him died before
    that, is stored.
    """
    caps = list(caps)
    if not caps:
        return True
    query = {"_id": member, "$expr": {"$and": [_may_stand(cap, delivery, now=now, zone=zone) for cap in caps]}}
    taken = [{"$set": {f"places.{cap.id}": _with_place(cap, delivery, now=now) for cap in caps}}]
    if (await store.recipients.update_one(query, taken)).matched_count == 1:
        return True
    return await _make(store, member) and (await store.recipients.update_one(query, taken)).matched_count == 1


async def _make(store: Store, member: str) -> bool:
    """Stores an empty recipient, of whom nothing was heard; False when there is one."""
    try:
        await store.recipients.insert_one({"_id": member, "slot": slot_of(member), **EMPTY})
    except DuplicateKeyError:
        return False
    return True


def _may_stand(cap: Cap, delivery: str, *, now: datetime, zone: ZoneInfo) -> dict[str, Any]:
    """That the delivery has a place of the cap, or there is room."""
    counted = {"$filter": {"input": _places(cap), "cond": {"$gt": ["$$this.at", since(cap, now=now, zone=zone)]}}}
    return {"$or": [_has_place(cap, delivery), {"$lt": [{"$size": counted}, cap.count]}]}


def _with_place(cap: Cap, delivery: str, *, now: datetime) -> dict[str, Any]:
    """The cap's places with that of the delivery."""
    more = {"$concatArrays": [_places(cap), [{"delivery": {"$literal": delivery}, "at": now}]]}
    return {"$cond": [_has_place(cap, delivery), _places(cap), {"$slice": [more, -(2 * cap.count + _SPARE)]}]}


def _has_place(cap: Cap, delivery: str) -> dict[str, Any]:
    return {"$in": [{"$literal": delivery}, {"$ifNull": [f"$places.{cap.id}.delivery", []]}]}


def _places(cap: Cap) -> dict[str, Any]:
    return {"$ifNull": [f"$places.{cap.id}", []]}


async def give_back(store: Store, member: str, caps: Iterable[Cap], *, delivery: str) -> None:
    """Gives the delivery's places back: it certainly was not sent."""
    caps = list(caps)
    if caps:
        pulled = {f"places.{cap.id}": {"delivery": delivery} for cap in caps}
        await store.recipients.update_one({"_id": member}, {"$pull": pulled})


def recipient_from(document: Mapping[str, Any]) -> Recipient:
    """The recipient that the store holds."""
    return Recipient(
        member=document["_id"],
        sequence=document["sequence"],
        version=document["version"],
        through=document.get("through"),
        due_at=document.get("due_at"),
        told=tuple(document["told"]),
        started=document["started"],
        places={cap: tuple(Place(**place) for place in places) for cap, places in document["places"].items()},
        failures=document.get("failures", 0),
        revision=document["revision"],
    )
