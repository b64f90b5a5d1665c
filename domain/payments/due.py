"""What a worker does for payments: looks at new entries of payers, and takes up what is due at the provider.

All of it is idempotent by keys made from what it is about, so that doing it twice, or being killed in the middle,
changes nothing. What the provider does not answer is put off, each time for longer.
"""

from collections.abc import Awaitable, Collection, Iterable
from datetime import datetime, timedelta
from typing import Any, Final

import structlog
from pymongo.asynchronous.collection import AsyncCollection

from domain.ledger.commit import Ledger
from domain.ledger.entry import Entry, EntryKind
from domain.payments.auto_top_up import charge, consider, is_payment
from domain.payments.payer import Payer, payer_from
from domain.payments.provider import Provider, ProviderUnavailable
from domain.payments.refund import ensure_refund, refund_due_from, send_refund
from domain.payments.top_up import close_overdue, top_up_from
from domain.payments.webhook import hand_over
from domain.store.codec import to_bson
from domain.store.connection import Document

BATCH: Final = 50
FIRST_WAIT: Final = timedelta(seconds=30)
LONGEST_WAIT: Final = timedelta(hours=6)

log = structlog.get_logger(__name__)


async def look_at(ledger: Ledger, provider: Provider, members: Collection[str]) -> None:
    """Look at what came to the journals of those of the members who are payers, since it was last looked at."""
    store = ledger.store
    payers = [payer_from(each) async for each in store.payers.find({"_id": {"$in": list(members)}})]
    came = await ledger.journal.after({payer.member: payer.seen for payer in payers})
    for payer in payers:
        entries = came.get(payer.member, [])
        for entry in entries:
            if entry.kind is EntryKind.TOP_UP_REFUND:
                await ensure_refund(store, entry, now=ledger.now())
        if (payment := _last_payment(payer, entries)) is not None:
            await consider(ledger, provider, payer, payment)
        if entries:
            await store.payers.update_one({"_id": payer.member}, {"$max": to_bson({"seen": entries[-1].sequence})})


async def work_due(ledger: Ledger, provider: Provider, slots: Iterable[int], *, now: datetime) -> int:
    """Take up what is due in the slots; how many there were."""
    store, wanted = ledger.store, {"slot": {"$in": sorted(slots)}, "due_at": {"$lte": now}}
    top_ups = await store.top_ups.find(wanted).sort("due_at", 1).limit(BATCH).to_list()
    refunds = await store.top_up_refunds.find(wanted).sort("due_at", 1).limit(BATCH).to_list()
    for found in top_ups:
        top_up = top_up_from(found)
        if top_up.provider != provider.name:
            log.error("top_up.other_provider", top_up=top_up.id, provider=top_up.provider)
            await _put_off(store.top_ups, found, now)
        elif top_up.entry is None:
            await _or_put_off(close_overdue(store, provider, top_up, now=now), store.top_ups, found, now)
        else:
            await _or_put_off(charge(ledger, provider, top_up), store.top_ups, found, now)
    for found in refunds:
        sending = send_refund(store, provider, refund_due_from(found), now=now)
        await _or_put_off(sending, store.top_up_refunds, found, now)
    await hand_over(ledger, provider)
    return len(top_ups) + len(refunds)


def _last_payment(payer: Payer, entries: Iterable[Entry]) -> Entry | None:
    """The last one that prepaid money paid: what another pocket paid after it leaves that as it was."""
    if payer.auto is None:
        return None
    asset = f"prepaid/{payer.auto.currency}"
    payments = [entry for entry in entries if is_payment(entry, asset)]
    return payments[-1] if payments else None


async def _or_put_off(
    work: Awaitable[None], collection: AsyncCollection[Document], found: Document, now: datetime
) -> None:
    try:
        await work
    except ProviderUnavailable as error:
        log.warning("payments.put_off", about=found["_id"], error=str(error))
        await _put_off(collection, found, now)


async def _put_off(collection: AsyncCollection[Document], found: Document, now: datetime) -> None:
    waits: int = found.get("waits", 0)
    wait = min(FIRST_WAIT * 2 ** min(waits, 16), LONGEST_WAIT)
    changed: dict[str, Any] = {"due_at": now + wait, "waits": waits + 1}
    await collection.update_one({"_id": found["_id"], "due_at": found["due_at"]}, {"$set": to_bson(changed)})
