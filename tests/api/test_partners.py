"""Partner apps and who manages them: made, given new secrets, disabled, and seen by staff and themselves alone."""

from typing import Any

import httpx
import pytest
from httpx import BasicAuth

from api.access import Anonymous, PartnerCaller
from api.auth.tokens import open_tokens
from domain.partners import standing
from domain.partners.scopes import PARTNER_SCOPES
from tests.api.shop import Shop, codes, data

CREATE = """
mutation($input: CreatePartnerInput!) {
  createPartner(input: $input) {
    clientSecret partner { id name clientId scopes redirectUris disabled }
  }
}
"""
ROTATE = "mutation($id: ID!) { rotatePartnerSecret(partner: $id) { clientSecret partner { id } } }"
DISABLE = (
    "mutation($id: ID!, $disabled: Boolean!) { disablePartner(partner: $id, disabled: $disabled) { id disabled } }"
)
NODE = "query($id: ID!) { node(id: $id) { ... on Partner { id name } } }"
TILL = {"name": "Corner till", "scopes": ["wallet:read", "members:read"]}


async def staff(shop: Shop, query: str, **variables: Any) -> dict[str, Any]:
    return await shop.ask(query, variables, token=await shop.staff_token("staff:partners"))


async def make(shop: Shop, **changes: Any) -> tuple[str, str]:
    """The client id and secret of a partner that staff made."""
    made = data(await staff(shop, CREATE, input=TILL | changes))["createPartner"]
    return made["partner"]["clientId"], made["clientSecret"]


async def rotate(shop: Shop, client_id: str) -> str:
    secret: str = data(await staff(shop, ROTATE, id=client_id))["rotatePartnerSecret"]["clientSecret"]
    return secret


async def log_in(shop: Shop, client_id: str, secret: str) -> httpx.Response:
    return await shop.http.post(
        "/oauth/token", data={"grant_type": "client_credentials"}, auth=BasicAuth(client_id, secret)
    )


async def made(shop: Shop) -> int:
    return await shop.services.store.partners.count_documents({})


@pytest.mark.parametrize(
    ("query", "variables"),
    [
        (CREATE, {"input": TILL}),
        (ROTATE, {"id": "till"}),
        (DISABLE, {"id": "till", "disabled": True}),
    ],
)
async def test_partners_are_managed_by_staff_with_the_scope_and_by_nobody_else(
    shop: Shop, query: str, variables: dict[str, Any]
) -> None:
    variables = {name: shop.till_id if value == "till" else value for name, value in variables.items()}
    before = await shop.services.store.partners.find({}).sort("_id", 1).to_list()
    staff_scopes = ("staff:members", "staff:programme", "staff:reports", "staff:adjust", "staff:refunds")

    nobody = await shop.ask(query, variables)
    member = await shop.ask(query, variables, token=await shop.member_token(await shop.enrol()))
    partner = await shop.ask(query, variables, token=await shop.till_token(*PARTNER_SCOPES))
    other_staff = await shop.ask(query, variables, token=await shop.staff_token(*staff_scopes))

    assert codes(nobody) == ["UNAUTHENTICATED"]
    assert codes(member) == codes(partner) == codes(other_staff) == ["FORBIDDEN"]
    assert other_staff["errors"][0]["extensions"]["scope"] == "staff:partners"
    assert await shop.services.store.partners.find({}).sort("_id", 1).to_list() == before


async def test_a_partner_is_made_and_logs_in_with_the_secret_that_is_shown_once(shop: Shop) -> None:
    uris = ["https://till.example/back?from=wallet", "http://127.0.0.1:8765/back", "http://[::1]/back"]

    answer = data(await staff(shop, CREATE, input=TILL | {"redirectUris": uris}))["createPartner"]
    partner, secret = answer["partner"], answer["clientSecret"]
    token = await log_in(shop, partner["clientId"], secret)
    itself = data(await shop.ask("{ partner { name scopes redirectUris } }", token=token.json()["access_token"]))[
        "partner"
    ]

    assert partner["id"] == partner["clientId"]
    assert itself == {"name": "Corner till", "scopes": ["members:read", "wallet:read"], "redirectUris": uris}
    assert partner["disabled"] is False
    assert token.json()["scope"] == "members:read wallet:read"
    assert secret not in repr(await shop.services.store.partners.find({}).to_list())


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"name": " "}, "input.name"),
        ({"name": "x" * 101}, "input.name"),
        ({"name": "Till\u202eevil"}, "input.name"),
        ({"scopes": ["staff:adjust"]}, "input.scopes: Not a partner's scope: staff:adjust."),
        ({"scopes": ["wallet:read", "wallet:write"]}, "input.scopes: Not a partner's scope: wallet:write."),
        ({"redirectUris": ["https://a.example/"] * 21}, "input.redirectUris: There are 21"),
        ({"redirectUris": ["https://a.example/", "http://a.example/"]}, "input.redirectUris: Number 2 does not begin"),
        ({"redirectUris": ["https://a.example/#done"]}, "has a fragment"),
        ({"redirectUris": ["https://a.example/#"]}, "has a fragment"),
        ({"redirectUris": ["https://*.example/"]}, "has a *"),
        ({"redirectUris": ["https://user@a.example/"]}, "without a user"),
        ({"redirectUris": ["https://A.example/"]}, "lower-case letters"),
        ({"redirectUris": ["https:///back"]}, "needs the form"),
        ({"redirectUris": ["https:a.example"]}, "needs the form"),
        ({"redirectUris": ["/back"]}, "needs the form"),
        ({"redirectUris": [""]}, "has 0 characters"),
        ({"redirectUris": ["https://a.example/" + "x" * 500]}, "has 518 characters"),
        ({"redirectUris": ["https://a.example\\@b.example/"]}, "encode them"),
        ({"redirectUris": ["https://a.example/\nx"]}, "encode them"),
        ({"redirectUris": ["https://ä.example/"]}, "encode them"),
        ({"redirectUris": ["https://a.example:port/"]}, "cannot be read"),
        ({"redirectUris": ["https://[::1/"]}, "cannot be read"),
        ({"redirectUris": ["javascript://a.example/%0aalert(1)"]}, "does not begin with https"),
        ({"redirectUris": ["com.example.till://back"]}, "does not begin with https"),
        ({"redirectUris": ["http://localhost.example/"]}, "does not begin with https"),
        ({"redirectUris": ["http://127.0.0.1.example/"]}, "does not begin with https"),
    ],
)
async def test_a_partner_that_cannot_be_is_named_and_not_made(shop: Shop, changes: dict[str, Any], told: str) -> None:
    before = await made(shop)

    refused = await staff(shop, CREATE, input=TILL | changes)

    assert codes(refused) == ["BAD_USER_INPUT"]
    assert told in refused["errors"][0]["message"]
    assert await made(shop) == before


async def test_the_two_newest_secrets_work_and_the_third_stops(shop: Shop) -> None:
    client_id, first = await make(shop)

    second = await rotate(shop, client_id)
    after_one = [(await log_in(shop, client_id, each)).status_code for each in (first, second)]
    third = await rotate(shop, client_id)
    after_two = [(await log_in(shop, client_id, each)).status_code for each in (first, second, third)]

    assert after_one == [200, 200]
    assert after_two == [401, 200, 200]
    assert len({first, second, third}) == 3
    assert (await log_in(shop, shop.other_till_id, third)).status_code == 401


async def test_a_disabled_partners_tokens_stop_and_hold_again_when_it_is_let_in(shop: Shop) -> None:
    client_id, secret = await make(shop)
    token = (await log_in(shop, client_id, secret)).json()["access_token"]
    assert data(await shop.ask("{ partner { id } }", token=token)) == {"partner": {"id": client_id}}

    disabled = data(await staff(shop, DISABLE, id=client_id, disabled=True))["disablePartner"]
    stopped = await shop.ask("{ partner { id } }", token=token)
    refused = await log_in(shop, client_id, secret)
    data(await staff(shop, DISABLE, id=client_id, disabled=False))
    again = await shop.ask("{ partner { id } }", token=token)

    assert disabled == {"id": client_id, "disabled": True}
    assert codes(stopped) == ["UNAUTHENTICATED"]
    assert (refused.status_code, refused.json()["error"]) == (401, "invalid_client")
    assert data(again) == {"partner": {"id": client_id}}


async def test_another_process_stops_a_disabled_partners_tokens_once_it_asks_again(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    client_id, secret = await make(shop)
    header = f"Bearer {(await log_in(shop, client_id, secret)).json()['access_token']}"
    elsewhere = await open_tokens(shop.services.store, shop.services.settings, shop.clock.now())
    before = await elsewhere.caller_of(header, shop.clock.now())
    data(await staff(shop, DISABLE, id=client_id, disabled=True))

    monkeypatch.setattr(standing, "KNOWN_FOR_SECONDS", 0.0)
    after = await elsewhere.caller_of(header, shop.clock.now())

    assert isinstance(before, PartnerCaller)
    assert after == Anonymous(token_refused=True)
    monkeypatch.undo()
    assert standing.KNOWN_FOR_SECONDS <= 60, "SEMANTICS §9.6"


@pytest.mark.parametrize("query", [ROTATE, DISABLE])
async def test_a_partner_that_does_not_exist_is_said_so_to_staff(shop: Shop, query: str) -> None:
    variables = {"id": "pa_nobody"} | ({"disabled": True} if query is DISABLE else {})
    before = await made(shop)

    refused = await staff(shop, query, **variables)

    assert codes(refused) == ["BAD_USER_INPUT"]
    assert refused["errors"][0]["message"] == "There is no partner of this id."
    assert await made(shop) == before


async def test_a_partner_is_seen_by_itself_and_by_who_manages_partners(shop: Shop) -> None:
    client_id, secret = await make(shop)
    own = (await log_in(shop, client_id, secret)).json()["access_token"]
    member = await shop.enrol()

    seen = {
        "itself": await shop.ask(NODE, {"id": client_id}, token=own),
        "staff": await staff(shop, NODE, id=client_id),
        "other partner": await shop.ask(NODE, {"id": client_id}, token=await shop.till_token()),
        "other staff": await shop.ask(NODE, {"id": client_id}, token=await shop.staff_token("staff:members")),
        "member": await shop.ask(NODE, {"id": client_id}, token=await shop.member_token(member)),
        "no such": await staff(shop, NODE, id="pa_nobody"),
    }

    there, not_there = {"id": client_id, "name": "Corner till"}, None
    assert {who: data(answer)["node"] for who, answer in seen.items()} == {
        "itself": there,
        "staff": there,
        "other partner": not_there,
        "other staff": not_there,
        "member": not_there,
        "no such": not_there,
    }
    assert codes(await shop.ask(NODE, {"id": client_id})) == ["UNAUTHENTICATED"]
