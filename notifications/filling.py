"""What the variables of a message are filled with, at the moment of sending (SEMANTICS §10.15).

The table of them is :mod:`domain.programme.variables`. What the member has not got, or has no more, is left out.
"""

from collections.abc import Mapping
from datetime import date
from decimal import Decimal
from typing import Any

from domain.ledger.bonus import worth_minor
from domain.ledger.posting import POINTS
from domain.ledger.wallet import available
from domain.money import to_decimal
from domain.programme.tiers import held
from domain.programme.variables import MoneyValue, Value
from domain.programme.wording import localised
from domain.store.codec import parse_instant
from notifications.office import Party
from notifications.run import Run


def filled(run: Run, party: Party, *, locale: str) -> dict[str, Value]:
    """The variables of the run's messages as they are now."""
    member, wallet, programme = party.member, party.wallet, party.programme
    points = available(wallet, POINTS, party.now)
    values: dict[str, Value] = {"points": points, "balance": points}
    if member.profile.display_name is not None:
        values["name"] = member.profile.display_name
    if programme.tiers is not None and programme.definition.tiers is not None:
        level = held(programme.tiers, wallet.tier).id
        name = next(each.name for each in programme.definition.tiers.levels if each.id == level)
        values["tier"] = localised(programme, name, locale)
    return values | _of_event(run, party, locale)


def _of_event(run: Run, party: Party, locale: str) -> dict[str, Value]:  # noqa: C901 -- a line for each fact
    facts, programme = run.facts, party.programme
    values: dict[str, Value] = {}
    if (entry := facts.get("entry")) is not None:
        values["points"] = abs(int(entry["points"]))
        values["amount"] = _money(abs(entry["amount_minor"]), programme.currency)
    if run.event == "joined":
        worths = [worth_minor(bonus, party.now) for bonus in party.wallet.bonuses.values()]
        if worths:
            values["bonus"] = _money(max(worths), programme.currency)
    if run.event.startswith("place.") and (place := programme.places.get(facts.get("place", ""))) is not None:
        values |= {"place": place.name, "place_id": place.id}
    for name in ("days", "points", "length", "missing"):
        if name in facts:
            values[name] = int(facts[name])
    if "streak" in facts:
        streaks = {each.id: each for each in programme.definition.streaks}
        if (streak := streaks.get(facts["streak"])) is not None:
            values["streak"] = localised(programme, streak.name, locale)
    if "until" in facts:
        values["until"] = parse_instant(facts["until"])
    if "date" in facts:
        values["date"] = date.fromisoformat(facts["date"])
    if "bonus" in facts:
        values |= _of_bonus(facts, party)
    return values


def _of_bonus(facts: Mapping[str, Any], party: Party) -> dict[str, Value]:
    """What the bonus is worth, while the member has it."""
    bonus = party.wallet.bonuses.get(facts["bonus"])
    if bonus is None:
        return {}
    values: dict[str, Value] = {"now": _money(worth_minor(bonus, party.now), bonus.currency)}
    if "next_minor" in facts:
        values["next"] = _money(facts["next_minor"], bonus.currency)
    return values


def _money(minor: int, currency: str) -> MoneyValue:
    return MoneyValue(amount=Decimal(to_decimal(minor, currency)), currency=currency)
