"""OAuth 2 for partner apps: the token endpoint, and the documents by which a client finds its way.

Client credentials (RFC 6749 §4.4) with the secret in the Authorization header or in the form (§2.3.1). Every
refusal has the shape of §5.2; whether the client does not exist, is disabled or showed a wrong secret is not
told.
"""

import base64
import binascii
from dataclasses import dataclass
from typing import Final
from urllib.parse import parse_qsl, unquote_plus

import orjson
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from api.context import Services
from api.tokens import TOKEN_SECONDS
from domain.partners.partner import Partner, find_partner, proves
from domain.partners.scopes import PARTNER_SCOPES

MAX_FORM_BYTES: Final = 16 * 1024
MAX_FORM_FIELDS: Final = 30
TOKEN_PATH: Final = "/oauth/token"  # noqa: S105 -- a path
JWKS_PATH: Final = "/.well-known/jwks.json"
METADATA_PATH: Final = "/.well-known/oauth-authorization-server"
GRANT_TYPES: Final = ("client_credentials",)
_FORM: Final = "application/x-www-form-urlencoded"
_NOT_STORED: Final = {"Cache-Control": "no-store", "Pragma": "no-cache"}
_KEPT_SHORTLY: Final = {"Cache-Control": "public, max-age=300"}
_NOBODY: Final = b"\0" * 32


class OAuthError(Exception):
    """A refusal by RFC 6749 §5.2; `code` is its `error`. `basic` asks for HTTP Basic again."""

    def __init__(self, code: str, description: str, *, basic: bool = False) -> None:
        self.code = code
        self.description = description
        self.basic = basic
        super().__init__(code)

    def response(self) -> Response:
        headers = dict(_NOT_STORED)
        if self.basic:
            headers["WWW-Authenticate"] = 'Basic realm="oauth"'
        status = 401 if self.code == "invalid_client" else 400
        return _json({"error": self.code, "error_description": self.description}, status, headers)


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientCredentials:
    """What a client says it is. `basic` is true when it said so in the Authorization header."""

    client_id: str
    secret: str
    basic: bool


def oauth_routes(services: Services) -> list[Route]:
    """The endpoints, to be mounted at the root."""

    async def token(request: Request) -> Response:
        try:
            return await _token(request, services)
        except OAuthError as error:
            return error.response()

    async def jwks(_request: Request) -> Response:
        await services.clock.refresh()
        return _json(await services.tokens.jwks(services.clock.now()), 200, _KEPT_SHORTLY)

    async def metadata(_request: Request) -> Response:
        return _json(_metadata(services.settings.public_url), 200, _KEPT_SHORTLY)

    return [
        Route(TOKEN_PATH, token, methods=["POST"]),
        Route(JWKS_PATH, jwks, methods=["GET"]),
        Route(METADATA_PATH, metadata, methods=["GET"]),
    ]


def client_credentials(authorization: str | None, form: dict[str, str]) -> ClientCredentials:
    """The credentials of RFC 6749 §2.3.1. Raises OAuthError for none, or for more than one way at once."""
    if authorization is not None and "client_secret" in form:
        raise OAuthError("invalid_request", "Send the client's secret in one way only.")
    if authorization is None:
        if not form.get("client_id") or not form.get("client_secret"):
            raise OAuthError("invalid_client", "Send client_id and client_secret.", basic=True)
        return ClientCredentials(client_id=form["client_id"], secret=form["client_secret"], basic=False)
    scheme, _, encoded = authorization.partition(" ")
    try:
        pair = base64.b64decode(encoded.strip(), validate=True).decode()
    except (binascii.Error, UnicodeDecodeError):
        pair = ""
    client_id, colon, secret = pair.partition(":")
    if scheme.lower() != "basic" or not colon:
        raise OAuthError("invalid_client", "The Authorization header is not HTTP Basic.", basic=True)
    if form.get("client_id", unquote_plus(client_id)) != unquote_plus(client_id):
        raise OAuthError("invalid_request", "The form names another client than the Authorization header.")
    return ClientCredentials(client_id=unquote_plus(client_id), secret=unquote_plus(secret), basic=True)


async def authenticate(services: Services, credentials: ClientCredentials) -> Partner:
    """The partner that the credentials prove. Raises OAuthError, the same whatever was wrong."""
    partner = await find_partner(services.store, credentials.client_id)
    stand_in = Partner(
        client_id="",
        name="",
        scopes=frozenset(),
        secret_hmacs=(_NOBODY,),
        created_at=services.clock.now(),
    )
    proven = proves(partner or stand_in, credentials.secret, operator_secret=services.settings.secret)
    if partner is None or partner.disabled or not proven:
        raise OAuthError("invalid_client", "No such client, or not its secret.", basic=credentials.basic)
    return partner


async def _token(request: Request, services: Services) -> Response:
    form = await _form(request)
    partner = await authenticate(services, client_credentials(request.headers.get("authorization"), form))
    if "grant_type" not in form:
        raise OAuthError("invalid_request", "grant_type is missing.")
    if form["grant_type"] not in GRANT_TYPES:
        raise OAuthError("unsupported_grant_type", f"Grant types: {', '.join(GRANT_TYPES)}.")
    scopes = _granted(form.get("scope"), partner)
    await services.clock.refresh()
    token = await services.tokens.issue_partner_token(partner.client_id, scopes, services.clock.now())
    return _json(
        {
            "access_token": token.text,
            "token_type": "Bearer",
            "expires_in": TOKEN_SECONDS,
            "scope": " ".join(sorted(scopes)),
        },
        200,
        _NOT_STORED,
    )


def _granted(asked: str | None, partner: Partner) -> frozenset[str]:
    """What was asked for, or all that the partner has. Raises OAuthError for any other scope."""
    scopes = frozenset((asked or "").split()) or partner.scopes
    if beyond := scopes - partner.scopes:
        shown = ", ".join(sorted(beyond & PARTNER_SCOPES)) or "one that does not exist"
        raise OAuthError("invalid_scope", f"This client does not have the scope: {shown}.")
    return scopes


async def _form(request: Request) -> dict[str, str]:
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != _FORM:
        raise OAuthError("invalid_request", f"Send the parameters as {_FORM}.")
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > MAX_FORM_BYTES:
            raise OAuthError("invalid_request", f"The form is larger than {MAX_FORM_BYTES} bytes.")
    try:
        pairs = parse_qsl(
            body.decode("ascii"),
            keep_blank_values=True,
            max_num_fields=MAX_FORM_FIELDS,
            errors="strict",
        )
    except ValueError:
        raise OAuthError("invalid_request", "The form cannot be read.") from None
    form = dict(pairs)
    if len(form) != len(pairs):
        raise OAuthError("invalid_request", "A parameter is there twice.")
    return form


def _metadata(public_url: str) -> dict[str, object]:
    """RFC 8414, of what there is."""
    return {
        "issuer": public_url,
        "token_endpoint": f"{public_url}{TOKEN_PATH}",
        "jwks_uri": f"{public_url}{JWKS_PATH}",
        "scopes_supported": sorted(PARTNER_SCOPES),
        "response_types_supported": [],
        "grant_types_supported": list(GRANT_TYPES),
        "token_endpoint_auth_methods_supported": ["client_secret_basic", "client_secret_post"],
    }


def _json(content: object, status: int, headers: dict[str, str]) -> Response:
    return Response(orjson.dumps(content), status_code=status, headers=headers, media_type="application/json")
