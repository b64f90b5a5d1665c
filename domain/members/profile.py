"""What a member changes of what he told of himself: only that, so that two phones do not undo each other.

Who changes his birthday or his zone is looked at anew for the next birthday (:mod:`domain.members.birthday`).
"""

from collections.abc import Mapping
from datetime import date, datetime
from typing import Any

from domain.members.member import Member, Profile, member_from
from domain.store.connection import Store


async def change_profile(
    store: Store, member: str, changes: Mapping[str, str | date | None], *, now: datetime
) -> Member | None:
    """The member after it; None if he is not there. Names are those of :class:`Profile`; None forgets the value."""
    assert changes.keys() <= set(Profile.__slots__), changes.keys()
    told: dict[str, Any] = {
        f"profile.{name}": value.isoformat() if isinstance(value, date) else value
        for name, value in changes.items()
        if value is not None
    }
    if not changes.keys().isdisjoint({"birthday", "time_zone"}):
        told["birthday_due_at"] = now
    forgotten = {f"profile.{name}": "" for name, value in changes.items() if value is None}
    update = {"$set": told} if told else {}
    update |= {"$unset": forgotten} if forgotten else {}
    if update:
        await store.members.update_one({"_id": member}, update)
    document = await store.members.find_one({"_id": member})
    return None if document is None else member_from(document)
