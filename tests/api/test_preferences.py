"""`setPreferences`: what is sent changes, what is not stays, and what makes no sense is refused."""

from typing import Any

from tests.api.shop import Shop, codes

SET = """
mutation($input: NotificationPreferencesInput!) { setPreferences(input: $input) {
  __typename
  ... on NotificationPreferences { quietFrom quietUntil pausedUntil muted { channel category } }
  ... on Problem { code }
  ... on InvalidInput { fields { path message } }
} }
"""
PREFERENCES = "{ me { preferences { quietFrom quietUntil pausedUntil muted { channel category } } } }"
NONE: dict[str, Any] = {"quietFrom": None, "quietUntil": None, "pausedUntil": None, "muted": []}


async def change(shop: Shop, member: str, **changes: Any) -> dict[str, Any]:
    answered: dict[str, Any] = (await shop.phone(member, SET, {"input": changes}))["setPreferences"]
    return answered


async def preferences(shop: Shop, member: str) -> dict[str, Any]:
    found: dict[str, Any] = (await shop.phone(member, PREFERENCES))["me"]["preferences"]
    return found


async def test_only_a_members_own_session_has_preferences(shop: Shop) -> None:
    member = await shop.enrol()

    for token in (await shop.till_token(), await shop.staff_token("staff:members")):
        assert codes(await shop.ask(SET, {"input": {"muted": []}}, token=token)) == ["FORBIDDEN"]
    assert await preferences(shop, member) == NONE


async def test_what_is_sent_changes_and_all_else_stays(shop: Shop) -> None:
    member = await shop.enrol()
    mute = {"channel": "PUSH", "category": "TRANSACTIONAL"}

    await change(shop, member, quietFrom="22:30", quietUntil="07:00", muted=[mute, mute])
    await change(shop, member, pausedUntil="2026-08-01T00:00:00Z")

    told = {"quietFrom": "22:30", "quietUntil": "07:00", "pausedUntil": "2026-08-01T00:00:00Z", "muted": [mute]}
    assert await preferences(shop, member) == told
    assert await change(shop, member) == {"__typename": "NotificationPreferences", **told}


async def test_null_forgets(shop: Shop) -> None:
    member = await shop.enrol()
    mute = {"channel": "SMS", "category": "MARKETING"}
    await change(shop, member, quietFrom="22:30", quietUntil="07:00", pausedUntil="2026-08-01T00:00:00Z", muted=[mute])

    await change(shop, member, quietFrom=None, quietUntil=None, pausedUntil=None, muted=None)

    assert await preferences(shop, member) == NONE


REFUSED: list[tuple[dict[str, Any], list[str]]] = [
    ({"quietFrom": "22:00"}, ["quietUntil"]),
    ({"quietFrom": None, "quietUntil": "07:00"}, ["quietFrom"]),
    ({"quietFrom": "22:00", "quietUntil": "22:00"}, ["quietUntil"]),
    ({"quietFrom": "24:00", "quietUntil": "7:00"}, ["quietFrom", "quietUntil"]),
    ({"pausedUntil": "2026-07-06T08:30:00Z"}, ["pausedUntil"]),
    ({"muted": [{"channel": "INBOX", "category": "MARKETING"}]}, ["muted.0.channel"]),
]


async def test_what_cannot_be_taken_is_named_and_nothing_changes(shop: Shop) -> None:
    member = await shop.enrol()

    for changes, paths in REFUSED:
        refused = await change(shop, member, **changes)

        assert refused["__typename"] == "InvalidInput"
        assert [field["path"] for field in refused["fields"]] == paths
    assert await preferences(shop, member) == NONE
