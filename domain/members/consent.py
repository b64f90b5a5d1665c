"""Consents: what a member lets us use his data for. What was never given is not granted (SEMANTICS §10.8).

They stand on the member's own document, so that a send reads one, and so does their history: what was given or
withdrawn, under which version of the words, and when. Giving again what is given already changes nothing.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any, Final

from domain.store.connection import Store

MAX_HISTORY: Final = 500
"""Changes that are kept of a member, the last ones: nobody changes his mind more often, except to fill the store."""


class ConsentPurpose(StrEnum):
    """The contract's enumeration."""

    MARKETING = "MARKETING"
    LOCATION = "LOCATION"
    PERSONALISATION = "PERSONALISATION"


@dataclass(frozen=True, slots=True, kw_only=True)
class Consent:
    """`at` is when it was given or withdrawn, `version` that of the words that he saw; None if he never was asked."""

    purpose: ConsentPurpose
    granted: bool
    at: datetime | None = None
    version: str | None = None


def granted(document: Mapping[str, Any], purpose: str) -> bool:
    """Whether the member of that stored document grants the purpose."""
    return document.get("consents", {}).get(purpose, {}).get("granted") is True


def consents_from(document: Mapping[str, Any]) -> list[Consent]:
    """The consents of the member's stored document, one for each purpose."""
    return [_consent_from(document, purpose) for purpose in ConsentPurpose]


async def consents_of(store: Store, member: str) -> list[Consent]:
    """The member's consents, one for each purpose."""
    return consents_from(await store.members.find_one({"_id": member}, {"consents": True}) or {})


async def is_granted(store: Store, member: str, purpose: ConsentPurpose) -> bool:
    """Whether the member grants the purpose now."""
    return granted(await store.members.find_one({"_id": member}, {"consents": True}) or {}, purpose)


async def set_consent(
    store: Store, member: str, purpose: ConsentPurpose, *, is_granted: bool, version: str, now: datetime
) -> Consent | None:
    """The consent after it; None if the member is not there. The same again keeps the instant of the first time."""
    field = f"consents.{purpose.value}"
    state = {"granted": is_granted, "version": version, "at": now}
    await store.members.update_one(
        {"_id": member, "$or": [{f"{field}.granted": {"$ne": is_granted}}, {f"{field}.version": {"$ne": version}}]},
        {
            "$set": {field: state},
            "$push": {"consent_history": {"$each": [{"purpose": purpose.value, **state}], "$slice": -MAX_HISTORY}},
        },
    )
    document = await store.members.find_one({"_id": member}, {"consents": True})
    return None if document is None else _consent_from(document, purpose)


def _consent_from(document: Mapping[str, Any], purpose: ConsentPurpose) -> Consent:
    state = document.get("consents", {}).get(purpose.value, {})
    return Consent(
        purpose=purpose, granted=granted(document, purpose), at=state.get("at"), version=state.get("version")
    )
