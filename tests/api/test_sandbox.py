"""What a sandbox has beside: anybody may sign in, staff tokens are free, and the clock can be moved."""

from datetime import timedelta

import httpx

from api.edge.app import build_app
from api.schema import build_schema
from tests.api.shop import Shop, codes, data

SIGN_IN = """
mutation($subject: String!, $profile: ProfileInput) {
  sandboxSignIn(subject: $subject, profile: $profile) {
    __typename
    ... on Session {
      accessToken accessTokenExpiresAt refreshToken isNew
      member { id profile { displayName } wallet { version points { available } } }
    }
    ... on InvalidInput { fields { path } }
  }
}
"""
STAFF_TOKEN = "mutation($scopes: [String!]!) { sandboxStaffToken(scopes: $scopes) }"


async def test_anybody_signs_in_and_is_made_on_first_sight(shop: Shop) -> None:
    first = data(await shop.ask(SIGN_IN, {"subject": "ana", "profile": {"displayName": "Ana"}}))["sandboxSignIn"]
    second = data(await shop.ask(SIGN_IN, {"subject": "ana"}))["sandboxSignIn"]
    me = data(await shop.ask("{ me { id } }", token=second["accessToken"]))["me"]

    assert (first["isNew"], second["isNew"]) == (True, False)
    assert first["member"] == second["member"]
    assert me == {"id": first["member"]["id"]}
    assert first["member"]["profile"] == {"displayName": "Ana"}
    assert first["member"]["wallet"] == {"version": 1, "points": {"available": 100}}
    assert first["refreshToken"] != second["refreshToken"]


async def test_a_refresh_token_is_not_in_the_database(shop: Shop) -> None:
    session = data(await shop.ask(SIGN_IN, {"subject": "ana"}))["sandboxSignIn"]

    stored = await shop.services.store.sessions.find({}).to_list()

    assert len(stored) == 1
    assert session["refreshToken"] not in repr(stored)


async def test_a_sign_in_that_cannot_be_says_why_and_makes_nobody(shop: Shop) -> None:
    refused = data(await shop.ask(SIGN_IN, {"subject": "", "profile": {"email": "no"}}))["sandboxSignIn"]

    assert refused == {"__typename": "InvalidInput", "fields": [{"path": "subject"}, {"path": "profile.email"}]}
    assert await shop.services.store.members.count_documents({}) == 0


async def test_staff_tokens_hold_what_was_asked_for(shop: Shop) -> None:
    member = await shop.enrol()

    token = data(await shop.ask(STAFF_TOKEN, {"scopes": ["staff:members"]}))["sandboxStaffToken"]
    read = data(await shop.ask("query($id: ID!) { node(id: $id) { id } }", {"id": member}, token=token))
    unknown = await shop.ask(STAFF_TOKEN, {"scopes": ["staff:everything"]})

    assert read == {"node": {"id": member}}
    assert codes(unknown) == ["BAD_USER_INPUT"]


async def test_the_clock_moves_forward_and_posts_what_falls_due_on_the_way(shop: Shop) -> None:
    member = await shop.enrol()

    moved = await shop.advance("2027-08-02T00:00:00Z")
    query = "{ me { wallet { version points { available } activity(first: 1) { nodes { kind occurredAt points } } } } }"
    wallet = (await shop.phone(member, query))["me"]["wallet"]

    assert moved["done"] == 2, "the bonus for joining, then the points"
    assert moved["now"].startswith("2027-08-02T00:00:0")
    assert wallet == {
        "version": 3,
        "points": {"available": 0},
        "activity": {"nodes": [{"kind": "EXPIRE", "occurredAt": "2027-08-01T04:00:00Z", "points": -100}]},
    }


async def test_the_clock_does_not_go_back(shop: Shop) -> None:
    await shop.advance("2026-08-01T00:00:00Z")

    refused = await shop.ask('mutation { advanceClock(to: "2026-07-31T00:00:00Z") { now } }')

    assert codes(refused) == ["BAD_USER_INPUT"]
    assert "2026-08-01T00:00:0" in refused["errors"][0]["message"]


async def test_the_clock_does_not_go_to_the_end_of_the_calendar_where_nothing_can_be_added(shop: Shop) -> None:
    before = shop.clock.now()

    refused = await shop.ask('mutation { advanceClock(to: "9999-12-31T23:59:59Z") { now } }')

    assert codes(refused) == ["BAD_USER_INPUT"]
    assert "3000-01-01" in refused["errors"][0]["message"]
    assert shop.clock.now() - before < timedelta(days=1)


async def test_production_has_none_of_it(shop: Shop) -> None:
    transport = httpx.ASGITransport(app=build_app(shop.services, build_schema(sandbox=False)))
    async with httpx.AsyncClient(transport=transport, base_url="http://localhost:8000") as client:
        response = await client.post("/graphql", json={"query": SIGN_IN, "variables": {"subject": "ana"}})

    assert set(codes(response.json())) == {"GRAPHQL_VALIDATION_FAILED"}
