"""OpenID Connect: identity tokens of the configured issuers (Core §3.1.3.7, Discovery, RFC 7517).

An issuer's keys are found by its discovery document and kept for an hour; where it does not answer they are used for
a day. A token with an unknown `kid` has them read again at once, for issuers change keys without notice, but not more
often than every ten seconds, so that made-up kids are no lever to flood the issuer with.
"""

import asyncio
import math
import time
from collections.abc import Mapping
from typing import Any, Final

import aiohttp
import jwt
import orjson
import structlog

from api.auth.identity import CLOCK_SKEW_SECONDS, Identity, IdentityReason, IdentityRefused, identity_from
from api.auth.public_key import PublicKey, algorithm_of, public_key
from domain.settings import OidcIssuer

FRESH_SECONDS: Final = 3_600.0
STALE_SECONDS: Final = 86_400.0
REFETCH_PAUSE_SECONDS: Final = 10.0
FETCH_TIMEOUT_SECONDS: Final = 5.0
MAX_DOCUMENT_BYTES: Final = 256 * 1024
MAX_KEYS: Final = 100
_DISCOVERY: Final = "/.well-known/openid-configuration"


_log = structlog.get_logger(__name__)


class _Unavailable(Exception):  # noqa: N818 -- a step of the reading, never seen outside
    """The issuer did not answer, or not with what it should; the text says which, without what it sent."""


class Issuer:
    """One issuer, and its keys as this process knows them."""

    def __init__(self, issuer: OidcIssuer, *, default_audience: str) -> None:
        self._url = issuer.url
        self._audiences = issuer.audiences or (default_audience,)
        self._keys: dict[str | None, PublicKey] = {}
        self._read_at = -math.inf
        self._tried_at = -math.inf
        self._asked_anew_at = -math.inf
        self._reading = asyncio.Lock()

    async def identity(self, token: str, header: Mapping[str, Any]) -> Identity:
        """The person whom the token names. Raises IdentityRefused."""
        key = await self._key_of(header)
        try:
            claims: dict[str, Any] = jwt.decode(
                token,
                key,
                algorithms=[algorithm_of(key)],
                audience=list(self._audiences),
                issuer=self._url,
                leeway=CLOCK_SKEW_SECONDS,
                options={"require": ["iss", "aud", "sub", "exp", "iat"]},
            )
        except (jwt.PyJWTError, ValueError, OverflowError) as error:
            raise IdentityRefused(reason_of(error)) from None
        if isinstance(claims["aud"], list) and len(claims["aud"]) > 1 and claims.get("azp") not in self._audiences:
            raise IdentityRefused(IdentityReason.AUDIENCE_WRONG)
        return identity_from(claims)

    async def _key_of(self, header: Mapping[str, Any]) -> PublicKey:
        async with self._reading:
            known_since = self._read_at
            await self._refresh()
            key, now = self._find(header.get("kid"), header["alg"]), time.monotonic()
            if key is None and self._read_at == known_since and now - self._asked_anew_at >= REFETCH_PAUSE_SECONDS:
                self._asked_anew_at = now
                await self._read()
                key = self._find(header.get("kid"), header["alg"])
        if key is None:
            raise IdentityRefused(IdentityReason.KEY_UNKNOWN)
        return key

    def _find(self, kid: object, algorithm: str) -> PublicKey | None:
        """The key of that id; of a token without one, the issuer's only key."""
        suited = {name: key for name, key in self._keys.items() if algorithm_of(key) == algorithm}
        if kid is None:
            return next(iter(suited.values())) if len(suited) == 1 else None
        return suited.get(kid) if isinstance(kid, str) else None

    async def _refresh(self) -> None:
        """Reads the keys if they are old. Raises IdentityRefused where what is known is older than may be used."""
        now = time.monotonic()
        if now - self._read_at >= FRESH_SECONDS and now - self._tried_at >= REFETCH_PAUSE_SECONDS:
            await self._read()
        if time.monotonic() - self._read_at >= STALE_SECONDS:
            raise IdentityRefused(IdentityReason.ISSUER_UNAVAILABLE)

    async def _read(self) -> None:
        self._tried_at = time.monotonic()
        try:
            self._keys = await _read_keys(self._url)
            self._read_at = time.monotonic()
        except _Unavailable as why:
            _log.warning("an identity issuer's keys could not be read", issuer=self._url, why=str(why))


def reason_of(error: Exception) -> IdentityReason:
    """What an app can do about it; why a token is INVALID is not told in detail."""
    match error:
        case jwt.ExpiredSignatureError():
            return IdentityReason.EXPIRED
        case jwt.ImmatureSignatureError():
            return IdentityReason.NOT_YET_VALID
        case jwt.InvalidAudienceError():
            return IdentityReason.AUDIENCE_WRONG
        case _:
            return IdentityReason.INVALID


async def _read_keys(issuer: str) -> dict[str | None, PublicKey]:
    """The issuer's keys that sign with an algorithm of ours, by their ids. Raises _Unavailable."""
    timeout = aiohttp.ClientTimeout(total=FETCH_TIMEOUT_SECONDS)
    async with aiohttp.ClientSession(timeout=timeout) as session:
        discovered = await _read_object(session, issuer.rstrip("/") + _DISCOVERY)
        if discovered.get("issuer") != issuer:
            raise _Unavailable("its discovery document names another issuer")
        address = discovered.get("jwks_uri")
        if not isinstance(address, str) or not _as_secure(address, issuer):
            raise _Unavailable("its discovery document has no jwks_uri, or one that is not as secure as itself")
        published = (await _read_object(session, address)).get("keys")
    if not isinstance(published, list):
        raise _Unavailable("its jwks_uri holds no keys")
    keys = {}
    for each in published[:MAX_KEYS]:
        key = public_key(each)
        if key is not None:
            keys[each.get("kid")] = key
    return keys


async def _read_object(session: aiohttp.ClientSession, address: str) -> dict[str, Any]:
    try:
        async with session.get(address, allow_redirects=False) as response:
            if response.status != 200:  # noqa: PLR2004 -- OK
                raise _Unavailable(f"it answered {response.status}")
            body = await response.content.read(MAX_DOCUMENT_BYTES + 1)
            while len(body) <= MAX_DOCUMENT_BYTES and (more := await response.content.read(MAX_DOCUMENT_BYTES)):
                body += more
    except (aiohttp.ClientError, TimeoutError, ValueError) as error:
        raise _Unavailable(type(error).__name__) from error
    if len(body) > MAX_DOCUMENT_BYTES:
        raise _Unavailable("it answered with too much")
    try:
        document = orjson.loads(body)
    except orjson.JSONDecodeError:
        document = None
    if not isinstance(document, dict):
        raise _Unavailable("it did not answer with a JSON object")
    return document


def _as_secure(address: str, issuer: str) -> bool:
    """Whether the keys come by TLS where the issuer does."""
    return address.startswith("https://") or (address.startswith("http://") and issuer.startswith("http://"))
