"""Activities and feedback: what a member did besides buying, and what the programme gives for it.

An activity counts only if a rule in force names its type and who may report it, or a mechanism names its type. What
conditions may read of it is its type and its plain attributes; of these nothing is kept but the checksums of the
fingerprint.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal

from domain.commands.happening import event_happening
from domain.commands.purchase import date_problems
from domain.ledger.command import Command, fingerprint_of
from domain.ledger.draft import Draft, Situation
from domain.ledger.due import SYSTEM
from domain.ledger.entry import Changes, Entry, EntryKind
from domain.ledger.expiry import local_date, start_of_day
from domain.members.member import Member, member_facts
from domain.problems import InvalidInput, LimitReached, NotEligible, NotFound, Problem
from domain.programme.earning import Earnings, earn_event
from domain.programme.format import ACTIVITY_PREFIX
from domain.programme.mechanisms import is_listened_to
from domain.programme.period import next_start
from domain.programme.programme import AwardRule, Programme

Reporter = Literal["member", "partner", "staff"]
Scalar = str | int | float | bool | None

FEEDBACK = "feedback"
UNKNOWN_ACTIVITY = "UNKNOWN_ACTIVITY"
NOT_REPORTED_BY = "NOT_REPORTED_BY_"
NOTHING_GIVEN = "NOTHING_GIVEN"


@dataclass(frozen=True, slots=True, kw_only=True)
class Activity:
    """What was reported. `occurred_at` is None for now; `attributes` are those that conditions may read."""

    member: Member
    type: str
    reporter: Reporter
    occurred_at: datetime | None = None
    attributes: Mapping[str, Scalar] = field(default_factory=dict)
    place: str | None = None


def check_activity(activity: Activity, programme: Programme, now: datetime) -> Problem | None:
    """What is wrong with it whatever the wallet holds; the bounds of its instant are a purchase's (SEMANTICS §3.1)."""
    if problems := date_problems(activity.occurred_at, programme, now):
        return InvalidInput(message="The activity is invalid; see occurredAt.", fields=tuple(problems))
    if activity.place is not None and activity.place not in programme.places:
        return NotFound(message=f"The programme has no place {activity.place!r}.", what="place")
    return None


def decide_activity(activity: Activity, situation: Situation) -> Entry | Problem:
    """The ACTIVITY entry, even if no rule's condition holds; a refusal if nobody asked for it or all is used up.

    NotEligible says UNKNOWN_ACTIVITY when no rule in force on its day and no mechanism names the type, and
    NOT_REPORTED_BY_MEMBER, _PARTNER or _STAFF when those that do want to hear it from others. LimitReached comes when
    every rule that would give has nothing left to give: then it counts for no mechanism either. What one rule still
    gives is given.
    """
    occurred_at, event = activity.occurred_at or situation.now, ACTIVITY_PREFIX + activity.type
    rules = _in_force(situation.programme, event, occurred_at)
    reporters = {each for rule in rules for each in rule.reporters or ()}
    if not rules and is_listened_to(situation.programme.definition, event):
        reporters = {"partner", "staff"}
    if not reporters:
        return NotEligible(message="The programme gives nothing for this activity.", reason=UNKNOWN_ACTIVITY)
    if activity.reporter not in reporters:
        told_by = " or ".join(sorted(reporters))
        return NotEligible(
            message=f"This activity is reported by {told_by}, not by the {activity.reporter}.",
            reason=NOT_REPORTED_BY + activity.reporter.upper(),
        )
    earned = earned_by(activity, event, situation)
    if gives_nothing(earned) and earned.used_up:
        return limit_reached(earned, rules, occurred_at, situation)
    return activity_entry(activity, event, earned, situation)


def feedback_reward(member: Member, feedback: str) -> Command:
    """The command that rewards one feedback, by its id; its key makes it happen once, whatever is said again."""
    return Command(
        member=member.id,
        actor=SYSTEM,
        key=f"{FEEDBACK}|{feedback}",
        operation=FEEDBACK,
        fingerprint=fingerprint_of(FEEDBACK, {"feedback": feedback}),
        decide=lambda situation: decide_feedback_reward(member, situation),
    )


def decide_feedback_reward(member: Member, situation: Situation) -> Entry | Problem:
    """The ACTIVITY entry with the awards of the event `feedback`; a refusal where there is nothing to give."""
    now = situation.now
    feedback = Activity(member=member, type=FEEDBACK, reporter="member")
    earned = earned_by(feedback, FEEDBACK, situation)
    listened_to = not earned.used_up and is_listened_to(situation.programme.definition, FEEDBACK)
    if listened_to or not gives_nothing(earned):
        return activity_entry(feedback, FEEDBACK, earned, situation)
    if earned.used_up:
        return limit_reached(earned, _in_force(situation.programme, FEEDBACK, now), now, situation)
    return nothing_given(FEEDBACK)


def limit_reached(
    earned: Earnings, rules: tuple[AwardRule, ...], occurred_at: datetime, situation: Situation
) -> LimitReached:
    """The refusal that names, of the limits that are used up, the one that allows something again first.

    `resets_at` is None for the lifetime's, and for a period that is over: what occurred in it has no more to get.
    """
    zone = situation.programme.zone
    day = local_date(occurred_at, zone)
    resets = [
        (next_start(rule.limit.per, day), rule)
        for rule in rules
        if rule.limit is not None and rule.id in earned.used_up
    ]
    resets_on, rule = min(resets, key=lambda each: (each[0] is None, each[0] or day))
    assert rule.limit is not None, rule
    resets_at = None if resets_on is None else start_of_day(resets_on, zone)
    return LimitReached(
        message=f"The programme gives no more for this per {rule.limit.per}.",
        limit=rule.id,
        headroom="0",
        resets_at=resets_at if resets_at is not None and resets_at > situation.now else None,
    )


def _in_force(programme: Programme, event: str, occurred_at: datetime) -> tuple[AwardRule, ...]:
    """The award rules of the event that are valid on the programme's day of that instant (SEMANTICS §3.7)."""
    rules = programme.rules.get(event)
    day = local_date(occurred_at, programme.zone)
    return tuple(rule for rule in rules.awards if rule.valid_from <= day < rule.valid_until) if rules else ()


def nothing_given(event: str) -> NotEligible:
    """The refusal of what the programme gives nothing for."""
    return NotEligible(message=f"The programme gives nothing for this {event}.", reason=NOTHING_GIVEN)


def earned_by(activity: Activity, event: str, situation: Situation) -> Earnings:
    """What the rules of the event give for it."""
    programme, wallet = situation.programme, situation.wallet
    return earn_event(
        programme,
        event,
        occurred_at=activity.occurred_at or situation.now,
        member=member_facts(activity.member, wallet, programme, at=situation.now),
        usage=wallet.usage,
        attributes=activity.attributes,
        place=activity.place,
        region=None if activity.place is None else programme.places[activity.place].region,
        reporter=activity.reporter,
    )


def gives_nothing(earned: Earnings) -> bool:
    """Whether it is nothing at all."""
    return not (earned.points or earned.cashback_minor or earned.vouchers or earned.bonuses)


def activity_entry(activity: Activity, event: str, earned: Earnings, situation: Situation) -> Entry:
    """The ACTIVITY entry that gives what was earned, and what mechanisms give beside it."""
    occurred_at = activity.occurred_at or situation.now
    facts = member_facts(activity.member, situation.wallet, situation.programme, at=situation.now)
    draft = Draft(situation, EntryKind.ACTIVITY, occurred_at)
    draft.give(earned)
    draft.advance(
        event_happening(
            situation,
            activity.member,
            facts,
            event=event,
            occurred_at=occurred_at,
            attributes=activity.attributes,
            place=activity.place,
        )
    )
    return draft.entry(
        changes=Changes(
            lifetime_points=earned.points,
            idle_until=draft.idle_until() if draft.postings else {},
            usage=earned.used,
        ),
        explanation=earned.rows,
        place=activity.place,
        activity=activity.type,
    )
