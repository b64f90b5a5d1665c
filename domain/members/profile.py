"""What a member changes of what he told of himself: only that, so that two phones do not undo each other.

Who changes his birthday or his zone is looked at anew for the next birthday (:mod:`domain.members.birthday`).
The zones that he had stay with him, for a streak's days are counted where he was (SEMANTICS §8.3).
"""

from collections.abc import Mapping
from datetime import date, datetime
from typing import Any

from domain.members.member import Member, Profile, member_from
from domain.programme.stays import MAX_STAYS
from domain.store.connection import Store


async def change_profile(
    store: Store, member: str, changes: Mapping[str, str | date | None], *, now: datetime
) -> Member | None:
    """The member after it; None if he is not there. Names are those of :class:`Profile`; None forgets the value."""
    assert changes.keys() <= set(Profile.__slots__), changes.keys()
    told: dict[str, Any] = {
        f"profile.{name}": {"$literal": value.isoformat() if isinstance(value, date) else value}
        for name, value in changes.items()
        if value is not None
    }
    if not changes.keys().isdisjoint({"birthday", "time_zone"}):
        told["birthday_due_at"] = now
    forgotten = [f"profile.{name}" for name, value in changes.items() if value is None]
    update: list[dict[str, Any]] = []
    if "time_zone" in changes:
        update.append({"$set": {"zones": _zones_after(changes["time_zone"], now)}})
    update += [{"$set": told}] if told else []
    update += [{"$unset": forgotten}] if forgotten else []
    if update:
        await store.members.update_one({"_id": member}, update)
    document = await store.members.find_one({"_id": member})
    return None if document is None else member_from(document)


def _zones_after(zone: str | date | None, now: datetime) -> dict[str, Any]:
    """The zones with a new one since now, for a pipeline; as they were if it is the present one."""
    present = {"$ifNull": ["$profile.time_zone", None]}
    before = {"$ifNull": ["$zones", [{"zone": present}]]}
    moved = {"$concatArrays": [before, [{"zone": {"$literal": zone}, "since": now}]]}
    is_present = {"$eq": [present, {"$literal": zone}]}
    return {"$cond": [is_present, {"$ifNull": ["$zones", "$$REMOVE"]}, {"$slice": [moved, -MAX_STAYS]}]}
