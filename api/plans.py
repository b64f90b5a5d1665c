"""Plans, as the contract shows them: the one that the member is in, and how long it is paid for."""

from datetime import datetime

import strawberry

from domain.ledger.due import as_settled
from domain.ledger.plan import RunningPlan
from domain.ledger.wallet import Wallet
from domain.programme.programme import Programme
from domain.programme.wording import localised


@strawberry.type
class PlanStatus:
    plan: strawberry.ID
    name: str
    paid_until: datetime
    renews: bool


def plan_status(wallet: Wallet, programme: Programme, *, now: datetime, locale: str) -> PlanStatus | None:
    """The plan at that instant, None without one: a renewal or a lapse that is due counts as done (SEMANTICS §9.4)."""
    running = as_settled(wallet, programme, now).plan
    return None if running is None else plan_type(running, programme, locale)


def plan_type(running: RunningPlan, programme: Programme, locale: str) -> PlanStatus:
    """The plan in that language; one that the programme has given up is named by its id."""
    plan = programme.plans.get(running.plan)
    return PlanStatus(
        plan=strawberry.ID(running.plan),
        name=running.plan if plan is None else localised(programme, plan.name, locale),
        paid_until=running.paid_until,
        renews=running.renews,
    )
