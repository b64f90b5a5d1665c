"""Joining and leaving plans; the rules are in domain.commands.plan."""

from functools import partial
from typing import Annotated, Final

import strawberry

from api.context import Info, require_member
from api.faults import Faults, plain
from api.members import locale_of, own_record
from api.plans import PlanStatus, plan_status, plan_type
from api.posted import Posted, answer
from api.problems import IdempotencyMismatch, InsufficientBalance, InvalidInput, NotFound, WrongState, told
from api.scalars import IdempotencyKey
from domain.commands.plan import check_joining_plan, decide_joining_plan, leaving
from domain.ledger.command import Command, fingerprint_of
from domain.ledger.due import as_settled
from domain.ledger.entry import Entry
from domain.members.enrolment import joined

JOIN: Final = "joinPlan"


@strawberry.input
class JoinPlanInput:
    plan: strawberry.ID
    idempotency_key: IdempotencyKey


@strawberry.type
class PlanJoined(Posted):
    plan: PlanStatus


JoinPlanResult = Annotated[
    PlanJoined | InsufficientBalance | WrongState | NotFound | IdempotencyMismatch | InvalidInput,
    strawberry.union("JoinPlanResult"),
]


@strawberry.type
class PlanMutation:
    @strawberry.field
    async def join_plan(
        self, info: Info, wanted: Annotated[JoinPlanInput, strawberry.argument(name="input")]
    ) -> JoinPlanResult:
        context, faults, plan = info.context, Faults(), str(wanted.plan)
        faults.text("plan", plan)
        if (wrong := faults.problem) is not None:
            return told(wrong, PlanJoined)
        ledger, member = context.wallet.ledger, await own_record(info)
        await joined(ledger, member)
        command = Command(
            member=member.id,
            actor=require_member(info).actor,
            key=wanted.idempotency_key,
            operation=JOIN,
            fingerprint=fingerprint_of(JOIN, plain(wanted)),
            decide=partial(decide_joining_plan, plan),
            check=lambda programme, _now: check_joining_plan(plan, programme),
        )
        outcome = await ledger.commit(command)
        if not isinstance(outcome.decided, Entry):
            return told(outcome.decided, PlanJoined)
        running = outcome.decided.changes.plan
        assert running is not None, outcome.decided.id
        programme = await context.wallet.programmes.at(outcome.decided.programme_version)
        status = plan_type(running, programme, locale_of(member, context))
        return await answer(outcome, member, context, PlanJoined, extra=lambda _: {"plan": status})

    @strawberry.field
    async def leave_plan(self, info: Info) -> PlanStatus | None:
        """The plan as it is from now on: paid until the end of its period, and not renewed. Null without a plan."""
        context, member = info.context, await own_record(info)
        ledger = context.wallet.ledger
        wallet = await ledger.journal.wallet(member.id)
        running = as_settled(wallet, ledger.programme, context.now).plan
        if running is not None and running.renews:
            await ledger.commit(leaving(running, member=member.id, actor=require_member(info).actor))
            wallet = await ledger.journal.wallet(member.id)
        return plan_status(wallet, ledger.programme, now=context.now, locale=locale_of(member, context))
