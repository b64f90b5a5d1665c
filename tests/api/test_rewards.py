"""Rewards and vouchers over HTTP: who sees what, who may use what, and who guesses."""

from datetime import timedelta
from typing import Any

import pytest

from domain.ledger.voucher import ALPHABET
from tests.api.shop import Shop, a_purchase, codes, data, new_key
from tests.api.spending import DOCUMENTS, REDEEM_FOR, do, document, use

REWARDS = """
query($first: Int, $after: String, $affordable: Boolean) {
  me {
    rewards(first: $first, after: $after, affordable: $affordable) {
      nodes { id name kind cost stockLeft blocked } pageInfo { hasNextPage endCursor }
    }
  }
}
"""
VOUCHERS = """
query($first: Int, $after: String, $status: VoucherStatus) {
  me {
    vouchers(first: $first, after: $after, status: $status) {
      nodes { id code name status usedAt } pageInfo { hasNextPage endCursor }
    }
  }
}
"""
LOOK = "query($code: String!) { voucher(code: $code) { id name status } }"


async def a_member(shop: Shop, points: int = 0) -> str:
    """A member with 100 points for joining, and some more."""
    member = await shop.enrol()
    if points:
        await shop.adjust({"member": member, "points": points, "reason": "Test", "idempotencyKey": new_key()})
    return member


async def bought(shop: Shop, member: str, reward: str = "coffee") -> dict[str, Any]:
    answered = await do(shop, member, "redeemReward", reward=reward)
    assert answered["__typename"] == "RewardRedeemed", answered
    voucher: dict[str, Any] = answered["voucher"]
    return voucher


async def available(shop: Shop, member: str) -> int:
    asked = await shop.phone(member, "{ me { wallet { points { available } } } }")
    points: int = asked["me"]["wallet"]["points"]["available"]
    return points


@pytest.mark.parametrize("name", [*DOCUMENTS, "redeemRewardFor"])
async def test_without_its_scope_nothing_is_done(shop: Shop, name: str) -> None:
    member = await a_member(shop, 1_000)
    before = await shop.posted()
    query = REDEEM_FOR if name == "redeemRewardFor" else document(name)
    inputs: dict[str, dict[str, Any]] = {
        "redeemReward": {"reward": "coffee"},
        "redeemRewardFor": {"reward": "coffee"},
        "cancelVoucher": {"voucher": "v"},
        "convertPoints": {"points": 100},
        "donate": {"charity": "shelter", "points": 1},
        "giftPoints": {"to": {"id": "x"}, "points": 1},
        "claimBonus": {"bonus": "b"},
        "useVoucher": {"code": "c", "receipt": "r"},
    }
    variables = {"member": {"id": member}, "input": {**inputs[name], "idempotencyKey": new_key()}}

    nobody = await shop.ask(query, variables)
    till = await shop.ask(query, variables, token=await shop.till_token("wallet:read"))
    staff = await shop.ask(query, variables, token=await shop.staff_token("staff:adjust"))

    assert [codes(answered) for answered in (nobody, till, staff)] == [
        ["UNAUTHENTICATED"],
        ["FORBIDDEN"],
        ["FORBIDDEN"],
    ]
    assert await shop.posted() == before


async def test_a_member_sees_all_rewards_with_what_blocks_him(shop: Shop) -> None:
    member = await a_member(shop, 150)

    rewards = (await shop.phone(member, REWARDS, {"first": 3}))["me"]["rewards"]
    rest = await shop.phone(member, REWARDS, {"after": rewards["pageInfo"]["endCursor"]})
    affordable = await shop.phone(member, REWARDS, {"affordable": True})
    programme = data(await shop.ask("{ programme { rewards { id stockLeft blocked } } }"))

    assert rewards["nodes"] == [
        {"id": "coffee", "name": "Coffee", "kind": "FREE_ITEM", "cost": 120, "stockLeft": None, "blocked": None},
        {
            "id": "delivery",
            "name": "Free delivery",
            "kind": "FREE_SHIPPING",
            "cost": 200,
            "stockLeft": None,
            "blocked": None,
        },
        {
            "id": "five",
            "name": "$5 off",
            "kind": "VOUCHER",
            "cost": 500,
            "stockLeft": None,
            "blocked": "NOT_ENOUGH_POINTS",
        },
    ]
    assert rewards["pageInfo"]["hasNextPage"] is True
    assert [(one["id"], one["stockLeft"], one["blocked"]) for one in rest["me"]["rewards"]["nodes"]] == [
        ("tasting", 7, "TIER_TOO_LOW")
    ]
    assert [one["id"] for one in affordable["me"]["rewards"]["nodes"]] == ["coffee", "delivery"]
    assert {"id": "tasting", "stockLeft": 7, "blocked": None} in programme["programme"]["rewards"]


async def test_a_reward_is_redeemed_once_for_a_key_and_its_voucher_is_listed(shop: Shop) -> None:
    member, key = await a_member(shop, 400), new_key()

    first = await do(shop, member, "redeemReward", key, reward="coffee")
    again = await do(shop, member, "redeemReward", key, reward="coffee")
    other = await do(shop, member, "redeemReward", key, reward="five")
    unknown = await do(shop, member, "redeemReward", reward="yacht")
    poor = await do(shop, member, "redeemReward", reward="five")
    low = await do(shop, member, "redeemReward", reward="tasting")
    listed = (await shop.phone(member, VOUCHERS))["me"]["vouchers"]["nodes"]

    assert (first["entry"]["kind"], first["entry"]["points"]) == ("REDEEM", -120)
    assert first["member"]["wallet"]["points"]["available"] == 380
    assert first["voucher"]["status"] == "ACTIVE"
    assert first["entry"]["awards"]["vouchers"] == [{"id": first["voucher"]["id"], "status": "ACTIVE"}]
    assert (again["replayed"], again["voucher"]) == (True, first["voucher"])
    assert (other["__typename"], other["differs"]) == ("IdempotencyMismatch", ["reward"])
    assert (unknown["__typename"], unknown["what"]) == ("NotFound", "reward")
    assert (poor["__typename"], poor["available"], poor["required"]) == ("InsufficientBalance", "380", "500")
    assert (low["__typename"], low["reason"]) == ("NotEligible", "TIER_TOO_LOW")
    assert [one["code"] for one in listed] == [first["voucher"]["code"]]


async def test_a_key_is_answered_again_though_its_server_died_before_the_voucher_could_be_looked_up(shop: Shop) -> None:
    member, key = await a_member(shop, 400), new_key()
    store = shop.services.store
    before = await store.wallets.find_one({"_id": member})
    assert before is not None
    first = await do(shop, member, "redeemReward", key, reward="coffee")
    await store.vouchers.delete_one({"_id": first["voucher"]["id"]})
    await store.wallets.replace_one({"_id": member}, before)

    again = await do(shop, member, "redeemReward", key, reward="coffee")

    assert again["voucher"] == first["voucher"]
    assert again["replayed"]
    assert await store.vouchers.count_documents({"member": member}) == 1


async def test_a_code_is_crockford_and_is_taken_however_it_is_typed(shop: Shop) -> None:
    voucher = await bought(shop, await a_member(shop, 400))
    code = voucher["code"]
    plain = code.replace("-", "")
    typed = plain.lower().replace("0", "o").replace("1", "l")
    used = await use(shop, typed)

    assert [len(part) for part in code.split("-")] == [4, 4, 4]
    assert set(plain) <= set(ALPHABET)
    assert used["__typename"] == "VoucherUsed"


async def test_a_till_that_is_not_linked_uses_the_code_once(shop: Shop) -> None:
    member = await a_member(shop, 400)
    voucher, key = await bought(shop, member), new_key()
    token = await shop.till_token("vouchers:use", client_id=shop.other_till_id)

    looked = data(await shop.ask(LOOK, {"code": voucher["code"]}, token=token))["voucher"]
    used = await use(shop, voucher["code"], key=key)
    again = await use(shop, voucher["code"].lower().replace("-", ""), key=key)
    late = await use(shop, voucher["code"])
    cancelled = await do(shop, member, "cancelVoucher", voucher=voucher["id"])
    private = await shop.ask(
        document("useVoucher"),
        {"input": {"code": voucher["code"], "receipt": "R-1", "idempotencyKey": key}},
        token=token,
    )

    assert looked == {"id": voucher["id"], "name": "A coffee on us", "status": "ACTIVE"}
    assert (used["voucher"]["status"], used["replayed"]) == ("USED", False)
    assert used["voucher"]["usedAt"] is not None
    assert (again["voucher"]["status"], again["replayed"]) == ("USED", True)
    assert (late["__typename"], late["state"]) == ("WrongState", "USED")
    assert (cancelled["__typename"], cancelled["state"]) == ("WrongState", "USED")
    assert codes(private) == ["FORBIDDEN"]


async def test_five_wrong_codes_in_a_minute_slow_a_client_down_and_no_other(shop: Shop) -> None:
    voucher = await bought(shop, await a_member(shop, 400))
    key = new_key()
    await use(shop, voucher["code"], key=key)
    token = await shop.till_token("vouchers:use", client_id=shop.other_till_id)

    wrong = [await use(shop, "0000-0000-0000") for _ in range(4)]
    looked = data(await shop.ask(LOOK, {"code": "junk"}, token=token))
    slowed = await use(shop, voucher["code"])
    asked = await shop.ask(LOOK, {"code": voucher["code"]}, token=token)
    replayed = await use(shop, voucher["code"], key=key)
    other = await shop.till(LOOK, {"code": voucher["code"]}, scopes=("vouchers:use",))
    await shop.clock.move_to(shop.clock.now() + timedelta(seconds=61))
    later = await use(shop, voucher["code"])

    assert [answered["__typename"] for answered in wrong] == ["NotFound"] * 4
    assert looked == {"voucher": None}
    assert (slowed["__typename"], slowed["limit"], slowed["headroom"]) == ("LimitReached", "wrong_codes", "0")
    assert slowed["resetsAt"] is not None
    assert codes(asked) == ["LIMIT_REACHED"]
    assert 0 < asked["errors"][0]["extensions"]["retryAfterSeconds"] <= 60
    assert (replayed["__typename"], replayed["replayed"]) == ("VoucherUsed", True)
    assert other["voucher"]["status"] == "USED"
    assert later["__typename"] == "WrongState"


async def test_another_members_voucher_is_not_found(shop: Shop) -> None:
    member, other = await a_member(shop, 400), await a_member(shop, 400)
    voucher = await bought(shop, other)
    before = await shop.posted()

    cancelled = await do(shop, member, "cancelVoucher", voucher=voucher["id"])
    node = await shop.phone(member, "query($id: ID!) { node(id: $id) { id } }", {"id": voucher["id"]})
    own = await shop.phone(other, "query($id: ID!) { node(id: $id) { id __typename } }", {"id": voucher["id"]})
    paid = await shop.record(a_purchase(member, voucherCodes=[voucher["code"]]))

    assert (cancelled["__typename"], cancelled["what"]) == ("NotFound", "voucher")
    assert node == {"node": None}
    assert own["node"] == {"id": voucher["id"], "__typename": "Voucher"}
    assert (paid["__typename"], paid["what"]) == ("NotFound", "voucher")
    assert await shop.posted() == before


async def test_a_voucher_is_given_back_and_the_points_with_it(shop: Shop) -> None:
    member, key = await a_member(shop, 400), new_key()
    voucher = await bought(shop, member)

    cancelled = await do(shop, member, "cancelVoucher", key, voucher=voucher["id"])
    again = await do(shop, member, "cancelVoucher", key, voucher=voucher["id"])
    late = await do(shop, member, "cancelVoucher", voucher=voucher["id"])

    assert cancelled["voucher"]["status"] == "CANCELLED"
    assert cancelled["entry"]["points"] == 120
    assert voucher["id"].startswith(cancelled["entry"]["reverses"])
    assert cancelled["member"]["wallet"]["points"]["available"] == 500
    assert again["replayed"] is True
    assert (late["__typename"], late["state"]) == ("WrongState", "CANCELLED")


async def test_vouchers_are_listed_newest_first_by_their_status_at_the_instant(shop: Shop) -> None:
    member = await a_member(shop, 2_000)
    first = await bought(shop, member)
    await shop.clock.move_to(shop.clock.now() + timedelta(days=10))
    second, third = await bought(shop, member, "delivery"), await bought(shop, member, "five")
    await use(shop, third["code"])
    await shop.clock.move_to(shop.clock.now() + timedelta(days=25))

    page = (await shop.phone(member, VOUCHERS, {"first": 2}))["me"]["vouchers"]
    rest = await shop.phone(member, VOUCHERS, {"after": page["pageInfo"]["endCursor"]})
    by_status = {
        status: [
            one["id"] for one in (await shop.phone(member, VOUCHERS, {"status": status}))["me"]["vouchers"]["nodes"]
        ]
        for status in ("ACTIVE", "USED", "EXPIRED", "CANCELLED")
    }

    assert [one["id"] for one in page["nodes"]] == [third["id"], second["id"]]
    assert [one["status"] for one in page["nodes"]] == ["USED", "ACTIVE"]
    assert [(one["id"], one["status"]) for one in rest["me"]["vouchers"]["nodes"]] == [(first["id"], "EXPIRED")]
    assert by_status == {"ACTIVE": [second["id"]], "USED": [third["id"]], "EXPIRED": [first["id"]], "CANCELLED": []}


async def test_a_purchase_takes_codes_and_its_preview_says_what_is_wrong(shop: Shop) -> None:
    member = await a_member(shop, 2_000)
    five, coffee = await bought(shop, member, "five"), await bought(shop, member)
    preview = (
        "query($input: PurchaseInput!) { previewPurchase(input: $input)"
        " { __typename ... on PurchasePreview { points } ... on InvalidInput { fields { path } } } }"
    )

    twice = await shop.record(a_purchase(member, voucherCodes=[coffee["code"], coffee["code"].lower()]))
    many = await shop.record(a_purchase(member, voucherCodes=["x"] * 21))
    small = await shop.record(a_purchase(member, "14.99", voucherCodes=[five["code"]]))
    previewed = await shop.till(preview, {"input": a_purchase(member, "14.99", voucherCodes=[five["code"]])})
    allowed = await shop.till(preview, {"input": a_purchase(member, "15.00", voucherCodes=[five["code"]])})
    done = await shop.record(a_purchase(member, "15.00", voucherCodes=[five["code"], coffee["code"].replace("-", "")]))
    again = await shop.record(a_purchase(member, "15.00", voucherCodes=[coffee["code"]]))

    assert [field["path"] for field in twice["fields"]] == ["voucherCodes.1"]
    assert [field["path"] for field in many["fields"]] == ["voucherCodes"]
    assert small["__typename"] == "NotEligible"
    assert previewed["previewPurchase"] == {"__typename": "InvalidInput", "fields": [{"path": "voucherCodes"}]}
    assert allowed["previewPurchase"]["__typename"] == "PurchasePreview"
    assert done["__typename"] == "PurchaseRecorded"
    assert again["__typename"] == "WrongState"


async def test_a_minimum_is_of_what_was_bought_before_all_its_vouchers(shop: Shop) -> None:
    member = await a_member(shop, 2_000)
    codes_of_five = [(await bought(shop, member, "five"))["code"] for _ in range(2)]
    await shop.record(a_purchase(member, "100.00"))
    listed = await shop.phone(member, "{ me { vouchers { nodes { code discount { percent } } } } }")
    (fifth,) = (each["code"] for each in listed["me"]["vouchers"]["nodes"] if each["discount"]["percent"] == "20")

    too_little = await shop.record(a_purchase(member, "5.99", voucherCodes=[*codes_of_five, fifth]))
    enough = await shop.record(a_purchase(member, "6.00", voucherCodes=[*codes_of_five, fifth]))

    assert (too_little["__typename"], enough["__typename"]) == ("NotEligible", "PurchaseRecorded")


async def test_a_purchase_shows_the_voucher_that_it_awarded(shop: Shop) -> None:
    member = await a_member(shop)

    recorded = await shop.record(a_purchase(member, "100.00"))
    asked = await shop.phone(
        member,
        "query($id: ID!) { me { wallet { entry(id: $id) { awards { vouchers { name status discount { percent } } }"
        " } } } }",
        {"id": recorded["entry"]["id"]},
    )

    assert asked["me"]["wallet"]["entry"]["awards"]["vouchers"] == [
        {"name": "20 % off your next shop", "status": "ACTIVE", "discount": {"percent": "20"}}
    ]


async def test_a_till_redeems_for_a_member_who_is_there_and_for_no_other(shop: Shop) -> None:
    member = await a_member(shop, 400)

    async def redeem(by: dict[str, str], key: str, *, client_id: str | None = None) -> dict[str, Any]:
        token = await shop.till_token("points:spend", client_id=client_id)
        variables = {"member": by, "input": {"reward": "coffee", "idempotencyKey": key}}
        answered: dict[str, Any] = data(await shop.ask(REDEEM_FOR, variables, token=token))["redeemRewardFor"]
        return answered

    key = new_key()
    absent = await redeem({"id": member}, key)
    stranger = await redeem({"id": member}, new_key(), client_id=shop.other_till_id)
    code = (await shop.phone(member, "{ me { code { digits } } }"))["me"]["code"]["digits"]
    there = await redeem({"code": code}, key)
    await shop.clock.move_to(shop.clock.now() + timedelta(minutes=16))
    again = await redeem({"code": code}, key)
    gone = await redeem({"id": member}, new_key())

    assert (absent["__typename"], absent["reason"]) == ("NotEligible", "PRESENCE_NEEDED")
    assert (stranger["__typename"], stranger["what"]) == ("NotFound", "member")
    assert (there["__typename"], there["replayed"]) == ("RewardRedeemed", False)
    assert (again["__typename"], again["replayed"]) == ("RewardRedeemed", True)
    assert (gone["__typename"], gone["reason"]) == ("NotEligible", "PRESENCE_NEEDED")
    assert await available(shop, member) == 380
