"""A partner app that members let in, as its makers write one: a verifier, a redirect, a code, tokens."""

import base64
import hashlib
import secrets
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx

from domain.partners.partner import create_partner
from tests.api.shop import Shop, data

REDIRECT = "https://app.example/back"
SCOPES = ("members:read", "wallet:read", "activity:write", "prepaid:charge")
AUTHORIZE = """
mutation($input: AuthorizeAppInput!) {
  authorizeApp(input: $input) {
    __typename
    ... on AppAuthorized { redirectTo expiresAt }
    ... on NotFound { what }
    ... on InvalidInput { fields { path } }
  }
}
"""
REVOKE_APP = "mutation($partner: ID!) { revokeApp(partner: $partner) { id } }"
APPS = "{ me { connectedApps { partner { name clientId } scopes grantedAt lastUsedAt } } }"


@dataclass(frozen=True, kw_only=True)
class PartnerApp:
    shop: Shop
    client_id: str
    secret: str

    @property
    def auth(self) -> httpx.BasicAuth:
        return httpx.BasicAuth(self.client_id, self.secret)

    async def post(self, path: str, **form: str) -> httpx.Response:
        return await self.shop.http.post(path, data=form, auth=self.auth)

    async def authorized(self, member: str, verifier: str, **changes: Any) -> dict[str, Any]:
        """What authorizeApp answers to the member's phone."""
        wanted = {
            "clientId": self.client_id,
            "redirectUri": REDIRECT,
            "scopes": ["members:read", "wallet:read"],
            "codeChallenge": challenge(verifier),
            **changes,
        }
        answered: dict[str, Any] = (await self.shop.phone(member, AUTHORIZE, {"input": wanted}))["authorizeApp"]
        return answered

    async def code(self, member: str, verifier: str, **changes: Any) -> str:
        authorized = await self.authorized(member, verifier, **changes)
        return in_address(authorized["redirectTo"])["code"]

    async def trade(self, code: str, verifier: str, **changes: str) -> httpx.Response:
        form = {"code": code, "redirect_uri": REDIRECT, "code_verifier": verifier, **changes}
        return await self.post("/oauth/token", grant_type="authorization_code", **form)

    async def let_in(self, member: str, *scopes: str) -> dict[str, Any]:
        """The tokens that a member gave the app."""
        verifier = secrets.token_urlsafe(32)
        code = await self.code(member, verifier, **({"scopes": list(scopes)} if scopes else {}))
        answered = await self.trade(code, verifier)
        assert answered.status_code == 200, answered.text
        tokens: dict[str, Any] = answered.json()
        return tokens

    async def refresh(self, token: str, **form: str) -> httpx.Response:
        return await self.post("/oauth/token", grant_type="refresh_token", refresh_token=token, **form)

    async def introspect(self, token: str) -> dict[str, Any]:
        answered: dict[str, Any] = (await self.post("/oauth/introspect", token=token)).json()
        return answered

    async def works(self, access_token: str) -> bool:
        """Whether the API takes the access token."""
        answered = await self.shop.ask("{ partner { id } }", token=access_token)
        return "errors" not in answered


async def a_partner_app(shop: Shop, *, name: str = "Coffee", redirects: tuple[str, ...] = (REDIRECT,)) -> PartnerApp:
    partner, secret = await create_partner(
        shop.services.store,
        shop.services.settings.secret,
        name=name,
        scopes=SCOPES,
        redirect_uris=redirects,
        now=shop.clock.now(),
    )
    return PartnerApp(shop=shop, client_id=partner.client_id, secret=secret)


def challenge(verifier: str) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).rstrip(b"=").decode()


def in_address(address: str) -> dict[str, str]:
    """The parameters of an address, each there once."""
    found = parse_qs(urlsplit(address).query, keep_blank_values=True, strict_parsing=True)
    assert all(len(values) == 1 for values in found.values())
    return {name: values[0] for name, values in found.items()}


async def apps_of(shop: Shop, member: str) -> list[dict[str, Any]]:
    listed: list[dict[str, Any]] = data(await shop.ask(APPS, token=await shop.member_token(member)))["me"][
        "connectedApps"
    ]
    return listed
