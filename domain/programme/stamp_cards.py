"""Stamp cards (SEMANTICS §8.4): stamps for what matches, or for a visit; a full card gives its award at once. Pure.

Stamps go on to the next card when one is full. A card that expires counts from the programme's day of its first
stamp, that day's end being the last moment, as with all that expires; whether it has is judged by when things
happened, so receipts that come late but in order fill the cards that they would have filled.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import date, datetime, timedelta
from typing import Final

from domain.ledger.expiry import add_period, start_of_day
from domain.programme.format import StampCard
from domain.programme.mechanism import RETURN, Advance, Document, Happening, Mechanism, Undone, fixed, together

SECTION: Final = "stamp_cards"

MAX_CARDS_AT_ONCE: Final = 20
"""One purchase fills no more cards than this; what is beyond it gives no stamps."""

DAYS_KEPT: Final = 31
"""For how many of the latest days with stamps a card with `per_day` knows how many they had: as many as a receipt may
commonly be late."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CardState:
    """`stamps` are on the card now, `completed` cards were filled before it.

    `days` are how many stamps the latest days gave, by ISO date. `lapsed_at` is when the last card that was not
    filled expired: stamps of purchases before it are gone already.
    """

    stamps: int = 0
    completed: int = 0
    expires_at: datetime | None = None
    lapsed_at: datetime | None = None
    days: Mapping[str, int] = field(default_factory=dict)

    def at(self, instant: datetime) -> "CardState":
        """As it is at that instant: an expired card is an empty one."""
        if self.expires_at is None or instant < self.expires_at:
            return self
        return replace(self, stamps=0, expires_at=None, lapsed_at=self.expires_at)


def card_state(progress: Mapping[str, Mapping[str, Document]], card: str) -> CardState:
    """The member's state of that card, of what his wallet holds."""
    document = progress.get(SECTION, {}).get(card)
    return CardState() if document is None else _read(document)


def _advance(states: Mapping[str, Document], happening: Happening) -> Advance:
    if happening.event == RETURN:
        return _taken_back(states, happening)
    if happening.event != "purchase":
        return Advance()
    changed: dict[str, Document] = {}
    marks: dict[str, Document] = {}
    earned = []
    for card in happening.programme.definition.stamp_cards:
        state = _read(states[card.id]) if card.id in states else CardState()
        stamps = _room(card, state, happening.day, _stamps(card, happening))
        if not stamps:
            continue
        after = _stamped(card, state.at(happening.occurred_at), stamps, happening)
        full = after.completed - state.completed
        changed[card.id] = _document(after)
        marks[card.id] = {"stamps": stamps, "completed": full}
        award = fixed(card.award, section=SECTION, identifier=card.id, currency=happening.programme.currency)
        earned += [award] * full
    return Advance(states=changed, marks=marks, earned=together(earned))


def _stamps(card: StampCard, happening: Happening) -> int:
    if card.lines is None:
        return max(0, happening.visits)
    return sum(line["quantity"] for line in happening.matching(SECTION, card.id))


def _room(card: StampCard, state: CardState, day: date, stamps: int) -> int:
    """How many of the stamps the card takes on that day. A day that nobody remembers any more takes none."""
    if card.per_day is None:
        return min(stamps, card.size * MAX_CARDS_AT_ONCE)
    on = day.isoformat()
    if on not in state.days and len(state.days) >= DAYS_KEPT and on < min(state.days):
        return 0
    return max(0, min(stamps, card.per_day - state.days.get(on, 0)))


def _stamped(card: StampCard, state: CardState, stamps: int, happening: Happening) -> CardState:
    full, left = divmod(state.stamps + stamps, card.size)
    expires_at = state.expires_at
    if full or not state.stamps:
        expires_at = _expiry(card, happening) if left else None
    days = state.days
    if card.per_day is not None:
        on = happening.day.isoformat()
        counted = {**days, on: days.get(on, 0) + stamps}
        days = {day: counted[day] for day in sorted(counted)[-DAYS_KEPT:]}
    return replace(state, stamps=left, completed=state.completed + full, expires_at=expires_at, days=days)


def _expiry(card: StampCard, happening: Happening) -> datetime | None:
    """The first instant after the last day of a card whose first stamp is of this day."""
    if card.expires is None:
        return None
    return start_of_day(add_period(happening.day, card.expires) + timedelta(days=1), happening.programme.zone)


def _taken_back(states: Mapping[str, Document], happening: Happening) -> Advance:
    """A return takes its part of the stamps that the purchase gave, of those that are on the card (SEMANTICS §4.5).

    The award of a full card stays, and so do stamps that came after a card on which the purchase's had expired.
    """
    undone = happening.undone
    assert undone is not None, happening
    changed: dict[str, Document] = {}
    marks: dict[str, Document] = {}
    for identifier, mark in undone.marks.get(SECTION, {}).items():
        if identifier not in states:
            continue
        state = _read(states[identifier])
        taken = min(state.stamps, undone.part_of(mark["stamps"]))
        if not taken or _has_expired(state, undone, happening.occurred_at):
            continue
        changed[identifier] = _document(_without(state, taken, undone.day))
        marks[identifier] = {"stamps": -taken, "completed": 0}
    return Advance(states=changed, marks=marks)


def _has_expired(state: CardState, undone: Undone, at: datetime) -> bool:
    lapsed_at = state.at(at).lapsed_at
    return lapsed_at is not None and undone.occurred_at < lapsed_at


def _without(state: CardState, taken: int, day: date) -> CardState:
    on, days = day.isoformat(), dict(state.days)
    if on in days:
        days[on] = max(0, days[on] - taken)
    left = state.stamps - taken
    return replace(state, stamps=left, expires_at=state.expires_at if left else None, days=days)


def _document(state: CardState) -> Document:
    values = {name: getattr(state, name) for name in CardState.__slots__}
    return {name: dict(value) if name == "days" else value for name, value in values.items() if value}


def _read(document: Document) -> CardState:
    return CardState(**document)


STAMP_CARDS: Final = Mechanism(section=SECTION, advance=_advance)
