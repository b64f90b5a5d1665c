"""Segments: who a member is now, for staff to see and for rules to go by; and the tags that staff set."""

from typing import Any

from domain.programme.published import Published, publish
from tests.api.shop import PROGRAMME, Shop, a_purchase, codes

SEGMENTS = "query($id: ID!) { member(by: {id: $id}) { segments } }"
TAG = """
mutation($member: ID!, $tags: [String!]!) { setMemberTags(member: $member, tags: $tags) {
  __typename
  ... on MemberTagged { member { id segments } }
  ... on InvalidInput { fields { path } }
  ... on NotFound { what }
} }
"""
SCOPES = ("staff:members",)


async def segments(shop: Shop, member: str) -> list[str]:
    found: list[str] = (await shop.staff(SEGMENTS, {"id": member}, scopes=SCOPES))["member"]["segments"]
    return found


async def tag(shop: Shop, member: str, *tags: str) -> dict[str, Any]:
    answered: dict[str, Any] = (await shop.staff(TAG, {"member": member, "tags": tags}, scopes=SCOPES))["setMemberTags"]
    return answered


async def test_a_partner_sees_no_segments_and_sets_no_tags(shop: Shop) -> None:
    member = await shop.enrol()
    till = await shop.till_token()

    seen = await shop.ask(SEGMENTS, {"id": member}, token=till)
    tagged = await shop.ask(TAG, {"member": member, "tags": ["bakery"]}, token=till)

    assert {*codes(seen), *codes(tagged)} == {"FORBIDDEN"}
    assert await segments(shop, member) == ["newcomers"]


async def test_segments_are_those_of_the_instant_of_reading(shop: Shop) -> None:
    member = await shop.enrol()
    await shop.record(a_purchase(member, "10.00"))
    first_day = await segments(shop, member)

    await shop.advance("2026-07-27T12:00:00Z")
    after_21_days = await segments(shop, member)
    await shop.advance("2026-08-05T12:00:00Z")
    after_30_days = await segments(shop, member)
    await shop.record(a_purchase(member, "10.00"))

    assert first_day == ["newcomers"]
    assert after_21_days == ["newcomers", "lapsed"]
    assert after_30_days == ["lapsed"]
    assert await segments(shop, member) == []


async def test_staff_set_tags_as_a_whole_and_segments_follow(shop: Shop) -> None:
    member = await shop.enrol()

    tagged = await tag(shop, member, "bakery", "vegan", "bakery")
    stored = await shop.services.store.members.find_one({"_id": member})
    untagged = await tag(shop, member)

    assert tagged["member"]["segments"] == ["newcomers", "bakers"]
    assert stored is not None
    assert stored["tags"] == ["bakery", "vegan"]
    assert untagged["member"]["segments"] == ["newcomers"]


async def test_tags_that_cannot_be_are_named_and_nothing_is_set(shop: Shop) -> None:
    member = await shop.enrol()

    refused = await tag(shop, member, "bakery", "No Good")
    many = await tag(shop, member, *(f"tag-{number}" for number in range(51)))
    nobody = await tag(shop, "nobody", "bakery")

    assert refused == {"__typename": "InvalidInput", "fields": [{"path": "tags.1"}]}
    assert many == {"__typename": "InvalidInput", "fields": [{"path": "tags"}]}
    assert nobody == {"__typename": "NotFound", "what": "member"}
    assert await segments(shop, member) == ["newcomers"]


async def test_rules_go_by_segments_and_tags(shop: Shop) -> None:
    old = 'multiply: {points: "2"}, valid: {from: 2017-06-01, until: 2017-09-01}}'
    rule = '  - {id: bakers-day, event: purchase, when: \'"bakers" in member.segments\', multiply: {points: "3"}}'
    source = PROGRAMME.read_text(encoding="utf-8")
    assert source.count(old) == 1
    services = shop.services
    changed = source.replace(old, f"{old}\n{rule}")
    published = await publish(services.store, changed, expected_version=1, now=services.clock.now())
    assert isinstance(published, Published), published
    await services.programmes.refresh()
    baker, other = await shop.enrol(), await shop.enrol()
    await tag(shop, baker, "bakery")

    bought = [await shop.record(a_purchase(member, "10.00")) for member in (baker, other)]

    assert [each["entry"]["points"] for each in bought] == [30, 10]
