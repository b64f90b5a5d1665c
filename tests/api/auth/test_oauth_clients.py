"""Foreign OAuth clients, unmodified, against a server that listens; and clients that prove themselves by a key."""

import asyncio
import dataclasses
import secrets
import socket
import time
from collections.abc import AsyncIterator
from typing import Any

import httpx
import jwt
import pytest
import uvicorn
from authlib.integrations.httpx_client import AsyncOAuth2Client
from authlib.oauth2.rfc7523 import PrivateKeyJWT
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from oauthlib.oauth2 import BackendApplicationClient
from requests_oauthlib import OAuth2Session

from api.auth.oauth_client import ASSERTION_TYPE
from domain.partners.authorization import challenge_of
from domain.settings import Settings
from domain.store.connection import Store
from tests.api.auth.issuer import RSA_KEY, public_jwk
from tests.api.auth.partner_app import AUTHORIZE, REDIRECT, SCOPES, PartnerApp, a_partner_app, challenge
from tests.api.shop import Shop, codes, data, opened_shop

EC_KEY = ec.generate_private_key(ec.SECP256R1())
CREATE = """
mutation($jwks: JSON) {
  createPartner(input: {name: "Signer", scopes: ["members:read"], jwks: $jwks}) { partner { clientId keyIds } }
}
"""
SET_KEYS = "mutation($partner: ID!, $jwks: JSON!) { setPartnerKeys(partner: $partner, jwks: $jwks) { keyIds } }"
WHO = "{ partner { name } }"


@pytest.fixture
async def listening(store: Store, settings: Settings) -> AsyncIterator[tuple[Shop, str]]:
    """A shop behind a socket, and its address."""
    with socket.create_server(("127.0.0.1", 0)) as bound:
        base = f"http://127.0.0.1:{bound.getsockname()[1]}"
        async with opened_shop(store, dataclasses.replace(settings, public_url=base)) as shop:
            server = uvicorn.Server(uvicorn.Config(shop.app, log_config=None, lifespan="off"))
            serving = asyncio.create_task(server.serve(sockets=[bound]))
            yield shop, base
            server.should_exit = True
            await serving


async def let_in(shop: Shop, app: PartnerApp, authorization_url: str) -> str:
    """The address that the consumer app opens for what a client's authorization address asks."""
    asked = httpx.URL(authorization_url).params
    assert (asked["response_type"], asked["code_challenge_method"]) == ("code", "S256")
    wanted = {
        "clientId": asked["client_id"],
        "redirectUri": asked["redirect_uri"],
        "scopes": asked["scope"].split(),
        "codeChallenge": asked["code_challenge"],
        "state": asked["state"],
    }
    answered = await shop.phone(await shop.enrol(), AUTHORIZE, {"input": wanted})
    address: str = answered["authorizeApp"]["redirectTo"]
    return address


async def test_authlibs_client_does_every_flow_unmodified(listening: tuple[Shop, str]) -> None:
    shop, base = listening
    app = await a_partner_app(shop)

    async with AsyncOAuth2Client(
        app.client_id,
        app.secret,
        scope="members:read wallet:read",
        redirect_uri=REDIRECT,
        code_challenge_method="S256",
    ) as client:
        metadata = (await shop.http.get("/.well-known/oauth-authorization-server")).json()
        client.metadata["token_endpoint"] = metadata["token_endpoint"]
        verifier = secrets.token_urlsafe(48)
        address, state = client.create_authorization_url(metadata["authorization_endpoint"], code_verifier=verifier)
        back = await let_in(shop, app, address)
        token = await client.fetch_token(authorization_response=back, state=state, code_verifier=verifier)
        seen = await client.post(f"{base}/graphql", json={"query": WHO})
        refreshed = await client.refresh_token()
        seen_again = await client.post(f"{base}/graphql", json={"query": WHO})
        told = await client.introspect_token(metadata["introspection_endpoint"], token=refreshed["access_token"])
        revoked = await client.revoke_token(metadata["revocation_endpoint"], token=refreshed["refresh_token"])
        after = await client.introspect_token(metadata["introspection_endpoint"], token=refreshed["access_token"])
        itself = await client.fetch_token(grant_type="client_credentials")

    assert token["scope"] == "members:read wallet:read"
    assert seen.json()["data"] == seen_again.json()["data"] == {"partner": {"name": "Coffee"}}
    assert refreshed["refresh_token"] != token["refresh_token"]
    assert told.json()["active"] is True
    assert revoked.status_code == 200
    assert after.json() == {"active": False}
    assert itself["scope"] == "members:read wallet:read"
    assert "refresh_token" not in itself


async def test_oauthlib_does_every_flow_unmodified(
    listening: tuple[Shop, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    shop, base = listening
    app = await a_partner_app(shop)
    monkeypatch.setenv("OAUTHLIB_INSECURE_TRANSPORT", "1")

    def flows(back: str | None, session: OAuth2Session, verifier: str | None) -> dict[str, Any]:
        taken: dict[str, Any] = session.fetch_token(
            f"{base}/oauth/token", authorization_response=back, client_secret=app.secret, code_verifier=verifier
        )
        return taken

    session = OAuth2Session(app.client_id, redirect_uri=REDIRECT, scope=["members:read"], pkce="S256")
    address, _ = session.authorization_url(f"{base}/oauth/authorize")
    back = await let_in(shop, app, address)
    token = await asyncio.to_thread(flows, back, session, None)
    seen = await asyncio.to_thread(session.post, f"{base}/graphql", json={"query": WHO})
    refreshed = await asyncio.to_thread(session.refresh_token, f"{base}/oauth/token", auth=(app.client_id, app.secret))
    own = OAuth2Session(client=BackendApplicationClient(client_id=app.client_id))
    itself = await asyncio.to_thread(
        own.fetch_token, f"{base}/oauth/token", client_id=app.client_id, client_secret=app.secret
    )

    assert seen.json()["data"] == {"partner": {"name": "Coffee"}}
    assert token["refresh_token"] != refreshed["refresh_token"]
    assert itself["token_type"] == "Bearer"
    assert set(itself["scope"]) == set(SCOPES)


async def test_authlibs_client_proves_itself_by_a_key(listening: tuple[Shop, str]) -> None:
    shop, base = listening
    created = await shop.staff(
        CREATE, {"jwks": {"keys": [{"kid": "k1", **public_jwk(RSA_KEY)}]}}, scopes=("staff:partners",)
    )
    partner = created["createPartner"]["partner"]
    pem = RSA_KEY.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )

    async with AsyncOAuth2Client(
        partner["clientId"],
        pem.decode(),
        token_endpoint_auth_method=PrivateKeyJWT(f"{base}/oauth/token", headers={"kid": "k1"}),
        token_endpoint=f"{base}/oauth/token",
    ) as client:
        token = await client.fetch_token(grant_type="client_credentials")
        seen = await client.post(f"{base}/graphql", json={"query": WHO})

    assert partner["keyIds"] == ["k1"]
    assert token["scope"] == "members:read"
    assert seen.json()["data"] == {"partner": {"name": "Signer"}}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Signer:
    """A partner with a key, and a request for a token with an assertion that is sound but for what is given."""

    shop: Shop
    client_id: str

    def assertion(self, *, key: Any = EC_KEY, algorithm: str = "ES256", kid: str | None = "k1", **claims: Any) -> str:
        now = int(time.time())
        sound = {
            "iss": self.client_id,
            "sub": self.client_id,
            "aud": "http://localhost:8000/oauth/token",
            "iat": now,
            "exp": now + 300,
            "jti": secrets.token_hex(8),
        }
        payload = {name: value for name, value in (sound | claims).items() if value is not None}
        return jwt.encode(payload, key, algorithm=algorithm, headers={} if kid is None else {"kid": kid})

    async def ask(self, assertion: str, **form: str) -> httpx.Response:
        sound = {
            "grant_type": "client_credentials",
            "client_assertion_type": ASSERTION_TYPE,
            "client_assertion": assertion,
        }
        return await self.shop.http.post("/oauth/token", data=sound | form)


@pytest.fixture
async def signer(shop: Shop) -> Signer:
    created = await shop.staff(
        CREATE, {"jwks": {"keys": [{"kid": "k1", **public_jwk(EC_KEY)}]}}, scopes=("staff:partners",)
    )
    return Signer(shop=shop, client_id=created["createPartner"]["partner"]["clientId"])


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"kid": None},
        {"aud": "http://localhost:8000"},
        {"aud": ["http://localhost:8000/oauth/token", "x"]},
        {"iat": None},
    ],
)
async def test_an_assertion_that_holds_works_once(signer: Signer, changes: dict[str, Any]) -> None:
    assertion = signer.assertion(**changes)

    at_once = await asyncio.gather(*(signer.ask(assertion) for _ in range(4)))
    later = await signer.ask(assertion)

    assert sorted(each.status_code for each in at_once) == [200, 401, 401, 401]
    assert (later.status_code, later.json()["error"]) == (401, "invalid_client")


@pytest.mark.parametrize(
    "changes",
    [
        {"aud": "https://other.example/oauth/token"},
        {"iss": "pa_another"},
        {"sub": "pa_another", "iss": "pa_another"},
        {"sub": None},
        {"exp": None},
        {"exp": 1},
        {"exp": int(time.time()) + 7_200},
        {"exp": 10**30},
        {"nbf": int(time.time()) + 600},
        {"jti": None},
        {"jti": ""},
        {"jti": "x" * 300},
        {"kid": "k2"},
        {"key": ec.generate_private_key(ec.SECP256R1())},
        {"key": RSA_KEY, "algorithm": "RS256"},
        {"key": "secret" * 10, "algorithm": "HS256"},
        {"key": "", "algorithm": "none"},
    ],
)
async def test_an_assertion_that_does_not_hold_proves_nobody(signer: Signer, changes: dict[str, Any]) -> None:
    refused = await signer.ask(signer.assertion(**changes))

    assert (refused.status_code, refused.json()["error"]) == (401, "invalid_client")
    assert refused.headers["cache-control"] == "no-store"
    assert await signer.shop.services.store.assertions.count_documents({}) == 0


async def test_an_assertion_is_shown_in_one_way_and_of_one_kind(signer: Signer) -> None:
    other_type = await signer.ask(signer.assertion(), client_assertion_type="urn:x")
    with_secret = await signer.ask(signer.assertion(), client_secret="x")
    other_client = await signer.ask(signer.assertion(), client_id="pa_another")
    garbage = await signer.ask("garbage")

    assert {each.json()["error"] for each in (other_type, with_secret, other_client)} == {"invalid_request"}
    assert garbage.json()["error"] == "invalid_client"


async def test_staff_change_a_partners_keys_and_a_key_that_is_none_is_named(signer: Signer) -> None:
    async def set_keys(*keys: Any) -> dict[str, Any]:
        token = await signer.shop.staff_token("staff:partners")
        variables = {"partner": signer.client_id, "jwks": {"keys": list(keys)}}
        return await signer.shop.ask(SET_KEYS, variables, token=token)

    new = ec.generate_private_key(ec.SECP256R1())
    private = {**public_jwk(new), "kid": "k2", "d": "secret"}

    changed = data(await set_keys(private))["setPartnerKeys"]
    old, now = await signer.ask(signer.assertion()), await signer.ask(signer.assertion(key=new, kid="k2"))
    wrong = [
        await set_keys({"kid": "k3", "kty": "oct", "k": "AAAA"}),
        await set_keys(public_jwk(new)),
        await set_keys(private, private),
    ]
    kept = await signer.shop.services.store.partners.find_one({"_id": signer.client_id})

    assert changed == {"keyIds": ["k2"]}
    assert (old.status_code, now.status_code) == (401, 200)
    assert [codes(each) for each in wrong] == [["BAD_USER_INPUT"]] * 3
    assert kept is not None
    assert "d" not in kept["keys"][0]


def test_the_challenge_is_that_of_the_rfc() -> None:
    """RFC 7636, appendix B."""
    verifier = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk"

    assert challenge_of(verifier) == challenge(verifier) == "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM"
