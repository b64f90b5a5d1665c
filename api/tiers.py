"""Tiers: the levels of the programme, and where a member stands among them."""

from datetime import datetime

import strawberry

from api.scalars import Long
from domain.ledger.due import due_entries
from domain.ledger.expiry import local_date
from domain.ledger.wallet import Wallet, fold, next_due_at
from domain.programme.programme import Programme
from domain.programme.tiers import held, metric, next_level
from domain.programme.wording import locales_for, localised


@strawberry.type
class Tier:
    id: strawberry.ID
    name: str
    from_: Long = strawberry.field(name="from")
    benefits: list[str]


@strawberry.type
class TierStatus:
    tier: Tier
    metric: Long
    next: Tier | None
    to_next: Long | None
    valid_until: datetime | None


def tier_types(programme: Programme, locale: str) -> list[Tier]:
    """The levels from the lowest; one without conditions where the programme has none."""
    section = programme.definition.tiers
    if section is None or programme.tiers is None:
        name = localised(programme, programme.definition.name, locale)
        return [Tier(id=strawberry.ID("member"), name=name, from_=Long(0), benefits=[])]
    return [
        Tier(
            id=strawberry.ID(level.id),
            name=localised(programme, level.name, locale),
            from_=Long(compiled.threshold),
            benefits=_benefits(programme, level.benefits, locale),
        )
        for level, compiled in zip(section.levels, programme.tiers.levels, strict=True)
    ]


def tier_status(wallet: Wallet, programme: Programme, *, now: datetime, locale: str) -> TierStatus:
    """Where the member stands at that instant: a review that is due counts as done (SEMANTICS §8.1)."""
    levels = {str(level.id): level for level in tier_types(programme, locale)}
    tiers = programme.tiers
    if tiers is None:
        return TierStatus(tier=next(iter(levels.values())), metric=Long(0), next=None, to_next=None, valid_until=None)
    due_at = next_due_at(wallet)
    if due_at is not None and due_at <= now:
        wallet = fold(wallet, due_entries(wallet, programme, now=now))
    counted = metric(tiers, wallet.metric, local_date(now, programme.zone))
    above = next_level(tiers, wallet.tier)
    return TierStatus(
        tier=levels[held(tiers, wallet.tier).id],
        metric=Long(counted),
        next=None if above is None else levels[above.id],
        to_next=None if above is None else Long(max(0, above.threshold - counted)),
        valid_until=None if wallet.tier is None else wallet.tier.valid_until,
    )


def _benefits(programme: Programme, benefits: dict[str, list[str]], locale: str) -> list[str]:
    for name in locales_for(programme, locale):
        if name in benefits:
            return benefits[name]
    return next(iter(benefits.values()), [])
