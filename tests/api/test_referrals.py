"""Referrals over HTTP: the code, the friend who brings it, and the clock that brings the awards (SEMANTICS §9.3)."""

from typing import Any

from tests.api.shop import ENROL, Shop, a_purchase, data, new_key

REFERRAL = "{ me { referral { code invited rewarded } wallet { points { available } } } }"
ENTRIES = """
{ me { wallet { activity(first: 5, kinds: [REFERRAL]) { nodes {
  kind title points occurredAt explanation { rule text points }
} } } } }
"""
SIGN_IN = """
mutation($subject: String!, $profile: ProfileInput) { sandboxSignIn(subject: $subject, profile: $profile) {
  __typename
  ... on Session { isNew member { id } }
  ... on InvalidInput { code fields { path message } }
} }
"""
AFTER_RETURNS = "2026-07-20T04:00:01Z"


async def referral(shop: Shop, member: str) -> dict[str, Any]:
    """The member's own referral, with the points that he has."""
    me = (await shop.phone(member, REFERRAL))["me"]
    return {**me["referral"], "points": me["wallet"]["points"]["available"]}


async def code_of(shop: Shop, member: str) -> str:
    code: str = (await referral(shop, member))["code"]
    return code


async def enrolment(shop: Shop, wanted: dict[str, Any]) -> dict[str, Any]:
    answered: dict[str, Any] = (await shop.till(ENROL, {"input": wanted}))["enrolMember"]
    return answered


def with_code(code: str, **more: Any) -> dict[str, Any]:
    return {"reference": new_key(), "profile": {"referralCode": code}, "idempotencyKey": new_key(), **more}


async def test_a_friend_who_buys_and_keeps_it_brings_both_their_award(shop: Shop) -> None:
    ana = await shop.enrol()
    code = await code_of(shop, ana)
    friend = await shop.enrol(referralCode=code)
    invited = await referral(shop, ana)
    await shop.record(a_purchase(friend, "20.00"))

    await shop.advance("2026-07-20T03:59:59Z")
    waiting = (await referral(shop, ana), await referral(shop, friend))
    moved = await shop.advance(AFTER_RETURNS)

    assert invited == {"code": code, "invited": 1, "rewarded": 0, "points": 100}
    assert (waiting[0]["points"], waiting[1]["points"]) == (100, 120)
    assert moved["done"] == 2
    assert await referral(shop, ana) == {"code": code, "invited": 1, "rewarded": 1, "points": 300}
    assert (await referral(shop, friend))["points"] == 220
    entries = (await shop.phone(friend, ENTRIES, language="sl"))["me"]["wallet"]["activity"]["nodes"]
    assert entries == [
        {
            "kind": "REFERRAL",
            "title": "Priporočilo",
            "points": 100,
            "occurredAt": "2026-07-20T04:00:00Z",
            "explanation": [{"rule": "referral", "text": "Priporočilo", "points": 100}],
        }
    ]


async def test_a_purchase_that_is_returned_in_time_earns_nobody_anything(shop: Shop) -> None:
    ana = await shop.enrol()
    friend = await shop.enrol(referralCode=await code_of(shop, ana))
    bought = await shop.record(a_purchase(friend, "20.00"))
    returned = await shop.give_back({"purchase": bought["entry"]["id"], "amount": "0.01", "idempotencyKey": new_key()})

    await shop.advance("2026-09-01T00:00:00Z")

    assert returned["__typename"] == "PurchaseReturned"
    assert (await referral(shop, ana))["rewarded"] == 0
    assert (await referral(shop, ana))["points"] == 100


async def test_the_clock_brings_the_award_of_a_purchase_within_one_long_move(shop: Shop) -> None:
    ana = await shop.enrol()
    code = await code_of(shop, ana)
    friends = [await shop.enrol(referralCode=code) for _ in range(3)]
    for friend in friends:
        await shop.record(a_purchase(friend, "25.00"))

    await shop.advance("2026-12-01T00:00:00Z")

    found = await referral(shop, ana)
    assert (found["invited"], found["rewarded"], found["points"]) == (3, 3, 700)


async def test_a_code_that_is_nobodys_is_told_where_it_was_given_and_nobody_is_made(shop: Shop) -> None:
    before = await shop.services.store.members.count_documents({})

    refused = await enrolment(shop, with_code("2222-2222"))
    signed_in = data(await shop.ask(SIGN_IN, {"subject": "bor", "profile": {"referralCode": "2222-2222"}}))

    message = "There is no such referral code. Leave it out to join without one."
    assert refused["__typename"] == signed_in["sandboxSignIn"]["__typename"] == "InvalidInput"
    assert refused["fields"] == [{"path": "profile.referralCode", "message": message}]
    assert signed_in["sandboxSignIn"]["fields"] == refused["fields"]
    assert await shop.services.store.members.count_documents({}) == before


async def test_who_signs_in_for_the_first_time_may_bring_a_code_and_later_no_other(shop: Shop) -> None:
    ana, other = await shop.enrol(), await shop.enrol()
    code = await code_of(shop, ana)

    first = data(await shop.ask(SIGN_IN, {"subject": "bor", "profile": {"referralCode": code.lower()}}))
    again = data(await shop.ask(SIGN_IN, {"subject": "bor", "profile": {"referralCode": code}}))
    second = data(await shop.ask(SIGN_IN, {"subject": "bor", "profile": {"referralCode": await code_of(shop, other)}}))

    bor = first["sandboxSignIn"]["member"]["id"]
    own = data(await shop.ask(SIGN_IN, {"subject": "bor", "profile": {"referralCode": await code_of(shop, bor)}}))
    assert (first["sandboxSignIn"]["isNew"], again["sandboxSignIn"]["isNew"]) == (True, False)
    assert again["sandboxSignIn"]["member"]["id"] == bor
    (field,) = second["sandboxSignIn"]["fields"]
    assert field["path"] == "profile.referralCode"
    assert "counts only on joining" in field["message"]
    assert "own code" in own["sandboxSignIn"]["fields"][0]["message"]
    assert (await referral(shop, ana))["invited"] == 1
    assert (await referral(shop, other))["invited"] == 0


async def test_an_enrolment_with_a_code_is_replayed_and_its_key_is_not_used_for_another_code(shop: Shop) -> None:
    ana = await shop.enrol()
    wanted = with_code(await code_of(shop, ana))
    first = await enrolment(shop, wanted)

    again = await enrolment(shop, wanted)
    reused = await enrolment(shop, {**wanted, "profile": {"referralCode": "2222-2222"}})

    assert (first["replayed"], again["replayed"], again["isNew"]) == (False, True, True)
    assert again["member"]["id"] == first["member"]["id"]
    assert (reused["__typename"], reused["differs"]) == ("IdempotencyMismatch", ["profile.referralCode"])
    assert (await referral(shop, ana))["invited"] == 1
