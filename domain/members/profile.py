"""What a member changes of what he told of himself: only that, so that two phones do not undo each other."""

from collections.abc import Mapping
from datetime import date

from domain.members.member import Member, Profile, member_from
from domain.store.connection import Store


async def change_profile(store: Store, member: str, changes: Mapping[str, str | date | None]) -> Member | None:
    """The member after it; None if he is not there. Names are those of :class:`Profile`; None forgets the value."""
    assert changes.keys() <= set(Profile.__slots__), changes.keys()
    told = {
        f"profile.{name}": value.isoformat() if isinstance(value, date) else value
        for name, value in changes.items()
        if value is not None
    }
    forgotten = {f"profile.{name}": "" for name, value in changes.items() if value is None}
    update = {"$set": told} if told else {}
    update |= {"$unset": forgotten} if forgotten else {}
    if update:
        await store.members.update_one({"_id": member}, update)
    document = await store.members.find_one({"_id": member})
    return None if document is None else member_from(document)
