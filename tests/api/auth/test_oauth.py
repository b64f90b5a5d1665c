"""The token endpoint: who is let in, with which scopes, and how refusals look (RFC 6749 §5.2)."""

import base64
from collections.abc import Sequence

import pytest
from authlib.integrations.httpx_client import AsyncOAuth2Client
from httpx import ASGITransport, BasicAuth, Response

from domain.partners.partner import PartnerInvalid, create_partner
from domain.store.connection import Store
from tests.api.conftest import Edge
from tests.api.shop import START

SCOPES = ("activity:write", "wallet:read")


async def a_partner(edge: Edge, scopes: Sequence[str] = SCOPES) -> tuple[str, str]:
    """A new partner's client id and secret."""
    partner, secret = await create_partner(
        edge.services.store, edge.services.settings.secret, name="Till", scopes=scopes, now=START
    )
    return partner.client_id, secret


async def ask(edge: Edge, client: tuple[str, str], **form: str) -> Response:
    return await edge.client.post("/oauth/token", data=form, auth=BasicAuth(*client))


@pytest.mark.parametrize("method", ["client_secret_basic", "client_secret_post"])
async def test_authlibs_client_gets_a_token_that_opens_the_api(edge: Edge, method: str) -> None:
    client_id, secret = await a_partner(edge, ["members:read"])
    metadata = (await edge.client.get("/.well-known/oauth-authorization-server")).json()

    async with AsyncOAuth2Client(
        client_id,
        secret,
        scope="members:read",
        token_endpoint_auth_method=method,
        token_endpoint=metadata["token_endpoint"],
        grant_type="client_credentials",
        transport=ASGITransport(app=edge.app),
    ) as client:
        token = await client.fetch_token()
        response = await client.post(
            "http://localhost:8000/graphql", json={"query": '{ member(by: {id: "m1"}) { id } }'}
        )

    assert token["token_type"] == "Bearer"
    assert token["expires_in"] == 600
    assert token["scope"] == "members:read"
    assert response.json()["data"] == {"member": {"id": "m1"}}


async def test_without_a_wish_all_scopes_are_granted_and_the_answer_is_not_stored(edge: Edge) -> None:
    response = await ask(edge, await a_partner(edge), grant_type="client_credentials")

    assert response.status_code == 200
    assert response.json()["scope"] == "activity:write wallet:read"
    assert response.headers["cache-control"] == "no-store"
    assert response.headers["pragma"] == "no-cache"


async def test_a_part_of_the_scopes_may_be_asked_for_and_no_more(edge: Edge) -> None:
    client = await a_partner(edge)

    part = await ask(edge, client, grant_type="client_credentials", scope="wallet:read")
    beyond = await ask(edge, client, grant_type="client_credentials", scope="wallet:read prepaid:charge")
    staff = await ask(edge, client, grant_type="client_credentials", scope="staff:adjust")

    assert part.json()["scope"] == "wallet:read"
    assert (beyond.status_code, beyond.json()["error"]) == (400, "invalid_scope")
    assert (staff.status_code, staff.json()["error"]) == (400, "invalid_scope")


@pytest.mark.parametrize("who", ["wrong secret", "unknown client", "disabled client", "empty secret"])
async def test_who_proves_nothing_is_told_nothing(edge: Edge, store: Store, who: str) -> None:
    client_id, secret = await a_partner(edge)
    credentials = {
        "wrong secret": (client_id, secret + "x"),
        "unknown client": ("pa_nobody", secret),
        "disabled client": (client_id, secret),
        "empty secret": (client_id, ""),
    }[who]
    if who == "disabled client":
        await store.partners.update_one({"_id": client_id}, {"$set": {"disabled": True}})

    response = await ask(edge, credentials, grant_type="client_credentials")
    proof = {"client_id": credentials[0], "client_secret": credentials[1]}
    in_the_form = await edge.client.post("/oauth/token", data={"grant_type": "client_credentials", **proof})

    assert response.status_code == in_the_form.status_code == 401
    assert response.json() == {
        "error": "invalid_client",
        "error_description": "No such client, or the secret is wrong.",
    }
    for refused in (response, in_the_form):
        assert refused.headers["www-authenticate"] == 'Basic realm="oauth"'
    assert response.headers["cache-control"] == "no-store"


@pytest.mark.parametrize(
    ("form", "error", "status"),
    [
        ({}, "invalid_request", 400),
        ({"grant_type": "password"}, "unsupported_grant_type", 400),
        ({"grant_type": "authorization_code"}, "invalid_request", 400),
        ({"grant_type": "authorization_code", "code": "x", "redirect_uri": "y"}, "invalid_request", 400),
        ({"grant_type": "refresh_token"}, "invalid_request", 400),
        ({"grant_type": "refresh_token", "refresh_token": "x"}, "invalid_grant", 400),
        ({"grant_type": "client_credentials", "client_secret": "x"}, "invalid_request", 400),
        ({"grant_type": "client_credentials", "client_id": "another"}, "invalid_request", 400),
    ],
)
async def test_a_wrong_form_is_named(edge: Edge, form: dict[str, str], error: str, status: int) -> None:
    response = await ask(edge, await a_partner(edge), **form)

    assert (response.status_code, response.json()["error"]) == (status, error)


@pytest.mark.parametrize(
    ("content", "content_type"),
    [
        (b"grant_type=client_credentials&grant_type=client_credentials", "application/x-www-form-urlencoded"),
        (b'{"grant_type": "client_credentials"}', "application/json"),
        (b"a=" + b"x" * 20_000, "application/x-www-form-urlencoded"),
        (b"&".join(b"a%d=1" % each for each in range(40)), "application/x-www-form-urlencoded"),
        (b"grant_type=%ff", "application/x-www-form-urlencoded"),
        (b"grant_type=\xff", "application/x-www-form-urlencoded"),
    ],
)
async def test_a_form_that_cannot_be_read_is_an_invalid_request(edge: Edge, content: bytes, content_type: str) -> None:
    response = await edge.client.post(
        "/oauth/token",
        content=content,
        headers={"Content-Type": content_type},
        auth=BasicAuth(*await a_partner(edge)),
    )

    assert (response.status_code, response.json()["error"]) == (400, "invalid_request")


@pytest.mark.parametrize("header", ["Basic", "Basic !!!", "Basic bm9jb2xvbg==", "Bearer abc", "Basic /w=="])
async def test_a_damaged_authorization_header_is_an_invalid_client(edge: Edge, header: str) -> None:
    response = await edge.client.post(
        "/oauth/token", data={"grant_type": "client_credentials"}, headers={"Authorization": header}
    )

    assert (response.status_code, response.json()["error"]) == (401, "invalid_client")


async def test_credentials_in_the_header_are_form_encoded(edge: Edge) -> None:
    client_id, secret = await a_partner(edge)
    encoded = base64.b64encode(f"{client_id.replace('_', '%5F')}:{secret.replace('_', '%5F')}".encode())

    response = await edge.client.post(
        "/oauth/token",
        data={"grant_type": "client_credentials"},
        headers={"Authorization": f"Basic {encoded.decode()}"},
    )

    assert response.status_code == 200


async def test_the_secret_is_not_kept(edge: Edge, store: Store) -> None:
    client_id, secret = await a_partner(edge)

    document = await store.partners.find_one({"_id": client_id})

    assert secret not in str(document)
    assert document is not None
    assert len(document["secrets"][0]["hmac"]) == 32


async def test_the_metadata_names_what_there_is(edge: Edge) -> None:
    metadata = (await edge.client.get("/.well-known/oauth-authorization-server")).json()

    assert metadata["issuer"] == "http://localhost:8000"
    assert metadata["token_endpoint"] == "http://localhost:8000/oauth/token"
    assert metadata["jwks_uri"] == "http://localhost:8000/.well-known/jwks.json"
    assert metadata["grant_types_supported"] == ["authorization_code", "client_credentials", "refresh_token"]
    assert metadata["code_challenge_methods_supported"] == ["S256"]
    for name in ("authorization", "token", "revocation", "introspection"):
        assert metadata[f"{name}_endpoint"].startswith("http://localhost:8000/oauth/")
    for name in ("token", "revocation", "introspection"):
        methods = ["client_secret_basic", "client_secret_post", "private_key_jwt"]
        assert metadata[f"{name}_endpoint_auth_methods_supported"] == methods


@pytest.mark.parametrize(
    ("name", "scopes", "field"),
    [
        ("", ["wallet:read"], "name"),
        ("x" * 101, [], "name"),
        ("Till", ["staff:adjust"], "scopes"),
        ("Till", ["x"], "scopes"),
    ],
)
async def test_a_partner_that_cannot_be_is_not_made(
    edge: Edge, store: Store, name: str, scopes: list[str], field: str
) -> None:
    with pytest.raises(PartnerInvalid) as refused:
        await create_partner(store, "s" * 32, name=name, scopes=scopes, now=START)

    assert refused.value.field == field
    assert await store.partners.count_documents({}) == 0
