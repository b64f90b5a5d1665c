"""What an entry awarded beside value: badges, vouchers, stamps, streaks, a tier."""

from datetime import datetime
from enum import StrEnum

import strawberry

from api.bonuses import Bonus
from api.vouchers import Voucher


@strawberry.type
class BadgeAward:
    badge: strawberry.ID
    level: int


@strawberry.type
class StampAward:
    card: strawberry.ID
    stamps: int
    completed: int


@strawberry.enum
class StreakPeriod(StrEnum):
    DAY = "DAY"
    WEEK = "WEEK"
    MONTH = "MONTH"


@strawberry.type
class StreakStatus:
    streak: strawberry.ID
    name: str
    period: StreakPeriod
    current: int = strawberry.field(description="0 as soon as the streak is broken, even before anything else happens.")
    longest: int
    freezes_left: int
    safe: bool = strawberry.field(description="True when the current period is counted already.")
    at_risk_at: datetime | None = strawberry.field(
        description="When the streak breaks, or uses a freeze, unless something qualifies before."
    )
    next_milestone: int | None


@strawberry.type
class Awards:
    badges: list[BadgeAward]
    vouchers: list[Voucher]
    bonuses: list[Bonus]
    stamps: list[StampAward]
    streaks: list[StreakStatus]
    challenges: list[strawberry.ID]
    tier: strawberry.ID | None
