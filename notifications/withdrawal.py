"""What withdrawing a consent ends: the trace of transitions at once, and by a signal the runs that need it.

No send slips through in between: each asks for the consents that it needs once more (SEMANTICS §10.8). So whoever
died between the two steps has nothing sent, and the same withdrawal again finishes them.
"""

from datetime import datetime
from typing import Final

from domain.members.consent import Consent, ConsentPurpose, set_consent
from domain.store.codec import epoch_ms
from domain.store.connection import Store
from notifications.location import forget_transitions
from notifications.signal import Signal, emit

WITHDRAWN: Final = "consent.withdrawn"


async def give_or_withdraw(
    store: Store, member: str, purpose: ConsentPurpose, *, is_granted: bool, version: str, now: datetime
) -> Consent | None:
    """The consent after it and all that follows; None if the member is not there."""
    consent = await set_consent(store, member, purpose, is_granted=is_granted, version=version, now=now)
    if consent is not None and consent.at is not None and not consent.granted:
        if purpose is ConsentPurpose.LOCATION:
            await forget_transitions(store, member)
        await emit(
            store,
            Signal(
                id=f"withdrawn:{member}:{purpose.value}:{epoch_ms(consent.at)}",
                member=member,
                event=WITHDRAWN,
                at=now,
                facts={"purpose": purpose.value},
            ),
        )
    return consent
