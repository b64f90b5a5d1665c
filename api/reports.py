"""`report`: the programme's numbers over a period, for staff. Rates are between 0 and 1, with four decimals."""

import asyncio
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import fields
from datetime import date
from decimal import ROUND_HALF_EVEN
from decimal import Decimal as Number
from fractions import Fraction
from typing import Annotated

import strawberry

from api.context import Info
from api.described import described
from api.edge.errors import InvalidValue, Unavailable
from api.money import Money, money
from api.scalars import FURTHEST, Decimal, Long
from domain.ledger.expiry import start_of_day
from domain.programme.published import Programmes
from domain.reports import report as reports
from domain.store.connection import Store
from notifications.cascade_report import CascadeCount, cascade_counts

RATE_DECIMALS = Number("0.0001")


@strawberry.type
class TierCount:
    tier: strawberry.ID
    members: Long


@strawberry.type
class PilotArm:
    """Purchases of the period that fell into one side of a pilot, on days when it was on."""

    active_members: Long = strawberry.field(description="Members with such a purchase.")
    purchases: Long
    spend: list[Money] = strawberry.field(description="Their totals.")
    average_order: list[Money] = strawberry.field(description="Their total ÷ their number.")
    repeat_purchase_rate: Decimal = strawberry.field(description="Members with two or more of them ÷ active members.")
    points_earned: Long = strawberry.field(description="Points that they gave.")


@strawberry.type
class PilotReport:
    """A rule's pilot and the rest, as the programme's version in force at each purchase drew the line.

    A member who bought at places of the pilot and elsewhere is on both sides.
    """

    rule: strawberry.ID
    inside: PilotArm
    outside: PilotArm


@strawberry.type
class VariantReport:
    """A template of a step that has several, each member's own for good."""

    template: strawberry.ID
    sent: Long
    opened: Long
    goals: Long = strawberry.field(description="Messages after which the member's run reached its goal.")


@strawberry.type
class CascadeReport:
    """Runs that started in the period, and messages that went out in it."""

    cascade: strawberry.ID
    started: Long = strawberry.field(
        description="Runs of members who get messages; held-out members are counted apart."
    )
    sent: Long = strawberry.field(description="Messages, each counted once however many phones it went to.")
    opened: Long
    goals: Long = strawberry.field(description="How many of those started have reached the goal by now.")
    held_out: Long
    held_out_goals: Long
    uplift: Decimal | None = strawberry.field(description="Goal rate of the treated minus that of the held out.")
    variants: list[VariantReport] = strawberry.field(description="For steps with more than one template.")


@strawberry.type
class ProgrammeReport:
    """What happened from the day `from` to before the day `to`, by the day on which it occurred.

    A month is from 2017-06-01 to 2017-07-01; days are the programme's. A receipt that is brought in late changes the
    report of its own day. What is due but not posted yet is not in it; a worker posts it within seconds.
    """

    members: Long = strawberry.field(description="Members who had joined before `to`, including those erased since.")
    active_members: Long = strawberry.field(description="Members with a purchase in the period.")
    participation_rate: Decimal = strawberry.field(description="Active members ÷ members.")
    purchases: Long = strawberry.field(description="Receipts of the period, including those returned later.")
    spend: list[Money] = strawberry.field(description="Their totals, less what was returned in the period.")
    average_order: list[Money] = strawberry.field(description="Their total ÷ their number, disregarding returns.")
    repeat_purchase_rate: Decimal = strawberry.field(
        description="Members with two or more purchases in the period ÷ active members."
    )
    points_earned: Long = strawberry.field(
        description="Points given by rules, less what returns took back; adjustments by staff do not count."
    )
    points_redeemed: Long = strawberry.field(
        description="Points spent on rewards, cashback and donations, less what came back. Gifts do not count."
    )
    points_expired: Long
    points_outstanding: Long = strawberry.field(
        description="What members held at the start of the day `to`, including pending points, less what they owed."
    )
    redemption_rate: Decimal = strawberry.field(description="Points redeemed ÷ points earned in the period.")
    prepaid_outstanding: list[Money] = strawberry.field(
        description="At the start of the day `to`, including held money."
    )
    cashback_outstanding: list[Money] = strawberry.field(description="At the start of the day `to`, as with points.")
    tiers: list[TierCount] = strawberry.field(
        description="Members at each level of today's programme, as they stood at the start of the day `to`."
    )
    pilots: list[PilotReport] = strawberry.field(description="Pilots that were on in the period, by rule.")
    cascades: list[CascadeReport] = strawberry.field(description="The cascades of the programme in force.")


@strawberry.type
class ReportQuery:
    @described("scope: staff:reports")
    async def report(
        self,
        info: Info,
        since: Annotated[date, strawberry.argument(name="from")],
        until: Annotated[date, strawberry.argument(name="to")],
    ) -> ProgrammeReport:
        if since >= until:
            raise InvalidValue("`to` is the day after the last one of the period: send one that is later than `from`.")
        if since >= FURTHEST.date():
            raise InvalidValue(f"`from` is too far away: send a day before {FURTHEST:%Y-%m-%d}.")
        services = info.context.wallet
        try:
            return await read_report(services.store, services.programmes, since=since, until=until)
        except reports.NotCaughtUp as error:
            raise Unavailable(str(error)) from None


async def read_report(store: Store, programmes: Programmes, *, since: date, until: date) -> ProgrammeReport:
    """The report as staff read it. Raises NotCaughtUp."""
    programme = programmes.current
    start, end = (start_of_day(day, programme.zone) for day in (since, until))
    found, cascades = await asyncio.gather(
        reports.report(store, programmes, since=since, until=until),
        cascade_counts(store, programme, since=start, until=end),
    )
    return report_type(found, cascades)


def report_type(found: reports.Report, cascades: Iterable[CascadeCount]) -> ProgrammeReport:
    """Both together as staff read them."""
    buying = found.buying
    return ProgrammeReport(
        members=Long(found.members),
        active_members=Long(buying.active),
        participation_rate=rate(found.participation_rate),
        purchases=Long(buying.purchases),
        spend=_money(found.spend_minor),
        average_order=_average(buying),
        repeat_purchase_rate=rate(buying.repeat_rate),
        points_earned=Long(buying.earned),
        points_redeemed=Long(found.redeemed),
        points_expired=Long(found.expired),
        points_outstanding=Long(found.points_outstanding),
        redemption_rate=rate(found.redemption_rate),
        prepaid_outstanding=_money(found.prepaid_outstanding_minor),
        cashback_outstanding=_money(found.cashback_outstanding_minor),
        tiers=[TierCount(tier=strawberry.ID(tier), members=Long(count)) for tier, count in found.tiers.items()],
        pilots=[
            PilotReport(rule=strawberry.ID(pilot.rule), inside=_arm(pilot.inside), outside=_arm(pilot.outside))
            for pilot in found.pilots
        ],
        cascades=[_cascade(count) for count in cascades],
    )


def report_lines(told: ProgrammeReport) -> Iterator[tuple[str, str]]:
    """The report as (name, value), one for each line of a terminal."""
    for each in fields(ProgrammeReport):
        value = getattr(told, each.name)
        name = each.name.replace("_", " ")
        if each.name == "tiers":
            yield from ((f"tier {count.tier}", f"{count.members:,}") for count in told.tiers)
        elif each.name == "pilots":
            for pilot in told.pilots:
                for side, arm in (("inside", pilot.inside), ("outside", pilot.outside)):
                    spend = ", ".join(f"{part.amount} {part.currency}" for part in arm.spend)
                    yield f"{pilot.rule} {side}", f"{arm.purchases:,} purchases, {spend}, {arm.points_earned:,} points"
        elif each.name == "cascades":
            for count in told.cascades:
                uplift = "" if count.uplift is None else f", uplift {count.uplift}"
                numbers = (
                    f"{count.started:,} started, {count.sent:,} sent, {count.opened:,} opened, {count.goals:,} goals"
                )
                yield f"cascade {count.cascade}", f"{numbers}, {count.held_out:,} held out{uplift}"
        elif isinstance(value, list):
            yield name, ", ".join(f"{part.amount} {part.currency}" for part in value) or "-"
        else:
            yield name, f"{value:,}" if isinstance(value, int) else str(value)


def rate(share: Fraction) -> Decimal:
    """A share of 1 as a decimal with four places, half to even."""
    exact = Number(share.numerator) / Number(share.denominator)
    return Decimal(str(exact.quantize(RATE_DECIMALS, rounding=ROUND_HALF_EVEN)))


def _cascade(count: CascadeCount) -> CascadeReport:
    return CascadeReport(
        cascade=strawberry.ID(count.cascade),
        started=Long(count.started),
        sent=Long(count.sent),
        opened=Long(count.opened),
        goals=Long(count.goals),
        held_out=Long(count.held_out),
        held_out_goals=Long(count.held_out_goals),
        uplift=None if count.uplift is None else rate(count.uplift),
        variants=[
            VariantReport(
                template=strawberry.ID(variant.template),
                sent=Long(variant.sent),
                opened=Long(variant.opened),
                goals=Long(variant.goals),
            )
            for variant in count.variants
        ],
    )


def _arm(buying: reports.Buying) -> PilotArm:
    return PilotArm(
        active_members=Long(buying.active),
        purchases=Long(buying.purchases),
        spend=_money(buying.ordered_minor),
        average_order=_average(buying),
        repeat_purchase_rate=rate(buying.repeat_rate),
        points_earned=Long(buying.earned),
    )


def _average(buying: reports.Buying) -> list[Money]:
    """Whole minor units, half to even."""
    return [
        money(round(Fraction(minor, buying.purchases)), currency)
        for currency, minor in buying.ordered_minor.items()
        if buying.purchases
    ]


def _money(minor: Mapping[str, int]) -> list[Money]:
    return [money(amount, currency) for currency, amount in minor.items()]
