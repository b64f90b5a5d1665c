"""Same-item offers (SEMANTICS §8.6), through the ledger."""

from typing import Any, Final

from domain.ledger.entry import Entry
from domain.members.member import Member
from domain.programme.earning import Line
from tests.ledger.conftest import OpenShop
from tests.ledger.shop import Shop, assert_sound

OFFER: Final = """
earning:
  - {{id: again, event: same_sku, nth: 3, within: P10D, award: {{voucher: off, points: 5}}{more}}}
vouchers: [{{id: off, discount: {{percent: "15"}}, expires: P21D, name: {{en: Off}}}}]
"""


def offer(more: str = "") -> str:
    return OFFER.format(more=more)


def items(*skus: str, quantity: int = 1) -> dict[str, Any]:
    lines = tuple(Line(sku=sku, category="FOOD", quantity=quantity, amount_minor=100) for sku in skus)
    return {"total_minor": 100 * len(lines), "lines": lines}


def given(entry: Entry) -> list[str | None]:
    return [voucher.sku for voucher in entry.changes.vouchers]


async def kept(shop: Shop, member: Member) -> set[str]:
    return set((await shop.wallet(member)).progress.get("same_items", {}))


async def test_the_third_purchase_of_an_item_gives_a_voucher_for_it_and_the_next_two_do_not(
    shop_with: OpenShop,
) -> None:
    shop = await shop_with(offer())
    member = await shop.member()

    entries = [await shop.buy(member, **items("a", "a", f"b{number}", quantity=2)) for number in range(6)]

    assert [given(entry) for entry in entries] == [[], [], ["a"], [], [], ["a"]]
    assert [(row.rule, row.step, row.points) for row in entries[2].explanation] == [("again", "award", 5)]
    await assert_sound(shop.store)


async def test_the_days_end_with_the_day_of_the_last_purchase(shop_with: OpenShop) -> None:
    shop = await shop_with(offer())
    member, other = await shop.member(), await shop.member()
    for each in (member, other):
        await shop.buy(each, **items("a"))
        await shop.buy(each, **items("a"))
    await shop.move_by(days=9)

    tenth_day = await shop.buy(member, **items("a"))
    await shop.move_by(days=1)
    eleventh_day = await shop.buy(other, **items("a"))

    assert (given(tenth_day), given(eleventh_day)) == (["a"], [])


async def test_several_items_at_once_are_each_their_own_and_an_item_may_be_named_anything(shop_with: OpenShop) -> None:
    shop = await shop_with(offer())
    member, odd = await shop.member(), "$.a|b.%ß"

    entries = [await shop.buy(member, **items(odd, "c")) for _ in range(3)]

    assert given(entries[2]) == [odd, "c"]
    assert await kept(shop, member) == set()
    await assert_sound(shop.store)


async def test_a_limit_counts_over_all_items_of_one_receipt_and_more_comes_with_the_next_period(
    shop_with: OpenShop,
) -> None:
    shop = await shop_with(offer(", limit: {count: 1, per: week}"))
    member = await shop.member()

    entries = [await shop.buy(member, **items("a", "b")) for _ in range(4)]
    await shop.move_by(days=7)
    next_week = await shop.buy(member, **items("a", "b"))

    assert [given(entry) for entry in entries] == [[], [], ["a"], []]
    assert given(next_week) == ["b"]


async def test_only_what_the_condition_and_the_window_let_through_counts(shop_with: OpenShop) -> None:
    shop = await shop_with(offer(", when: 'line.sku != \"b\"', valid: {from: 2026-03-03}"))
    member = await shop.member()
    await shop.buy(member, **items("a", "b"))
    await shop.move_by(days=1)

    entries = [await shop.buy(member, **items("a", "b")) for _ in range(3)]

    assert [given(entry) for entry in entries] == [[], [], ["a"]]


async def test_late_purchases_count_in_their_place_and_what_is_over_is_forgotten(shop_with: OpenShop) -> None:
    shop = await shop_with(offer())
    member = await shop.member()
    await shop.move_by(days=20)
    now = shop.clock.now()
    await shop.buy(member, **items("a", "b"), occurred_at=now.replace(day=14))

    entries = [await shop.buy(member, **items("a"), occurred_at=now.replace(day=day)) for day in (22, 18, 20)]
    await shop.move_by(days=10)
    for _ in range(4):
        await shop.buy(member, **items("c"))

    assert [given(entry) for entry in entries] == [[], ["a"], []]
    assert await kept(shop, member) == {"again|c"}


async def test_a_purchase_that_went_back_whole_counts_no_more_and_a_voucher_stays(shop_with: OpenShop) -> None:
    shop = await shop_with(offer())
    member = await shop.member()
    first = await shop.buy(member, **items("a", "b"))
    await shop.give_back(member, first)
    await shop.buy(member, **items("a"))
    await shop.buy(member, **items("a"))

    third = await shop.buy(member, **items("a"))
    returned = await shop.give_back(member, third)

    assert given(third) == ["a"]
    assert returned.changes.ended_vouchers == ()
    assert await kept(shop, member) == set()


async def test_an_offer_that_is_taken_out_is_forgotten_with_the_eighth_purchase(shop_with: OpenShop) -> None:
    shop = await shop_with(offer())
    member = await shop.member()
    await shop.buy(member, **items("a"))
    await shop.publish("")

    for _ in range(7):
        await shop.buy(member, **items("a"))

    assert await kept(shop, member) == set()
    await assert_sound(shop.store)


async def test_a_wallet_remembers_no_more_than_a_thousand_items(shop_with: OpenShop) -> None:
    shop = await shop_with(offer())
    member = await shop.member()
    for start in (0, 500, 1_000):
        await shop.buy(member, **items(*(str(number) for number in range(start, start + 500))))
        await shop.move_by(days=1)

    assert await kept(shop, member) == {f"again|{number}" for number in range(500, 1_500)}
