"""A visit: purchases with less than an hour between each and the next are one (SEMANTICS §8.2). Pure.

Receipts may come late, in any order, and the count comes out the same: one that comes between two visits less than
an hour from both makes them one. A wallet knows the latest :data:`RECENT` purchases; of one before all of those only
the distance to the earliest of them counts.
"""

from bisect import bisect_right
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Final, NamedTuple

GAP: Final = timedelta(hours=1)

RECENT: Final = 32
"""Purchases of which a wallet knows the instants."""


class VisitChange(NamedTuple):
    """What a purchase does to the visits.

    `begins` is whether it begins one. `joined_at` is the purchase after it that begins none any more, if it did: it
    goes on with the visit of this one.
    """

    begins: bool
    joined_at: datetime | None

    @property
    def added(self) -> int:
        """1, 0 or -1."""
        return self.begins - (self.joined_at is not None)


NO_VISIT: Final = VisitChange(begins=False, joined_at=None)


def visit_change(recent: Sequence[datetime], occurred_at: datetime) -> VisitChange:
    """What a purchase does; `recent` are the instants of those before it, in order."""
    at = bisect_right(recent, occurred_at)
    earlier, later = recent[:at][-1:], recent[at : at + 1]
    begins = not earlier or occurred_at - earlier[0] >= GAP
    joins = bool(later) and later[0] - occurred_at < GAP and (not earlier or later[0] - earlier[0] >= GAP)
    return VisitChange(begins=begins, joined_at=later[0] if joins else None)


def with_purchase(recent: Sequence[datetime], occurred_at: datetime) -> tuple[datetime, ...]:
    """The instants that a wallet knows after that purchase."""
    return tuple(sorted((*recent, occurred_at))[-RECENT:])
