"""The problems that a caller can act on: the contract's `Problem` types as plain values.

    Problem
    ├── InvalidInput          what was sent cannot be taken         not kept
    ├── NotFound              what it names does not exist          not kept
    ├── DuplicateReceipt      the receipt is recorded already
    ├── IdempotencyMismatch   the key was used with another input   not kept
    ├── InsufficientBalance   ├── LimitReached   ├── OutOfStock
    └── NotEligible           └── WrongState

A problem that is *kept* was decided on the state of a wallet: it is written to the journal and answered
again to the same key for ever (SEMANTICS §1). What is not decided is not kept.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from datetime import datetime
from typing import Any, ClassVar


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """What a caller can act on. `message` says what was wrong and what to do."""

    code: ClassVar[str]
    kept: ClassVar[bool] = True

    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class FieldProblem:
    """`path` is dotted and starts at the operation's input: ``lines.2.amount``."""

    path: str
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class InvalidInput(Problem):
    code = "INVALID_INPUT"
    kept = False

    fields: tuple[FieldProblem, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class NotFound(Problem):
    """`what` is the noun that was not found, such as member, place, purchase, hold or voucher."""

    code = "NOT_FOUND"
    kept = False

    what: str


@dataclass(frozen=True, slots=True, kw_only=True)
class IdempotencyMismatch(Problem):
    code = "IDEMPOTENCY_MISMATCH"
    kept = False

    differs: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class DuplicateReceipt(Problem):
    code = "DUPLICATE_RECEIPT"

    first_entry: str


@dataclass(frozen=True, slots=True, kw_only=True)
class InsufficientBalance(Problem):
    """`available` and `required` are decimal strings in the asset's own unit."""

    code = "INSUFFICIENT_BALANCE"

    asset: str
    available: str
    required: str


@dataclass(frozen=True, slots=True, kw_only=True)
class LimitReached(Problem):
    """`headroom` is a decimal string: what the limit still allows now."""

    code = "LIMIT_REACHED"

    limit: str
    headroom: str
    resets_at: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class OutOfStock(Problem):
    code = "OUT_OF_STOCK"

    reward: str


@dataclass(frozen=True, slots=True, kw_only=True)
class NotEligible(Problem):
    code = "NOT_ELIGIBLE"

    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class WrongState(Problem):
    code = "WRONG_STATE"

    state: str


_KEPT: dict[str, type[Problem]] = {
    kind.code: kind
    for kind in (DuplicateReceipt, InsufficientBalance, LimitReached, OutOfStock, NotEligible, WrongState)
}


def invalid(path: str, message: str) -> InvalidInput:
    """One wrong field: the usual case of :class:`InvalidInput`."""
    return InvalidInput(message=f"{path}: {message}", fields=(FieldProblem(path=path, message=message),))


def problem_document(problem: Problem) -> dict[str, Any]:
    """A kept problem as the journal stores it."""
    assert problem.kept, problem
    return {"code": problem.code, **asdict(problem)}


def problem_from(document: Mapping[str, Any]) -> Problem:
    """The kept problem that :func:`problem_document` wrote."""
    kind = _KEPT[document["code"]]
    values: dict[str, Any] = {field.name: document.get(field.name) for field in fields(kind)}
    return kind(**values)
