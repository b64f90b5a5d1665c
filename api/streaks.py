"""Streaks: how long a member has kept one up, at the instant of the request, and what an entry did to it."""

from datetime import datetime
from enum import StrEnum

import strawberry

from domain.ledger.entry import Entry
from domain.ledger.wallet import Wallet
from domain.members.member import Member, stays
from domain.programme.format import Streak
from domain.programme.programme import Programme
from domain.programme.streak import StreakStanding
from domain.programme.streaks import SECTION, standing_from, streak_standing
from domain.programme.wording import localised


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


def streak_statuses(
    member: Member, wallet: Wallet, programme: Programme, *, now: datetime, locale: str
) -> list[StreakStatus]:
    """All streaks of the programme, in its order, as they stand at that instant (SEMANTICS §8.3)."""
    where = stays(member, programme)
    return [
        _status(streak, streak_standing(wallet.progress, streak, programme, stays=where, now=now), programme, locale)
        for streak in programme.definition.streaks
    ]


def awarded_streaks(entry: Entry, programme: Programme, locale: str) -> list[StreakStatus]:
    """The streaks that the entry counted for, as they stood after it."""
    marks = entry.marks.get(SECTION, {})
    return [
        _status(streak, standing_from(marks[streak.id]), programme, locale)
        for streak in programme.definition.streaks
        if streak.id in marks
    ]


def _status(streak: Streak, standing: StreakStanding, programme: Programme, locale: str) -> StreakStatus:
    return StreakStatus(
        streak=strawberry.ID(streak.id),
        name=localised(programme, streak.name, locale),
        period=StreakPeriod(streak.period.upper()),
        current=standing.current,
        longest=standing.longest,
        freezes_left=standing.freezes_left,
        safe=standing.is_safe,
        at_risk_at=standing.at_risk_at,
        next_milestone=standing.next_milestone,
    )
