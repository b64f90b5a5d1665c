"""What is wrong with templates as a programme uses them (SEMANTICS §11): languages, variables, plurals, links, size.

Which variables a template may use follows from the events that start the cascades which send it. A variable that no
member could get is an error, since nothing would ever be sent. A language or a plural form that is missing is a
warning: the message goes out in the next language, or with the form `other`.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Final
from zoneinfo import ZoneInfo

import orjson
from babel.core import Locale, UnknownLocaleError

from domain.programme.cascade_format import all_steps
from domain.programme.format import Definition
from domain.programme.template import Argument, PatternError, Rendered, TemplateText, arguments, link_variables, render
from domain.programme.variables import Variable, VariableType, shared_variables, variables_of

Found = Iterator[tuple[str, str]]
"""Problems as (path, message)."""

MAX_PUSH_BYTES: Final = 4_096
ENVELOPE_BYTES: Final = 840
"""What surrounds the texts of a push message at its longest: ids, labels, headers of three platforms."""

_TAKES: Final[Mapping[VariableType, frozenset[str]]] = {
    VariableType.TEXT: frozenset({"", "select"}),
    VariableType.WHOLE: frozenset({"", "number", "plural", "selectordinal", "select"}),
    VariableType.MONEY: frozenset({"", "number"}),
    VariableType.INSTANT: frozenset({"", "date", "time"}),
    VariableType.DAY: frozenset({"", "date"}),
}
_IN_LINKS: Final = frozenset({VariableType.TEXT, VariableType.WHOLE, VariableType.DAY})


@dataclass(slots=True)
class _Use:
    """How the cascades use a template: on which channels, and started by which events."""

    channels: set[str] = field(default_factory=set)
    events: list[str] = field(default_factory=list)


def check_templates(definition: Definition) -> Found:
    """The errors."""
    locales, uses = definition.locales, _uses(definition)
    for index, prefix in enumerate(definition.messaging.links):
        yield from _check_prefix(prefix, f"messaging.links.{index}")
    for name, texts in definition.templates.items():
        path, use = f"templates.{name}", uses.get(name, _Use())
        if locales.default in locales.supported and locales.default not in texts:
            yield path, f"Has no text in the default locale; add `{locales.default}: …`."
        for locale, text in texts.items():
            here = f"{path}.{locale}"
            if locale not in locales.supported:
                yield here, f"The locale {locale} is not supported; add it to locales.supported, or leave the text out."
                continue
            yield from _check_text(text, here, use)
            yield from _check_link(text, here, definition.messaging.links)
            if "PUSH" in use.channels:
                yield from _check_size(text, here, locale, use)


def warn_of_templates(definition: Definition) -> Found:
    """What is worth knowing and keeps nothing from being published."""
    locales, uses = definition.locales, _uses(definition)
    for name, texts in definition.templates.items():
        path = f"templates.{name}"
        if name not in uses:
            yield path, "No cascade sends it; drop it, or name it in a step."
        supported = [locale for locale in locales.supported if _is_known(locale)]
        missing = [locale for locale in supported if not _is_read(definition, locale, texts)]
        if missing:
            yield path, f"Has no text in {', '.join(missing)}; these members read it in {locales.default}."
        for locale, text in texts.items():
            if locale in supported:
                yield from _missing_forms(text, f"{path}.{locale}", locale)


def _uses(definition: Definition) -> dict[str, _Use]:
    uses: dict[str, _Use] = {}
    for cascade in definition.cascades:
        for step, _ in all_steps(cascade.steps, ""):
            names = [variant.template for variant in step.variants]
            for name in [*names, *([] if step.template is None else [step.template])]:
                use = uses.setdefault(name, _Use())
                use.channels |= set(step.send or ())
                if cascade.trigger.event not in use.events:
                    use.events.append(cascade.trigger.event)
    return uses


def _is_read(definition: Definition, locale: str, texts: Mapping[str, TemplateText]) -> bool:
    """Whether members of that language have the text in it, or in one that the programme names for them instead."""
    language, fallback = locale.partition("-")[0], definition.locales.fallback
    chain = (locale, language, *fallback.get(locale, fallback.get(language, ())))
    return any(other in texts for other in chain)


def _check_text(text: TemplateText, path: str, use: _Use) -> Found:
    if text.title is None and (wanting := sorted(use.channels & {"PUSH", "EMAIL"})):
        yield path, f"Has no title, which {' and '.join(wanting)} needs; add `title: …`."
    if not use.events:
        return
    shared = shared_variables(use.events)
    for key, pattern in (("title", text.title), ("body", text.body)):
        for argument in _once(arguments(pattern) if pattern is not None else ()):
            where = f"{path}.{key}"
            yield from _check_variable(argument.name, where, shared, use.events)
            if (variable := shared.get(argument.name)) is not None:
                yield from _check_kind(argument, variable, where)
        for name in _both_ways(pattern, shared):
            yield (
                f"{path}.{key}",
                f"{{{name}}} stands alone and with a format in one text; write it the same way everywhere.",
            )
    for name in dict.fromkeys(link_variables(text.link or "")):
        yield from _check_variable(name, f"{path}.link", shared, use.events)
        if (variable := shared.get(name)) is not None and variable.type not in _IN_LINKS:
            yield f"{path}.link", f"{{{name}}} is {variable.type.value.lower()}, which no link takes; leave it out."


def _check_variable(name: str, path: str, shared: Mapping[str, Variable], events: list[str]) -> Found:
    if name in shared:
        return
    without = [event for event in events if name not in variables_of(event)]
    known = ", ".join(sorted(shared))
    if without and len(without) < len(events):
        message = f"{{{name}}} is not known where the cascade starts by {', '.join(without)}; make another template."
        yield path, message
    else:
        yield path, f"There is no variable {{{name}}} here; known are {known}."


def _check_kind(argument: Argument, variable: Variable, path: str) -> Found:
    takes = _TAKES[variable.type]
    if argument.kind not in takes:
        shown = f"{{{argument.name}, {argument.kind}}}"
        forms = ", ".join(f"{{{argument.name}, {kind}}}" if kind else f"{{{argument.name}}}" for kind in sorted(takes))
        yield path, f"{shown} does not suit it: {argument.name} is {variable.type.value.lower()}. Write {forms}."


def _both_ways(pattern: str | None, shared: Mapping[str, Variable]) -> list[str]:
    """The sums and days that stand in a text alone, as we write them, and with a format of the author's."""
    found = arguments(pattern) if pattern is not None else ()
    alone = dict.fromkeys(argument.name for argument in found if not argument.kind)
    formatted = {argument.name for argument in found if argument.kind}
    kinds = {VariableType.MONEY, VariableType.DAY}
    return [name for name in alone if name in formatted and name in shared and shared[name].type in kinds]


def _check_prefix(link: str, path: str) -> Found:
    scheme, separator, rest = link.partition("://")
    if not separator or not scheme.isascii() or not scheme.replace("-", "").replace(".", "").isalnum():
        yield path, 'Must be the beginning of an address, such as "corner://" or "https://corner.example/".'
    elif scheme in {"http", "https"} and not rest.partition("/")[1]:
        yield path, "Has no / after the host, so that other hosts begin like it, too; add it."


def _check_link(text: TemplateText, path: str, allowed: Iterable[str]) -> Found:
    if text.link is not None and not any(text.link.startswith(prefix) for prefix in allowed):
        prefixes = ", ".join(allowed) or "none yet"
        yield (
            f"{path}.link",
            f"Begins with none of messaging.links ({prefixes}); change it, or add its beginning there.",
        )


def _check_size(text: TemplateText, path: str, locale: str, use: _Use) -> Found:
    longest = {name: variable.longest for name, variable in shared_variables(use.events).items()}
    try:
        rendered = render(text, locale, longest, zone=ZoneInfo("UTC"))
    except PatternError as error:
        yield path, str(error)
        return
    if isinstance(rendered, Rendered) and (size := push_bytes(rendered)) > MAX_PUSH_BYTES:
        yield (
            path,
            f"A push message has at most {MAX_PUSH_BYTES} bytes; filled at its longest this has {size}. Shorten it.",
        )


def push_bytes(rendered: Rendered) -> int:
    """How many bytes a push message of these texts has at most, on any platform; links and images are told twice."""
    texts = [rendered.title, rendered.body, *2 * [rendered.link], *2 * [rendered.image_url]]
    return ENVELOPE_BYTES + sum(len(orjson.dumps(text)) for text in texts if text is not None)


def _missing_forms(text: TemplateText, path: str, locale: str) -> Found:
    for key, pattern in (("title", text.title), ("body", text.body)):
        for argument in arguments(pattern) if pattern is not None else ():
            if argument.kind in {"plural", "selectordinal"}:
                wanting = [form for form in _forms(locale, argument.kind) if form not in argument.forms]
                if wanting:
                    forms = ", ".join(wanting)
                    message = f"{{{argument.name}, {argument.kind}}} lacks {forms} of {locale}; `other` is read there."
                    yield f"{path}.{key}", message


@lru_cache(maxsize=200)
def _is_known(locale: str) -> bool:
    """Whether CLDR has the language; one that it has not is a problem already."""
    try:
        Locale.parse(locale, sep="-")
    except (UnknownLocaleError, ValueError):
        return False
    return True


@lru_cache(maxsize=200)
def _forms(locale: str, kind: str) -> tuple[str, ...]:
    """The plural forms that whole numbers have in the language, by CLDR."""
    rules = Locale.parse(locale, sep="-")
    rule = rules.plural_form if kind == "plural" else rules.ordinal_form
    return tuple(sorted({rule(number) for number in (*range(1_001), 1_000_000)}))


def _once(found: Iterable[Argument]) -> Iterable[Argument]:
    return dict.fromkeys(found)
