"""OAuth 2 for partner apps: issuing, revoking and introspecting tokens, and the metadata that clients need.

    client_credentials   RFC 6749 §4.4        what the app does for itself
    authorization_code   RFC 6749 §4.1, 7636  what it does as a member who let it in; the consumer app is the screen
    refresh_token        RFC 6749 §6          works once, as a member's own does (domain.members.session)

Beside them revocation (RFC 7009), introspection (RFC 7662), metadata (RFC 8414) and the keys. Refusals have the shape
of RFC 6749 §5.2.
"""

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final

from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import Route

from api.auth.oauth_client import METHODS, authenticate
from api.auth.oauth_form import NOT_STORED, OAuthError, json_response, read_form, required
from api.auth.public_key import ALGORITHMS
from api.auth.tokens import TOKEN_SECONDS, AccessToken
from api.context import Services
from domain.members.grant import find_grant
from domain.members.session import Delegation, Family, Refusal, Session, end_session, family_of, refresh_session
from domain.partners.authorization import CodeRefusal, trade_code
from domain.partners.denial import deny, of_token
from domain.partners.partner import Partner
from domain.partners.scopes import PARTNER_SCOPES

AUTHORIZE_PATH: Final = "/oauth/authorize"
TOKEN_PATH: Final = "/oauth/token"  # noqa: S105 -- a path
REVOKE_PATH: Final = "/oauth/revoke"
INTROSPECT_PATH: Final = "/oauth/introspect"
JWKS_PATH: Final = "/.well-known/jwks.json"
METADATA_PATH: Final = "/.well-known/oauth-authorization-server"
GRANT_TYPES: Final = ("authorization_code", "client_credentials", "refresh_token")
_KEPT_SHORTLY: Final = {"Cache-Control": "public, max-age=300"}
_INACTIVE: Final = {"active": False}
_OPEN_THE_APP: Final = (
    "<!doctype html><meta charset=utf-8><meta name=viewport content='width=device-width'><title>Open the app</title>"
    "<p>Open this address on the phone that has the wallet's app: it asks you there whether to let the other app in."
)
_CODE_REFUSED: Final[Mapping[CodeRefusal, str]] = {
    CodeRefusal.UNKNOWN: "There is no such code for this client.",
    CodeRefusal.USED: "The code was used before; what it gave has ended.",
    CodeRefusal.EXPIRED: "The code has expired; codes are valid for 60 seconds.",
    CodeRefusal.ADDRESS_DIFFERS: "redirect_uri is not the one that the code was made for.",
    CodeRefusal.VERIFIER_WRONG: "code_verifier does not match the challenge (S256).",
}
_REFRESH_REFUSED: Final[Mapping[Refusal, str]] = {
    Refusal.UNKNOWN: "This is not a refresh token of this client.",
    Refusal.EXPIRED: "The refresh token was not used for too long, or is too old.",
    Refusal.REUSED: "The refresh token was used before; everything that came of it has ended.",
    Refusal.ENDED: "The grant or session of this refresh token has ended.",
}

_Answer = Callable[[Services, Partner, dict[str, str]], Awaitable[Response]]


def oauth_routes(services: Services) -> list[Route]:
    """The endpoints, to be mounted at the root."""

    async def jwks(_request: Request) -> Response:
        await services.clock.refresh()
        return json_response(await services.tokens.jwks(services.clock.now()), 200, _KEPT_SHORTLY)

    async def metadata(_request: Request) -> Response:
        return json_response(_metadata(services.settings.public_url), 200, _KEPT_SHORTLY)

    return [
        Route(AUTHORIZE_PATH, _authorize, methods=["GET"]),
        _for_clients(services, TOKEN_PATH, _token),
        _for_clients(services, REVOKE_PATH, _revoke),
        _for_clients(services, INTROSPECT_PATH, _introspect),
        Route(JWKS_PATH, jwks, methods=["GET"]),
        Route(METADATA_PATH, metadata, methods=["GET"]),
    ]


def _for_clients(services: Services, path: str, answer: _Answer) -> Route:
    """An endpoint that takes a form from a client that proves itself."""

    async def endpoint(request: Request) -> Response:
        try:
            form = await read_form(request)
            address = f"{services.settings.public_url}{path}"
            partner = await authenticate(services, request.headers.get("authorization"), form, endpoint=address)
            await services.clock.refresh()
            return await answer(services, partner, form)
        except OAuthError as error:
            return error.response()

    return Route(path, endpoint, methods=["POST"])


async def _authorize(_request: Request) -> Response:
    """Where a partner sends the member: the phone opens it in the consumer app, which calls `authorizeApp`."""
    return HTMLResponse(_OPEN_THE_APP, headers={"Content-Security-Policy": "default-src 'none'", **NOT_STORED})


async def _token(services: Services, partner: Partner, form: dict[str, str]) -> Response:
    match required(form, "grant_type"):
        case "client_credentials":
            scopes = _granted(form.get("scope"), partner.scopes)
            token = await services.tokens.issue_partner_token(partner.client_id, scopes, services.clock.now())
            return _issued(token, scopes)
        case "authorization_code":
            return await _trade(services, partner, form)
        case "refresh_token":
            return await _refresh(services, partner, form)
    raise OAuthError("unsupported_grant_type", f"Grant types: {', '.join(GRANT_TYPES)}.")


async def _trade(services: Services, partner: Partner, form: dict[str, str]) -> Response:
    session = await trade_code(
        services.store,
        services.settings.secret,
        required(form, "code"),
        client_id=partner.client_id,
        redirect_uri=required(form, "redirect_uri"),
        verifier=required(form, "code_verifier"),
        now=services.clock.now(),
    )
    if isinstance(session, CodeRefusal):
        services.tokens.forget_denials()
        raise OAuthError("invalid_grant", _CODE_REFUSED[session])
    return await _as_member(services, partner, session, asked=None)


async def _refresh(services: Services, partner: Partner, form: dict[str, str]) -> Response:
    text, store, now = required(form, "refresh_token"), services.store, services.clock.now()
    family = await family_of(store, services.settings.secret, text)
    delegation = None if family is None else family.delegation
    if family is not None and delegation is not None and delegation.client_id == partner.client_id:
        # Before the token is used up: a wish that cannot be granted, or a grant taken back, leaves it as it is.
        _granted(form.get("scope"), delegation.scopes & partner.scopes)
        if await find_grant(store, family.member, client_id=partner.client_id, nonce=delegation.grant) is None:
            raise OAuthError("invalid_grant", _REFRESH_REFUSED[Refusal.ENDED])
    refreshed = await refresh_session(store, services.settings.secret, text, now=now, client_id=partner.client_id)
    if isinstance(refreshed, Refusal):
        services.tokens.forget_denials()
        raise OAuthError("invalid_grant", _REFRESH_REFUSED[refreshed])
    return await _as_member(services, partner, refreshed, asked=form.get("scope"))


async def _as_member(services: Services, partner: Partner, session: Session, *, asked: str | None) -> Response:
    delegation = session.delegation
    assert isinstance(delegation, Delegation), session.id
    scopes = _granted(asked, delegation.scopes & partner.scopes)
    token = await services.tokens.issue_partner_token(
        partner.client_id,
        scopes,
        services.clock.now(),
        member_id=session.member,
        session=session.id,
        grant=delegation.grant,
    )
    return _issued(token, scopes, refresh_token=session.refresh_token)


def _issued(token: AccessToken, scopes: frozenset[str], *, refresh_token: str | None = None) -> Response:
    told = {
        "access_token": token.text,
        "token_type": "Bearer",
        "expires_in": TOKEN_SECONDS,
        "scope": " ".join(sorted(scopes)),
    }
    if refresh_token is not None:
        told["refresh_token"] = refresh_token
    return json_response(told, 200, NOT_STORED)


async def _revoke(services: Services, partner: Partner, form: dict[str, str]) -> Response:
    """Ends the token, and with a token that acts as a member all that came of the same code (RFC 7009 §2.1).

    What is no token of this client is none that works for it: the answer is the same.
    """
    found, now = await _token_of(services, partner, required(form, "token")), services.clock.now()
    session = found.id if isinstance(found, Family) else None if found is None else found.get("sid")
    if session is not None:
        await end_session(services.store, session, now=now)
    elif found is not None and not isinstance(found, Family):
        await deny(services.store, of_token(found["jti"]), now=now)
    services.tokens.forget_denials()
    return Response(status_code=200, headers=NOT_STORED)


async def _introspect(services: Services, partner: Partner, form: dict[str, str]) -> Response:
    """What a token of this client is good for now; of every other text it is told only that it is not active."""
    found = await _token_of(services, partner, required(form, "token"))
    if found is None:
        return json_response(_INACTIVE, 200, NOT_STORED)
    if isinstance(found, Family):
        return json_response(await _refresh_token_told(services, partner, found, form["token"]), 200, NOT_STORED)
    told = {name: found[name] for name in ("iss", "aud", "sub", "client_id", "iat", "exp", "jti")}
    told |= {"active": True, "scope": found.get("scope", ""), "token_type": "Bearer"}
    return json_response(told, 200, NOT_STORED)


async def _refresh_token_told(services: Services, partner: Partner, family: Family, text: str) -> Mapping[str, Any]:
    delegation = family.delegation
    assert delegation is not None, family.id
    grant = await find_grant(services.store, family.member, client_id=partner.client_id, nonce=delegation.grant)
    if grant is None or not family.holds(text, services.settings.secret, now=services.clock.now()):
        return _INACTIVE
    return {
        "active": True,
        "client_id": partner.client_id,
        "sub": family.member,
        "scope": " ".join(sorted(delegation.scopes & partner.scopes)),
        "iss": services.settings.public_url,
        "exp": int(family.expires_at.timestamp()),
    }


async def _token_of(services: Services, partner: Partner, text: str) -> Family | Mapping[str, Any] | None:
    """The family of a refresh token, or the claims of an access token that holds, if it is this client's."""
    family = await family_of(services.store, services.settings.secret, text)
    if family is not None:
        return family if family.client_id == partner.client_id else None
    claims = await services.tokens.claims_of(text, services.clock.now())
    return claims if claims is not None and claims["client_id"] == partner.client_id else None


def _granted(asked: str | None, scopes: frozenset[str]) -> frozenset[str]:
    """What was asked for, or all that there are. Raises OAuthError for any other scope."""
    wanted = frozenset((asked or "").split()) or scopes
    if beyond := wanted - scopes:
        shown = ", ".join(sorted(beyond & PARTNER_SCOPES)) or "one that does not exist"
        raise OAuthError("invalid_scope", f"This client does not have the scope: {shown}.")
    return wanted


def _metadata(public_url: str) -> dict[str, object]:
    """RFC 8414, of what there is."""
    proofs = {
        f"{endpoint}_endpoint_auth_{what}_supported": list(values)
        for endpoint in ("token", "revocation", "introspection")
        for what, values in (("methods", METHODS), ("signing_alg_values", ALGORITHMS))
    }
    return {
        "issuer": public_url,
        "authorization_endpoint": f"{public_url}{AUTHORIZE_PATH}",
        "token_endpoint": f"{public_url}{TOKEN_PATH}",
        "revocation_endpoint": f"{public_url}{REVOKE_PATH}",
        "introspection_endpoint": f"{public_url}{INTROSPECT_PATH}",
        "jwks_uri": f"{public_url}{JWKS_PATH}",
        "scopes_supported": sorted(PARTNER_SCOPES),
        "response_types_supported": ["code"],
        "response_modes_supported": ["query"],
        "grant_types_supported": list(GRANT_TYPES),
        "code_challenge_methods_supported": ["S256"],
        "authorization_response_iss_parameter_supported": True,
        **proofs,
    }
