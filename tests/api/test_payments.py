"""Payments at the till: who may take, what is held, what is paid, what comes back (SEMANTICS §2.7, §6.5, §9.2)."""

import asyncio
from datetime import timedelta
from typing import Any

import pytest

from tests.api.shop import TILL_SCOPES, Shop, codes, data, new_key

SCOPES = (*TILL_SCOPES, "prepaid:charge", "prepaid:topup")
WALLET = """
  member { id wallet {
    version
    points { available held }
    prepaid { available { amount currency } held { amount } autoTopUp { enabled } }
    cashback { available { amount } }
    holds { id amount { amount currency } partner createdAt expiresAt }
  } }
"""
ENTRY = "entry { id kind receipt reverses title money { pocket amount { amount } } points }"
PROBLEM = """
  ... on Problem { code message }
  ... on InvalidInput { fields { path } }
  ... on NotFound { what }
  ... on IdempotencyMismatch { differs }
"""
AUTHORIZE = f"""
mutation($input: AuthorizePaymentInput!) {{ answer: authorizePayment(input: $input) {{
  __typename
  ... on PaymentAuthorized {{ replayed hold captured parts {{ pocket amount {{ amount currency }} }} {ENTRY} {WALLET} }}
  {PROBLEM}
  ... on InsufficientBalance {{ asset available required }}
  ... on NotEligible {{ reason }}
}} }}
"""
CAPTURE = f"""
mutation($input: CapturePaymentInput!) {{ answer: capturePayment(input: $input) {{
  __typename
  ... on PaymentCaptured {{ replayed captured {{ amount currency }} released {{ amount currency }} {ENTRY} {WALLET} }}
  {PROBLEM}
  ... on WrongState {{ state }}
}} }}
"""
VOID = f"""
mutation($input: VoidPaymentInput!) {{ answer: voidPayment(input: $input) {{
  __typename
  ... on PaymentVoided {{ replayed {ENTRY} {WALLET} }}
  {PROBLEM}
  ... on WrongState {{ state }}
}} }}
"""
REFUND = f"""
mutation($input: RefundPaymentInput!) {{ answer: refundPayment(input: $input) {{
  __typename
  ... on PaymentRefunded {{ replayed refunded {{ amount currency }} {ENTRY} {WALLET} }}
  {PROBLEM}
  ... on WrongState {{ state }}
  ... on LimitReached {{ limit headroom }}
}} }}
"""
TOP_UP = f"""
mutation($input: TillTopUpInput!) {{ answer: topUpAtTill(input: $input) {{
  __typename
  ... on ToppedUp {{ replayed {ENTRY} {WALLET} }}
  {PROBLEM}
  ... on LimitReached {{ limit headroom }}
  ... on DuplicateReceipt {{ firstEntry }}
}} }}
"""
EVERY = [AUTHORIZE, CAPTURE, VOID, REFUND, TOP_UP]


def usd(amount: str) -> dict[str, str]:
    return {"amount": amount, "currency": "USD"}


async def ask(shop: Shop, query: str, wanted: dict[str, Any], *, other: bool = False) -> dict[str, Any]:
    """What the till (or the other one) is answered."""
    token = await shop.till_token(*SCOPES, client_id=shop.other_till_id if other else None)
    answered: dict[str, Any] = data(
        await shop.ask(query, {"input": {"idempotencyKey": new_key()} | wanted}, token=token)
    )
    return dict(answered["answer"])


async def code_of(shop: Shop, member: str) -> str:
    shown = await shop.phone(member, "{ me { code { payload } } }")
    payload: str = shown["me"]["code"]["payload"]
    return payload


async def present(shop: Shop, *, prepaid: str = "50.00", cashback: str | None = None) -> str:
    """A member with money, who has just shown the till the code."""
    member = await shop.enrol()
    await give(shop, member, prepaid, "PREPAID")
    if cashback is not None:
        await give(shop, member, cashback, "CASHBACK")
    await show(shop, member)
    return member


async def give(shop: Shop, member: str, amount: str, pocket: str) -> None:
    wanted = {"member": member, "money": usd(amount), "pocket": pocket, "reason": "Test", "idempotencyKey": new_key()}
    assert (await shop.adjust(wanted))["__typename"] == "BalanceAdjusted"


async def show(shop: Shop, member: str) -> None:
    found = await shop.till("query($c: String!) { member(by: {code: $c}) { id } }", {"c": await code_of(shop, member)})
    assert found == {"member": {"id": member}}


async def authorize(shop: Shop, member: str, amount: str = "10.00", **more: Any) -> dict[str, Any]:
    return await ask(shop, AUTHORIZE, {"member": {"id": member}, "amount": usd(amount), **more})


def prepaid(answer: dict[str, Any]) -> tuple[str, str]:
    """What is available and what is held."""
    (balance,) = answer["member"]["wallet"]["prepaid"]
    return balance["available"]["amount"], balance["held"]["amount"]


@pytest.mark.parametrize("query", EVERY)
async def test_a_token_without_the_scope_is_refused_and_nothing_is_done(shop: Shop, query: str) -> None:
    member = await present(shop)
    before = await shop.posted()
    key = {"idempotencyKey": new_key()}
    inputs = {
        AUTHORIZE: {"member": {"id": member}, "amount": usd("1.00"), **key},
        CAPTURE: {"hold": f"{member}.2", **key},
        VOID: {"hold": f"{member}.2", **key},
        REFUND: {"payment": f"{member}.2", **key},
        TOP_UP: {"member": {"id": member}, "amount": usd("10.00"), "receipt": "T-1", **key},
    }
    scope = "prepaid:topup" if query == TOP_UP else "prepaid:charge"

    tokens = [
        await shop.till_token(*(each for each in SCOPES if each != scope)),
        await shop.member_token(member),
        await shop.staff_token("staff:adjust"),
    ]
    refused = [await shop.ask(query, {"input": inputs[query]}, token=token) for token in tokens]

    assert [codes(each) for each in refused] == [["FORBIDDEN"]] * 3
    assert {each["errors"][0]["extensions"]["scope"] for each in refused} == {scope}
    assert await shop.posted() == before


async def test_a_hold_takes_money_out_of_what_is_available_at_once(shop: Shop) -> None:
    member = await present(shop)

    held = await authorize(shop, member, "12.50", receipt="R-7")

    assert (held["hold"], held["captured"], held["replayed"]) == (f"{member}.3", False, False)
    assert held["parts"] == [{"pocket": "PREPAID", "amount": usd("12.50")}]
    assert prepaid(held) == ("37.50", "12.50")
    assert held["entry"] == {
        "id": f"{member}.3",
        "kind": "HOLD",
        "receipt": "R-7",
        "reverses": None,
        "title": "Payment reserved",
        "money": [{"pocket": "PREPAID", "amount": {"amount": "-12.50"}}],
        "points": 0,
    }
    (hold,) = held["member"]["wallet"]["holds"]
    assert (hold["id"], hold["amount"], hold["partner"]) == (held["hold"], usd("12.50"), shop.till_id)


async def test_a_capture_pays_and_lets_the_rest_go(shop: Shop) -> None:
    member = await present(shop)
    held = await authorize(shop, member, "10.00")

    captured = await ask(shop, CAPTURE, {"hold": held["hold"], "amount": "7.25"})

    assert (captured["captured"], captured["released"]) == (usd("7.25"), usd("2.75"))
    assert prepaid(captured) == ("42.75", "0.00")
    assert captured["entry"]["kind"] == "CAPTURE"
    assert captured["entry"]["reverses"] == held["hold"]
    assert captured["entry"]["money"] == [{"pocket": "PREPAID", "amount": {"amount": "2.75"}}]
    assert captured["member"]["wallet"]["holds"] == []


async def test_the_lines_of_a_payment_add_up_to_what_it_cost(shop: Shop) -> None:
    member = await present(shop)
    for amount in ("4.00", None):
        held = await authorize(shop, member, "10.00")
        await ask(shop, CAPTURE, {"hold": held["hold"], "amount": amount})
    voided = await authorize(shop, member, "10.00")
    await ask(shop, VOID, {"hold": voided["hold"]})

    asked = await shop.phone(member, "{ me { wallet { activity { nodes { kind money { amount { amount } } } } } } }")

    lines = [
        (node["kind"], [each["amount"]["amount"] for each in node["money"]])
        for node in asked["me"]["wallet"]["activity"]["nodes"]
    ]
    assert lines == [
        ("VOID", ["10.00"]),
        ("HOLD", ["-10.00"]),
        ("CAPTURE", []),
        ("HOLD", ["-10.00"]),
        ("CAPTURE", ["6.00"]),
        ("HOLD", ["-10.00"]),
        ("ADJUST", ["50.00"]),
        ("JOIN", []),
    ]


async def test_a_hold_is_captured_once_and_never_above_what_is_held(shop: Shop) -> None:
    member = await present(shop)
    held = await authorize(shop, member, "10.00")

    above = await ask(shop, CAPTURE, {"hold": held["hold"], "amount": "10.01"})
    nothing = await ask(shop, CAPTURE, {"hold": held["hold"], "amount": "0.00"})
    inexact = await ask(shop, CAPTURE, {"hold": held["hold"], "amount": "1.001"})
    first = await ask(shop, CAPTURE, {"hold": held["hold"]})
    second = await ask(shop, CAPTURE, {"hold": held["hold"]})
    voided = await ask(shop, VOID, {"hold": held["hold"]})

    for refused in (above, nothing, inexact):
        assert (refused["__typename"], refused["fields"]) == ("InvalidInput", [{"path": "amount"}])
    assert first["__typename"] == "PaymentCaptured"
    assert (second["__typename"], second["state"]) == ("WrongState", "CAPTURED")
    assert (voided["__typename"], voided["state"]) == ("WrongState", "CAPTURED")


async def test_a_void_lets_all_of_it_go(shop: Shop) -> None:
    member = await present(shop)
    held = await authorize(shop, member, "10.00")

    voided = await ask(shop, VOID, {"hold": held["hold"]})
    again = await ask(shop, VOID, {"hold": held["hold"]})
    captured = await ask(shop, CAPTURE, {"hold": held["hold"]})

    assert prepaid(voided) == ("50.00", "0.00")
    assert voided["entry"]["money"] == [{"pocket": "PREPAID", "amount": {"amount": "10.00"}}]
    assert (again["__typename"], again["state"]) == ("WrongState", "VOID")
    assert (captured["__typename"], captured["state"]) == ("WrongState", "VOID")


async def test_a_hold_past_its_time_is_released_at_read_and_cannot_be_captured(shop: Shop) -> None:
    member = await present(shop)
    held = await authorize(shop, member, "10.00")
    (hold,) = held["member"]["wallet"]["holds"]
    wallet = "{ me { wallet { version holds { id } prepaid { available { amount } held { amount } } } } }"

    await shop.clock.move_to(shop.clock.now() + timedelta(minutes=29))
    before = (await shop.phone(member, wallet))["me"]["wallet"]
    await shop.clock.move_to(shop.clock.now() + timedelta(minutes=1))
    after = (await shop.phone(member, wallet))["me"]["wallet"]
    captured = await ask(shop, CAPTURE, {"hold": held["hold"]})
    voided = await ask(shop, VOID, {"hold": held["hold"]})

    assert hold["expiresAt"] > hold["createdAt"]
    assert before["prepaid"] == [{"available": {"amount": "40.00"}, "held": {"amount": "10.00"}}]
    assert after["prepaid"] == [{"available": {"amount": "50.00"}, "held": {"amount": "0.00"}}]
    assert (before["holds"], after["holds"]) == ([{"id": held["hold"]}], [])
    assert (captured["__typename"], captured["state"]) == ("WrongState", "EXPIRED")
    assert (voided["__typename"], voided["state"]) == ("WrongState", "EXPIRED")


async def test_a_payment_may_be_taken_at_once(shop: Shop) -> None:
    member = await present(shop)

    charged = await authorize(shop, member, "10.00", capture=True)
    captured = await ask(shop, CAPTURE, {"hold": charged["hold"]})
    refunded = await ask(shop, REFUND, {"payment": charged["hold"]})

    assert (charged["captured"], charged["entry"]["kind"]) == (True, "CHARGE")
    assert charged["entry"]["money"] == [{"pocket": "PREPAID", "amount": {"amount": "-10.00"}}]
    assert prepaid(charged) == ("40.00", "0.00")
    assert (captured["__typename"], captured["state"]) == ("WrongState", "CAPTURED")
    assert (refunded["refunded"], prepaid(refunded)) == (usd("10.00"), ("50.00", "0.00"))


async def test_tender_is_drawn_in_the_order_asked_and_comes_back_the_last_part_first(shop: Shop) -> None:
    member = await present(shop, prepaid="20.00", cashback="6.00")

    charged = await authorize(shop, member, "15.00", tender=["CASHBACK", "PREPAID"], capture=True)
    first = await ask(shop, REFUND, {"payment": charged["hold"], "amount": "8.00"})
    second = await ask(shop, REFUND, {"payment": charged["hold"], "amount": "3.00"})
    above = await ask(shop, REFUND, {"payment": charged["hold"], "amount": "4.01"})
    rest = await ask(shop, REFUND, {"payment": charged["hold"]})
    none = await ask(shop, REFUND, {"payment": charged["hold"]})

    assert charged["parts"] == [
        {"pocket": "CASHBACK", "amount": usd("6.00")},
        {"pocket": "PREPAID", "amount": usd("9.00")},
    ]
    assert prepaid(charged) == ("11.00", "0.00")
    assert first["entry"]["money"] == [{"pocket": "PREPAID", "amount": {"amount": "8.00"}}]
    assert second["entry"]["money"] == [
        {"pocket": "PREPAID", "amount": {"amount": "1.00"}},
        {"pocket": "CASHBACK", "amount": {"amount": "2.00"}},
    ]
    assert (above["__typename"], above["headroom"]) == ("LimitReached", "4.00")
    assert rest["refunded"] == usd("4.00")
    assert prepaid(rest) == ("20.00", "0.00")
    assert rest["member"]["wallet"]["cashback"] == [{"available": {"amount": "6.00"}}]
    assert (none["__typename"], none["state"]) == ("WrongState", "REFUNDED")


async def test_only_what_was_captured_comes_back(shop: Shop) -> None:
    member = await present(shop, prepaid="20.00", cashback="6.00")
    held = await authorize(shop, member, "15.00", tender=["PREPAID", "CASHBACK"])
    too_soon = await ask(shop, REFUND, {"payment": held["hold"]})
    voided = await authorize(shop, member, "1.00")
    await ask(shop, VOID, {"hold": voided["hold"]})

    captured = await ask(shop, CAPTURE, {"hold": held["hold"], "amount": "12.00"})
    above = await ask(shop, REFUND, {"payment": held["hold"], "amount": "12.01"})
    by_capture = await ask(shop, REFUND, {"payment": captured["entry"]["id"], "amount": "2.00"})
    refunded = await ask(shop, REFUND, {"payment": held["hold"]})
    of_void = await ask(shop, REFUND, {"payment": voided["hold"]})

    assert (too_soon["__typename"], too_soon["state"]) == ("WrongState", "HELD")
    assert (captured["captured"], captured["released"]) == (usd("12.00"), usd("3.00"))
    assert (above["__typename"], above["headroom"]) == ("LimitReached", "12.00")
    assert (by_capture["refunded"], by_capture["entry"]["reverses"]) == (usd("2.00"), held["hold"])
    assert (refunded["refunded"], prepaid(refunded)) == (usd("10.00"), ("20.00", "0.00"))
    assert (of_void["__typename"], of_void["state"]) == ("WrongState", "VOID")


async def test_what_is_not_there_cannot_be_held(shop: Shop) -> None:
    member = await present(shop, prepaid="20.00", cashback="6.00")

    alone = await authorize(shop, member, "20.01")
    both = await authorize(shop, member, "26.01", tender=["PREPAID", "CASHBACK"])

    assert (alone["__typename"], alone["asset"]) == ("InsufficientBalance", "prepaid/USD")
    assert (alone["available"], alone["required"]) == ("20.00", "20.01")
    assert (both["asset"], both["available"], both["required"]) == ("prepaid/USD+cashback/USD", "26.00", "26.01")


@pytest.mark.parametrize(
    ("changes", "path"),
    [
        ({"amount": usd("0.00")}, "amount.amount"),
        ({"amount": usd("-1.00")}, "amount.amount"),
        ({"amount": usd("1.001")}, "amount.amount"),
        ({"amount": {"amount": "1.00", "currency": "EUR"}}, "amount.currency"),
        ({"tender": []}, "tender"),
        ({"tender": ["PREPAID", "PREPAID"]}, "tender"),
        ({"tender": ["BONUS"]}, "tender"),
        ({"receipt": ""}, "receipt"),
    ],
)
async def test_a_payment_that_cannot_be_taken_names_the_field(shop: Shop, changes: dict[str, Any], path: str) -> None:
    member = await present(shop)
    before = await shop.posted()

    refused = await ask(shop, AUTHORIZE, {"member": {"id": member}, "amount": usd("1.00"), **changes})

    assert (refused["__typename"], refused["fields"]) == ("InvalidInput", [{"path": path}])
    assert await shop.posted() == before


async def test_nothing_is_taken_from_who_is_not_there(shop: Shop) -> None:
    member = await shop.enrol()
    await give(shop, member, "50.00", "PREPAID")
    before, key = await shop.posted(), {"idempotencyKey": new_key()}

    refused = await authorize(shop, member, **key)
    unknown = await ask(shop, AUTHORIZE, {"member": {"id": "nobody-at-all"}, "amount": usd("1.00")})
    posted = await shop.posted()
    await show(shop, member)
    taken = await authorize(shop, member, **key)

    assert (refused["__typename"], refused["reason"]) == ("NotEligible", "PRESENCE_NEEDED")
    assert (unknown["__typename"], unknown["what"]) == ("NotFound", "member")
    assert posted == before
    assert (taken["__typename"], taken["replayed"]) == ("PaymentAuthorized", False)


async def test_who_shows_the_code_with_the_payment_itself_is_there(shop: Shop) -> None:
    member = await shop.enrol()
    await give(shop, member, "50.00", "PREPAID")

    taken = await ask(shop, AUTHORIZE, {"member": {"code": await code_of(shop, member)}, "amount": usd("1.00")})

    assert taken["__typename"] == "PaymentAuthorized"


async def test_presence_lasts_fifteen_minutes_and_a_known_key_is_answered_after_it(shop: Shop) -> None:
    member = await present(shop)
    shown_at = shop.clock.now()
    key = {"idempotencyKey": new_key()}

    await shop.clock.move_to(shown_at + timedelta(minutes=14, seconds=50))
    taken = await authorize(shop, member, "10.00", **key)
    await shop.clock.move_to(shown_at + timedelta(minutes=15))
    anew = await authorize(shop, member, "10.00")
    again = await authorize(shop, member, "10.00", **key)
    changed = await authorize(shop, member, "11.00", **key)
    captured = await ask(shop, CAPTURE, {"hold": taken["hold"]})

    assert taken["__typename"] == "PaymentAuthorized"
    assert (anew["__typename"], anew["reason"]) == ("NotEligible", "PRESENCE_NEEDED")
    assert (again["hold"], again["replayed"]) == (taken["hold"], True)
    assert (changed["__typename"], changed["differs"]) == ("IdempotencyMismatch", ["amount.amount"])
    assert captured["__typename"] == "PaymentCaptured"


async def test_presence_is_with_the_partner_that_saw_the_code(shop: Shop) -> None:
    member = await present(shop)
    await shop.services.store.members.update_one({"_id": member}, {"$addToSet": {"linked": shop.other_till_id}})

    wanted = {"member": {"id": member}, "amount": usd("1.00")}

    assert (await ask(shop, AUTHORIZE, wanted, other=True))["reason"] == "PRESENCE_NEEDED"
    assert (await ask(shop, AUTHORIZE, wanted))["__typename"] == "PaymentAuthorized"


async def test_a_grant_of_the_scope_stands_for_presence(shop: Shop) -> None:
    member = await shop.enrol()
    await give(shop, member, "50.00", "PREPAID")
    grant = {"_id": f"{member}|{shop.till_id}", "member": member, "scopes": ["wallet:read"]}
    await shop.services.store.grants.insert_one(grant)

    without = await authorize(shop, member)
    await shop.services.store.grants.update_one({"_id": grant["_id"]}, {"$addToSet": {"scopes": "prepaid:charge"}})
    granted = await authorize(shop, member)

    assert without["reason"] == "PRESENCE_NEEDED"
    assert granted["__typename"] == "PaymentAuthorized"


async def test_another_partners_payment_is_not_there(shop: Shop) -> None:
    member = await present(shop)
    held = await authorize(shop, member, "10.00")
    charged = await authorize(shop, member, "10.00", capture=True)
    before = await shop.posted()

    captured = await ask(shop, CAPTURE, {"hold": held["hold"]}, other=True)
    voided = await ask(shop, VOID, {"hold": held["hold"]}, other=True)
    refunded = await ask(shop, REFUND, {"payment": charged["hold"]}, other=True)
    no_hold = await ask(shop, CAPTURE, {"hold": f"{member}.1"})
    nowhere = await ask(shop, VOID, {"hold": "nowhere"})

    assert [each["what"] for each in (captured, voided, refunded, no_hold, nowhere)] == [
        "hold",
        "hold",
        "payment",
        "hold",
        "hold",
    ]
    assert await shop.posted() == before


async def test_a_delegated_token_reaches_no_other_members_payment(shop: Shop) -> None:
    member, other = await present(shop), await shop.enrol()
    held = await authorize(shop, member, "10.00")
    issued = await shop.services.tokens.issue_partner_token(shop.till_id, SCOPES, shop.clock.now(), member_id=other)

    wanted = {"hold": held["hold"], "idempotencyKey": new_key()}
    answered = data(await shop.ask(CAPTURE, {"input": wanted}, token=issued.text))["answer"]

    assert (answered["__typename"], answered["what"]) == ("NotFound", "hold")


async def test_every_key_is_answered_again_and_only_for_its_own_input(shop: Shop) -> None:
    member = await present(shop)
    keys = [{"idempotencyKey": new_key()} for _ in range(3)]

    held = await authorize(shop, member, "10.00", **keys[0])
    held_again = await authorize(shop, member, "10.0", tender=["PREPAID"], **keys[0])
    captured = await ask(shop, CAPTURE, {"hold": held["hold"], "amount": "4.00", **keys[1]})
    captured_again = await ask(shop, CAPTURE, {"hold": held["hold"], "amount": "4.00", **keys[1]})
    other_amount = await ask(shop, CAPTURE, {"hold": held["hold"], "amount": "5.00", **keys[1]})
    other_operation = await ask(shop, VOID, {"hold": held["hold"], **keys[1]})
    refunded = await ask(shop, REFUND, {"payment": held["hold"], **keys[2]})
    refunded_again = await ask(shop, REFUND, {"payment": held["hold"], **keys[2]})

    for first, again in ((held, held_again), (captured, captured_again), (refunded, refunded_again)):
        assert (first["replayed"], again["replayed"]) == (False, True)
        assert again["entry"] == first["entry"]
    assert held_again["parts"] == held["parts"]
    assert (captured_again["captured"], captured_again["released"]) == (usd("4.00"), usd("6.00"))
    assert refunded_again["refunded"] == usd("4.00")
    assert other_amount["differs"] == ["amount"]
    assert other_operation["__typename"] == "IdempotencyMismatch"


async def test_thirty_callers_charge_one_wallet_and_ten_succeed(shop: Shop) -> None:
    member = await present(shop, prepaid="50.00")

    answers = await asyncio.gather(*(authorize(shop, member, "5.00", capture=number % 2 == 0) for number in range(30)))

    assert (
        sorted(answer["__typename"] for answer in answers) == ["InsufficientBalance"] * 20 + ["PaymentAuthorized"] * 10
    )
    wallet = await shop.phone(member, "{ me { wallet { prepaid { available { amount } } } } }")
    assert wallet["me"]["wallet"]["prepaid"] == [{"available": {"amount": "0.00"}}]


async def test_money_taken_at_the_till_is_in_the_wallet(shop: Shop) -> None:
    member = await shop.enrol()

    topped = await ask(shop, TOP_UP, {"member": {"id": member}, "amount": usd("100.00"), "receipt": "T-1"})

    assert prepaid(topped) == ("100.00", "0.00")
    assert topped["entry"]["kind"] == "TOP_UP"
    assert topped["entry"]["receipt"] == "T-1"
    assert topped["entry"]["points"] == 0
    assert topped["entry"]["money"] == [
        {"pocket": "PREPAID", "amount": {"amount": "100.00"}},
        {"pocket": "CASHBACK", "amount": {"amount": "5.00"}},
    ]


async def test_a_receipt_tops_up_once_and_may_have_a_purchase_beside_it(shop: Shop) -> None:
    member, other = await shop.enrol(), await shop.enrol()
    wanted = {"member": {"id": member}, "amount": usd("10.00"), "receipt": "T-1"}
    first = await ask(shop, TOP_UP, wanted)

    again = await ask(shop, TOP_UP, {**wanted, "member": {"id": other}})
    bought = await shop.record(
        {"member": {"id": member}, "receipt": "T-1", "total": usd("10.00"), "idempotencyKey": new_key()}
    )

    assert (again["__typename"], again["firstEntry"]) == ("DuplicateReceipt", first["entry"]["id"])
    assert bought["__typename"] == "PurchaseRecorded"


@pytest.mark.parametrize(
    ("changes", "path"),
    [
        ({"amount": usd("0.00")}, "amount.amount"),
        ({"amount": usd("-5.00")}, "amount.amount"),
        ({"amount": usd("5.001")}, "amount.amount"),
        ({"amount": {"amount": "5.00", "currency": "EUR"}}, "amount.currency"),
        ({"receipt": " "}, "receipt"),
    ],
)
async def test_a_top_up_that_cannot_be_taken_names_the_field(shop: Shop, changes: dict[str, Any], path: str) -> None:
    member = await shop.enrol()
    before = await shop.posted()

    refused = await ask(shop, TOP_UP, {"member": {"id": member}, "amount": usd("10.00"), "receipt": "T-1", **changes})

    assert (refused["__typename"], refused["fields"]) == ("InvalidInput", [{"path": path}])
    assert await shop.posted() == before


async def test_an_unknown_members_top_up_is_refused_and_a_known_key_is_answered_again(shop: Shop) -> None:
    member = await shop.enrol()
    wanted = {
        "member": {"code": await code_of(shop, member)},
        "amount": usd("10.00"),
        "receipt": "T-1",
        "idempotencyKey": new_key(),
    }
    first = await ask(shop, TOP_UP, wanted)

    await shop.clock.move_to(shop.clock.now() + timedelta(minutes=5))
    again = await ask(shop, TOP_UP, wanted)
    unknown = await ask(shop, TOP_UP, {**wanted, "idempotencyKey": new_key()})

    assert (first["replayed"], again["replayed"]) == (False, True)
    assert again["entry"] == first["entry"]
    assert (unknown["__typename"], unknown["what"]) == ("NotFound", "member")
