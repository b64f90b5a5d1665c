"""Signing keys: what access tokens are signed with, kept for all processes, changed over time.

Keys are documents, their private halves encrypted under a key derived from the operator's secret. Each signs until
its successor does; a successor is published an hour before it signs, and a key is kept until the last token that it
signed has expired. All of it goes by the domain's clock, which a sandbox may move by years.
"""

import json
import os
from base64 import urlsafe_b64encode
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from hashlib import sha256
from typing import Any, Final

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
from pymongo.errors import DuplicateKeyError

from domain.derived_key import derive_key
from domain.failure import Failure
from domain.store.codec import to_bson
from domain.store.connection import Store

TOKEN_LIFE: Final = timedelta(minutes=10)
SIGNS_FOR: Final = timedelta(days=30)
PUBLISHED_BEFORE: Final = timedelta(hours=1)
KEPT_AFTER: Final = TOKEN_LIFE + timedelta(minutes=5)
_PURPOSE: Final = "signing-keys"
_NONCE_BYTES: Final = 12


class KeysLocked(Failure):
    """The stored signing keys cannot be opened: they were made under another WALLET_SECRET."""


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
            if successor is None or now < successor.signs_from + KEPT_AFTER
        )

    def wants_successor(self, now: datetime) -> bool:
        return now >= self.keys[-1].signs_from + SIGNS_FOR - PUBLISHED_BEFORE


def public_jwk(public: EllipticCurvePublicKey) -> dict[str, str]:
    """The public half as RFC 7518 §6.2 writes it."""
    numbers = public.public_numbers()
    x, y = (_base64url(each.to_bytes(32, "big")) for each in (numbers.x, numbers.y))
    return {"kty": "EC", "crv": "P-256", "x": x, "y": y}


async def load_keyring(store: Store, operator_secret: str, now: datetime) -> Keyring:
    """Read all keys; make the one that is due; forget those that no token needs.

    Two processes that make the same generation find the same `_id`, and the second takes the first's key.
    Raises KeysLocked.
    """
    cipher = AESGCM(derive_key(operator_secret, _PURPOSE))
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


def _thumbprint(public: EllipticCurvePublicKey) -> str:
    canonical = json.dumps(public_jwk(public), sort_keys=True, separators=(",", ":"))
    return _base64url(sha256(canonical.encode()).digest())


def _base64url(data: bytes) -> str:
    return urlsafe_b64encode(data).rstrip(b"=").decode()
