"""A visit: purchases with less than an hour between each and the next are one (SEMANTICS §8.2). Pure.

Receipts may come late, in any order, and the count comes out the same: one that comes between two visits less than
an hour from both makes them one. A wallet knows the latest :data:`RECENT` purchases; of one before all of those only
the distance to the earliest of them counts.
"""

from bisect import bisect_right
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Final

GAP: Final = timedelta(hours=1)

RECENT: Final = 32
"""Purchases of which a wallet knows the instants."""


def visits_added(recent: Sequence[datetime], occurred_at: datetime) -> int:
    """What a purchase adds to the visits: 1, 0, or -1; `recent` are the instants of those before it, in order."""
    if not recent:
        return 1
    at = bisect_right(recent, occurred_at)
    earlier, later = recent[:at][-1:], recent[at : at + 1]
    gaps = sum(occurred_at - other >= GAP for other in earlier) + sum(other - occurred_at >= GAP for other in later)
    closed = bool(earlier and later) and later[0] - earlier[0] >= GAP
    return gaps - closed


def with_purchase(recent: Sequence[datetime], occurred_at: datetime) -> tuple[datetime, ...]:
    """The instants that a wallet knows after that purchase."""
    return tuple(sorted((*recent, occurred_at))[-RECENT:])
