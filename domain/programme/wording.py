"""What the programme tells a member about itself: why points came, how to earn them, when they expire.

The author's own text wins, in the member's language or what the programme falls back to. Where there is none
a sentence is made from the rule, with the amounts, numbers and dates of the language (CLDR).
"""

import re
from collections.abc import Iterator, Mapping
from datetime import date, timedelta
from decimal import Decimal
from fractions import Fraction
from functools import lru_cache

from babel.core import Locale, UnknownLocaleError
from babel.dates import format_skeleton
from babel.numbers import format_currency, format_decimal, format_percent

from domain.ledger.expiry import ExpiryKind, LotPolicy, Period
from domain.programme.earning import ExplanationRow
from domain.programme.fields import Model
from domain.programme.format import Award, EarningRule, FixedAward, Multiply
from domain.programme.programme import Programme
from domain.programme.words import WORDS

_TIER = re.compile(r"""\s*member\.tier\s*==\s*(["'])([\w-]+)\1\s*""", re.ASCII)


def explain(programme: Programme, row: ExplanationRow, locale: str) -> str:
    """The row's text for a member with that locale. A rule that the programme does not have is named by its id."""
    rule = programme.rules_by_id.get(row.rule)
    speech = _Speech(programme, locale)
    if row.step == "multiplier" and (plan := programme.plans.get(row.rule)) is not None:
        return speech.pick(plan.name)
    if (name := _name_in(programme, row.step, row.rule)) is not None:
        return speech.pick(name)
    if rule is None:
        return row.rule
    if row.step == "limit":
        return _limit(speech, rule, row)
    return speech.pick(rule.text) or _sentence(speech, rule)


def _name_in(programme: Programme, section: str, identifier: str) -> Mapping[str, str] | None:
    """The name of that item of a mechanism's section; None for a step that is no such section."""
    items = getattr(programme.definition, section, None)
    for item in items if isinstance(items, list) else ():
        if isinstance(item, Model) and getattr(item, "id", None) == identifier:
            names: Mapping[str, str] | None = getattr(item, "name", None)
            return names
    return None


def ways_to_earn(programme: Programme, locale: str, *, on: date | None = None) -> list[str]:
    """One sentence for each way: the earning rules, then what mechanisms, plans and referrals give, in their order.

    Only of those in force on the programme's day when one is given.
    """
    speech = _Speech(programme, locale)
    rules = [
        ", ".join((speech.pick(rule.text) or _sentence(speech, rule), *_restrictions(speech, rule)))
        for rule in programme.definition.earning
        if on is None or _is_valid(rule, on)
    ]
    return [*rules, *_beside_rules(speech, on)]


def expiry_policy(programme: Programme, locale: str) -> str:
    """How long points and cashback live, one sentence each."""
    speech = _Speech(programme, locale)
    parts = [_lifetime(speech, "asset.points", programme.points)]
    gives_cashback = any(rule.award and rule.award.cashback for rule in programme.definition.earning)
    if gives_cashback or programme.definition.conversion is not None:
        parts.append(_lifetime(speech, "asset.cashback", programme.cashback))
    return " ".join(f"{part}." for part in parts)


def localised(programme: Programme, texts: Mapping[str, str], locale: str) -> str:
    """The text for a member with that locale, by the programme's fallback; empty when there are no texts."""
    return _Speech(programme, locale).pick(texts)


def locales_for(programme: Programme, locale: str) -> Iterator[str]:
    """The locales to try for a member with that one, best first; the programme's default is the last."""
    locales = programme.definition.locales
    language = locale.replace("_", "-").partition("-")[0]
    yield locale
    yield language
    yield from locales.fallback.get(locale, locales.fallback.get(language, ()))
    yield locales.default


class _Speech:
    """One member's language: texts picked by fallback, phrases filled, numbers written its way."""

    def __init__(self, programme: Programme, locale: str) -> None:
        self.programme = programme
        self._locales = tuple(dict.fromkeys(locales_for(programme, locale)))
        language = next((name for name in self._locales if name in WORDS), "en")
        self._words = WORDS[language]
        self._cldr = _cldr(locale, language)

    def pick(self, texts: Mapping[str, str]) -> str:
        for locale in self._locales:
            if locale in texts:
                return texts[locale]
        return next(iter(texts.values()), "")

    def say(self, phrase: str, **values: str) -> str:
        return self._words[phrase].format(**values)

    def count(self, noun: str, number: int) -> str:
        form = f"{noun}.{self._cldr.plural_form(number)}"
        phrase = form if form in self._words else f"{noun}.other"
        return self.say(phrase, n=format_decimal(number, locale=self._cldr))

    def points(self, number: int) -> str:
        return self.count("points", number)

    def money(self, amount: str) -> str:
        return format_currency(Decimal(amount), self.programme.currency, locale=self._cldr)

    def percent(self, percent: Fraction) -> str:
        return format_percent(_decimal(percent / 100), "#,##0.####%", locale=self._cldr)

    def factor(self, factor: Fraction) -> str:
        return format_decimal(_decimal(factor), locale=self._cldr)

    def day(self, day: date) -> str:
        return format_skeleton("yMd", day, locale=self._cldr)

    def period(self, period: Period) -> str:
        parts = (("months", period.years * 12 + period.months), ("days", period.days))
        return " ".join(self.count(noun, number) for noun, number in parts if number)


@lru_cache(maxsize=256)
def _cldr(locale: str, language: str) -> Locale:
    """The member's own locale if it speaks that language, so that `en-GB` has its own dates; else the language."""
    try:
        known = Locale.parse(locale.replace("_", "-"), sep="-")
    except (UnknownLocaleError, ValueError, TypeError):
        return Locale(language)
    return known if known.language == language else Locale(language)


def _beside_rules(speech: _Speech, on: date | None) -> Iterator[str]:
    """What gives something without an earning rule, by its name."""
    definition = speech.programme.definition
    for streak in definition.streaks:
        for milestone in streak.milestones:
            yield f"{speech.pick(streak.name)} × {milestone.at}: {_fixed(speech, milestone.award)}"
    for card in definition.stamp_cards:
        yield f"{speech.pick(card.name)} × {card.size}: {_fixed(speech, card.award)}"
    for challenge in definition.challenges:
        if on is None or challenge.from_ <= on < challenge.until:
            until = speech.say("until", date=speech.day(challenge.until - timedelta(days=1)))
            yield f"{speech.pick(challenge.name)}: {_fixed(speech, challenge.award)}, {until}"
    for plan in definition.plans:
        if plan.multiply is not None:
            yield f"{speech.pick(plan.name)}: {_factors(speech, plan.multiply)}"
    if definition.referral is not None:
        for event, award in (("referral", definition.referral.referrer), ("referred", definition.referral.friend)):
            yield f"{speech.say(f'event.{event}')}: {_fixed(speech, award)}, {speech.say('conditions')}"


def _sentence(speech: _Speech, rule: EarningRule) -> str:
    if rule.multiply is not None:
        return _multiplied(speech, rule, rule.multiply)
    assert rule.award is not None, rule
    given = " + ".join(_given(speech, rule.award))
    if rule.lines is not None:
        given = f"{given} {speech.say('selected')}"
    event = _event(speech, rule)
    return f"{event}: {given}" if event else given


def _given(speech: _Speech, award: Award) -> Iterator[str]:
    if award.points is not None:
        if award.points.per is not None:
            points = speech.points(award.points.give or 0)
            yield speech.say("per", points=points, amount=speech.money(award.points.per))
        else:
            yield speech.points(award.points.fixed or 0)
    if award.cashback is not None:
        if award.cashback.percent is not None:
            yield speech.say("percent", percent=speech.percent(award.cashback.percent))
        else:
            yield speech.say("amount", amount=speech.money(award.cashback.amount or "0"))
    yield from _handed_out(speech, award.voucher, award.bonus)


def _fixed(speech: _Speech, award: FixedAward) -> str:
    """What an award gives that is not counted from money."""
    parts = [] if award.points is None else [speech.points(award.points)]
    parts += [] if award.cashback is None else [speech.say("amount", amount=speech.money(award.cashback))]
    return " + ".join((*parts, *_handed_out(speech, award.voucher, award.bonus)))


def _handed_out(speech: _Speech, voucher: str | None, bonus: str | None) -> Iterator[str]:
    definition = speech.programme.definition
    if voucher is not None:
        names = {kind.id: kind.name for kind in definition.vouchers}
        yield speech.say("voucher", name=speech.pick(names.get(voucher, {})) or voucher)
    if bonus is not None:
        worths = {kind.id: speech.pick(kind.name) or speech.money(kind.worth) for kind in definition.bonuses}
        yield speech.say("bonus", amount=worths.get(bonus, bonus))


def _factors(speech: _Speech, multiply: Multiply) -> str:
    """What is multiplied, whatever the condition."""
    factors = (("points", multiply.points), ("cashback", multiply.cashback))
    return ", ".join(
        f"{speech.say(f'asset.{asset}')} {speech.say('times', factor=speech.factor(factor))}"
        for asset, factor in factors
        if factor is not None
    )


def _multiplied(speech: _Speech, rule: EarningRule, multiply: Multiply) -> str:
    tiers = speech.programme.definition.tiers
    names = {level.id: level.name for level in tiers.levels} if tiers else {}
    tier = _TIER.fullmatch(rule.when or "")
    said = []
    for asset, factor in (("points", multiply.points), ("cashback", multiply.cashback)):
        if factor is not None:
            times = speech.factor(factor)
            if tier and tier[2] in names:
                phrase = speech.say("times_tier", factor=times, tier=speech.pick(names[tier[2]]))
            else:
                phrase = speech.say("times", factor=times)
            said.append(f"{speech.say(f'asset.{asset}')} {phrase}")
    return ", ".join(said)


def _event(speech: _Speech, rule: EarningRule) -> str:
    if rule.event == "purchase":
        return ""
    if rule.event.startswith("activity."):
        name = rule.event.removeprefix("activity.").replace("_", " ")
        return name[:1].upper() + name[1:]
    return speech.say(f"event.{rule.event}", nth=str(rule.nth or ""))


def _limit(speech: _Speech, rule: EarningRule, row: ExplanationRow) -> str:
    """Which limit took the row's value: that of the period, else that of one purchase."""
    limit, cashback = rule.limit, rule.award.cashback if rule.award else None
    if row.points and limit is not None and limit.points is not None:
        what, per = speech.points(limit.points), limit.per
    elif limit is not None and limit.cashback is not None:
        what, per = speech.money(limit.cashback), limit.per
    elif cashback is not None and cashback.max is not None:
        return speech.say("limit", what=speech.money(cashback.max), per=speech.say("per.purchase"))
    else:
        return rule.id
    return speech.say("limit", what=what, per=speech.say(f"per.{per}"))


def _restrictions(speech: _Speech, rule: EarningRule) -> Iterator[str]:
    if (rule.when is not None and not _TIER.fullmatch(rule.when)) or rule.pilot is not None:
        yield speech.say("conditions")
    if rule.limit is not None:
        per = speech.say(f"per.{rule.limit.per}")
        if rule.limit.count is not None:
            yield speech.say("at_most", what=f"{rule.limit.count} ×", per=per)
        if rule.limit.points is not None:
            yield speech.say("at_most", what=speech.points(rule.limit.points), per=per)
        if rule.limit.cashback is not None:
            yield speech.say("at_most", what=speech.money(rule.limit.cashback), per=per)
    if rule.award is not None and rule.award.cashback is not None and rule.award.cashback.max is not None:
        most = speech.money(rule.award.cashback.max)
        yield speech.say("at_most", what=most, per=speech.say("per.purchase"))
    if rule.valid is not None and rule.valid.until is not None:
        yield speech.say("until", date=speech.day(rule.valid.until - timedelta(days=1)))


def _is_valid(rule: EarningRule, on: date) -> bool:
    if rule.valid is None:
        return True
    return (rule.valid.from_ or date.min) <= on < (rule.valid.until or date.max)


def _lifetime(speech: _Speech, asset: str, policy: LotPolicy) -> str:
    expiry, parts = policy.expiry, []
    if policy.pending is not None:
        parts.append(speech.say("pending", period=speech.period(policy.pending)))
    after = "" if expiry.after is None else speech.period(expiry.after)
    match expiry.kind:
        case ExpiryKind.ROLLING | ExpiryKind.INACTIVITY:
            parts.append(speech.say(expiry.kind.value, period=after))
        case ExpiryKind.CALENDAR | ExpiryKind.NONE:
            parts.append(speech.say(expiry.kind.value))
    if expiry.round_to is not None:
        parts.append(speech.say(expiry.round_to.value))
    return f"{speech.say(asset)}: {', '.join(parts)}"


def _decimal(fraction: Fraction) -> Decimal:
    return Decimal(fraction.numerator) / Decimal(fraction.denominator)
