"""The contract's scalars: how each is written on the wire, and which Python value stands for it.

    DateTime        datetime, aware UTC, milliseconds      Date             date
    Long            Long (int)                             Decimal          Decimal (str, plain decimal)
    Currency        Currency (str, ISO 4217)               IdempotencyKey   IdempotencyKey (str)
    Duration        Duration (str, ISO 8601)               JSON             JSON

Modules annotate fields with these Python types; `SCALARS` goes into the schema's configuration. Whatever does
not fit is refused before anything runs, with a message that says what was wrong and what to send instead.
"""

import re
from datetime import UTC, date, datetime
from typing import Any, Final, NewType

import strawberry
from strawberry.scalars import JSON
from strawberry.types.scalar import ScalarDefinition

from api.edge.errors import InvalidValue
from domain.money import AmountError, exponent
from domain.store.codec import InstantError, format_instant, parse_instant

__all__ = ["JSON", "SCALARS", "Currency", "Decimal", "Duration", "IdempotencyKey", "Long"]

Long = NewType("Long", int)
Decimal = NewType("Decimal", str)
Currency = NewType("Currency", str)
Duration = NewType("Duration", str)
IdempotencyKey = NewType("IdempotencyKey", str)

FURTHEST: Final = datetime(3000, 1, 1, tzinfo=UTC)
"""Where dates are counted on from an instant that is given: the calendar ends with the year 9999."""
LARGEST_LONG: Final = 2**53 - 1
LONGEST_DECIMAL: Final = 40
SHORTEST_KEY: Final = 8
LONGEST_KEY: Final = 128
_SHOWN: Final = 40

_DAY = re.compile(r"\d{4}-\d\d-\d\d", re.ASCII)
_DECIMAL = re.compile(r"-?(?:0|[1-9]\d*)(?:\.\d+)?", re.ASCII)
_DURATION = re.compile(
    r"P(?=.)(?:\d+W|(?:\d+Y)?(?:\d+M)?(?:\d+D)?(?:T(?=\d)(?:\d+H)?(?:\d+M)?(?:\d+(?:\.\d+)?S)?)?)", re.ASCII
)
_KEY = re.compile(r"[\x20-\x7e]*")


def _parse_instant(value: object) -> datetime:
    if not isinstance(value, str):
        raise InvalidValue(f"{_shown(value)} is not an instant. Write it as 2026-11-22T08:30:00Z.")
    try:
        return parse_instant(value)
    except InstantError as error:
        raise InvalidValue(str(error)) from None


def _parse_day(value: object) -> date:
    if not isinstance(value, str) or not _DAY.fullmatch(value):
        raise InvalidValue(f"{_shown(value)} is not a date. Write it as 2026-11-22.")
    try:
        return date.fromisoformat(value)
    except ValueError:
        raise InvalidValue(f"{_shown(value)} names a day that does not exist.") from None


def _parse_long(value: object) -> Long:
    if not isinstance(value, int) or isinstance(value, bool):
        raise InvalidValue(f"{_shown(value)} is not a whole number. Send a JSON number without quotes or fraction.")
    if abs(value) > LARGEST_LONG:
        raise InvalidValue(f"{_shown(value)} is outside ±(2^53 - 1).")
    return Long(value)


def _format_long(value: object) -> int:
    assert isinstance(value, int), value
    assert not isinstance(value, bool), value
    assert abs(value) <= LARGEST_LONG, value
    return value


def _parse_decimal(value: object) -> Decimal:
    if isinstance(value, int | float) and not isinstance(value, bool):
        raise InvalidValue(f'{_shown(value)} is a number. Send the amount as a string, such as "12.50".')
    if not isinstance(value, str) or not _DECIMAL.fullmatch(value):
        raise InvalidValue(f'{_shown(value)} is not a plain decimal. Send it as a string, such as "12.50".')
    if len(value) > LONGEST_DECIMAL:
        raise InvalidValue(f"{_shown(value)} is longer than {LONGEST_DECIMAL} characters.")
    return Decimal(_shortest(value))


def _shortest(decimal: str) -> str:
    """The number in one writing, so that 10.0 and 10.00 are the same input (SEMANTICS §1.2)."""
    shortest = decimal.rstrip("0").rstrip(".") if "." in decimal else decimal
    return "0" if shortest == "-0" else shortest


def _parse_currency(value: object) -> Currency:
    if not isinstance(value, str):
        raise InvalidValue(f"{_shown(value)} is not a currency. Send an ISO 4217 code, such as EUR.")
    try:
        exponent(value)
    except AmountError:
        raise InvalidValue(f"{_shown(value)} is not a currency. Send an ISO 4217 code, such as EUR.") from None
    return Currency(value)


def _parse_duration(value: object) -> Duration:
    if not isinstance(value, str) or not _DURATION.fullmatch(value) or len(value) > LONGEST_DECIMAL:
        raise InvalidValue(f"{_shown(value)} is not a duration. Write it as P30D or PT2H (ISO 8601).")
    return Duration(value)


def _parse_key(value: object) -> IdempotencyKey:
    if not isinstance(value, str):
        raise InvalidValue("An idempotency key is a string of 8 to 128 printable ASCII characters.")
    if not SHORTEST_KEY <= len(value) <= LONGEST_KEY:
        raise InvalidValue(
            f"An idempotency key has {SHORTEST_KEY} to {LONGEST_KEY} characters; this one has {len(value)}. "
            "Make a UUID and store it before the first try."
        )
    if not _KEY.fullmatch(value):
        raise InvalidValue("An idempotency key has printable ASCII characters only. Make a UUID.")
    return IdempotencyKey(value)


def _parse_json(value: object) -> object:
    return value


def _same(value: Any) -> Any:
    return value


def _format_day(value: date) -> str:
    return value.isoformat()


def _shown(value: object) -> str:
    text = repr(value) if isinstance(value, str | int | float | bool | None) else f"A {type(value).__name__}"
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"


SCALARS: Final[dict[object, ScalarDefinition]] = {
    datetime: strawberry.scalar(
        name="DateTime",
        description="An instant, RFC 3339, always UTC (`2026-11-22T08:30:00Z`).",
        serialize=format_instant,
        parse_value=_parse_instant,
    ),
    date: strawberry.scalar(
        name="Date",
        description="A calendar day, `YYYY-MM-DD`.",
        serialize=_format_day,
        parse_value=_parse_day,
    ),
    Duration: strawberry.scalar(
        name="Duration",
        description="An ISO 8601 duration, such as `P30D` or `PT2H`.",
        serialize=_same,
        parse_value=_parse_duration,
    ),
    Long: strawberry.scalar(
        name="Long",
        description=("A whole number within ±(2^53 \u2212 1), as a JSON number. Points and versions outgrow Int."),
        serialize=_format_long,
        parse_value=_parse_long,
    ),
    Decimal: strawberry.scalar(
        name="Decimal",
        description='An exact decimal as a string, such as "12.50". Never a float.',
        serialize=_same,
        parse_value=_parse_decimal,
    ),
    Currency: strawberry.scalar(
        name="Currency",
        description="An ISO 4217 code, such as `EUR`.",
        serialize=_same,
        parse_value=_parse_currency,
    ),
    IdempotencyKey: strawberry.scalar(
        name="IdempotencyKey",
        description=(
            "8 to 128 printable ASCII characters, made by the caller and stored before the first try. "
            "One key names one attempt: the same key with the same input returns the first outcome, "
            "success or refusal, for ever; with another input it is refused."
        ),
        serialize=_same,
        parse_value=_parse_key,
    ),
    JSON: strawberry.scalar(name="JSON", serialize=_same, parse_value=_parse_json),
}
"""For `StrawberryConfig(scalar_map=SCALARS)`."""
