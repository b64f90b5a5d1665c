"""Receipts through the API: what they give, what is refused, and that nothing is posted on a refusal."""

import asyncio
from datetime import timedelta
from typing import Any

import pytest

from api.edge import operations
from domain.store.codec import format_instant
from tests.api.shop import RECORD, RETURN, START, Shop, a_purchase, codes, data, new_key
from tests.api.spending import do

PREVIEW = """
query Preview($input: PurchaseInput!) {
  previewPurchase(input: $input) {
    __typename
    ... on PurchasePreview { points cashback { amount } explanation { rule text points cashback { amount } } }
    ... on Problem { code message }
    ... on InvalidInput { fields { path } }
    ... on NotFound { what }
  }
}
"""
RECORD_MANY = """
mutation Record($inputs: [PurchaseInput!]!) {
  recordPurchases(inputs: $inputs) {
    __typename
    ... on PurchaseRecorded { replayed entry { id receipt points } member { id wallet { version } } }
    ... on Problem { code }
    ... on NotFound { what }
    ... on InvalidInput { fields { path } }
    ... on DuplicateReceipt { firstEntry }
    ... on IdempotencyMismatch { differs }
  }
}
"""


def usd(amount: str) -> dict[str, str]:
    return {"amount": amount, "currency": "USD"}


def at(**away: int) -> str:
    return format_instant(START + timedelta(**away))


async def test_a_till_without_the_scope_records_nothing(shop: Shop) -> None:
    member = await shop.enrol()
    before = await shop.posted()
    token = await shop.till_token("members:read", "wallet:read")

    refused = await shop.ask(RECORD, {"input": a_purchase(member)}, token=token)

    assert codes(refused) == ["FORBIDDEN"]
    assert refused["errors"][0]["extensions"]["scope"] == "activity:write"
    assert await shop.posted() == before


async def test_a_members_own_session_records_nothing(shop: Shop) -> None:
    member = await shop.enrol()
    before = await shop.posted()

    refused = await shop.ask(RECORD, {"input": a_purchase(member)}, token=await shop.member_token(member))

    assert codes(refused) == ["FORBIDDEN"]
    assert await shop.posted() == before


async def test_a_token_that_is_forged_or_expired_records_nothing(shop: Shop) -> None:
    member = await shop.enrol()
    before, token = await shop.posted(), await shop.till_token()
    head, body, signature = token.split(".")
    forged = f"{head}.{body}.{signature[::-1]}"

    by_forgery = await shop.ask(RECORD, {"input": a_purchase(member)}, token=forged)
    await shop.clock.move_to(shop.clock.now() + timedelta(minutes=10))
    by_age = await shop.ask(RECORD, {"input": a_purchase(member)}, token=token)

    assert codes(by_forgery) == codes(by_age) == ["UNAUTHENTICATED"]
    assert await shop.posted() == before


async def test_a_receipt_gives_what_the_rules_say_and_the_wallet_after_it(shop: Shop) -> None:
    member = await shop.enrol()

    recorded = await shop.record(a_purchase(member, "12.34"))

    assert recorded["__typename"] == "PurchaseRecorded"
    assert recorded["replayed"] is False
    assert recorded["entry"]["points"] == 12
    assert recorded["member"]["wallet"]["version"] == 2
    assert recorded["member"]["wallet"]["points"]["available"] == 112


async def test_the_explanation_adds_up_to_the_entry(shop: Shop) -> None:
    member = await shop.enrol()
    await shop.record(a_purchase(member, "600.00"))
    lines = [
        {"sku": "1", "category": "PASTRY", "amount": "70.00"},
        {"sku": "2", "category": "PRODUCE", "quantity": 3, "amount": "50.01"},
        {"sku": "3", "quantity": 0, "amount": "0.00"},
    ]

    recorded = await shop.record(a_purchase(member, "120.01", lines=lines))

    rows = recorded["entry"]["explanation"]
    assert [(row["rule"], row["points"], (row["cashback"] or {}).get("amount")) for row in rows] == [
        ("base", 120, None),
        ("tier-silver", 30, None),
        ("pastry-cashback", 0, "3.50"),
        ("pastry-cashback", 0, "-0.50"),
        ("produce-double", 50, None),
        ("tier-silver", 12, None),
        ("produce-double", -22, None),
    ]
    assert sum(row["points"] for row in rows) == recorded["entry"]["points"] == 190
    assert recorded["member"]["wallet"]["cashback"] == [
        {"available": {"amount": "0.00"}, "pending": {"amount": "3.00"}}
    ]


@pytest.mark.parametrize(
    ("changes", "paths"),
    [
        ({"lines": [{"sku": "1", "amount": "9.99"}]}, ["lines"]),
        ({"total": {"amount": "10.00", "currency": "EUR"}}, ["total.currency"]),
        ({"total": usd("10.001")}, ["total.amount"]),
        ({"total": usd("-10.00")}, ["total.amount"]),
        ({"total": usd("0.00")}, ["total.amount"]),
        ({"total": usd(str(2**63))}, ["total.amount"]),
        ({"lines": [{"sku": "1", "amount": "10.00"}, {"sku": "2", "amount": "0.001"}]}, ["lines.1.amount"]),
        (
            {"lines": [{"sku": "1", "amount": "11.00"}, {"sku": "", "quantity": -1, "amount": "-1.00"}]},
            ["lines.1.sku", "lines.1.quantity", "lines.1.amount"],
        ),
        ({"lines": [{"sku": "1", "quantity": 1_000_001, "amount": "10.00"}]}, ["lines.0.quantity"]),
        ({"lines": [{"sku": "1", "amount": "0.02"}] * 501}, ["lines"]),
        ({"receipt": ""}, ["receipt"]),
        ({"receipt": "R" * 129}, ["receipt"]),
        ({"receipt": "R\n1"}, ["receipt"]),
        ({"occurredAt": at(minutes=6)}, ["occurredAt"]),
        ({"occurredAt": at(days=-401)}, ["occurredAt"]),
        ({"paidWithCashback": usd("10.01")}, ["paidWithCashback.amount"]),
        ({"paidWithCashback": usd("-1.00")}, ["paidWithCashback.amount"]),
        ({"paidWithCashback": {"amount": "1.00", "currency": "EUR"}}, ["paidWithCashback.currency"]),
        ({"total": usd("1.234"), "receipt": ""}, ["receipt", "total.amount"]),
    ],
)
async def test_what_is_wrong_with_a_receipt_is_told_by_its_paths_and_nothing_is_posted(
    shop: Shop, changes: dict[str, Any], paths: list[str]
) -> None:
    member = await shop.enrol()
    before = await shop.posted()

    refused = await shop.record(a_purchase(member, **changes))

    assert (refused["__typename"], refused["code"]) == ("InvalidInput", "INVALID_INPUT")
    assert [field["path"] for field in refused["fields"]] == paths
    assert await shop.posted() == before


@pytest.mark.parametrize(
    "changes",
    [
        {"idempotencyKey": "short"},
        {"idempotencyKey": "ключ-ключ"},
        {"total": {"amount": 10.0, "currency": "USD"}},
        {"total": usd("1e3")},
        {"total": {"amount": "10.00", "currency": "dollars"}},
        {"occurredAt": "yesterday"},
        {"member": {"id": "a", "reference": "b"}},
        {"member": {}},
    ],
)
async def test_what_is_no_value_of_its_type_is_refused_before_anything_runs(
    shop: Shop, changes: dict[str, Any]
) -> None:
    member = await shop.enrol()
    before = await shop.posted()

    refused = await shop.ask(RECORD, {"input": a_purchase(member, **changes)}, token=await shop.till_token())

    assert set(codes(refused)) == {"BAD_USER_INPUT"}
    assert await shop.posted() == before


@pytest.mark.parametrize(
    ("changes", "what"),
    [
        ({"member": {"id": "AAAAAAAAAAAAAAAA"}}, "member"),
        ({"member": {"reference": "nobody"}}, "member"),
        ({"member": {"code": "12345678"}}, "member"),
        ({"place": "store-999"}, "place"),
        ({"voucherCodes": ["ABCD-EFGH-JKMN"]}, "voucher"),
    ],
)
async def test_what_does_not_exist_is_named_and_nothing_is_posted(
    shop: Shop, changes: dict[str, Any], what: str
) -> None:
    member = await shop.enrol()
    before = await shop.posted()

    refused = await shop.record(a_purchase(member, **changes))

    assert (refused["__typename"], refused["what"]) == ("NotFound", what)
    assert await shop.posted() == before


async def test_a_till_cannot_tell_an_unknown_member_from_another_partners(shop: Shop) -> None:
    member = await shop.enrol("shared")
    before = await shop.posted()

    answers = [
        (await shop.other_till(RECORD, {"input": a_purchase(member, member=by)}))["recordPurchase"]
        for by in ({"id": member}, {"id": "AAAAAAAAAAAAAAAA"}, {"reference": "shared"}, {"reference": "nobody"})
    ]

    assert answers == [answers[0]] * 4
    assert answers[0]["__typename"] == "NotFound"
    assert await shop.posted() == before


async def test_the_same_key_with_the_same_input_is_the_same_answer(shop: Shop) -> None:
    purchase = a_purchase(await shop.enrol())
    first = await shop.record(purchase)
    before = await shop.posted()

    second = await shop.record(purchase)

    assert second == {**first, "replayed": True}
    assert await shop.posted() == before


async def test_the_same_money_and_instant_written_otherwise_are_the_same_input(shop: Shop) -> None:
    purchase = a_purchase(
        await shop.enrol(),
        "10.0",
        occurredAt="2026-07-06T08:00:00Z",
        lines=[{"sku": "1", "amount": "10"}, {"sku": "2", "amount": "-0.0"}],
        paidWithCashback=usd("0"),
    )
    written_otherwise = {
        **purchase,
        "total": usd("10.00"),
        "occurredAt": "2026-07-06T10:00:00.000+02:00",
        "place": None,
        "lines": [{"sku": "1", "amount": "10.000", "quantity": 1, "brand": None}, {"sku": "2", "amount": "0"}],
        "voucherCodes": [],
        "paidWithCashback": usd("0.00"),
    }
    first = await shop.record(purchase)

    second = await shop.record(written_otherwise)

    assert first["__typename"] == "PurchaseRecorded"
    assert second == {**first, "replayed": True}


async def test_a_voucher_code_typed_otherwise_is_the_same_input(shop: Shop) -> None:
    member = await shop.enrol()
    await shop.adjust({"member": member, "points": 500, "reason": "A start", "idempotencyKey": new_key()})
    code = (await do(shop, member, "redeemReward", reward="coffee"))["voucher"]["code"]
    purchase = a_purchase(member, voucherCodes=[code])
    first = await shop.record(purchase)

    second = await shop.record({**purchase, "voucherCodes": [code.lower().replace("-", " ")]})

    assert first["__typename"] == "PurchaseRecorded"
    assert second == {**first, "replayed": True}


async def test_a_key_that_is_used_again_for_something_else_names_what_differs(shop: Shop) -> None:
    member = await shop.enrol()
    purchase = a_purchase(member, lines=[{"sku": "1", "amount": "10.00"}])
    await shop.record(purchase)
    before = await shop.posted()

    changed = {**purchase, "total": usd("11.00"), "lines": [{"sku": "2", "amount": "11.00"}], "place": "store-330"}
    refused = await shop.record(changed)

    assert refused["__typename"] == "IdempotencyMismatch"
    assert refused["differs"] == ["lines.0.amount", "lines.0.sku", "place", "total.amount"]
    assert await shop.posted() == before


async def test_one_key_for_two_members_is_refused_naming_the_member(shop: Shop) -> None:
    one, other = await shop.enrol(), await shop.enrol()
    purchase = a_purchase(one)
    await shop.record(purchase)
    before = await shop.posted()

    refused = await shop.record({**purchase, "member": {"id": other}})

    assert (refused["__typename"], refused["differs"]) == ("IdempotencyMismatch", ["member.id"])
    assert await shop.posted() == before


async def test_a_receipt_that_comes_twice_names_the_first_entry_and_keeps_saying_so(shop: Shop) -> None:
    member = await shop.enrol()
    first = await shop.record(a_purchase(member, receipt="R-twice"))
    again = a_purchase(member, receipt="R-twice")

    refused = await shop.record(again)
    refused_again = await shop.record(again)

    assert refused["__typename"] == "DuplicateReceipt"
    assert refused["firstEntry"] == first["entry"]["id"]
    assert refused_again == refused


async def test_a_receipt_with_an_unknown_code_may_come_again_without_it_under_another_key(shop: Shop) -> None:
    purchase = a_purchase(await shop.enrol(), voucherCodes=["0000-0000-0000"])
    refused = await shop.record(purchase)

    recorded = await shop.record({**purchase, "voucherCodes": None, "idempotencyKey": new_key()})

    assert (refused["__typename"], recorded["__typename"]) == ("NotFound", "PurchaseRecorded")


async def test_a_receipt_whose_time_was_over_is_sent_again_with_the_same_key(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    purchase = a_purchase(await shop.enrol())
    token = await shop.till_token()
    with monkeypatch.context() as patched:
        patched.setattr(operations, "OPERATION_SECONDS", 1e-9)
        too_slow = await shop.ask(RECORD, {"input": purchase}, token=token)

    recorded = await shop.record(purchase)

    assert codes(too_slow) == ["UNAVAILABLE"]
    assert too_slow["errors"][0]["extensions"]["retryable"] is True
    assert recorded["__typename"] == "PurchaseRecorded"


async def test_two_partners_may_have_the_same_receipt_number(shop: Shop) -> None:
    await shop.enrol("both")
    await shop.record(a_purchase("", receipt="R-1", member={"reference": "both"}))
    enrol = "mutation($input: EnrolMemberInput!) { enrolMember(input: $input) { ... on MemberEnrolled { isNew } } }"
    token = await shop.till_token("members:enrol", client_id=shop.other_till_id)
    data(await shop.ask(enrol, {"input": {"reference": "own", "idempotencyKey": new_key()}}, token=token))

    purchase = a_purchase("", receipt="R-1", member={"reference": "own"})
    recorded = (await shop.other_till(RECORD, {"input": purchase}))["recordPurchase"]

    assert recorded["__typename"] == "PurchaseRecorded"


async def test_a_refusal_is_kept_under_its_key(shop: Shop) -> None:
    member = await shop.enrol()
    purchase = a_purchase(member, paidWithCashback=usd("5.00"))

    refused = await shop.record(purchase)
    await shop.adjust(
        {
            "member": member,
            "money": usd("9.00"),
            "pocket": "CASHBACK",
            "reason": "A gift of the house.",
            "idempotencyKey": new_key(),
        }
    )
    await shop.clock.move_to(shop.clock.now() + timedelta(days=20))
    refused_again = await shop.record(purchase)

    assert refused["__typename"] == "InsufficientBalance"
    assert (refused["asset"], refused["available"], refused["required"]) == ("cashback/USD", "0.00", "5.00")
    assert refused_again == refused


async def test_the_preview_is_what_recording_then_posts(shop: Shop) -> None:
    member = await shop.enrol()
    await shop.record(a_purchase(member, "600.00"))
    lines = [{"sku": "1", "category": "PASTRY", "amount": "30.00"}, {"sku": "2", "amount": "15.55"}]
    purchase = a_purchase(member, "45.55", lines=lines, place="store-424")
    before = await shop.posted()

    seen = (await shop.till(PREVIEW, {"input": purchase}))["previewPurchase"]
    posted_by_preview = await shop.posted() - before
    recorded = await shop.record(purchase)

    assert posted_by_preview == 0
    assert seen["points"] == recorded["entry"]["points"] == 56
    assert seen["cashback"] == {"amount": "1.50"}
    assert seen["explanation"] == recorded["entry"]["explanation"]


async def test_a_preview_needs_a_member_who_is_there_and_a_receipt_that_can_be_read(shop: Shop) -> None:
    member = await shop.enrol()

    nobody = await shop.till(PREVIEW, {"input": a_purchase("AAAAAAAAAAAAAAAA")})
    unreadable = await shop.till(PREVIEW, {"input": a_purchase(member, total=usd("0.001"))})
    unpaid = await shop.till(PREVIEW, {"input": a_purchase(member, paidWithCashback=usd("1.00"))})

    assert nobody["previewPurchase"]["what"] == "member"
    assert [field["path"] for field in unreadable["previewPurchase"]["fields"]] == ["total.amount"]
    assert [field["path"] for field in unpaid["previewPurchase"]["fields"]] == ["paidWithCashback.amount"]


async def test_staff_may_preview_for_any_member(shop: Shop) -> None:
    member = await shop.enrol()

    seen = await shop.staff(PREVIEW, {"input": a_purchase(member, "9.99")}, scopes=("staff:programme",))

    assert seen["previewPurchase"]["points"] == 9


async def test_many_receipts_have_each_its_own_outcome_in_its_place(shop: Shop) -> None:
    one, other = await shop.enrol("one"), await shop.enrol("other")
    known = a_purchase(one, receipt="R-known")
    await shop.record(known)
    inputs = [
        a_purchase(one, "1.00", receipt="R-a"),
        a_purchase("AAAAAAAAAAAAAAAA"),
        known,
        a_purchase("", "2.00", member={"reference": "other"}, receipt="R-b"),
        a_purchase(one, total=usd("0.00")),
        a_purchase(other, receipt="R-known"),
        {**known, "total": usd("11.00")},
        a_purchase(one, "3.00", receipt="R-c"),
    ]

    outcomes = (await shop.till(RECORD_MANY, {"inputs": inputs}))["recordPurchases"]

    assert [outcome["__typename"] for outcome in outcomes] == [
        "PurchaseRecorded",
        "NotFound",
        "PurchaseRecorded",
        "PurchaseRecorded",
        "InvalidInput",
        "DuplicateReceipt",
        "IdempotencyMismatch",
        "PurchaseRecorded",
    ]
    assert [outcomes[place]["entry"]["receipt"] for place in (0, 2, 3, 7)] == ["R-a", "R-known", "R-b", "R-c"]
    assert [outcomes[place]["replayed"] for place in (0, 2, 3, 7)] == [False, True, False, False]
    assert outcomes[3]["member"]["id"] == other


async def test_a_hundred_receipts_are_taken_at_once_and_no_more(shop: Shop) -> None:
    member = await shop.enrol()
    inputs = [a_purchase(member, "1.00") for _ in range(101)]

    refused = await shop.ask(RECORD_MANY, {"inputs": inputs}, token=await shop.till_token())
    taken = (await shop.till(RECORD_MANY, {"inputs": inputs[:100]}))["recordPurchases"]

    assert codes(refused) == ["BAD_USER_INPUT"]
    assert {outcome["__typename"] for outcome in taken} == {"PurchaseRecorded"}
    assert sorted(outcome["member"]["wallet"]["version"] for outcome in taken) == list(range(2, 102))


async def test_a_receipt_is_a_replay_whichever_of_the_two_mutations_took_it_first(shop: Shop) -> None:
    purchase = a_purchase(await shop.enrol())
    first = await shop.record(purchase)

    (again,) = (await shop.till(RECORD_MANY, {"inputs": [purchase]}))["recordPurchases"]

    assert again["replayed"] is True
    assert again["entry"]["id"] == first["entry"]["id"]


async def test_twenty_callers_with_one_key_post_once(shop: Shop) -> None:
    purchase = a_purchase(await shop.enrol())
    before = await shop.posted()

    answers = await asyncio.gather(*(shop.record(purchase) for _ in range(20)))

    assert sorted(answer["replayed"] for answer in answers) == [False] + [True] * 19
    assert len({answer["entry"]["id"] for answer in answers}) == 1
    assert await shop.posted() == before + 1


async def test_a_return_takes_back_what_the_purchase_gave(shop: Shop) -> None:
    member = await shop.enrol()
    bought = (await shop.record(a_purchase(member, "30.00", receipt="R-back")))["entry"]["id"]

    part = await shop.give_back({"purchase": bought, "amount": "10.00", "idempotencyKey": new_key()})
    rest = await shop.give_back({"purchase": bought, "idempotencyKey": new_key()})

    assert part["__typename"] == "PurchaseReturned"
    assert part["entry"] == {
        "id": f"{member}.3",
        "kind": "RETURN",
        "points": -10,
        "reverses": bought,
        "receipt": "R-back",
        "explanation": [{"text": "Taken back with the return", "points": -10}],
    }
    assert rest["entry"]["points"] == -20
    assert rest["member"]["wallet"]["points"] == {"available": 100, "owed": 0}


async def test_a_second_full_return_is_refused_and_a_retry_of_the_first_is_not(shop: Shop) -> None:
    member = await shop.enrol()
    bought = (await shop.record(a_purchase(member)))["entry"]["id"]
    whole = {"purchase": bought, "idempotencyKey": new_key()}
    first = await shop.give_back(whole)

    again = await shop.give_back(whole)
    second = await shop.give_back({"purchase": bought, "idempotencyKey": new_key()})
    other_input = await shop.give_back({**whole, "amount": "1.00"})

    assert again == {**first, "replayed": True}
    assert (second["__typename"], second["state"]) == ("WrongState", "RETURNED")
    assert (other_input["__typename"], other_input["differs"]) == ("IdempotencyMismatch", ["amount"])


@pytest.mark.parametrize(
    ("changes", "answer"),
    [
        ({"amount": "10.01"}, {"__typename": "LimitReached", "limit": "purchase", "headroom": "10.00"}),
        ({"amount": "0.00"}, {"__typename": "InvalidInput", "fields": [{"path": "amount"}]}),
        ({"amount": "-1.00"}, {"__typename": "InvalidInput", "fields": [{"path": "amount"}]}),
        ({"amount": "1.001"}, {"__typename": "InvalidInput", "fields": [{"path": "amount"}]}),
        ({"occurredAt": at(minutes=6)}, {"__typename": "InvalidInput", "fields": [{"path": "occurredAt"}]}),
        ({"occurredAt": at(days=-1)}, {"__typename": "InvalidInput", "fields": [{"path": "occurredAt"}]}),
        ({"purchase": "nothing"}, {"__typename": "NotFound", "what": "purchase"}),
        ({"purchase": "AAAAAAAAAAAAAAAA.2"}, {"__typename": "NotFound", "what": "purchase"}),
    ],
)
async def test_a_return_that_cannot_be_says_why_and_moves_nothing(
    shop: Shop, changes: dict[str, Any], answer: dict[str, Any]
) -> None:
    member = await shop.enrol()
    bought = (await shop.record(a_purchase(member)))["entry"]["id"]

    refused = await shop.give_back({"purchase": bought, "idempotencyKey": new_key(), **changes})

    assert {name: refused[name] for name in answer} == answer
    assert (await shop.services.store.journal.count_documents({"seq": {"$exists": True}})) == 2


async def test_a_key_of_a_return_that_named_no_purchase_is_still_free(shop: Shop) -> None:
    member = await shop.enrol()
    bought = (await shop.record(a_purchase(member)))["entry"]["id"]
    key = new_key()
    await shop.give_back({"purchase": "AAAAAAAAAAAAAAAA.2", "idempotencyKey": key})

    returned = await shop.give_back({"purchase": bought, "idempotencyKey": key})

    assert returned["__typename"] == "PurchaseReturned"


async def test_a_purchase_of_another_partner_and_an_entry_of_another_kind_are_not_found(shop: Shop) -> None:
    member = await shop.enrol()
    bought = (await shop.record(a_purchase(member)))["entry"]["id"]
    query = "mutation($input: ReturnInput!) { returnPurchase(input: $input) { ... on NotFound { what } } }"

    others = await shop.other_till(query, {"input": {"purchase": bought, "idempotencyKey": new_key()}})
    joining = await shop.till(query, {"input": {"purchase": f"{member}.1", "idempotencyKey": new_key()}})

    assert others == joining == {"returnPurchase": {"what": "purchase"}}


async def test_a_delegated_token_records_and_returns_for_its_member_alone(shop: Shop) -> None:
    member, other = await shop.enrol(), await shop.enrol()
    bought = (await shop.record(a_purchase(other)))["entry"]["id"]
    issued = await shop.services.tokens.issue_partner_token(
        shop.till_id, ["activity:write", "wallet:read"], shop.clock.now(), member_id=member
    )
    before = await shop.posted()

    recorded = data(await shop.ask(RECORD, {"input": a_purchase(other)}, token=issued.text))
    returned = data(
        await shop.ask(RETURN, {"input": {"purchase": bought, "idempotencyKey": new_key()}}, token=issued.text)
    )

    assert recorded["recordPurchase"]["what"] == "member"
    assert returned["returnPurchase"]["what"] == "purchase"
    assert await shop.posted() == before
