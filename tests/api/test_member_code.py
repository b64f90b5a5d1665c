"""The code at the till: whom it finds, for whom, for how long (SEMANTICS §9.2)."""

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from domain.members.presence import MOST_WRONG
from tests.api.shop import RECORD, TILL_SCOPES, Shop, a_purchase, codes, data, new_key

STEP = datetime(2026, 7, 6, 9, 0, tzinfo=UTC)
CODE = "{ me { id code { payload digits expiresAt } } }"
BY_CODE = "query($code: String!) { member(by: {code: $code}) { id } }"
BY_ID = "query($id: ID!) { member(by: {id: $id}) { id } }"


async def shown(shop: Shop, member: str) -> dict[str, Any]:
    code: dict[str, Any] = (await shop.phone(member, CODE))["me"]["code"]
    return code


async def stranger(shop: Shop) -> str:
    """A member whom neither till knows."""
    member = await shop.enrol()
    await shop.services.store.members.update_one({"_id": member}, {"$set": {"linked": []}})
    return member


async def found(shop: Shop, code: str, *, till: str | None = None) -> str | None:
    token = await shop.till_token(client_id=till)
    member = data(await shop.ask(BY_CODE, {"code": code}, token=token))["member"]
    return None if member is None else str(member["id"])


async def until(shop: Shop, seconds: float) -> None:
    """Moves the clock to that many seconds after a step began; half a second may pass on the way."""
    await shop.clock.move_to(STEP + timedelta(seconds=seconds))


async def test_only_the_members_own_session_gets_the_code(shop: Shop) -> None:
    member = await shop.enrol()
    asked = "query($id: ID!) { member(by: {id: $id}) { code { digits } } }"

    refused = await shop.ask(asked, {"id": member}, token=await shop.till_token())
    of_staff = await shop.ask(asked, {"id": member}, token=await shop.staff_token("staff:members"))

    assert codes(refused) == ["FORBIDDEN"]
    assert codes(of_staff) == ["FORBIDDEN"]
    assert await shop.services.store.codes.count_documents({}) == 0


async def test_a_code_is_new_after_thirty_seconds_and_not_before(shop: Shop) -> None:
    member = await shop.enrol()

    await until(shop, 0)
    first = await shown(shop, member)
    await until(shop, 29)
    still = await shown(shop, member)
    await until(shop, 30)
    second = await shown(shop, member)

    assert first == still
    assert first["expiresAt"] == "2026-07-06T09:01:30Z"
    assert second["digits"] != first["digits"]
    assert second["payload"] != first["payload"]
    assert len(first["digits"]) == 8
    assert first["digits"].isdecimal()


@pytest.mark.parametrize("form", ["digits", "payload"])
async def test_a_code_is_accepted_for_its_step_and_the_two_after_it(shop: Shop, form: str) -> None:
    member = await stranger(shop)
    await until(shop, 0)
    code = (await shown(shop, member))[form]

    await until(shop, 89)
    at_89 = await found(shop, code)
    await until(shop, 90)
    at_90 = await found(shop, code)

    assert at_89 == member
    assert at_90 is None


async def test_digits_may_be_typed_with_gaps(shop: Shop) -> None:
    member = await stranger(shop)
    digits = (await shown(shop, member))["digits"]

    assert await found(shop, f"{digits[:4]} {digits[4:]}") == member


async def test_a_code_belongs_to_the_first_partner_that_shows_it(shop: Shop) -> None:
    member = await stranger(shop)
    code = await shown(shop, member)

    first = await found(shop, code["payload"])
    other = [await found(shop, code[form], till=shop.other_till_id) for form in ("payload", "digits")]
    again = await found(shop, code["digits"])

    assert (first, other, again) == (member, [None, None], member)


async def test_showing_the_code_links_the_partner_and_no_other(shop: Shop) -> None:
    member = await stranger(shop)
    before = await shop.till(BY_ID, {"id": member})

    await found(shop, (await shown(shop, member))["digits"])

    assert before == {"member": None}
    assert await shop.till(BY_ID, {"id": member}) == {"member": {"id": member}}
    assert await shop.other_till(BY_ID, {"id": member}) == {"member": None}


async def test_two_tills_at_once_with_one_code_are_one_and_nobody(shop: Shop) -> None:
    member = await stranger(shop)
    code = (await shown(shop, member))["payload"]

    tills = [shop.till_id, shop.other_till_id] * 5
    answers = await asyncio.gather(*(found(shop, code, till=till) for till in tills))

    owners = {till for till, answer in zip(tills, answers, strict=True) if answer == member}
    assert len(owners) == 1
    assert sum(answer == member for answer in answers) == 5


async def test_a_code_is_for_partners(shop: Shop) -> None:
    member = await stranger(shop)
    code = (await shown(shop, member))["digits"]

    of_staff = await shop.staff(BY_CODE, {"code": code}, scopes=("staff:members",))

    assert of_staff == {"member": None}
    assert await found(shop, code) == member


async def test_a_delegated_token_finds_nobody_else_by_code_and_spoils_it_for_nobody(shop: Shop) -> None:
    member, other = await stranger(shop), await stranger(shop)
    code = (await shown(shop, other))["digits"]
    issued = await shop.services.tokens.issue_partner_token(
        shop.till_id, TILL_SCOPES, shop.clock.now(), member_id=member
    )

    answered = data(await shop.ask(BY_CODE, {"code": code}, token=issued.text))

    assert answered == {"member": None}
    assert await found(shop, code, till=shop.other_till_id) == other


async def test_a_forged_picture_finds_nobody(shop: Shop) -> None:
    member = await stranger(shop)
    payload = (await shown(shop, member))["payload"]
    head, _, mac = payload.rpartition(".")

    forged = f"{head}.{'A' * len(mac)}"

    assert [await found(shop, text) for text in (forged, head, "", "1234567", "x" * 5_000)] == [None] * 5
    assert await found(shop, payload) == member


async def test_an_expired_code_still_finds_the_outcome_of_its_key(shop: Shop) -> None:
    member = await stranger(shop)
    code = (await shown(shop, member))["payload"]
    purchase = a_purchase(member) | {"member": {"code": code}}
    first = await shop.record(purchase)

    await shop.clock.move_to(shop.clock.now() + timedelta(minutes=10))
    again = await shop.record(purchase)
    anew = await shop.record(purchase | {"idempotencyKey": new_key()})
    changed = await shop.record(purchase | {"receipt": "another"})

    assert first["__typename"] == "PurchaseRecorded"
    assert again == {**first, "replayed": True}
    assert (anew["__typename"], anew["what"]) == ("NotFound", "member")
    assert (changed["__typename"], changed["differs"]) == ("IdempotencyMismatch", ["receipt"])


async def test_many_purchases_at_once_find_their_members_by_code(shop: Shop) -> None:
    members = [await stranger(shop) for _ in range(3)]
    digits = [(await shown(shop, member))["digits"] for member in members]
    wanted = [a_purchase("") | {"member": {"code": code}} for code in (*digits, digits[0], "00000000")]
    record = RECORD.replace("$input: PurchaseInput!", "$inputs: [PurchaseInput!]!").replace(
        "recordPurchase(input: $input)", "recordPurchases(inputs: $inputs)"
    )

    answers = (await shop.till(record, {"inputs": wanted}))["recordPurchases"]

    assert [answer.get("member", {}).get("id") for answer in answers] == [*members, members[0], None]


async def test_who_guesses_digits_is_slowed_for_a_minute_and_nobody_else_is(shop: Shop) -> None:
    member, other = await stranger(shop), await stranger(shop)
    await until(shop, 0)
    code, theirs = await shown(shop, member), await shown(shop, other)
    taken = {code["digits"], theirs["digits"]}
    wrong = [digits for number in range(MOST_WRONG + 2) if (digits := f"{number:08}") not in taken][:MOST_WRONG]

    for digits in wrong:
        assert await found(shop, digits) is None
    slowed = await found(shop, code["digits"])
    by_picture = await found(shop, code["payload"])
    elsewhere = await found(shop, theirs["digits"], till=shop.other_till_id)
    await until(shop, 61)
    later = await found(shop, (await shown(shop, member))["digits"])

    assert (slowed, by_picture, elsewhere, later) == (None, member, other, member)


async def test_an_expired_code_is_no_guess(shop: Shop) -> None:
    member = await stranger(shop)
    await until(shop, 0)
    old = (await shown(shop, member))["digits"]
    await until(shop, 120)

    for _ in range(MOST_WRONG + 1):
        assert await found(shop, old) is None

    assert await found(shop, (await shown(shop, member))["digits"]) == member


async def test_digits_that_are_somebody_elses_at_this_moment_are_drawn_again(shop: Shop) -> None:
    member, other = await stranger(shop), await stranger(shop)
    await until(shop, 0)
    drawn = (await shown(shop, member))["digits"]
    await shop.services.store.codes.update_one({"_id": drawn}, {"$set": {"member": other}})

    anew = (await shown(shop, member))["digits"]

    assert anew != drawn
    assert [await found(shop, digits) for digits in (drawn, anew)] == [other, member]
