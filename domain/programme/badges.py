"""Badges (SEMANTICS §8.2): a counter and its levels. Each level is awarded once, for ever. Pure.

The level reached is kept, so returns, a changed programme and a badge that is taken out and comes back change
nothing of it. Visits, purchases and spend are the member's own counters from the beginning, so that a new badge
counts what was before it; places, categories and activities count from the first entry under the badge.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final

from domain.money import exponent
from domain.programme.format import ACTIVITY_PREFIX, Badge, Definition
from domain.programme.mechanism import RETURN, Advance, Document, Happening, Mechanism

SECTION: Final = "badges"

MAX_DISTINCT: Final = 100
"""Distinct places or categories that a wallet remembers for a counter; no level or target may ask for more."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BadgeState:
    """`level` is how many levels were awarded, the last of them at `awarded_at`.

    `count` is of activities. `seen` are the distinct places or categories, also those above the highest level: the
    next version of the programme may ask for more.
    """

    level: int = 0
    awarded_at: datetime | None = None
    count: int = 0
    seen: tuple[str, ...] = ()


_NOT_BEGUN: Final = BadgeState()


def badge_state(progress: Mapping[str, Mapping[str, Document]], badge: str) -> BadgeState:
    """The member's state of that badge, of what his wallet holds."""
    document = progress.get(SECTION, {}).get(badge)
    return _NOT_BEGUN if document is None else _read(document)


def badge_count(badge: Badge, state: BadgeState, counters: Mapping[str, int], currency: str) -> int:
    """What the badge counts; spend in whole units of the currency. `counters` are the member's, streaks included."""
    if badge.counts == "spend":
        return whole_units(counters.get("spend", 0), currency)
    if badge.counts.startswith("distinct_"):
        return len(state.seen)
    if badge.counts.startswith(ACTIVITY_PREFIX):
        return state.count
    return counters.get(badge.counts, 0)


def whole_units(amount_minor: int, currency: str) -> int:
    """The amount in whole units of the currency, as levels and targets of spend are."""
    return amount_minor // int(10 ** exponent(currency))


def next_threshold(badge: Badge, level: int) -> int | None:
    """The count that the level after that one asks for; None when there is none."""
    return badge.levels[level] if level < len(badge.levels) else None


def distinct(counts: str, happening: Happening) -> Iterable[str]:
    """The places or categories of the happening, for a counter of distinct ones."""
    if counts == "distinct_places":
        return () if happening.place is None else (happening.place,)
    return [line["category"] for line in happening.lines if line["category"]]


def with_seen(seen: Sequence[str], new: Iterable[str]) -> tuple[str, ...]:
    """The distinct ones with new ones, in the order in which they came, at most :data:`MAX_DISTINCT`."""
    return tuple(dict.fromkeys((*seen, *new)))[:MAX_DISTINCT]


def _advance(states: Mapping[str, Document], happening: Happening) -> Advance:
    if happening.event == RETURN:
        return Advance()
    changed: dict[str, Document] = {}
    marks: dict[str, Document] = {}
    for badge in happening.programme.definition.badges:
        before = _read(states[badge.id]) if badge.id in states else _NOT_BEGUN
        after = _counted(badge, before, happening)
        level = _qualified(badge, badge_count(badge, after, happening.counters, happening.programme.currency))
        if level > before.level:
            marks[badge.id] = {"levels": list(range(before.level + 1, level + 1))}
            after = replace(after, level=level, awarded_at=happening.now)
        if after is not before:
            changed[badge.id] = _document(after)
    return Advance(states=changed, marks=marks)


def _counted(badge: Badge, state: BadgeState, happening: Happening) -> BadgeState:
    if badge.counts == happening.event:
        return replace(state, count=state.count + 1)
    if badge.counts.startswith("distinct_") and happening.event == "purchase":
        seen = with_seen(state.seen, distinct(badge.counts, happening))
        return state if seen == state.seen else replace(state, seen=seen)
    return state


def _qualified(badge: Badge, count: int) -> int:
    return sum(count >= threshold for threshold in badge.levels)


def _listens(definition: Definition) -> Iterable[str]:
    return [badge.counts for badge in definition.badges if badge.counts.startswith(ACTIVITY_PREFIX)]


def _document(state: BadgeState) -> Document:
    document: dict[str, object] = {}
    if state.level:
        document |= {"level": state.level, "awarded_at": state.awarded_at}
    if state.count:
        document["count"] = state.count
    if state.seen:
        document["seen"] = list(state.seen)
    return document


def _read(document: Document) -> BadgeState:
    return BadgeState(
        level=document.get("level", 0),
        awarded_at=document.get("awarded_at"),
        count=document.get("count", 0),
        seen=tuple(document.get("seen", ())),
    )


BADGES: Final = Mechanism(section=SECTION, advance=_advance, listens=_listens)
