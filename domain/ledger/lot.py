"""A lot: value of one asset that becomes spendable and expires together (SEMANTICS §2).

Lots of one asset with equal expiry, pending date and origin are one lot, so a wallet never grows with
its history. Spending takes the earliest expiry first, then the earliest earned.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any, NamedTuple

from bson.int64 import Int64

NEVER = datetime.max.replace(tzinfo=UTC)


class LotKey(NamedTuple):
    """What makes two lots of an asset the same.

    `expires_at` is the first instant at which the lot is gone; None for value that never expires, and for
    value under the inactivity policy (`idle`), which expires at the wallet's own idle date.
    `pending_until` is the instant at which it becomes spendable, None when it is. `origin` is the kind of
    the entry that it came from, or of the money where one kind of entry brings several, with the card that paid it.
    """

    expires_at: datetime | None
    pending_until: datetime | None
    origin: str
    idle: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Lot:
    """`remaining` above zero, in the asset's minor unit; `earned_at` is the earliest of what was merged."""

    asset: str
    key: LotKey
    remaining: int
    earned_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Allocation:
    """What was taken from one lot, or given back to it."""

    key: LotKey
    amount: int


def expiry_of(lot: Lot, idle_until: Mapping[str, datetime]) -> datetime:
    """The first instant at which the lot is gone; :data:`NEVER` when it does not expire.

    A pending lot outlives an idle date that comes before it matures: its maturing counts a new one (SEMANTICS §2.6).
    """
    if lot.key.idle:
        gone_at = idle_until.get(lot.asset, NEVER)
        return NEVER if lot.key.pending_until is not None and gone_at <= lot.key.pending_until else gone_at
    return lot.key.expires_at or NEVER


def is_spendable(lot: Lot, *, at: datetime, idle_until: Mapping[str, datetime]) -> bool:
    """Whether the lot can be spent at that instant: matured and not expired (SEMANTICS §2.4, §2.6)."""
    pending = lot.key.pending_until
    return (pending is None or pending <= at) and at < expiry_of(lot, idle_until)


def spending_order(lots: Iterable[Lot], *, idle_until: Mapping[str, datetime]) -> list[Lot]:
    """The lots in the order in which spending takes them (SEMANTICS §2.2)."""
    return sorted(lots, key=lambda lot: (expiry_of(lot, idle_until), lot.earned_at, lot.key.origin))


def add(lots: tuple[Lot, ...], lot: Lot) -> tuple[Lot, ...]:
    """The lots with that one in, merged where an equal one stands."""
    for index, other in enumerate(lots):
        if other.asset == lot.asset and other.key == lot.key:
            merged = replace(
                other,
                remaining=other.remaining + lot.remaining,
                earned_at=min(other.earned_at, lot.earned_at),
            )
            return (*lots[:index], merged, *lots[index + 1 :])
    return (*lots, lot)


def take(lots: tuple[Lot, ...], asset: str, key: LotKey, amount: int) -> tuple[Lot, ...]:
    """The lots with `amount` less in one of them. No lot goes below zero: an assertion."""
    for index, lot in enumerate(lots):
        if lot.asset == asset and lot.key == key:
            assert 0 < amount <= lot.remaining, (lot, amount)
            if amount == lot.remaining:
                return (*lots[:index], *lots[index + 1 :])
            return (*lots[:index], replace(lot, remaining=lot.remaining - amount), *lots[index + 1 :])
    raise AssertionError(f"no lot {key} of {asset}")


def lot_key_document(key: LotKey) -> dict[str, Any]:
    """The key as stored: what is None or False is left out."""
    document: dict[str, Any] = {"origin": key.origin}
    if key.expires_at is not None:
        document["expires_at"] = key.expires_at
    if key.pending_until is not None:
        document["pending_until"] = key.pending_until
    if key.idle:
        document["idle"] = True
    return document


def lot_key_from(document: Mapping[str, Any]) -> LotKey:
    """The key that :func:`lot_key_document` wrote."""
    return LotKey(
        document.get("expires_at"),
        document.get("pending_until"),
        document["origin"],
        document.get("idle", False),
    )


def lot_document(lot: Lot) -> dict[str, Any]:
    """The lot as the wallet stores it."""
    return {
        "asset": lot.asset,
        "remaining": Int64(lot.remaining),
        "earned_at": lot.earned_at,
        **lot_key_document(lot.key),
    }


def lot_from(document: Mapping[str, Any]) -> Lot:
    """The lot that :func:`lot_document` wrote."""
    return Lot(
        asset=document["asset"],
        key=lot_key_from(document),
        remaining=document["remaining"],
        earned_at=document["earned_at"],
    )


def allocation_documents(allocations: tuple[Allocation, ...]) -> list[dict[str, Any]]:
    """Allocations as stored."""
    return [{"lot": lot_key_document(one.key), "amount": one.amount} for one in allocations]


def allocations_from(documents: Any) -> tuple[Allocation, ...]:
    """The allocations that :func:`allocation_documents` wrote."""
    return tuple(Allocation(key=lot_key_from(one["lot"]), amount=one["amount"]) for one in documents)
