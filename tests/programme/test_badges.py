"""Badges (SEMANTICS §8.2), through the ledger: what an entry awards and what a wallet keeps."""

from datetime import timedelta
from typing import Final

from domain.ledger.entry import Entry
from domain.members.member import Member
from domain.programme.badges import badge_state
from domain.programme.earning import Line
from tests.ledger.conftest import OpenShop
from tests.ledger.shop import Shop, assert_sound

BADGES: Final = """
badges:
  - {id: regular, counts: visits, levels: [1, 3], name: {en: Regular}}
  - {id: buyer, counts: purchases, levels: [2], name: {en: Buyer}}
  - {id: spender, counts: spend, levels: [10, 20, 30], name: {en: Spender}}
  - {id: explorer, counts: distinct_places, levels: [2], name: {en: Explorer}}
  - {id: gourmet, counts: distinct_categories, levels: [2, 3], name: {en: Gourmet}}
  - {id: sharer, counts: activity.share, levels: [2], name: {en: Sharer}}
places:
  - {id: north, name: North, location: {latitude: 46.1, longitude: 14.5}}
  - {id: south, name: South, location: {latitude: 46.0, longitude: 14.5}}
"""


def awarded(entry: Entry) -> dict[str, list[int]]:
    return {badge: mark["levels"] for badge, mark in entry.marks.get("badges", {}).items()}


def of(*categories: str) -> tuple[Line, ...]:
    return tuple(Line(sku=str(at), category=category, amount_minor=100) for at, category in enumerate(categories))


async def level(shop: Shop, member: Member, badge: str) -> int:
    return badge_state((await shop.wallet(member)).progress, badge).level


async def test_each_counter_awards_its_levels_once_and_two_in_one_entry(shop_with: OpenShop) -> None:
    shop = await shop_with(BADGES)
    member = await shop.member()

    first = await shop.buy(member, 200, lines=of("BREAD", "MILK"), place="north")
    await shop.move_by(hours=1)
    second = await shop.buy(member, 2000, place="north")
    await shop.move_by(hours=1)
    third = await shop.buy(member, 300, lines=of("BREAD", "FISH", "MILK"), place="south")

    assert awarded(first) == {"regular": [1], "gourmet": [1]}
    assert awarded(second) == {"buyer": [1], "spender": [1, 2]}
    assert awarded(third) == {"regular": [2], "explorer": [1], "gourmet": [2]}
    await assert_sound(shop.store)


async def test_a_return_takes_no_badge_away_and_no_level_is_awarded_again(shop_with: OpenShop) -> None:
    shop = await shop_with(BADGES)
    member = await shop.member()
    bought = await shop.buy(member, 1000)

    await shop.give_back(member, bought)
    again = await shop.buy(member, 1000)

    assert awarded(bought) == {"regular": [1], "spender": [1]}
    assert awarded(again) == {"buyer": [1]}
    assert (await shop.wallet(member)).spend_minor == 1000
    assert await level(shop, member, "spender") == 1


async def test_a_new_badge_counts_visits_from_before_it(shop_with: OpenShop) -> None:
    shop = await shop_with("")
    member = await shop.member()
    for _ in range(3):
        await shop.buy(member, 100)
        await shop.move_by(hours=1)
    await shop.publish(BADGES)

    entry = await shop.buy(member, 100)

    assert awarded(entry) == {"regular": [1, 2], "buyer": [1]}


async def test_a_badge_that_goes_and_comes_back_with_other_levels_awards_only_what_is_new(shop_with: OpenShop) -> None:
    shop = await shop_with(BADGES)
    member = await shop.member()
    for _ in range(3):
        await shop.buy(member, 100)
        await shop.move_by(hours=1)
    await shop.publish("")
    await shop.buy(member, 100)
    await shop.publish(BADGES.replace("levels: [1, 3], name: {en: Regular}", "levels: [1, 5, 6], name: {en: Regular}"))

    fifth = await shop.buy(member, 100, occurred_at=shop.clock.now() + timedelta(minutes=1))
    await shop.move_by(hours=1)
    sixth = await shop.buy(member, 100)

    assert [awarded(entry).get("regular") for entry in (fifth, sixth)] == [None, None]
    assert await level(shop, member, "regular") == 2
    await assert_sound(shop.store)


async def test_a_badge_whose_levels_are_raised_counts_what_was_above_them(shop_with: OpenShop) -> None:
    shop = await shop_with(BADGES)
    member = await shop.member()
    await shop.buy(member, 500, lines=of("A", "B", "C", "D", "E"))
    await shop.publish(BADGES.replace("levels: [2, 3], name: {en: Gourmet}", "levels: [2, 3, 5], name: {en: Gourmet}"))

    entry = await shop.buy(member, 100)

    assert awarded(entry)["gourmet"] == [3]
