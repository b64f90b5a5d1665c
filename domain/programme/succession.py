"""What the next version would take away from members, compared with the one in force (SEMANTICS §11).

Awards given stay given, whatever is published: nothing here takes value. What would leave values without a meaning is
an error, what members may miss is a warning, each with what becomes of it.
"""

from collections.abc import Iterator

from domain.programme.definition import Definition, ProgrammeProblem, Severity

_BECOMES = {
    "badges": "who has earned it keeps it, and nobody sees it any more",
    "streaks": "it is not shown and not counted any more; it goes on where it stood if it comes back",
    "stamp_cards": "stamps on it are kept, and count again if it comes back",
    "challenges": "progress in it is kept, and counts again if it comes back",
    "rewards": "vouchers issued for it stay good",
    "vouchers": "those issued stay good, without their discount: tills no longer know what they are worth",
    "bonuses": "those granted go on growing and can be claimed",
    "plans": "who has it keeps it until the end of the paid period",
    "places": "receipts that name it are refused",
    "charities": "nobody can donate to it any more",
}


def check_succession(before: Definition, after: Definition, *, is_used: bool) -> list[ProgrammeProblem]:
    """What is wrong with `after` as the version after `before`; `is_used` once there are wallets."""
    return [*_errors(before, after, is_used=is_used), *_warnings(before, after)]


def _errors(before: Definition, after: Definition, *, is_used: bool) -> Iterator[ProgrammeProblem]:
    if is_used and before.currency != after.currency:
        yield ProgrammeProblem(
            path="currency",
            message=(
                f"Members hold value in {before.currency}; keep it, and open a second deployment for {after.currency}."
            ),
            severity=Severity.ERROR,
        )


def _warnings(before: Definition, after: Definition) -> Iterator[ProgrammeProblem]:
    if before.programme != after.programme:
        yield _warning("programme", f"It was {before.programme}: pilots by percent draw their members anew.")
    if before.time_zone != after.time_zone:
        yield _warning(
            "time_zone", f"It was {before.time_zone}: days that were counted stay as they are, new ones differ."
        )
    for section, becomes in _BECOMES.items():
        there = {item.id for item in getattr(after, section)}
        for item in getattr(before, section):
            if item.id not in there:
                yield _warning(section, f"{item.id} is in the version in force and not in this one: {becomes}.")
    if before.tiers is not None:
        levels = {level.id for level in after.tiers.levels} if after.tiers else set()
        for level in before.tiers.levels:
            if level.id not in levels:
                yield _warning(
                    "tiers.levels",
                    f"{level.id} is in the version in force and not in this one: who holds it falls to the next lower "
                    "level that exists.",
                )
    if after.tiers is not None and before.tiers is not None and before.tiers.metric != after.tiers.metric:
        yield _warning(
            "tiers.metric",
            f"It was {before.tiers.metric}: the window holds the new measure too, and counts it from the next purchase "
            "on; who holds a level keeps it until its review.",
        )


def _warning(path: str, message: str) -> ProgrammeProblem:
    return ProgrammeProblem(path=path, message=message, severity=Severity.WARNING)
