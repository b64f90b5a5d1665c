"""`places(near:)`: for members, nearest first, and without a trace of where they are."""

from typing import Any

import pytest

from tests.api.shop import Shop, codes

PLACES = """
query($near: GeoPointInput!, $first: Int) { places(near: $near, first: $first) {
  version refreshRadiusMetres places { id name latitude longitude radiusMetres region timeZone }
} }
"""
PARK = {"latitude": 40.6602, "longitude": -73.9690}


def near(latitude: Any, longitude: Any, first: int = 19) -> dict[str, Any]:
    return {"near": {"latitude": latitude, "longitude": longitude}, "first": first}


async def test_only_a_members_own_session_may_ask(shop: Shop) -> None:
    tokens = [await shop.till_token(), await shop.staff_token("staff:members"), None]

    refusals = [await shop.ask(PLACES, {"near": PARK, "first": 1}, token=token) for token in tokens]

    assert [codes(refusal) for refusal in refusals] == [["FORBIDDEN"], ["FORBIDDEN"], ["UNAUTHENTICATED"]]


async def test_the_nearest_come_first_and_the_radius_is_half_way_to_the_next(shop: Shop) -> None:
    member = await shop.enrol()

    two = (await shop.phone(member, PLACES, near(40.6602, -73.9690, 2)))["places"]
    everywhere = (await shop.phone(member, PLACES, near(40.6602, -73.9690)))["places"]

    assert [place["id"] for place in everywhere["places"]] == ["store-318", "store-429", "store-330", "store-424"]
    assert two["places"] == everywhere["places"][:2]
    assert two["places"][0] == {
        "id": "store-318",
        "name": "Corner Park",
        "latitude": 40.6602,
        "longitude": -73.969,
        "radiusMetres": 250,
        "region": "south",
        "timeZone": "America/New_York",
    }
    # 6,273.0 m to the harbour and 9,163.4 m to Main Street.
    assert two["refreshRadiusMetres"] == 1_445
    assert everywhere["refreshRadiusMetres"] == 50_000
    assert two["version"] == everywhere["version"]


@pytest.mark.parametrize(
    ("latitude", "longitude", "first"),
    [(90.01, 0, 1), (-90.01, 0, 1), (0, 180.01, 1), (0, -180.01, 1), (0, 0, 0), (0, 0, 101), ("46.05", 0, 1)],
)
async def test_a_point_that_is_none_is_bad_input(shop: Shop, latitude: Any, longitude: Any, first: int) -> None:
    token = await shop.member_token(await shop.enrol())

    refused = await shop.ask(PLACES, near(latitude, longitude, first), token=token)

    assert codes(refused) == ["BAD_USER_INPUT"]


async def test_the_point_is_in_no_log_and_in_no_collection(shop: Shop, capfd: pytest.CaptureFixture[str]) -> None:
    member = await shop.enrol()

    await shop.phone(member, PLACES, near(46.051234, 14.505678, 1))
    await shop.ask(PLACES, near(91.051234, 14.505678, 1), token=await shop.member_token(member))

    written = "".join(capfd.readouterr())
    for name in await shop.services.store.database.list_collection_names():
        async for document in shop.services.store.database[name].find({}):
            written += str(document)
    assert "051234" not in written
    assert "505678" not in written
