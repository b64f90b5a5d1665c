"""A growing bonus: promotional value that is worth more the longer it is left alone (SEMANTICS §7).

Until it is claimed it is a right, not a balance: nothing is posted. Its worth at an instant is that of the
last step that has come.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Growth:
    """From `at` on the bonus is worth `worth_minor`."""

    at: datetime
    worth_minor: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Bonus:
    """A bonus that a member holds. `steps` rise; the first one is the instant of the grant.

    `keeps_from_minor` is the least that must remain of the purchase that granted it (SEMANTICS §4.4), None if no
    purchase did.
    """

    id: str
    definition: str
    currency: str
    steps: tuple[Growth, ...]
    expires_at: datetime
    keeps_from_minor: int | None = None


def bonus_id(entry_id: str, number: int) -> str:
    """The id of the n-th bonus (from 0) that an entry granted; the member stands in it."""
    return f"{entry_id}.b{number}"


def entry_of_bonus(identifier: str) -> str | None:
    """The id of the entry that granted the bonus, or None if it is not a bonus's id."""
    entry, dot, number = identifier.rpartition(".b")
    return entry if dot and number.isascii() and number.isdigit() else None


def worth_minor(bonus: Bonus, at: datetime) -> int:
    """What the bonus is worth at that instant, in minor units; nothing once it has expired.

    The answer to the request that granted it is as of its beginning, just before the first step.
    """
    if at >= bonus.expires_at:
        return 0
    return max((step.worth_minor for step in bonus.steps if step.at <= at), default=bonus.steps[0].worth_minor)


def bonus_document(bonus: Bonus) -> dict[str, Any]:
    """The bonus as entries and wallets store it."""
    document = {
        "id": bonus.id,
        "definition": bonus.definition,
        "currency": bonus.currency,
        "steps": [{"at": step.at, "worth_minor": step.worth_minor} for step in bonus.steps],
        "expires_at": bonus.expires_at,
    }
    return document if bonus.keeps_from_minor is None else {**document, "keeps_from_minor": bonus.keeps_from_minor}


def bonus_from(document: Mapping[str, Any]) -> Bonus:
    """The bonus that :func:`bonus_document` wrote."""
    return Bonus(**{**document, "steps": tuple(Growth(**step) for step in document["steps"])})
