"""`updateProfile`: what is sent changes, what is not stays."""

from typing import Any

import pytest

from tests.api.shop import Shop, codes

UPDATE = """
mutation($input: ProfileInput!) { updateProfile(input: $input) {
  __typename
  ... on ProfileUpdated { member { id profile { displayName email phone birthday locale timeZone } } }
  ... on Problem { code message }
  ... on InvalidInput { fields { path message } }
} }
"""
ME = "{ me { profile { displayName email phone birthday locale timeZone } } }"
ANA = {
    "displayName": "Ana",
    "email": "ana@example.com",
    "phone": "+38640123456",
    "birthday": "1990-02-28",
    "locale": "sl",
    "timeZone": "Europe/Ljubljana",
}


async def update(shop: Shop, member: str, **changes: Any) -> dict[str, Any]:
    answered: dict[str, Any] = (await shop.phone(member, UPDATE, {"input": changes}))["updateProfile"]
    return answered


async def test_only_a_members_own_session_changes_his_profile(shop: Shop) -> None:
    await shop.enrol(displayName="Ana")

    for token in (await shop.till_token(), await shop.staff_token("staff:members")):
        assert codes(await shop.ask(UPDATE, {"input": {}}, token=token)) == ["FORBIDDEN"]
    assert codes(await shop.ask(UPDATE, {"input": {}})) == ["UNAUTHENTICATED"]


async def test_what_is_sent_changes_and_all_else_stays(shop: Shop) -> None:
    member = await shop.enrol(**ANA)
    before = await shop.posted()

    updated = await update(shop, member, displayName="Ana K.", birthday="1990-02-27")
    nothing = await update(shop, member)

    changed = {**ANA, "displayName": "Ana K.", "birthday": "1990-02-27"}
    assert updated["member"] == {"id": member, "profile": changed}
    assert nothing == updated
    assert (await shop.phone(member, ME))["me"]["profile"] == changed
    assert await shop.posted() == before


async def test_null_forgets_and_language_and_zone_fall_back_to_the_programmes(shop: Shop) -> None:
    member = await shop.enrol(**ANA)

    updated = await update(shop, member, email=None, birthday=None, locale=None, timeZone=None)

    assert updated["member"]["profile"] == {
        "displayName": "Ana",
        "email": None,
        "phone": "+38640123456",
        "birthday": None,
        "locale": "en",
        "timeZone": "America/New_York",
    }


@pytest.mark.parametrize(
    ("changes", "paths"),
    [
        ({"displayName": ""}, ["displayName"]),
        ({"email": "ana"}, ["email"]),
        ({"phone": "040123456"}, ["phone"]),
        ({"birthday": "2026-07-06"}, ["birthday"]),
        ({"locale": "xx-none", "timeZone": "Mars/Base"}, ["locale", "timeZone"]),
        ({"displayName": "Eva", "referralCode": "ABCD-EFGH"}, ["referralCode"]),
    ],
)
async def test_what_cannot_be_taken_is_named_and_nothing_changes(
    shop: Shop, changes: dict[str, Any], paths: list[str]
) -> None:
    member = await shop.enrol(**ANA)

    refused = await update(shop, member, **changes)

    assert refused["__typename"] == "InvalidInput"
    assert [field["path"] for field in refused["fields"]] == paths
    assert (await shop.phone(member, ME))["me"]["profile"] == ANA


async def test_a_referral_code_counts_only_on_joining(shop: Shop) -> None:
    member = await shop.enrol()

    refused = await update(shop, member, referralCode="ABCD-EFGH")

    assert refused["fields"][0]["message"] == (
        "The member has joined already; a referral code counts only on joining. Leave it out."
    )
