"""Access tokens: JWTs by RFC 9068, signed with ES256, verified without a look-up.

Signing keys are documents, their private halves encrypted under a key derived from the operator's secret.
Each key signs until its successor does; a successor is published an hour before it signs, and a key is kept
until the last token that it signed has expired. All of it goes by the domain's clock, which a sandbox may
move by years: `now` is given by the caller, and a token holds or not at that instant.

Whatever is wrong with a token, `caller_of` answers the same `Anonymous(token_refused=True)`.
"""

import asyncio
import json
import os
import time
import uuid
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from hashlib import sha256
from typing import Any, Final

import jwt
from bson.binary import Binary
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.ec import (
    SECP256R1,
    EllipticCurvePrivateKey,
    EllipticCurvePublicKey,
    generate_private_key,
)
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_der_private_key,
)
from jwt.utils import base64url_encode
from pymongo.errors import DuplicateKeyError

from api.access import Anonymous, Caller, MemberCaller, PartnerCaller, StaffCaller
from domain.derived_key import derive_key
from domain.partners.scopes import STAFF_SCOPES, unknown_scopes
from domain.partners.standing import Standing
from domain.settings import Settings
from domain.store.codec import to_bson
from domain.store.connection import Store

ALGORITHM: Final = "ES256"
TOKEN_TYPE: Final = "at+jwt"  # noqa: S105 -- RFC 9068 §2.1
TOKEN_SECONDS: Final = 600
SKEW_SECONDS: Final = 5
SIGNS_FOR: Final = timedelta(days=30)
PUBLISHED_BEFORE: Final = timedelta(hours=1)
RELOAD_AFTER: Final = timedelta(minutes=5)
RELOAD_PAUSE_SECONDS: Final = 5.0
MAX_TOKEN_LENGTH: Final = 4_096
KEPT_TOKENS: Final = 10_000
APP_CLIENT: Final = "member-app"
STAFF_CLIENT: Final = "staff"
_PURPOSE: Final = "signing-keys"
_NONCE_BYTES: Final = 12
_OUTLIVES: Final = timedelta(seconds=TOKEN_SECONDS + SKEW_SECONDS)
_REQUIRED: Final = ["iss", "aud", "sub", "client_id", "iat", "exp", "jti", "kind"]


class KeysLocked(Exception):  # noqa: N818 -- says what is the case
    """The stored signing keys cannot be opened: they were made under another WALLET_SECRET."""


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


@dataclass(frozen=True, slots=True, kw_only=True)
class SigningKey:
    """A key, and the instant from which it signs. `generation` counts from 1; `kid` is as RFC 7638 says."""

    generation: int
    kid: str
    private: EllipticCurvePrivateKey
    public: EllipticCurvePublicKey
    signs_from: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Keyring:
    """The keys that there are, oldest first, as of `read_at`."""

    keys: tuple[SigningKey, ...]
    read_at: datetime

    def signing(self, now: datetime) -> SigningKey:
        """The newest key whose time has come; the oldest if there is none, as after a clock was set back."""
        due = [key for key in self.keys if key.signs_from <= now]
        return due[-1] if due else self.keys[0]

    def accepted(self, now: datetime) -> tuple[SigningKey, ...]:
        """The keys whose tokens may hold at `now`: all but those whose successor signs for long enough."""
        return tuple(
            key
            for key, successor in zip(self.keys, [*self.keys[1:], None], strict=True)
            if successor is None or now < successor.signs_from + _OUTLIVES
        )

    def wants_successor(self, now: datetime) -> bool:
        return now >= self.keys[-1].signs_from + SIGNS_FOR - PUBLISHED_BEFORE


class Tokens:
    """Issues and verifies access tokens. One for each process; `open_tokens` makes it."""

    def __init__(self, store: Store, settings: Settings, keyring: Keyring) -> None:
        self._store = store
        self._issuer = settings.public_url
        self._cipher = _cipher(settings)
        self._keyring = keyring
        self._reloading = asyncio.Lock()
        self._reloaded_at = time.monotonic()
        self._verified: OrderedDict[str, dict[str, Any]] = OrderedDict()
        self._standing = Standing(store)

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
    ) -> AccessToken:
        """For a partner app; with `member_id`, delegated: `sub` is then the member (RFC 9068 §2.2)."""
        claims = {"sub": member_id or client_id, "client_id": client_id, "kind": TokenKind.PARTNER}
        return await self._issue(claims | {"scope": " ".join(sorted(scopes))}, now)

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
        if authorization is None:
            return Anonymous()
        scheme, _, token = authorization.partition(" ")
        claims = await self._verify(token.strip(), now) if scheme.lower() == "bearer" else None
        caller = None if claims is None else _caller(claims)
        if isinstance(caller, PartnerCaller) and not await self._standing.welcome(caller.client_id):
            caller = None
        return caller or Anonymous(token_refused=True)

    async def jwks(self, now: datetime) -> dict[str, Any]:
        """The public keys to verify with (RFC 7517): those that sign, will sign soon, or signed just now."""
        keyring = await self._current(now)
        return {
            "keys": [
                {**_public_jwk(key.public), "kid": key.kid, "use": "sig", "alg": ALGORITHM}
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
        times = (claims["iat"], claims["exp"])
        if any(not isinstance(each, int) or isinstance(each, bool) for each in times):
            return None
        return claims if 0 < claims["exp"] - claims["iat"] <= TOKEN_SECONDS and "nbf" not in claims else None

    async def _key_of(self, token: str, now: datetime) -> SigningKey | None:
        try:
            header = jwt.get_unverified_header(token)
        except jwt.PyJWTError:
            return None
        if header.get("alg") != ALGORITHM or str(header.get("typ", "")).lower() != TOKEN_TYPE:
            return None
        kid = header.get("kid")
        found = _find(self._keyring, kid, now)
        if found is None and time.monotonic() - self._reloaded_at >= RELOAD_PAUSE_SECONDS:
            await self._reload(now)
            found = _find(self._keyring, kid, now)
        return found

    async def _current(self, now: datetime) -> Keyring:
        """The keyring, read again if it is old and with a successor made if one is due."""
        stale = abs(now - self._keyring.read_at) >= RELOAD_AFTER
        if stale or self._keyring.wants_successor(now):
            await self._reload(now)
        return self._keyring

    async def _reload(self, now: datetime) -> None:
        seen = self._keyring
        async with self._reloading:
            if self._keyring is seen:
                self._keyring = await _load(self._store, self._cipher, now)
                self._reloaded_at = time.monotonic()


async def open_tokens(store: Store, settings: Settings, now: datetime) -> Tokens:
    """Tokens on the keys in the store; the first process of all makes the first key.

    Raises KeysLocked when the keys were made under another secret.
    """
    return Tokens(store, settings, await _load(store, _cipher(settings), now))


def _caller(claims: Mapping[str, Any]) -> Caller | None:
    subject, client_id = claims["sub"], claims["client_id"]
    scopes = frozenset(str(claims.get("scope", "")).split())
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


def _find(keyring: Keyring, kid: object, now: datetime) -> SigningKey | None:
    return next((key for key in keyring.accepted(now) if key.kid == kid), None)


async def _load(store: Store, cipher: AESGCM, now: datetime) -> Keyring:
    """Read all keys; make the one that is due; forget those that no token needs.

    Two processes that make the same generation find the same `_id`, and the second takes the key of the
    first.
    """
    keyring = await _read(store, cipher, now)
    if not keyring.keys or keyring.wants_successor(now):
        last = keyring.keys[-1] if keyring.keys else None
        key = _make_key(
            generation=1 if last is None else last.generation + 1,
            signs_from=now if last is None else max(last.signs_from + SIGNS_FOR, now + PUBLISHED_BEFORE),
        )
        with suppress(DuplicateKeyError):
            await store.signing_keys.insert_one(_key_document(key, cipher, made_at=now))
        keyring = await _read(store, cipher, now)
    needed = keyring.accepted(now)
    gone = [key.generation for key in keyring.keys if key not in needed]
    if gone:
        await store.signing_keys.delete_many({"_id": {"$in": gone}})
    return Keyring(keys=needed, read_at=now)


async def _read(store: Store, cipher: AESGCM, now: datetime) -> Keyring:
    documents = await store.signing_keys.find({}).sort("_id", 1).to_list()
    return Keyring(keys=tuple(_key_from(document, cipher) for document in documents), read_at=now)


def _make_key(*, generation: int, signs_from: datetime) -> SigningKey:
    private = generate_private_key(SECP256R1())
    public = private.public_key()
    return SigningKey(
        generation=generation, kid=_thumbprint(public), private=private, public=public, signs_from=signs_from
    )


def _key_document(key: SigningKey, cipher: AESGCM, *, made_at: datetime) -> dict[str, Any]:
    nonce = os.urandom(_NONCE_BYTES)
    der = key.private.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())
    document: dict[str, Any] = to_bson(
        {
            "_id": key.generation,
            "kid": key.kid,
            "private": Binary(nonce + cipher.encrypt(nonce, der, key.kid.encode())),
            "signs_from": key.signs_from,
            "made_at": made_at,
        }
    )
    return document


def _key_from(document: Mapping[str, Any], cipher: AESGCM) -> SigningKey:
    sealed, kid = bytes(document["private"]), document["kid"]
    try:
        der = cipher.decrypt(sealed[:_NONCE_BYTES], sealed[_NONCE_BYTES:], kid.encode())
    except InvalidTag:
        raise KeysLocked(
            "The signing keys in the database were made under another WALLET_SECRET. "
            "Set that one again, or drop the collection signing_keys, which ends all sessions."
        ) from None
    private = load_der_private_key(der, password=None)
    assert isinstance(private, EllipticCurvePrivateKey), type(private)
    return SigningKey(
        generation=document["_id"],
        kid=kid,
        private=private,
        public=private.public_key(),
        signs_from=document["signs_from"],
    )


def _cipher(settings: Settings) -> AESGCM:
    return AESGCM(derive_key(settings.secret, _PURPOSE))


def _public_jwk(public: EllipticCurvePublicKey) -> dict[str, str]:
    numbers = public.public_numbers()
    x, y = (base64url_encode(each.to_bytes(32, "big")).decode() for each in (numbers.x, numbers.y))
    return {"kty": "EC", "crv": "P-256", "x": x, "y": y}


def _thumbprint(public: EllipticCurvePublicKey) -> str:
    canonical = json.dumps(_public_jwk(public), sort_keys=True, separators=(",", ":"))
    return base64url_encode(sha256(canonical.encode()).digest()).decode()
