"""Templates: what a message says, in ICU MessageFormat per language, filled when it is sent (SEMANTICS §10.15).

    {points, plural, one {# point} other {# points}}    {bonus}    {date, date, ::dMMMM}    corner://place/{place_id}

A variable's value is never read as a pattern. What is missing, blank or of another type than its place in the pattern
wants is a :class:`MissingVariable`: a value, and no message at all. In a link variables are percent-encoded, numbers
without grouping. Patterns are compiled once and kept by their text.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import date, datetime, time
from decimal import Decimal
from functools import lru_cache
from typing import Annotated, Final
from urllib.parse import quote
from zoneinfo import ZoneInfo

from icu4py.messageformat import MessageFormat
from pydantic import AfterValidator, Field, StringConstraints
from pydantic_core import PydanticCustomError

from domain.programme.fields import Model, readable
from domain.programme.variables import MoneyValue, Value

MAX_TITLE_CHARACTERS: Final = 500
MAX_BODY_CHARACTERS: Final = 4_000
MAX_LINK_CHARACTERS: Final = 1_000
KEPT_PATTERNS: Final = 10_000
KINDS: Final = frozenset({"", "number", "date", "time", "plural", "selectordinal", "select"})
"""The kinds of arguments that a pattern may have; the empty one stands for `{name}`."""

_COUNTED: Final = frozenset({"plural", "selectordinal"})
_MADE_OF: Final = re.compile(r"\{([A-Za-z_][A-Za-z0-9_]*)\}")
_QUOTED: Final = re.compile(r"'[^']*'")
_ZONE: Final = re.compile(r"[zZOvVxX]")
_NOON: Final = time(12)


class PatternError(ValueError):
    """A pattern that cannot be used; its text says why, for whoever wrote it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Argument:
    """A place in a pattern that a variable fills. `forms` are the keywords of a plural or a select.

    `style` is how a number, a date or a time is to be written.
    """

    name: str
    kind: str
    forms: frozenset[str] = frozenset()
    style: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class MissingVariable:
    """Why a message cannot be made: variables that are not there, or are not what the pattern wants."""

    variables: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Rendered:
    """What the member reads, and in which of the programme's languages."""

    locale: str
    title: str | None
    body: str
    link: str | None
    image_url: str | None


def _pattern(value: str) -> str:
    try:
        arguments(value)
    except PatternError as error:
        raise PydanticCustomError("pattern", "{reason}", {"reason": str(error)}) from error
    return value


def _link(value: str) -> str:
    rest = _MADE_OF.sub("", value)
    if "{" in rest or "}" in rest:
        raise PydanticCustomError("link", "A link takes plain variables only, such as corner://place/{{place_id}}.")
    if not value.isascii() or not value.isprintable() or " " in value:
        raise PydanticCustomError("link", "Must be an address of printable ASCII characters without spaces.")
    return value


def _image(value: str) -> str:
    if not value.startswith("https://") or "{" in value or not value.isascii() or not value.isprintable():
        raise PydanticCustomError("link", "Must be an https:// address without variables.")
    return value


def _text(longest: int) -> tuple[StringConstraints, AfterValidator, AfterValidator]:
    return StringConstraints(max_length=longest), AfterValidator(readable), AfterValidator(_pattern)


class TemplateText(Model):
    """A message in one language. SMS has a body alone; `link` is what a tap opens."""

    title: Annotated[str, *_text(MAX_TITLE_CHARACTERS)] | None = None
    body: Annotated[str, *_text(MAX_BODY_CHARACTERS)]
    link: Annotated[str, Field(max_length=MAX_LINK_CHARACTERS), AfterValidator(_link)] | None = None
    image_url: Annotated[str, Field(max_length=MAX_LINK_CHARACTERS), AfterValidator(_image)] | None = None


@dataclass(frozen=True, slots=True)
class _Pattern:
    """A compiled pattern. `plain` and `formatted` are the names that stand alone, and those with a format."""

    format: MessageFormat
    arguments: tuple[Argument, ...]
    plain: frozenset[str]
    formatted: Mapping[str, frozenset[str]]


def render(
    text: TemplateText, locale: str, variables: Mapping[str, Value], *, zone: ZoneInfo
) -> Rendered | MissingVariable:
    """The message in that language; instants are shown in `zone`. Pure."""
    missing: list[str] = []
    title = None if text.title is None else _filled(text.title, locale, variables, zone, missing)
    body = _filled(text.body, locale, variables, zone, missing)
    link = None if text.link is None else _filled_link(text.link, variables, missing)
    if missing:
        return MissingVariable(variables=tuple(dict.fromkeys(missing)))
    return Rendered(locale=locale, title=title, body=body, link=link, image_url=text.image_url)


@lru_cache(maxsize=KEPT_PATTERNS)
def arguments(pattern: str) -> tuple[Argument, ...]:
    """The arguments of a pattern, in order, those inside plurals and selects too. Raises PatternError."""
    return _compiled(pattern, "en").arguments


def link_variables(link: str) -> list[str]:
    """The names of the variables in a link, in order."""
    return _MADE_OF.findall(link)


@lru_cache(maxsize=KEPT_PATTERNS)
def _compiled(pattern: str, locale: str) -> _Pattern:
    try:
        compiled = MessageFormat(pattern, locale)
    except ValueError as error:
        raise PatternError(_said(str(error))) from error
    found = tuple(_arguments(pattern))
    for argument in found:
        if argument.kind not in KINDS:
            known = ", ".join(sorted(KINDS - {""}))
            raise PatternError(f"{{{argument.name}, {argument.kind}}} is not taken; {known} are.")
        if _shows_zone(argument):
            message = f"{{{argument.name}, {argument.kind}}} would show a zone, and not the member's; leave that out."
            raise PatternError(message)
    formatted: dict[str, set[str]] = {}
    for argument in found:
        if argument.kind:
            formatted.setdefault(argument.name, set()).add(argument.kind)
    return _Pattern(
        format=compiled,
        arguments=found,
        plain=frozenset(argument.name for argument in found if not argument.kind),
        formatted={name: frozenset(kinds) for name, kinds in formatted.items()},
    )


def _shows_zone(argument: Argument) -> bool:
    """Whether the style writes the zone: times are told by the clock on the member's wall, of which ICU knows none."""
    if argument.kind == "time" and argument.style in {"long", "full"}:
        return True
    is_letters = argument.kind in {"date", "time"} and argument.style not in {"", "short", "medium", "long", "full"}
    return is_letters and _ZONE.search(_QUOTED.sub("", argument.style)) is not None


_SAID: Final[Mapping[str, str]] = {
    "U_UNMATCHED_BRACES": "A brace { or } has no partner; a brace to be read stands in apostrophes: '{'.",
    "U_DEFAULT_KEYWORD_MISSING": "A plural or select has no form `other`, which each needs.",
    "U_NUMBER_SKELETON_SYNTAX_ERROR": "A number's skeleton after :: is not known to ICU.",
    "U_PATTERN_SYNTAX_ERROR": "A variable's name or a plural's form is not written as ICU wants it.",
    "U_ILLEGAL_ARGUMENT_ERROR": "ICU does not know a format that is used: number, date, time, plural and select are.",
}


def _said(error: str) -> str:
    code = error.rpartition(" ")[2]
    return f"Not a message (ICU MessageFormat): {_SAID.get(code, code)}"


def _filled(pattern: str, locale: str, variables: Mapping[str, Value], zone: ZoneInfo, missing: list[str]) -> str:
    """The pattern filled; names that cannot be filled are added to `missing`, and then the text is empty."""
    compiled = _compiled(pattern, locale)
    parameters: dict[str, int | float | str | Decimal | date | datetime] = {}
    wanting: list[str] = []
    for name in dict.fromkeys(argument.name for argument in compiled.arguments):
        value = variables.get(name)
        filled = (
            None
            if value is None
            else _parameter(
                value, compiled.formatted.get(name, frozenset()), locale, zone, plain=name in compiled.plain
            )
        )
        if filled is None:
            wanting.append(name)
        else:
            parameters[name] = filled
    missing += wanting
    return "" if wanting else compiled.format.format(parameters)


def _parameter(
    value: Value, kinds: frozenset[str], locale: str, zone: ZoneInfo, *, plain: bool
) -> int | str | Decimal | datetime | None:
    """The value as ICU takes it for those kinds of arguments; None if it does not suit all of them.

    An instant is told by the clock on the wall: ICU knows no zone but the machine's, in which it reads it again.
    """
    match value:
        case bool():
            return None
        case str():
            return value if value.strip() and kinds <= {"select"} else None
        case int():
            return value if kinds <= {"number", "select"} | _COUNTED else None
        case MoneyValue():
            if kinds and (plain or not kinds <= {"number"}):
                return None
            return value.amount if kinds else _money(value, locale)
        case datetime():
            shown = None if value.tzinfo is None else value.astimezone(zone).replace(tzinfo=None)
            return shown if kinds <= {"date", "time"} else None
        case date():
            shown = datetime.combine(value, _NOON)
            if kinds and (plain or not kinds <= {"date"}):
                return None
            return shown if kinds else _compiled("{day, date, long}", locale).format.format({"day": shown})
    return None


def _money(value: MoneyValue, locale: str) -> str:
    pattern = f"{{money, number, ::currency/{value.currency}}}"
    return _compiled(pattern, locale).format.format({"money": value.amount})


def _filled_link(link: str, variables: Mapping[str, Value], missing: list[str]) -> str:
    def part(found: re.Match[str]) -> str:
        value = variables.get(found[1])
        match value:
            case bool() | datetime():
                shown = None
            case str() | int():
                shown = str(value).strip()
            case date():
                shown = value.isoformat()
            case _:
                shown = None
        if not shown:
            missing.append(found[1])
            return ""
        return quote(shown, safe="")

    return _MADE_OF.sub(part, link)


def _arguments(pattern: str) -> Iterator[Argument]:
    """The arguments of a pattern that ICU has taken."""
    yield from _in_message(pattern, 0, nested=False, counted=False)[0]


def _in_message(pattern: str, start: int, *, nested: bool, counted: bool) -> tuple[list[Argument], int]:
    """The arguments of the message from `start`, and where it ends: at its closing brace, or with the pattern.

    Apostrophes quote as ICU has it (DOUBLE_OPTIONAL): before a brace, and within a plural before #.
    """
    found: list[Argument] = []
    here = start
    while here < len(pattern):
        character = pattern[here]
        if character == "'":
            here = _after_quote(pattern, here, "{}#" if counted else "{}")
        elif character == "{":
            inner, here = _in_argument(pattern, here + 1)
            found += inner
        elif character == "}" and nested:
            return found, here + 1
        else:
            here += 1
    return found, here


def _in_argument(pattern: str, start: int) -> tuple[list[Argument], int]:
    """The argument whose opening brace lies before `start`, then those inside it, and where it ends."""
    end = min(position for position in (pattern.find(",", start), pattern.find("}", start)) if position >= 0)
    name = pattern[start:end].strip()
    if pattern[end] == "}":
        return [Argument(name=name, kind="")], end + 1
    start, end = end + 1, min(p for p in (pattern.find(",", end + 1), pattern.find("}", end + 1)) if p >= 0)
    kind = pattern[start:end].strip().lower()
    if pattern[end] == "}":
        return [Argument(name=name, kind=kind)], end + 1
    if kind not in _COUNTED | {"select"}:
        after = _after_style(pattern, end + 1)
        return [Argument(name=name, kind=kind, style=pattern[end + 1 : after - 1].strip())], after
    forms: list[str] = []
    inner: list[Argument] = []
    here = end + 1
    while pattern[here] != "}":
        opening = pattern.find("{", here)
        closing = pattern.find("}", here)
        if opening < 0 or closing < opening:
            here = closing
            break
        forms.append(pattern[here:opening].rsplit(maxsplit=1)[-1])
        more, here = _in_message(pattern, opening + 1, nested=True, counted=kind in _COUNTED)
        inner += more
        here += len(pattern[here:]) - len(pattern[here:].lstrip())
    return [Argument(name=name, kind=kind, forms=frozenset(forms)), *inner], here + 1


def _after_style(pattern: str, start: int) -> int:
    """Where the argument ends whose style begins at `start`; braces may nest in it, and quotes hide them."""
    depth, here = 1, start
    while depth:
        character = pattern[here]
        if character == "'":
            here = pattern.find("'", here + 1)
        depth += (character == "{") - (character == "}")
        here += 1
    return here


def _after_quote(pattern: str, start: int, quotable: str) -> int:
    """Where text goes on after the apostrophe at `start`."""
    following = pattern[start + 1 : start + 2]
    if following == "'":
        return start + 2
    if not following or following not in quotable:
        return start + 1
    here = start + 1
    while here < len(pattern):
        if pattern[here] == "'":
            if pattern[here + 1 : here + 2] != "'":
                return here + 1
            here += 1
        here += 1
    return here
