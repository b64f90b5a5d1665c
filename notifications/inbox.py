"""The inbox: the record of every message to a member, whatever became of it on other channels (SEMANTICS §10.7).

An item has the id of its delivery, so that putting it twice is putting it once. Items are kept for a year. Reading
one is a reaction, told to the cascades by a signal before the item is marked: if the process dies in between, the
same request again finishes it, and the signal is the same one.
"""

from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from pymongo import InsertOne
from pymongo.errors import DuplicateKeyError
from pymongo.read_concern import ReadConcern

from domain.store import collections
from domain.store.changes import Changes
from domain.store.codec import to_bson
from domain.store.connection import Store
from notifications.channel import MessageCategory
from notifications.signal import Signal, emit

KEPT_FOR: Final = timedelta(days=365)
RECORDED_WITHIN: Final = timedelta(hours=1)
"""No message is recorded later than this after the instant that it bears."""
MAX_MARKED: Final = 100
READ: Final = "inbox.read"


@dataclass(frozen=True, slots=True, kw_only=True)
class InboxItem:
    """One message, as the member saw it. `id` is its delivery's; `cascade` is None for what no cascade sent."""

    id: str
    member: str
    title: str = field(repr=False)
    body: str = field(repr=False)
    category: MessageCategory
    sent_at: datetime
    link: str | None = field(default=None, repr=False)
    image_url: str | None = None
    cascade: str | None = None
    read_at: datetime | None = None


async def put(store: Store, item: InboxItem) -> bool:
    """Records the message, unread; False when its delivery had been recorded before, and nothing changes then."""
    document = {
        "_id": item.id,
        "member": item.member,
        "title": item.title,
        "body": item.body,
        "category": item.category.value,
        "sent_at": item.sent_at,
        "unread": True,
        "kept_until": datetime.now(UTC) + KEPT_FOR,
        **{name: value for name in ("link", "image_url", "cascade") if (value := getattr(item, name)) is not None},
    }
    try:
        await store.inbox_writes.write(InsertOne(to_bson(document)))
    except DuplicateKeyError:
        return False
    return True


async def items_of(
    store: Store,
    member: str,
    *,
    now: datetime,
    limit: int,
    unread_only: bool = False,
    after: tuple[datetime, str] | None = None,
) -> list[InboxItem]:
    """The member's messages, newest first, from just after the instant and id of the last one seen."""
    query = _visible(member, now)
    if unread_only:
        query["unread"] = True
    if after is not None:
        sent_at, identifier = after
        query["$or"] = [{"sent_at": {"$lt": sent_at}}, {"sent_at": sent_at, "_id": {"$lt": identifier}}]
    found = store.inbox.find(query).sort([("sent_at", -1), ("_id", -1)]).limit(limit)
    return [item_from(document) async for document in found]


async def item_of(store: Store, member: str, identifier: str, *, now: datetime) -> InboxItem | None:
    """That message, if it is the member's."""
    document = await store.inbox.find_one({**_visible(member, now), "_id": identifier})
    return None if document is None else item_from(document)


async def items_added(store: Store, changes: Changes, member: str, *, now: datetime) -> AsyncGenerator[InboxItem, None]:
    """Each message to the member that is recorded after this call, once, for ever.

    Raises ChangesClosed when the process stops, and what the database raises.
    """
    async with changes.listening(collections.INBOX, member) as arrivals:
        # What is recorded late was sent a little before; so what was there already is known by its id.
        since = now - RECORDED_WITHIN
        known = {item.id async for item in _sent_since(store, member, since)}
        while True:
            await arrivals.wait()
            async for item in _sent_since(store, member, since):
                if item.id not in known:
                    known.add(item.id)
                    yield item


async def unread_count(store: Store, member: str, *, now: datetime) -> int:
    """How many messages the member has not read; counted in an index of those alone."""
    return await store.inbox.count_documents({**_visible(member, now), "unread": True})


async def mark_read(store: Store, member: str, identifiers: Sequence[str], *, now: datetime) -> int:
    """How many of those became read: only the member's own that were not read before. Each is a reaction."""
    assert len(identifiers) <= MAX_MARKED, len(identifiers)
    unread = {"member": member, "_id": {"$in": list(dict.fromkeys(identifiers))}, "unread": True}
    async for document in store.inbox.find(unread, {"_id": True, "cascade": True}):
        await emit(
            store,
            Signal(
                id=f"read:{document['_id']}",
                member=member,
                event=READ,
                at=now,
                facts={"delivery": document["_id"]},
            ),
        )
    marked = await store.inbox.update_many(unread, {"$set": {"read_at": now}, "$unset": {"unread": ""}})
    return marked.modified_count


def item_from(document: Mapping[str, Any]) -> InboxItem:
    """The message that the store holds."""
    return InboxItem(
        id=document["_id"],
        member=document["member"],
        title=document["title"],
        body=document["body"],
        category=MessageCategory(document["category"]),
        sent_at=document["sent_at"],
        link=document.get("link"),
        image_url=document.get("image_url"),
        cascade=document.get("cascade"),
        read_at=document.get("read_at"),
    )


async def _sent_since(store: Store, member: str, since: datetime) -> AsyncIterator[InboxItem]:
    inbox = store.inbox.with_options(read_concern=ReadConcern("majority"))
    async for document in inbox.find({"member": member, "sent_at": {"$gte": since}}).sort([("sent_at", 1), ("_id", 1)]):
        yield item_from(document)


def _visible(member: str, now: datetime) -> dict[str, Any]:
    return {"member": member, "sent_at": {"$gt": now - KEPT_FOR}}
