"""The provider's webhook over HTTP, with events signed by Stripe's own library: SEMANTICS §6.3, case by case."""

import asyncio
from typing import Any

import pytest

from domain.ledger.audit import audit
from domain.ledger.entry import EntryKind
from tests.api.shop import Shop
from tests.payments.bank import Bank, event
from tests.payments.member import a_top_up, available, entries, start, state_of

pytestmark = pytest.mark.usefixtures("bank")


async def paid(bank: Bank, shop: Shop, **changes: Any) -> tuple[str, str, dict[str, Any]]:
    """A member, his top-up of 20.00, and its intent as Stripe has it once it was paid."""
    member = await shop.enrol()
    started = await start(shop, member)
    intent = await bank.pay(started["clientSecret"])
    assert intent["status"] == "succeeded"
    return member, started["topUp"], {**intent, **changes}


async def recorded(shop: Shop) -> list[tuple[str, str | None]]:
    found = shop.services.store.provider_events.find().sort("_id", 1)
    return [(each["outcome"], each.get("reason")) async for each in found]


async def test_a_paid_intent_tops_up(bank: Bank, stripe_shop: Shop) -> None:
    member, top_up, intent = await paid(bank, stripe_shop)
    before = await available(stripe_shop, member)

    answered = await bank.tell(intent)

    assert answered.status_code == 200
    assert answered.json() == {"outcome": "POSTED", "reason": None}
    assert (before, await available(stripe_shop, member)) == ("0.00", "20.00")
    (entry,) = await entries(stripe_shop, member, EntryKind.TOP_UP)
    assert (entry.actor, entry.key) == ("psp:stripe", f"psp:stripe|{intent['id']}")
    assert await state_of(stripe_shop, top_up) == "SUCCEEDED"
    assert (await audit(stripe_shop.services.store)).ok


async def test_an_event_that_is_delivered_twice_posts_once(bank: Bank, stripe_shop: Shop) -> None:
    member, _, intent = await paid(bank, stripe_shop)
    sent = event(intent)

    answers = [await bank.deliver(sent), await bank.deliver(sent)]

    assert [each.json()["outcome"] for each in answers] == ["POSTED", "POSTED"]
    assert await available(stripe_shop, member) == "20.00"
    assert await recorded(stripe_shop) == [("POSTED", None)]


async def test_ten_events_of_one_intent_at_once_post_once(bank: Bank, stripe_shop: Shop) -> None:
    member, _, intent = await paid(bank, stripe_shop)

    answers = await asyncio.gather(*(bank.tell(intent) for _ in range(10)))

    assert {each.status_code for each in answers} == {200}
    assert await available(stripe_shop, member) == "20.00"
    assert len(await entries(stripe_shop, member, EntryKind.TOP_UP)) == 1


@pytest.mark.parametrize("late", ["payment_intent.payment_failed", "payment_intent.canceled"])
async def test_a_success_stands_whatever_comes_late_after_it(bank: Bank, stripe_shop: Shop, late: str) -> None:
    member, top_up, intent = await paid(bank, stripe_shop)

    await bank.tell(intent)
    answered = await bank.tell({**intent, "status": "canceled"}, late)

    assert answered.json()["outcome"] == "NOTED"
    assert await state_of(stripe_shop, top_up) == "SUCCEEDED"
    assert await available(stripe_shop, member) == "20.00"


@pytest.mark.parametrize(
    ("early", "state"), [("payment_intent.payment_failed", "FAILED"), ("payment_intent.canceled", "CANCELLED")]
)
async def test_a_success_that_comes_after_a_failure_posts_all_the_same(
    bank: Bank, stripe_shop: Shop, early: str, state: str
) -> None:
    member, top_up, intent = await paid(bank, stripe_shop)

    await bank.tell({**intent, "status": "requires_payment_method"}, early)
    between = await state_of(stripe_shop, top_up)
    await bank.tell(intent)

    assert (between, await state_of(stripe_shop, top_up)) == (state, "SUCCEEDED")
    assert await available(stripe_shop, member) == "20.00"


async def test_an_event_may_come_before_the_mutation_has_its_answer(bank: Bank, stripe_shop: Shop) -> None:
    member, wanted = await stripe_shop.enrol(), a_top_up()
    started = await start(stripe_shop, member, wanted)
    await stripe_shop.services.store.top_ups.update_one({"_id": started["topUp"]}, {"$unset": {"intent": ""}})
    intent = await bank.pay(started["clientSecret"])

    answered = await bank.tell(intent)
    again = await start(stripe_shop, member, wanted)

    assert answered.json()["outcome"] == "POSTED"
    assert again == {**started, "replayed": True}
    assert await available(stripe_shop, member) == "20.00"


@pytest.mark.parametrize(
    "other", [{"amount_received": 1999, "amount": 1999}, {"amount_received": 9_00}, {"currency": "eur"}]
)
async def test_money_that_is_not_what_was_asked_for_is_set_aside(
    bank: Bank, stripe_shop: Shop, other: dict[str, Any]
) -> None:
    member, top_up, intent = await paid(bank, stripe_shop, **other)
    posted = await stripe_shop.posted()

    answered = await bank.tell(intent)

    assert answered.status_code == 200
    assert answered.json() == {"outcome": "SET_ASIDE", "reason": "OTHER_AMOUNT"}
    assert await stripe_shop.posted() == posted
    assert await available(stripe_shop, member) == "0.00"
    assert await state_of(stripe_shop, top_up) == "SET_ASIDE"


async def test_an_intent_that_we_never_made_is_set_aside(bank: Bank, stripe_shop: Shop) -> None:
    _, _, intent = await paid(bank, stripe_shop, id="pi_unknown", metadata={})
    posted = await stripe_shop.posted()

    answered = await bank.tell(intent)

    assert (answered.status_code, answered.json()["reason"]) == (200, "UNKNOWN_INTENT")
    assert await stripe_shop.posted() == posted
    assert await recorded(stripe_shop) == [("SET_ASIDE", "UNKNOWN_INTENT")]


async def test_another_intent_that_names_a_top_up_is_set_aside(bank: Bank, stripe_shop: Shop) -> None:
    member, _, intent = await paid(bank, stripe_shop, id="pi_another")

    answered = await bank.tell(intent)

    assert answered.json() == {"outcome": "SET_ASIDE", "reason": "OTHER_INTENT"}
    assert await available(stripe_shop, member) == "0.00"


async def test_a_signature_by_another_secret_does_nothing(bank: Bank, stripe_shop: Shop) -> None:
    member, top_up, intent = await paid(bank, stripe_shop)

    answered = await bank.tell(intent, secret="whsec_somebody_else")

    assert answered.status_code == 400
    assert await available(stripe_shop, member) == "0.00"
    assert await state_of(stripe_shop, top_up) == "OPEN"
    assert await recorded(stripe_shop) == []


@pytest.mark.parametrize(("age_seconds", "status"), [(290, 200), (310, 400)])
async def test_a_webhook_older_than_five_minutes_does_nothing(
    bank: Bank, stripe_shop: Shop, age_seconds: int, status: int
) -> None:
    member, _, intent = await paid(bank, stripe_shop)

    answered = await bank.tell(intent, age_seconds=age_seconds)

    assert answered.status_code == status
    assert await available(stripe_shop, member) == ("20.00" if status == 200 else "0.00")
    assert len(await recorded(stripe_shop)) == (1 if status == 200 else 0)


@pytest.mark.parametrize("signature", ["", "t=1", "t=,v1=", "v1=00", "nonsense", "t=99999999999999999999,v1=é"])
async def test_what_is_no_signature_is_refused(bank: Bank, stripe_shop: Shop, signature: str) -> None:
    headers = [(b"Stripe-Signature", signature.encode())]

    answered = await stripe_shop.http.post("/webhooks/stripe", content=b'{"id": "evt"}', headers=headers)

    assert answered.status_code == 400
    assert await recorded(stripe_shop) == []


async def test_a_signed_body_that_is_no_event_is_refused(bank: Bank, stripe_shop: Shop) -> None:
    answered = await bank.deliver({"id": "evt_1", "object": "event", "type": "payment_intent.succeeded"})

    assert answered.status_code == 400
    assert await recorded(stripe_shop) == []


async def test_a_body_that_is_too_large_is_not_read_to_its_end(stripe_shop: Shop) -> None:
    answered = await stripe_shop.http.post("/webhooks/stripe", content=b"x" * 300_000)

    assert answered.status_code == 413


async def test_events_that_are_none_of_our_business_are_noted(bank: Bank, stripe_shop: Shop) -> None:
    answered = await bank.tell({"id": "cus_1", "object": "customer"}, "customer.created")

    assert answered.json()["outcome"] == "NOTED"


async def test_a_refund_or_dispute_that_we_did_not_ask_for_waits_for_staff(bank: Bank, stripe_shop: Shop) -> None:
    member, _, intent = await paid(bank, stripe_shop)
    await bank.tell(intent)
    charge = {"id": "ch_1", "payment_intent": intent["id"], "currency": "usd", "amount_refunded": 5_00}
    refund = {"id": "re_1", "payment_intent": intent["id"], "currency": "usd", "amount": 5_00, "created": 1}

    answers = [
        await bank.tell(charge, "charge.refunded"),
        await bank.tell({**refund, "status": "succeeded", "metadata": {}}, "refund.created"),
        await bank.tell({"id": "dp_1", "payment_intent": intent["id"]}, "charge.dispute.created"),
    ]

    assert [each.json()["reason"] for each in answers] == ["UNKNOWN_REFUND", "UNKNOWN_REFUND", "DISPUTE"]
    assert await available(stripe_shop, member) == "20.00"
