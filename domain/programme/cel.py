"""Conditions: CEL over the facts that a programme may use, compiled once per version (SEMANTICS §11).

A condition names its facts as `group.fact` (`purchase.hour`, `member.tier`), so what it reads is known when it
is published: unknown names are refused there, and an evaluation hands over only those facts and remembers the
answer for equal ones. At a till nothing here raises: what fails to evaluate counts as false, is logged with
the rule and counted in `wallet_rule_errors_total`.
"""

import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

import cel
import structlog
from prometheus_client import Counter

from domain.programme.comparison import comparisons_in
from domain.programme.facts import EXAMPLES, FACTS

MAX_SOURCE_CHARACTERS = 1_000
MAX_LOOPS = 4
MAX_REMEMBERED = 256

Facts = Mapping[str, Mapping[str, Any]]
"""The facts at hand: group → fact → value; a value is a bool, int, str, None, a tuple of str, or a map of scalars."""

RULE_ERRORS = Counter("wallet_rule_errors_total", "Conditions that failed to evaluate and counted as false.", ["rule"])

_LOG: Final = structlog.get_logger(__name__)

_FUNCTIONS = frozenset(
    {"size", "contains", "startsWith", "endsWith", "matches", "has", "type", "dyn"}
    | {"string", "int", "uint", "double", "timestamp", "duration"}
    | {"getFullYear", "getMonth", "getDate", "getDayOfMonth", "getDayOfYear", "getDayOfWeek"}
    | {"getHours", "getMinutes", "getSeconds", "getMilliseconds"}
)
_TYPES = frozenset({"int", "uint", "double", "string", "bool", "list", "map"})
_STRING = re.compile(
    r"""(?P<raw>[bB]?[rR][bB]?)(?:\"\"\".*?\"\"\"|'''.*?'''|"[^"\n]*"|'[^'\n]*')"""
    r"""|[bB]?(?:\"\"\"(?:\\.|.)*?\"\"\"|'''(?:\\.|.)*?'''|"(?:\\.|[^"\\\n])*"|'(?:\\.|[^'\\\n])*')"""
    r"""|//[^\n]*""",
    re.DOTALL,
)
_LOOP = re.compile(r"\.\s*(?:all|exists|exists_one|filter|map)\s*\(\s*(\w+)\s*,")
_NAME = re.compile(r"(?<![\w.])([A-Za-z_]\w*)(?:\s*\.\s*([A-Za-z_]\w*)(?!\w*\s*\())?")
_FACT = r"(?<![\w.])(?P<fact>[A-Za-z_]\w*\s*\.\s*[A-Za-z_]\w*)"
_TEXT = r"""(?:"[\w-]*"|'[\w-]*')"""
_QUOTED = re.compile(r"""["']([\w-]*)["']""", re.ASCII)
_COMPARED: Final = (
    re.compile(rf"{_FACT}\s*[!=]=\s*(?P<texts>{_TEXT})", re.ASCII),
    re.compile(rf"(?P<texts>{_TEXT})\s*(?:[!=]=|in\b)\s*{_FACT}", re.ASCII),
    re.compile(rf"{_FACT}\s*in\s*(?P<texts>\[[^\[\]]*\])", re.ASCII),
    re.compile(rf"{_FACT}\s*\.\s*exists\s*\(\s*(\w+)\s*,\s*\2\s*==\s*(?P<texts>{_TEXT})\s*\)", re.ASCII),
)
_LITERAL = r"(?P<literal>\"\"|-?\d[\d.]*u?|(?:true|false)\b)"
_EQUALLED: Final = (
    re.compile(rf"{_FACT}\s*[!=]=\s*{_LITERAL}", re.ASCII),
    re.compile(rf"{_LITERAL}\s*[!=]=\s*{_FACT}(?!\s*[\w.\[(])", re.ASCII),
    re.compile(rf"{_FACT}\s+in\s*\[\s*{_LITERAL}", re.ASCII),
)
"""Where a fact must be equal to a text, a number or a truth value; texts are blanked to `""`."""
_KINDS: Final[Mapping[type, str]] = {
    str: "text",
    int: "a whole number",
    bool: "true or false",
    tuple: "a list of texts",
}
_UNCACHED: Final = frozenset({"activity.attributes"})


class ConditionError(ValueError):
    """A condition that cannot be published; its text says what to change."""


class Condition:
    """One compiled condition. `rule` is the id under which failures are logged and counted."""

    __slots__ = ("_comparisons", "_groups", "_program", "_reads", "_remembered", "rule", "source")

    def __init__(self, source: str, *, rule: str) -> None:
        """Compile it. Raises :class:`ConditionError` when it is no CEL; see :func:`check` for the rest."""
        self.rule = rule
        self.source = source
        self._program = _compile(source)
        self._comparisons = comparisons_in(source)
        reads = _reads(source)
        self._reads = tuple(read for read in reads if read[1])
        self._groups = tuple(dict.fromkeys(group for group, _ in self._reads))
        cached = not any(f"{group}.{fact}" in _UNCACHED for group, fact in self._reads)
        self._remembered: dict[tuple[Any, ...], bool] | None = {} if cached else None

    def holds(self, facts: Facts) -> bool:
        """Whether the condition is true of the facts. Never raises."""
        try:
            if self._comparisons is not None and (answer := self._comparisons.answer(facts)) is not None:
                return answer
            values = tuple([facts[group][fact] for group, fact in self._reads])
            if self._remembered is None:
                return self._evaluate(values)
            known = self._remembered.get(values)
            if known is not None:
                return known
            result = self._evaluate(values)
        except BaseException as error:
            if not _is_failure(error):
                raise
            RULE_ERRORS.labels(self.rule).inc()
            _LOG.warning("rule_failed", rule=self.rule, error=type(error).__name__, reason=_first_line(error))
            return False
        if len(self._remembered) >= MAX_REMEMBERED:
            self._remembered.clear()
        self._remembered[values] = result
        return result

    def _evaluate(self, values: tuple[Any, ...]) -> bool:
        known: dict[str, dict[str, Any]] = {group: {} for group in self._groups}
        for (group, fact), value in zip(self._reads, values, strict=True):
            known[group][fact] = value
        result = self._program.execute(cel.Context(known))
        if not isinstance(result, bool):
            raise TypeError(f"is {type(result).__name__}, not true or false")
        return result


def check(source: str, *, groups: Iterable[str]) -> None:
    """Refuse what may not be published where those groups of facts are at hand.

    Raises :class:`ConditionError`: no CEL, too long, loops within loops, an unknown group, fact or function,
    types that do not go together, or a result that is not true or false for example facts.
    """
    allowed = tuple(groups)
    program = _compile(source)
    _check_loops(source)
    _check_names(source, program.variables(), allowed=allowed)
    _check_functions(program.functions())
    reads = _reads(source)
    _check_kinds(source)
    open_ended = any(f"{group}.{fact}" in _UNCACHED for group, fact in reads)
    for example in EXAMPLES:
        try:
            result = program.execute({group: dict(example[group]) for group in allowed})
        except TypeError as error:
            if not open_ended:
                raise ConditionError(
                    "Types that do not go together; compare numbers with numbers, text with text, and "
                    "join only comparisons by && and ||."
                ) from error
        except BaseException as error:
            if not _is_failure(error):
                raise
            if not isinstance(error, KeyError | ArithmeticError | IndexError):
                raise ConditionError(f"Cannot be evaluated: {_first_line(error)}") from error
        else:
            if not isinstance(result, bool):
                raise ConditionError(
                    f'Gives {type(result).__name__}, not true or false; compare it, as in `… >= 1` or `… == "x"`.'
                )


def facts_read(source: str) -> tuple[tuple[str, str], ...]:
    """The facts that a condition names, as (group, fact)."""
    return _reads(source)


def ids_compared(source: str, *, facts: Iterable[str]) -> list[tuple[str, str]]:
    """The texts that a condition compares with those facts (`group.fact`), by ==, != or in, as (fact, text)."""
    wanted = frozenset(facts)
    return [
        (fact, text)
        for pattern in _COMPARED
        for match in pattern.finditer(source)
        if (fact := "".join(match["fact"].split())) in wanted
        for text in _QUOTED.findall(match["texts"])
    ]


def is_condition(source: str) -> bool:
    """Whether it can be compiled."""
    try:
        _compile(source)
    except ConditionError:
        return False
    return True


def _compile(source: str) -> cel.Program:
    if len(source) > MAX_SOURCE_CHARACTERS:
        raise ConditionError(f"Longer than {MAX_SOURCE_CHARACTERS} characters; split it into several rules.")
    try:
        return cel.compile(source)
    except BaseException as error:
        if not _is_failure(error):
            raise
        reason = re.search(r"ERROR: <input>:(\d+):(\d+): ([^\n]*)", str(error))
        detail = f"line {reason[1]}, character {reason[2]}: {reason[3]}" if reason else _first_line(error)
        raise ConditionError(f"Not CEL: {detail}") from error


def _check_loops(source: str) -> None:
    code = _without_strings(source)
    loops = [match.start() for match in _LOOP.finditer(code)]
    if len(loops) > MAX_LOOPS:
        raise ConditionError(f"More than {MAX_LOOPS} of all, exists, filter and map; split it into several rules.")
    for start in loops:
        depth, position = 0, code.index("(", start)
        while position < len(code):
            depth += {"(": 1, ")": -1}.get(code[position], 0)
            if depth == 0:
                break
            position += 1
        if any(start < other < position for other in loops):
            raise ConditionError("A loop (all, exists, filter, map) within a loop takes too long; use one with `in`.")


def _check_names(source: str, variables: Iterable[str], *, allowed: tuple[str, ...]) -> None:
    code = _without_strings(source)
    bound = {match[1] for match in _LOOP.finditer(code)}
    if clash := sorted(bound & FACTS.keys()):
        raise ConditionError(f"`{clash[0]}` is a group of facts; name the loop's variable otherwise.")
    for name in variables:
        if name not in allowed and name not in bound and name not in _TYPES:
            known = ", ".join(f"{group}.…" for group in allowed)
            what = "has no meaning for this event" if name in FACTS else "is not a known fact"
            raise ConditionError(f"`{name}` {what}; known here: {known}.")
    for group, fact in _reads(source):
        if not fact:
            raise ConditionError(f"`{group}` alone says nothing; name a fact of it: {_listed(group)}.")
        if fact not in FACTS[group]:
            raise ConditionError(f"`{group}.{fact}` is not a known fact; known are {_listed(group)}.")


def _check_kinds(source: str) -> None:
    """CEL says of things of different kinds that they differ; whoever writes such a thing means something else."""
    code = _without_strings(source)
    for match in (found for pattern in _EQUALLED for found in pattern.finditer(code)):
        group, fact = "".join(match["fact"].split()).split(".")
        kind, literal = type(EXAMPLES[0][group][fact]), match["literal"]
        other = str if literal == '""' else bool if literal in {"true", "false"} else int
        if kind is not other and kind in _KINDS:
            instead = f'write `"…" in {group}.{fact}`' if kind is tuple else f"compare it with {_KINDS[kind]}"
            raise ConditionError(f"`{group}.{fact}` is {_KINDS[kind]} and never {_KINDS[other]}; {instead}.")


def _check_functions(functions: Iterable[str]) -> None:
    for name in functions:
        if name[0] not in "_!@-" and name not in _FUNCTIONS:
            raise ConditionError(f"`{name}` is not a known function; known are {', '.join(sorted(_FUNCTIONS))}.")


def _reads(source: str) -> tuple[tuple[str, str], ...]:
    """The facts that the source names, in order, each once; a group that stands alone has an empty fact."""
    code = _without_strings(source)
    names = ((match[1], match[2] or "") for match in _NAME.finditer(code))
    return tuple(dict.fromkeys((group, fact) for group, fact in names if group in FACTS))


def _without_strings(source: str) -> str:
    blank: Callable[[re.Match[str]], str] = lambda match: " " if match[0].startswith("//") else '""'  # noqa: E731
    return _STRING.sub(blank, source)


def _listed(group: str) -> str:
    return ", ".join(f"{group}.{fact}" for fact in FACTS[group])


def _is_failure(error: BaseException) -> bool:
    """What the evaluator may raise; its panics (Rust) are no Exception."""
    return isinstance(error, Exception) or type(error).__name__ == "PanicException"


def _first_line(error: BaseException) -> str:
    return str(error).partition("\n")[0][:200]
