"""Members by id and by a partner's reference, many at once, in one round trip."""

from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Any

from domain.members.member import Member, member_from, reference_key
from domain.store.connection import Store


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """Those who exist, whoever asks."""

    by_id: dict[str, Member] = field(default_factory=dict)
    by_reference: dict[str, Member] = field(default_factory=dict)


async def find_members(
    store: Store, *, ids: Collection[str] = (), client_id: str = "", references: Collection[str] = ()
) -> Found:
    """The members of those ids, and those whom that partner knows by those references."""
    keys = {reference_key(client_id, reference): reference for reference in references}
    wanted: list[dict[str, Any]] = []
    if ids:
        wanted.append({"_id": {"$in": list(ids)}})
    if keys:
        wanted.append({"references": {"$in": list(keys)}})
    found = Found()
    if not wanted:
        return found
    async for document in store.members.find(wanted[0] if len(wanted) == 1 else {"$or": wanted}):
        member = member_from(document)
        if member.id in ids:
            found.by_id[member.id] = member
        for key in document.get("references", ()):
            if key in keys:
                found.by_reference[keys[key]] = member
    return found
