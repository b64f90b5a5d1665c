"""Access tokens: JWTs by RFC 9068, signed with ES256, verified without a look-up.

All times go by the domain's clock, which a sandbox may move by years: `now` is given by the caller, and a token
holds or not at that instant. The keys are those of domain.partners.signing_key.

Whatever is wrong with a token, `caller_of` answers the same `Anonymous(token_refused=True)`.
"""

import asyncio
import time
import uuid
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Any, Final

import jwt

from api.access import Anonymous, Caller, MemberCaller, PartnerCaller, StaffCaller
from domain.members.grant import GrantUse
from domain.partners.denial import Denials, of_grant, of_member, of_session, of_token
from domain.partners.scopes import STAFF_SCOPES, unknown_scopes
from domain.partners.signing_key import TOKEN_LIFE, Keyring, SigningKey, load_keyring, public_jwk
from domain.partners.standing import Standing
from domain.settings import Settings
from domain.store.buckets import Allowance
from domain.store.connection import Store

ALGORITHM: Final = "ES256"
TOKEN_TYPE: Final = "at+jwt"  # noqa: S105 -- RFC 9068 §2.1
TOKEN_SECONDS: Final = int(TOKEN_LIFE.total_seconds())
SKEW_SECONDS: Final = 5
RELOAD_AFTER: Final = timedelta(minutes=5)
RELOAD_PAUSE_SECONDS: Final = 5.0
MAX_TOKEN_LENGTH: Final = 4_096
KEPT_TOKENS: Final = 10_000
APP_CLIENT: Final = "member-app"
STAFF_CLIENT: Final = "staff"
_REQUIRED: Final = ["iss", "aud", "sub", "client_id", "iat", "exp", "jti", "kind"]


class ScopeUnknown(ValueError):  # noqa: N818 -- says what is the case
    """A token was asked for scopes that do not exist; the text names them and is fit to be shown."""


class TokenKind(StrEnum):
    MEMBER = "member"
    PARTNER = "partner"
    STAFF = "staff"


@dataclass(frozen=True, slots=True, kw_only=True)
class AccessToken:
    """`text` goes into the Authorization header; it holds before `expires_at`."""

    text: str
    expires_at: datetime


class Tokens:
    """Issues and verifies access tokens. One for each process; `open_tokens` makes it."""

    def __init__(self, store: Store, settings: Settings, keyring: Keyring) -> None:
        self._store = store
        self._issuer = settings.public_url
        self._operator_secret = settings.secret
        self._keyring = keyring
        self._reloading = asyncio.Lock()
        self._reloaded_at = time.monotonic()
        self._verified: OrderedDict[str, dict[str, Any]] = OrderedDict()
        self._standing = Standing(store)
        self._denials = Denials(store)
        self._grant_use = GrantUse(store)

    async def issue_member_token(self, member_id: str, now: datetime, *, session: str | None = None) -> AccessToken:
        """For the member's own app; `session` is the id of the session that it belongs to."""
        claims = {"sub": member_id, "client_id": APP_CLIENT, "kind": TokenKind.MEMBER}
        return await self._issue(claims | ({"sid": session} if session else {}), now)

    async def issue_partner_token(
        self,
        client_id: str,
        scopes: Sequence[str] | frozenset[str],
        now: datetime,
        *,
        member_id: str | None = None,
        session: str | None = None,
        grant: str | None = None,
    ) -> AccessToken:
        """For a partner app; with `member_id`, delegated: `sub` is then the member (RFC 9068 §2.2).

        `session` and `grant` are what a delegated token ends with before its time.
        """
        claims = {"sub": member_id or client_id, "client_id": client_id, "kind": TokenKind.PARTNER}
        ends_with = {"sid": session} if session else {}
        ends_with |= {"gid": grant} if grant else {}
        return await self._issue(claims | {"scope": " ".join(sorted(scopes))} | ends_with, now)

    async def issue_staff_token(
        self, subject: str, scopes: Sequence[str] | frozenset[str], now: datetime
    ) -> AccessToken:
        """For staff. Raises ScopeUnknown."""
        if unknown := unknown_scopes(scopes, STAFF_SCOPES):
            raise ScopeUnknown(f"Not a staff scope: {', '.join(unknown)}. There are {', '.join(sorted(STAFF_SCOPES))}.")
        claims = {"sub": subject, "client_id": STAFF_CLIENT, "kind": TokenKind.STAFF}
        return await self._issue(claims | {"scope": " ".join(sorted(scopes))}, now)

    async def caller_of(self, authorization: str | None, now: datetime) -> Caller:
        """Whom the value of an Authorization header speaks for at `now`."""
        return (await self.caller_until(authorization, now))[0]

    async def caller_until(self, authorization: str | None, now: datetime) -> tuple[Caller, datetime | None]:
        """The same, and the instant at which the token ends; None for nobody in particular."""
        if authorization is None:
            return Anonymous(), None
        scheme, _, token = authorization.partition(" ")
        claims = await self.claims_of(token.strip(), now) if scheme.lower() == "bearer" else None
        caller = None if claims is None else _caller(claims)
        if isinstance(caller, PartnerCaller) and caller.member_id is not None:
            await self._grant_use.note(caller.member_id, client_id=caller.client_id, now=now)
        if claims is None or caller is None:
            return Anonymous(token_refused=True), None
        return caller, datetime.fromtimestamp(claims["exp"], UTC)

    def allowance_of(self, client_id: str) -> Allowance | None:
        """The bucket of cost that was set for a partner whose token was just verified; None for the usual one."""
        return self._standing.allowance(client_id)

    async def claims_of(self, token: str, now: datetime) -> Mapping[str, Any] | None:
        """The claims of an access token that holds at `now`: not ended early, and whose owner is welcome."""
        claims = await self._verify(token, now)
        if claims is None or await self._denials.denied(_ends_with(claims), now):
            return None
        if claims["kind"] == TokenKind.PARTNER and not await self._standing.welcome(claims["client_id"]):
            return None
        return claims

    def forget_partner(self, client_id: str) -> None:
        """Ask anew whether the partner is welcome: this process disabled it, or let it in again."""
        self._standing.forget(client_id)

    def forget_denials(self) -> None:
        """Ask anew which tokens ended before their time: this process ended some."""
        self._denials.forget()

    async def jwks(self, now: datetime) -> dict[str, Any]:
        """The public keys to verify with (RFC 7517): those that sign, will sign soon, or signed just now."""
        keyring = await self._current(now)
        return {
            "keys": [
                {**public_jwk(key.public), "kid": key.kid, "use": "sig", "alg": ALGORITHM}
                for key in keyring.accepted(now)
            ]
        }

    async def _issue(self, claims: Mapping[str, Any], now: datetime) -> AccessToken:
        key = (await self._current(now)).signing(now)
        issued_at = int(now.timestamp())
        text = jwt.encode(
            {
                "iss": self._issuer,
                "aud": self._issuer,
                "iat": issued_at,
                "exp": issued_at + TOKEN_SECONDS,
                "jti": uuid.uuid4().hex,
                **claims,
            },
            key.private,
            algorithm=ALGORITHM,
            headers={"typ": TOKEN_TYPE, "kid": key.kid},
        )
        expires_at = now.replace(microsecond=0) + timedelta(seconds=TOKEN_SECONDS)
        return AccessToken(text=text, expires_at=expires_at)

    async def _verify(self, token: str, now: datetime) -> dict[str, Any] | None:
        """The claims of a token that holds at `now`, else None."""
        claims = self._verified.get(token)
        if claims is None:
            if len(token) > MAX_TOKEN_LENGTH or (key := await self._key_of(token, now)) is None:
                return None
            claims = self._decoded(token, key)
            if claims is None:
                return None
            self._verified[token] = claims
            if len(self._verified) > KEPT_TOKENS:
                self._verified.popitem(last=False)
        seconds = now.timestamp()
        holds = claims["iat"] - SKEW_SECONDS <= seconds < claims["exp"]
        return claims if holds else None

    def _decoded(self, token: str, key: SigningKey) -> dict[str, Any] | None:
        try:
            claims: dict[str, Any] = jwt.decode(
                token,
                key.public,
                algorithms=[ALGORITHM],
                audience=self._issuer,
                issuer=self._issuer,
                # The times are judged by the domain's clock, in `_verify`.
                options={"require": _REQUIRED, "verify_exp": False, "verify_iat": False, "verify_nbf": False},
            )
        except jwt.PyJWTError:
            return None
        return claims if _well_formed(claims) else None

    async def _key_of(self, token: str, now: datetime) -> SigningKey | None:
        try:
            header = jwt.get_unverified_header(token)
        except jwt.PyJWTError:
            return None
        if header.get("alg") != ALGORITHM or str(header.get("typ", "")).lower() != TOKEN_TYPE:
            return None
        kid = header.get("kid")
        found = _find(self._keyring, kid, now)
        may_reload = self._is_old(now) or time.monotonic() - self._reloaded_at >= RELOAD_PAUSE_SECONDS
        if found is None and may_reload:
            await self._reload(now)
            found = _find(self._keyring, kid, now)
        return found

    async def _current(self, now: datetime) -> Keyring:
        """The keyring, read again if it is old and with a successor made if one is due."""
        if self._is_old(now) or self._keyring.wants_successor(now):
            await self._reload(now)
        return self._keyring

    def _is_old(self, now: datetime) -> bool:
        return abs(now - self._keyring.read_at) >= RELOAD_AFTER

    async def _reload(self, now: datetime) -> None:
        seen = self._keyring
        async with self._reloading:
            if self._keyring is seen:
                self._keyring = await load_keyring(self._store, self._operator_secret, now)
                self._reloaded_at = time.monotonic()


async def open_tokens(store: Store, settings: Settings, now: datetime) -> Tokens:
    """Tokens on the keys in the store; the first process of all makes the first key.

    Raises KeysLocked when the keys were made under another secret.
    """
    return Tokens(store, settings, await load_keyring(store, settings.secret, now))


def _well_formed(claims: Mapping[str, Any]) -> bool:
    """Whether the claims are of the types, and the life of the length, that tokens of ours have."""
    issued_at, expires_at = claims["iat"], claims["exp"]
    return (
        type(issued_at) is int
        and type(expires_at) is int
        and 0 < expires_at - issued_at <= TOKEN_SECONDS
        and all(isinstance(claims[name], str) and claims[name] for name in ("sub", "client_id", "kind", "jti"))
        and all(isinstance(claims.get(name, ""), str) for name in ("sid", "gid"))
        and isinstance(claims.get("scope", ""), str)
    )


def _caller(claims: Mapping[str, Any]) -> Caller | None:
    subject, client_id = claims["sub"], claims["client_id"]
    scopes = frozenset(claims.get("scope", "").split())
    match claims["kind"]:
        case TokenKind.MEMBER:
            return MemberCaller(member_id=subject, session=claims.get("sid"))
        case TokenKind.PARTNER:
            member_id = None if subject == client_id else subject
            return PartnerCaller(client_id=client_id, scopes=scopes, member_id=member_id)
        case TokenKind.STAFF:
            return StaffCaller(subject=subject, scopes=scopes)
        case _:
            return None


def _ends_with(claims: Mapping[str, Any]) -> frozenset[str]:
    """What the token ends with before its time, as it is denied."""
    names = {of_member(claims["sub"]), of_token(claims["jti"])}
    if "sid" in claims:
        names.add(of_session(claims["sid"]))
    if "gid" in claims:
        names.add(of_grant(claims["gid"]))
    return frozenset(names)


def _find(keyring: Keyring, kid: object, now: datetime) -> SigningKey | None:
    return next((key for key in keyring.accepted(now) if key.kid == kid), None)
