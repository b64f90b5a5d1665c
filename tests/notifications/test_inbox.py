"""The record of messages: once per delivery, a reaction per reading, one year."""

from datetime import UTC, datetime, timedelta
from typing import Any

from bson.codec_options import CodecOptions, DatetimeConversion

from domain.store.connection import Store
from notifications.channel import MessageCategory
from notifications.inbox import KEPT_FOR, InboxItem, items_of, mark_read, put, unread_count

NOW = datetime(2026, 7, 6, 8, 30, tzinfo=UTC)


def an_item(identifier: str, member: str = "ana", sent_at: datetime = NOW, title: str = "Hello") -> InboxItem:
    return InboxItem(
        id=identifier,
        member=member,
        title=title,
        body="Your points wait.",
        category=MessageCategory.SERVICE,
        sent_at=sent_at,
        link="corner://wallet",
        cascade="welcome",
    )


async def test_what_is_put_twice_is_there_once_and_as_it_was(store: Store) -> None:
    first = await put(store, an_item("delivery-1"))
    again = await put(store, an_item("delivery-1", title="Hello again"))

    assert (first, again) == (True, False)
    assert await items_of(store, "ana", now=NOW, limit=10) == [an_item("delivery-1")]


async def test_reading_tells_the_cascades_once_for_each_item(store: Store) -> None:
    for identifier, member in (("delivery-1", "ana"), ("delivery-2", "ana"), ("delivery-3", "eva")):
        await put(store, an_item(identifier, member))

    read = await mark_read(store, "ana", ["delivery-1", "delivery-1", "delivery-3", "nothing"], now=NOW)
    again = await mark_read(store, "ana", ["delivery-1"], now=NOW + timedelta(minutes=1))

    assert (read, again) == (1, 0)
    signals = await store.signals.find({}, {"_id": True, "member": True, "event": True, "facts": True}).to_list()
    assert signals == [
        {"_id": "read:delivery-1", "member": "ana", "event": "inbox.read", "facts": {"delivery": "delivery-1"}}
    ]
    assert [item.read_at for item in await items_of(store, "ana", now=NOW, limit=10)] == [None, NOW]
    assert await unread_count(store, "eva", now=NOW) == 1


async def test_messages_are_kept_for_a_year(store: Store) -> None:
    await put(store, an_item("delivery-1"))

    assert await unread_count(store, "ana", now=NOW + KEPT_FOR - timedelta(milliseconds=1)) == 1
    assert await unread_count(store, "ana", now=NOW + KEPT_FOR) == 0
    assert await items_of(store, "ana", now=NOW + KEPT_FOR, limit=10) == []


async def test_unread_messages_are_counted_without_reading_one(store: Store) -> None:
    for number in range(3):
        await put(store, an_item(f"delivery-{number}"))
    counted = {"count": "inbox", "query": {"member": "ana", "sent_at": {"$gt": NOW - KEPT_FOR}, "unread": True}}

    any_date = CodecOptions[dict[str, Any]](datetime_conversion=DatetimeConversion.DATETIME_AUTO, tz_aware=True)
    plan = await store.database.command({"explain": counted, "verbosity": "executionStats"}, codec_options=any_date)

    assert plan["executionStats"]["totalDocsExamined"] == 0
    assert plan["executionStats"]["totalKeysExamined"] <= 4
