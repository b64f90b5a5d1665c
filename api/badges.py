"""Badges: those of the programme, and how far a member has come with each."""

from datetime import datetime

import strawberry

from api.scalars import Long
from domain.ledger.wallet import Wallet
from domain.programme.badges import badge_count, badge_state, next_threshold
from domain.programme.format import Badge
from domain.programme.mechanisms import counters
from domain.programme.programme import Programme
from domain.programme.wording import localised


@strawberry.type
class BadgeDefinition:
    id: strawberry.ID
    name: str
    description: str
    levels: list[Long]
    image_url: str | None


@strawberry.type
class BadgeProgress:
    badge: BadgeDefinition
    level: int = strawberry.field(description="How many of its levels have been awarded; they are never taken away.")
    count: Long
    next_level_at: Long | None
    awarded_at: datetime | None = strawberry.field(description="When the level was awarded.")


def badge_type(badge: Badge, programme: Programme, locale: str) -> BadgeDefinition:
    """The badge in that language."""
    return BadgeDefinition(
        id=strawberry.ID(badge.id),
        name=localised(programme, badge.name, locale),
        description=localised(programme, badge.description, locale),
        levels=[Long(level) for level in badge.levels],
        image_url=badge.image_url,
    )


def badge_progress(wallet: Wallet, programme: Programme, locale: str) -> list[BadgeProgress]:
    """How far the member is with each badge of the programme, in its order."""
    counted = {
        "visits": wallet.visits,
        "purchases": wallet.purchases,
        "spend": wallet.spend_minor,
        **counters(wallet.progress),
    }
    progress: list[BadgeProgress] = []
    for badge in programme.definition.badges:
        state = badge_state(wallet.progress, badge.id)
        threshold = next_threshold(badge, state.level)
        progress.append(
            BadgeProgress(
                badge=badge_type(badge, programme, locale),
                level=state.level,
                count=Long(badge_count(badge, state, counted, programme.currency)),
                next_level_at=None if threshold is None else Long(threshold),
                awarded_at=state.awarded_at,
            )
        )
    return progress
