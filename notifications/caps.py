"""Frequency caps: so many messages in the member's day or in a window that rolls, as places (SEMANTICS §10.10).

A message takes its places in one write on the member's recipient, which holds only while there is room, and gives them
back when it certainly was not sent. Places that a process took and died with, before its first attempt stood in the
store, are found when somebody lacks them.
"""

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import Any, Final
from zoneinfo import ZoneInfo

from pymongo.errors import DuplicateKeyError

from domain.ledger.expiry import Period, local_date, start_of_day
from domain.programme.messaging import Cap
from domain.store.connection import Store
from domain.store.slots import slot_of
from notifications.channel import Channel
from notifications.delivery import deliveries_by_id
from notifications.recipient import EMPTY, Recipient
from notifications.schedule import minus

_SPARE: Final = 10


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


async def reserve(
    store: Store,
    member: str,
    caps: Iterable[Cap],
    *,
    delivery: str,
    now: datetime,
    zone: ZoneInfo,
    hold_seconds: float,
) -> bool:
    """Takes a place of every cap for the delivery, all or none, in one write; False when one of them has no room.

    Whoever took them attempts within `hold_seconds`, by the server's real time. Places that the delivery has count from
    now on. A recipient who was not stored yet, since who heard of him died before that, is stored.
    """
    caps = list(caps)
    if not caps:
        return True
    query = {"_id": member, "$expr": {"$and": [_has_room(cap, delivery, now=now, zone=zone) for cap in caps]}}
    held_until = {"$add": ["$$NOW", int(hold_seconds * 1000)]}
    place = {"delivery": {"$literal": delivery}, "at": now, "held_until": held_until}
    taken = [{"$set": {f"places.{cap.id}": _with_place(cap, delivery, place) for cap in caps}}]
    if (await store.recipients.update_one(query, taken)).matched_count == 1:
        return True
    return await _make(store, member) and (await store.recipients.update_one(query, taken)).matched_count == 1


async def give_back(store: Store, member: str, caps: Iterable[Cap], *, delivery: str) -> None:
    """Gives the delivery's places back: it certainly was not sent."""
    caps = list(caps)
    if caps:
        pulled = {f"places.{cap.id}": {"delivery": delivery} for cap in caps}
        await store.recipients.update_one({"_id": member}, {"$pull": pulled})


async def give_back_unused(store: Store, recipient: Recipient, caps: Iterable[Cap]) -> bool:
    """Gives places back whose messages nobody attempted, for their process died before; False when there are none."""
    now, caps = datetime.now(UTC), list(caps)
    left = {
        place.delivery
        for cap in caps
        for place in recipient.places.get(cap.id, ())
        if place.held_until is not None and place.held_until <= now
    }
    if not left:
        return False
    attempted = await deliveries_by_id(store, left)
    used = {each.id for each in attempted if each.may_have_come or each.channel is Channel.INBOX}
    unused = {"delivery": {"$in": sorted(left - used)}, "held_until": {"$lte": now}}
    given = await store.recipients.update_one(
        {"_id": recipient.member}, {"$pull": {f"places.{cap.id}": unused for cap in caps}}
    )
    return given.modified_count == 1


async def _make(store: Store, member: str) -> bool:
    """Stores an empty recipient, of whom nothing was heard; False when there is one."""
    try:
        await store.recipients.insert_one({"_id": member, "slot": slot_of(member), **EMPTY})
    except DuplicateKeyError:
        return False
    return True


def _has_room(cap: Cap, delivery: str, *, now: datetime, zone: ZoneInfo) -> dict[str, Any]:
    """That the cap has room beside what others than the delivery have of it."""
    counted = {"$gt": ["$$this.at", since(cap, now=now, zone=zone)]}
    return {"$lt": [{"$size": {"$filter": {"input": _others(cap, delivery), "cond": counted}}}, cap.count]}


def _with_place(cap: Cap, delivery: str, place: dict[str, Any]) -> dict[str, Any]:
    """The cap's places with that of the delivery as the latest."""
    return {"$slice": [{"$concatArrays": [_others(cap, delivery), [place]]}, -(2 * cap.count + _SPARE)]}


def _others(cap: Cap, delivery: str) -> dict[str, Any]:
    """The cap's places that are not the delivery's."""
    places = {"$ifNull": [f"$places.{cap.id}", []]}
    return {"$filter": {"input": places, "cond": {"$ne": ["$$this.delivery", {"$literal": delivery}]}}}
