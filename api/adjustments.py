"""Adjustments: staff correct a balance by hand, with a reason that the member can read."""

import secrets
from functools import partial
from typing import Annotated, Final

import strawberry

from api.context import Context, Info
from api.described import described
from api.entries import Pocket
from api.faults import Faults, given, plain
from api.members import MemberLookup, find_members, no_member
from api.money import MoneyInput
from api.posted import Posted, answer, answer_kept
from api.problems import IdempotencyMismatch, InsufficientBalance, InvalidInput, NotFound, told
from api.scalars import IdempotencyKey, Long
from domain.commands.adjustment import Adjustment, check_adjustment, decide_adjustment
from domain.ledger.command import Command, fingerprint_of
from domain.ledger.entry import Note
from domain.ledger.posting import POINTS
from domain.members.enrolment import joined
from domain.problems import Problem

ADJUST: Final = "adjustBalance"
MOST_POINTS: Final = 10**9
LONGEST_REASON: Final = 500


@strawberry.input(
    description=("Exactly one of points and money; signed. Every adjustment carries a reason that the member can read.")
)
class AdjustInput:
    member: strawberry.ID
    points: Long | None = strawberry.UNSET
    money: MoneyInput | None = strawberry.UNSET
    pocket: Pocket | None = strawberry.UNSET
    reason: str
    idempotency_key: IdempotencyKey


@strawberry.type
class BalanceAdjusted(Posted):
    pass


AdjustResult = Annotated[
    BalanceAdjusted | InsufficientBalance | NotFound | IdempotencyMismatch | InvalidInput,
    strawberry.union("AdjustResult"),
]


@strawberry.type
class AdjustmentMutation:
    @described("scope: staff:adjust")
    async def adjust_balance(
        self, info: Info, wanted: Annotated[AdjustInput, strawberry.argument(name="input")]
    ) -> AdjustResult:
        return await _adjust(info.context, wanted)


async def _adjust(context: Context, wanted: AdjustInput) -> AdjustResult:
    ledger, actor = context.wallet.ledger, context.caller.actor
    fingerprint = fingerprint_of(ADJUST, plain(wanted))
    (member,) = await find_members(context, [MemberLookup(id=wanted.member)])
    if member is None:
        return await answer_kept(
            no_member(), context, BalanceAdjusted, key=wanted.idempotency_key, fingerprint=fingerprint
        )
    adjustment = read_adjustment(wanted)
    if isinstance(adjustment, Problem):
        return told(adjustment, BalanceAdjusted)
    await joined(ledger, member)
    command = Command(
        member=member.id,
        actor=actor,
        key=wanted.idempotency_key,
        operation=ADJUST,
        fingerprint=fingerprint,
        decide=partial(decide_adjustment, adjustment),
        check=lambda programme, _now: check_adjustment(adjustment, programme),
    )
    return await answer(await ledger.commit(command), member, context, BalanceAdjusted)


def read_adjustment(wanted: AdjustInput) -> Adjustment | Problem:
    """The adjustment that was asked for, or everything in it that cannot be read."""
    faults, asset, amount = Faults(), POINTS, 0
    points, amount_of_money, pocket = given(wanted.points), given(wanted.money), given(wanted.pocket)
    if (points is None) == (amount_of_money is None):
        faults.add("points", "Send exactly one of points and money.")
    elif amount_of_money is not None:
        amount = faults.minor("money.amount", amount_of_money.amount, amount_of_money.currency)
        if not amount and not faults.found:
            faults.add("money.amount", "It is zero, which changes nothing.")
        if pocket not in (Pocket.PREPAID, Pocket.CASHBACK):
            faults.add("pocket", "Say which pocket the money is in: PREPAID or CASHBACK. A bonus cannot be adjusted.")
        else:
            asset = f"{pocket.value.lower()}/{amount_of_money.currency}"
    else:
        amount = points or 0
        if not 0 < abs(amount) <= MOST_POINTS:
            faults.add("points", f"It must be from 1 to {MOST_POINTS}, or as much below zero.")
        if pocket is not None:
            faults.add("pocket", "Points are in no pocket. Leave it out.")
    faults.text("reason", wanted.reason, longest=LONGEST_REASON)
    if (wrong := faults.problem) is not None:
        return wrong
    return Adjustment(asset=asset, amount=amount, reason=Note(text=wanted.reason, salt=secrets.token_hex(16)))
