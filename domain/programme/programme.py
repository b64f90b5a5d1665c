"""A published programme, compiled: what commands decide by. Immutable; one value per version.

Compiling turns amounts into minor units, rates into whole-number fractions and conditions into programs, so
that earning is integer arithmetic. It expects a definition that `checks.read_definition` has passed.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date
from fractions import Fraction
from types import MappingProxyType
from zoneinfo import ZoneInfo

from domain.ledger.expiry import ExpiryPolicy, LotPolicy, Period
from domain.money import to_minor
from domain.programme.cascade import CompiledCascade, compile_cascades
from domain.programme.cel import Condition, facts_read
from domain.programme.format import (
    ACTIVITY_PREFIX,
    Bonus,
    Definition,
    EarningRule,
    Expiry,
    Place,
    Plan,
    Reward,
    VoucherKind,
    item_conditions,
)
from domain.programme.format import Limit as LimitSection
from domain.programme.format import Pilot as PilotSection
from domain.programme.format import Tiers as TiersSection
from domain.programme.period import Per
from domain.programme.tiers import Level, Tiers

PILOT_SCALE = 1_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Rate:
    """An exact award of one asset in its unit: `numerator` ÷ `denominator`, for each minor unit unless `fixed`."""

    numerator: int
    denominator: int = 1
    fixed: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Limit:
    """At most `count` awards and `amount` of the asset per member and period; None for no bound."""

    per: Per
    count: int | None
    points: int | None
    cashback_minor: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Pilot:
    """Where and for whom a rule is in force; `share` is of :data:`PILOT_SCALE`, None for everybody."""

    places: frozenset[str]
    regions: frozenset[str]
    share: int | None
    salt: str

    def holds(self, *, member: str, place: str | None, region: str | None) -> bool:
        """Whether that member's event there is part of the pilot: any of the places or regions, and the share."""
        if (self.places or self.regions) and place not in self.places and region not in self.regions:
            return False
        return self.share is None or stable_share(self.salt, member) < self.share


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """What award rules and multipliers have in common. `valid_from` and `valid_until` are `[from, until)`."""

    id: str
    condition: Condition | None
    valid_from: date
    valid_until: date
    pilot: Pilot | None
    reporters: frozenset[str] | None


@dataclass(frozen=True, slots=True, kw_only=True)
class AwardRule(Rule):
    """`lines` narrows the money that counts to the lines that match; `cashback_max_minor` is per award."""

    lines: Condition | None
    points: Rate | None
    cashback: Rate | None
    cashback_max_minor: int | None
    voucher: str | None
    bonus: str | None
    limit: Limit | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Multiplier(Rule):
    """A factor for each asset, in lowest terms; 1 where the rule does not multiply it."""

    points: Fraction
    cashback: Fraction


@dataclass(frozen=True, slots=True, kw_only=True)
class EventRules:
    """The rules of one event, in the programme's order."""

    awards: tuple[AwardRule, ...] = ()
    multipliers: tuple[Multiplier, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Programme:
    """One version in force. `digest` is the SHA-256 of its source, hexadecimal, empty when it has none.

    `closed` are the closed days by place, where there are any. `conditions` are those of mechanisms, by section, id
    and key (`when` or `lines`). `sees_segments` says that a condition of a rule or a mechanism asks for them.
    """

    version: int
    definition: Definition = field(repr=False)
    digest: str
    currency: str
    zone: ZoneInfo
    late_days: int
    points: LotPolicy
    cashback: LotPolicy
    refund_grace: Period
    rules: Mapping[str, EventRules] = field(repr=False)
    rules_by_id: Mapping[str, EarningRule] = field(repr=False)
    tiers: Tiers | None = field(repr=False)
    places: Mapping[str, Place] = field(repr=False)
    closed: Mapping[str, frozenset[date]] = field(repr=False)
    vouchers: Mapping[str, VoucherKind] = field(repr=False)
    bonuses: Mapping[str, Bonus] = field(repr=False)
    rewards: Mapping[str, Reward] = field(repr=False)
    plans: Mapping[str, Plan] = field(repr=False)
    plan_multipliers: Mapping[str, Multiplier] = field(repr=False)
    conditions: Mapping[tuple[str, str, str], Condition] = field(repr=False)
    cascades: Mapping[str, CompiledCascade] = field(repr=False)
    sees_segments: bool


def compile_programme(definition: Definition, version: int, *, digest: str = "") -> Programme:
    """The programme of a definition without errors. Pure; takes a few milliseconds."""
    return Programme(
        version=version,
        definition=definition,
        digest=digest,
        currency=definition.currency,
        zone=ZoneInfo(definition.time_zone),
        late_days=definition.late_days,
        points=LotPolicy(pending=definition.points.pending, expiry=_expiry(definition.points.expiry)),
        cashback=LotPolicy(pending=definition.cashback.pending, expiry=_expiry(definition.cashback.expiry)),
        refund_grace=definition.points.refund_grace,
        rules=MappingProxyType(_rules(definition)),
        rules_by_id=MappingProxyType({rule.id: rule for rule in definition.earning}),
        tiers=None if definition.tiers is None else _tiers(definition.tiers, definition.currency),
        places=MappingProxyType({place.id: place for place in definition.places}),
        closed=MappingProxyType({place.id: frozenset(place.closed) for place in definition.places if place.closed}),
        vouchers=MappingProxyType({voucher.id: voucher for voucher in definition.vouchers}),
        bonuses=MappingProxyType({bonus.id: bonus for bonus in definition.bonuses}),
        rewards=MappingProxyType({reward.id: reward for reward in definition.rewards}),
        plans=MappingProxyType({plan.id: plan for plan in definition.plans}),
        plan_multipliers=MappingProxyType(_plan_multipliers(definition)),
        conditions=MappingProxyType(_mechanism_conditions(definition)),
        cascades=MappingProxyType(compile_cascades(definition.cascades)),
        sees_segments=_sees_segments(definition),
    )


def digest_of(source: str) -> str:
    """SHA-256 of a programme's source, hexadecimal."""
    return hashlib.sha256(source.encode()).hexdigest()


def stable_share(salt: str, member: str) -> int:
    """A number in `[0, PILOT_SCALE)` that is the member's own for that salt, for ever and in every process."""
    digest = hashlib.sha256(f"{salt}\0{member}".encode()).digest()
    return int.from_bytes(digest[:8]) % PILOT_SCALE


def _rules(definition: Definition) -> dict[str, EventRules]:
    events: dict[str, EventRules] = {}
    for event in dict.fromkeys(rule.event for rule in definition.earning):
        rules = [rule for rule in definition.earning if rule.event == event]
        events[event] = EventRules(
            awards=tuple(_award(rule, definition) for rule in rules if rule.award is not None),
            multipliers=tuple(_multiplier(rule, definition) for rule in rules if rule.multiply is not None),
        )
    return events


def _award(rule: EarningRule, definition: Definition) -> AwardRule:
    award, currency = rule.award, definition.currency
    assert award is not None, rule
    points = cashback = None
    if award.points is not None:
        if award.points.per is not None:
            assert award.points.give is not None, rule
            points = Rate(numerator=award.points.give, denominator=to_minor(award.points.per, currency))
        else:
            assert award.points.fixed is not None, rule
            points = Rate(numerator=award.points.fixed, fixed=True)
    if award.cashback is not None:
        if award.cashback.percent is not None:
            numerator, denominator = (award.cashback.percent / 100).as_integer_ratio()
            cashback = Rate(numerator=numerator, denominator=denominator)
        else:
            assert award.cashback.amount is not None, rule
            cashback = Rate(numerator=to_minor(award.cashback.amount, currency), fixed=True)
    return AwardRule(
        id=rule.id,
        condition=_condition(rule.when, rule.id),
        valid_from=_valid_from(rule),
        valid_until=_valid_until(rule),
        pilot=_pilot(rule.pilot, definition.programme, rule.id),
        reporters=_reporters(rule),
        lines=_condition(rule.lines, rule.id),
        points=points,
        cashback=cashback,
        cashback_max_minor=_minor(award.cashback.max if award.cashback else None, currency),
        voucher=award.voucher,
        bonus=award.bonus,
        limit=_limit(rule.limit, currency),
    )


def _multiplier(rule: EarningRule, definition: Definition) -> Multiplier:
    assert rule.multiply is not None, rule
    return Multiplier(
        id=rule.id,
        condition=_condition(rule.when, rule.id),
        valid_from=_valid_from(rule),
        valid_until=_valid_until(rule),
        pilot=_pilot(rule.pilot, definition.programme, rule.id),
        reporters=None if rule.reported_by is None else frozenset(rule.reported_by),
        points=rule.multiply.points or Fraction(1),
        cashback=rule.multiply.cashback or Fraction(1),
    )


def _plan_multipliers(definition: Definition) -> dict[str, Multiplier]:
    """Plan → what it multiplies on purchases; plans that multiply nothing are left out."""
    return {
        plan.id: Multiplier(
            id=plan.id,
            condition=None,
            valid_from=date.min,
            valid_until=date.max,
            pilot=None,
            reporters=None,
            points=plan.multiply.points or Fraction(1),
            cashback=plan.multiply.cashback or Fraction(1),
        )
        for plan in definition.plans
        if plan.multiply is not None
    }


def _mechanism_conditions(definition: Definition) -> dict[tuple[str, str, str], Condition]:
    """The conditions of every section but the earning rules', which have their own."""
    return {
        (each.section, each.item, each.key): Condition(each.source, rule=f"{each.section}.{each.item}")
        for each in item_conditions(definition)
        if each.section != "earning"
    }


def _sees_segments(definition: Definition) -> bool:
    """Whether a condition on what happens asks for the member's segments; messages find them out by themselves."""
    return any(
        ("member", "segments") in facts_read(each.source)
        for each in item_conditions(definition)
        if each.section != "cascades"
    )


def _condition(source: str | None, rule: str) -> Condition | None:
    return None if source is None else Condition(source, rule=rule)


def _reporters(rule: EarningRule) -> frozenset[str] | None:
    """Who may report for the award. Members report only what a rule lets them: without a word it is the others."""
    if rule.reported_by is not None:
        return frozenset(rule.reported_by)
    return frozenset({"partner", "staff"}) if rule.event.startswith(ACTIVITY_PREFIX) else None


def _valid_from(rule: EarningRule) -> date:
    return (rule.valid and rule.valid.from_) or date.min


def _valid_until(rule: EarningRule) -> date:
    return (rule.valid and rule.valid.until) or date.max


def _pilot(pilot: PilotSection | None, programme: str, rule: str) -> Pilot | None:
    if pilot is None:
        return None
    return Pilot(
        places=frozenset(pilot.places),
        regions=frozenset(pilot.regions),
        share=None if pilot.percent is None else int(pilot.percent * PILOT_SCALE / 100),
        salt=f"{programme}\0{rule}",
    )


def _limit(limit: LimitSection | None, currency: str) -> Limit | None:
    if limit is None:
        return None
    return Limit(
        per=limit.per,
        count=limit.count,
        points=limit.points,
        cashback_minor=_minor(limit.cashback, currency),
    )


def _minor(amount: str | None, currency: str) -> int | None:
    return None if amount is None else to_minor(amount, currency)


def _expiry(expiry: Expiry) -> ExpiryPolicy:
    return ExpiryPolicy(kind=expiry.policy, after=expiry.after, round_to=expiry.round_to)


def _tiers(tiers: TiersSection, currency: str) -> Tiers:
    return Tiers(
        metric=tiers.metric,
        rolling=tiers.window.length if tiers.window.policy == "rolling" else None,
        downgrade=tiers.review.downgrade,
        levels=tuple(
            Level(
                id=level.id,
                threshold=level.from_ if isinstance(level.from_, int) else to_minor(level.from_, currency),
            )
            for level in tiers.levels
        ),
    )
