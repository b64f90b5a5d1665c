"""Cascades as data: what starts one, what it does step by step, and what it is for (SEMANTICS §10.2, §10.4).

The section's models come first, then what they compile to: a flat list of steps in which branches jump forward,
so that a run is at one number and never comes back to it. A step is told by its key: `send`, `wait` (or `at` alone),
`branch` or `end`.
"""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Final, Literal, Self

from pydantic import AfterValidator, BeforeValidator, Field, model_validator
from pydantic_core import PydanticCustomError

from domain.ledger.expiry import Period
from domain.programme.cel import Condition, ConditionError
from domain.programme.cel import check as check_condition
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

if TYPE_CHECKING:
    from domain.programme.format import Definition

GROUPS: Final = ("member", "entry")
"""The facts that conditions of a cascade may use; `entry` is that of the trigger, empty where it is none."""

MAX_LABELS: Final = 100
MAX_STEPS: Final = 100
MAX_DEPTH: Final = 5
LABEL: Final = re.compile(r"[a-zA-Z0-9\-_.~%]{1,50}")

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


class StepSection(Model):
    """One step; see the module for its kinds. `expires`: how long after its time the message is worth sending."""

    send: Annotated[list[ChannelName] | None, BeforeValidator(one_or_many), Field(min_length=1, max_length=4)] = None
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
    reentry: CooldownSection | Literal["once", "always"] = "always"
    holdout_percent: Annotated[int, Field(ge=0, le=100)] = 0
    salt: Annotated[str | None, Field(min_length=1, max_length=64)] = None
    priority: Annotated[int, Field(ge=-1_000, le=1_000)] = 0
    group: Identifier | None = None
    steps: Annotated[list[StepSection], Field(min_length=1, max_length=MAX_STEPS)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Variant:
    """A template and its weight among the variants of its step: its share of their sum."""

    template: str
    weight: int


@dataclass(frozen=True, slots=True, kw_only=True)
class SendStep:
    """Sends one message, on the first of `channels` that reaches the member."""

    channels: tuple[str, ...]
    variants: tuple[Variant, ...]
    if_reacted: bool | None
    condition: Condition | None
    at: str | None
    misfire: Literal["send", "skip"]
    grace: Period
    capped: Literal["skip", "wait"]
    expires: Period | None


@dataclass(frozen=True, slots=True, kw_only=True)
class WaitStep:
    """Waits for `length`, then until the local time `at`; a reaction ends it early where `until_reaction`."""

    length: Period | None
    at: str | None
    until_reaction: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class BranchStep:
    """Goes on with the next step if it holds, else with the step `otherwise`. Without a question it always jumps."""

    if_reacted: bool | None
    condition: Condition | None
    otherwise: int


@dataclass(frozen=True, slots=True, kw_only=True)
class EndStep:
    """Ends the run, if it holds."""

    if_reacted: bool | None
    condition: Condition | None


Step = SendStep | WaitStep | BranchStep | EndStep


@dataclass(frozen=True, slots=True, kw_only=True)
class CompiledCascade:
    """A cascade as runs follow it. `purposes` are all consents that each of its sends needs (§10.8)."""

    id: str
    category: Category
    purposes: tuple[str, ...]
    trigger: TriggerSection
    condition: Condition | None
    segment: str | None
    audience: Condition | None
    goal_events: frozenset[str]
    look_back: Period | None
    expires: Period | None
    reentry: Period | Literal["once", "always"]
    holdout_percent: int
    salt: str
    priority: int
    group: str | None
    steps: tuple[Step, ...]

    @property
    def is_promotional(self) -> bool:
        """Whether it needs to be wanted: MARKETING."""
        return self.category == "MARKETING"

    def label(self, step: int, template: str) -> str:
        """The statistics' name of a send: cascade and step, and the template where the step has variants."""
        send = self.steps[step]
        assert isinstance(send, SendStep), (self.id, step)
        return _label(self.id, step, template if len(send.variants) > 1 else None)


def is_awaited(cascades: Iterable[Cascade], event: str) -> bool:
    """Whether some cascade starts by entries of the event, or has it as its goal."""
    return event not in {*DateEvent} and any(
        event == cascade.trigger.event or (cascade.goal is not None and event in cascade.goal.events)
        for cascade in cascades
    )


def compile_cascades(sections: Sequence[Cascade]) -> dict[str, CompiledCascade]:
    """The cascades by id, in the programme's order. They must have passed the checks."""
    return {section.id: _compiled(section) for section in sections}


def _compiled(section: Cascade) -> CompiledCascade:
    marketing = ("MARKETING",) if section.category == "MARKETING" else ()
    location = ("LOCATION",) if section.trigger.event in PLACE_EVENTS else ()
    goal, reentry = section.goal, section.reentry
    audience = section.audience
    return CompiledCascade(
        id=section.id,
        category=section.category,
        purposes=tuple(dict.fromkeys((*marketing, *section.consent, *location))),
        trigger=section.trigger,
        condition=_condition(section.when, section.id),
        segment=None if audience is None else audience.segment,
        audience=_condition(None if audience is None else audience.when, section.id),
        goal_events=frozenset() if goal is None else frozenset(goal.events),
        look_back=None if goal is None else goal.look_back,
        expires=section.expires,
        reentry=reentry.cooldown if isinstance(reentry, CooldownSection) else reentry,
        holdout_percent=section.holdout_percent,
        salt=section.salt or section.id,
        priority=section.priority,
        group=section.group or (section.id if section.category == "MARKETING" else None),
        steps=tuple(step for step, _ in _flat(section.steps, "steps", 0, section.id)),
    )


def _condition(source: str | None, rule: str) -> Condition | None:
    return None if source is None else Condition(source, rule=rule)


def _asked(source: str, rule: str) -> tuple[bool | None, Condition | None]:
    """A branch's question: whether he reacted, or a condition."""
    if source in _REACTIONS:
        return source == "reaction", None
    return None, Condition(source, rule=rule)


_REACTIONS: Final = ("reaction", "no_reaction")


def _flat(sections: Sequence[StepSection], path: str, first: int, rule: str) -> list[tuple[Step, str]]:
    """The steps with their paths; the first has the number `first`, and branches jump to numbers."""
    flat: list[tuple[Step, str]] = []
    for index, section in enumerate(sections):
        here = f"{path}.{index}"
        match section.kind:
            case "send":
                flat.append((_send(section, rule), here))
            case "wait":
                wait = WaitStep(length=section.wait, at=section.at, until_reaction=section.until == "reaction")
                flat.append((wait, here))
            case "end":
                reacted = None if section.if_ is None else section.if_ == "reaction"
                flat.append((EndStep(if_reacted=reacted, condition=_condition(section.when, rule)), here))
            case "branch":
                assert section.branch is not None, here
                number = first + len(flat)
                then = _flat(section.then, f"{here}.then", number + 1, rule)
                after_then = number + 1 + len(then) + bool(section.else_)
                otherwise = _flat(section.else_, f"{here}.else", after_then, rule)
                reacted, condition = _asked(section.branch, rule)
                flat.append((BranchStep(if_reacted=reacted, condition=condition, otherwise=after_then), here))
                flat += then
                if section.else_:
                    jump = BranchStep(if_reacted=None, condition=None, otherwise=after_then + len(otherwise))
                    flat += [(jump, here), *otherwise]
    return flat


def _send(section: StepSection, rule: str) -> SendStep:
    assert section.send is not None, section
    if section.template is not None:
        variants = [Variant(template=section.template, weight=100)]
    else:
        variants = [Variant(template=each.template, weight=each.weight) for each in section.variants]
    return SendStep(
        channels=tuple(section.send),
        variants=tuple(variants),
        if_reacted=None if section.if_ is None else section.if_ == "reaction",
        condition=_condition(section.when, rule),
        at=section.at,
        misfire=section.misfire,
        grace=section.grace,
        capped=section.capped,
        expires=section.expires,
    )


def _label(cascade: str, step: int, template: str | None) -> str:
    return f"{cascade}.{step}" if template is None else f"{cascade}.{step}.{template}"


def check_cascades(definition: "Definition") -> Iterator[tuple[str, str]]:
    """The problems of cascades as (path, message): conditions, steps out of reach, waits that are too long, labels."""
    labels: set[str] = set()
    for index, cascade in enumerate(definition.cascades):
        path = f"cascades.{index}"
        yield from _check_conditions(cascade, path)
        if any(depth > MAX_DEPTH for depth in _depths(cascade.steps, 1)):
            yield f"{path}.steps", f"Branches more than {MAX_DEPTH} deep; make it two cascades."
            continue
        yield from _unreached(cascade.steps, f"{path}.steps")
        yield from _unheard(cascade.steps, f"{path}.steps")
        yield from _too_long(cascade, path)
        try:
            mine = set(_labels(cascade))
        except ConditionError:
            continue  # a problem already, and the labels do not turn on it
        for label in sorted(mine):
            if not LABEL.fullmatch(label):
                yield (
                    path,
                    (
                        f"The statistics' label {label} has over 50 characters, or others than letters, digits and "
                        "-_.~%; shorten the id of the cascade or of the template."
                    ),
                )
        if len(labels) <= MAX_LABELS < len(labels | mine):
            yield (
                path,
                (
                    f"Here the programme comes to more than {MAX_LABELS} statistics' labels, one for each send and "
                    "variant; Firebase counts no more of them a day. Drop sends or variants."
                ),
            )
        labels |= mine


def conditions_in(cascade: Cascade, path: str) -> dict[str, str]:
    """The conditions of the cascade and its steps, each by its path, which begins with `path`."""
    conditions: dict[str, str | None] = {f"{path}.when": cascade.when}
    if cascade.audience is not None:
        conditions[f"{path}.audience.when"] = cascade.audience.when
    for step, where in all_steps(cascade.steps, f"{path}.steps"):
        conditions[f"{where}.when"] = step.when
        if step.branch is not None and step.branch not in _REACTIONS:
            conditions[f"{where}.branch"] = step.branch
    return {where: source for where, source in conditions.items() if source is not None}


def _check_conditions(cascade: Cascade, path: str) -> Iterator[tuple[str, str]]:
    for where, source in conditions_in(cascade, path).items():
        groups = ("member",) if where.endswith("audience.when") else GROUPS
        try:
            check_condition(source, groups=groups)
        except ConditionError as error:
            yield where, str(error)


def all_steps(steps: Sequence[StepSection], path: str) -> Iterator[tuple[StepSection, str]]:
    """The steps and those inside their branches, each with its path below `path`."""
    for index, step in enumerate(steps):
        here = f"{path}.{index}"
        yield step, here
        yield from all_steps(step.then, f"{here}.then")
        yield from all_steps(step.else_, f"{here}.else")


def _depths(steps: Sequence[StepSection], depth: int) -> Iterator[int]:
    yield depth
    for step in steps:
        yield from _depths(step.then, depth + 1)
        yield from _depths(step.else_, depth + 1)


def _ends(steps: Sequence[StepSection]) -> bool:
    """Whether every path through these steps ends the run."""
    return any(_step_ends(step) for step in steps)


def _step_ends(step: StepSection) -> bool:
    if step.kind == "end":
        return step.if_ is None and step.when is None
    return step.kind == "branch" and bool(step.else_) and _ends(step.then) and _ends(step.else_)


def _unreached(steps: Sequence[StepSection], path: str) -> Iterator[tuple[str, str]]:
    ended = False
    for index, step in enumerate(steps):
        here = f"{path}.{index}"
        if ended:
            yield here, "No path reaches this step: all end before it. Drop it, or the `end` before it."
            return
        yield from _unreached(step.then, f"{here}.then")
        yield from _unreached(step.else_, f"{here}.else")
        ended = _step_ends(step)


def _unheard(steps: Sequence[StepSection], path: str, *, sent: bool = False) -> Iterator[tuple[str, str]]:
    """Steps that ask for a reaction where nothing was sent that one could react to."""
    for index, step in enumerate(steps):
        here = f"{path}.{index}"
        if not sent and (step.if_ == "reaction" or step.branch == "reaction"):
            key = "if" if step.if_ == "reaction" else "branch"
            yield f"{here}.{key}", "No path reaches what comes of a reaction: nothing was sent before it."
        yield from _unheard(step.then, f"{here}.then", sent=sent)
        yield from _unheard(step.else_, f"{here}.else", sent=sent)
        sent = sent or any(one.kind == "send" for one, _ in all_steps([step], here))


def _too_long(cascade: Cascade, path: str) -> Iterator[tuple[str, str]]:
    if cascade.expires is None:
        return
    limit = seconds_of(cascade.expires)
    yield from _waits(cascade.steps, f"{path}.steps", 0, limit)[1]


def _waits(steps: Sequence[StepSection], path: str, waited: int, limit: int) -> tuple[int, list[tuple[str, str]]]:
    """The longest wait through the steps, in seconds, and the waits that end after the run does."""
    problems: list[tuple[str, str]] = []
    for index, step in enumerate(steps):
        here = f"{path}.{index}"
        if step.wait is not None:
            waited += seconds_of(step.wait)
            if waited >= limit:
                problems.append(
                    (
                        f"{here}.wait",
                        "Waits beyond the run's end: make the cascade's `expires` longer, or the wait shorter.",
                    )
                )
                break
        if step.kind == "branch":
            longest, found = _waits(step.then, f"{here}.then", waited, limit)
            other, more = _waits(step.else_, f"{here}.else", waited, limit)
            problems += [*found, *more]
            waited = max(longest, other)
    return waited, problems


def seconds_of(period: Period) -> int:
    """The period's length in seconds, a month as 30 days and a year as 365: to compare, never to count dates with."""
    days = period.years * 365 + period.months * 30 + period.days
    return days * 86_400 + period.seconds


def _labels(cascade: Cascade) -> Iterator[str]:
    for number, (step, _) in enumerate(_flat(cascade.steps, "steps", 0, cascade.id)):
        if isinstance(step, SendStep):
            for variant in step.variants:
                yield _label(cascade.id, number, variant.template if len(step.variants) > 1 else None)
