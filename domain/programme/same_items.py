"""Same-item offers (SEMANTICS §8.6): the n-th purchase of one item within d days gives a voucher for that item. Pure.

They are earning rules of the event `same_sku`, so limits, windows, pilots and multipliers are as with all rules. A
receipt is one purchase of each item on it. The d days end with the day of the n-th, in the programme's days; the
purchases that earned an offer are used up by it. A purchase that came so late that its days are over is forgotten.
"""

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from datetime import date
from typing import Any, Final
from urllib.parse import quote

from domain.ledger.expiry import Period, add_period, local_date
from domain.programme.earning import (
    NOTHING_USED,
    Earnings,
    Usage,
    counts_for_same_item,
    earn_same_item,
)
from domain.programme.mechanism import RETURN, Advance, Document, Happening, Mechanism, together
from domain.programme.programme import AwardRule

SECTION: Final = "same_items"
EVENT: Final = "same_sku"

FORGETS_EVERY: Final = 8
"""Purchases after which all items are gone through; in between only those on the receipt."""

MAX_ITEMS: Final = 1_000
"""Items that a wallet remembers; beyond it those that were bought last the longest ago are forgotten."""


def _advance(states: Mapping[str, Document], happening: Happening) -> Advance:
    if happening.event == RETURN:
        return _taken_back(states, happening)
    rules = happening.programme.rules.get(EVENT)
    if happening.event != "purchase" or (rules is None and not states):
        return Advance()
    changed: dict[str, Document | None] = {}
    earned: list[Earnings] = []
    usage = happening.usage
    oldest: dict[str, int] = {}
    for rule in rules.awards if rules is not None else ():
        nth, within = _terms(happening, rule)
        latest_on = local_date(happening.latest_at or happening.occurred_at, happening.programme.zone)
        oldest[rule.id] = _first_day(latest_on, within)
        for sku, line in _bought(happening, rule).items():
            key = _key(rule.id, sku)
            on = happening.day.toordinal()
            days = sorted([*_days(states.get(key)), on])
            hit = _hit(days, on, nth=nth, within=within)
            if hit is not None:
                given = earn_same_item(
                    happening.programme,
                    rule,
                    day=happening.day,
                    facts={"line": line, "member": happening.facts["member"]},
                    usage=usage,
                    member=happening.member.id,
                    place=happening.place,
                    region=happening.region,
                )
                if given.points or given.cashback_minor or given.vouchers or given.bonuses:
                    earned.append(given)
                    usage = _with_used(usage, given)
                    del days[hit : hit + nth]
                else:
                    del days[hit]
            changed[key] = _document([day for day in days if day >= oldest[rule.id]])
    if happening.counters["purchases"] % FORGETS_EVERY == 0 or len(states) + len(changed) > MAX_ITEMS:
        changed |= _forgotten({**states, **changed}, oldest)
    return Advance(states=changed, earned=together(earned))


def _terms(happening: Happening, rule: AwardRule) -> tuple[int, Period]:
    section = happening.programme.rules_by_id[rule.id]
    assert section.nth is not None, rule
    assert section.within is not None, rule
    return section.nth, section.within


def _bought(happening: Happening, rule: AwardRule) -> dict[str, Mapping[str, Any]]:
    """The items on the receipt for which the rule counts, each with a line of it."""
    bought: dict[str, Mapping[str, Any]] = {}
    counts: bool | None = None
    for line in happening.lines:
        if counts is None or rule.condition is not None:
            counts = counts_for_same_item(
                rule,
                day=happening.day,
                facts={"line": line, "member": happening.facts["member"]},
                member=happening.member.id,
                place=happening.place,
                region=happening.region,
            )
        if counts and line["quantity"] > 0:
            bought.setdefault(line["sku"], line)
    return bought


def _hit(days: Sequence[int], on: int, *, nth: int, within: Period) -> int | None:
    """Where the first n purchases that the one on that day makes n within the days begin; `days` are in order."""
    latest = bisect_right(days, on) - 1
    for first in range(max(0, latest - nth + 1), min(latest, len(days) - nth) + 1):
        if days[first] >= _first_day(date.fromordinal(days[first + nth - 1]), within):
            return first
    return None


def _first_day(last: date, within: Period) -> int:
    return add_period(last, within, -1).toordinal() + 1


def _forgotten(states: Mapping[str, Document | None], oldest: Mapping[str, int]) -> dict[str, None]:
    """The items whose purchases can count for nothing any more, and those that are too many."""
    never = date.max.toordinal()
    last = {key: _days(state)[-1] for key, state in states.items() if state is not None}
    gone = [key for key, day in last.items() if day < oldest.get(key[: key.index("|")], never)]
    too_many = len(last) - len(gone) - MAX_ITEMS
    if too_many > 0:
        kept = sorted(last.keys() - gone, key=lambda key: (last[key], key))
        gone += kept[:too_many]
    return dict.fromkeys(gone)


def _taken_back(states: Mapping[str, Document], happening: Happening) -> Advance:
    """A purchase that went back whole counts no more where it still counts; an offer that was given stays."""
    undone = happening.undone
    assert undone is not None, happening
    if not undone.is_all:
        return Advance()
    changed: dict[str, Document | None] = {}
    for key, state in undone.states.get(SECTION, {}).items():
        days, on = _days(states.get(key)), undone.day.toordinal()
        if on in _days(state) and on in days:
            days.remove(on)
            changed[key] = _document(days)
    return Advance(states=changed)


def _with_used(usage: Usage, given: Earnings) -> Usage:
    """The usage after what was given, for the next item on the same receipt."""
    after = {rule: dict(periods) for rule, periods in usage.items()}
    for change in given.used:
        periods = after.setdefault(change.rule, {})
        periods[change.period] = periods.get(change.period, NOTHING_USED).plus(change)
    return after


def _key(rule: str, sku: str) -> str:
    """Rule and item; an item's number may hold anything, a key neither dots nor dollars."""
    plain = sku if sku.isascii() and sku.isalnum() else quote(sku, safe=" ").replace(".", "%2E")
    return f"{rule}|{plain}"


def _days(state: Document | None) -> list[int]:
    """The days of the purchases that still count, as ordinals, in order."""
    return [] if state is None else [int(day) for day in state.split()]


def _document(days: Sequence[int]) -> Document | None:
    return " ".join(map(str, days)) or None


SAME_ITEMS: Final = Mechanism(section=SECTION, advance=_advance)
