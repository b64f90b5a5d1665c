"""From a programme's source to its definition, with all problems at once (SEMANTICS §11).

Form, format and sense are checked one after the other; what is wrong in one rule does not hide what is wrong
in another. Every problem says where it is and what to do.
"""

import difflib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, get_args, get_origin

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from domain.programme.checks import Ids, check_definition
from domain.programme.format import Definition
from domain.programme.problem import DefinitionInvalid, ProgrammeProblem, Severity
from domain.programme.source import read_source

__all__ = (
    "Checked",
    "Definition",
    "DefinitionInvalid",
    "ProgrammeProblem",
    "Severity",
    "check_source",
    "load_definition",
    "read_definition",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Checked:
    """`definition` is None when a problem is an error."""

    definition: Definition | None
    problems: tuple[ProgrammeProblem, ...]


def read_definition(source: str) -> Definition:
    """The definition of a source without errors.

    Raises :class:`DefinitionInvalid` with all problems, those that only warn included.
    """
    checked = check_source(source)
    if checked.definition is None:
        raise DefinitionInvalid(checked.problems)
    return checked.definition


def load_definition(source: str) -> Definition:
    """The definition of a source that was published: its sense was checked then, and is not checked again."""
    return Definition.model_validate(read_source(source))


def check_source(source: str) -> Checked:
    """All problems of a source, in its order, and its definition if none of them is an error. Never raises."""
    try:
        data = read_source(source)
    except DefinitionInvalid as error:
        return Checked(definition=None, problems=error.problems)
    problems: list[ProgrammeProblem] = []
    definition: Definition | None = None
    try:
        valid = Definition.model_validate(data)
    except ValidationError as error:
        details = error.errors(include_url=False, include_input=False)
        problems += [_from_format(detail, data) for detail in details]
        problems += _sense_of_the_rest(data, details)
    else:
        definition = valid
        problems += check_definition(valid, ids=Ids.of(data))
    problems = [_with_id(problem, data) for problem in problems]
    if any(problem.severity is Severity.ERROR for problem in problems):
        definition = None
    return Checked(definition=definition, problems=tuple(_in_order(problems, data)))


_PLACEHOLDERS: Final[Mapping[str, Any]] = {
    "programme": "programme",
    "name": {"en": "Programme"},
    "currency": "XXX",
    "time_zone": "UTC",
    "locales": {"default": "en", "supported": ["en"]},
}
"""What stands in for a required key that is wrong, so that the rest can be checked."""


_OF_TEMPLATES: Final = frozenset({"locales", "messaging", "cascades"})
"""What templates are judged by: where that is wrong itself, nothing is said of them."""


def _sense_of_the_rest(data: Mapping[str, Any], details: Sequence[ErrorDetails]) -> list[ProgrammeProblem]:
    """The problems of sense of what the format does not already refuse."""
    rest = dict(data)
    dropped: dict[str, set[int]] = {}
    replaced: set[str] = set()
    for detail in details:
        section, *inner = detail["loc"] or ("",)
        key = str(section)
        if inner and isinstance(inner[0], int) and isinstance(data.get(key), list):
            dropped.setdefault(key, set()).add(inner[0])
        elif key in _PLACEHOLDERS:
            rest[key] = _PLACEHOLDERS[key]
            replaced.add(key)
        else:
            rest.pop(key, None)
    if not _OF_TEMPLATES.isdisjoint(str(detail["loc"][0]) for detail in details if detail["loc"]):
        rest.pop("templates", None)
    kept: dict[str, list[int]] = {}
    for key, indexes in dropped.items():
        if key in rest:
            kept[key] = [index for index in range(len(data[key])) if index not in indexes]
            rest[key] = [data[key][index] for index in kept[key]]
    try:
        definition = Definition.model_validate(rest)
    except ValidationError:
        return []
    found = check_definition(definition, ids=Ids.of(data), unknown=frozenset(replaced))
    return [_moved(problem, kept) for problem in found]


def _moved(problem: ProgrammeProblem, kept: Mapping[str, list[int]]) -> ProgrammeProblem:
    """The problem with the number that its item has in the source."""
    section, *rest = problem.path.split(".")
    if section in kept and rest and rest[0].isdecimal():
        rest[0] = str(kept[section][int(rest[0])])
    path = ".".join([section, *rest])
    return ProgrammeProblem(path=path, message=problem.message, severity=problem.severity)


def _with_id(problem: ProgrammeProblem, data: Mapping[str, Any]) -> ProgrammeProblem:
    """The problem with the id of the innermost thing that its path leads into."""
    found, here = "", data
    for part in problem.path.split("."):
        here = _step(here, part)
        if isinstance(here, dict) and isinstance(here.get("id"), str):
            found = here["id"]
    if not found:
        return problem
    return ProgrammeProblem(path=problem.path, message=f"{found}: {problem.message}", severity=problem.severity)


def _step(here: Any, part: str) -> Any:
    if isinstance(here, dict):
        return here.get(part)
    if isinstance(here, list) and part.isdecimal() and int(part) < len(here):
        return here[int(part)]
    return None


def _in_order(problems: Iterable[ProgrammeProblem], data: Mapping[str, Any]) -> list[ProgrammeProblem]:
    """The problems in the order of the source's sections, each once."""
    sections = list(data)

    def position(problem: ProgrammeProblem) -> tuple[int, tuple[int, ...]]:
        section, *rest = problem.path.split(".")
        numbers = tuple(int(part) for part in rest[:1] if part.isdecimal())
        return (sections.index(section) if section in sections else -1, numbers)

    return sorted(dict.fromkeys(problems), key=position)


def _from_format(detail: ErrorDetails, data: Mapping[str, Any]) -> ProgrammeProblem:
    detail = {**detail, "loc": tuple(_parts_in_source(detail, data))}
    path = ".".join(str(part) for part in detail["loc"])
    write = _MESSAGES.get(detail["type"])
    message = detail["msg"] if write is None else write(detail)
    return ProgrammeProblem(path=path, message=message, severity=Severity.ERROR)


def _parts_in_source(detail: ErrorDetails, data: Any) -> Iterator[int | str]:
    """The parts of the path that stand in the source, and a key that is missing there: no names of kinds of values."""
    here = data
    for number, part in enumerate(detail["loc"], 1):
        if isinstance(part, int) or (isinstance(here, dict) and part in here):
            here = _step(here, str(part))
            yield part
        elif detail["type"] == "missing" and number == len(detail["loc"]):
            yield part


def _unknown_key(detail: ErrorDetails) -> str:
    known = sorted(_keys_at(detail["loc"][:-1]))
    close = difflib.get_close_matches(str(detail["loc"][-1]), known, n=1)
    hint = f" Did you mean `{close[0]}`?" if close else ""
    return f"Is not a known key; known here are {', '.join(known)}.{hint}"


def _keys_at(path: tuple[int | str, ...]) -> list[str]:
    """The keys of the part of the format that the path leads to."""
    model: type[BaseModel] | None = Definition
    own_keys = 0
    for part in path:
        if own_keys:
            own_keys -= 1
        elif isinstance(part, str) and model is not None:
            fields = {field.alias or name: field for name, field in model.model_fields.items()}
            own_keys = _own_keys(fields[part].annotation) if part in fields else 0
            model = _model_in(fields[part].annotation) if part in fields else None
    return [] if model is None else [field.alias or name for name, field in model.model_fields.items()]


def _own_keys(annotation: Any) -> int:
    """How many levels of keys that the author chooses lie before the model."""
    return 1 + _own_keys(get_args(annotation)[-1]) if get_origin(annotation) is dict else 0


def _model_in(annotation: Any) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next((model for model in map(_model_in, get_args(annotation)) if model is not None), None)


def _says(text: str) -> Callable[[ErrorDetails], str]:
    return lambda detail: text.format(**detail.get("ctx", {}))


_MESSAGES: Final[Mapping[str, Callable[[ErrorDetails], str]]] = {
    "missing": lambda detail: f"Is missing; add `{detail['loc'][-1]}`.",
    "extra_forbidden": _unknown_key,
    "string_type": _says("Must be text; put it in quotes."),
    "string_too_short": _says("Must not be empty."),
    "string_too_long": _says("Is too long; at most {max_length} characters."),
    "string_pattern_mismatch": _says(
        "Must be an id: small letters, digits and dashes, at most 64 characters, such as gold-2."
    ),
    "int_type": _says("Must be a whole number, without quotes."),
    "float_type": _says("Must be a number, without quotes."),
    "date_type": _says("Must be a date such as 2017-06-01."),
    "literal_error": _says("Must be one of {expected}."),
    "enum": _says("Must be one of {expected}."),
    "greater_than_equal": _says("Must be at least {ge}."),
    "less_than_equal": _says("Must be at most {le}."),
    "too_long": _says("Has too many items; at most {max_length}."),
    "too_short": _says("Needs at least {min_length} of them."),
    "list_type": _says("Must be a list: one item a line, each after a dash."),
    "dict_type": _says("Must be a group of keys, such as {{en: Text}}."),
    "model_type": _says("Must be a group of keys."),
}
