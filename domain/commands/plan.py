"""Plans: joined for a price from prepaid money, left before the next period (SEMANTICS §9.4).

A plan that was left stays paid until its period ends; renewing and lapsing fall due on the wallet
(:mod:`domain.ledger.due`).
"""

from dataclasses import replace

from domain.ledger.command import Command, fingerprint_of
from domain.ledger.draft import Draft, Situation
from domain.ledger.due import PLANS
from domain.ledger.entry import Changes, Entry, EntryKind, entry_id
from domain.ledger.plan import RunningPlan, begun
from domain.money import to_minor
from domain.problems import NotFound, Problem, WrongState
from domain.programme.programme import Programme

LEAVE = "leavePlan"


def check_joining_plan(plan: str, programme: Programme) -> Problem | None:
    """Whether the programme has the plan."""
    if plan in programme.plans:
        return None
    return NotFound(message=f"The programme has no plan {plan!r}.", what="plan")


def decide_joining_plan(plan: str, situation: Situation) -> Entry | Problem:
    """The PLAN entry: the first period paid, from today on.

    Who left the plan and comes back before it ends pays nothing now: it renews again. Another plan can be joined
    once this one has ended.
    """
    wallet, programme = situation.wallet, situation.programme
    if problem := check_joining_plan(plan, programme):
        return problem
    joined = entry_id(wallet.member, wallet.sequence + 1)
    draft = Draft(situation, EntryKind.PLAN, situation.now)
    running = wallet.plan
    if running is not None and (running.plan != plan or running.renews):
        return _running(running)
    if running is not None:
        return draft.entry(changes=Changes(plan=replace(running, renews=True, joined=joined)))
    offered, prepaid = programme.plans[plan], f"prepaid/{programme.currency}"
    price_minor = to_minor(offered.price, programme.currency)
    if shortage := draft.shortage(prepaid, price_minor):
        return shortage
    draft.spend(prepaid, price_minor, destination=PLANS)
    return draft.entry(
        changes=Changes(
            plan=begun(plan, offered.period, joined=joined, on=draft.today, zone=programme.zone),
            idle_until=draft.idle_until(),
        )
    )


def leaving(running: RunningPlan, *, member: str, actor: str) -> Command:
    """The command that leaves that plan; its key is made of the joining, so that it happens once for each."""
    return Command(
        member=member,
        actor=actor,
        key=f"{LEAVE} {running.joined}",
        operation=LEAVE,
        fingerprint=fingerprint_of(LEAVE, {"joined": running.joined}),
        decide=lambda situation: decide_leaving(running.joined, situation),
    )


def decide_leaving(joined: str, situation: Situation) -> Entry | Problem:
    """The PLAN entry after which the plan joined by that entry renews no more."""
    running = situation.wallet.plan
    if running is None or running.joined != joined or not running.renews:
        return WrongState(message="The plan has ended or was left already.", state="LEFT")
    draft = Draft(situation, EntryKind.PLAN, situation.now)
    return draft.entry(changes=Changes(plan=replace(running, renews=False)))


def _running(running: RunningPlan) -> WrongState:
    if running.renews:
        message = f"The plan {running.plan} is running. Leave it first; another can be joined once it has ended."
        return WrongState(message=message, state="RUNNING")
    message = f"The plan {running.plan} was left and runs until its paid period ends; join another one then."
    return WrongState(message=message, state="LEFT")
