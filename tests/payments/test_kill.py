"""A process killed with SIGKILL between top-up, intent, entry and refund: nothing lost, nothing double."""

import signal
from datetime import timedelta
from typing import Any, Final

import pytest

from domain.ledger.audit import audit
from domain.ledger.entry import EntryKind
from domain.settings import Settings
from tests.api.shop import Shop, new_key
from tests.forked import fork
from tests.payments.bank import Bank, event
from tests.payments.member import (
    a_top_up,
    available,
    entries,
    pay,
    refund,
    set_auto,
    start,
    state_of,
    work,
)
from tests.payments.process import act


def at(command: str, collection: str | int, when: str, nth: int = 1) -> dict[str, Any]:
    return {"command": command, "collection": collection, "when": when, "nth": nth}


NOTHING_WRITTEN: Final = at("update", "payers", "before")
RESERVED: Final = at("commitTransaction", 1, "after")
INTENT_MADE: Final = at("update", "top_ups", "before")
INTENT_NOTED: Final = at("update", "top_ups", "after")
ENTRY_ABOUT_TO_BE_POSTED: Final = at("insert", "journal", "before")
ENTRY_POSTED: Final = at("insert", "journal", "after")
STATE_WRITTEN: Final = at("update", "top_ups", "after")
EVENT_ABOUT_TO_BE_RECORDED: Final = at("insert", "provider_events", "before")
AUTO_RESERVED: Final = at("commitTransaction", 1, "after")
CHARGE_ABOUT_TO_BE_MADE: Final = at("update", "top_ups", "after")
CHARGE_MADE: Final = at("update", "top_ups", "before", nth=2)
REFUND_ABOUT_TO_BE_NOTED: Final = at("insert", "top_up_refunds", "before")
REFUND_ASKED_FOR: Final = at("update", "top_up_refunds", "after")
REFUND_MADE: Final = at("update", "top_up_refunds", "before", nth=2)


async def killed(settings: Settings, place: dict[str, Any], what: str, **told: Any) -> None:
    """Another process acts and dies at the place."""
    assert await fork(act, settings=settings, killed=place, what=what, **told).ended() == -signal.SIGKILL


async def sound(shop: Shop) -> None:
    report = await audit(shop.services.store)
    assert report.ok, report.differences


async def refill(shop: Shop) -> None:
    """What the dead process had leased of its caller's bucket comes back with time; here at once."""
    await shop.services.store.buckets.delete_many({})


@pytest.mark.parametrize("place", [NOTHING_WRITTEN, RESERVED, INTENT_MADE, INTENT_NOTED])
async def test_killed_while_it_began_a_top_up_the_same_key_goes_on(
    bank: Bank, stripe_shop: Shop, stripe_settings: Settings, place: dict[str, Any]
) -> None:
    member, wanted = await stripe_shop.enrol(), a_top_up()
    made = await bank.calls("POST /v1/payment_intents")

    await killed(stripe_settings, place, "start", member=member, wanted=wanted)
    await refill(stripe_shop)
    started = await start(stripe_shop, member, wanted)
    await bank.tell(await bank.pay(started["clientSecret"]))

    assert await bank.calls("POST /v1/payment_intents") == made + 1
    assert await stripe_shop.services.store.top_ups.count_documents({}) == 1
    assert await available(stripe_shop, member) == "20.00"
    await sound(stripe_shop)


@pytest.mark.parametrize("place", [RESERVED, INTENT_MADE])
async def test_killed_while_it_began_a_top_up_that_is_never_asked_for_again_the_headroom_comes_back(
    bank: Bank, stripe_shop: Shop, stripe_settings: Settings, place: dict[str, Any]
) -> None:
    member = await stripe_shop.enrol()

    await killed(stripe_settings, place, "start", member=member, wanted=a_top_up("150.00"))
    await refill(stripe_shop)
    before = await start(stripe_shop, member, a_top_up("150.00"))
    await stripe_shop.clock.move_to(stripe_shop.clock.now() + timedelta(hours=2))
    await work(stripe_shop, member)
    after = await start(stripe_shop, member, a_top_up("150.00"))

    assert (before["__typename"], after["__typename"]) == ("LimitReached", "TopUpStarted")
    open_ones = [each["status"] for each in (await bank.read("/v1/payment_intents"))["data"]]
    assert sorted(open_ones) == ["canceled", "requires_payment_method"]


@pytest.mark.parametrize("place", [ENTRY_ABOUT_TO_BE_POSTED, ENTRY_POSTED, STATE_WRITTEN, EVENT_ABOUT_TO_BE_RECORDED])
async def test_killed_while_it_took_a_webhook_the_next_delivery_posts_once(
    bank: Bank, stripe_shop: Shop, stripe_settings: Settings, place: dict[str, Any]
) -> None:
    member = await stripe_shop.enrol()
    started = await start(stripe_shop, member)
    sent = event(await bank.pay(started["clientSecret"]))

    await killed(stripe_settings, place, "deliver", event=sent)
    answered = await bank.deliver(sent)

    assert answered.json()["outcome"] == "POSTED"
    assert await available(stripe_shop, member) == "20.00"
    assert len(await entries(stripe_shop, member, EntryKind.TOP_UP)) == 1
    assert await state_of(stripe_shop, started["topUp"]) == "SUCCEEDED"
    await sound(stripe_shop)


@pytest.mark.parametrize("place", [AUTO_RESERVED, CHARGE_ABOUT_TO_BE_MADE, CHARGE_MADE])
async def test_a_worker_killed_while_it_charged_a_saved_card_charges_it_once(
    bank: Bank, stripe_shop: Shop, stripe_settings: Settings, place: dict[str, Any]
) -> None:
    member = await stripe_shop.enrol()
    started = await start(stripe_shop, member, a_top_up(savePaymentMethod=True))
    await bank.tell(await bank.pay(started["clientSecret"]))
    await set_auto(stripe_shop, member)
    await pay(stripe_shop, member, 15_00)
    made = await bank.calls("POST /v1/payment_intents")

    await killed(stripe_settings, place, "work", member=member)
    await work(stripe_shop, member)

    assert await bank.calls("POST /v1/payment_intents") == made + 1
    found = await stripe_shop.services.store.top_ups.find_one({"entry": {"$exists": True}})
    assert found is not None
    await bank.tell(await bank.read(f"/v1/payment_intents/{found['intent']}"))
    assert await available(stripe_shop, member) == "30.00"
    await sound(stripe_shop)


@pytest.mark.parametrize(
    ("place", "what"),
    [
        (ENTRY_POSTED, "refund"),
        (REFUND_ABOUT_TO_BE_NOTED, "refund"),
        (REFUND_ASKED_FOR, "work"),
        (REFUND_MADE, "work"),
    ],
)
async def test_killed_while_it_refunded_the_money_goes_back_once(
    bank: Bank, stripe_shop: Shop, stripe_settings: Settings, place: dict[str, Any], what: str
) -> None:
    member, key = await stripe_shop.enrol(), new_key()
    started = await start(stripe_shop, member)
    await bank.tell(await bank.pay(started["clientSecret"]))
    (entry,) = await entries(stripe_shop, member, EntryKind.TOP_UP)
    made = await bank.calls("POST /v1/refunds")
    if what == "work":
        await refund(stripe_shop, entry.id, "5.00", key=key)

    await killed(stripe_settings, place, what, member=member, entry=entry.id, key=key)
    await work(stripe_shop, member)

    assert await bank.calls("POST /v1/refunds") == made + 1
    states = [each["state"] async for each in stripe_shop.services.store.top_up_refunds.find()]
    assert states == ["CONFIRMED"]
    assert await available(stripe_shop, member) == "15.00"
    await sound(stripe_shop)
