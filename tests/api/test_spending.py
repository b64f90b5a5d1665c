"""Conversions, donations, gifts and bonuses over HTTP: replays, mismatches, and whose they are."""

from datetime import timedelta
from typing import Any

from tests.api.shop import Shop, new_key
from tests.api.spending import do


async def a_member(shop: Shop, points: int = 400) -> str:
    member = await shop.enrol()
    await shop.adjust({"member": member, "points": points, "reason": "Test", "idempotencyKey": new_key()})
    return member


async def me(shop: Shop, member: str, fields: str) -> dict[str, Any]:
    found: dict[str, Any] = (await shop.phone(member, f"{{ me {{ {fields} }} }}"))["me"]
    return found


async def test_points_are_converted_in_whole_steps(shop: Shop) -> None:
    member, key = await a_member(shop), new_key()

    done = await do(shop, member, "convertPoints", key, points=300)
    again = await do(shop, member, "convertPoints", key, points=300)
    other = await do(shop, member, "convertPoints", key, points=200)
    half = await do(shop, member, "convertPoints", points=150)
    much = await do(shop, member, "convertPoints", points=300)

    assert done["cashback"] == {"amount": "3.00", "currency": "USD"}
    assert done["member"]["wallet"]["points"]["available"] == 200
    assert done["member"]["wallet"]["cashback"] == [{"available": {"amount": "3.00"}}]
    assert (again["replayed"], again["cashback"]) == (True, done["cashback"])
    assert (other["__typename"], other["differs"]) == ("IdempotencyMismatch", ["points"])
    assert [field["path"] for field in half["fields"]] == ["points"]
    assert (much["__typename"], much["available"], much["required"]) == ("InsufficientBalance", "200", "300")


async def test_a_donation_is_of_points_or_of_cashback(shop: Shop) -> None:
    member, key = await a_member(shop), new_key()
    await do(shop, member, "convertPoints", points=100)
    one = {"amount": "0.40", "currency": "USD"}

    points = await do(shop, member, "donate", key, charity="shelter", points=50)
    again = await do(shop, member, "donate", key, charity="shelter", points=50)
    cashback = await do(shop, member, "donate", charity="food-bank", cashback=one)
    both = await do(shop, member, "donate", charity="shelter", points=50, cashback=one)
    neither = await do(shop, member, "donate", charity="shelter")
    nobody = await do(shop, member, "donate", charity="nobody", points=1)
    poor = await do(shop, member, "donate", charity="shelter", cashback={"amount": "9.00", "currency": "USD"})

    assert (points["charity"], points["member"]["wallet"]["points"]["available"]) == ("shelter", 350)
    assert again["replayed"] is True
    assert cashback["member"]["wallet"]["cashback"] == [{"available": {"amount": "0.60"}}]
    assert both["__typename"] == neither["__typename"] == "InvalidInput"
    assert (nobody["__typename"], nobody["what"]) == ("NotFound", "charity")
    assert (poor["__typename"], poor["asset"], poor["required"]) == ("InsufficientBalance", "cashback/USD", "9.00")


async def test_a_gift_goes_by_id_or_by_the_code_on_the_others_screen(shop: Shop) -> None:
    sender, receiver, key = await a_member(shop), await shop.enrol(), new_key()
    code = (await me(shop, receiver, "code { digits payload }"))["code"]

    sent = await do(shop, sender, "giftPoints", key, to={"id": receiver}, points=50, message="Enjoy")
    again = await do(shop, sender, "giftPoints", key, to={"id": receiver}, points=50, message="Enjoy")
    shown = await do(shop, sender, "giftPoints", to={"code": code["digits"]}, points=50)
    other = await do(shop, sender, "giftPoints", key, to={"id": receiver}, points=51, message="Enjoy")
    received = await me(
        shop, receiver, "wallet { points { available } activity(first: 2) { nodes { kind points message } } }"
    )

    assert (sent["entry"]["kind"], sent["entry"]["points"], sent["entry"]["message"]) == ("GIFT_SENT", -50, "Enjoy")
    assert (again["replayed"], shown["__typename"]) == (True, "PointsGifted")
    assert shown["member"]["wallet"]["points"]["available"] == 400
    assert (other["__typename"], other["differs"]) == ("IdempotencyMismatch", ["points"])
    assert received["wallet"]["points"]["available"] == 200
    assert received["wallet"]["activity"]["nodes"] == [
        {"kind": "GIFT_RECEIVED", "points": 50, "message": None},
        {"kind": "GIFT_RECEIVED", "points": 50, "message": "Enjoy"},
    ]


async def test_a_gift_to_nobody_to_oneself_and_beyond_the_limit(shop: Shop) -> None:
    sender, receiver = await a_member(shop, 900), await shop.enrol("known-to-the-till")
    before = await shop.posted()

    unknown = await do(shop, sender, "giftPoints", to={"id": "nobody"}, points=5)
    wrong = await do(shop, sender, "giftPoints", to={"code": "00000000"}, points=5)
    named = await do(shop, sender, "giftPoints", to={"reference": "known-to-the-till"}, points=5)
    nothing = await do(shop, sender, "giftPoints", to={"id": receiver}, points=-5)
    oneself = await do(shop, sender, "giftPoints", to={"id": sender}, points=5)
    much = await do(shop, sender, "giftPoints", to={"id": receiver}, points=501)

    assert [answer["__typename"] for answer in (unknown, wrong, named)] == ["NotFound"] * 3
    assert nothing["__typename"] == "InvalidInput"
    assert (oneself["__typename"], oneself["reason"]) == ("NotEligible", "ONESELF")
    assert (much["__typename"], much["limit"], much["headroom"]) == ("LimitReached", "gift_per_day", "500")
    assert await shop.posted() - before == 1


async def test_a_bonus_grows_until_it_is_claimed(shop: Shop) -> None:
    member, other = await a_member(shop), await a_member(shop)
    fields = "wallet { bonuses { id definition worthNow { amount } grows { at worth { amount } } expiresAt } }"

    (bonus,) = (await me(shop, member, fields))["wallet"]["bonuses"]
    await shop.clock.move_to(shop.clock.now() + timedelta(days=31))
    (grown,) = (await me(shop, member, fields))["wallet"]["bonuses"]
    stranger = await do(shop, other, "claimBonus", bonus=bonus["id"])
    key = new_key()
    claimed = await do(shop, member, "claimBonus", key, bonus=bonus["id"])
    again = await do(shop, member, "claimBonus", key, bonus=bonus["id"])
    late = await do(shop, member, "claimBonus", bonus=bonus["id"])
    await shop.clock.move_to(shop.clock.now() + timedelta(days=70))
    gone = await me(shop, other, fields)

    assert bonus == {
        "id": bonus["id"],
        "definition": "growing-ten",
        "worthNow": {"amount": "10.00"},
        "grows": [
            {"at": "2026-08-05T04:00:00Z", "worth": {"amount": "12.00"}},
            {"at": "2026-09-04T04:00:00Z", "worth": {"amount": "15.00"}},
        ],
        "expiresAt": "2026-10-05T04:00:00Z",
    }
    assert grown["worthNow"] == {"amount": "12.00"}
    assert (stranger["__typename"], stranger["what"]) == ("NotFound", "bonus")
    assert claimed["amount"] == {"amount": "12.00", "currency": "USD"}
    assert claimed["member"]["wallet"]["bonuses"] == []
    assert again["replayed"] is True
    assert (late["__typename"], late["state"]) == ("WrongState", "CLAIMED")
    assert gone["wallet"]["bonuses"] == []
