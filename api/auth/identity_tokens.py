"""Identity tokens: which of the configured issuers a token is from, and whom it names.

    Firebase Auth     by firebase-admin, for the project of WALLET_FIREBASE_PROJECT or of the credentials
    OpenID Connect    the issuers of WALLET_OIDC_ISSUERS (api.auth.oidc)

A sandbox also takes the unsigned tokens of Firebase's emulator, which anybody can make: in a sandbox anybody may sign
in as anybody. In no other mode does a token without a signature hold.
"""

import asyncio
from collections.abc import Mapping
from typing import Any, Final
from uuid import uuid4

import jwt
import structlog

from api.auth.identity import CLOCK_SKEW_SECONDS, Identity, IdentityReason, IdentityRefused, identity_from
from api.auth.oidc import Issuer, reason_of
from api.auth.public_key import ALGORITHMS
from domain.settings import Settings
from notifications.firebase.admin import FirebaseApp, IdTokenInvalid, Unreachable, open_app

MAX_TOKEN_LENGTH: Final = 16_384
FIREBASE: Final = "https://securetoken.google.com/"
_TYPES: Final = ("", "JWT")
_UNSIGNED: Final = "none"

_log = structlog.get_logger(__name__)


class IdentityTokens:
    """The issuers of one process. Opens nothing before the first token comes; to be closed."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._issuers = {each.url: Issuer(each, default_audience=settings.public_url) for each in settings.oidc_issuers}
        self._firebase: FirebaseApp | None = None
        self._opening = asyncio.Lock()

    async def identity(self, token: str) -> Identity:
        """The person whom the identity token names. Raises IdentityRefused."""
        header, issuer = _unverified(token)
        if issuer.startswith(FIREBASE) and issuer not in self._issuers:
            return await self._of_firebase(token, issuer, unsigned=header.get("alg") == _UNSIGNED)
        known = self._issuers.get(issuer)
        if known is None:
            raise IdentityRefused(IdentityReason.ISSUER_UNKNOWN)
        if header.get("alg") not in ALGORITHMS:
            raise IdentityRefused(IdentityReason.INVALID)
        return await known.identity(token, header)

    async def close(self) -> None:
        """Gives up what was opened."""
        firebase, self._firebase = self._firebase, None
        if firebase is not None:
            await asyncio.to_thread(firebase.close)

    async def _of_firebase(self, token: str, issuer: str, *, unsigned: bool) -> Identity:
        """The times are judged here as well: firebase-admin leaves them out where its emulator is switched on."""
        app = await self._app()
        emulated = unsigned and self._settings.sandbox
        project = issuer.removeprefix(FIREBASE) if app is None else app.project
        if issuer != FIREBASE + project or (app is None and not emulated):
            raise IdentityRefused(IdentityReason.ISSUER_UNKNOWN)
        claims = _judged(token, audience=project)
        if app is not None and not emulated:
            try:
                claims = await asyncio.to_thread(app.verify_id_token, token, skew_seconds=CLOCK_SKEW_SECONDS)
            except IdTokenInvalid:
                raise IdentityRefused(IdentityReason.INVALID) from None
            except Unreachable:
                _log.warning("the keys of Firebase Auth could not be read")
                raise IdentityRefused(IdentityReason.ISSUER_UNAVAILABLE) from None
        return identity_from(claims)

    async def _app(self) -> FirebaseApp | None:
        """The app of the settings; None where they name none. It reads a file, so it is opened in a thread, once."""
        async with self._opening:
            if self._firebase is None:
                self._firebase = await asyncio.to_thread(open_app, self._settings, name=f"identity-{uuid4()}")
            return self._firebase


def _judged(token: str, *, audience: str) -> Mapping[str, Any]:
    """The claims of a token for that audience whose time it is; its signature is not looked at.

    Raises IdentityRefused.
    """
    try:
        claims: Mapping[str, Any] = jwt.decode(
            token,
            audience=audience,
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
    return claims


def _unverified(token: str) -> tuple[Mapping[str, Any], str]:
    """The header, and the issuer that it says it is from. Raises IdentityRefused for what is not an identity token."""
    if len(token) > MAX_TOKEN_LENGTH:
        raise IdentityRefused(IdentityReason.MALFORMED)
    try:
        read = jwt.decode_complete(token, options={"verify_signature": False})
    except (jwt.PyJWTError, ValueError, RecursionError):
        raise IdentityRefused(IdentityReason.MALFORMED) from None
    header, issuer = read["header"], read["payload"].get("iss")
    if str(header.get("typ") or "").upper() not in _TYPES or not isinstance(issuer, str):
        raise IdentityRefused(IdentityReason.MALFORMED)
    return header, issuer
