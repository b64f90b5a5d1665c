"""Where a member has been: the zones in which his days were counted, and since when (SEMANTICS §8.3).

A member's day is a date in the zone that he had at that instant. A period is over when it is over in every zone
that he was in during it, and in the one that he came from during it; one of which he saw no instant, as 30 December
2011 in Apia, never was.
"""

from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Any, Final, NamedTuple
from zoneinfo import ZoneInfo

from domain.ledger.expiry import local_date, start_of_day

MAX_STAYS: Final = 64
"""No more are kept of a member; the oldest that is kept counts for all before it."""

_BEGINNING: Final = datetime.min.replace(tzinfo=UTC)
_END: Final = datetime.max.replace(tzinfo=UTC)


class Stay(NamedTuple):
    """A zone and the instant since which the member has been in it, until the next stay begins."""

    since: datetime
    zone: ZoneInfo


Stays = Sequence[Stay]
"""At least one, in order; the first reaches back for ever."""


def settled_in(zone: ZoneInfo) -> Stays:
    """The stays of somebody who never moved."""
    return (Stay(_BEGINNING, zone),)


def stays_of(zones: Sequence[Mapping[str, Any]], *, current: str | None, fallback: ZoneInfo) -> Stays:
    """The stays of a member whose present zone is `current`, None for the programme's, which is `fallback`.

    `zones` are those that the member had, as :mod:`domain.members.profile` keeps them; none if he never moved.
    """
    if not zones:
        return settled_in(_zone(current, fallback))
    first, *later = zones
    stays = [Stay(_BEGINNING, _zone(first["zone"], fallback))]
    stays += [Stay(each["since"], _zone(each["zone"], fallback)) for each in later]
    return tuple(stays)


def date_at(stays: Stays, at: datetime) -> date:
    """The member's date at that instant."""
    for stay in reversed(stays):
        if stay.since <= at:
            return local_date(at, stay.zone)
    return local_date(at, stays[0].zone)


def earliest_date(stays: Stays, since: datetime) -> date:
    """No instant from `since` on is of an earlier date of the member, wherever he was."""
    if len(stays) == 1:
        return local_date(since, stays[0].zone) - _SLACK
    ends = [stay.since for stay in stays[1:]] + [_END]
    begun = [max(stay.since, since) for stay, end in zip(stays, ends, strict=True) if end > since]
    dates = [local_date(at, stay.zone) for at, stay in zip(begun, stays[-len(begun) :], strict=True)]
    return min(dates) - _SLACK


def over_at(stays: Stays, first: date, following: date) -> datetime | None:
    """The instant at which the days from `first` to before `following` are over in every zone that has a say.

    That is each that he was in during them, and the one that he left during them as the calendar stood where he came
    to: a move takes nothing away (SEMANTICS §8.3). None when he was in none of them at any instant. Stays that are
    yet to come cannot be known.
    """
    over, is_left = None, False
    for index in range(len(stays) - 1, -1, -1):
        stay, end = stays[index], stays[index + 1].since if index + 1 < len(stays) else _END
        begins_at, ends_at = start_of_day(first, stay.zone), start_of_day(following, stay.zone)
        if (is_left or max(begins_at, stay.since) < min(ends_at, end)) and (over is None or ends_at > over):
            over = ends_at
        is_left = begins_at <= stay.since < ends_at
    return over


def _zone(name: str | None, fallback: ZoneInfo) -> ZoneInfo:
    return fallback if name is None else ZoneInfo(name)


_SLACK: Final = timedelta(days=2)
"""More than any zone ever set its calendar back, and than any move sets back a date."""
