"""A running plan: paid until an instant, and whether it renews by itself then (SEMANTICS §9.4).

Periods are `[start, end)` in the programme's days and are counted from the day the plan was joined, so that months
clamp and do not chain: joined on 31 January, paid until 28 February, then until 31 March.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import date, datetime
from typing import Any
from zoneinfo import ZoneInfo

from domain.ledger.expiry import Period, add_period, format_period, local_date, start_of_day


@dataclass(frozen=True, slots=True, kw_only=True)
class RunningPlan:
    """`periods` of length `period` (ISO 8601) are paid since `started_on`; `paid_until` is the first instant after.

    `joined` is the id of the entry by which the member last asked for it.
    """

    plan: str
    joined: str
    started_on: date
    period: str
    periods: int
    paid_until: datetime
    renews: bool = True


def begun(plan: str, period: Period, *, joined: str, on: date, zone: ZoneInfo) -> RunningPlan:
    """The plan with its first period paid, from that programme's day on."""
    return RunningPlan(
        plan=plan,
        joined=joined,
        started_on=on,
        period=format_period(period),
        periods=1,
        paid_until=start_of_day(add_period(on, period), zone),
    )


def renewed(running: RunningPlan, period: Period, *, zone: ZoneInfo) -> RunningPlan:
    """The plan with one more period paid; counted anew from here when the programme has changed the period."""
    periods = running.periods + 1
    paid_until = start_of_day(add_period(running.started_on, period, periods), zone)
    if format_period(period) == running.period and paid_until > running.paid_until:
        return replace(running, periods=periods, paid_until=paid_until)
    on = local_date(running.paid_until, zone)
    return begun(running.plan, period, joined=running.joined, on=on, zone=zone)


def plan_document(running: RunningPlan) -> dict[str, Any]:
    """The plan as entries and wallets store it."""
    return {
        "plan": running.plan,
        "joined": running.joined,
        "started_on": running.started_on.isoformat(),
        "period": running.period,
        "periods": running.periods,
        "paid_until": running.paid_until,
        "renews": running.renews,
    }


def plan_from(document: Mapping[str, Any]) -> RunningPlan:
    """The plan that :func:`plan_document` wrote."""
    return RunningPlan(**{**document, "started_on": date.fromisoformat(document["started_on"])})
