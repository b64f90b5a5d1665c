"""A problem of a programme, for whoever writes it: where, what, and what to do."""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum


class Severity(StrEnum):
    """Errors keep a programme from being published; warnings do not."""

    ERROR = "ERROR"
    WARNING = "WARNING"


@dataclass(frozen=True, slots=True, kw_only=True)
class ProgrammeProblem:
    """`path` is dotted, list items by number from 0: ``earning.3.when``; empty for the text as a whole."""

    path: str
    message: str
    severity: Severity


class DefinitionInvalid(ValueError):  # noqa: N818 - the contract's name for it
    """A programme that may not be published; `problems` has all of them, warnings too."""

    def __init__(self, problems: Iterable[ProgrammeProblem]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(f"{problem.path}: {problem.message}" for problem in self.problems))
