"""What a partner is told of a member who is not linked to it, or not any more: nothing but his id (SEMANTICS §9.2)."""

from pathlib import Path
from typing import Any

from graphql import GraphQLInterfaceType, GraphQLObjectType, build_schema, get_named_type, is_leaf_type

from api.access import TABLE, PartnerCaller, allows
from domain.partners.scopes import PARTNER_SCOPES
from tests.api.shop import RECORD, RETURN, TILL_SCOPES, Shop, a_purchase, codes, new_key
from tests.api.spending import do

PRINTED = build_schema((Path(__file__).parents[2] / "schema.graphql").read_text(encoding="utf-8"))
EVERYTHING = PartnerCaller(client_id="till", scopes=PARTNER_SCOPES)
USE = """mutation Use($input: UseVoucherInput!) {{ useVoucher(input: $input) {{ __typename ... on VoucherUsed {{
  replayed voucher {{ status }} entry {{ id kind receipt }} {asked}
}} }} }}"""


def of_member() -> list[str]:
    """Every field of a member that a partner with all scopes may touch, but for the id."""
    member = PRINTED.get_type("Member")
    assert isinstance(member, GraphQLObjectType)
    fields = []
    for name, field in member.fields.items():
        requirement = TABLE.get(f"Member.{name}")
        if name != "id" and (requirement is None or allows(EVERYTHING, requirement)):
            kind = get_named_type(field.type)
            assert is_leaf_type(kind) or isinstance(kind, GraphQLObjectType | GraphQLInterfaceType)
            fields.append(name if is_leaf_type(kind) else f"{name} {{ __typename }}")
    return fields


async def a_voucher(shop: Shop) -> tuple[str, str, str]:
    """A member, the id and the code of his voucher."""
    member = await shop.enrol()
    await shop.adjust({"member": member, "points": 400, "reason": "Test", "idempotencyKey": new_key()})
    voucher = (await do(shop, member, "redeemReward", reward="coffee"))["voucher"]
    return member, voucher["id"], voucher["code"]


async def use(shop: Shop, code: str, key: str, asked: str) -> dict[str, Any]:
    token = await shop.till_token(*sorted(PARTNER_SCOPES), client_id=shop.other_till_id)
    given = {"code": code, "receipt": "R-1", "idempotencyKey": key}
    return await shop.ask(USE.format(asked=asked), {"input": given}, token=token)


async def test_who_uses_a_strangers_voucher_and_asks_for_more_is_refused_before_it_is_used(shop: Shop) -> None:
    member, voucher, code = await a_voucher(shop)
    before = await shop.posted()
    more = [*(f"member {{ id {each} }}" for each in of_member()), "entry { balanceAfter { points } }"]

    refused = [await use(shop, code, new_key(), asked) for asked in more]

    assert len(more) > 10
    assert [(each["data"], codes(each)) for each in refused] == [(None, ["FORBIDDEN"])] * len(more)
    assert await shop.posted() == before
    shown = await shop.phone(member, f'{{ node(id: "{voucher}") {{ ... on Voucher {{ status }} }} }}')
    assert shown["node"] == {"status": "ACTIVE"}


async def test_who_uses_a_strangers_voucher_is_told_what_came_of_it_and_whose_entry_it_is(shop: Shop) -> None:
    member, _, code = await a_voucher(shop)
    key = new_key()

    much = await use(shop, code, key, "member { wallet { points { available } } }")
    used = await use(shop, code, key, "member { id }")
    again = await use(shop, code, key, "member { wallet { points { available } } }")
    unless = await use(shop, code, key, "member { id wallet @skip(if: true) { version } }")

    assert much["errors"][0]["extensions"] == {
        "code": "FORBIDDEN",
        "field": "member.wallet",
        "requestId": much["errors"][0]["extensions"]["requestId"],
    }
    assert "id" in much["errors"][0]["message"]
    done = used["data"]["useVoucher"]
    assert done["member"] == {"id": member}
    assert (done["voucher"], done["replayed"], done["entry"]["kind"]) == ({"status": "USED"}, False, "VOUCHER_USED")
    assert codes(again) == ["FORBIDDEN"]
    assert (unless["data"]["useVoucher"]["member"], unless["data"]["useVoucher"]["replayed"]) == ({"id": member}, True)


async def test_a_partner_that_is_linked_sees_the_member_whose_voucher_it_uses(shop: Shop) -> None:
    member, _, code = await a_voucher(shop)
    token = await shop.till_token("vouchers:use", *TILL_SCOPES)
    given = {"code": code, "receipt": "R-1", "idempotencyKey": new_key()}
    asked = "member { id wallet { points { available } } } entry { balanceAfter { points } }"

    used = await shop.ask(USE.format(asked=asked), {"input": given}, token=token)

    done = used["data"]["useVoucher"]
    assert done["member"] == {"id": member, "wallet": {"points": {"available": 380}}}
    assert done["entry"]["balanceAfter"] == {"points": 380}


async def test_once_the_link_has_ended_a_replay_tells_nothing_more_of_the_member(shop: Shop) -> None:
    member = await shop.enrol()
    purchase = a_purchase(member)
    recorded = await shop.record(purchase)
    await shop.phone(member, f'mutation {{ revokeApp(partner: "{shop.till_id}") {{ id }} }}')
    lean = """mutation($input: PurchaseInput!) {
      recordPurchase(input: $input) { ... on Posted { replayed entry { id } } ... on NotFound { what } }
    }"""

    parts = [
        await shop.ask(
            lean.replace("replayed", asked), {"input": purchase}, token=await shop.till_token(*sorted(PARTNER_SCOPES))
        )
        for asked in (*(f"member {{ {each} }}" for each in of_member()), "entry { balanceAfter { points } }")
    ]
    much = await shop.ask(RECORD, {"input": purchase}, token=await shop.till_token())
    little = await shop.till(lean, {"input": purchase})
    unknown = await shop.till(lean, {"input": a_purchase(member)})

    assert [codes(each) for each in parts] == [["FORBIDDEN"]] * len(parts)
    assert [each["data"]["recordPurchase"]["member"] for each in parts if each["data"]] == [{"plan": None}]
    assert codes(much) == ["FORBIDDEN"]
    assert little["recordPurchase"] == {"replayed": True, "entry": {"id": recorded["entry"]["id"]}}
    assert unknown["recordPurchase"] == {"what": "member"}


async def test_once_the_link_has_ended_a_return_is_taken_and_tells_nothing_of_the_member(shop: Shop) -> None:
    member = await shop.enrol()
    recorded = await shop.record(a_purchase(member))
    await shop.phone(member, f'mutation {{ revokeApp(partner: "{shop.till_id}") {{ id }} }}')
    given = {"purchase": recorded["entry"]["id"], "idempotencyKey": new_key()}
    lean = """mutation($input: ReturnInput!) {
      returnPurchase(input: $input) { ... on Posted { member { id } entry { points } } }
    }"""
    before = await shop.posted()

    much = await shop.ask(RETURN, {"input": given}, token=await shop.till_token())
    untouched = await shop.posted()
    little = await shop.till(lean, {"input": given})

    assert codes(much) == ["FORBIDDEN"]
    assert untouched == before
    assert little["returnPurchase"] == {"member": {"id": member}, "entry": {"points": -10}}
