"""The engine: what a run does next. Pure: no clock, no store, no randomness.

    begin        a signal came: a run starts, or is on record as not started, and why
    proceed      time came: the run goes on through its steps until it must wait, send, or is over
    judge        a send is at hand: may it go now, and where (SEMANTICS §10.8, in its order)
    sent, skip, defer    what came of it, and on
    reach, react, hold, cancel    the goal, a reaction, a pause, an end from outside

Whoever calls stores each run that comes out before anything is done about it.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, time, timedelta
from typing import Final
from zoneinfo import ZoneInfo

from domain.programme.cascade import BranchStep, CompiledCascade, EndStep, SendStep, WaitStep
from domain.programme.cel import Condition, Facts
from domain.programme.programme import PILOT_SCALE, stable_share
from notifications.run import (
    LATE_REACTION,
    NOT_STARTED,
    REACTION,
    WAITS,
    Run,
    RunArm,
    RunEvent,
    RunState,
    awaited,
    deliveries_of,
    delivery_id,
    ended,
    has_reaction,
    run_id,
    with_event,
)
from notifications.schedule import minus, next_local, plus, spread
from notifications.signal import Signal

ON_TIME: Final = timedelta(seconds=60)
"""A step that is late by no more is on time; later than that its `misfire` rules."""
LONGEST_LIFE: Final = timedelta(days=28)
"""A message that says nothing else is worth sending for as long as Firebase keeps one."""
FIRST_MOMENTS: Final = timedelta(seconds=2)
"""A message on joining is due so long after it: the app tells of its phone, language and consents just then."""
GOAL_LATEST: Final = timedelta(days=30)
"""How long after its last step a run that does not expire is still waiting for its goal."""
_UTC: Final = ZoneInfo("UTC")
GOAL: Final = "goal reached"
NO_ENTRY: Final[Mapping[str, object]] = {"kind": "", "points": 0, "cashback_minor": 0, "amount_minor": 0}


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """What is known of the member when a signal asks for a run.

    `started_at` is when the cascade last started for him. `goal_at` is when its goal came last, if it did within
    the look-back or after the signal. `rival` is the highest priority among the live promotional runs of the group.
    """

    facts: Facts
    segments: frozenset[str] = frozenset()
    started_at: datetime | None = None
    goal_at: datetime | None = None
    rival: tuple[str, int] | None = None
    sequence: int = 0
    zone: ZoneInfo = _UTC


@dataclass(frozen=True, slots=True, kw_only=True)
class Send:
    """The message that is due: the step, the id that it has for ever, and until when it is worth sending."""

    step: int
    delivery: str
    channels: tuple[str, ...]
    template: str
    label: str
    expires_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Conditions:
    """What a send is judged by. `full` names for each channel the cap that has no room, and when it has again.

    `reachable` are the channels on which the member has an endpoint. `quiet_until` is the end of the quiet hours, or
    of the member's pause, that hold now. `wait_for` is a cascade of higher priority due within five minutes, and when.
    """

    now: datetime
    consents: frozenset[str] = frozenset()
    muted: frozenset[str] = frozenset()
    has_goal: bool = False
    reachable: frozenset[str] = frozenset()
    full: Mapping[str, tuple[str, datetime]] = field(default_factory=dict)
    quiet_until: datetime | None = None
    wait_for: tuple[str, datetime] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Go:
    """It may go, on that channel. `passed` are the channels before it that reach nobody."""

    channel: str
    passed: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Refused:
    """It does not go, now or later. `to_inbox`: it is for the record only, since no channel reaches the member."""

    reason: str
    to_inbox: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Deferred:
    """It is judged again at `until`."""

    until: datetime
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class HeldOut:
    """It would be sent, were the member not held out."""


Verdict = Go | Refused | Deferred | HeldOut


def begin(cascade: CompiledCascade, signal: Signal, *, version: int, programme: str, standing: Standing) -> Run | None:
    """The run that the signal starts; None when it asks for nothing. One that may not start is over at once, with why.

    Source: SEMANTICS §10.1 to §10.3, §10.11.
    """
    if why_not_asked(cascade, signal, standing) is not None:
        return None
    arm = RunArm.HELD_OUT if is_held_out(cascade, programme, signal.member) else RunArm.TREATED
    run = Run(
        id=run_id(cascade.id, signal.member, signal.id),
        member=signal.member,
        cascade=cascade.id,
        version=version,
        signal=signal.id,
        event=signal.event,
        facts=dict(signal.facts),
        sequence=standing.sequence,
        arm=arm,
        category=cascade.category,
        group=cascade.group,
        priority=cascade.priority,
        started_at=signal.at,
        expires_at=None if cascade.expires is None else plus(signal.at, cascade.expires, standing.zone),
        due_at=signal.at + FIRST_MOMENTS if _greets(cascade, signal) else signal.at,
        history=(RunEvent(at=signal.at, what="started", reason=signal.event),),
    )
    if (reason := _why_not(cascade, signal, standing)) is not None:
        refused = RunEvent(at=signal.at, what=NOT_STARTED, reason=reason)
        return ended(replace(run, history=()), RunState.CANCELLED, refused)
    return run


def why_not_asked(cascade: CompiledCascade, signal: Signal, standing: Standing) -> str | None:
    """Why the signal asks for no run of the cascade, of which nothing is on record; None when it does."""
    trigger = cascade.trigger
    if trigger.event != signal.event:
        return f"the trigger is {trigger.event}"
    if trigger.place and signal.facts.get("place") not in trigger.place:
        return f"the trigger's place is {' or '.join(trigger.place)}"
    if "cascades" in signal.facts and cascade.id not in signal.facts["cascades"]:
        return "the date is another cascade's"
    if cascade.segment is not None and cascade.segment not in standing.segments:
        return f"not in the segment {cascade.segment}"
    if cascade.audience is not None and not cascade.audience.holds(standing.facts):
        return "not of the audience"
    if cascade.condition is not None and not cascade.condition.holds(standing.facts):
        return "the condition does not hold"
    return None


def _greets(cascade: CompiledCascade, signal: Signal) -> bool:
    """Whether the run begins with a message to a member who has just joined."""
    return signal.event == "joined" and isinstance(cascade.steps[0], SendStep)


def is_held_out(cascade: CompiledCascade, programme: str, member: str) -> bool:
    """Whether the member belongs to those who get nothing, by a stable hash of salt and member."""
    share = cascade.holdout_percent * PILOT_SCALE // 100
    return share > 0 and stable_share(f"{programme}\0holdout\0{cascade.salt}", member) < share


def variant_of(cascade: CompiledCascade, step: int, member: str) -> str:
    """The template of the step that is the member's for ever, by the same hash."""
    send = cascade.steps[step]
    assert isinstance(send, SendStep), (cascade.id, step)
    total = sum(variant.weight for variant in send.variants)
    place = stable_share(f"variant\0{cascade.salt}\0{step}", member) * total // PILOT_SCALE
    for variant in send.variants:
        place -= variant.weight
        if place < 0:
            return variant.template
    return send.variants[-1].template


def proceed(  # noqa: C901 -- a case for each kind of step
    run: Run, cascade: CompiledCascade, *, now: datetime, facts: Facts, zone: ZoneInfo
) -> tuple[Run, Send | None]:
    """The run after all that it does by itself at `now`, and the message that it is to send then, if any.

    A run that comes back without one waits until its `due_at`, or is over.
    """
    for _ in range(2 * len(cascade.steps) + 2):
        if not run.is_live:
            return run, None
        assert run.due_at is not None, run.id
        if run.expires_at is not None and now >= run.expires_at:
            return ended(run, RunState.EXPIRED, RunEvent(at=now, what="expired")), None
        if run.step >= len(cascade.steps):
            return _done(run, cascade, RunEvent(at=now, what="done")), None
        if run.is_timed and now < run.due_at and not _is_woken(run, cascade):
            return run, None
        match cascade.steps[run.step]:
            case SendStep() as step:
                run, send = _at_send(run, cascade, step, now=now, facts=facts, zone=zone)
                if send is not None or (run.is_timed and run.due_at is not None and now < run.due_at):
                    return run, send
            case WaitStep() as step:
                run = _at_wait(run, step, now=now, zone=zone)
            case BranchStep() as step:
                asks = step.if_reacted is not None or step.condition is not None
                holds = asks and _holds(run, step.if_reacted, step.condition, facts)
                run = replace(run, step=run.step + 1 if holds else step.otherwise)
            case EndStep() as step:
                if _holds(run, step.if_reacted, step.condition, facts):
                    return _done(run, cascade, RunEvent(at=now, what="ended", step=run.step)), None
                run = replace(run, step=run.step + 1)
    raise AssertionError(f"{run.id} does not come to rest")


def _done(run: Run, cascade: CompiledCascade, event: RunEvent) -> Run:
    """The run after its last step. Its goal may still come, until it would have expired, or for 30 days."""
    done = ended(run, RunState.DONE, event)
    return replace(done, goal_until=run.expires_at or event.at + GOAL_LATEST) if cascade.goal_events else done


def judge(  # noqa: C901, PLR0912 -- the order of the rules is the rule
    run: Run, cascade: CompiledCascade, send: Send, conditions: Conditions
) -> Verdict:
    """Whether the message goes, and where; the first that says no is the reason. Source: SEMANTICS §10.8."""
    for purpose in cascade.purposes:
        if purpose not in conditions.consents:
            return Refused(reason=f"no consent: {purpose}")
    wanted = [channel for channel in send.channels if channel not in conditions.muted]
    if not wanted:
        return Refused(reason=f"muted: {', '.join(send.channels)}")
    if run.arm is RunArm.HELD_OUT:
        return HeldOut()
    if conditions.has_goal:
        return Refused(reason=GOAL)
    if conditions.now >= send.expires_at:
        return Refused(reason="message expired")
    channels = [channel for channel in wanted if channel in conditions.reachable]
    if not channels:
        return Refused(reason=f"unreachable: {', '.join(wanted)}", to_inbox=True)
    step = cascade.steps[send.step]
    assert isinstance(step, SendStep), (cascade.id, send.step)
    if (full := conditions.full.get(channels[0])) is not None:
        cap, room_at = full
        if step.capped == "skip" or room_at >= send.expires_at:
            return Refused(reason=f"capped: {cap}")
        return Deferred(until=room_at, reason=f"capped: {cap}")
    if cascade.category != "TRANSACTIONAL":
        if conditions.quiet_until is not None:
            # A pause may last to the end of the calendar: nothing can be added to that.
            if send.expires_at - conditions.quiet_until <= spread(run.member):
                return Refused(reason="quiet hours until after the message expired")
            return Deferred(until=conditions.quiet_until + spread(run.member), reason="quiet hours")
        if conditions.wait_for is not None:
            rival, until = conditions.wait_for
            return Deferred(until=until, reason=f"priority of {rival}")
    return Go(channel=channels[0], passed=tuple(wanted[: wanted.index(channels[0])]))


def sent(run: Run, send: Send, *, now: datetime, what: str = "sent", reason: str | None = None) -> Run:
    """The run after the message went, or would have for a held-out member."""
    delivery = None if what == "held out" else send.delivery
    reacted = run.reacted and has_reaction(run, send.delivery)
    run = with_event(run, RunEvent(at=now, what=what, step=send.step, reason=reason, delivery=delivery))
    return replace(
        _next(run, now),
        claim=None,
        reacted=reacted,
        delivery=delivery or run.delivery,
        sent=run.sent + (delivery is not None),
    )


def skip(run: Run, step: int, *, now: datetime, reason: str, delivery: str | None = None) -> Run:
    """The run after its message was not sent; with `delivery` it stands in the inbox, and may be read there."""
    event = RunEvent(at=now, what="not sent", step=step, reason=reason, delivery=delivery)
    reacted = run.reacted and (delivery is None or has_reaction(run, delivery))
    return replace(_next(with_event(run, event), now), claim=None, reacted=reacted)


def defer(run: Run, deferred: Deferred, *, now: datetime, delivery: str | None = None) -> Run:
    """The run while its message waits; with `delivery` some of the member's phones have it."""
    run = with_event(run, RunEvent(at=now, what="deferred", step=run.step, reason=deferred.reason, delivery=delivery))
    return replace(run, due_at=deferred.until, is_timed=True, claim=None)


def reach(run: Run, *, at: datetime, event: str) -> Run:
    """The run after its goal came: over, whatever it was at, its pushes to be recalled (SEMANTICS §10.5)."""
    if not run.is_live:
        return run
    reached = ended(run, RunState.GOAL_REACHED, RunEvent(at=at, what="goal reached", reason=event))
    return replace(reached, recall=tuple(deliveries_of(run)))


def react(run: Run, *, at: datetime, event: str, delivery: str) -> Run:
    """The run after the member reacted to one of its messages: a wait for that is over (SEMANTICS §10.6).

    What came too late is on record and changes nothing.
    """
    is_awaited = delivery in awaited(run)
    what = REACTION if is_awaited else LATE_REACTION
    run = with_event(run, RunEvent(at=at, what=what, reason=event, delivery=delivery))
    return replace(run, reacted=True) if is_awaited else run


def wake(run: Run, cascade: CompiledCascade, *, at: datetime) -> Run:
    """The run with its wait for a reaction over, if it is at one and the reaction came."""
    return replace(run, due_at=at) if run.is_live and run.is_timed and _is_woken(run, cascade) else run


def is_about_to_send(run: Run, cascade: CompiledCascade) -> bool:
    """Whether the run sends when it is due, as far as one can tell before: either arm of a branch may be taken."""
    steps = cascade.steps[run.step :]
    if steps and isinstance(steps[0], WaitStep):
        steps = steps[1:]
    for step in steps:
        match step:
            case SendStep(if_reacted=asked) if asked is None or asked == run.reacted:
                return run.is_live
            case WaitStep():
                return False
            case EndStep(if_reacted=None, condition=None):
                return False
    return False


def hold(run: Run, held_seconds: float) -> Run:
    """The run whose clock was held for so long in all: every wait goes on with the time that was left."""
    later = timedelta(seconds=held_seconds - run.held_seconds)
    return replace(
        run,
        due_at=None if run.due_at is None else run.due_at + later,
        step_at=None if run.step_at is None else run.step_at + later,
        expires_at=None if run.expires_at is None else run.expires_at + later,
        held_seconds=held_seconds,
    )


def cancel(run: Run, *, at: datetime, reason: str) -> Run:
    """The run after it was ended from outside."""
    return ended(run, RunState.CANCELLED, RunEvent(at=at, what="cancelled", reason=reason)) if run.is_live else run


def _why_not(cascade: CompiledCascade, signal: Signal, standing: Standing) -> str | None:
    if standing.goal_at is not None:
        return "goal reached before"
    if standing.started_at is not None:
        if cascade.reentry == "once":
            return "once only"
        if not isinstance(cascade.reentry, str) and standing.started_at > minus(signal.at, cascade.reentry):
            return "cooling down"
    if cascade.is_promotional and standing.rival is not None:
        rival, priority = standing.rival
        if cascade.priority <= priority:
            return f"another promotion is live: {rival}"
    return None


def _at_send(
    run: Run, cascade: CompiledCascade, step: SendStep, *, now: datetime, facts: Facts, zone: ZoneInfo
) -> tuple[Run, Send | None]:
    assert run.due_at is not None, run.id
    if step.if_reacted is not None and run.reacted != step.if_reacted:
        return skip(run, run.step, now=now, reason="reaction" if run.reacted else "no reaction"), None
    if step.condition is not None and not step.condition.holds(facts):
        return skip(run, run.step, now=now, reason="condition"), None
    if step.at is not None and not run.is_timed:
        due_at = next_local(_base(run, now), time.fromisoformat(step.at), zone)
        run = replace(run, due_at=due_at, is_timed=True)
        if due_at > now:
            return with_event(run, RunEvent(at=now, what=WAITS, step=run.step, reason=step.at)), None
    assert run.due_at is not None, run.id
    late = now - run.due_at
    if late > ON_TIME and (step.misfire == "skip" or late > now - minus(now, step.grace)):
        return replace(skip(run, run.step, now=now, reason="misfire"), due_at=run.due_at), None
    came_at = run.step_at or run.due_at
    run = replace(run, step_at=came_at)
    worth_until = came_at + LONGEST_LIFE if step.expires is None else plus(came_at, step.expires, zone)
    template = variant_of(cascade, run.step, run.member)
    return run, Send(
        step=run.step,
        delivery=delivery_id(run.id, run.step),
        channels=step.channels,
        template=template,
        label=cascade.label(run.step, template),
        expires_at=worth_until if run.expires_at is None else min(worth_until, run.expires_at),
    )


def _at_wait(run: Run, step: WaitStep, *, now: datetime, zone: ZoneInfo) -> Run:
    if run.is_timed:
        # What comes next was due when the wait was over: if that was long ago, it goes by its misfire.
        return replace(_next(run, now), due_at=min(run.due_at or now, now))
    if step.until_reaction and run.reacted:
        return _next(run, now)
    due_at = _base(run, now)
    if step.length is not None:
        due_at = plus(due_at, step.length, zone)
    if step.at is not None:
        due_at = next_local(due_at, time.fromisoformat(step.at), zone)
    if run.expires_at is not None:
        due_at = min(due_at, run.expires_at)
    return with_event(replace(run, due_at=due_at, is_timed=True), RunEvent(at=now, what=WAITS, step=run.step))


def _is_woken(run: Run, cascade: CompiledCascade) -> bool:
    step = cascade.steps[run.step] if run.step < len(cascade.steps) else None
    return isinstance(step, WaitStep) and step.until_reaction and run.reacted


def _base(run: Run, now: datetime) -> datetime:
    """What a step counts its time from: the instant at which it was due, unless it is late."""
    assert run.due_at is not None, run.id
    return run.due_at if timedelta(0) <= now - run.due_at <= ON_TIME else now


def _next(run: Run, now: datetime) -> Run:
    return replace(run, step=run.step + 1, is_timed=False, step_at=None, due_at=_base(run, now))


def _holds(run: Run, if_reacted: bool | None, condition: Condition | None, facts: Facts) -> bool:  # noqa: FBT001
    if if_reacted is not None and run.reacted != if_reacted:
        return False
    return condition is None or condition.holds(facts)
