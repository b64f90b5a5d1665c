"""What the sections of a programme are made of: models, marks, and the values that stand in them.

Amounts are decimal strings, durations ISO 8601, times of day `HH:MM`, conditions CEL. A mark says of a value what
can only be judged with the rest of the programme; `checks` does that.
"""

from contextlib import suppress
from dataclasses import dataclass
from datetime import date
from decimal import Decimal, InvalidOperation
from fractions import Fraction
from typing import Annotated, Literal
from unicodedata import category

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, InstanceOf, StringConstraints
from pydantic_core import PydanticCustomError

from domain.ledger.expiry import Period, PeriodError, parse_period

MAX_POINTS = 10**9
MAX_ITEMS = 1_000
MAX_TEXT_CHARACTERS = 500


@dataclass(frozen=True, slots=True)
class Amount:
    """Marks a decimal string that must be exact in the programme's currency."""


@dataclass(frozen=True, slots=True)
class Cel:
    """Marks a condition and says which groups of facts it may use."""

    groups: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Reference:
    """Marks an id of something in another section."""

    section: Literal["tiers", "vouchers", "places", "bonuses", "streaks", "badges", "segments", "templates"]


@dataclass(frozen=True, slots=True)
class TextsMark:
    """Marks texts by locale, and lists of them."""


class Model(BaseModel):
    """What every part of the definition is: frozen, and without keys that nobody knows."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, hide_input_in_errors=True)

    def is_empty(self) -> bool:
        """Whether it says nothing at all: every key is left out, null or an empty list."""
        return not any(getattr(self, name) for name in type(self).model_fields)


def _duration(*, time: bool) -> BeforeValidator:
    def read(value: object) -> Period:
        if isinstance(value, Period):
            return value
        if not isinstance(value, str):
            raise PydanticCustomError("duration", "Must be an ISO 8601 duration in text, such as P14D.")
        try:
            return parse_period(value, time=time)
        except PeriodError as error:
            raise PydanticCustomError("duration", "{reason}", {"reason": str(error)}) from error

    return BeforeValidator(read)


def _decimal_text(value: object) -> object:
    if isinstance(value, int | float) and not isinstance(value, bool):
        raise PydanticCustomError(
            "decimal_text",
            'Must be a decimal number in quotes, such as "{example}", so that no digit of it is lost.',
            {"example": str(value)},
        )
    return value


def _fraction(value: object) -> Fraction:
    if isinstance(value, Fraction):
        return value
    value = _decimal_text(value)
    try:
        number = Decimal(value if isinstance(value, str) else "")
    except InvalidOperation:
        number = Decimal("NaN")
    if not number.is_finite() or number.as_tuple().exponent not in range(-6, 1):
        raise PydanticCustomError(
            "decimal_text",
            'Must be a plain decimal number in quotes with at most 6 decimals, such as "1.25".',
        )
    return Fraction(number)


def _day(value: object) -> object:
    """A date as YAML reads it, or as JSON must write it: a programme may come in either."""
    if isinstance(value, str):
        with suppress(ValueError):
            return date.fromisoformat(value)
    return value


Day = Annotated[date, BeforeValidator(_day)]


def _positive(limit: int) -> AfterValidator:
    def check(value: Fraction) -> Fraction:
        if not 0 < value <= limit:
            raise PydanticCustomError("range", "Must be above 0 and at most {limit}.", {"limit": limit})
        return value

    return AfterValidator(check)


def one_or_many(value: object) -> object:
    return [value] if isinstance(value, str) else value


def readable(value: str) -> str:
    """The text, if a member can read it: neither blank nor with characters that show nothing and steer something."""
    if not value.strip():
        raise PydanticCustomError("readable", "Must not be empty.")
    if steering := [character for character in value if category(character) == "Cc" and character not in "\n\t"]:
        raise PydanticCustomError(
            "readable",
            "Has the control character U+{code}, which nobody can read; leave it out.",
            {"code": f"{ord(steering[0]):04X}"},
        )
    return value


def _clock_time(value: str) -> str:
    hours, colon, minutes = value.partition(":")
    if not (colon and len(value) == 5 and hours.isdecimal() and minutes.isdecimal()):  # noqa: PLR2004
        raise PydanticCustomError("clock_time", 'Must be a time of day in quotes, such as "22:00".')
    if int(hours) > 23 or int(minutes) > 59:  # noqa: PLR2004
        raise PydanticCustomError("clock_time", "There is no such time of day; hours go to 23, minutes to 59.")
    return value


Identifier = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9_-]{0,63}$")]
Text = Annotated[str, StringConstraints(max_length=MAX_TEXT_CHARACTERS), AfterValidator(readable)]
Texts = Annotated[dict[str, Text], TextsMark()]
TextLists = Annotated[dict[str, list[Text]], TextsMark()]
Money = Annotated[str, BeforeValidator(_decimal_text), Amount()]
Days = Annotated[InstanceOf[Period], _duration(time=False)]
Span = Annotated[InstanceOf[Period], _duration(time=True)]
Factor = Annotated[InstanceOf[Fraction], BeforeValidator(_fraction), _positive(100)]
Percent = Annotated[InstanceOf[Fraction], BeforeValidator(_fraction), _positive(100)]
Count = Annotated[int, Field(ge=1, le=1_000_000)]
Points = Annotated[int, Field(ge=1, le=MAX_POINTS)]
Per = Literal["day", "week", "month", "year", "lifetime"]
ClockTime = Annotated[str, AfterValidator(_clock_time)]
MemberCondition = Annotated[str, Cel(("member",))]
LineCondition = Annotated[str, Cel(("line", "purchase", "member"))]
VoucherId = Annotated[str, Reference("vouchers")]
BonusId = Annotated[str, Reference("bonuses")]
TierId = Annotated[str, Reference("tiers")]
PlaceId = Annotated[str, Reference("places")]
StreakId = Annotated[str, Reference("streaks")]
SegmentId = Annotated[str, Reference("segments")]
TemplateId = Annotated[str, Reference("templates")]
