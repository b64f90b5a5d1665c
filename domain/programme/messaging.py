"""The section `messaging`: when members are left in peace, and how often they are written to (SEMANTICS §10)."""

from datetime import time
from typing import Annotated, Literal, Self

from pydantic import Field, PlainValidator, model_validator
from pydantic_core import PydanticCustomError

from domain.ledger.expiry import Period, PeriodError, parse_period
from domain.programme.fields import ClockTime, Identifier, Model, Texts

Category = Literal["TRANSACTIONAL", "SERVICE", "MARKETING"]
ChannelName = Literal["PUSH", "EMAIL", "SMS", "INBOX"]


class QuietHours(Model):
    """`[from, until)` in the member's time; it belongs to the evening on which it starts."""

    from_: Annotated[ClockTime, Field(alias="from")]
    until: ClockTime

    @model_validator(mode="after")
    def _some_time(self) -> Self:
        if self.from_ == self.until:
            raise PydanticCustomError(
                "quiet", "Starts when it ends: the whole day or none of it? Choose another time, or leave it out."
            )
        return self

    @property
    def times(self) -> tuple[time, time]:
        """From and until as times of day."""
        return time.fromisoformat(self.from_), time.fromisoformat(self.until)


def _window(value: object) -> Period | Literal["day"]:
    if isinstance(value, Period):
        return value
    if value == "day":
        return "day"
    if isinstance(value, str):
        try:
            return parse_period(value, time=True)
        except PeriodError as error:
            raise PydanticCustomError("duration", "{reason} Or say `day`.", {"reason": str(error)}) from error
    raise PydanticCustomError("duration", "Must be `day` or an ISO 8601 duration in text, such as P7D.")


class Cap(Model):
    """At most `count` messages of the category on the channel, in the member's day or in a rolling window.

    Without a category or a channel it counts all of them.
    """

    id: Identifier
    category: Category | None = None
    channel: ChannelName | None = None
    count: Annotated[int, Field(ge=1, le=1_000)]
    per: Annotated[Period | Literal["day"], PlainValidator(_window)]


class Messaging(Model):
    """`links` are what links in messages may begin with; `nameless` is what a member is called who told no name."""

    quiet_hours: QuietHours | None = None
    caps: Annotated[list[Cap], Field(max_length=50)] = []
    links: Annotated[list[str], Field(max_length=50)] = []
    nameless: Texts = {}
