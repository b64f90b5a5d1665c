"""Feedback: always kept, rewarded as far as the programme goes, and the same for two taps."""

import asyncio
from typing import Any

import pytest

from tests.api.shop import Shop, a_purchase, codes

SUBMIT = """
mutation($rating: Int!, $text: String, $entry: ID) {
  submitFeedback(rating: $rating, text: $text, entry: $entry) { id }
}
"""
WALLET = "{ me { wallet { points { available } activity(first: 1) { nodes { kind points explanation { rule } } } } } }"
REWARDED = {"kind": "ACTIVITY", "points": 5, "explanation": [{"rule": "review"}]}


async def submit(shop: Shop, member: str, rating: int = 5, **changes: Any) -> str:
    taken: str = (await shop.phone(member, SUBMIT, {"rating": rating, **changes}))["submitFeedback"]["id"]
    return taken


async def wallet(shop: Shop, member: str) -> tuple[int, dict[str, Any]]:
    """The points, and the newest entry."""
    found = (await shop.phone(member, WALLET))["me"]["wallet"]
    return found["points"]["available"], found["activity"]["nodes"][0]


async def kept(shop: Shop, member: str) -> list[dict[str, Any]]:
    return await shop.services.store.feedback.find({"member": member}).sort("at").to_list()


async def test_only_a_members_own_session_may_tell(shop: Shop) -> None:
    await shop.enrol()

    for token in (await shop.till_token(), await shop.staff_token("staff:adjust")):
        assert codes(await shop.ask(SUBMIT, {"rating": 5}, token=token)) == ["FORBIDDEN"]
    assert await shop.services.store.feedback.count_documents({}) == 0


async def test_feedback_is_kept_and_rewarded(shop: Shop) -> None:
    member = await shop.enrol()
    bought = (await shop.record(a_purchase(member)))["entry"]["id"]

    identifier = await submit(shop, member, 4, text="  Warm bread!\nThank you. ", entry=bought)

    (stored,) = await kept(shop, member)
    del stored["at"]
    assert stored == {
        "_id": identifier,
        "member": member,
        "rating": 4,
        "text": "Warm bread!\nThank you.",
        "entry": bought,
    }
    assert await wallet(shop, member) == (115, REWARDED)


async def test_two_taps_are_one_feedback_and_the_last_words_count(shop: Shop) -> None:
    member = await shop.enrol()

    taps = await asyncio.gather(*(submit(shop, member, 4, text="Good") for _ in range(2)))
    corrected = await submit(shop, member, 3)

    assert {*taps} == {corrected}
    assert [(each["rating"], each.get("text")) for each in await kept(shop, member)] == [(3, None)]
    assert await wallet(shop, member) == (105, REWARDED)


async def test_beyond_the_limit_it_is_kept_and_nothing_is_posted_until_the_next_week(shop: Shop) -> None:
    member = await shop.enrol()
    bought = (await shop.record(a_purchase(member)))["entry"]["id"]
    await submit(shop, member)

    await submit(shop, member, entry=bought)
    in_the_same_week = await wallet(shop, member)
    await shop.advance("2026-07-13T12:00:00Z")
    await submit(shop, member)

    assert in_the_same_week == (115, REWARDED)
    assert len(await kept(shop, member)) == 3
    assert await wallet(shop, member) == (120, REWARDED)


@pytest.mark.parametrize("changes", [{"rating": 0}, {"rating": 6}, {"text": "x" * 2_001}, {"entry": "nobody.1"}])
async def test_what_cannot_be_taken_is_refused_and_nothing_is_kept(shop: Shop, changes: dict[str, Any]) -> None:
    member = await shop.enrol()
    before = await shop.posted()

    refused = await shop.ask(SUBMIT, {"rating": 5, **changes}, token=await shop.member_token(member))

    assert codes(refused) == ["BAD_USER_INPUT"]
    assert await kept(shop, member) == []
    assert await shop.posted() == before


async def test_nobody_speaks_of_anothers_entry(shop: Shop) -> None:
    member, other = await shop.enrol(), await shop.enrol()
    bought = (await shop.record(a_purchase(other)))["entry"]["id"]

    refused = await shop.ask(SUBMIT, {"rating": 1, "entry": bought}, token=await shop.member_token(member))

    assert codes(refused) == ["BAD_USER_INPUT"]
    assert await kept(shop, member) == []


async def test_the_words_are_not_in_the_journal(shop: Shop) -> None:
    member = await shop.enrol()

    await submit(shop, member, text="Zdravko was kind")

    async for document in shop.services.store.journal.find({"member": member}):
        assert "Zdravko" not in str(document)
