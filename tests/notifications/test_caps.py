"""Frequency caps are places that are taken in one write (SEMANTICS §10.10)."""

import asyncio
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

from domain.ledger.expiry import Period
from domain.programme.messaging import Cap
from domain.store.connection import Store
from notifications.caps import full, give_back, reserve
from notifications.recipient import Recipient, keep, recipient_of

NOW = datetime(2026, 7, 6, 12, tzinfo=UTC)
ZONE = ZoneInfo("Europe/Ljubljana")
DAY = Cap(id="day", category="MARKETING", channel="PUSH", count=1, per="day")
WEEK = Cap(id="week", category="MARKETING", channel="PUSH", count=3, per=Period(days=7))


async def a_recipient(store: Store) -> None:
    assert await keep(store, Recipient(member="m1"))


async def test_of_many_at_once_one_has_the_last_place(store: Store) -> None:
    await a_recipient(store)

    taken = await asyncio.gather(
        *(reserve(store, "m1", [DAY, WEEK], delivery=f"d{n}", now=NOW, zone=ZONE, hold_seconds=20) for n in range(20))
    )

    assert sum(taken) == 1
    places = (await recipient_of(store, "m1")).places
    assert {cap: len(taken) for cap, taken in places.items()} == {"day": 1, "week": 1}


async def test_a_delivery_keeps_its_place_and_gives_it_back_only_when_told(store: Store) -> None:
    await a_recipient(store)

    first = await reserve(store, "m1", [DAY], delivery="d1", now=NOW, zone=ZONE, hold_seconds=20)
    again = await reserve(store, "m1", [DAY], delivery="d1", now=NOW, zone=ZONE, hold_seconds=20)
    other = await reserve(store, "m1", [DAY], delivery="d2", now=NOW, zone=ZONE, hold_seconds=20)
    await give_back(store, "m1", [DAY], delivery="d1")
    after = await reserve(store, "m1", [DAY], delivery="d2", now=NOW, zone=ZONE, hold_seconds=20)

    assert (first, again, other, after) == (True, True, False, True)


async def test_a_day_is_the_members_and_a_window_rolls(store: Store) -> None:
    await a_recipient(store)
    evening = datetime(2026, 7, 6, 21, 59, tzinfo=UTC)
    for number in range(3):
        at = evening + timedelta(days=number)
        assert await reserve(store, "m1", [DAY, WEEK], delivery=f"d{number}", now=at, zone=ZONE, hold_seconds=20)
    recipient = await recipient_of(store, "m1")
    third = evening + timedelta(days=2)

    assert full(recipient, [DAY], now=third, zone=ZONE, delivery="x") == ("day", third + timedelta(minutes=1))
    assert full(recipient, [DAY], now=third + timedelta(minutes=1), zone=ZONE, delivery="x") is None
    assert full(recipient, [WEEK], now=third, zone=ZONE, delivery="x") == ("week", evening + timedelta(days=7))
    later = evening + timedelta(days=7)
    before = later - timedelta(milliseconds=1)
    assert await reserve(store, "m1", [WEEK], delivery="d9", now=before, zone=ZONE, hold_seconds=20) is False
    assert await reserve(store, "m1", [WEEK], delivery="d9", now=later, zone=ZONE, hold_seconds=20) is True


async def test_a_member_who_was_never_stored_has_his_places_too(store: Store) -> None:
    taken = await asyncio.gather(
        *(
            reserve(store, "m2", [DAY], delivery=f"d{number}", now=NOW, zone=ZONE, hold_seconds=20)
            for number in range(5)
        )
    )

    recipient = await recipient_of(store, "m2")
    assert sum(taken) == 1
    assert (recipient.sequence, len(recipient.places["day"])) == (0, 1)
    assert await keep(store, replace(recipient, sequence=7))


async def test_a_delivery_with_a_place_takes_one_of_a_cap_that_came_since_while_that_has_room(store: Store) -> None:
    await a_recipient(store)
    assert await reserve(store, "m1", [DAY], delivery="d1", now=NOW, zone=ZONE, hold_seconds=20)

    with_room = await reserve(store, "m1", [DAY, WEEK], delivery="d1", now=NOW, zone=ZONE, hold_seconds=20)
    for number in range(2, 4):
        assert await reserve(store, "m1", [WEEK], delivery=f"d{number}", now=NOW, zone=ZONE, hold_seconds=20)
    without = await reserve(store, "m1", [WEEK], delivery="d4", now=NOW, zone=ZONE, hold_seconds=20)
    again = await reserve(store, "m1", [DAY, WEEK], delivery="d1", now=NOW, zone=ZONE, hold_seconds=20)

    places = (await recipient_of(store, "m1")).places
    assert (with_room, without, again) == (True, False, True)
    assert [place.delivery for place in places["day"]] == ["d1"]
    assert [place.delivery for place in places["week"]] == ["d2", "d3", "d1"]
