"""The variables that a message may use, by the event that starts its cascade (SEMANTICS §10.15).

The one table of them: a programme is checked against it, and whoever sends a message fills what stands in it, at the
moment of sending. What a member has not got (a name that he never told, a bonus that he has claimed) is left out, and
then a message that needs it is not sent.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime
from decimal import Decimal
from enum import StrEnum
from types import MappingProxyType
from typing import Final

from domain.programme.cascade_format import ENTRY_EVENTS


@dataclass(frozen=True, slots=True, kw_only=True)
class MoneyValue:
    """An amount as a message shows it: decimal, in the currency's own precision."""

    amount: Decimal
    currency: str


Value = str | int | MoneyValue | datetime | date
"""What fills a variable: text, a whole number, money, an aware instant, or a day."""


class VariableType(StrEnum):
    """WHOLE is a whole number; INSTANT an aware instant, shown in the member's zone; DAY a calendar day."""

    TEXT = "TEXT"
    WHOLE = "WHOLE"
    MONEY = "MONEY"
    INSTANT = "INSTANT"
    DAY = "DAY"


@dataclass(frozen=True, slots=True, kw_only=True)
class Variable:
    """`longest` is an example as long as one can get: what a push message is measured with."""

    type: VariableType
    meaning: str
    longest: Value


def _text(meaning: str, *, longest: int = 100) -> Variable:
    return Variable(type=VariableType.TEXT, meaning=meaning, longest="Щ" * longest)


def _whole(meaning: str) -> Variable:
    return Variable(type=VariableType.WHOLE, meaning=meaning, longest=999_999_999)


def _money(meaning: str) -> Variable:
    longest = MoneyValue(amount=Decimal("9999999.99"), currency="USD")
    return Variable(type=VariableType.MONEY, meaning=meaning, longest=longest)


def _instant(meaning: str) -> Variable:
    longest = datetime(2026, 9, 23, 22, 22, tzinfo=UTC)
    return Variable(type=VariableType.INSTANT, meaning=meaning, longest=longest)


def _day(meaning: str) -> Variable:
    return Variable(type=VariableType.DAY, meaning=meaning, longest=date(2026, 9, 23))


COMMON: Final[Mapping[str, Variable]] = MappingProxyType(
    {
        "name": _text("the member's name, as he told it", longest=200),
        "points": _whole("his available points, or what the event says below"),
        "balance": _whole("his available points"),
        "tier": _text("the name of his tier"),
    }
)
"""Every message may use these."""

_ENTRY: Final[Mapping[str, Variable]] = MappingProxyType(
    {
        "points": _whole("the points that the entry gave, or took"),
        "amount": _money("the money that the entry moved, or the purchase's total"),
    }
)
_PLACE: Final[Mapping[str, Variable]] = MappingProxyType(
    {"place": _text("the place's name"), "place_id": _text("the place's id", longest=64)}
)

EVENTS: Final[Mapping[str, Mapping[str, Variable]]] = MappingProxyType(
    {
        **dict.fromkeys(ENTRY_EVENTS, _ENTRY),
        "joined": {
            "points": _whole("the points that joining gave"),
            "bonus": _money("what the member's bonus is worth now"),
        },
        "lapsed": {"days": _whole("days since the last purchase")},
        "points_expiring": {
            "points": _whole("the points that expire"),
            "date": _day("the last day on which they can be spent"),
        },
        "streak_at_risk": {
            "streak": _text("the streak's name"),
            "length": _whole("its periods so far"),
            "until": _instant("when it breaks, or uses a freeze"),
        },
        "tier_at_risk": {
            "missing": _whole("what is missing to keep the tier, in its metric"),
            "until": _instant("when the tier is reviewed"),
        },
        "bonus_step": {
            "now": _money("what the bonus is worth now"),
            "next": _money("what it is worth after the step"),
            "date": _day("the day of the step"),
        },
        "bonus_expiring": {
            "now": _money("what the bonus is worth now"),
            "date": _day("the last day on which it can be claimed"),
        },
        "birthday": {"points": _whole("the points that the birthday gave")},
        "place.enter": _PLACE,
        "place.dwell": _PLACE,
        "place.exit": _PLACE,
    }
)
"""What an event adds to the common ones; one of the same name goes before."""

_ACTIVITY: Final = "activity."


def variables_of(event: str) -> Mapping[str, Variable]:
    """The variables of messages in a cascade that the event starts."""
    own = _ENTRY if event.startswith(_ACTIVITY) else EVENTS.get(event, {})
    return {**COMMON, **own}


def shared_variables(events: Iterable[str]) -> Mapping[str, Variable]:
    """The variables that a message has whichever of the events started its cascade; those of the first are given.

    One that is of another type elsewhere is not shared. Without an event: the common ones.
    """
    first, *others = [variables_of(event) for event in events] or [COMMON]
    return {
        name: variable
        for name, variable in first.items()
        if all(name in other and other[name].type is variable.type for other in others)
    }
