"""Reconciliation: what the provider says it was paid and paid back, against what the journal says (SEMANTICS §6).

Whatever falls into the period on either side is looked up on the other one by its id, whenever that was, so that a
payment just before midnight and its entry just after it are no difference. Each difference is named; what waits
for staff is one until it is settled.
"""

from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final

from domain.ledger.entry import Entry, EntryKind, entry_from
from domain.ledger.posting import currency_of, pocket_of
from domain.money import to_decimal
from domain.payments.provider import Intent, IntentStatus, Provider, ProviderRefund
from domain.payments.refund import RefundState, intent_of_entry
from domain.payments.webhook import Outcome, provider_actor
from domain.store.connection import Store

MOST_SHOWN: Final = 1_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """`about` is the provider's or the entry's id; `what` says in words what does not agree."""

    about: str
    what: str


@dataclass(slots=True, kw_only=True)
class Reconciliation:
    """How many intents and refunds agree, and each that does not."""

    intents: int = 0
    refunds: int = 0
    differences: list[Difference] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        return not self.differences

    def tell(self, about: str, what: str) -> None:
        if len(self.differences) < MOST_SHOWN:
            self.differences.append(Difference(about=about, what=what))


async def reconcile(store: Store, provider: Provider, *, since: datetime, until: datetime) -> Reconciliation:
    """Compare the period [since, until). Raises ProviderUnavailable."""
    found = Reconciliation()
    intents = {intent.id: intent async for intent in provider.succeeded(since=since, until=until)}
    refunds = {refund.id: refund async for refund in provider.refunds(since=since, until=until)}
    for intent in intents.values():
        await _intent_in_journal(store, provider, intent, found)
    for refund in refunds.values():
        await _refund_in_journal(store, refund, found)
    async for entry in _entries(store, EntryKind.TOP_UP, since=since, until=until):
        if entry.actor == provider_actor(provider.name) and intent_of_entry(entry) not in intents:
            await _entry_at_provider(provider, entry, found)
    made = {refund.entry for refund in refunds.values()}
    async for entry in _entries(store, EntryKind.TOP_UP_REFUND, since=since, until=until):
        if entry.id not in made:
            await _refund_at_provider(store, provider, entry, found)
    aside = {"outcome": Outcome.SET_ASIDE.value, "at": {"$gte": since, "$lt": until}}
    async for event in store.provider_events.find(aside).sort("at", 1):
        found.tell(event.get("about") or event["_id"], f"{event['type']} was set aside: {event['reason']}.")
    return found


async def _intent_in_journal(store: Store, provider: Provider, intent: Intent, found: Reconciliation) -> None:
    key = f"{provider_actor(provider.name)}|{intent.id}"
    entry = await _entry_with(store, {"key": key}, member=await _member_of(store, intent))
    paid = to_decimal(intent.amount_minor, intent.currency)
    if entry is None:
        found.tell(intent.id, f"The provider was paid {paid} {intent.currency}; the journal has no entry for it.")
        return
    _compare(intent, entry, found)


def _compare(intent: Intent, entry: Entry, found: Reconciliation) -> None:
    asset, minor = prepaid_moved(entry)
    if (minor, currency_of(asset)) == (intent.amount_minor, intent.currency):
        found.intents += 1
        return
    paid, posted = to_decimal(intent.amount_minor, intent.currency), to_decimal(minor, currency_of(asset))
    found.tell(
        intent.id,
        f"The provider was paid {paid} {intent.currency}; entry {entry.id} has {posted} {currency_of(asset)}.",
    )


async def _entry_at_provider(provider: Provider, entry: Entry, found: Reconciliation) -> None:
    identifier = intent_of_entry(entry)
    assert identifier is not None, entry.id
    intent = await provider.find_intent(identifier)
    if intent is None or intent.status is not IntentStatus.SUCCEEDED:
        state = "does not know it" if intent is None else f"says {intent.status.value}"
        found.tell(identifier, f"Entry {entry.id} says that it was paid; the provider {state}.")
    else:
        _compare(intent, entry, found)


async def _refund_in_journal(store: Store, refund: ProviderRefund, found: Reconciliation) -> None:
    entry = None if refund.entry is None else await _entry_with(store, {"_id": refund.entry}, member=None)
    shown = to_decimal(refund.amount_minor, refund.currency)
    if entry is None or entry.kind is not EntryKind.TOP_UP_REFUND:
        found.tell(refund.id, f"The provider paid back {shown} {refund.currency}; the journal has no entry for it.")
        return
    asset, minor = prepaid_moved(entry)
    if (-minor, currency_of(asset)) != (refund.amount_minor, refund.currency):
        posted = to_decimal(-minor, currency_of(asset))
        found.tell(refund.id, f"The provider paid back {shown} {refund.currency}; entry {entry.id} has {posted}.")
        return
    found.refunds += 1


async def _refund_at_provider(store: Store, provider: Provider, entry: Entry, found: Reconciliation) -> None:
    due = await store.top_up_refunds.find_one({"_id": entry.id})
    if due is None:
        found.tell(entry.id, "The provider was not asked for this refund yet.")
        return
    made = await provider.find_refund(due["intent"], entry=entry.id)
    if made is None or due["state"] != RefundState.CONFIRMED.value:
        reason = f": {due['reason']}" if "reason" in due else ""
        found.tell(entry.id, f"The refund is {due['state']} at the provider{reason}.")
        return
    found.refunds += 1


def prepaid_moved(entry: Entry) -> tuple[str, int]:
    """The prepaid asset of the entry, and what the member gained of it, signed, in minor units."""
    (asset,) = {posting.asset for posting in entry.postings if pocket_of(posting.asset) == "prepaid"}
    return asset, entry.moved(asset)


async def _member_of(store: Store, intent: Intent) -> str | None:
    document = None if intent.top_up is None else await store.top_ups.find_one({"_id": intent.top_up}, {"member": 1})
    document = document or await store.top_ups.find_one({"intent": intent.id}, {"member": 1})
    return None if document is None else document["member"]


async def _entry_with(store: Store, wanted: Mapping[str, Any], *, member: str | None) -> Entry | None:
    if member is None and "_id" not in wanted:
        return None
    of = {} if member is None else {"member": member}
    document = await store.journal.find_one({**of, **wanted, "seq": {"$exists": True}})
    return None if document is None else entry_from(document)


async def _entries(store: Store, kind: EntryKind, *, since: datetime, until: datetime) -> AsyncIterator[Entry]:
    wanted = {"posted_at": {"$gte": since, "$lt": until}, "kind": kind.value, "seq": {"$exists": True}}
    async for document in store.journal.find(wanted).sort("posted_at", 1):
        yield entry_from(document)
