"""Which partner app is calling an OAuth endpoint, and the proof of it.

    client_secret_basic   the secret in the Authorization header     RFC 6749 §2.3.1
    client_secret_post    the secret in the form                     RFC 6749 §2.3.1
    private_key_jwt       a signed assertion that works once         RFC 7523 §2.2, §3

Whether the client does not exist, is disabled or proved nothing is not told. The times of an assertion go by the
machine's clock, as its maker's do.
"""

import base64
import binascii
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final
from urllib.parse import unquote_plus

import jwt

from api.auth.oauth_form import OAuthError
from api.auth.public_key import ALGORITHMS, PublicKey, algorithm_of, public_key
from api.context import Services
from domain.partners.assertion import use_assertion
from domain.partners.partner import Partner, find_partner, proves

METHODS: Final = ("client_secret_basic", "client_secret_post", "private_key_jwt")
ASSERTION_TYPE: Final = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
LONGEST_ASSERTION_LIFE: Final = timedelta(hours=1)
SKEW: Final = timedelta(seconds=60)
MAX_JTI_LENGTH: Final = 200
_NOBODY: Final = b"\0" * 32


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientCredentials:
    """What a client says it is."""

    client_id: str
    secret: str


async def authenticate(
    services: Services, authorization: str | None, form: dict[str, str], *, endpoint: str
) -> Partner:
    """The partner that a request to the endpoint, an absolute address, proves to be from. Raises OAuthError."""
    if "client_assertion" in form or "client_assertion_type" in form:
        if authorization is not None or "client_secret" in form:
            raise OAuthError("invalid_request", "Prove the client in one way only.")
        return await _by_assertion(services, form, endpoint=endpoint)
    return await _by_secret(services, client_credentials(authorization, form))


def client_credentials(authorization: str | None, form: dict[str, str]) -> ClientCredentials:
    """The credentials of RFC 6749 §2.3.1. Raises OAuthError for none, or for more than one way at once."""
    if authorization is not None and "client_secret" in form:
        raise OAuthError("invalid_request", "Send the client's secret in one way only.")
    if authorization is None:
        if not form.get("client_id") or not form.get("client_secret"):
            raise OAuthError("invalid_client", "Send client_id and client_secret.")
        return ClientCredentials(client_id=form["client_id"], secret=form["client_secret"])
    scheme, _, encoded = authorization.partition(" ")
    try:
        pair = base64.b64decode(encoded.strip(), validate=True).decode()
    except (binascii.Error, UnicodeDecodeError):
        pair = ""
    client_id, colon, secret = pair.partition(":")
    if scheme.lower() != "basic" or not colon:
        raise OAuthError("invalid_client", "The Authorization header is not HTTP Basic.")
    if form.get("client_id", unquote_plus(client_id)) != unquote_plus(client_id):
        raise OAuthError("invalid_request", "The form names another client than the Authorization header.")
    return ClientCredentials(client_id=unquote_plus(client_id), secret=unquote_plus(secret))


async def _by_secret(services: Services, credentials: ClientCredentials) -> Partner:
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
        raise OAuthError("invalid_client", "No such client, or the secret is wrong.")
    return partner


async def _by_assertion(services: Services, form: dict[str, str], *, endpoint: str) -> Partner:
    if form.get("client_assertion_type") != ASSERTION_TYPE:
        raise OAuthError("invalid_request", f"client_assertion_type must be {ASSERTION_TYPE}.")
    assertion, now = form.get("client_assertion", ""), datetime.now(UTC)
    header, subject = _unverified(assertion)
    if form.get("client_id", subject) != subject:
        raise OAuthError("invalid_request", "The form names another client than the assertion.")
    partner = await find_partner(services.store, subject)
    key = None if partner is None or partner.disabled else _key_of(partner, header)
    if partner is None or key is None:
        raise _unproven()
    public_url = services.settings.public_url
    claims = _claims(assertion, key, client_id=subject, audiences=[endpoint, public_url, f"{public_url}/oauth/token"])
    try:
        expires_at = datetime.fromtimestamp(claims["exp"], UTC)
    except (TypeError, ValueError, OverflowError, OSError):
        raise _unproven() from None
    identifier = claims["jti"]
    if (
        expires_at > now + LONGEST_ASSERTION_LIFE + SKEW
        or not isinstance(identifier, str)
        or not 1 <= len(identifier) <= MAX_JTI_LENGTH
        or not await use_assertion(services.store, subject, identifier, until=expires_at + SKEW)
    ):
        raise _unproven()
    return partner


def _unverified(assertion: str) -> tuple[dict[str, Any], str]:
    """The header of the assertion, and the client that it says it is from."""
    try:
        read = jwt.decode_complete(assertion, options={"verify_signature": False})
    except (jwt.PyJWTError, ValueError, RecursionError):
        raise _unproven() from None
    header, subject = read["header"], read["payload"].get("sub")
    if header.get("alg") not in ALGORITHMS or not isinstance(subject, str):
        raise _unproven()
    return header, subject


def _key_of(partner: Partner, header: dict[str, Any]) -> PublicKey | None:
    """The partner's key that the header names; without a name, its only one of that algorithm."""
    kid = header.get("kid")
    keys = [public_key(jwk) for jwk in partner.keys if kid is None or jwk.get("kid") in {kid, None}]
    suited = [key for key in keys if key is not None and algorithm_of(key) == header["alg"]]
    return suited[0] if len(suited) == 1 else None


def _claims(assertion: str, key: PublicKey, *, client_id: str, audiences: list[str]) -> dict[str, Any]:
    try:
        claims: dict[str, Any] = jwt.decode(
            assertion,
            key,
            algorithms=[algorithm_of(key)],
            audience=audiences,
            issuer=client_id,
            leeway=SKEW,
            options={"require": ["iss", "sub", "aud", "exp", "jti"]},
        )
    except (jwt.PyJWTError, ValueError, OverflowError):
        raise _unproven() from None
    return claims


def _unproven() -> OAuthError:
    return OAuthError("invalid_client", "No such client, or the assertion is invalid or was used before.")
