"""All of it against localstripe as a process: its cards, its declines, and the webhooks that it signs and sends us."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import pytest
import uvicorn

from domain.ledger.audit import audit
from domain.ledger.entry import EntryKind
from domain.payments.reconciliation import reconcile
from tests.api.shop import START, Shop, codes
from tests.payments.bank import WEBHOOK_SECRET, Bank
from tests.payments.member import START as START_TOP_UP
from tests.payments.member import (
    a_top_up,
    available,
    entries,
    pay,
    provider_of,
    refund,
    set_auto,
    start,
    state_of,
    wallet,
    work,
)

DECLINED_LATER = "4000000000000341"


@pytest.fixture
async def webhooks(stripe_shop: Shop, bank: Bank) -> AsyncIterator[None]:
    """Our API on a port, which localstripe knows as its webhook."""
    server = uvicorn.Server(uvicorn.Config(stripe_shop.app, port=0, lifespan="off", log_level="warning", ws="none"))
    serving = asyncio.create_task(server.serve())
    while not server.started:  # noqa: ASYNC110 -- uvicorn has no event for it
        await asyncio.sleep(0.01)
    port = server.servers[0].sockets[0].getsockname()[1]
    hook = {"url": f"http://127.0.0.1:{port}/webhooks/stripe", "secret": WEBHOOK_SECRET}
    answered = await bank.http.post("/_config/webhooks/tests", json=hook)
    assert answered.is_success
    yield
    await bank.http.post("/_config/webhooks/tests", json={**hook, "events": ["nothing"]})
    server.should_exit = True
    await serving


async def until_available(shop: Shop, member: str, amount: str) -> None:
    for _ in range(150):
        if await available(shop, member) == amount:
            return
        await asyncio.sleep(0.05)
    assert await available(shop, member) == amount


async def saved(bank: Bank, shop: Shop) -> str:
    """A member with 20.00, a saved card at Stripe, and an automatic top-up of 25.00 below 10.00."""
    member = await shop.enrol()
    started = await start(shop, member, a_top_up(savePaymentMethod=True))
    await bank.tell(await bank.pay(started["clientSecret"]))
    assert (await set_auto(shop, member))["__typename"] == "AutoTopUp"
    return member


async def settled(bank: Bank, shop: Shop, kind: str) -> None:
    """Stripe tells of the intent of the automatic top-up."""
    found = await shop.services.store.top_ups.find_one({"entry": {"$exists": True}, "intent": {"$exists": True}})
    assert found is not None
    await bank.tell(await bank.read(f"/v1/payment_intents/{found['intent']}"), kind)


@pytest.mark.usefixtures("webhooks")
async def test_stripes_own_webhook_tops_up(bank: Bank, stripe_shop: Shop) -> None:
    member = await stripe_shop.enrol()
    started = await start(stripe_shop, member, a_top_up("33.30"))

    await bank.pay(started["clientSecret"])

    await until_available(stripe_shop, member, "33.30")
    assert started["provider"] == "stripe"
    assert (await audit(stripe_shop.services.store)).ok


@pytest.mark.usefixtures("webhooks")
async def test_stripes_own_webhook_of_a_declined_card_frees_the_headroom(bank: Bank, stripe_shop: Shop) -> None:
    member = await stripe_shop.enrol()
    started = await start(stripe_shop, member)

    await bank.pay(started["clientSecret"], DECLINED_LATER)

    for _ in range(100):
        if await state_of(stripe_shop, started["topUp"]) == "FAILED":
            break
        await asyncio.sleep(0.05)
    assert await state_of(stripe_shop, started["topUp"]) == "FAILED"
    assert await available(stripe_shop, member) == "0.00"


async def test_a_start_that_got_no_answer_goes_on_with_the_same_key(bank: Bank, stripe_shop: Shop) -> None:
    member, wanted = await stripe_shop.enrol(), a_top_up()
    made = await bank.calls("POST /v1/payment_intents")
    await bank.http.post("/_config/down")
    token = await stripe_shop.member_token(member)
    unanswered = await stripe_shop.ask(START_TOP_UP, {"input": wanted}, token=token)
    await bank.http.post("/_config/up")

    started = await start(stripe_shop, member, wanted)

    assert codes(unanswered) == ["UNAVAILABLE"]
    assert (started["__typename"], started["replayed"]) == ("TopUpStarted", True)
    assert await bank.calls("POST /v1/payment_intents") == made + 1


async def test_an_intent_whose_id_was_never_noted_is_found_again_by_its_key(bank: Bank, stripe_shop: Shop) -> None:
    member, wanted = await stripe_shop.enrol(), a_top_up()
    started = await start(stripe_shop, member, wanted)
    made = await bank.calls("POST /v1/payment_intents")
    await stripe_shop.services.store.top_ups.update_one({"_id": started["topUp"]}, {"$unset": {"intent": ""}})

    again = await start(stripe_shop, member, wanted)

    assert again["clientSecret"] == started["clientSecret"]
    assert await bank.calls("POST /v1/payment_intents") == made


async def test_an_overdue_top_up_is_cancelled_at_stripe(bank: Bank, stripe_shop: Shop) -> None:
    member = await stripe_shop.enrol()
    started = await start(stripe_shop, member)
    await stripe_shop.clock.move_to(stripe_shop.clock.now() + timedelta(hours=2))

    await work(stripe_shop, member)

    assert (await bank.intent(started["clientSecret"]))["status"] == "canceled"
    assert await state_of(stripe_shop, started["topUp"]) == "CANCELLED"


async def test_the_saved_card_is_charged_once_for_a_payment(bank: Bank, stripe_shop: Shop) -> None:
    member = await saved(bank, stripe_shop)
    made = await bank.calls("POST /v1/payment_intents")
    await pay(stripe_shop, member, 15_00)

    await work(stripe_shop, member)
    before = await available(stripe_shop, member)
    await settled(bank, stripe_shop, "payment_intent.succeeded")
    await work(stripe_shop, member)

    assert (before, await available(stripe_shop, member)) == ("5.00", "30.00")
    assert await bank.calls("POST /v1/payment_intents") == made + 1


async def test_a_charge_whose_answer_was_lost_is_not_made_twice(bank: Bank, stripe_shop: Shop) -> None:
    member = await saved(bank, stripe_shop)
    await pay(stripe_shop, member, 15_00)
    await work(stripe_shop, member)
    made = await bank.calls("POST /v1/payment_intents")
    now = stripe_shop.clock.now()
    lost = {"$set": {"due_at": now}, "$unset": {"intent": ""}}
    await stripe_shop.services.store.top_ups.update_one({"entry": {"$exists": True}}, lost)

    await work(stripe_shop, member)

    assert await bank.calls("POST /v1/payment_intents") == made


async def test_a_charge_without_an_answer_for_a_day_is_left_to_staff(bank: Bank, stripe_shop: Shop) -> None:
    member = await saved(bank, stripe_shop)
    await pay(stripe_shop, member, 15_00)
    await work(stripe_shop, member)
    made = await bank.calls("POST /v1/payment_intents")
    long_ago = datetime.now(UTC) - timedelta(hours=21)
    lost = {"$set": {"due_at": stripe_shop.clock.now(), "tried_at": long_ago}, "$unset": {"intent": ""}}
    await stripe_shop.services.store.top_ups.update_one({"entry": {"$exists": True}}, lost)

    await work(stripe_shop, member)

    found = await stripe_shop.services.store.top_ups.find_one({"entry": {"$exists": True}})
    assert found is not None
    assert (found["state"], found["reason"]) == ("SET_ASIDE", "NO_ANSWER")
    assert await bank.calls("POST /v1/payment_intents") == made


async def test_three_declines_stop_it(bank: Bank, stripe_shop: Shop) -> None:
    member = await saved(bank, stripe_shop)
    await bank.replace_card(member, DECLINED_LATER)
    made = await bank.calls("POST /v1/payment_intents")
    await pay(stripe_shop, member, 15_00)

    for hours in (0, 1, 24, 48):
        await stripe_shop.clock.move_to(stripe_shop.clock.now() + timedelta(hours=hours, seconds=30))
        await work(stripe_shop, member)

    assert await bank.calls("POST /v1/payment_intents") == made + 3
    setting = (await wallet(stripe_shop, member))["autoTopUp"]
    assert (setting["enabled"], setting["stoppedAt"] is None) == (False, False)
    assert await available(stripe_shop, member) == "5.00"


async def test_a_refund_is_asked_for_until_stripe_answers_and_made_once(bank: Bank, stripe_shop: Shop) -> None:
    member = await saved(bank, stripe_shop)
    (entry,) = await entries(stripe_shop, member, EntryKind.TOP_UP)
    made = await bank.calls("POST /v1/refunds")
    await refund(stripe_shop, entry.id, "5.00")
    await bank.http.post("/_config/down")
    await work(stripe_shop, member)
    await bank.http.post("/_config/up")
    pending = await reconcile_all(stripe_shop)

    await stripe_shop.clock.move_to(stripe_shop.clock.now() + timedelta(minutes=5))
    await work(stripe_shop, member)

    assert any("refund is PENDING" in each for each in pending)
    assert await bank.calls("POST /v1/refunds") == made + 1
    assert await reconcile_all(stripe_shop) == []
    assert await available(stripe_shop, member) == "15.00"


async def test_reconciling_finds_what_only_one_side_has(bank: Bank, stripe_shop: Shop) -> None:
    member = await saved(bank, stripe_shop)
    (entry,) = await entries(stripe_shop, member, EntryKind.TOP_UP)
    agreed = await reconcile_all(stripe_shop)
    unposted = await bank.pay((await start(stripe_shop, member, a_top_up("7.00")))["clientSecret"])
    by_hand = await bank.ask("/v1/refunds", {"payment_intent": entry.key.partition("|")[2], "amount": 100})
    await stripe_shop.services.store.journal.update_one(
        {"_id": entry.id}, {"$set": {"key": "psp:stripe|pi_that_never_was"}}
    )

    differences = await reconcile_all(stripe_shop)

    await stripe_shop.services.store.journal.update_one({"_id": entry.id}, {"$set": {"key": entry.key}})
    assert agreed == []
    paid = entry.key.partition("|")[2]
    assert sorted(differences) == sorted(
        [
            f"{unposted['id']}: The provider was paid 7.00 USD; the journal has no entry for it.",
            f"{paid}: The provider was paid 20.00 USD; the journal has no entry for it.",
            f"{by_hand['id']}: The provider paid back 1.00 USD; the journal has no entry for it.",
            f"pi_that_never_was: Entry {entry.id} says that it was paid; the provider does not know it.",
        ]
    )


async def test_reconciling_tells_what_was_set_aside(bank: Bank, stripe_shop: Shop) -> None:
    await bank.tell({"id": "dp_1", "payment_intent": "pi_1"}, "charge.dispute.created")

    differences = await reconcile_all(stripe_shop)

    assert differences == ["pi_1: charge.dispute.created was set aside: DISPUTE."]


async def reconcile_all(shop: Shop) -> list[str]:
    """The differences of all time; the bank begins each test empty."""
    until = max(datetime.now(UTC), shop.clock.now()) + timedelta(days=1)
    found = await reconcile(shop.services.store, provider_of(shop), since=START - timedelta(days=1), until=until)
    return [f"{each.about}: {each.what}" for each in found.differences]
