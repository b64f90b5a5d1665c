"""The mechanisms of a programme, in the order in which they see what happened (SEMANTICS §8).

Each sees what the ones before it count. What one gives is no event for the others: awards do not feed back.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final

from domain.programme.badges import BADGES
from domain.programme.cascade_format import is_awaited
from domain.programme.challenges import CHALLENGES
from domain.programme.earning import Earnings
from domain.programme.format import Definition
from domain.programme.mechanism import (
    Document,
    Happening,
    Mechanism,
    Progress,
    ProgressChanges,
    counts_nothing,
    together,
)
from domain.programme.same_items import SAME_ITEMS
from domain.programme.stamp_cards import STAMP_CARDS
from domain.programme.streaks import STREAKS

MECHANISMS: Final[tuple[Mechanism, ...]] = (
    STREAKS,  # before the badges that count them
    BADGES,
    STAMP_CARDS,
    CHALLENGES,
    SAME_ITEMS,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Advanced:
    """What all of them make of a happening: what changes, what the entry says, and what is given."""

    changes: ProgressChanges
    marks: Progress
    earned: Earnings


def advance(progress: Progress, happening: Happening) -> Advanced:
    """Tells each mechanism what happened. Pure."""
    changes: dict[str, Mapping[str, Document | None]] = {}
    marks: dict[str, Mapping[str, Document]] = {}
    earned: list[Earnings] = []
    for mechanism in MECHANISMS:
        states = progress.get(mechanism.section, _NOTHING)
        step = mechanism.advance(states, happening)
        changed = {key: state for key, state in step.states.items() if states.get(key) != state}
        if changed:
            changes[mechanism.section] = changed
        if step.marks:
            marks[mechanism.section] = step.marks
        if step.earned.rows:
            earned.append(step.earned)
        if mechanism.counters is not counts_nothing:
            counted = mechanism.counters(changed_states(states, changed))
            happening = replace(happening, counters={**happening.counters, **counted})
    return Advanced(changes=changes, marks=marks, earned=together(earned))


def progressed(progress: Progress, changes: ProgressChanges) -> Progress:
    """The progress after the changes of an entry."""
    if not changes:
        return progress
    after = {**progress, **{name: changed_states(progress.get(name, _NOTHING), new) for name, new in changes.items()}}
    return {section: states for section, states in after.items() if states}


def changed_states(states: Mapping[str, Document], changes: Mapping[str, Document | None]) -> Mapping[str, Document]:
    """The states of one mechanism after its changes."""
    if not changes:
        return states
    return {key: state for key, state in {**states, **changes}.items() if state is not None}


def counters(progress: Progress) -> Mapping[str, int]:
    """What all of them count in a wallet, such as the length of a streak."""
    counted: dict[str, int] = {}
    for mechanism in MECHANISMS:
        counted |= mechanism.counters(progress.get(mechanism.section, _NOTHING))
    return counted


def is_listened_to(definition: Definition, event: str) -> bool:
    """Whether a mechanism or a cascade wants to hear of the event though no earning rule gives anything for it."""
    return is_awaited(definition.cascades, event) or any(
        event in mechanism.listens(definition) for mechanism in MECHANISMS
    )


_NOTHING: Final[Mapping[str, Document]] = {}
