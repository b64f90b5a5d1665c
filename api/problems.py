"""The contract's problems as GraphQL types, and how the domain's problem values become them.

A result union names the types that it may answer with; `told` answers with one of them. Programme problems
have no value in the journal, so they are made by the module of the programme itself.
"""

from datetime import datetime
from enum import StrEnum
from typing import TypeVar

import strawberry

from api.scalars import Decimal
from domain import problems

_R = TypeVar("_R")


@strawberry.interface(description="What a caller can act on. Every result union may answer with any of these.")
class Problem:
    code: str
    message: str


@strawberry.type
class FieldProblem:
    path: str
    message: str


@strawberry.type(description="`code`: INVALID_INPUT")
class InvalidInput(Problem):
    fields: list[FieldProblem]


@strawberry.type(description="`code`: INSUFFICIENT_BALANCE")
class InsufficientBalance(Problem):
    asset: str
    available: Decimal
    required: Decimal


@strawberry.type(
    description=("`code`: LIMIT_REACHED. `limit` names the programme's rule; `headroom` is what it still allows now.")
)
class LimitReached(Problem):
    limit: strawberry.ID
    headroom: Decimal
    resets_at: datetime | None


@strawberry.type(description="`code`: OUT_OF_STOCK")
class OutOfStock(Problem):
    reward: strawberry.ID


@strawberry.type(description="`code`: NOT_ELIGIBLE")
class NotEligible(Problem):
    reason: str


@strawberry.type(description="`code`: NOT_FOUND")
class NotFound(Problem):
    what: str


@strawberry.type(
    description=("`code`: WRONG_STATE, such as a hold that is captured, void or expired, or a voucher used already.")
)
class WrongState(Problem):
    state: str


@strawberry.type(
    description=("`code`: IDEMPOTENCY_MISMATCH. The key was used with another input; `differs` names the paths.")
)
class IdempotencyMismatch(Problem):
    differs: list[str]


@strawberry.type(description="`code`: DUPLICATE_RECEIPT. The partner recorded this receipt before, under another key.")
class DuplicateReceipt(Problem):
    first_entry: strawberry.ID


@strawberry.type(description="`code`: SIGN_IN_REFUSED")
class SignInRefused(Problem):
    reason: str


@strawberry.enum
class Severity(StrEnum):
    ERROR = "ERROR"
    WARNING = "WARNING"


@strawberry.type
class ProgrammeProblem:
    path: str
    message: str
    severity: Severity


@strawberry.type(description="`code`: PROGRAMME_INVALID")
class ProgrammeInvalid(Problem):
    problems: list[ProgrammeProblem]


@strawberry.type(description="`code`: VERSION_CONFLICT")
class VersionConflict(Problem):
    current_version: int


ProblemType = (
    InvalidInput
    | InsufficientBalance
    | LimitReached
    | OutOfStock
    | NotEligible
    | NotFound
    | WrongState
    | IdempotencyMismatch
    | DuplicateReceipt
)
"""What `problem_type` makes. A resolver whose union has fewer narrows it: whatever else comes is a bug."""


def problem_type(problem: problems.Problem) -> ProblemType:
    """The GraphQL instance of a domain problem."""
    code, message = problem.code, problem.message
    match problem:
        case problems.InvalidInput():
            return InvalidInput(
                code=code,
                message=message,
                fields=[FieldProblem(path=field.path, message=field.message) for field in problem.fields],
            )
        case problems.NotFound():
            return NotFound(code=code, message=message, what=problem.what)
        case problems.IdempotencyMismatch():
            return IdempotencyMismatch(code=code, message=message, differs=list(problem.differs))
        case problems.DuplicateReceipt():
            return DuplicateReceipt(code=code, message=message, first_entry=strawberry.ID(problem.first_entry))
        case problems.InsufficientBalance():
            return InsufficientBalance(
                code=code,
                message=message,
                asset=problem.asset,
                available=Decimal(problem.available),
                required=Decimal(problem.required),
            )
        case problems.LimitReached():
            return LimitReached(
                code=code,
                message=message,
                limit=strawberry.ID(problem.limit),
                headroom=Decimal(problem.headroom),
                resets_at=problem.resets_at,
            )
        case problems.OutOfStock():
            return OutOfStock(code=code, message=message, reward=strawberry.ID(problem.reward))
        case problems.NotEligible():
            return NotEligible(code=code, message=message, reason=problem.reason)
        case problems.WrongState():
            return WrongState(code=code, message=message, state=problem.state)
    raise AssertionError(f"a problem without a GraphQL type: {type(problem).__name__}")


def told(problem: problems.Problem, instead_of: type[_R]) -> _R:
    """The problem, where `instead_of` would have been answered.

    The result's union must have it beside that type, which the schema sees to: whatever else comes is a bug.
    """
    del instead_of
    return problem_type(problem)  # type: ignore[return-value]  # the one place where a union is not spelt out
