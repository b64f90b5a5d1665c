"""How values are written into documents, and read back.

Instants are aware, UTC and cut to the millisecond, which is all that BSON keeps: what was written equals what
is read. Integers are written as 64-bit ones whatever their size, so that one field has one type in every
document and no arithmetic of the server turns on how large the first value was; they are read as plain `int`
(the connection sees to that).
"""

import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from bson.codec_options import TypeDecoder, TypeRegistry
from bson.int64 import Int64

INT64_MIN: Final = -(2**63)
INT64_MAX: Final = 2**63 - 1

_RFC3339: Final = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt][0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]{1,9})?([Zz]|[+-][0-9]{2}:[0-9]{2})"
)
_MILLISECOND: Final = timedelta(milliseconds=1)
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_EPOCH_READ: Final = datetime(1970, 1, 1)  # noqa: DTZ001 -- as the driver reads it


class InstantError(ValueError):
    """A text is no instant; the message says what it should be."""


def utc_ms(instant: datetime) -> datetime:
    """The aware `instant` in UTC, cut to the millisecond."""
    assert instant.tzinfo is not None, f"{instant} has no zone"
    instant = instant.astimezone(UTC)
    return instant.replace(microsecond=instant.microsecond // 1000 * 1000)


def epoch_ms(instant: datetime) -> int:
    """Milliseconds from 1970-01-01T00:00:00Z to the aware `instant`, cut."""
    return (instant - _EPOCH) // _MILLISECOND


def from_epoch_ms(milliseconds: int) -> datetime:
    return _EPOCH + timedelta(milliseconds=milliseconds)


def format_instant(instant: datetime) -> str:
    """RFC 3339 in UTC: `2026-11-22T14:00:00Z`, with three decimals where the milliseconds are not zero."""
    instant = utc_ms(instant)
    precision = "milliseconds" if instant.microsecond else "seconds"
    return instant.replace(tzinfo=None).isoformat(timespec=precision) + "Z"


def parse_instant(text: str) -> datetime:
    """An RFC 3339 date-time with its offset, as UTC cut to the millisecond.

    Raises InstantError for anything else, for a leap second (`:60`), and for what no calendar has.
    """
    if not _RFC3339.fullmatch(text):
        raise InstantError("An instant is written as 2026-11-22T14:00:00Z or with an offset such as +01:00.")
    seconds, fraction, offset = re.split(r"(\.[0-9]+)?(?=[Zz+-][0-9:]*$)", text, maxsplit=1)[0:3]
    try:
        return utc_ms(datetime.fromisoformat(f"{seconds}{(fraction or '.0')[:7]}{offset}".upper()))
    except (ValueError, OverflowError) as error:
        raise InstantError(f"There is no such instant as {text[:40]}.") from error


def to_bson(value: Any) -> Any:
    """`value` as it is written: integers as Int64, instants cut, in mappings and sequences at any depth.

    Raises OverflowError for an integer beyond 64 bits.
    """
    kind = type(value)
    if kind is str:
        return value
    if kind is int:
        if not INT64_MIN <= value <= INT64_MAX:
            raise OverflowError(f"{value} does not fit into 64 bits")
        return Int64(value)
    if kind is dict:
        return {key: to_bson(each) for key, each in value.items()}
    if kind is list or kind is tuple:
        return [to_bson(each) for each in value]
    if kind is datetime:
        return value if value.tzinfo is UTC and value.microsecond % 1000 == 0 else utc_ms(value)
    if isinstance(value, Mapping):
        return to_bson(dict(value))
    if isinstance(value, list | tuple):
        return to_bson(list(value))
    return value


class _PlainInt(TypeDecoder):
    """Reads an Int64 as `int`."""

    bson_type = Int64

    def transform_bson(self, value: Any) -> int:
        return int(value)


class _Instant(TypeDecoder):
    """Reads an instant as aware and UTC: by a sum, which takes a tenth of the time of the driver's own way."""

    bson_type = datetime

    def transform_bson(self, value: datetime) -> datetime:
        return _EPOCH + (value - _EPOCH_READ)


TYPE_REGISTRY: Final = TypeRegistry([_PlainInt(), _Instant()])
"""Given to the client, which must not be `tz_aware` itself: all that it reads has plain integers and aware instants."""
