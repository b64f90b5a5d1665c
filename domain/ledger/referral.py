"""A referral, as the wallet of the friend who was invited keeps it (SEMANTICS §9.3).

Purchases of at least the programme's minimum wait until they can no longer be returned. The first of them to
get there earns both members their award; one that is returned below the minimum before then counts no more, and
the next takes its place.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Final

from domain.ledger.expiry import Period, add_period, local_date, start_of_day
from domain.money import to_minor
from domain.programme.programme import Programme

MAX_WAITING: Final = 10
"""Purchases kept beside each other; more matter only once all of these were returned."""

TWO_WEEKS: Final = Period(days=14)


@dataclass(frozen=True, slots=True, kw_only=True)
class Qualifying:
    """The purchase of that entry; it counts while at least `minimum_minor` of it is kept, for good from `final_at`."""

    entry: str
    minimum_minor: int
    final_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Referral:
    """Who invited the member, and the purchases that wait, in order; `is_over` once the awards were decided."""

    referrer: str
    waiting: tuple[Qualifying, ...] = ()
    is_over: bool = False

    @property
    def first(self) -> Qualifying | None:
        """The one that can no longer be returned first."""
        return min(self.waiting, key=lambda purchase: purchase.final_at, default=None)


def return_period(programme: Programme) -> Period:
    """How long a purchase can be returned, in the programme's days."""
    referral = programme.definition.referral
    stated = None if referral is None else referral.after
    return stated or programme.cashback.pending or TWO_WEEKS


def with_purchase(
    referral: Referral | None, programme: Programme, entry: str, *, total_minor: int, occurred_at: datetime
) -> Referral | None:
    """The referral with a purchase that waits from now on; None when nothing changes."""
    section = programme.definition.referral
    if referral is None or referral.is_over or section is None or len(referral.waiting) >= MAX_WAITING:
        return None
    minimum_minor = to_minor(section.minimum, programme.currency)
    if total_minor < minimum_minor:
        return None
    last = add_period(local_date(occurred_at, programme.zone), return_period(programme))
    purchase = Qualifying(entry=entry, minimum_minor=minimum_minor, final_at=start_of_day(last, programme.zone))
    return replace(referral, waiting=(*referral.waiting, purchase))


def with_return(referral: Referral | None, entry: str, *, remains_minor: int, now: datetime) -> Referral | None:
    """The referral without a purchase of which too little is left in time; None when nothing changes."""
    if referral is None:
        return None
    waiting = tuple(
        purchase
        for purchase in referral.waiting
        if purchase.entry != entry or remains_minor >= purchase.minimum_minor or purchase.final_at <= now
    )
    return None if len(waiting) == len(referral.waiting) else replace(referral, waiting=waiting)


def referral_document(referral: Referral) -> dict[str, Any]:
    """The referral as entries and wallets store it; `due_at` is what a worker looks for."""
    document: dict[str, Any] = {
        "referrer": referral.referrer,
        "waiting": [
            {"entry": one.entry, "minimum_minor": one.minimum_minor, "final_at": one.final_at}
            for one in referral.waiting
        ],
        "is_over": referral.is_over,
    }
    if referral.first is not None:
        document["due_at"] = referral.first.final_at
    return document


def referral_from(document: Mapping[str, Any]) -> Referral:
    """The referral that :func:`referral_document` wrote."""
    return Referral(
        referrer=document["referrer"],
        waiting=tuple(Qualifying(**one) for one in document["waiting"]),
        is_over=document["is_over"],
    )
