"""What a programme means as a whole: the checks that need more than one value (SEMANTICS §11).

Each check yields problems with their path and a remedy; none stops another. A new mechanism adds its check to
`_CHECKS`. Ids are those of the source, so that a reference to something that is itself wrong is no second
problem.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import date
from functools import cache
from itertools import pairwise
from typing import Any, Final, get_args
from zoneinfo import available_timezones

from babel.core import Locale, UnknownLocaleError

from domain.ledger.expiry import Period, add_period
from domain.money import AmountError, exponent, to_minor
from domain.programme.badges import MAX_DISTINCT
from domain.programme.cascade_checks import check_cascades
from domain.programme.cascade_format import conditions_in
from domain.programme.cel import ConditionError, facts_read, ids_compared, is_condition
from domain.programme.cel import check as check_condition
from domain.programme.fields import Amount, Cel, Model, Reference, TextsMark
from domain.programme.format import Bonus, Challenge, Definition, Valid, groups_of, item_conditions
from domain.programme.problem import ProgrammeProblem, Severity
from domain.programme.template_checks import check_templates, warn_of_templates

Found = Iterator[tuple[str, str]]
"""Problems as (path, message)."""

_EPOCH: Final = date(2000, 1, 1)
_SECTIONS_WITH_IDS: Final = (
    "charities",
    "earning",
    "bonuses",
    "badges",
    "streaks",
    "stamp_cards",
    "challenges",
    "vouchers",
    "rewards",
    "plans",
    "segments",
    "places",
    "cascades",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Ids:
    """Section → the ids in it, as the source has them; `tiers` are the levels' ids, `regions` those of the places."""

    known: Mapping[str, frozenset[str]]

    @staticmethod
    def of(data: Mapping[str, Any]) -> "Ids":
        """The ids of a source, also of items that are otherwise wrong."""
        lists = {section: data.get(section) for section in _SECTIONS_WITH_IDS}
        tiers = data.get("tiers")
        lists["tiers"] = tiers.get("levels") if isinstance(tiers, dict) else None
        templates = data.get("templates")
        known = {section: _texts_in(items, "id") for section, items in lists.items()}
        known["templates"] = frozenset(templates) if isinstance(templates, dict) else frozenset()
        known["regions"] = _texts_in(lists["places"], "region")
        return Ids(known=known)


def check_definition(
    definition: Definition, *, ids: Ids, unknown: frozenset[str] = frozenset()
) -> list[ProgrammeProblem]:
    """All problems of sense. `unknown` names required keys that are wrong themselves: nothing is said of them."""
    marked = list(_marked(definition))
    checks: list[Found] = [check(definition) for check in _CHECKS]
    checks.append(_references(marked, ids))
    checks.append(_conditions(marked))
    checks += [_named_in_conditions(definition, ids), _counters(definition, ids), _regions(definition, ids)]
    if "currency" not in unknown:
        checks.append(_amounts(marked, definition.currency))
    if "locales" not in unknown:
        checks.append(_texts(marked, definition))
    problems = [
        ProgrammeProblem(path=path, message=message, severity=Severity.ERROR)
        for found in checks
        for path, message in found
        if path.partition(".")[0] not in unknown
    ]
    problems += [
        ProgrammeProblem(path=path, message=message, severity=Severity.WARNING)
        for path, message in _warnings(definition)
    ]
    return problems


def _amounts(marked: Iterable["_Marked"], currency: str) -> Found:
    try:
        exponent(currency)
    except AmountError as error:
        yield "currency", str(error)
        return
    for value in marked:
        if isinstance(value.mark, Amount):
            try:
                minor = to_minor(value.value, currency)
            except AmountError as error:
                yield value.path, str(error)
            else:
                if minor <= 0:
                    yield value.path, f"{value.value} gives nothing; an amount here is above zero."


def _references(marked: Iterable["_Marked"], ids: Ids) -> Found:
    for value in marked:
        if isinstance(value.mark, Reference):
            known = ids.known[value.mark.section]
            if value.value not in known:
                yield value.path, _unknown(value.value, value.mark.section, known)


def _conditions(marked: Iterable["_Marked"]) -> Found:
    for value in marked:
        if isinstance(value.mark, Cel):
            yield from _condition(value.path, value.value, value.mark.groups)


def _condition(path: str, source: str | None, groups: tuple[str, ...]) -> Found:
    if source is not None:
        try:
            check_condition(source, groups=groups)
        except ConditionError as error:
            yield path, str(error)


def _texts(marked: Iterable["_Marked"], definition: Definition) -> Found:
    default, supported = definition.locales.default, definition.locales.supported
    for value in marked:
        if isinstance(value.mark, TextsMark) and (value.value or value.is_required):
            for locale in value.value:
                if locale not in supported:
                    yield (
                        f"{value.path}.{locale}",
                        (f"The locale {locale} is not supported; add it to locales.supported, or leave the text out."),
                    )
            if default in supported and default not in value.value:
                yield value.path, f"Has no text in the default locale; add `{default}: …`."


def _zones(definition: Definition) -> Found:
    zones = {"time_zone": definition.time_zone}
    for index, place in enumerate(definition.places):
        if place.time_zone is not None:
            zones[f"places.{index}.time_zone"] = place.time_zone
    for path, zone in zones.items():
        if zone not in available_timezones():
            yield path, f"{zone!r} is not an IANA time zone, such as Europe/Ljubljana."


def _locales(definition: Definition) -> Found:
    locales = definition.locales
    for index, locale in enumerate(locales.supported):
        try:
            Locale.parse(locale, sep="-")
        except (UnknownLocaleError, ValueError):
            yield f"locales.supported.{index}", f"{locale!r} is not a known locale, such as sl or pt-BR."
    if locales.default not in locales.supported:
        yield "locales.default", f"{locales.default} is not in locales.supported; add it there."
    for locale, others in locales.fallback.items():
        for other in (locale, *others):
            if other not in locales.supported:
                yield f"locales.fallback.{locale}", f"{other} is not in locales.supported; add it there."


def _fallbacks(definition: Definition) -> Found:
    """A locale that falls back to itself, by however many others, would never come to an end."""
    fallback = definition.locales.fallback
    for locale in fallback:
        way, seen = list(fallback[locale]), set[str]()
        while way:
            other = way.pop()
            if other == locale:
                yield (
                    f"locales.fallback.{locale}",
                    f"{locale} falls back to itself; leave it out of what its fallbacks fall back to.",
                )
                break
            if other not in seen:
                seen.add(other)
                way += fallback.get(other, [])


def _duplicates(definition: Definition) -> Found:
    for section in _SECTIONS_WITH_IDS:
        items = getattr(definition, section)
        ids = [item.get("id") if isinstance(item, dict) else item.id for item in items]
        yield from _repeated(section, ids)
    if definition.tiers is not None:
        yield from _repeated("tiers.levels", [level.id for level in definition.tiers.levels])
    yield from _repeated("messaging.caps", [cap.id for cap in definition.messaging.caps])


def _plan_names(definition: Definition) -> Found:
    """A plan that multiplies explains itself by its id, as rules do."""
    rules = [rule.id for rule in definition.earning]
    for index, plan in enumerate(definition.plans):
        if plan.id in rules:
            yield f"plans.{index}.id", f"The id {plan.id} is taken by earning.{rules.index(plan.id)}; choose another."


def _repeated(section: str, ids: list[Any]) -> Found:
    for index, name in enumerate(ids):
        if name is not None and name in ids[:index]:
            yield (
                f"{section}.{index}.id",
                f"The id {name} is taken by {section}.{ids.index(name)}; choose another.",
            )


def _rule_conditions(definition: Definition) -> Found:
    for index, rule in enumerate(definition.earning):
        yield from _condition(f"earning.{index}.when", rule.when, groups_of(rule.event))
    for index, streak in enumerate(definition.streaks):
        yield from _condition(f"streaks.{index}.when", streak.when, groups_of(streak.event))
    for index, challenge in enumerate(definition.challenges):
        yield from _condition(f"challenges.{index}.when", challenge.when, groups_of(challenge.event))


def _named_in_conditions(definition: Definition, ids: Ids) -> Found:
    """Ids that conditions compare facts with: what does not exist can never be met."""
    known = {
        "member.tier": ("tiers", ids.known["tiers"]),
        "member.plan": ("plans", ids.known["plans"]),
        "member.segments": ("segments", ids.known["segments"]),
        "purchase.place": ("places", ids.known["places"]),
        "purchase.region": ("places' regions", ids.known["regions"]),
    }
    for path, source in _all_conditions(definition):
        for fact, name in ids_compared(source, facts=known):
            section, there = known[fact]
            if name and name not in there:
                yield path, _unknown(name, section, there)


def _all_conditions(definition: Definition) -> Iterator[tuple[str, str]]:
    """Every condition with its path."""
    for each in item_conditions(definition):
        if each.section != "cascades":
            yield f"{each.section}.{each.number}.{each.key}", each.source
    for index, cascade in enumerate(definition.cascades):
        yield from conditions_in(cascade, f"cascades.{index}").items()


def _segments(definition: Definition) -> Found:
    for index, segment in enumerate(definition.segments):
        if ("member", "segments") in facts_read(segment.when):
            yield (
                f"segments.{index}.when",
                "A segment does not see `member.segments`: they would turn in a circle; write the other's condition.",
            )


def _tiers(definition: Definition) -> Found:
    if definition.tiers is None:
        return
    last = -1
    for index, level in enumerate(definition.tiers.levels):
        path, threshold = f"tiers.levels.{index}.from", level.from_
        if definition.tiers.metric == "spend" and threshold != 0:
            if isinstance(threshold, int):
                yield path, f'Must be an amount in quotes, such as "{threshold}.00".'
                continue
            try:
                threshold = to_minor(threshold, definition.currency)
            except AmountError as error:
                yield path, str(error)
                continue
        elif isinstance(threshold, str):
            yield path, f"Must be a whole number of {definition.tiers.metric}, without quotes."
            continue
        if index == 0 and threshold != 0:
            yield path, "The lowest level is everybody's: it must begin at 0."
        if threshold <= last:
            yield path, "Does not rise: it must be above the level before it."
        last = threshold


def _rising(definition: Definition) -> Found:
    for index, badge in enumerate(definition.badges):
        yield from _not_rising(f"badges.{index}.levels", badge.levels, "")
    for index, streak in enumerate(definition.streaks):
        steps = [milestone.at for milestone in streak.milestones]
        yield from _not_rising(f"streaks.{index}.milestones", steps, ".at")
    for index, bonus in enumerate(definition.bonuses):
        days = [_length(growth.after) for growth in bonus.grows]
        yield from _not_rising(f"bonuses.{index}.grows", days, ".after")
        yield from _worth_not_rising(f"bonuses.{index}.grows", bonus, definition.currency)
        if days and max(days) >= _length(bonus.expires):
            yield f"bonuses.{index}.expires", "Expires before its last step; make it later, or drop the step."


def _worth_not_rising(path: str, bonus: Bonus, currency: str) -> Found:
    try:
        worths = [to_minor(worth, currency) for worth in (bonus.worth, *(growth.worth for growth in bonus.grows))]
    except AmountError:
        return
    for index, (before, after) in enumerate(pairwise(worths)):
        if after <= before:
            yield f"{path}.{index}.worth", "Does not rise: a step is worth more than what was before it."


def _not_rising(path: str, values: list[int], suffix: str) -> Found:
    for index, (before, after) in enumerate(pairwise(values), 1):
        if after <= before:
            yield f"{path}.{index}{suffix}", "Does not rise: it must be above the one before it."


def _counters(definition: Definition, ids: Ids) -> Found:
    streaks = ids.known["streaks"]
    counters = {f"badges.{index}.counts": badge.counts for index, badge in enumerate(definition.badges)}
    counters |= {f"challenges.{index}.counts": item.counts for index, item in enumerate(definition.challenges)}
    for path, counter in counters.items():
        kind, _, name = counter.partition(".")
        if kind == "streak" and name not in streaks:
            yield path, _unknown(name, "streaks", streaks)
    for index, challenge in enumerate(definition.challenges):
        yield from _event_that_counts(f"challenges.{index}.event", challenge)


def _events(definition: Definition) -> Found:
    """The n-th purchase of an item is known to its own rule alone."""
    for section in ("streaks", "challenges"):
        for index, item in enumerate(getattr(definition, section)):
            if item.event == "same_sku":
                yield f"{section}.{index}.event", "Only an earning rule has the event same_sku; make it purchase."


def _event_that_counts(path: str, challenge: Challenge) -> Found:
    """A challenge must hear of what it counts; any event may end with a longer streak."""
    kind = challenge.counts.partition(".")[0]
    if kind == "activity" and challenge.event != challenge.counts:
        yield path, f"Never counts {challenge.counts}: make it the event, or count something else."
    elif kind not in {"activity", "streak"} and challenge.event != "purchase":
        yield path, f"Only a purchase counts {challenge.counts}: make it the event, or count something else."


def _distinct(definition: Definition) -> Found:
    """A wallet remembers each of the distinct ones, so there is a limit to how many a programme may ask for."""
    asked = [
        (f"badges.{at}.levels.{len(each.levels) - 1}", each.counts, each.levels[-1])
        for at, each in enumerate(definition.badges)
    ]
    asked += [(f"challenges.{at}.target", each.counts, each.target) for at, each in enumerate(definition.challenges)]
    for path, counts, most in asked:
        if counts.startswith("distinct_") and most > MAX_DISTINCT:
            yield path, f"Is too many to remember for each member; at most {MAX_DISTINCT} distinct ones are counted."


def _windows(definition: Definition) -> Found:
    for index, challenge in enumerate(definition.challenges):
        if challenge.from_ >= challenge.until:
            yield f"challenges.{index}.until", "Ends before it starts: `until` is the first day after it."


def _regions(definition: Definition, ids: Ids) -> Found:
    regions = ids.known["regions"]
    for index, rule in enumerate(definition.earning):
        for number, region in enumerate(rule.pilot.regions if rule.pilot else []):
            if region not in regions:
                yield f"earning.{index}.pilot.regions.{number}", _unknown(region, "places' regions", regions)


def _top_up_limits(definition: Definition) -> Found:
    limits = definition.prepaid.limits
    try:
        least, most = (
            None if amount is None else to_minor(amount, definition.currency)
            for amount in (limits.top_up_min, limits.top_up_max)
        )
    except AmountError:
        return
    if least is not None and most is not None and least > most:
        yield "prepaid.limits.top_up_max", "Is below top_up_min, so no top-up would be taken; raise it."


def _warnings(definition: Definition) -> Found:
    events = {rule.event for rule in definition.earning if rule.award is not None}
    for index, rule in enumerate(definition.earning):
        if rule.multiply is not None and rule.event not in events:
            yield f"earning.{index}", f"Multiplies nothing: no rule gives an award for {rule.event}."
    for path, source in _all_conditions(definition):
        if not facts_read(source) and is_condition(source):
            yield path, "Reads no fact, so it is always the same; leave it out, or name what it depends on."
    yield from _never_together(definition)
    yield from warn_of_templates(definition)


def _never_together(definition: Definition) -> Found:
    """A multiplier whose days are over before any award of its event begins, or the other way round."""
    for index, rule in enumerate(definition.earning):
        awards = [other for other in definition.earning if other.event == rule.event and other.award is not None]
        if rule.multiply is not None and awards and not any(_overlap(rule.valid, other.valid) for other in awards):
            yield (
                f"earning.{index}.valid",
                f"Multiplies nothing: on these days no rule gives an award for {rule.event}.",
            )


def _overlap(one: Valid | None, other: Valid | None) -> bool:
    first = max((valid and valid.from_) or date.min for valid in (one, other))
    return first < min((valid and valid.until) or date.max for valid in (one, other))


_CHECKS: Final[tuple[Callable[[Definition], Found], ...]] = (
    _zones,
    _locales,
    _fallbacks,
    _duplicates,
    _plan_names,
    _rule_conditions,
    _segments,
    _tiers,
    _rising,
    _distinct,
    _events,
    _windows,
    _top_up_limits,
    check_cascades,
    check_templates,
)


@dataclass(frozen=True, slots=True)
class _Marked:
    path: str
    mark: object
    value: Any
    is_required: bool


def _marked(model: Model, path: str = "") -> Iterator[_Marked]:
    """Every value below the model whose type carries a mark of the format, in order."""
    for name, key, marks, is_required in _fields(type(model)):
        value = getattr(model, name)
        where = f"{path}.{key}" if path else key
        if isinstance(value, Model):
            yield from _marked(value, where)
        elif isinstance(value, list):
            for index, item in enumerate(value):
                if isinstance(item, Model):
                    yield from _marked(item, f"{where}.{index}")
                else:
                    yield from (_Marked(f"{where}.{index}", mark, item, is_required) for mark in marks)
        elif value is not None:
            yield from (_Marked(where, mark, value, is_required) for mark in marks)


@cache
def _fields(model: type[Model]) -> tuple[tuple[str, str, tuple[object, ...], bool], ...]:
    """(name, key in the YAML, marks, whether it must be there) of each field."""
    return tuple(
        (
            name,
            field.alias or name,
            (*_marks(field.metadata), *_marks_below(field.annotation)),
            field.is_required(),
        )
        for name, field in model.model_fields.items()
    )


def _marks(metadata: Iterable[object]) -> tuple[object, ...]:
    kinds = (Amount, Cel, Reference, TextsMark)
    return tuple(item for item in metadata if isinstance(item, kinds))


def _marks_below(annotation: object) -> tuple[object, ...]:
    found = _marks(getattr(annotation, "__metadata__", ()))
    for argument in get_args(annotation):
        found += _marks_below(argument)
    return tuple(dict.fromkeys(found))


def _texts_in(items: object, key: str) -> frozenset[str]:
    """The texts that the items have under that key."""
    if not isinstance(items, list):
        return frozenset()
    found = [item.get(key) for item in items if isinstance(item, dict)]
    return frozenset(text for text in found if isinstance(text, str))


def _length(period: Period) -> int:
    return (add_period(_EPOCH, period) - _EPOCH).days


def _unknown(name: str, section: str, known: Iterable[str]) -> str:
    listed = ", ".join(sorted(known)) or "none yet"
    return f"There is no {name} in {section}; there are {listed}."
