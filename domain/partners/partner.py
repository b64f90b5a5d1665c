"""Partner apps: who they are, what they may do, and the secrets that prove it.

A secret is shown once, when it is made; what is kept is its HMAC under a key derived from the operator's
secret, so that the database alone proves nothing. A partner may have two live secrets, so that it can change
over.
"""

import hmac
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final
from urllib.parse import urlsplit

from pymongo import ReturnDocument

from domain.derived_key import derive_key
from domain.partners.scopes import PARTNER_SCOPES, unknown_scopes
from domain.store.buckets import Allowance
from domain.store.codec import to_bson
from domain.store.connection import Store

LIVE_SECRETS: Final = 2
MAX_NAME_LENGTH: Final = 100
MAX_REDIRECT_URIS: Final = 20
MAX_REDIRECT_URI_LENGTH: Final = 500
LOOPBACK: Final = frozenset({"127.0.0.1", "::1", "localhost"})
_PURPOSE: Final = "partner-secret"
_MAX_SECRET_LENGTH: Final = 200
_MAX_SHOWN: Final = 5


class PartnerInvalid(ValueError):  # noqa: N818 -- says what is the case
    """A partner cannot be made like this; `field` is name, scopes or redirect_uris; the text is fit to be shown."""

    def __init__(self, field: str, message: str) -> None:
        self.field = field
        super().__init__(message)


@dataclass(frozen=True, slots=True, kw_only=True)
class Partner:
    """A partner app. `secret_hmacs` are those of its live secrets, the newest last.

    `keys` are the public halves, as JWKs, of what it signs assertions with in place of a secret (RFC 7523).
    """

    client_id: str
    name: str
    scopes: frozenset[str]
    redirect_uris: tuple[str, ...] = ()
    secret_hmacs: tuple[bytes, ...] = ()
    keys: tuple[Mapping[str, str], ...] = ()
    disabled: bool = False
    created_at: datetime


def proves(partner: Partner, secret: str, *, operator_secret: str) -> bool:
    """Whether `secret` is a live one of the partner; takes as long whichever it is."""
    if len(secret) > _MAX_SECRET_LENGTH:
        return False
    shown = secret_hmac(secret, operator_secret)
    matches = [hmac.compare_digest(shown, kept) for kept in partner.secret_hmacs]
    return any(matches)


def secret_hmac(secret: str, operator_secret: str) -> bytes:
    """HMAC-SHA256 of a client's secret, 32 bytes."""
    return hmac.digest(derive_key(operator_secret, _PURPOSE), secret.encode(), "sha256")


def check_partner(name: str, scopes: Sequence[str], redirect_uris: Sequence[str] = ()) -> None:
    """Raises PartnerInvalid for a name, scopes or redirect URIs that a partner cannot have."""
    if not 1 <= len(name.strip()) <= MAX_NAME_LENGTH or not name.isprintable():
        raise PartnerInvalid("name", f"A partner's name has 1 to {MAX_NAME_LENGTH} characters that can be printed.")
    if unknown := unknown_scopes(scopes, PARTNER_SCOPES):
        shown = ", ".join(each[:MAX_NAME_LENGTH] for each in unknown[:_MAX_SHOWN])
        raise PartnerInvalid(
            "scopes", f"Not a partner's scope: {shown}. There are {', '.join(sorted(PARTNER_SCOPES))}."
        )
    if len(redirect_uris) > MAX_REDIRECT_URIS:
        raise PartnerInvalid("redirect_uris", f"There are {len(redirect_uris)}; up to {MAX_REDIRECT_URIS} are allowed.")
    for number, uri in enumerate(redirect_uris):
        if (wrong := wrong_with_redirect_uri(uri)) is not None:
            raise PartnerInvalid("redirect_uris", f"Number {number + 1} {wrong}")


def wrong_with_redirect_uri(uri: str) -> str | None:
    """What keeps an address from being one that a code is sent to (RFC 9700 §2.1, RFC 8252 §7.3); None if nothing.

    It is compared as it stands, so nothing in it may be read in two ways.
    """
    if not 1 <= len(uri) <= MAX_REDIRECT_URI_LENGTH:
        return f"has {len(uri)} characters; 1 to {MAX_REDIRECT_URI_LENGTH} are allowed."
    if not uri.isascii() or not uri.isprintable() or any(sign in uri for sign in ' "<>\\^`{|}'):
        return "has characters that an address does not have; encode them."
    if "#" in uri:
        return "has a fragment, where a code would never reach the server."
    if "*" in uri:
        return "has a *; addresses are compared exactly, so name each in full."
    try:
        parts = urlsplit(uri)
        host, _port = parts.hostname, parts.port
    except ValueError:
        return "cannot be read as an address."
    if (
        not host
        or not uri.startswith(f"{parts.scheme}://")
        or "@" in parts.netloc
        or parts.netloc != parts.netloc.lower()
    ):
        return "needs the form https://host/path, its host in lower-case letters and without a user."
    if parts.scheme == "https" or (parts.scheme == "http" and host in LOOPBACK):
        return None
    return "does not begin with https://; http:// is for 127.0.0.1, [::1] and localhost alone."


async def create_partner(
    store: Store,
    operator_secret: str,
    *,
    name: str,
    scopes: Sequence[str],
    now: datetime,
    redirect_uris: Sequence[str] = (),
    keys: Sequence[Mapping[str, str]] = (),
) -> tuple[Partner, str]:
    """A new partner, and its secret, which cannot be had again. Raises PartnerInvalid."""
    check_partner(name, scopes, redirect_uris)
    secret = _new_secret()
    partner = Partner(
        client_id=f"pa_{secrets.token_hex(10)}",
        name=name.strip(),
        scopes=frozenset(scopes),
        redirect_uris=tuple(dict.fromkeys(redirect_uris)),
        secret_hmacs=(secret_hmac(secret, operator_secret),),
        keys=tuple(keys),
        created_at=now,
    )
    await store.partners.insert_one(partner_document(partner))
    return partner, secret


async def rotate_secret(store: Store, operator_secret: str, client_id: str) -> tuple[Partner, str] | None:
    """The partner with one more live secret, and that secret; the two newest live on. None for no such partner."""
    secret = _new_secret()
    document = await store.partners.find_one_and_update(
        {"_id": client_id},
        {"$push": {"secrets": {"$each": [{"hmac": secret_hmac(secret, operator_secret)}], "$slice": -LIVE_SECRETS}}},
        return_document=ReturnDocument.AFTER,
    )
    return None if document is None else (partner_from(document), secret)


async def set_keys(store: Store, client_id: str, keys: Sequence[Mapping[str, str]]) -> Partner | None:
    """The partner with these public keys in place of those that it had; None for no such partner."""
    document = await store.partners.find_one_and_update(
        {"_id": client_id}, {"$set": {"keys": [dict(key) for key in keys]}}, return_document=ReturnDocument.AFTER
    )
    return None if document is None else partner_from(document)


async def disable_partner(store: Store, client_id: str, *, disabled: bool) -> Partner | None:
    """The partner, disabled or welcome again; None for no such partner.

    Every process learns of it within half a minute (domain.partners.standing).
    """
    document = await store.partners.find_one_and_update(
        {"_id": client_id}, {"$set": {"disabled": disabled}}, return_document=ReturnDocument.AFTER
    )
    return None if document is None else partner_from(document)


async def find_partner(store: Store, client_id: str) -> Partner | None:
    """The partner with this client id, disabled or not."""
    document = await store.partners.find_one({"_id": client_id})
    return None if document is None else partner_from(document)


async def partners_by_id(store: Store, client_ids: Sequence[str]) -> dict[str, Partner]:
    """Those who exist, disabled or not, by their client ids."""
    found = store.partners.find({"_id": {"$in": list(client_ids)}})
    return {document["_id"]: partner_from(document) async for document in found}


async def set_allowance(store: Store, client_id: str, allowance: Allowance | None) -> bool:
    """Sets the partner's bucket of cost, None for the one that all have; whether there is such a partner.

    Every process learns of it within half a minute (domain.partners.standing).
    """
    if allowance is None:
        change: dict[str, Any] = {"$unset": {"allowance": True}}
    else:
        stored = {"capacity": allowance.capacity, "refill_per_second": allowance.refill_per_second}
        change = {"$set": to_bson({"allowance": stored})}
    return (await store.partners.update_one({"_id": client_id}, change)).matched_count == 1


def allowance_from(document: Mapping[str, Any]) -> Allowance | None:
    """What `set_allowance` wrote into the partner's document."""
    stored = document.get("allowance")
    if stored is None:
        return None
    return Allowance(capacity=stored["capacity"], refill_per_second=stored["refill_per_second"])


def _new_secret() -> str:
    return f"ps_{secrets.token_urlsafe(32)}"


def partner_document(partner: Partner) -> dict[str, Any]:
    """The partner as it is stored."""
    document: dict[str, Any] = to_bson(
        {
            "_id": partner.client_id,
            "name": partner.name,
            "scopes": sorted(partner.scopes),
            "redirect_uris": list(partner.redirect_uris),
            "secrets": [{"hmac": each} for each in partner.secret_hmacs],
            "keys": [dict(key) for key in partner.keys],
            "disabled": partner.disabled,
            "created_at": partner.created_at,
        }
    )
    return document


def partner_from(document: Mapping[str, Any]) -> Partner:
    """The partner that `partner_document` wrote."""
    return Partner(
        client_id=document["_id"],
        name=document["name"],
        scopes=frozenset(document["scopes"]),
        redirect_uris=tuple(document["redirect_uris"]),
        secret_hmacs=tuple(bytes(each["hmac"]) for each in document["secrets"]),
        keys=tuple(document.get("keys", ())),
        disabled=document["disabled"],
        created_at=document["created_at"],
    )
