"""`registerDevice`, `removeDevice` and what a member sees of his devices."""

from typing import Any

from tests.api.shop import Shop, codes

REGISTER = """
mutation($input: DeviceInput!) { registerDevice(input: $input) {
  __typename
  ... on Device { id platform kind appVersion locale timeZone lastSeenAt pushPermitted }
  ... on Problem { code }
  ... on InvalidInput { fields { path message } }
} }
"""
REMOVE = "mutation($id: ID!) { removeDevice(id: $id) { id } }"
DEVICES = "{ me { devices { id platform kind appVersion locale timeZone lastSeenAt pushPermitted } } }"


def a_device(**changes: Any) -> dict[str, Any]:
    return {
        "installation": "f3a1-installation",
        "platform": "ANDROID",
        "kind": "FID",
        "value": "cLq8sUeXQkyoWl3xD9ab1z",
        **changes,
    }


async def register(shop: Shop, member: str, **changes: Any) -> dict[str, Any]:
    answered: dict[str, Any] = (await shop.phone(member, REGISTER, {"input": a_device(**changes)}))["registerDevice"]
    return answered


async def devices(shop: Shop, member: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = (await shop.phone(member, DEVICES))["me"]["devices"]
    return found


async def test_only_a_members_own_session_has_devices(shop: Shop) -> None:
    member = await shop.enrol()
    await register(shop, member)
    seen = f'{{ member(by: {{id: "{member}"}}) {{ devices {{ id }} }} }}'

    for token in (await shop.till_token(), await shop.staff_token("staff:members")):
        assert codes(await shop.ask(REGISTER, {"input": a_device()}, token=token)) == ["FORBIDDEN"]
        assert codes(await shop.ask(REMOVE, {"id": "f3a1-installation"}, token=token)) == ["FORBIDDEN"]
        assert codes(await shop.ask(seen, token=token)) == ["FORBIDDEN"]
    assert len(await devices(shop, member)) == 1


async def test_a_phone_registers_at_each_start_and_stays_one_device(shop: Shop) -> None:
    member = await shop.enrol()

    first = await register(shop, member, appVersion="1.0", locale="sl", timeZone="Europe/Ljubljana")
    await shop.advance("2026-07-07T08:30:00Z")
    again = await register(shop, member, appVersion="1.1", locale="sl", pushPermitted=False)

    assert first == {
        "__typename": "Device",
        "id": first["id"],
        "platform": "ANDROID",
        "kind": "FID",
        "appVersion": "1.0",
        "locale": "sl",
        "timeZone": "Europe/Ljubljana",
        "lastSeenAt": first["lastSeenAt"],
        "pushPermitted": True,
    }
    changed = {"appVersion": "1.1", "timeZone": None, "lastSeenAt": again["lastSeenAt"], "pushPermitted": False}
    assert again == {**first, **changed}
    assert [first["lastSeenAt"][:16], again["lastSeenAt"][:16]] == ["2026-07-06T08:30", "2026-07-07T08:30"]
    del again["__typename"]
    assert await devices(shop, member) == [again]


async def test_a_phone_that_changes_hands_is_the_other_members_alone(shop: Shop) -> None:
    ana, eva = await shop.enrol(), await shop.enrol()
    await register(shop, ana)

    await register(shop, eva)

    assert await devices(shop, ana) == []
    assert len(await devices(shop, eva)) == 1


async def test_a_member_removes_his_own_devices_and_learns_nothing_of_others(shop: Shop) -> None:
    ana, eva = await shop.enrol(), await shop.enrol()
    device = (await register(shop, ana))["id"]

    assert (await shop.phone(eva, REMOVE, {"id": device}))["removeDevice"] == {"id": device}
    assert len(await devices(shop, ana)) == 1
    for _ in range(2):
        assert (await shop.phone(ana, REMOVE, {"id": device}))["removeDevice"] == {"id": device}
    assert await devices(shop, ana) == []


REFUSED: list[tuple[dict[str, Any], list[str]]] = [
    ({"installation": ""}, ["installation"]),
    ({"value": "no id"}, ["value"]),
    ({"kind": "TOKEN", "value": "with a space in the token"}, ["value"]),
    ({"kind": "TOKEN", "value": "x" * 4_097}, ["value"]),
    ({"appVersion": "v" * 65}, ["appVersion"]),
    ({"locale": "xx-none", "timeZone": "Mars/Base"}, ["locale", "timeZone"]),
]


async def test_what_cannot_be_taken_is_named_and_nothing_is_registered(shop: Shop) -> None:
    member = await shop.enrol()

    for changes, paths in REFUSED:
        refused = await register(shop, member, **changes)

        assert refused["__typename"] == "InvalidInput"
        assert [field["path"] for field in refused["fields"]] == paths
    assert await devices(shop, member) == []
