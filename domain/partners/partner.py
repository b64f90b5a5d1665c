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

from domain.derived_key import derive_key
from domain.partners.scopes import PARTNER_SCOPES, unknown_scopes
from domain.store.codec import to_bson
from domain.store.connection import Store

MAX_NAME_LENGTH: Final = 100
_PURPOSE: Final = "partner-secret"
_MAX_SECRET_LENGTH: Final = 200


class PartnerInvalid(ValueError):  # noqa: N818 -- says what is the case
    """A partner cannot be made like this; `field` is name or scopes, and the text is fit to be shown."""

    def __init__(self, field: str, message: str) -> None:
        self.field = field
        super().__init__(message)


@dataclass(frozen=True, slots=True, kw_only=True)
class Partner:
    """A partner app. `secret_hmacs` are those of its live secrets, the newest last."""

    client_id: str
    name: str
    scopes: frozenset[str]
    redirect_uris: tuple[str, ...] = ()
    secret_hmacs: tuple[bytes, ...] = ()
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


def check_partner(name: str, scopes: Sequence[str]) -> None:
    """Raises PartnerInvalid for a name or scopes that a partner cannot have."""
    if not 1 <= len(name.strip()) <= MAX_NAME_LENGTH:
        raise PartnerInvalid("name", f"A partner's name has 1 to {MAX_NAME_LENGTH} characters.")
    if unknown := unknown_scopes(scopes, PARTNER_SCOPES):
        raise PartnerInvalid(
            "scopes",
            f"Not a partner's scope: {', '.join(unknown)}. There are {', '.join(sorted(PARTNER_SCOPES))}.",
        )


async def create_partner(
    store: Store,
    operator_secret: str,
    *,
    name: str,
    scopes: Sequence[str],
    now: datetime,
    redirect_uris: Sequence[str] = (),
) -> tuple[Partner, str]:
    """A new partner, and its secret, which cannot be had again. Raises PartnerInvalid."""
    check_partner(name, scopes)
    secret = f"ps_{secrets.token_urlsafe(32)}"
    partner = Partner(
        client_id=f"pa_{secrets.token_hex(10)}",
        name=name.strip(),
        scopes=frozenset(scopes),
        redirect_uris=tuple(redirect_uris),
        secret_hmacs=(secret_hmac(secret, operator_secret),),
        created_at=now,
    )
    await store.partners.insert_one(partner_document(partner))
    return partner, secret


async def find_partner(store: Store, client_id: str) -> Partner | None:
    """The partner with this client id, disabled or not."""
    document = await store.partners.find_one({"_id": client_id})
    return None if document is None else partner_from(document)


def partner_document(partner: Partner) -> dict[str, Any]:
    """The partner as it is stored."""
    document: dict[str, Any] = to_bson(
        {
            "_id": partner.client_id,
            "name": partner.name,
            "scopes": sorted(partner.scopes),
            "redirect_uris": list(partner.redirect_uris),
            "secrets": [{"hmac": each} for each in partner.secret_hmacs],
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
        disabled=document["disabled"],
        created_at=document["created_at"],
    )
