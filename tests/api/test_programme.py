"""The programme as callers read it, and as staff check and publish it."""

import pytest

from tests.api.shop import PROGRAMME, Shop, a_purchase, codes, data

READ = """
{
  programme {
    id version name currency timeZone waysToEarn expiryPolicy holdsLast
    tiers { id name from benefits }
    badges { id name description levels imageUrl }
  }
}
"""
CHECK = "mutation($source: String!) { checkProgramme(source: $source) { valid problems { path severity } } }"
PUBLISH = """
mutation($source: String!, $expected: Int!) {
  publishProgramme(source: $source, expectedVersion: $expected) {
    __typename
    ... on ProgrammePublished { programme { version name } warnings { path severity } }
    ... on ProgrammeInvalid { code problems { path message severity } }
    ... on VersionConflict { code currentVersion }
  }
}
"""
SOURCE = PROGRAMME.read_text(encoding="utf-8")
DOUBLE = SOURCE.replace('points: {per: "1.00", give: 1}}, text', 'points: {per: "1.00", give: 2}}, text')
BROKEN = SOURCE.replace("currency: USD", "currency: dollars")


async def test_anybody_may_read_the_programme(shop: Shop) -> None:
    programme = data(await shop.ask(READ))["programme"]

    assert (programme["id"], programme["version"], programme["currency"]) == ("corner", 1, "USD")
    assert programme["name"] == "Corner Club"
    assert programme["timeZone"] == "America/New_York"
    assert programme["waysToEarn"][0] == "1 point for every dollar"
    assert programme["tiers"][2] == {
        "id": "gold",
        "name": "Gold",
        "from": 1500,
        "benefits": ["Points × 1.5", "Early access"],
    }
    assert programme["badges"][0] == {
        "id": "regular",
        "name": "Regular",
        "description": "",
        "levels": [5, 25, 100],
        "imageUrl": None,
    }
    assert programme["expiryPolicy"].startswith("Points: ")
    assert programme["holdsLast"] == "PT1800S"


@pytest.mark.parametrize(
    ("language", "name"),
    [
        ("sl", "Klub Vogal"),
        ("ro-MD", "Clubul Colț"),
        ("et", "Nurgaklubi"),
        ("ru", "Клуб «Уголок»"),
        ("kk", "«Бұрыш» клубы"),
        ("de", "Corner Club"),
    ],
)
async def test_the_programme_speaks_the_callers_language(shop: Shop, language: str, name: str) -> None:
    programme = data(await shop.ask("{ programme { name } }", language=language))["programme"]

    assert programme["name"] == name


async def test_only_staff_of_the_programme_check_and_publish(shop: Shop) -> None:
    member = await shop.enrol()
    tokens = [await shop.staff_token("staff:adjust"), await shop.till_token(), await shop.member_token(member)]

    checks = [await shop.ask(CHECK, {"source": SOURCE}, token=token) for token in tokens]
    publications = [await shop.ask(PUBLISH, {"source": DOUBLE, "expected": 1}, token=token) for token in tokens]

    assert [codes(each) for each in (*checks, *publications)] == [["FORBIDDEN"]] * 6
    assert await shop.services.store.programmes.count_documents({}) == 1


async def test_a_check_tells_what_is_wrong_and_publishes_nothing(shop: Shop) -> None:
    sound = await shop.staff(CHECK, {"source": SOURCE}, scopes=("staff:programme",))
    broken = await shop.staff(CHECK, {"source": BROKEN}, scopes=("staff:programme",))

    assert sound["checkProgramme"]["valid"] is True
    assert broken["checkProgramme"]["valid"] is False
    assert {"path": "currency", "severity": "ERROR"} in broken["checkProgramme"]["problems"]
    assert await shop.services.store.programmes.count_documents({}) == 1


async def test_a_published_version_rules_from_then_on_and_old_entries_keep_theirs(shop: Shop) -> None:
    member = await shop.enrol()
    before = await shop.record(a_purchase(member, "10.00"))

    published = await shop.staff(PUBLISH, {"source": DOUBLE, "expected": 1}, scopes=("staff:programme",))
    after = await shop.record(a_purchase(member, "10.00"))
    returned = await shop.give_back({"purchase": before["entry"]["id"], "idempotencyKey": "return-of-the-first"})

    assert published["publishProgramme"]["programme"] == {"version": 2, "name": "Corner Club"}
    assert (before["entry"]["points"], after["entry"]["points"]) == (10, 20)
    assert returned["entry"]["points"] == -10


async def test_an_invalid_programme_is_never_published(shop: Shop) -> None:
    refused = await shop.staff(PUBLISH, {"source": BROKEN, "expected": 1}, scopes=("staff:programme",))

    assert refused["publishProgramme"]["code"] == "PROGRAMME_INVALID"
    assert "currency" in [problem["path"] for problem in refused["publishProgramme"]["problems"]]
    assert await shop.services.store.programmes.count_documents({}) == 1


async def test_who_expects_another_version_is_told_which_is_in_force(shop: Shop) -> None:
    refused = await shop.staff(PUBLISH, {"source": DOUBLE, "expected": 7}, scopes=("staff:programme",))

    assert refused["publishProgramme"] == {
        "__typename": "VersionConflict",
        "code": "VERSION_CONFLICT",
        "currentVersion": 1,
    }
