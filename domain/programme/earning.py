"""What an event earns under a programme (SEMANTICS §3.2 to §3.4, §3.7). Pure: previewing and recording are one.

Every award rule is counted by itself: its exact amount, times all multipliers of the asset that match, then
its limit, then one floor. All arithmetic is in whole numbers. The rows of an explanation add up to the award.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime
from typing import Any, Final, NamedTuple

from domain.programme.facts import MemberFacts
from domain.programme.period import period_key
from domain.programme.programme import AwardRule, EventRules, Multiplier, Programme, Rate, Rule

Step = str
"""Of a rule: `award`, `multiplier`, `limit`; of a command: `return`, `adjustment`, `referral`; else the section of the
mechanism that gave it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Used:
    """What a rule gave a member within one period: how often, points (or what else it counts), and cashback."""

    count: int
    amount: int
    cashback_minor: int = 0

    def plus(self, change: "UsageChange") -> "Used":
        """With one more award."""
        return Used(
            count=self.count + change.count,
            amount=self.amount + change.amount,
            cashback_minor=self.cashback_minor + change.cashback_minor,
        )


Usage = Mapping[str, Mapping[str, Used]]
"""Rule id → period key → what was used. Only rules with a limit need to be in it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One line of a receipt; `amount_minor` may be 0."""

    sku: str
    category: str | None = None
    brand: str | None = None
    quantity: int = 1
    amount_minor: int


@dataclass(frozen=True, slots=True, kw_only=True)
class PurchaseEvent:
    """A receipt. `eligible_minor` is the part of `total_minor` that was paid by tender that earns cashback.

    `lines` are empty or add up to the total. `place` and `region` are those of the shop, None if not told.
    """

    total_minor: int
    eligible_minor: int
    occurred_at: datetime
    place: str | None = None
    region: str | None = None
    lines: tuple[Line, ...] = ()

    def __post_init__(self) -> None:
        assert 0 <= self.eligible_minor <= self.total_minor, self
        assert self.total_minor > 0, self


class ExplanationRow(NamedTuple):
    """What one rule gave (`award`), what a multiplier added, or what the rule's limit took away (negative)."""

    rule: str
    step: Step
    points: int
    cashback_minor: int


@dataclass(frozen=True, slots=True, kw_only=True)
class UsageChange:
    """What this award adds to the rule's :class:`Used` of that period.

    Points and cashback alike, whatever the limit is by: a new version may limit the rule by the other.
    """

    rule: str
    period: str
    count: int
    amount: int
    cashback_minor: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class VoucherAward:
    """A voucher of a kind. `keeps_from_minor` is the least total for which the rule gives it (SEMANTICS §4.4).

    Conditions are taken to hold from some total on; it is 0 for what no purchase gave. `sku` narrows it to an item.
    """

    kind: str
    keeps_from_minor: int = 0
    sku: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class BonusAward:
    """A growing bonus of a kind; `keeps_from_minor` is as for a voucher."""

    kind: str
    keeps_from_minor: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Earnings:
    """What an event gives. `rows` of each asset add up to its award.

    `used_up` are the rules that would have given, had their limits left them anything.
    """

    points: int = 0
    cashback_minor: int = 0
    rows: tuple[ExplanationRow, ...] = ()
    used: tuple[UsageChange, ...] = ()
    vouchers: tuple[VoucherAward, ...] = ()
    bonuses: tuple[BonusAward, ...] = ()
    used_up: tuple[str, ...] = ()


NOTHING_USED: Final = Used(count=0, amount=0)
_NO_RULES: Final = EventRules()


@dataclass(frozen=True, slots=True, kw_only=True)
class _Moment:
    """The event as the rules see it: `facts` by group, `total_minor` what rates count from, 0 for none."""

    day: date
    facts: Mapping[str, Mapping[str, Any]]
    member: str
    place: str | None = None
    region: str | None = None
    reporter: str | None = None
    total_minor: int = 0
    eligible_minor: int = 0
    lines: tuple[Line, ...] = ()


def earn_purchase(
    programme: Programme,
    event: PurchaseEvent,
    *,
    member: MemberFacts,
    usage: Usage,
    facts: Mapping[str, Mapping[str, Any]] | None = None,
) -> Earnings:
    """What the receipt earns. The rules are those of the programme whose `valid` window holds `occurred_at`.

    `facts` are those of :func:`purchase_facts`, where they are at hand.
    """
    moment = _Moment(
        day=event.occurred_at.astimezone(programme.zone).date(),
        facts=purchase_facts(programme, event, member) if facts is None else facts,
        member=member.id,
        place=event.place,
        region=event.region,
        total_minor=event.total_minor,
        eligible_minor=event.eligible_minor,
        lines=event.lines,
    )
    plan = programme.plan_multipliers.get(member.plan)
    return _earn(programme.rules.get("purchase", _NO_RULES), moment, usage, also=() if plan is None else (plan,))


def earn_event(
    programme: Programme,
    event: str,
    *,
    occurred_at: datetime,
    member: MemberFacts,
    usage: Usage,
    attributes: Mapping[str, str | float | bool | None] | None = None,
    amount_minor: int = 0,
    place: str | None = None,
    region: str | None = None,
    reporter: str | None = None,
) -> Earnings:
    """What anything but a purchase earns: `joined`, `birthday`, `feedback`, `top_up`, `activity.<type>`.

    `amount_minor` is that of a top-up. `reporter` is who told of an activity (member, partner or staff): rules
    with `reported_by` give nothing to others. `attributes` are the activity's own.
    """
    moment = _Moment(
        day=occurred_at.astimezone(programme.zone).date(),
        facts=event_facts(event, member, attributes=attributes, amount_minor=amount_minor),
        member=member.id,
        place=place,
        region=region,
        reporter=reporter,
        total_minor=amount_minor,
        eligible_minor=amount_minor,
    )
    return _earn(programme.rules.get(event, _NO_RULES), moment, usage)


def counts_for_same_item(
    rule: AwardRule,
    *,
    day: date,
    facts: Mapping[str, Mapping[str, Any]],
    member: str,
    place: str | None,
    region: str | None,
) -> bool:
    """Whether a purchase of an item on that programme's day counts for a rule of the event `same_sku`.

    `facts` are the groups `line` and `member`.
    """
    return _in_force(rule, _Moment(day=day, facts=facts, member=member, place=place, region=region))


def earn_same_item(
    programme: Programme,
    rule: AwardRule,
    *,
    day: date,
    facts: Mapping[str, Mapping[str, Any]],
    usage: Usage,
    member: str,
    place: str | None,
    region: str | None,
) -> Earnings:
    """What that one rule of the event `same_sku` gives for the item of the line, its vouchers for that item alone."""
    moment = _Moment(day=day, facts=facts, member=member, place=place, region=region)
    multipliers = programme.rules["same_sku"].multipliers
    earned = _earn(EventRules(awards=(rule,), multipliers=multipliers), moment, usage)
    sku = facts["line"]["sku"]
    return replace(earned, vouchers=tuple(replace(voucher, sku=sku) for voucher in earned.vouchers))


def purchase_facts(programme: Programme, event: PurchaseEvent, member: MemberFacts) -> Mapping[str, Mapping[str, Any]]:
    """The groups of facts that a purchase has at hand."""
    local = event.occurred_at.astimezone(programme.zone)
    purchase = {
        "total_minor": event.total_minor,
        "place": event.place or "",
        "region": event.region or "",
        "hour": local.hour,
        "weekday": local.isoweekday(),
        "categories": tuple(sorted({line.category for line in event.lines if line.category})),
        "skus": tuple(sorted({line.sku for line in event.lines})),
    }
    return {"purchase": purchase, "member": member.as_facts()}


def event_facts(
    event: str,
    member: MemberFacts,
    *,
    attributes: Mapping[str, str | float | bool | None] | None = None,
    amount_minor: int = 0,
) -> Mapping[str, Mapping[str, Any]]:
    """The groups of facts that any other event has at hand; see :func:`earn_event`."""
    facts: dict[str, Mapping[str, Any]] = {"member": member.as_facts()}
    if event == "top_up":
        facts["top_up"] = {"amount_minor": amount_minor}
    elif event.startswith("activity."):
        facts["activity"] = {"type": event.removeprefix("activity."), "attributes": dict(attributes or {})}
    return facts


def _earn(rules: EventRules, moment: _Moment, usage: Usage, *, also: Sequence[Multiplier] = ()) -> Earnings:
    """What the rules give; the multipliers of `also` come after those of the rules."""
    multipliers: list[Multiplier] | None = None
    lines = line_facts(moment.lines)
    rows: list[ExplanationRow] = []
    used: list[UsageChange] = []
    vouchers: list[VoucherAward] = []
    bonuses: list[BonusAward] = []
    used_up: list[str] = []
    for rule in rules.awards:
        basis_minor = _basis_minor(rule, moment, lines) if _in_force(rule, moment) else None
        if basis_minor is None:
            continue
        key, before = _used_before(rule, moment.day, usage)
        if rule.limit is not None and rule.limit.count is not None and before.count >= rule.limit.count:
            used_up.append(rule.id)
            continue
        if multipliers is None:
            multipliers = [each for each in (*rules.multipliers, *also) if _in_force(each, moment)]
        given = _rows(rule, moment, basis_minor=basis_minor, multipliers=multipliers, before=before)
        rows += given
        if rule.voucher is not None:
            vouchers.append(VoucherAward(kind=rule.voucher, keeps_from_minor=_keeps_from_minor(rule, moment)))
        if rule.bonus is not None:
            bonuses.append(BonusAward(kind=rule.bonus, keeps_from_minor=_keeps_from_minor(rule, moment)))
        if rule.limit is not None:
            changes = _usage_changes(rule, key=key, given=given)
            used += changes
            used_up += [] if changes or not given else [rule.id]
    points = sum([row.points for row in rows])
    cashback_minor = sum([row.cashback_minor for row in rows])
    assert points >= 0, rows
    assert cashback_minor >= 0, rows
    return Earnings(
        points=points,
        cashback_minor=cashback_minor,
        rows=tuple(rows),
        used=tuple(used),
        vouchers=tuple(vouchers),
        bonuses=tuple(bonuses),
        used_up=tuple(used_up),
    )


def _basis_minor(rule: AwardRule, moment: _Moment, lines: Sequence[Mapping[str, Any]]) -> int | None:
    """The money that the rule counts, in minor units; None when it counts lines and none of them matches."""
    if rule.lines is None:
        return moment.total_minor
    holds, facts = rule.lines.holds, dict(moment.facts)
    basis_minor = None
    for line in lines:
        facts["line"] = line
        if holds(facts):
            basis_minor = (basis_minor or 0) + line["amount_minor"]
    return basis_minor


def _used_before(rule: AwardRule, day: date, usage: Usage) -> tuple[str, Used]:
    """The limit's period of that day, and what the rule gave in it; nothing for a rule without a limit."""
    if rule.limit is None:
        return "", NOTHING_USED
    key = period_key(rule.limit.per, day)
    return key, usage.get(rule.id, {}).get(key, NOTHING_USED)


def _usage_changes(rule: AwardRule, *, key: str, given: Sequence[ExplanationRow]) -> list[UsageChange]:
    """What the award uses of the limit; none when it came to nothing in the end."""
    points = sum([row.points for row in given])
    cashback_minor = sum([row.cashback_minor for row in given])
    assert points >= 0, rule
    assert cashback_minor >= 0, rule
    if not (points or cashback_minor or rule.voucher or rule.bonus):
        return []
    return [UsageChange(rule=rule.id, period=key, count=1, amount=points, cashback_minor=cashback_minor)]


def _keeps_from_minor(rule: AwardRule, moment: _Moment) -> int:
    """The least total of the purchase for which the rule gives; 0 if it is not a purchase."""
    purchase = moment.facts.get("purchase")
    if purchase is None:
        return 0
    least, most = 1, moment.total_minor
    while rule.condition is not None and least < most:
        middle = (least + most) // 2
        if rule.condition.holds({**moment.facts, "purchase": {**purchase, "total_minor": middle}}):
            most = middle
        else:
            least = middle + 1
    return least


def _in_force(rule: Rule, moment: _Moment) -> bool:
    """Whether the rule says something about this event: its window, its pilot, who reported, its condition."""
    if not rule.valid_from <= moment.day < rule.valid_until:
        return False
    if rule.reporters is not None and moment.reporter not in rule.reporters:
        return False
    if rule.pilot is not None and not rule.pilot.holds(member=moment.member, place=moment.place, region=moment.region):
        return False
    return rule.condition is None or rule.condition.holds(moment.facts)


def line_facts(lines: Sequence[Line]) -> list[dict[str, Any]]:
    """The group `line` of each line, in order."""
    return [
        {
            "amount_minor": line.amount_minor,
            "quantity": line.quantity,
            "category": line.category or "",
            "brand": line.brand or "",
            "sku": line.sku,
        }
        for line in lines
    ]


def _rows(
    rule: AwardRule, moment: _Moment, *, basis_minor: int, multipliers: Sequence[Multiplier], before: Used
) -> list[ExplanationRow]:
    """The rule's rows: its award, what each multiplier added, what limits took. Rows that say nothing are left out."""
    points = cashback = (0,) * (1 + len(multipliers))
    if rule.points is not None:
        exact = _exact(rule.points, basis_minor)
        points = _steps(*exact, [multiplier.points.as_integer_ratio() for multiplier in multipliers])
    if rule.cashback is not None:
        numerator, denominator = _exact(rule.cashback, basis_minor)
        if not rule.cashback.fixed:
            numerator, denominator = numerator * moment.eligible_minor, denominator * moment.total_minor
        factors = [multiplier.cashback.as_integer_ratio() for multiplier in multipliers]
        cashback = _steps(numerator, denominator, factors)
    rows = [ExplanationRow(rule.id, "award", points[0], cashback[0])]
    for index, multiplier in enumerate(multipliers, 1):
        rows.append(ExplanationRow(multiplier.id, "multiplier", points[index], cashback[index]))
    rows.append(_taken_by_limits(rule, before, points=sum(points), cashback_minor=sum(cashback)))
    something = rule.voucher is not None or rule.bonus is not None
    return [row for row in rows if row.points or row.cashback_minor or (something and row.step == "award")]


def _exact(rate: Rate, basis_minor: int) -> tuple[int, int]:
    return rate.numerator * (1 if rate.fixed else basis_minor), rate.denominator


def _steps(numerator: int, denominator: int, factors: Sequence[tuple[int, int]]) -> tuple[int, ...]:
    """The floor of the fraction, then what each factor adds to the floor of the product so far."""
    floor = numerator // denominator
    steps = [floor]
    for times, by in factors:
        numerator, denominator = numerator * times, denominator * by
        steps.append(numerator // denominator - floor)
        floor += steps[-1]
    return tuple(steps)


def _taken_by_limits(rule: AwardRule, before: Used, *, points: int, cashback_minor: int) -> ExplanationRow:
    """What the limits take away, as negative numbers. Limits are whole, so they may be applied after the floor."""
    kept_points, kept_cashback = points, cashback_minor
    if rule.cashback_max_minor is not None:
        kept_cashback = min(kept_cashback, rule.cashback_max_minor)
    if rule.limit is not None:
        if rule.limit.points is not None:
            kept_points = min(kept_points, max(0, rule.limit.points - before.amount))
        if rule.limit.cashback_minor is not None:
            kept_cashback = min(kept_cashback, max(0, rule.limit.cashback_minor - before.cashback_minor))
    return ExplanationRow(rule.id, "limit", kept_points - points, kept_cashback - cashback_minor)
