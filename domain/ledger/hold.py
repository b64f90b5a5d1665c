"""A hold: money set aside for a payment, with the lots it was taken from pinned (SEMANTICS §2.7).

Held value is in `member/held` and in no lot. What is captured goes to the merchant; what is released goes
back to the lots it came from, where it expires at once if its time has passed meanwhile.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from domain.ledger.lot import Allocation, allocation_documents, allocations_from


@dataclass(frozen=True, slots=True, kw_only=True)
class HeldPart:
    """What a hold took of one asset, in tender order, from which lots."""

    asset: str
    taken: tuple[Allocation, ...]

    @property
    def amount(self) -> int:
        return sum(allocation.amount for allocation in self.taken)


@dataclass(frozen=True, slots=True, kw_only=True)
class Hold:
    """An open hold; its id is that of the entry that made it. `partner` is the client id that may capture it."""

    id: str
    partner: str
    currency: str
    parts: tuple[HeldPart, ...]
    created_at: datetime
    expires_at: datetime
    receipt: str | None = None

    @property
    def amount(self) -> int:
        return sum(part.amount for part in self.parts)


def with_lapsed(hold: Hold, idle_until: Mapping[str, datetime], *, at: datetime) -> Hold:
    """The hold at that instant: what it pinned under the inactivity policy keeps an idle date that has passed.

    An activity after that date gives the wallet a new one, and does not bring back what was gone (SEMANTICS §2.7).
    """

    def part_of(part: HeldPart) -> HeldPart:
        gone_at = idle_until.get(part.asset)
        if gone_at is None or gone_at > at or not any(allocation.key.idle for allocation in part.taken):
            return part
        return replace(
            part,
            taken=tuple(
                replace(each, key=each.key._replace(expires_at=gone_at, idle=False)) if each.key.idle else each
                for each in part.taken
            ),
        )

    return replace(hold, parts=tuple(part_of(part) for part in hold.parts))


def hold_document(hold: Hold) -> dict[str, Any]:
    """The hold as entries and wallets store it."""
    document: dict[str, Any] = {
        "id": hold.id,
        "partner": hold.partner,
        "currency": hold.currency,
        "parts": [{"asset": part.asset, "taken": allocation_documents(part.taken)} for part in hold.parts],
        "created_at": hold.created_at,
        "expires_at": hold.expires_at,
    }
    if hold.receipt is not None:
        document["receipt"] = hold.receipt
    return document


def hold_from(document: Mapping[str, Any]) -> Hold:
    """The hold that :func:`hold_document` wrote."""
    parts = tuple(HeldPart(asset=part["asset"], taken=allocations_from(part["taken"])) for part in document["parts"])
    return Hold(**{**document, "parts": parts})
