"""A payer: what the payment provider knows a member as, the method he saved, and his automatic top-up.

There is one document per member who ever paid. Its version is the lock on the member's limits: whatever reserves
headroom was decided on the version that it moves on, so that two decisions at once cannot both pass a limit
(SEMANTICS §6.2). `seen` is the journal's sequence up to which the member's entries were looked at.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from bson.int64 import Int64
from pymongo import ReturnDocument
from pymongo.asynchronous.client_session import AsyncClientSession

from domain.payments.provider import Provider
from domain.store.codec import to_bson
from domain.store.connection import Store
from domain.store.slots import slot_of


@dataclass(frozen=True, slots=True, kw_only=True)
class AutoTopUp:
    """When a payment leaves less than `below_minor`, `amount_minor` is charged to the saved method.

    `stopped_at` and `stopped_for` (the provider's reason) are set when three charges failed: it is off until the
    member turns it on again.
    """

    below_minor: int
    amount_minor: int
    currency: str
    enabled: bool
    stopped_at: datetime | None = None
    stopped_for: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Payer:
    """`customer` and `method` are the provider's ids."""

    member: str
    version: int = 0
    seen: int = 0
    customer: str | None = None
    method: str | None = None
    auto: AutoTopUp | None = None


async def find_payer(store: Store, member: str) -> Payer | None:
    """The member as a payer, if he ever was one."""
    found = await store.payers.find_one({"_id": member})
    return None if found is None else payer_from(found)


async def payer_of(store: Store, member: str) -> Payer:
    """The member as a payer, made on first sight. What his journal holds already is not looked at."""
    if (payer := await find_payer(store, member)) is not None:
        return payer
    newest = await store.journal.find_one({"member": member, "seq": {"$exists": True}}, {"seq": 1}, sort=[("seq", -1)])
    fresh = {"slot": slot_of(member), "version": 0, "seen": 0 if newest is None else newest["seq"]}
    found = await store.payers.find_one_and_update(
        {"_id": member}, {"$setOnInsert": to_bson(fresh)}, upsert=True, return_document=ReturnDocument.AFTER
    )
    assert found is not None, member
    return payer_from(found)


async def move_on(store: Store, member: str, session: AsyncClientSession) -> None:
    """The payer's next version, in a transaction: whoever decided on the one before decides again.

    To be awaited after :func:`payer_of`, outside of the transaction.
    """
    await store.payers.update_one({"_id": member}, {"$inc": {"version": Int64(1)}}, session=session)


async def customer_of(store: Store, provider: Provider, payer: Payer) -> str:
    """The provider's id of the payer, made on first sight: one key per member, so that two at once make one."""
    if payer.customer is not None:
        return payer.customer
    made = await provider.customer(payer.member, key=f"customer.{payer.member}")
    await store.payers.update_one({"_id": payer.member, "customer": None}, {"$set": {"customer": made}})
    found = await find_payer(store, payer.member)
    assert found is not None, payer
    assert found.customer is not None, payer
    return found.customer


async def save_method(store: Store, member: str, method: str) -> None:
    """From now on this method is charged; the one before it no more."""
    await store.payers.update_one({"_id": member}, {"$set": {"method": method}})


async def set_auto(store: Store, member: str, auto: AutoTopUp) -> None:
    """The member's automatic top-up from now on; a former stop is forgotten."""
    await store.payers.update_one({"_id": member}, {"$set": {"auto": to_bson(_auto_document(auto))}})


async def stop_auto(store: Store, member: str, *, reason: str, now: datetime) -> bool:
    """Turn it off because it failed, with the member to be told; whether it was on."""
    stopped = {"auto.enabled": False, "auto.stopped_at": now, "auto.stopped_for": reason, "untold": True}
    result = await store.payers.update_one({"_id": member, "auto.enabled": True}, {"$set": to_bson(stopped)})
    return bool(result.modified_count)


def payer_from(found: Mapping[str, Any]) -> Payer:
    """The payer that the store holds."""
    auto = found.get("auto")
    return Payer(
        member=found["_id"],
        version=found["version"],
        seen=found["seen"],
        customer=found.get("customer"),
        method=found.get("method"),
        auto=None if auto is None else AutoTopUp(**auto),
    )


def _auto_document(auto: AutoTopUp) -> dict[str, Any]:
    values = {name: getattr(auto, name) for name in AutoTopUp.__slots__}
    return {name: value for name, value in values.items() if value is not None}
