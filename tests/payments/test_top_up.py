"""startTopUp in a sandbox: what it answers, what it reserves, and that two at once cannot pass a limit."""

import asyncio
import hmac
import time
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from domain.derived_key import derive_key
from domain.ledger.audit import audit
from domain.ledger.entry import EntryKind
from domain.payments.reservations import reserved_minor
from domain.payments.sandbox import SandboxProvider
from domain.settings import Settings
from domain.store.codec import format_instant
from domain.store.connection import Store
from tests.api.shop import Shop, codes, new_key, opened_shop
from tests.api.spending import do
from tests.payments.member import (
    START,
    a_top_up,
    available,
    confirm,
    entries,
    provider_of,
    start,
    state_of,
    top_up,
)

AT_TILL = "mutation($input: TillTopUpInput!) { topUpAtTill(input: $input) { __typename } }"


def cash(member: str, amount: str) -> dict[str, Any]:
    money = {"amount": amount, "currency": "USD"}
    return {"member": {"id": member}, "amount": money, "receipt": new_key(), "idempotencyKey": new_key()}


async def reserved(shop: Shop, member: str) -> int:
    return await reserved_minor(shop.services.store, member, "USD")


async def test_only_members_start_top_ups(shop: Shop) -> None:
    tokens = [None, await shop.till_token("prepaid:topup"), await shop.staff_token("staff:adjust")]

    answers = [await shop.ask(START, {"input": a_top_up()}, token=token) for token in tokens]

    assert [codes(each) for each in answers] == [["UNAUTHENTICATED"], ["FORBIDDEN"], ["FORBIDDEN"]]
    assert await shop.services.store.top_ups.count_documents({}) == 0


async def test_a_top_up_in_a_sandbox_from_its_start_to_its_entry(shop: Shop) -> None:
    member = await shop.enrol()

    started = await start(shop, member)
    before = await available(shop, member), await reserved(shop, member)
    succeeded = await confirm(shop, started["clientSecret"])

    assert started["__typename"] == "TopUpStarted"
    assert (started["provider"], started["replayed"]) == ("sandbox", False)
    assert started["amount"] == {"amount": "20.00", "currency": "USD"}
    assert before == ("0.00", 20_00)
    assert succeeded
    assert (await available(shop, member), await reserved(shop, member)) == ("20.00", 0)
    assert (await audit(shop.services.store)).ok


async def test_the_same_key_is_the_same_top_up_with_the_same_secret(shop: Shop) -> None:
    member, wanted = await shop.enrol(), a_top_up()

    first, *again = await asyncio.gather(*(start(shop, member, wanted) for _ in range(5)))
    await confirm(shop, first["clientSecret"])
    late = await start(shop, member, wanted)

    assert sorted(each["replayed"] for each in (first, *again)) == [False, True, True, True, True]
    assert {each["clientSecret"] for each in (first, *again, late)} == {first["clientSecret"]}
    assert late["replayed"]
    assert await shop.services.store.top_ups.count_documents({}) == 1
    stored = await shop.services.store.top_ups.find_one({})
    assert first["clientSecret"] not in str(stored)


async def test_a_key_with_another_amount_is_refused(shop: Shop) -> None:
    member, wanted = await shop.enrol(), a_top_up()
    await start(shop, member, wanted)

    other = await start(shop, member, {**wanted, "amount": {"amount": "30.00", "currency": "USD"}})

    assert other["__typename"] == "IdempotencyMismatch"
    assert other["differs"] == ["amount.amount"]
    assert await reserved(shop, member) == 20_00


@pytest.mark.parametrize(
    ("amount", "currency", "path"),
    [("20.001", "USD", "amount.amount"), ("0", "USD", "amount.amount"), ("20.00", "EUR", "amount.currency")],
)
async def test_what_cannot_be_taken_is_not_kept(shop: Shop, amount: str, currency: str, path: str) -> None:
    member = await shop.enrol()

    answered = await start(shop, member, a_top_up(amount) | {"amount": {"amount": amount, "currency": currency}})

    assert answered["__typename"] == "InvalidInput"
    assert answered["fields"] == [{"path": path}]
    assert await shop.services.store.top_ups.count_documents({}) == 0


@pytest.mark.parametrize(
    ("amount", "limit", "headroom"), [("4.99", "top_up_min", "0.00"), ("150.01", "top_up_max", "150.00")]
)
async def test_a_limit_refuses_and_the_refusal_is_kept(shop: Shop, amount: str, limit: str, headroom: str) -> None:
    member, wanted = await shop.enrol(), a_top_up(amount)

    answers = [await start(shop, member, wanted) for _ in range(2)]

    assert [(each["__typename"], each["limit"], each["headroom"]) for each in answers] == [
        ("LimitReached", limit, headroom)
    ] * 2
    assert await reserved(shop, member) == 0


async def test_two_starts_at_once_cannot_both_pass_the_limit(shop: Shop) -> None:
    member = await shop.enrol()

    answers = await asyncio.gather(*(start(shop, member, a_top_up("150.00")) for _ in range(6)))

    assert sorted(each["__typename"] for each in answers) == ["LimitReached"] * 5 + ["TopUpStarted"]
    assert {each["headroom"] for each in answers if "headroom" in each} == {"100.00"}
    assert await reserved(shop, member) == 150_00


async def test_a_till_and_a_card_at_the_same_moment_cannot_both_pass_the_limit(shop: Shop) -> None:
    members = [await shop.enrol() for _ in range(12)]
    token = await shop.till_token("prepaid:topup")

    async def at_once(member: str) -> list[str]:
        asked = shop.ask(AT_TILL, {"input": cash(member, "150.00")}, token=token)
        started, taken = await asyncio.gather(start(shop, member, a_top_up("150.00")), asked)
        return sorted([started["__typename"], taken["data"]["topUpAtTill"]["__typename"]])

    answers = await asyncio.gather(*(at_once(member) for member in members))

    assert {tuple(each) for each in answers} <= {("LimitReached", "ToppedUp"), ("LimitReached", "TopUpStarted")}


async def test_a_declined_card_frees_the_headroom_and_another_card_still_pays(shop: Shop) -> None:
    member = await shop.enrol()
    started = await start(shop, member, a_top_up("150.00"))

    declined = await confirm(shop, started["clientSecret"], "DECLINED")
    freed = await reserved(shop, member), await state_of(shop, started["topUp"])
    uncancelled = await reserved_minor(shop.services.store, member, "USD", declined=True)
    paid = await confirm(shop, started["clientSecret"])

    assert (declined, paid) == (False, True)
    assert freed == (0, "FAILED")
    assert uncancelled == 150_00, "for a till whose provider does not answer"
    assert await available(shop, member) == "150.00"


@pytest.mark.parametrize("body", [b"not json", b"", b"[]", b"null", b"{}", b"\xff"])
async def test_a_signed_body_that_is_no_event_is_refused(shop: Shop, body: bytes) -> None:
    stamp = f"{int(time.time())}"
    key = derive_key(shop.services.settings.secret, "sandbox-payments")
    signature = f"t={stamp},v1={hmac.new(key, f'{stamp}.'.encode() + body, 'sha256').hexdigest()}"

    answered = await shop.http.post("/webhooks/stripe", content=body, headers={"Stripe-Signature": signature})

    assert answered.status_code == 400
    assert await shop.services.store.provider_events.count_documents({}) == 0


async def test_top_ups_that_were_declined_cannot_all_be_paid_past_the_limits(shop: Shop) -> None:
    member = await shop.enrol()
    secrets = []
    for _ in range(4):
        secrets.append((await start(shop, member, a_top_up("150.00")))["clientSecret"])
        await confirm(shop, secrets[-1], "DECLINED")

    paid = [await confirm(shop, secret) for secret in secrets]

    assert paid == [False, False, False, True]
    assert await available(shop, member) == "150.00"


async def test_a_start_that_is_refused_leaves_a_declined_top_up_to_be_paid(shop: Shop) -> None:
    member = await shop.enrol()
    declined = await start(shop, member, a_top_up("150.00"))
    await confirm(shop, declined["clientSecret"], "DECLINED")

    refused = await start(shop, member, a_top_up("150.01"))
    paid = await confirm(shop, declined["clientSecret"])

    assert (refused["__typename"], paid) == ("LimitReached", True)


async def test_cash_at_a_till_takes_the_place_of_a_declined_card(shop: Shop) -> None:
    member = await shop.enrol()
    declined = await start(shop, member, a_top_up("150.00"))
    await confirm(shop, declined["clientSecret"], "DECLINED")

    topped_up = await shop.till(AT_TILL, {"input": cash(member, "150.00")}, scopes=("prepaid:topup", "members:read"))
    paid = await confirm(shop, declined["clientSecret"])

    assert topped_up == {"topUpAtTill": {"__typename": "ToppedUp"}}
    assert (paid, await state_of(shop, declined["topUp"])) == (False, "CANCELLED")
    assert await available(shop, member) == "150.00"


async def test_cash_that_is_refused_leaves_a_declined_card_to_be_paid_with_another(shop: Shop) -> None:
    member = await shop.enrol()
    declined = await start(shop, member, a_top_up("150.00"))
    await confirm(shop, declined["clientSecret"], "DECLINED")

    refused = await shop.till(AT_TILL, {"input": cash(member, "150.01")}, scopes=("prepaid:topup", "members:read"))
    paid = await confirm(shop, declined["clientSecret"])

    assert (refused["topUpAtTill"]["__typename"], paid) == ("LimitReached", True)


async def test_a_declined_top_up_cannot_be_paid_once_its_hour_is_over(shop: Shop) -> None:
    member = await shop.enrol()
    started = await start(shop, member)
    await confirm(shop, started["clientSecret"], "DECLINED")

    await shop.advance(format_instant(shop.clock.now() + timedelta(hours=2)))
    paid = await confirm(shop, started["clientSecret"])

    assert (paid, await state_of(shop, started["topUp"])) == (False, "CANCELLED")
    assert await available(shop, member) == "0.00"


async def test_a_top_up_that_nobody_pays_is_cancelled_and_cannot_be_paid_any_more(shop: Shop) -> None:
    member = await shop.enrol()
    started = await start(shop, member)

    await shop.advance(format_instant(shop.clock.now() + timedelta(hours=2)))
    paid = await confirm(shop, started["clientSecret"])

    assert await state_of(shop, started["topUp"]) == "CANCELLED"
    assert await reserved(shop, member) == 0
    assert not paid
    assert await available(shop, member) == "0.00"


async def test_a_paid_top_up_whose_webhook_is_late_keeps_its_headroom(shop: Shop) -> None:
    member = await shop.enrol()
    started = await start(shop, member)
    provider = provider_of(shop)
    assert isinstance(provider, SandboxProvider)
    await shop.services.store.sandbox_payments.update_one({}, {"$set": {"status": "SUCCEEDED"}})

    await shop.advance(format_instant(shop.clock.now() + timedelta(hours=3)))

    assert await state_of(shop, started["topUp"]) == "OPEN"
    assert await reserved(shop, member) == 20_00


async def test_an_unknown_client_secret_is_refused(shop: Shop) -> None:
    member = await shop.enrol()
    started = await start(shop, member)

    mutation = "mutation($s: String!) { sandboxConfirmTopUp(clientSecret: $s) { succeeded } }"
    answered = await shop.ask(mutation, {"s": started["clientSecret"] + "0"})

    assert codes(answered) == ["BAD_USER_INPUT"]
    assert await available(shop, member) == "0.00"


async def test_a_sandboxs_webhook_is_signed_and_ages_like_every_other(shop: Shop) -> None:
    member = await shop.enrol()
    started = await start(shop, member)
    provider = provider_of(shop)
    assert isinstance(provider, SandboxProvider)
    held = await shop.services.store.sandbox_payments.find_one_and_update({}, {"$set": {"status": "SUCCEEDED"}})
    assert held is not None
    about = {"_id": held["_id"], "status": "SUCCEEDED", "amount_minor": 20_00, "currency": "USD", "created_at": 0}
    content = {"id": "evt_1", "kind": "SUCCEEDED", "about": {**about, "top_up": started["topUp"]}}
    body, signature = provider.signed(content)
    old, old_signature = provider.signed(content, at=1_000_000_000)

    answers = [
        await shop.http.post("/webhooks/stripe", content=sent, headers={"Stripe-Signature": by})
        for sent, by in ((body + b" ", signature), (old, old_signature), (body, signature))
    ]

    assert [each.status_code for each in answers] == [400, 400, 200]
    assert await available(shop, member) == "20.00"


async def test_a_key_of_another_command_is_refused(shop: Shop) -> None:
    member = await shop.enrol()
    entry = await top_up(shop, member)
    used = entry.key.partition("|")[2]
    await shop.services.store.journal.update_one({"_id": entry.id}, {"$set": {"key": f"member:{member}|{used}"}})

    answered = await start(shop, member, a_top_up() | {"idempotencyKey": used})

    await shop.services.store.journal.update_one({"_id": entry.id}, {"$set": {"key": entry.key}})
    assert answered["__typename"] == "IdempotencyMismatch"


async def test_a_key_that_began_a_top_up_is_refused_for_everything_else(shop: Shop) -> None:
    member, other = await shop.enrol(), await shop.enrol()
    wanted = a_top_up()
    await start(shop, member, wanted)
    key = wanted["idempotencyKey"]
    before = await shop.posted()

    donated = await do(shop, member, "donate", key, charity="shelter", points=5)
    given = await do(shop, member, "giftPoints", key, to={"id": other}, points=5)
    by_another = await do(shop, other, "donate", key, charity="shelter", points=5)

    assert [(each["__typename"], each["differs"]) for each in (donated, given)] == [
        ("IdempotencyMismatch", ["operation"])
    ] * 2
    assert by_another["__typename"] == "Donated"
    assert await shop.posted() == before + 1


@pytest.mark.parametrize(
    ("name", "given"),
    [
        ("donate", {"charity": "shelter", "points": 5}),
        ("convertPoints", {"points": 100}),
        ("giftPoints", {"points": 5}),
        ("redeemReward", {"reward": "coffee"}),
    ],
)
async def test_one_key_at_one_instant_begins_a_top_up_or_does_something_else(
    shop: Shop, name: str, given: dict[str, Any]
) -> None:
    member, other = await shop.enrol(), await shop.enrol()
    await shop.adjust({"member": member, "points": 1_000, "reason": "For a try", "idempotencyKey": new_key()})
    given = given | ({"to": {"id": other}} if name == "giftPoints" else {})

    async def at_once(wanted: dict[str, Any]) -> list[str]:
        answers = await asyncio.gather(
            start(shop, member, wanted), do(shop, member, name, wanted["idempotencyKey"], **given)
        )
        return [each["__typename"] for each in answers]

    for _ in range(5):
        wanted = a_top_up("5.00")
        at_first, later = await at_once(wanted), await at_once(wanted)

        assert "IdempotencyMismatch" in at_first
        assert at_first != ["IdempotencyMismatch"] * 2
        assert later == at_first
    assert await reserved(shop, member) == 5_00 * await shop.services.store.top_ups.count_documents({})


async def test_without_a_provider_nobody_tops_up_by_card(shop: Shop, store: Store, settings: Settings) -> None:
    member = await shop.enrol()
    async with opened_shop(store, settings) as other:
        object.__setattr__(other.services, "provider", None)

        answered = await start(replace(other, till_id=shop.till_id), member)

    assert (answered["__typename"], answered["reason"]) == ("NotEligible", "NO_PROVIDER")


async def test_the_window_counts_what_the_provider_brought(shop: Shop) -> None:
    member = await shop.enrol()
    for _ in range(2):
        await top_up(shop, member, "100.00")

    answered = await start(shop, member, a_top_up("60.00"))

    assert (answered["limit"], answered["headroom"]) == ("balance_max", "50.00")
    assert len(await entries(shop, member, EntryKind.TOP_UP)) == 2
