"""What is wrong with cascades as a whole (SEMANTICS §11): conditions, steps, waits, labels."""

import re
from collections.abc import Iterator, Sequence
from typing import Final

from domain.programme.cascade import GROUPS, SendStep, flat_steps, label_of, seconds_of
from domain.programme.cascade_format import REACTIONS, Cascade, StepSection, all_steps, conditions_in
from domain.programme.cel import ConditionError
from domain.programme.cel import check as check_condition
from domain.programme.format import Definition

MAX_LABELS: Final = 100
MAX_DEPTH: Final = 5
_EITHER: Final = frozenset(REACTIONS)
LABEL: Final = re.compile(r"[a-zA-Z0-9\-_.~%]{1,50}")


def check_cascades(definition: Definition) -> Iterator[tuple[str, str]]:
    """The problems of cascades as (path, message): conditions, steps out of reach, waits that are too long, labels."""
    labels: set[str] = set()
    for index, cascade in enumerate(definition.cascades):
        path = f"cascades.{index}"
        yield from _check_conditions(cascade, path)
        if any(depth > MAX_DEPTH for depth in _depths(cascade.steps, 1)):
            yield f"{path}.steps", f"Branches more than {MAX_DEPTH} deep; make it two cascades."
            continue
        yield from _unreached(cascade.steps, f"{path}.steps")[1]
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


def _check_conditions(cascade: Cascade, path: str) -> Iterator[tuple[str, str]]:
    for where, source in conditions_in(cascade, path).items():
        groups = ("member",) if where.endswith("audience.when") else GROUPS
        try:
            check_condition(source, groups=groups)
        except ConditionError as error:
            yield where, str(error)


def _depths(steps: Sequence[StepSection], depth: int) -> Iterator[int]:
    yield depth
    for step in steps:
        yield from _depths(step.then, depth + 1)
        yield from _depths(step.else_, depth + 1)


def _unreached(
    steps: Sequence[StepSection], path: str, heard: frozenset[str] = _EITHER
) -> tuple[frozenset[str], list[tuple[str, str]]]:
    """Whether a run that is still alive after the steps may have heard a reaction, or none; and what none reaches.

    Before the steps it is `heard`. A reaction holds until the next message; silence until the next wait.
    """
    problems: list[tuple[str, str]] = []
    for index, step in enumerate(steps):
        here = f"{path}.{index}"
        if not heard if step.if_ is None else step.if_ not in heard:
            problems.append((here, "No path reaches this step: all end before it. Drop it, or the `end` before it."))
        elif step.kind == "send":
            heard = _EITHER
        elif step.kind == "wait":
            heard |= {"reaction"}
        elif step.kind == "branch":
            asked = frozenset({step.branch}) if step.branch in REACTIONS else None
            then, found = _unreached(step.then, f"{here}.then", heard if asked is None else heard & asked)
            other, more = _unreached(step.else_, f"{here}.else", heard if asked is None else heard - asked)
            heard, problems = then | other, [*problems, *found, *more]
        elif step.when is None:
            heard = frozenset() if step.if_ is None else heard - {step.if_}
        if problems and not heard:
            break
    return heard, problems


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


def _labels(cascade: Cascade) -> Iterator[str]:
    for number, (step, _) in enumerate(flat_steps(cascade.steps, "steps", 0, cascade.id)):
        if isinstance(step, SendStep):
            for variant in step.variants:
                yield label_of(cascade.id, number, variant.template if len(step.variants) > 1 else None)
