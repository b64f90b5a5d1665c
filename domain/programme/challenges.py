"""Challenges (SEMANTICS §8.5): a counter with a target inside a window; reaching it gives the award, once. Pure.

What happened inside the window counts if it is recorded until 48 hours after the window's end. A challenge counts
for as long as its id and window last: under the same id a window that begins when the old one is over is a new
challenge. One that the programme has taken out is forgotten once nothing can count for it any more.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
from typing import Final
from zoneinfo import ZoneInfo

from domain.ledger.expiry import start_of_day
from domain.programme.badges import distinct, whole_units, with_seen
from domain.programme.earning import Earnings
from domain.programme.format import ACTIVITY_PREFIX, Challenge, Definition
from domain.programme.mechanism import RETURN, Advance, Document, Happening, Mechanism, fixed, together

SECTION: Final = "challenges"

LATE: Final = timedelta(hours=48)
"""How long after its end a challenge still takes what happened before."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ChallengeState:
    """`count` is what was counted since `from_on`, spend in minor units; it stands still from `completed_at` on.

    Of visits it falls by one when a late receipt makes two of them one.

    `counts` is what it was that was counted: the sum of another counter says nothing.
    `seen` are the distinct places or categories. `until_on` is the first day after the window, and `closes_at` the
    instant from which nothing counts any more, both as they were when it was counted last.
    """

    from_on: date
    until_on: date
    closes_at: datetime
    counts: str
    count: int = 0
    seen: tuple[str, ...] = ()
    completed_at: datetime | None = None


def challenge_state(
    progress: Mapping[str, Mapping[str, Document]], challenge: Challenge, zone: ZoneInfo
) -> ChallengeState:
    """The member's state of that challenge, of what his wallet holds."""
    return _state(progress.get(SECTION, {}), challenge, zone)


def is_open(challenge: Challenge, at: datetime, zone: ZoneInfo) -> bool:
    """Whether that instant is within the window."""
    return start_of_day(challenge.from_, zone) <= at < ends_at(challenge, zone)


def ends_at(challenge: Challenge, zone: ZoneInfo) -> datetime:
    """The first instant after the window."""
    return start_of_day(challenge.until, zone)


def shown_count(challenge: Challenge, count: int, currency: str) -> int:
    """The count in the unit of its target: spend in whole units of the currency."""
    return whole_units(count, currency) if challenge.counts == "spend" else count


def _advance(states: Mapping[str, Document], happening: Happening) -> Advance:
    programme = happening.programme
    challenges = programme.definition.challenges
    known = {challenge.id for challenge in challenges}
    changed: dict[str, Document | None] = {
        key: None for key, state in states.items() if key not in known and _read(state).closes_at <= happening.now
    }
    if happening.event == RETURN:
        return _taken_back(states, happening, changed)
    marks: dict[str, Document] = {}
    earned: list[Earnings] = []
    for challenge in challenges:
        if not _counts(challenge, happening):
            continue
        before = _state(states, challenge, programme.zone)
        after = _counted(challenge, before, happening)
        is_won = shown_count(challenge, after.count, programme.currency) >= challenge.target
        if before.completed_at is not None or not (is_won or after != before):
            continue
        mark: dict[str, object] = {"count": after.count - before.count}
        if is_won:
            after = replace(after, completed_at=happening.now, seen=())
            earned.append(fixed(challenge.award, section=SECTION, identifier=challenge.id, currency=programme.currency))
            mark["completed"] = True
        changed[challenge.id] = _document(after)
        marks[challenge.id] = mark
    return Advance(states=changed, marks=marks, earned=together(earned))


def _counts(challenge: Challenge, happening: Happening) -> bool:
    zone = happening.programme.zone
    return (
        challenge.event == happening.event
        and challenge.from_ <= happening.day < challenge.until
        and happening.now < ends_at(challenge, zone) + LATE
        and happening.condition(SECTION, challenge.id)
    )


def _counted(challenge: Challenge, state: ChallengeState, happening: Happening) -> ChallengeState:
    counts, count = challenge.counts, state.count
    if counts.startswith("distinct_"):
        seen = with_seen(state.seen, distinct(counts, happening))
        return replace(state, seen=seen, count=len(seen))
    if counts.startswith("streak."):
        length = happening.counters.get(f"{counts}.current", happening.counters.get(counts, 0))
        return replace(state, count=max(count, length))
    more = {"purchases": 1, "visits": happening.visit.added, "spend": happening.total_minor}
    return replace(state, count=max(0, count + more.get(counts, 1)))


def _taken_back(states: Mapping[str, Document], happening: Happening, changed: dict[str, Document | None]) -> Advance:
    """Until the target is reached, what went back counts no more: the amount, or the purchase if all of it did.

    Places and categories stay, since other purchases may have had the same; so does the award.
    """
    undone = happening.undone
    assert undone is not None, happening
    counters = {challenge.id: challenge.counts for challenge in happening.programme.definition.challenges}
    for identifier, mark in undone.marks.get(SECTION, {}).items():
        counts = counters.get(identifier)
        if identifier not in states or counts not in {"spend", "visits", "purchases"}:
            continue
        state = _read(states[identifier])
        if state.counts != counts:
            continue
        less = undone.part_of(mark["count"]) if counts == "spend" else mark["count"] if undone.is_all else 0
        if less and state.completed_at is None and state.from_on <= undone.day < state.until_on:
            changed[identifier] = _document(replace(state, count=max(0, state.count - less)))
    return Advance(states=changed)


def _state(states: Mapping[str, Document], challenge: Challenge, zone: ZoneInfo) -> ChallengeState:
    fresh = ChallengeState(
        from_on=challenge.from_,
        until_on=challenge.until,
        closes_at=ends_at(challenge, zone) + LATE,
        counts=challenge.counts,
    )
    state = _read(states[challenge.id]) if challenge.id in states else fresh
    if challenge.from_ >= state.until_on or (state.counts != challenge.counts and state.completed_at is None):
        return fresh
    return replace(state, from_on=fresh.from_on, until_on=fresh.until_on, closes_at=fresh.closes_at)


def _listens(definition: Definition) -> Iterable[str]:
    for challenge in definition.challenges:
        yield challenge.event
        if challenge.counts.startswith(ACTIVITY_PREFIX):
            yield challenge.counts


def _document(state: ChallengeState) -> Document:
    document: dict[str, object] = {
        "from_on": state.from_on.isoformat(),
        "until_on": state.until_on.isoformat(),
        "closes_at": state.closes_at,
        "counts": state.counts,
        "count": state.count,
    }
    if state.seen:
        document["seen"] = list(state.seen)
    if state.completed_at is not None:
        document["completed_at"] = state.completed_at
    return document


def _read(document: Document) -> ChallengeState:
    return ChallengeState(
        from_on=date.fromisoformat(document["from_on"]),
        until_on=date.fromisoformat(document["until_on"]),
        closes_at=document["closes_at"],
        counts=document["counts"],
        count=document["count"],
        seen=tuple(document.get("seen", ())),
        completed_at=document.get("completed_at"),
    )


CHALLENGES: Final = Mechanism(section=SECTION, advance=_advance, listens=_listens)
