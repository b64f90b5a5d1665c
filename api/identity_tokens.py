"""Identity tokens: which of the settings' issuers a token is from, and whom it names.

    Firebase Auth     by firebase-admin, for the project of WALLET_FIREBASE_PROJECT or of the credentials
    OpenID Connect    the issuers of WALLET_OIDC_ISSUERS (api.oidc)

A sandbox also takes the unsigned tokens of Firebase's emulator, which anybody can make: in a sandbox anybody may sign
in as anybody. In no other mode does a token without a signature reach as far as being read.
"""

from collections.abc import Mapping
from typing import Any, Final

import jwt

from api.identity import CLOCK_SKEW_SECONDS, Identity, IdentityReason, IdentityRefused, identity_from
from api.oidc import ALGORITHMS, Issuer, reason_of
from domain.settings import Settings

MAX_TOKEN_LENGTH: Final = 16_384
FIREBASE: Final = "https://securetoken.google.com/"
_TYPES: Final = ("", "JWT")


class IdentityTokens:
    """The issuers of one process. Opens nothing before the first token comes."""

    def __init__(self, settings: Settings) -> None:
        self._sandbox = settings.sandbox
        self._firebase_project = settings.firebase_project
        self._issuers = {each.url: Issuer(each, default_audience=settings.public_url) for each in settings.oidc_issuers}

    async def identity(self, token: str) -> Identity:
        """The person whom the identity token names. Raises IdentityRefused."""
        header, claims = _unverified(token)
        issuer = claims["iss"]
        if issuer.startswith(FIREBASE) and header.get("alg") == "none" and self._sandbox:
            return _emulated(token, claims, self._firebase_project)
        known = self._issuers.get(issuer)
        if known is None:
            raise IdentityRefused(IdentityReason.ISSUER_UNKNOWN)
        if header.get("alg") not in ALGORITHMS:
            raise IdentityRefused(IdentityReason.INVALID)
        return await known.identity(token, header)


def _emulated(token: str, claims: Mapping[str, Any], project: str | None) -> Identity:
    """The person in an unsigned token of Firebase's emulator; of any project where the settings name none.

    All but the signature is judged, times too.
    """
    named = claims["iss"].removeprefix(FIREBASE)
    if project is not None and named != project:
        raise IdentityRefused(IdentityReason.ISSUER_UNKNOWN)
    try:
        jwt.decode(
            token,
            audience=named,
            leeway=CLOCK_SKEW_SECONDS,
            options={
                "verify_signature": False,
                "verify_exp": True,
                "verify_nbf": True,
                "verify_iat": True,
                "verify_aud": True,
                "require": ["aud", "sub", "exp", "iat"],
            },
        )
    except (jwt.PyJWTError, ValueError, OverflowError) as error:
        raise IdentityRefused(reason_of(error)) from None
    return identity_from(claims)


def _unverified(token: str) -> tuple[Mapping[str, Any], Mapping[str, Any]]:
    """The header and the claims, whose issuer is a text. Raises IdentityRefused for what is no identity token."""
    if len(token) > MAX_TOKEN_LENGTH:
        raise IdentityRefused(IdentityReason.MALFORMED)
    try:
        read = jwt.decode_complete(token, options={"verify_signature": False})
    except (jwt.PyJWTError, ValueError, RecursionError):
        raise IdentityRefused(IdentityReason.MALFORMED) from None
    header, claims = read["header"], read["payload"]
    if str(header.get("typ") or "").upper() not in _TYPES or not isinstance(claims.get("iss"), str):
        raise IdentityRefused(IdentityReason.MALFORMED)
    return header, claims
