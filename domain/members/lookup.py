"""Members by id and by a partner's reference: look-ups that wait at the same moment share one round trip."""

import asyncio
from collections.abc import Collection
from contextvars import Context
from dataclasses import dataclass, field
from typing import Any

from domain.members.member import Member, member_from, reference_key
from domain.store.connection import Store


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """Those who exist, whoever asks."""

    by_id: dict[str, Member] = field(default_factory=dict)
    by_reference: dict[str, Member] = field(default_factory=dict)


class MemberLookup:
    """Looks members up in one store. One per process, on its event loop."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._ids: set[str] = set()
        self._keys: set[str] = set()
        self._next: asyncio.Task[Found] | None = None

    async def find(self, *, ids: Collection[str] = (), client_id: str = "", references: Collection[str] = ()) -> Found:
        """The members of those ids, and those whom that partner knows by those references."""
        keys = {reference: reference_key(client_id, reference) for reference in references}
        if not ids and not keys:
            return Found()
        self._ids.update(ids)
        self._keys.update(keys.values())
        if self._next is None:
            # A context of its own: others wait for it as well, whatever the deadline of the first is.
            self._next = asyncio.get_running_loop().create_task(self._read(), name="member-lookup", context=Context())
        everybody = await asyncio.shield(self._next)
        return Found(
            by_id={wanted: everybody.by_id[wanted] for wanted in ids if wanted in everybody.by_id},
            by_reference={
                reference: everybody.by_reference[key]
                for reference, key in keys.items()
                if key in everybody.by_reference
            },
        )

    async def _read(self) -> Found:
        """Everybody who is wanted by now, by id and by stored reference."""
        await asyncio.sleep(0)
        ids, keys, self._ids, self._keys, self._next = self._ids, self._keys, set(), set(), None
        wanted: list[dict[str, Any]] = []
        if ids:
            wanted.append({"_id": {"$in": list(ids)}})
        if keys:
            wanted.append({"references": {"$in": list(keys)}})
        found = Found()
        async for document in self._store.members.find(wanted[0] if len(wanted) == 1 else {"$or": wanted}):
            member = found.by_id[document["_id"]] = member_from(document)
            for key in keys.intersection(document.get("references", ())):
                found.by_reference[key] = member
        return found
