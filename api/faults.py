"""Faults: what is wrong with an input, collected while reading it, so that everything is reported at once.

Reading goes on after a fault with a harmless value in its place; `problem` then says whether to stop. Nothing
has been decided by then, so nothing is kept (SEMANTICS §1.3).
"""

from dataclasses import dataclass, field, fields, is_dataclass
from typing import Any

import strawberry
from strawberry.utils.str_converters import to_camel_case

from domain.money import AmountError, to_minor
from domain.problems import FieldProblem, InvalidInput

LONGEST_IDENTIFIER = 128


@dataclass(slots=True)
class Faults:
    """`found` are in the order of reading; a path is dotted and starts at the operation's input."""

    found: list[FieldProblem] = field(default_factory=list)

    def add(self, path: str, message: str) -> None:
        self.found.append(FieldProblem(path=path, message=message))

    def minor(self, path: str, amount: str, currency: str) -> int:
        """The amount in minor units; 0 and a fault for one that does not fit the currency."""
        try:
            return to_minor(amount, currency)
        except AmountError as error:
            self.add(path, str(error))
            return 0

    def text(self, path: str, value: str, *, longest: int = LONGEST_IDENTIFIER) -> str:
        """The text, with a fault unless it is of 1 to `longest` printable characters."""
        if not 1 <= len(value) <= longest:
            self.add(path, f"It has {len(value)} characters; 1 to {longest} are allowed.")
        elif not value.isprintable() or value.isspace():
            self.add(path, "It has characters that cannot be printed, or nothing but spaces.")
        return value

    @property
    def problem(self) -> InvalidInput | None:
        """All that was found, or None."""
        if not self.found:
            return None
        paths = ", ".join(dict.fromkeys(each.path for each in self.found))
        return InvalidInput(message=f"The input is invalid; see {paths}.", fields=tuple(self.found))


def given(value: Any) -> Any:
    """None for a field that was left out, else the value."""
    return None if value is strawberry.UNSET else value


def plain(value: Any) -> Any:
    """An input as nested dicts and lists of its JSON values, named as the contract does; what was left out is not in.

    This is what the fingerprint of an operation covers.
    """
    if isinstance(value, list):
        return [plain(each) for each in value]
    names = _names(type(value))
    if not names:
        return value
    return {
        contract: plain(inner)
        for attribute, contract in names
        if (inner := getattr(value, attribute)) is not strawberry.UNSET and inner is not None
    }


def _names(kind: Any) -> tuple[tuple[str, str], ...]:
    """The attributes of an input type, each with its name in the contract; none for a scalar."""
    if kind not in _KNOWN:
        is_input = hasattr(kind, "__strawberry_definition__") and is_dataclass(kind)
        _KNOWN[kind] = tuple((each.name, to_camel_case(each.name)) for each in fields(kind)) if is_input else ()
    return _KNOWN[kind]


_KNOWN: dict[Any, tuple[tuple[str, str], ...]] = {}
