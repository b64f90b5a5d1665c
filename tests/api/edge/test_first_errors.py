"""What developers of apps and tills are told first: each error has a code, names its place and says what to do."""

from typing import Any

import pytest

from tests.api.shop import Shop, a_purchase, new_key

REDEEM = "mutation($input: RedeemRewardInput!) { redeemReward(input: $input) { __typename } }"
RECORD = "mutation($input: PurchaseInput!) { recordPurchase(input: $input) { __typename } }"
MAKE_ONE = "Make a UUID and store it before the first try."


@pytest.mark.parametrize(
    ("query", "variables", "path", "told"),
    [
        (
            REDEEM,
            {"input": {"reward": "coffee"}},
            "input.idempotencyKey",
            "It is missing; a RedeemRewardInput needs it.",
        ),
        (REDEEM, {}, "input", "It is missing or null; a RedeemRewardInput is needed."),
        (REDEEM, {"input": None}, "input", "It is missing or null; a RedeemRewardInput is needed."),
        (REDEEM, {"input": "coffee"}, "input", "It must be an object, a RedeemRewardInput."),
        (
            REDEEM,
            {"input": {"rewards": "coffee", "reward": "coffee", "idempotencyKey": "key-12345678"}},
            "input.rewards",
            "A RedeemRewardInput has no such field. Did you mean 'reward'?",
        ),
        (
            REDEEM,
            {"input": {"reward": "coffee", "idempotencyKey": "short"}},
            "input.idempotencyKey",
            f"An idempotency key has 8 to 128 characters; this one has 5. {MAKE_ONE}",
        ),
        (
            RECORD,
            {"input": a_purchase("m", member={"id": "m", "code": "12345678"})},
            "input.member",
            "Give exactly one field of a MemberLookup, and no null.",
        ),
        (
            RECORD,
            {"input": a_purchase("m", lines=[{"sku": "1", "amount": "1.00"}, {"sku": "2"}])},
            "input.lines.1.amount",
            "It is missing; a PurchaseLineInput needs it.",
        ),
    ],
)
async def test_a_variable_that_cannot_be_taken_is_named_with_its_place_and_its_value_is_not_repeated(
    shop: Shop, query: str, variables: dict[str, Any], path: str, told: str
) -> None:
    token = await (shop.member_token("m") if query is REDEEM else shop.till_token())

    (error,) = (await shop.ask(query, variables, token=token))["errors"]

    assert error["message"] == f"{path}: {told}"
    assert (error["extensions"]["code"], error["extensions"]["path"]) == ("BAD_USER_INPUT", path)


async def test_who_brings_no_token_that_holds_is_told_how_to_get_one_whatever_is_wrong_with_it(shop: Shop) -> None:
    told = [(await shop.ask("{ me { id } }", token=token))["errors"] for token in (None, "nonsense")]

    for (error,) in told:
        assert error["extensions"].pop("requestId")
        assert error["extensions"] == {"code": "UNAUTHENTICATED"}
        assert "refreshSession" in error["message"]
        assert "/oauth/token" in error["message"]
    assert told[0] == told[1]


async def test_a_scope_that_is_missing_is_named_with_the_field_that_needs_it(shop: Shop) -> None:
    before = await shop.posted()
    amount = {"amount": "1", "currency": "USD"}
    wanted = {"member": {"id": "m"}, "receipt": "R", "amount": amount, "idempotencyKey": new_key()}

    (error,) = (
        await shop.ask(
            "mutation($input: TillTopUpInput!) { topUpAtTill(input: $input) { __typename } }",
            {"input": wanted},
            token=await shop.till_token(),
        )
    )["errors"]

    assert error["message"] == "Mutation.topUpAtTill needs the scope prepaid:topup, which this token does not carry."
    assert (error["extensions"]["code"], error["extensions"]["scope"]) == ("FORBIDDEN", "prepaid:topup")
    assert await shop.posted() == before
