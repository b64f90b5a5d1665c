"""A top-up's refund at the provider: made for each TOP_UP_REFUND entry, once, however often it takes.

The entry comes first, so that the money is out of the wallet before it can be anywhere else. Its document is made
from the entry by whoever comes first: the mutation, or the worker that follows the journal. The provider's refund
has the entry's id as key and among its data, by which one that was made is found again.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any, Final

import structlog
from pymongo.errors import DuplicateKeyError

from domain.ledger.entry import Entry, EntryKind
from domain.ledger.journal import Journal
from domain.ledger.posting import currency_of, pocket_of
from domain.payments.provider import Declined, Provider, ProviderRefund, RefundStatus
from domain.store.codec import to_bson
from domain.store.connection import Store
from domain.store.slots import slot_of

SLOW: Final = timedelta(hours=1)
"""How long a refund that the provider is still at is left alone."""

log = structlog.get_logger(__name__)


class RefundState(StrEnum):
    """FAILED waits for staff: the money is out of the wallet and did not arrive."""

    PENDING = "PENDING"
    CONFIRMED = "CONFIRMED"
    FAILED = "FAILED"


@dataclass(frozen=True, slots=True, kw_only=True)
class TopUpRefundDue:
    """`entry` is the TOP_UP_REFUND entry's id; `attempts` is how often the provider was asked."""

    entry: str
    member: str
    intent: str
    amount_minor: int
    currency: str
    state: RefundState
    attempts: int


def intent_of_entry(entry: Entry) -> str | None:
    """The intent whose webhook posted the entry: the key of the provider's own actor."""
    return entry.key.rpartition("|")[2] if entry.actor.startswith("psp:") else None


async def ensure_refund(store: Store, entry: Entry, *, now: datetime) -> None:
    """Have the provider's refund made for this entry, if nobody has yet."""
    assert entry.kind is EntryKind.TOP_UP_REFUND, entry.id
    assert entry.reverses is not None, entry.id
    top_up = await Journal(store).entry(entry.reverses)
    intent = None if top_up is None else intent_of_entry(top_up)
    assert intent is not None, entry.id
    (asset,) = {posting.asset for posting in entry.postings if pocket_of(posting.asset) == "prepaid"}
    document = {
        "_id": entry.id,
        "member": entry.member,
        "slot": slot_of(entry.member),
        "intent": intent,
        "amount_minor": -entry.moved(asset),
        "currency": currency_of(asset),
        "state": RefundState.PENDING.value,
        "created_at": entry.posted_at,
        "due_at": now,
        "attempts": 0,
    }
    try:
        await store.top_up_refunds.insert_one(to_bson(document))
    except DuplicateKeyError:
        return


async def send_refund(store: Store, provider: Provider, due: TopUpRefundDue, *, now: datetime) -> None:
    """Have the provider pay it back, or see how far it is. Raises ProviderUnavailable."""
    await store.top_up_refunds.update_one({"_id": due.entry}, {"$set": to_bson({"attempts": due.attempts + 1})})
    made = await provider.find_refund(due.intent, entry=due.entry) if due.attempts else None
    if made is None:
        try:
            made = await provider.refund(
                due.intent, due.amount_minor, due.currency, entry=due.entry, key=f"refund.{due.entry}"
            )
        except Declined as declined:
            await _settle(store, due.entry, RefundState.FAILED, reason=declined.reason)
            return
    if made.status is RefundStatus.PENDING:
        await store.top_up_refunds.update_one(
            {"_id": due.entry, "state": RefundState.PENDING.value},
            {"$set": to_bson({"refund": made.id, "due_at": now + SLOW})},
        )
    else:
        await note_refund(store, made)


async def note_refund(store: Store, made: ProviderRefund) -> bool:
    """Take note of what the provider says of a refund; False for one that we did not ask for."""
    known = None
    if made.entry is not None:
        known = await store.top_up_refunds.find_one({"_id": made.entry, "intent": made.intent})
    if known is None or known["amount_minor"] != made.amount_minor:
        return False
    if made.status is not RefundStatus.PENDING:
        confirmed = made.status is RefundStatus.SUCCEEDED
        await _settle(store, made.entry or "", RefundState.CONFIRMED if confirmed else RefundState.FAILED, made=made.id)
    return True


async def refunded_of(store: Store, intent: str) -> int:
    """What we have asked the provider to refund of an intent, in minor units."""
    found = await store.top_up_refunds.find({"intent": intent}, {"amount_minor": 1}).to_list()
    return sum(each["amount_minor"] for each in found)


def refund_due_from(found: Mapping[str, Any]) -> TopUpRefundDue:
    """The refund that the store holds."""
    return TopUpRefundDue(
        entry=found["_id"],
        member=found["member"],
        intent=found["intent"],
        amount_minor=found["amount_minor"],
        currency=found["currency"],
        state=RefundState(found["state"]),
        attempts=found["attempts"],
    )


async def _settle(
    store: Store, entry: str, state: RefundState, *, made: str | None = None, reason: str | None = None
) -> None:
    """A refund that arrived may still come back: FAILED after CONFIRMED stands, never the other way round."""
    values = {"state": state.value, "refund": made, "reason": reason}
    standing = {"$ne": RefundState.FAILED.value}
    if state is RefundState.FAILED:
        log.error("top_up_refund.failed", entry=entry, reason=reason)
    await store.top_up_refunds.update_one(
        {"_id": entry, "state": standing},
        {"$set": {name: value for name, value in values.items() if value is not None}, "$unset": {"due_at": ""}},
    )
