"""The format of a cascade: what starts it, what it does step by step, and what it is for (SEMANTICS §10.2, §10.4).

A step is told by its key: `send`, `wait` (or `at` alone), `branch` or `end`. What a value means alone is checked here;
what needs the whole cascade, or the rest of the programme, is in `cascade_checks`.
"""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from enum import StrEnum
from typing import Annotated, Final, Literal, Self

from pydantic import AfterValidator, BeforeValidator, Discriminator, Field, Tag, model_validator
from pydantic_core import PydanticCustomError

from domain.ledger.expiry import Period
from domain.programme.fields import (
    ClockTime,
    Identifier,
    Model,
    PlaceId,
    SegmentId,
    Span,
    StreakId,
    TemplateId,
    Texts,
    one_or_many,
)
from domain.programme.messaging import Category, ChannelName

MAX_STEPS: Final = 100
ENTRY_EVENTS: Final = frozenset(
    {
        "joined",
        "purchase",
        "return",
        "redeem",
        "voucher_used",
        "voucher_cancelled",
        "convert",
        "donate",
        "gift_sent",
        "gift_received",
        "top_up",
        "top_up_refund",
        "hold",
        "capture",
        "void",
        "charge",
        "charge_refund",
        "bonus_claim",
        "expire",
        "mature",
        "review",
        "plan",
        "adjust",
        "referral",
        "feedback",
    }
)
"""An entry of the journal is a signal by its kind, in small letters; JOIN is `joined`, a feedback `feedback`."""
PLACE_EVENTS: Final = frozenset({"place.enter", "place.dwell", "place.exit"})
OTHER_EVENTS: Final = frozenset({"inbox.read", "delivery.opened", "consent.withdrawn"})


class DateEvent(StrEnum):
    """The dates that come to a member."""

    LAPSED = "lapsed"
    POINTS_EXPIRING = "points_expiring"
    STREAK_AT_RISK = "streak_at_risk"
    TIER_AT_RISK = "tier_at_risk"
    BONUS_STEP = "bonus_step"
    BONUS_EXPIRING = "bonus_expiring"
    BIRTHDAY = "birthday"


_BEFORE: Final = frozenset(DateEvent) - {DateEvent.LAPSED, DateEvent.BIRTHDAY}
_ACTIVITY: Final = re.compile(r"activity\.[^\s]{1,64}")


def _is_signal(event: str) -> bool:
    return event in ENTRY_EVENTS | PLACE_EVENTS | OTHER_EVENTS or _ACTIVITY.fullmatch(event) is not None


def _trigger_event(value: str) -> str:
    if not _is_signal(value) and value not in {*DateEvent}:
        known = sorted({*DateEvent, *ENTRY_EVENTS, *PLACE_EVENTS, *OTHER_EVENTS})
        raise PydanticCustomError(
            "event",
            "There is no event {name}; known are {known}, and activity.<type>.",
            {"name": repr(value), "known": ", ".join(known)},
        )
    return value


def _goal_event(value: str) -> str:
    if not _is_signal(value):
        known = sorted({*ENTRY_EVENTS, *PLACE_EVENTS, *OTHER_EVENTS})
        raise PydanticCustomError(
            "event",
            "No goal can be {name}; it can be {known}, and activity.<type>.",
            {"name": repr(value), "known": ", ".join(known)},
        )
    return value


class TriggerSection(Model):
    """What starts a run. `before` and `days` belong to dates, `place` and `cooldown` to places."""

    event: Annotated[str, AfterValidator(_trigger_event)]
    before: Span | None = None
    days: Annotated[int | None, Field(ge=1, le=3_660)] = None
    at_least: Annotated[int | None, Field(ge=1)] = None
    streak: StreakId | None = None
    place: Annotated[list[PlaceId], BeforeValidator(one_or_many)] = []
    cooldown: Span | None = None

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        def refuse(message: str) -> None:
            raise PydanticCustomError("trigger", "{message}", {"message": message})

        if (self.event in _BEFORE) != (self.before is not None) and self.event != DateEvent.BIRTHDAY:
            refuse(f"`before` belongs to {', '.join(sorted(_BEFORE))}, which need it, such as P14D.")
        if (self.event == DateEvent.LAPSED) != (self.days is not None):
            refuse("`days` belongs to the event lapsed, which needs it, such as 21.")
        if (self.event == DateEvent.STREAK_AT_RISK) != (self.streak is not None):
            refuse("`streak` belongs to the event streak_at_risk, which needs it.")
        if self.at_least is not None and self.event not in {DateEvent.POINTS_EXPIRING, DateEvent.STREAK_AT_RISK}:
            refuse("`at_least` belongs to points_expiring and streak_at_risk; leave it out.")
        if (self.place or self.cooldown is not None) and self.event not in PLACE_EVENTS:
            refuse("`place` and `cooldown` belong to place.enter, place.dwell and place.exit; leave them out.")
        return self


class GoalSection(Model):
    """What the cascade is for: any of the events ends a run; one within `look_back` before keeps it from starting."""

    events: Annotated[list[Annotated[str, AfterValidator(_goal_event)]], Field(min_length=1, max_length=20)]
    look_back: Span | None = None


class CooldownSection(Model):
    cooldown: Span


Reentry = Annotated[
    Annotated[CooldownSection, Tag("group")] | Annotated[Literal["once", "always"], Tag("word")],
    Discriminator(lambda value: "group" if isinstance(value, dict | CooldownSection) else "word"),
]
"""Told apart beforehand, so that a mistake in one is no mistake in the other as well."""


class Audience(Model):
    """For whom it is: a segment of the programme, or a condition on the member."""

    segment: SegmentId | None = None
    when: str | None = None

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        if (self.segment is None) == (self.when is None):
            raise PydanticCustomError("audience", "Must have either `segment` or `when`.")
        return self


class VariantSection(Model):
    template: TemplateId
    weight: Annotated[int, Field(ge=1, le=1_000)] = 1


_Channels = Annotated[list[ChannelName], Field(min_length=1, max_length=4)]


class StepSection(Model):
    """One step; see the module for its kinds. `expires`: how long after its time the message is worth sending."""

    send: Annotated[_Channels | None, BeforeValidator(one_or_many)] = None
    template: TemplateId | None = None
    variants: Annotated[list[VariantSection], Field(max_length=10)] = []
    if_: Annotated[Literal["reaction", "no_reaction"] | None, Field(alias="if")] = None
    when: str | None = None
    at: ClockTime | None = None
    misfire: Literal["send", "skip"] = "send"
    grace: Span = Period(days=1)
    capped: Literal["skip", "wait"] = "skip"
    expires: Span | None = None
    wait: Span | None = None
    until: Literal["reaction"] | None = None
    branch: str | None = None
    then: Annotated[list["StepSection"], Field(max_length=MAX_STEPS)] = []
    else_: Annotated[list["StepSection"], Field(alias="else", max_length=MAX_STEPS)] = []
    end: Literal[True] | None = None

    @model_validator(mode="after")
    def _one_kind(self) -> Self:
        kind = self.kind
        given = {key for key in type(self).model_fields if key in self.model_fields_set}
        names = {"if_": "if", "else_": "else"}
        if stray := sorted(names.get(key, key) for key in given - _KEYS_OF[kind]):
            raise PydanticCustomError(
                "step", "A step that is a {kind} takes no {keys}.", {"kind": kind, "keys": ", ".join(stray)}
            )
        if kind == "send" and (self.template is None) == (not self.variants):
            raise PydanticCustomError("step", "A send needs either `template` or `variants`.")
        return self

    @property
    def kind(self) -> Literal["send", "wait", "branch", "end"]:
        """Which of the four it is."""
        kinds: list[Literal["send", "wait", "branch", "end"]] = []
        if self.send is not None:
            kinds.append("send")
        if self.branch is not None:
            kinds.append("branch")
        if self.end is not None:
            kinds.append("end")
        if self.wait is not None or (self.at is not None and not kinds):
            kinds.append("wait")
        if len(kinds) != 1:
            raise PydanticCustomError(
                "step", 'Must be one of: `send: PUSH`, `wait: P3D`, `at: "10:00"`, `branch: …`, `end: true`.'
            )
        return kinds[0]


_KEYS_OF: Final[Mapping[str, frozenset[str]]] = {
    "send": frozenset({"send", "template", "variants", "if_", "when", "at", "misfire", "grace", "capped", "expires"}),
    "wait": frozenset({"wait", "until", "at"}),
    "branch": frozenset({"branch", "then", "else_"}),
    "end": frozenset({"end", "if_", "when"}),
}

Purpose = Literal["MARKETING", "LOCATION", "PERSONALISATION"]


class Cascade(Model):
    """`group` bounds promotional runs to one at a time; left out, a MARKETING cascade is a group by itself."""

    id: Identifier
    name: Texts = {}
    category: Category
    consent: Annotated[list[Purpose], BeforeValidator(one_or_many)] = []
    trigger: TriggerSection
    when: str | None = None
    audience: Audience | None = None
    goal: GoalSection | None = None
    expires: Span | None = None
    reentry: Reentry = "always"
    holdout_percent: Annotated[int, Field(ge=0, le=100)] = 0
    salt: Annotated[str | None, Field(min_length=1, max_length=64)] = None
    priority: Annotated[int, Field(ge=-1_000, le=1_000)] = 0
    group: Identifier | None = None
    steps: Annotated[list[StepSection], Field(min_length=1, max_length=MAX_STEPS)]


def is_awaited(cascades: Iterable[Cascade], event: str) -> bool:
    """Whether some cascade starts by entries of the event, or has it as its goal."""
    return event not in {*DateEvent} and any(
        event == cascade.trigger.event or (cascade.goal is not None and event in cascade.goal.events)
        for cascade in cascades
    )


REACTIONS: Final = ("reaction", "no_reaction")


def conditions_in(cascade: Cascade, path: str) -> dict[str, str]:
    """The conditions of the cascade and its steps, each by its path, which begins with `path`."""
    conditions: dict[str, str | None] = {f"{path}.when": cascade.when}
    if cascade.audience is not None:
        conditions[f"{path}.audience.when"] = cascade.audience.when
    for step, where in all_steps(cascade.steps, f"{path}.steps"):
        conditions[f"{where}.when"] = step.when
        if step.branch is not None and step.branch not in REACTIONS:
            conditions[f"{where}.branch"] = step.branch
    return {where: source for where, source in conditions.items() if source is not None}


def all_steps(steps: Sequence[StepSection], path: str) -> Iterator[tuple[StepSection, str]]:
    """The steps and those inside their branches, each with its path below `path`."""
    for index, step in enumerate(steps):
        here = f"{path}.{index}"
        yield step, here
        yield from all_steps(step.then, f"{here}.then")
        yield from all_steps(step.else_, f"{here}.else")
