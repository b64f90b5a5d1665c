"""Automatic top-up: one charge for a payment that leaves too little; three failures end it (SEMANTICS §6.4)."""

import asyncio
from datetime import timedelta

import pytest

from domain.ledger.entry import EntryKind
from domain.payments import due
from domain.store.codec import format_instant
from notifications.worker import Worker
from tests.api.shop import Shop, new_key
from tests.payments.member import (
    a_top_up,
    available,
    confirm,
    entries,
    pay,
    provider_of,
    set_auto,
    start,
    top_up,
    wallet,
    work,
)


async def ready(shop: Shop, card: str = "GOOD") -> str:
    """A member with 20.00 and a saved card, who tops up by 25.00 below 10.00."""
    member = await shop.enrol()
    await top_up(shop, member, card=card)
    assert (await set_auto(shop, member))["__typename"] == "AutoTopUp"
    return member


async def attempts(shop: Shop) -> list[tuple[str, int]]:
    found = shop.services.store.top_ups.find({"entry": {"$exists": True}}).sort("created_at", 1)
    return [(each["state"], each["attempt"]) async for each in found]


async def test_what_another_pocket_pays_afterwards_does_not_hide_the_payment(shop: Shop) -> None:
    member = await ready(shop)
    await shop.adjust(
        {
            "member": member,
            "money": {"amount": "3.00", "currency": "USD"},
            "pocket": "CASHBACK",
            "reason": "Sorry",
            "idempotencyKey": new_key(),
        }
    )
    await pay(shop, member, 15_00)
    await pay(shop, member, 3_00, "cashback")

    await work(shop, member)

    assert await available(shop, member) == "30.00"


async def test_it_takes_a_saved_method(shop: Shop) -> None:
    member = await shop.enrol()
    await top_up(shop, member, saves=False)

    answered = await set_auto(shop, member)

    assert (answered["__typename"], answered["reason"]) == ("NotEligible", "NO_SAVED_METHOD")
    assert (await wallet(shop, member))["autoTopUp"] is None


@pytest.mark.parametrize(
    ("below", "amount", "path"),
    [
        ("0.00", "25.00", "below.amount"),
        ("10.00", "4.99", "amount.amount"),
        ("10.00", "150.01", "amount.amount"),
        ("200.01", "50.00", "below.amount"),
        ("10.00", "25.001", "amount.amount"),
    ],
)
async def test_it_stays_within_the_limits(shop: Shop, below: str, amount: str, path: str) -> None:
    member = await shop.enrol()
    await top_up(shop, member)

    answered = await set_auto(shop, member, below=below, amount=amount)

    assert answered["__typename"] == "InvalidInput"
    assert answered["fields"] == [{"path": path}]


async def test_the_app_sees_what_was_set(shop: Shop) -> None:
    member = await ready(shop)

    setting = (await wallet(shop, member))["autoTopUp"]

    assert setting == {"below": {"amount": "10.00"}, "amount": {"amount": "25.00"}, "enabled": True, "stoppedAt": None}


@pytest.mark.parametrize(("paid", "left"), [(10_00, "10.00"), (10_01, "34.99")])
async def test_a_payment_that_leaves_less_is_followed_by_one_charge(shop: Shop, paid: int, left: str) -> None:
    member = await ready(shop)
    await pay(shop, member, paid)

    await work(shop, member)
    await work(shop, member)

    assert await available(shop, member) == left


async def test_a_payments_entry_looked_at_again_charges_no_second_time(shop: Shop) -> None:
    member = await ready(shop)
    await pay(shop, member, 15_00)
    await work(shop, member)
    await shop.services.store.payers.update_one({"_id": member}, {"$set": {"seen": 0}})
    await shop.services.store.top_ups.update_many({"entry": {"$exists": True}}, {"$set": {"state": "SUCCEEDED"}})

    await asyncio.gather(*(due.look_at(shop.services.ledger, provider_of(shop), [member]) for _ in range(3)))
    await work(shop, member)

    assert len(await entries(shop, member, EntryKind.TOP_UP)) == 2
    assert await available(shop, member) == "30.00"


async def test_two_payments_while_one_charge_is_under_way_make_one_charge(shop: Shop) -> None:
    member = await ready(shop)
    await pay(shop, member, 12_00)
    await due.look_at(shop.services.ledger, provider_of(shop), [member])
    await pay(shop, member, 2_00)

    await work(shop, member)

    assert await attempts(shop) == [("SUCCEEDED", 1), ("REFUSED", 1)]
    assert await available(shop, member) == "31.00"


async def test_what_is_off_charges_nothing(shop: Shop) -> None:
    member = await ready(shop)
    await set_auto(shop, member, enabled=False)
    await pay(shop, member, 15_00)

    await work(shop, member)

    assert await attempts(shop) == []
    assert await available(shop, member) == "5.00"


async def test_a_limit_refuses_the_charge(shop: Shop) -> None:
    member = await ready(shop)
    for _ in range(3):
        await start(shop, member, a_top_up("75.00"))
    await pay(shop, member, 15_00)

    await work(shop, member)

    assert await attempts(shop) == [("REFUSED", 1)]
    assert await available(shop, member) == "5.00"


async def test_a_charge_takes_the_place_of_a_declined_card(shop: Shop) -> None:
    member = await ready(shop)
    await set_auto(shop, member, amount="110.00")
    declined = (await start(shop, member, a_top_up("150.00")))["clientSecret"]
    await confirm(shop, declined, "DECLINED")
    await pay(shop, member, 15_00)

    await work(shop, member)
    paid = await confirm(shop, declined)

    assert not paid, "together they would pass the limit of the wallet"
    assert await available(shop, member) == "115.00"


async def test_three_failures_stop_it_and_the_member_is_told_once(shop: Shop) -> None:
    member = await ready(shop, card="FAILS_LATER")
    await shop.phone(member, 'mutation { updateProfile(input: {locale: "sl"}) { __typename } }')
    await pay(shop, member, 15_00)
    seen = []

    for wait in (timedelta(), timedelta(hours=1), timedelta(hours=24), timedelta(days=3)):
        await shop.advance(format_instant(shop.clock.now() + wait + timedelta(seconds=30)))
        await work(shop, member)
        seen += await attempts(shop)

    setting = (await wallet(shop, member))["autoTopUp"]
    assert seen == [("OPEN", 2), ("OPEN", 3), ("FAILED", 3), ("FAILED", 3)]
    assert not setting["enabled"]
    assert setting["stoppedAt"] is not None
    assert await available(shop, member) == "5.00"
    payer = await shop.services.store.payers.find_one({"_id": member})
    assert payer is not None
    assert payer["auto"]["stopped_for"] == "card_declined"
    inbox = await shop.phone(member, "{ me { inbox { nodes { title category cascade } } } }")
    told = {"title": "Samodejno polnjenje je izklopljeno", "category": "TRANSACTIONAL", "cascade": None}
    assert [each for each in inbox["me"]["inbox"]["nodes"] if each["cascade"] is None] == [told]


async def test_turned_on_again_it_charges_at_the_next_payment(shop: Shop) -> None:
    member = await ready(shop, card="FAILS_LATER")
    await pay(shop, member, 15_00)
    for wait in (timedelta(), timedelta(hours=1), timedelta(hours=24)):
        await shop.advance(format_instant(shop.clock.now() + wait + timedelta(seconds=30)))
        await work(shop, member)
    await top_up(shop, member, "5.00")
    await set_auto(shop, member)
    await pay(shop, member, 1_00)

    await work(shop, member)

    assert await available(shop, member) == "34.00"
    assert (await wallet(shop, member))["autoTopUp"]["stoppedAt"] is None


async def test_a_worker_does_it_by_itself(shop: Shop) -> None:
    member = await ready(shop)
    services = shop.services
    worker = Worker(services.store, services.clock, services.ledger, provider=provider_of(shop), lease_seconds=2)
    running = asyncio.create_task(worker.run())
    try:
        await pay(shop, member, 15_00)
        for _ in range(200):
            if await available(shop, member) == "30.00":
                break
            await asyncio.sleep(0.05)
    finally:
        worker.stop()
        await running

    assert await available(shop, member) == "30.00"
