"""Cascades, compiled: a flat list of steps, in which branches jump forward.

So a run is at one number, and never comes back to it. The format that they are compiled from is in `cascade_format`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal

from domain.ledger.expiry import Period
from domain.programme.cascade_format import (
    PLACE_EVENTS,
    REACTIONS,
    Cascade,
    CooldownSection,
    StepSection,
    TriggerSection,
)
from domain.programme.cel import Condition
from domain.programme.messaging import Category

GROUPS: Final = ("member", "entry")
"""The facts that conditions of a cascade may use; `entry` is that of the trigger, empty where it is none."""


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
        return label_of(self.id, step, template if len(send.variants) > 1 else None)


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
        steps=tuple(step for step, _ in flat_steps(section.steps, "steps", 0, section.id)),
    )


def _condition(source: str | None, rule: str) -> Condition | None:
    return None if source is None else Condition(source, rule=rule)


def _asked(source: str, rule: str) -> tuple[bool | None, Condition | None]:
    """A branch's question: whether he reacted, or a condition."""
    if source in REACTIONS:
        return source == "reaction", None
    return None, Condition(source, rule=rule)


def flat_steps(sections: Sequence[StepSection], path: str, first: int, rule: str) -> list[tuple[Step, str]]:
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
                then = flat_steps(section.then, f"{here}.then", number + 1, rule)
                after_then = number + 1 + len(then) + bool(section.else_)
                otherwise = flat_steps(section.else_, f"{here}.else", after_then, rule)
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


def label_of(cascade: str, step: int, template: str | None) -> str:
    return f"{cascade}.{step}" if template is None else f"{cascade}.{step}.{template}"


def seconds_of(period: Period) -> int:
    """The period's length in seconds, a month as 30 days and a year as 365: to compare, never to count dates with."""
    days = period.years * 365 + period.months * 30 + period.days
    return days * 86_400 + period.seconds
