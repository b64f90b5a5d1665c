"""Consents, as the member gives and withdraws them."""

from datetime import datetime
from typing import Final

import strawberry

from api.context import Context, Info, member_gone, require_member
from api.described import described
from api.edge.errors import InvalidValue
from domain.members.consent import Consent as ConsentRecord
from domain.members.consent import ConsentPurpose, consents_of
from notifications.withdrawal import give_or_withdraw

strawberry.enum(ConsentPurpose)

LONGEST_VERSION: Final = 64


@strawberry.type
class Consent:
    purpose: ConsentPurpose
    granted: bool
    at: datetime | None
    version: str | None


@strawberry.type
class ConsentMutation:
    @described(
        "Give or withdraw a consent; `version` names the wording that the member saw. What depends on a withdrawn "
        "consent ends at once, and with LOCATION everything that is kept about the places where he was. member"
    )
    async def set_consent(self, info: Info, *, purpose: ConsentPurpose, granted: bool, version: str) -> Consent:
        context = info.context
        if not 1 <= len(version) <= LONGEST_VERSION or not version.isprintable() or version.isspace():
            raise InvalidValue(f"version names the words that the member saw in 1 to {LONGEST_VERSION} characters.")
        consent = await give_or_withdraw(
            context.wallet.store,
            require_member(info).member_id,
            purpose,
            is_granted=granted,
            version=version,
            now=context.now,
        )
        if consent is None:
            raise member_gone()
        return consent_type(consent)


async def member_consents(context: Context, member: str) -> list[Consent]:
    """The member's consents, one for each purpose, given or not."""
    return [consent_type(each) for each in await consents_of(context.wallet.store, member)]


def consent_type(consent: ConsentRecord) -> Consent:
    return Consent(purpose=consent.purpose, granted=consent.granted, at=consent.at, version=consent.version)
