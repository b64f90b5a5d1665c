"""Plain comparisons within a condition, answered without CEL: most of what a programme asks is of this kind. Pure.

A condition that is a chain of `&&`, or one of `||`, is decided by the first part that is false, or true: CEL has the
same answer, whatever the other parts come to (`false && error` is false). So a part that compares a fact with a whole
number or a text of the same type may be answered here, and CEL is asked only where that decides nothing. What is
answered here is what CEL answers; `tests/programme/test_comparison.py` holds both beside each other.
"""

import operator
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

_ORDERED: Final[Mapping[str, Callable[[Any, Any], bool]]] = {
    "==": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}
_COMPARISON: Final = re.compile(
    r"\s*(?P<group>[A-Za-z_]\w*)\.(?P<fact>[A-Za-z_]\w*)\s*"
    r"(?:(?P<order>[=!<>]=|[<>])\s*(?P<number>-?[0-9]{1,18})|(?P<equal>[=!]=)\s*[\"'](?P<text>[\w .:/-]*)[\"'])\s*",
    re.ASCII,
)
_QUOTED: Final = re.compile(r"\"[^\"\\\n]*\"|'[^'\\\n]*'")


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """A fact beside a whole number or a text."""

    group: str
    fact: str
    compare: Callable[[Any, Any], bool]
    value: int | str
    kind: type


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparisons:
    """The comparisons in a chain: `decides` is the answer that decides it, `are_all` says that there are no others."""

    parts: tuple[Comparison, ...]
    decides: bool
    are_all: bool

    def answer(self, facts: Mapping[str, Mapping[str, Any]]) -> bool | None:
        """What the condition comes to; None where only CEL can tell. Raises KeyError for a fact that is not there."""
        is_told = self.are_all
        for part in self.parts:
            found = facts[part.group][part.fact]
            if type(found) is not part.kind:
                is_told = False
            elif part.compare(found, part.value) is self.decides:
                return self.decides
        return not self.decides if is_told else None


def comparisons_in(source: str) -> Comparisons | None:
    """The comparisons of a condition that is a chain; None for any other, and where none of its parts is one."""
    for joined, decides in (("&&", False), ("||", True)):
        parts = _chain(source, joined)
        if parts is None:
            continue
        found = [comparison for part in parts if (comparison := _comparison(part)) is not None]
        if found:
            return Comparisons(parts=tuple(found), decides=decides, are_all=len(found) == len(parts))
    return None


def _chain(source: str, joined: str) -> list[str] | None:
    """The parts of the source between the operators outside of brackets; None if others than that stand there."""
    if "\\" in source or "//" in source:
        return None
    code = _QUOTED.sub(lambda text: "_" * len(text[0]), source)
    if '"' in code or "'" in code:
        return None
    parts, depth, begun = [], 0, 0
    for position, character in enumerate(code):
        depth += (character in "([{") - (character in ")]}")
        if depth == 0 and (character == "?" or (character in "&|" and character != joined[0])):
            return None
        if depth == 0 and code.startswith(joined, position):
            parts.append(source[begun:position])
            begun = position + len(joined)
    return [*parts, source[begun:]]


def _comparison(part: str) -> Comparison | None:
    match = _COMPARISON.fullmatch(part)
    if match is None:
        return None
    value: int | str = match["text"] if match["number"] is None else int(match["number"])
    return Comparison(
        group=match["group"],
        fact=match["fact"],
        compare=_ORDERED[match["order"] or match["equal"]],
        value=value,
        kind=type(value),
    )
