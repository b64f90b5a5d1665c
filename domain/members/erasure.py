"""Erasure: a member is forgotten, his journal stays under the opaque id (SEMANTICS §9.5).

The first write takes the person out of the member's document: from then on nobody finds him by anything, and whoever
signs in with the same identity is new. All else follows from `HOLDINGS` and may be repeated; the document keeps
`erasing` until it is done, so that whoever comes next, a worker at the latest, finishes what a death cut short.
"""

from collections.abc import Collection
from datetime import datetime
from typing import Any, Final

from domain.commands.forfeit import forfeiting
from domain.ledger.commit import Ledger
from domain.ledger.wallet import Wallet, standing
from domain.members.enrolment import joined
from domain.members.holding import HOLDINGS, OnErasure
from domain.members.member import member_by_id
from domain.partners.denial import deny, of_member
from domain.problems import WrongState
from domain.store.collections import MEMBERS
from domain.store.connection import Store

FORFEIT: Final = "FORFEIT"
MAX_AT_ONCE: Final = 100
_PAID: Final = "prepaid/"


def wrong_with_erasing(wallet: Wallet, confirm: str, *, now: datetime) -> WrongState | None:
    """What keeps the member from being erased now, or None. Pure."""
    if not confirm.strip():
        return WrongState(message="confirm is empty; say ERASE to be forgotten.", state="UNCONFIRMED")
    if any(hold.expires_at > now for hold in wallet.holds.values()):
        return WrongState(
            message="A payment is under way. Wait until it is taken or let go, then ask again.", state="HELD"
        )
    paid = sorted({lot.asset for lot in wallet.lots if lot.asset.startswith(_PAID)})
    if confirm != FORFEIT and any(standing(wallet, asset, now).available for asset in paid):
        return WrongState(
            message=f"There is paid money in the wallet. Spend it or have it refunded, or confirm with {FORFEIT}.",
            state="PAID_MONEY",
        )
    return None


async def erase(ledger: Ledger, member: str, *, confirm: str, now: datetime) -> WrongState | datetime:
    """When the member was forgotten; or what keeps him from it, and then nothing has happened."""
    store = ledger.store
    record = await member_by_id(store, member)
    if record is not None:
        await joined(ledger, record)
    wrong = wrong_with_erasing(await ledger.journal.wallet(member), confirm, now=now)
    if wrong is not None:
        return wrong
    await deny(store, of_member(member), now=now)
    await store.members.update_one(
        {"_id": member, "erased_at": None, "erasing": None},
        {
            "$set": {"erasing": {"at": now, "paid_too": confirm == FORFEIT}},
            "$unset": dict.fromkeys(_of_the_person(), ""),
        },
    )
    await _finish(ledger, member)
    return now


async def finish_erasures(ledger: Ledger, slots: Collection[int]) -> int:
    """Finish the erasures of these slots that were cut short; how many there were."""
    found = ledger.store.members.find(
        {"slot": {"$in": list(slots)}, "erasing": {"$exists": True}}, {"_id": True}
    ).limit(MAX_AT_ONCE)
    members = [document["_id"] async for document in found]
    for member in members:
        await _finish(ledger, member)
    return len(members)


async def _finish(ledger: Ledger, member: str) -> None:
    """All that follows the first write; each step may be done again."""
    store = ledger.store
    document = await store.members.find_one({"_id": member}, {"erasing": True})
    if document is None or "erasing" not in document:
        return
    erasing = document["erasing"]
    await deny(store, of_member(member), now=ledger.now())
    await ledger.commit(forfeiting(member, paid_too=erasing["paid_too"]))
    await _apply_holdings(store, member)
    await store.members.update_one(
        {"_id": member}, {"$set": {"erased_at": erasing["at"]}, "$unset": {"erasing": "", **_unset(_of_the_person())}}
    )


async def _apply_holdings(store: Store, member: str) -> None:
    for name, holding in HOLDINGS.items():
        if holding is None or name == MEMBERS:
            continue
        collection = store.database[name]
        match holding.on_erasure:
            case OnErasure.DELETE:
                await collection.delete_many({holding.by: member})
            case OnErasure.CLEAR:
                there = [{field: {"$exists": True}} for field in holding.cleared]
                await collection.update_many({holding.by: member, "$or": there}, {"$unset": _unset(holding.cleared)})
            case OnErasure.KEEP:
                pass


def _of_the_person() -> tuple[str, ...]:
    holding = HOLDINGS[MEMBERS]
    assert holding is not None
    return holding.cleared


def _unset(fields: Collection[str]) -> dict[str, Any]:
    return dict.fromkeys(fields, "")
