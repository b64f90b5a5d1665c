"""What falls due on members' value, found and done: for the worker, and for a sandbox's clock that is moved.

Wallets to settle, referrals to reward, birthdays to keep, payments to take up at the provider. Each is idempotent,
whoever does the same at once.
"""

from collections.abc import Collection, Iterable
from datetime import datetime
from typing import Any, Final

from domain.commands.referral import reward_referrals
from domain.ledger.commit import Ledger
from domain.members.birthday import keep_birthdays
from domain.payments import due as payments
from domain.payments.provider import Provider
from domain.store.connection import Store
from notifications.hearing import hear_journal
from notifications.notices import tell_stopped
from notifications.office import Office

BATCH: Final = 200


async def due_wallets(
    store: Store, slots: Iterable[int], *, until: datetime | None, but: Collection[str] = (), limit: int = BATCH
) -> list[dict[str, Any]]:
    """The wallets of the slots that are due (by `until`, if given), the earliest first."""
    wanted: dict[str, Any] = {"slot": {"$in": sorted(slots)}, "next_due_at": {"$exists": True}}
    if until is not None:
        wanted["next_due_at"] = {"$exists": True, "$lte": until}
    if but:
        wanted["_id"] = {"$nin": list(but)}
    cursor = store.wallets.find(wanted, {"next_due_at": 1}).sort("next_due_at", 1).limit(limit)
    return await cursor.to_list()


async def settle_wallets(ledger: Ledger, members: Collection[str]) -> None:
    """Post what is due on the wallets, and reward the referrals of which their members are the friends."""
    await ledger.settle(members)
    await reward_referrals(ledger, members)


async def work_birthdays(ledger: Ledger, slots: Iterable[int], *, office: Office | None, now: datetime) -> int:
    """Give the birthday awards that are due; how many members were looked at.

    Members whose birthday or zone changed are among them, so their dates are armed anew.
    """
    slots = list(slots)
    due = {"slot": {"$in": sorted(slots)}, "birthday_due_at": {"$lte": now}}
    members = [each["_id"] async for each in ledger.store.members.find(due, {"_id": True}).limit(BATCH)]
    kept = await keep_birthdays(ledger, slots, now=now)
    if office is not None and members:
        await hear_journal(office, members, now=now, anew=True)
    return kept


async def work_payments(ledger: Ledger, provider: Provider, slots: Collection[int], *, now: datetime) -> int:
    """Take up what is due at the provider, and tell members what they must know of it; how much it was."""
    done = await payments.work_due(ledger, provider, slots, now=now)
    return done + await tell_stopped(ledger.store, ledger.programme, slots, now=now)
