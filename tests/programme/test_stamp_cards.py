"""Stamp cards (SEMANTICS §8.4), through the ledger."""

from collections import Counter
from collections.abc import Mapping
from datetime import timedelta
from random import Random
from typing import Any, Final

import pytest

from domain.ledger.entry import Entry
from domain.ledger.expiry import local_date
from domain.members.member import Member
from domain.programme.earning import ExplanationRow, Line
from domain.programme.stamp_cards import CardState, card_state
from tests.ledger.conftest import OpenShop
from tests.ledger.shop import START, Shop, assert_sound

CARD: Final = """
stamp_cards:
  - id: bread
    lines: 'line.category == "BREAD"'
    size: 4
    {more}
    award: {{points: 10, voucher: loaf}}
    name: {{en: Bread card}}
vouchers: [{{id: loaf, discount: {{free_item: loaf}}, expires: P30D, name: {{en: A loaf}}}}]
"""


def card(more: str = "") -> str:
    return CARD.format(more=more)


def visit_card(more: str = "", *, size: int = 4) -> str:
    by_visit = card(more).replace("lines: 'line.category == \"BREAD\"'", "")
    return by_visit.replace("size: 4", f"size: {size}")


def breads(quantity: int, *, price_minor: int = 100) -> dict[str, Any]:
    lines = (
        Line(sku="loaf", category="BREAD", quantity=quantity, amount_minor=quantity * price_minor),
        Line(sku="milk", category="MILK", quantity=5, amount_minor=500),
    )
    return {"total_minor": sum(line.amount_minor for line in lines), "lines": lines}


def stamped(entry: Entry) -> Mapping[str, int] | None:
    return entry.marks.get("stamp_cards", {}).get("bread")


async def state(shop: Shop, member: Member) -> CardState:
    return card_state((await shop.wallet(member)).progress, "bread")


async def test_each_unit_on_a_line_that_matches_is_a_stamp_and_a_full_card_gives_at_once(shop_with: OpenShop) -> None:
    shop = await shop_with(card())
    member = await shop.member()

    three = await shop.buy(member, **breads(3))
    full = await shop.buy(member, **breads(2))

    assert (stamped(three), three.points) == ({"stamps": 3, "completed": 0}, 0)
    assert (stamped(full), full.points) == ({"stamps": 2, "completed": 1}, 10)
    assert full.explanation == (ExplanationRow("bread", "stamp_cards", 10, 0),)
    assert [voucher.definition for voucher in full.changes.vouchers] == ["loaf"]
    assert (await shop.wallet(member)).lifetime_points == 10
    assert (await state(shop, member)).stamps == 1
    await assert_sound(shop.store)


async def test_what_overflows_goes_on_and_may_fill_several_cards(shop_with: OpenShop) -> None:
    shop = await shop_with(card())
    member = await shop.member()

    entry = await shop.buy(member, **breads(11))

    assert stamped(entry) == {"stamps": 11, "completed": 2}
    assert entry.points == 20
    assert len(entry.changes.vouchers) == 2
    assert await state(shop, member) == CardState(stamps=3, completed=2)


async def test_one_purchase_fills_twenty_cards_and_no_more(shop_with: OpenShop) -> None:
    shop = await shop_with(card())
    member = await shop.member()

    entry = await shop.buy(member, **breads(1_000_000, price_minor=1))

    assert stamped(entry) == {"stamps": 80, "completed": 20}


async def test_a_day_of_the_programme_gives_no_more_than_its_stamps_in_whatever_order_they_come(
    shop_with: OpenShop,
) -> None:
    shop = await shop_with(card("per_day: 2"))
    member = await shop.member()
    await shop.move_by(days=2)
    late = START.replace(hour=22, minute=59)

    entries = [
        await shop.buy(member, **breads(1)),
        await shop.buy(member, **breads(3), occurred_at=late),
        await shop.buy(member, **breads(3)),
        await shop.buy(member, **breads(1), occurred_at=late.replace(hour=10)),
        await shop.buy(member, **breads(1), occurred_at=late.replace(hour=23, minute=0)),
    ]

    assert [None if mark is None else mark["stamps"] for mark in map(stamped, entries)] == [1, 2, 1, None, 1]
    assert (await state(shop, member)).days == {"2026-03-02": 2, "2026-03-03": 1, "2026-03-04": 2}


async def test_a_receipt_that_is_thirty_days_late_is_stamped_and_older_days_are_forgotten(shop_with: OpenShop) -> None:
    shop = await shop_with(card("per_day: 1") + "late_days: 60\n")
    member = await shop.member()
    for _ in range(30):
        await shop.move_by(days=1)
        await shop.buy(member, **breads(1))

    late = await shop.buy(member, **breads(1), occurred_at=START)
    older = await shop.buy(member, **breads(1), occurred_at=START - timedelta(days=1))

    assert stamped(late) == {"stamps": 1, "completed": 0}
    assert stamped(older) is None
    assert len((await state(shop, member)).days) == 31


async def test_without_lines_a_visit_is_a_stamp(shop_with: OpenShop) -> None:
    shop = await shop_with(visit_card())
    member = await shop.member()

    first = await shop.buy(member, 100)
    await shop.move_by(minutes=59)
    same = await shop.buy(member, 100)
    await shop.move_by(hours=1)
    second = await shop.buy(member, 100)

    assert [stamped(entry) for entry in (first, same, second)] == [
        {"stamps": 1, "completed": 0},
        None,
        {"stamps": 1, "completed": 0},
    ]


async def test_a_late_receipt_that_makes_two_visits_one_takes_the_stamp_of_the_later_one(shop_with: OpenShop) -> None:
    shop = await shop_with(visit_card())
    member = await shop.member()
    await shop.move_by(hours=3)
    await shop.buy(member, 100, occurred_at=START)
    later = await shop.buy(member, 100, occurred_at=START + timedelta(minutes=80))

    joining = await shop.buy(member, 100, occurred_at=START + timedelta(minutes=40))
    after = await state(shop, member)
    again = await shop.buy(member, 100, occurred_at=START + timedelta(minutes=20))
    returned = [await shop.give_back(member, bought) for bought in (later, joining)]

    assert stamped(joining) == {"stamps": -1, "completed": 0}
    assert (after.stamps, after.completed) == (1, 0)
    assert [stamped(entry) for entry in (again, *returned)] == [None] * 3
    assert (await state(shop, member)).stamps == 1


async def test_two_visits_made_one_keep_the_award_of_the_card_that_they_filled(shop_with: OpenShop) -> None:
    shop = await shop_with(visit_card(size=2))
    member = await shop.member()
    await shop.move_by(hours=3)
    await shop.buy(member, 100, occurred_at=START)
    await shop.buy(member, 100, occurred_at=START + timedelta(minutes=80))

    joining = await shop.buy(member, 100, occurred_at=START + timedelta(minutes=40))

    assert stamped(joining) is None
    assert ((await state(shop, member)).stamps, (await state(shop, member)).completed) == (0, 1)
    assert await shop.available(member) == 10


async def test_a_visit_that_a_full_day_left_without_a_stamp_takes_the_place_of_one_that_is_none_any_more(
    shop_with: OpenShop,
) -> None:
    shop = await shop_with(visit_card("per_day: 2"))
    member = await shop.member()
    await shop.move_by(hours=9)
    for minutes in (0, 80, 190):
        await shop.buy(member, 100, occurred_at=START + timedelta(minutes=minutes))

    joining = [await shop.buy(member, 100, occurred_at=START + timedelta(minutes=each)) for each in (40, 135)]
    new = await shop.buy(member, 100, occurred_at=START + timedelta(minutes=300))

    assert [stamped(entry) for entry in joining] == [None, {"stamps": -1, "completed": 0}]
    assert stamped(new) == {"stamps": 1, "completed": 0}
    assert (await state(shop, member)).days == {"2026-03-02": 2}


async def test_visits_of_before_the_card_have_no_stamp_to_lose(shop_with: OpenShop) -> None:
    shop = await shop_with("")
    member = await shop.member()
    await shop.move_by(hours=5)
    for minutes in (0, 80):
        await shop.buy(member, 100, occurred_at=START + timedelta(minutes=minutes))
    await shop.publish(visit_card())
    await shop.buy(member, 100)

    joining = await shop.buy(member, 100, occurred_at=START + timedelta(minutes=40))

    assert stamped(joining) is None
    assert (await state(shop, member)).stamps == 1


@pytest.mark.parametrize("per_day", [None, 1, 3])
async def test_a_card_has_the_stamps_of_its_visits_in_whatever_order_the_receipts_came(
    shop_with: OpenShop, per_day: int | None
) -> None:
    limit = "" if per_day is None else f"per_day: {per_day}"
    shop = await shop_with(visit_card(limit, size=99))
    random = Random(3)
    members = {await shop.member(): random.sample(range(0, 2_400, 5), 25) for _ in range(12)}
    await shop.move_by(days=2)

    for number in range(25):
        await shop.all(
            shop.purchase(member, 100, occurred_at=START + timedelta(minutes=minutes[number]))
            for member, minutes in members.items()
        )

    for member, minutes in members.items():
        in_order = sorted(minutes)
        begun = [at for before, at in zip([-60, *in_order], in_order, strict=False) if at - before >= 60]
        days = Counter(local_date(START + timedelta(minutes=at), shop.programmes.current.zone) for at in begun)
        expected = sum(visits if per_day is None else min(visits, per_day) for visits in days.values())
        assert (await state(shop, member)).stamps == expected, in_order


async def test_returns_take_stamps_by_part_and_never_below_zero(shop_with: OpenShop) -> None:
    shop = await shop_with(card())
    member = await shop.member()
    bought = await shop.buy(member, **breads(3))
    assert bought.purchase is not None

    taken = [stamped(await shop.give_back(member, bought, amount)) for amount in (200, 200, 400)]

    assert taken == [{"stamps": -1, "completed": 0}] * 3
    assert (await state(shop, member)).stamps == 0
    await assert_sound(shop.store)


async def test_a_return_takes_only_what_is_on_the_card_and_the_award_of_a_full_one_stays(shop_with: OpenShop) -> None:
    shop = await shop_with(card())
    member = await shop.member()
    bought = await shop.buy(member, **breads(5))

    returned = await shop.give_back(member, bought)

    assert stamped(returned) == {"stamps": -1, "completed": 0}
    assert returned.points == 0
    assert returned.changes.ended_vouchers == ()
    assert await state(shop, member) == CardState(completed=1)
    assert await shop.available(member) == 10


async def test_stamps_that_went_back_leave_room_for_the_day(shop_with: OpenShop) -> None:
    shop = await shop_with(card("per_day: 2"))
    member = await shop.member()
    bought = await shop.buy(member, **breads(2))
    await shop.give_back(member, bought)

    again = await shop.buy(member, **breads(2))

    assert stamped(again) == {"stamps": 2, "completed": 0}


async def test_a_card_expires_at_the_end_of_its_last_day_and_a_new_one_begins(shop_with: OpenShop) -> None:
    shop = await shop_with(card("expires: P10D"))
    member = await shop.member()
    first = await shop.buy(member, **breads(3))
    until = START.replace(day=12, hour=23, minute=0)
    before = await state(shop, member)
    await shop.move_to(until)

    late = await shop.buy(member, **breads(1), occurred_at=until.replace(minute=0, hour=22))
    after = await shop.buy(member, **breads(1))
    returned = await shop.give_back(member, first)

    assert before.expires_at == until
    assert before.at(until).stamps == 0
    assert stamped(late) == {"stamps": 1, "completed": 1}
    assert stamped(after) == {"stamps": 1, "completed": 0}
    assert stamped(returned) == {"stamps": -1, "completed": 0}


async def test_stamps_that_expired_are_not_taken_again(shop_with: OpenShop) -> None:
    shop = await shop_with(card("expires: P10D"))
    member = await shop.member()
    first = await shop.buy(member, **breads(3))
    await shop.move_by(days=11)
    await shop.buy(member, **breads(2))

    returned = await shop.give_back(member, first)

    assert stamped(returned) is None
    assert (await state(shop, member)).stamps == 2


@pytest.mark.parametrize(("size", "stamps", "completed"), [(3, 1, 1), (9, 4, 0)])
async def test_a_card_of_another_size_keeps_its_stamps(
    shop_with: OpenShop, size: int, stamps: int, completed: int
) -> None:
    shop = await shop_with(card())
    member = await shop.member()
    await shop.buy(member, **breads(3))
    await shop.publish("")
    await shop.buy(member, **breads(3))
    await shop.publish(card().replace("size: 4", f"size: {size}"))

    entry = await shop.buy(member, **breads(1))

    assert stamped(entry) == {"stamps": 1, "completed": completed}
    assert (await state(shop, member)).stamps == stamps
    await assert_sound(shop.store)
