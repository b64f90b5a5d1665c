"""Challenges (SEMANTICS §8.5), through the ledger."""

from collections.abc import Mapping
from datetime import timedelta
from typing import Any, Final

import pytest

from domain.ledger.entry import Entry
from domain.members.member import Member
from domain.programme.earning import ExplanationRow, Line
from tests.ledger.conftest import OpenShop
from tests.ledger.shop import CASHBACK, START, Shop, assert_sound

CHALLENGE: Final = """
challenges:
  - id: march
    event: {event}
    counts: {counts}
    target: {target}
    from: {from_on}
    until: {until_on}
    award: {{points: 150, cashback: "2.00"}}
    name: {{en: March}}
{more}
"""
END: Final = START.replace(day=10, hour=23, minute=0)
"""The first instant of 11 March in Ljubljana."""


def challenge(
    counts: str = "purchases",
    target: int = 3,
    *,
    event: str = "purchase",
    from_on: str = "2026-03-02",
    until_on: str = "2026-03-11",
    more: str = "",
) -> str:
    return CHALLENGE.format(counts=counts, target=target, event=event, from_on=from_on, until_on=until_on, more=more)


def of(*categories: str) -> dict[str, Any]:
    lines = tuple(Line(sku=str(at), category=category, amount_minor=100) for at, category in enumerate(categories))
    return {"total_minor": 100 * len(lines), "lines": lines}


def mark(entry: Entry) -> Mapping[str, Any]:
    found: Mapping[str, Any] = entry.marks.get("challenges", {}).get("march", {})
    return found


async def stored(shop: Shop, member: Member) -> Mapping[str, Any] | None:
    found: Mapping[str, Any] | None = (await shop.wallet(member)).progress.get("challenges", {}).get("march")
    return found


async def test_who_reaches_the_target_gets_the_award_once(shop_with: OpenShop) -> None:
    shop = await shop_with(challenge())
    member = await shop.member()

    entries = [await shop.buy(member, 100) for _ in range(5)]

    assert [dict(mark(entry)) for entry in entries] == [
        {"count": 1},
        {"count": 1},
        {"count": 1, "completed": True},
        {},
        {},
    ]
    assert entries[2].explanation == (ExplanationRow("march", "challenges", 150, 200),)
    assert (await shop.available(member), await shop.available(member, CASHBACK)) == (150, 200)
    await assert_sound(shop.store)


@pytest.mark.parametrize(
    ("counts", "target", "done_by"),
    [("spend", 8, 2), ("distinct_categories", 3, 2), ("distinct_places", 2, 3), ("visits", 2, 3), ("purchases", 3, 3)],
)
async def test_each_counter_counts_inside_the_window(
    shop_with: OpenShop, counts: str, target: int, done_by: int
) -> None:
    places = "".join(
        f"\n  - {{id: {place}, name: X, location: {{latitude: 46.1, longitude: 14.5}}}}" for place in ("north", "south")
    )
    shop = await shop_with(challenge(counts, target, from_on="2026-03-03", more="places:" + places))
    member = await shop.member()
    await shop.buy(member, **of("FISH", "MEAT", "EGGS"), place="south")
    await shop.move_by(days=1)

    entries = [
        await shop.buy(member, **of("BREAD", "BREAD", "MILK", "MILK"), place="north"),
        await shop.buy(member, **of("MILK", "FISH", "FISH", "FISH"), place="north"),
        await shop.buy(member, 100, place="south", occurred_at=shop.clock.now() + timedelta(minutes=-61)),
    ]

    assert [bool(mark(entry).get("completed")) for entry in entries] == [done_by == at for at in (1, 2, 3)]


async def test_the_window_is_of_the_programmes_days_and_late_ones_count_for_48_hours(shop_with: OpenShop) -> None:
    shop = await shop_with(challenge(target=2, from_on="2026-03-03"))
    member = await shop.member()
    millisecond = timedelta(milliseconds=1)
    await shop.move_to(END + timedelta(hours=47, minutes=59))

    counted = [
        mark(await shop.buy(member, 100, occurred_at=at))
        for at in (START.replace(hour=23) - millisecond, START.replace(hour=23), END)
    ]
    just_in_time = await shop.buy(member, 100, occurred_at=END - millisecond)

    assert counted == [{}, {"count": 1}, {}]
    assert mark(just_in_time) == {"count": 1, "completed": True}


async def test_nothing_counts_from_48_hours_after_the_end(shop_with: OpenShop) -> None:
    shop = await shop_with(challenge(target=1))
    member = await shop.member()
    await shop.move_to(END + timedelta(hours=48))

    late = await shop.buy(member, 100, occurred_at=END - timedelta(hours=1))

    assert (mark(late), late.points) == ({}, 0)


async def test_what_went_back_counts_no_more_until_the_target_is_reached(shop_with: OpenShop) -> None:
    shop = await shop_with(challenge("spend", 10))
    member = await shop.member()
    bought = await shop.buy(member, 900)
    await shop.give_back(member, bought, 300)

    not_yet = await shop.buy(member, 399)
    done = await shop.buy(member, 1)
    await shop.give_back(member, bought)
    after = await shop.buy(member, 5000)

    assert "completed" not in mark(not_yet)
    assert mark(done) == {"count": 1, "completed": True}
    assert (mark(after), await shop.available(member)) == ({}, 150)


async def test_only_a_purchase_that_went_back_whole_is_taken_off_the_count(shop_with: OpenShop) -> None:
    shop = await shop_with(challenge())
    member = await shop.member()
    bought = await shop.buy(member, 1000)
    await shop.buy(member, 1000)
    await shop.give_back(member, bought, 999)
    halfway = await stored(shop, member)

    await shop.give_back(member, bought)

    assert halfway is not None
    assert halfway["count"] == 2
    assert (await stored(shop, member) or {})["count"] == 1


async def test_a_challenge_that_is_prolonged_or_taken_out_and_back_gives_no_second_time(shop_with: OpenShop) -> None:
    shop = await shop_with(challenge(target=1))
    member = await shop.member()
    await shop.buy(member, 100)
    await shop.move_to(END + timedelta(days=5))
    await shop.buy(member, 100)
    await shop.publish(challenge(target=2, until_on="2026-04-01"))
    await shop.buy(member, 100)
    await shop.publish("")
    await shop.publish(challenge(target=2, until_on="2026-04-01"))

    entries = [await shop.buy(member, 100) for _ in range(3)]

    assert [entry.points for entry in entries] == [0, 0, 0]


async def test_a_new_window_after_the_old_one_is_a_new_challenge(shop_with: OpenShop) -> None:
    shop = await shop_with(challenge(target=1))
    member = await shop.member()
    await shop.buy(member, 100)
    await shop.move_to(END)
    await shop.publish(challenge(target=1, from_on="2026-03-11", until_on="2026-04-11"))

    again = await shop.buy(member, 100)

    assert again.points == 150


async def test_a_challenge_that_is_over_and_taken_out_is_forgotten(shop_with: OpenShop) -> None:
    shop = await shop_with(challenge())
    member = await shop.member()
    await shop.buy(member, 100)
    await shop.publish("")
    await shop.move_to(END + timedelta(hours=47, minutes=59))
    await shop.buy(member, 100)
    kept = await stored(shop, member)
    await shop.move_by(minutes=1)

    await shop.buy(member, 100)

    assert kept is not None
    assert await stored(shop, member) is None
    await assert_sound(shop.store)


async def test_a_condition_says_what_counts(shop_with: OpenShop) -> None:
    shop = await shop_with(challenge(target=1).replace("counts:", "when: 'purchase.total_minor >= 1000'\n    counts:"))
    member = await shop.member()

    small, large = await shop.buy(member, 999), await shop.buy(member, 1000)

    assert (mark(small), mark(large)) == ({}, {"count": 1, "completed": True})


async def test_a_target_that_was_lowered_is_reached_with_the_next_that_counts(shop_with: OpenShop) -> None:
    shop = await shop_with(challenge("distinct_categories", 3))
    member = await shop.member()
    await shop.buy(member, **of("BREAD", "MILK"))
    await shop.publish(challenge("distinct_categories", 2))

    entry = await shop.buy(member, **of("BREAD"))

    assert mark(entry) == {"count": 0, "completed": True}
    assert entry.points == 150


async def test_a_challenge_that_counts_something_else_begins_anew_and_a_won_one_stays_won(shop_with: OpenShop) -> None:
    shop = await shop_with(challenge("spend", 100))
    member, winner = await shop.member(), await shop.member()
    await shop.buy(member, 5000)
    await shop.buy(winner, 10000)
    await shop.publish(challenge("purchases", 2))

    entries = [await shop.buy(member, 100) for _ in range(2)]
    again = [await shop.buy(winner, 100) for _ in range(2)]

    assert [dict(mark(entry)) for entry in entries] == [{"count": 1}, {"count": 1, "completed": True}]
    assert [dict(mark(entry)) for entry in again] == [{}, {}]
