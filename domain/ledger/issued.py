"""Issued vouchers, open and ended: a member's from the newest, one by its code, some by their ids.

Read from the projection (:mod:`domain.ledger.projection`). Effective at the instant of reading: an open one
whose time has passed is expired, whether or not its entry is posted (DESIGN §2).
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from domain.ledger.voucher import Voucher, VoucherStatus, voucher_from
from domain.store.connection import Store


@dataclass(frozen=True, slots=True, kw_only=True)
class Issued:
    """A voucher of a member with its status at an instant; `used_at` is None unless it is used."""

    voucher: Voucher
    member: str
    status: VoucherStatus
    used_at: datetime | None


async def vouchers_of(
    store: Store,
    member: str,
    *,
    now: datetime,
    limit: int,
    status: VoucherStatus | None = None,
    after: tuple[datetime, str] | None = None,
) -> list[Issued]:
    """Up to `limit` vouchers of the member, newest first, of that status if one is given.

    `after` is the instant of issue and the id of the last one seen.
    """
    parts: list[dict[str, Any]] = [{"member": member}]
    if status is not None:
        parts.append(_of_status(status, now))
    if after is not None:
        issued_at, identifier = after
        parts.append({"$or": [{"issued_at": {"$lt": issued_at}}, {"issued_at": issued_at, "_id": {"$lt": identifier}}]})
    found = store.vouchers.find({"$and": parts}).sort([("issued_at", -1), ("_id", -1)]).limit(limit)
    return [_issued(document, now) async for document in found]


async def voucher_by_code(store: Store, code: str, *, now: datetime) -> Issued | None:
    """The voucher of that normal code (:func:`domain.ledger.voucher.normal_code`), whosever it is."""
    document = await store.vouchers.find_one({"code": code})
    return None if document is None else _issued(document, now)


async def vouchers_by_id(store: Store, identifiers: Collection[str], *, now: datetime) -> dict[str, Issued]:
    """The vouchers of those ids, whosever they are."""
    if not identifiers:
        return {}
    found = store.vouchers.find({"_id": {"$in": list(identifiers)}})
    return {document["_id"]: _issued(document, now) async for document in found}


def _of_status(status: VoucherStatus, now: datetime) -> dict[str, Any]:
    past = {"status": VoucherStatus.ACTIVE.value, "expires_at": {"$lte": now}}
    match status:
        case VoucherStatus.ACTIVE:
            return {"status": status.value, "$nor": [{"expires_at": {"$lte": now}}]}
        case VoucherStatus.EXPIRED:
            return {"$or": [{"status": status.value}, past]}
        case _:
            return {"status": status.value}


def _issued(document: Mapping[str, Any], now: datetime) -> Issued:
    status = VoucherStatus(document["status"])
    voucher = voucher_from(
        {
            "id": document["_id"],
            **{name: document[name] for name in Voucher.__slots__ if name in document},
        }
    )
    if status is VoucherStatus.ACTIVE and voucher.expires_at is not None and voucher.expires_at <= now:
        status = VoucherStatus.EXPIRED
    return Issued(
        voucher=voucher,
        member=document["member"],
        status=status,
        used_at=document["ended_at"] if status is VoucherStatus.USED else None,
    )
