"""A member's activity: the entries of the journal, newest first, a page at a time."""

from collections.abc import Collection
from typing import Any

from domain.ledger.entry import Entry, EntryKind, entry_from
from domain.store.connection import Store


async def activity(
    store: Store, member: str, *, below: int, limit: int, kinds: Collection[EntryKind] | None = None
) -> list[Entry]:
    """Up to `limit` entries of a sequence below the given one, newest first; of those kinds when kinds are given.

    One round trip; the index on (member, seq) is read backwards.
    """
    wanted: dict[str, Any] = {"member": member, "seq": {"$exists": True, "$lt": below}}
    if kinds is not None:
        wanted["kind"] = {"$in": [kind.value for kind in kinds]}
    cursor = store.journal.find(wanted).sort("seq", -1).limit(limit).batch_size(limit + 1)
    return [entry_from(document) async for document in cursor]
