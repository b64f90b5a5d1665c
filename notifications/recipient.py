"""A recipient: what cascades must know about a member besides his runs, in one document that decisions are written on.

`sequence` is how far into his journal signals were heard; an entry after it is heard again, and what starts by it
starts once. The next date that comes to him is armed in `due_at`. The places of frequency caps stand here too
(:mod:`notifications.caps`).
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final

from pymongo.errors import DuplicateKeyError

from domain.store.codec import to_bson
from domain.store.connection import Store
from domain.store.slots import slot_of

MAX_TOLD: Final = 50
"""Dates that were told, the last ones: more never count at one time."""
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
    """One message that counts against a cap, and since when. Until `held_until`, by real time, it is being sent."""

    delivery: str
    at: datetime
    held_until: datetime | None = None


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
