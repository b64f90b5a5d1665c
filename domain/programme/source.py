"""A programme's YAML as plain data: text to dicts, lists and scalars, within bounds.

Scalars are read as YAML 1.2 reads them, so `no` is a locale and `22:00` a time of day, never a truth value or
a number. Aliases, tags and repeated keys are refused; size, depth and number of values are bounded.
"""

import re
from collections.abc import Iterator
from datetime import date
from pathlib import Path
from typing import Any

import yaml

from domain.programme.problem import DefinitionInvalid, ProgrammeProblem, Severity

MAX_BYTES = 1024 * 1024
MAX_DEPTH = 24
MAX_VALUES = 100_000

Data = Any
"""None, bool, int, float, str, date, or a list or dict (by str) of them."""

_INT = re.compile(r"[-+]?\d{1,18}", re.ASCII)
_FLOAT = re.compile(r"[-+]?(?:\d{1,18}\.\d{0,18}|\.\d{1,18})(?:[eE][-+]?\d{1,2})?", re.ASCII)
_DATE = re.compile(r"\d{4}-\d\d-\d\d", re.ASCII)
_WORDS: dict[str, Data] = {
    "": None,
    "~": None,
    "null": None,
    "true": True,
    "True": True,
    "false": False,
    "False": False,
}


def read_file(path: Path) -> str:
    """The source in that file. What is no UTF-8 there comes along, so that it is told as a problem of the source."""
    return path.read_text(encoding="utf-8", errors="surrogateescape")


def read_source(source: str) -> dict[str, Data]:
    """The data of the source. Raises :class:`DefinitionInvalid` with every problem of its form."""
    try:
        size = len(source.encode())
    except UnicodeEncodeError:
        raise DefinitionInvalid([_problem("", "The text is not valid Unicode; save the file as UTF-8.")]) from None
    if size > MAX_BYTES:
        raise DefinitionInvalid([_problem("", f"{size} bytes; a programme has at most {MAX_BYTES} (1 MiB).")])
    problems: list[ProgrammeProblem] = []
    try:
        problems += _out_of_bounds(source)
        node = None if problems else yaml.compose(source, Loader=yaml.CSafeLoader)
    except yaml.YAMLError as error:
        raise DefinitionInvalid([_problem("", f"Not YAML: {_reason(error)}")]) from error
    data = None if node is None else _data(node, "", problems)
    if not problems and not isinstance(data, dict):
        problems.append(_problem("", "The programme must be a group of keys, beginning with `programme: <id>`."))
    if problems:
        raise DefinitionInvalid(problems)
    assert isinstance(data, dict)
    return data


def _out_of_bounds(source: str) -> Iterator[ProgrammeProblem]:
    depth = 0
    for values, event in enumerate(yaml.parse(source, Loader=yaml.CSafeLoader)):
        match event:
            case yaml.AliasEvent():
                yield _problem("", f"{_where(event.start_mark)}: aliases (`*name`) are not taken; write the value out.")
                return
            case yaml.CollectionStartEvent():
                depth += 1
            case yaml.CollectionEndEvent():
                depth -= 1
        if (tag := getattr(event, "tag", None)) is not None:
            yield _problem("", f"{_where(event.start_mark)}: tags (`{tag}`) are not taken; leave it out.")
            return
        if depth > MAX_DEPTH or values > MAX_VALUES:
            bound = f"deeper than {MAX_DEPTH} levels" if depth > MAX_DEPTH else f"more than {MAX_VALUES} values"
            yield _problem("", f"{_where(event.start_mark)}: {bound}; make it smaller.")
            return


def _data(node: yaml.Node, path: str, problems: list[ProgrammeProblem]) -> Data:
    match node:
        case yaml.MappingNode():
            found: dict[str, Data] = {}
            for key_node, value_node in node.value:
                key = key_node.value if isinstance(key_node, yaml.ScalarNode) else ""
                where = f"{path}.{key}" if path else key
                if not key or (not _is_quoted(key_node) and key == "<<"):
                    problems.append(_problem(path, f"{_where(key_node.start_mark)}: a key must be a plain word."))
                elif key in found:
                    problems.append(
                        _problem(
                            where,
                            f"{_where(key_node.start_mark)}: the key is here twice; remove one of them.",
                        )
                    )
                else:
                    found[key] = _data(value_node, where, problems)
            return found
        case yaml.SequenceNode():
            return [_data(item, f"{path}.{index}", problems) for index, item in enumerate(node.value)]
        case _:
            return _scalar(node, path, problems)


def _scalar(node: yaml.Node, path: str, problems: list[ProgrammeProblem]) -> Data:
    text = node.value
    if _is_quoted(node):
        return str(text)
    if text in _WORDS:
        return _WORDS[text]
    if _INT.fullmatch(text):
        return int(text)
    if _FLOAT.fullmatch(text):
        return float(text)
    if _DATE.fullmatch(text):
        try:
            return date.fromisoformat(text)
        except ValueError:
            problems.append(_problem(path, f"{_where(node.start_mark)}: {text} is not in the calendar."))
    return str(text)


def _is_quoted(node: yaml.Node) -> bool:
    return isinstance(node, yaml.ScalarNode) and bool(node.style)


def _problem(path: str, message: str) -> ProgrammeProblem:
    return ProgrammeProblem(path=path, message=message, severity=Severity.ERROR)


def _where(mark: Any) -> str:
    return "somewhere" if mark is None else f"line {mark.line + 1}, column {mark.column + 1}"


def _reason(error: yaml.YAMLError) -> str:
    if isinstance(error, yaml.MarkedYAMLError):
        return f"{_where(error.problem_mark or error.context_mark)}: {error.problem or error.context}."
    return str(error).partition("\n")[0]
