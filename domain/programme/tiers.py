"""Tiers (SEMANTICS §8.1): up at once, down only at review. Pure; the entry of a command carries the new state.

What can be the metric (points earned by purchases, spend, visits) is kept as one number each per programme's day, no
further back than the window reaches, so a wallet stays small and a return falls into the window of its purchase. All
three are kept, so that a programme which measures otherwise finds the new measure in the window, and never adds points
to cents.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Final, Literal
from zoneinfo import ZoneInfo

from domain.ledger.expiry import Period, add_period, end_of_month, local_date, start_of_day

Metric = Literal["points_earned", "spend", "visits"]
Buckets = Mapping[str, int]
"""ISO date, of other measures than points with their name → what that programme's day has; none where it is 0."""

YEAR: Final = Period(years=1)

_SUFFIXES: Final[Mapping[Metric, str]] = {"points_earned": "", "spend": " spend", "visits": " visits"}
_DAY: Final = len("2026-07-06")


@dataclass(frozen=True, slots=True, kw_only=True)
class Level:
    """`threshold` is in the metric's unit; who has that much or more qualifies."""

    id: str
    threshold: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Tiers:
    """`levels` rise from the lowest, which everybody holds. `rolling` is the window, None for the calendar year."""

    metric: Metric
    rolling: Period | None
    downgrade: Literal["one_level", "qualified"]
    levels: tuple[Level, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class TierState:
    """The level reached. `threshold` is the level's when it was given: it says what is next lower if it is removed.

    `valid_until` is the instant of the next review, None for the lowest level.
    """

    level: str
    threshold: int
    since_on: date
    valid_until: datetime | None


def held(tiers: Tiers, state: TierState | None) -> Level:
    """The level that the member holds: the lowest without a state, the next lower one if it was removed."""
    return tiers.levels[_rank(tiers, state)]


def next_level(tiers: Tiers, state: TierState | None) -> Level | None:
    """The level above the one held; None at the top."""
    above = _rank(tiers, state) + 1
    return tiers.levels[above] if above < len(tiers.levels) else None


def after_metric(
    tiers: Tiers, state: TierState | None, *, buckets: Buckets, on: date, zone: ZoneInfo
) -> TierState | None:
    """The state after the metric changed on that programme's day: a higher level at once, never a lower one.

    Levels may be skipped. None when nothing changes. Late receipts count if their day is within the window.
    """
    rank = _qualified(tiers, metric(tiers, buckets, on))
    if rank <= _rank(tiers, state):
        return None
    return _state(tiers, rank, since_on=on, counted_from=on, zone=zone)


def review(tiers: Tiers, state: TierState, *, buckets: Buckets, zone: ZoneInfo) -> TierState:
    """The state after the review at `valid_until`: kept for another window, or lowered as the programme says.

    Judged by the window that ends on the last valid day. The buckets must still reach back from that day; a
    review that is overdue by more than a window is followed by the next one.
    """
    assert state.valid_until is not None, state
    reviewed_on = local_date(state.valid_until, zone)
    last_day = reviewed_on - timedelta(days=1)
    rank = _rank(tiers, state)
    qualified = _qualified(tiers, metric(tiers, buckets, last_day))
    if qualified >= rank:
        since_on = state.since_on if tiers.levels[rank].id == state.level else reviewed_on
        return _state(tiers, rank, since_on=since_on, counted_from=last_day, zone=zone)
    lower = rank - 1 if tiers.downgrade == "one_level" else qualified
    return _state(tiers, lower, since_on=reviewed_on, counted_from=last_day, zone=zone)


def metric(tiers: Tiers, buckets: Buckets, on: date) -> int:
    """What counts on that programme's day: the sum over the window that ends with it, never below zero."""
    first, last, suffix = first_day(tiers, on).isoformat(), on.isoformat(), _SUFFIXES[tiers.metric]
    counted = [amount for key, amount in buckets.items() if first <= key[:_DAY] <= last and key[_DAY:] == suffix]
    return max(0, sum(counted))


def measured(day: str, *, points: int, spend_minor: int, visits: int) -> dict[str, int]:
    """What a purchase of that day adds to the buckets, or a return takes, below zero then."""
    amounts: dict[Metric, int] = {"points_earned": points, "spend": spend_minor, "visits": visits}
    return {day + _SUFFIXES[measure]: amount for measure, amount in amounts.items() if amount}


def first_day(tiers: Tiers, on: date) -> date:
    """The first programme's day of the window that ends on that day."""
    if tiers.rolling is None:
        return date(on.year, 1, 1)
    return add_period(on, tiers.rolling, -1) + timedelta(days=1)


def _rank(tiers: Tiers, state: TierState | None) -> int:
    if state is None:
        return 0
    for rank, level in enumerate(tiers.levels):
        if level.id == state.level:
            return rank
    return max((rank for rank, level in enumerate(tiers.levels) if level.threshold < state.threshold), default=0)


def _qualified(tiers: Tiers, amount: int) -> int:
    return max((rank for rank, level in enumerate(tiers.levels) if level.threshold <= amount), default=0)


def _state(tiers: Tiers, rank: int, *, since_on: date, counted_from: date, zone: ZoneInfo) -> TierState:
    level, valid_until = tiers.levels[rank], None
    if rank > 0:
        last_day = end_of_month(add_period(counted_from, tiers.rolling or YEAR))
        valid_until = start_of_day(last_day + timedelta(days=1), zone)
    return TierState(level=level.id, threshold=level.threshold, since_on=since_on, valid_until=valid_until)
