"""Stamp cards (SEMANTICS §8.4): stamps for what matches, or for a visit; a full card gives its award at once. Pure.

A receipt that comes late may make two visits one: then the stamp of the later one falls, as by a return.
Stamps go on to the next card when one is full. A card that expires counts from the programme's day of its first
stamp, that day's end being the last moment, as with all that expires; whether it has is judged by when things
happened, so receipts that come late but in order fill the cards that they would have filled.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date, datetime, timedelta
from typing import Final

from domain.ledger.expiry import add_period, local_date, start_of_day
from domain.ledger.visit import RECENT
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

    `days` are how many stamps the latest days gave, by ISO date. `visits` are when the latest visits began, of a card
    that counts them, stamped or not. `lapsed_at` is when the last card that was not filled expired: stamps of
    purchases before it are gone already.
    """

    stamps: int = 0
    completed: int = 0
    expires_at: datetime | None = None
    lapsed_at: datetime | None = None
    days: Mapping[str, int] = field(default_factory=dict)
    visits: Sequence[datetime] = ()

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
        after, stamps = _bought(card, state, happening) if card.lines else _visited(card, state, happening)
        if after != state:
            changed[card.id] = _document(after)
        if stamps:
            full = after.completed - state.completed
            marks[card.id] = {"stamps": stamps, "completed": full}
            award = fixed(card.award, section=SECTION, identifier=card.id, currency=happening.programme.currency)
            earned += [award] * full
    return Advance(states=changed, marks=marks, earned=together(earned))


def _bought(card: StampCard, state: CardState, happening: Happening) -> tuple[CardState, int]:
    """The card after a stamp for each unit on the lines that match, and how many those were."""
    units = sum(line["quantity"] for line in happening.matching(SECTION, card.id))
    stamps = _room(card, state, happening.day, units)
    if not stamps:
        return state, 0
    return _stamped(card, _on_day(card, replace(state, visits=()), happening.day, stamps), stamps, happening), stamps


def _visited(card: StampCard, state: CardState, happening: Happening) -> tuple[CardState, int]:
    """The card after the visit that the purchase begins, less that of a later one which is part of it now.

    Only what was stamped falls; a day that had more visits than stamps keeps what its other visits fill.
    """
    visit, zone = happening.visit, happening.programme.zone
    begun, stamps = list(state.visits), 0
    if visit.begins:
        stamps = _room(card, state, happening.day, 1)
        begun = sorted([*begun, happening.occurred_at])[-RECENT:]
        state = _on_day(card, state, happening.day, stamps)
    joined_at = visit.joined_at
    if joined_at is not None and joined_at in begun:
        begun.remove(joined_at)
        day = local_date(joined_at, zone)
        left = sum(local_date(each, zone) == day for each in begun)
        if card.per_day is None or state.days.get(day.isoformat(), 0) > left:
            stamps -= 1
            state = _on_day(card, state, day, -1)
    state = replace(state, visits=begun)
    if stamps > 0:
        return _stamped(card, state, stamps, happening), stamps
    if stamps < 0 and state.stamps and joined_at is not None and not _has_expired(state, joined_at, joined_at):
        return _with_stamps(state, state.stamps - 1), stamps
    return state, 0


def _room(card: StampCard, state: CardState, day: date, stamps: int) -> int:
    """How many of the stamps the card takes on that day. A day that nobody remembers any more takes none."""
    if card.per_day is None:
        return min(stamps, card.size * MAX_CARDS_AT_ONCE)
    on = day.isoformat()
    if on not in state.days and len(state.days) >= DAYS_KEPT and on < min(state.days):
        return 0
    return max(0, min(stamps, card.per_day - state.days.get(on, 0)))


def _on_day(card: StampCard, state: CardState, day: date, stamps: int) -> CardState:
    """What a card with `per_day` knows of its days, after that many more stamps of one."""
    if card.per_day is None or not stamps:
        return state
    on = day.isoformat()
    counted = {**state.days, on: state.days.get(on, 0) + stamps}
    return replace(state, days={day: counted[day] for day in sorted(counted)[-DAYS_KEPT:]})


def _stamped(card: StampCard, state: CardState, stamps: int, happening: Happening) -> CardState:
    state = state.at(happening.occurred_at)
    full, left = divmod(state.stamps + stamps, card.size)
    expires_at = state.expires_at
    if full or not state.stamps:
        expires_at = _expiry(card, happening) if left else None
    return replace(state, stamps=left, completed=state.completed + full, expires_at=expires_at)


def _with_stamps(state: CardState, left: int) -> CardState:
    return replace(state, stamps=left, expires_at=state.expires_at if left else None)


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
        taken = min(state.stamps, undone.part_of(max(0, mark["stamps"])))
        if not taken or _has_fallen(state, undone.occurred_at):
            continue
        if _has_expired(state, undone.occurred_at, happening.occurred_at):
            continue
        changed[identifier] = _document(_without(state, taken, undone))
        marks[identifier] = {"stamps": -taken, "completed": 0}
    return Advance(states=changed, marks=marks)


def _has_expired(state: CardState, stamped_at: datetime, at: datetime) -> bool:
    lapsed_at = state.at(at).lapsed_at
    return lapsed_at is not None and stamped_at < lapsed_at


def _has_fallen(state: CardState, visited_at: datetime) -> bool:
    """Whether the visit's stamp went already, when a receipt made it part of an earlier visit."""
    return bool(state.visits) and state.visits[0] <= visited_at and visited_at not in state.visits


def _without(state: CardState, taken: int, undone: Undone) -> CardState:
    on, days = undone.day.isoformat(), dict(state.days)
    if on in days:
        days[on] = max(0, days[on] - taken)
    visits = [each for each in state.visits if each != undone.occurred_at]
    return replace(_with_stamps(state, state.stamps - taken), days=days, visits=visits)


def _document(state: CardState) -> Document:
    values = {name: getattr(state, name) for name in CardState.__slots__}
    plain = values | {"days": dict(state.days), "visits": list(state.visits)}
    return {name: value for name, value in plain.items() if value}


def _read(document: Document) -> CardState:
    return CardState(**document)


STAMP_CARDS: Final = Mechanism(section=SECTION, advance=_advance)
