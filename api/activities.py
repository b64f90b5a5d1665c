"""Activities: what a member did besides buying, reported by him, by a partner or by staff, as the programme allows.

Staff report with the scope for corrections, since an activity gives value by hand.
"""

import re
from datetime import datetime
from functools import partial
from math import isfinite
from typing import Annotated, Any, Final

import orjson
import strawberry

from api.access import MemberCaller, StaffCaller
from api.context import Context, Info
from api.described import described
from api.faults import Faults, given, plain
from api.members import MemberLookup, find_members, no_member, own_record
from api.posted import Posted, answer, answer_kept
from api.problems import IdempotencyMismatch, InvalidInput, LimitReached, NotEligible, NotFound, told
from api.scalars import JSON, LARGEST_LONG, IdempotencyKey
from domain.commands.activity import Activity, Reporter, Scalar, check_activity, decide_activity
from domain.ledger.command import Command, fingerprint_of
from domain.members.enrolment import joined
from domain.members.member import Member

REPORT: Final = "reportActivity"
RECORD: Final = "recordActivity"
LONGEST_TYPE: Final = 64
MOST_ATTRIBUTE_BYTES: Final = 4_096
MOST_ATTRIBUTES: Final = 64
DEEPEST_ATTRIBUTES: Final = 4
_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,63}", re.ASCII)


@strawberry.input
class ActivityInput:
    type: str
    occurred_at: datetime | None = strawberry.UNSET
    attributes: JSON | None = strawberry.UNSET
    place: strawberry.ID | None = strawberry.UNSET
    idempotency_key: IdempotencyKey


@strawberry.type
class ActivityRecorded(Posted):
    pass


RecordActivityResult = Annotated[
    ActivityRecorded | NotEligible | LimitReached | NotFound | IdempotencyMismatch | InvalidInput,
    strawberry.union("RecordActivityResult"),
]


@strawberry.type
class ActivityMutation:
    @described("Something the member did that the programme lets members report themselves.")
    async def report_activity(
        self, info: Info, activity: Annotated[ActivityInput, strawberry.argument(name="input")]
    ) -> RecordActivityResult:
        return await _record(info.context, activity, await own_record(info), operation=REPORT, asked=plain(activity))

    @described("scope: activity:write")
    async def record_activity(
        self, info: Info, member: MemberLookup, activity: Annotated[ActivityInput, strawberry.argument(name="input")]
    ) -> RecordActivityResult:
        (found,) = await find_members(info.context, [member])
        asked = {**plain(activity), "member": plain(member)}
        return await _record(info.context, activity, found, operation=RECORD, asked=asked)


async def _record(
    context: Context, activity: ActivityInput, member: Member | None, *, operation: str, asked: dict[str, Any]
) -> RecordActivityResult:
    faults, place = Faults(), given(activity.place)
    faults.text("type", activity.type, longest=LONGEST_TYPE)
    if place is not None:
        faults.text("place", place)
    attributes = read_attributes(given(activity.attributes), faults)
    if (wrong := faults.problem) is not None:
        return told(wrong, ActivityRecorded)
    key, fingerprint = activity.idempotency_key, fingerprint_of(operation, asked)
    if member is None:
        return await answer_kept(no_member(), context, ActivityRecorded, key=key, fingerprint=fingerprint)
    reported = Activity(
        member=member,
        type=activity.type,
        reporter=_reporter(context),
        occurred_at=given(activity.occurred_at),
        attributes=attributes,
        place=place,
    )
    ledger = context.wallet.ledger
    await joined(ledger, member)
    command = Command(
        member=member.id,
        actor=context.caller.actor,
        key=key,
        operation=operation,
        fingerprint=fingerprint,
        decide=partial(decide_activity, reported),
        check=partial(check_activity, reported),
    )
    return await answer(await ledger.commit(command), member, context, ActivityRecorded)


def read_attributes(told_ones: object, faults: Faults) -> dict[str, Scalar]:
    """Those of the attributes that conditions may read: text, finite numbers, true, false and null.

    Lists and objects within are taken, so that a partner may send what it has, but no condition sees them.
    """
    if told_ones is None:
        return {}
    if not isinstance(told_ones, dict):
        faults.add("attributes", 'It must be an object of names and values, such as {"course": "bread"}.')
        return {}
    if (wrong := _unfit(told_ones, DEEPEST_ATTRIBUTES)) is not None:
        faults.add("attributes", wrong)
    elif len(orjson.dumps(told_ones)) > MOST_ATTRIBUTE_BYTES:
        faults.add("attributes", f"It takes more than {MOST_ATTRIBUTE_BYTES} bytes as JSON.")
    return {name: value for name, value in told_ones.items() if not isinstance(value, dict | list)}


def _unfit(value: object, depth: int) -> str | None:
    """Why the value cannot be taken, if it cannot, with at most `depth` objects and lists within each other."""
    match value:
        case bool() | str() | None:
            return None
        case int():
            return None if abs(value) <= LARGEST_LONG else "A number is outside ±(2^53 - 1)."
        case float():
            return None if isfinite(value) else "A number is not finite."
        case dict() | list():
            return _unfit_inside(value, depth)
        case _:
            return "A value is neither text, number, true, false, null, object nor list."


def _unfit_inside(value: dict[str, object] | list[object], depth: int) -> str | None:
    if depth == 0:
        return f"It is more than {DEEPEST_ATTRIBUTES} levels deep."
    if len(value) > MOST_ATTRIBUTES:
        return f"There are {len(value)} values in one place; at most {MOST_ATTRIBUTES} are allowed."
    if isinstance(value, dict):
        if any(not _NAME.fullmatch(name) for name in value):
            return "A name has 1 to 64 letters, digits and underscores, and does not begin with a digit."
        value = list(value.values())
    return next((wrong for each in value if (wrong := _unfit(each, depth - 1)) is not None), None)


def _reporter(context: Context) -> Reporter:
    match context.caller:
        case MemberCaller():
            return "member"
        case StaffCaller():
            return "staff"
        case _:
            return "partner"
