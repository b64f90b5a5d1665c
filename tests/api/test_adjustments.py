"""Corrections by staff: in points or money, with a reason, once per key."""

from typing import Any

import pytest

from tests.api.shop import ADJUST, Shop, codes, new_key


def an_adjustment(member: str, **changes: Any) -> dict[str, Any]:
    return {"member": member, "points": 50, "reason": "A till was down.", "idempotencyKey": new_key(), **changes}


async def test_staff_without_the_scope_and_others_adjust_nothing(shop: Shop) -> None:
    member = await shop.enrol()
    before = await shop.posted()
    wanted = {"input": an_adjustment(member)}

    tokens = [await shop.staff_token("staff:members"), await shop.till_token(), await shop.member_token(member)]
    refusals = [await shop.ask(ADJUST, wanted, token=token) for token in tokens]

    assert [codes(refusal) for refusal in refusals] == [["FORBIDDEN"]] * 3
    assert await shop.posted() == before


async def test_points_come_and_go_with_a_reason_that_the_member_reads(shop: Shop) -> None:
    member = await shop.enrol()

    given = await shop.adjust(an_adjustment(member, reason="Sorry for the wait."))
    taken = await shop.adjust(an_adjustment(member, points=-120, reason="Given twice."))

    assert given["entry"]["explanation"] == [{"text": "Sorry for the wait.", "points": 50}]
    assert taken["entry"] == {
        "id": f"{member}.3",
        "kind": "ADJUST",
        "points": -120,
        "money": [],
        "explanation": [{"text": "Given twice.", "points": -120}],
    }
    assert taken["member"]["wallet"]["points"] == {"available": 30}


async def test_money_goes_to_its_pocket(shop: Shop) -> None:
    member = await shop.enrol()
    money = {"amount": "12.50", "currency": "USD"}

    adjusted = await shop.adjust(an_adjustment(member, points=None, money=money, pocket="PREPAID"))

    assert adjusted["entry"]["money"] == [{"pocket": "PREPAID", "amount": {"amount": "12.50"}}]
    assert adjusted["member"]["wallet"]["prepaid"] == [{"available": {"amount": "12.50"}}]


async def test_more_than_there_is_cannot_be_taken(shop: Shop) -> None:
    member = await shop.enrol()

    refused = await shop.adjust(an_adjustment(member, points=-101))

    assert refused["__typename"] == "InsufficientBalance"
    assert (refused["asset"], refused["available"], refused["required"]) == ("points", "100", "101")


@pytest.mark.parametrize(
    ("changes", "paths"),
    [
        ({"points": 0}, ["points"]),
        ({"points": 10**9 + 1}, ["points"]),
        ({"points": None}, ["points"]),
        ({"money": {"amount": "1.00", "currency": "USD"}, "pocket": "PREPAID"}, ["points"]),
        ({"pocket": "PREPAID"}, ["pocket"]),
        ({"points": None, "money": {"amount": "1.00", "currency": "USD"}}, ["pocket"]),
        ({"points": None, "money": {"amount": "1.00", "currency": "USD"}, "pocket": "BONUS"}, ["pocket"]),
        ({"points": None, "money": {"amount": "0.00", "currency": "USD"}, "pocket": "CASHBACK"}, ["money.amount"]),
        ({"points": None, "money": {"amount": "0.001", "currency": "USD"}, "pocket": "CASHBACK"}, ["money.amount"]),
        ({"points": None, "money": {"amount": "1.00", "currency": "EUR"}, "pocket": "CASHBACK"}, ["money.currency"]),
        ({"reason": ""}, ["reason"]),
        ({"reason": "   "}, ["reason"]),
        ({"reason": "x" * 501}, ["reason"]),
    ],
)
async def test_what_is_wrong_with_an_adjustment_is_told_by_its_paths_and_nothing_is_posted(
    shop: Shop, changes: dict[str, Any], paths: list[str]
) -> None:
    member = await shop.enrol()
    before = await shop.posted()

    refused = await shop.adjust(an_adjustment(member, **changes))

    assert refused["__typename"] == "InvalidInput"
    assert [field["path"] for field in refused["fields"]] == paths
    assert await shop.posted() == before


async def test_an_unknown_member_is_not_found(shop: Shop) -> None:
    refused = await shop.adjust(an_adjustment("AAAAAAAAAAAAAAAA"))

    assert (refused["__typename"], refused["what"]) == ("NotFound", "member")
    assert await shop.posted() == 0


async def test_the_same_key_adjusts_once_and_is_refused_for_another_member(shop: Shop) -> None:
    one, other = await shop.enrol(), await shop.enrol()
    wanted = an_adjustment(one)
    first = await shop.adjust(wanted)

    again = await shop.adjust(wanted)
    for_another = await shop.adjust({**wanted, "member": other})

    assert again == {**first, "replayed": True}
    assert (for_another["__typename"], for_another["differs"]) == ("IdempotencyMismatch", ["member"])
