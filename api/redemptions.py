"""Redemptions: points for a reward's voucher, by the member or by the till for him; and giving a voucher back.

A reward with limited stock goes through the joint commit with its stock, any other through the ledger alone.
"""

from functools import partial
from typing import Annotated, Final

import strawberry

from api.context import Context, Info, require_member, require_partner
from api.described import described
from api.faults import Faults, plain
from api.members import MemberLookup, find_members, no_member, own_record, voucher_now
from api.posted import Posted, answer, catch_up
from api.problems import (
    IdempotencyMismatch,
    InsufficientBalance,
    InvalidInput,
    LimitReached,
    NotEligible,
    NotFound,
    OutOfStock,
    WrongState,
    told,
)
from api.scalars import IdempotencyKey
from api.vouchers import Voucher
from domain.commands.redemption import (
    Cancellation,
    check_redemption,
    decide_cancellation,
    decide_redemption,
    load_past,
    open_stock,
    reserve_stock,
    return_stock,
)
from domain.ledger.command import Command, Fingerprint, fingerprint_of
from domain.ledger.entry import Entry
from domain.ledger.issued import vouchers_by_id
from domain.ledger.joint import commit_jointly
from domain.ledger.outcome import Outcome
from domain.members.enrolment import joined
from domain.members.member import Member
from domain.members.presence import may_take_value, presence_needed

REDEEM: Final = "redeemReward"
REDEEM_FOR: Final = "redeemRewardFor"
CANCEL: Final = "cancelVoucher"
SPEND: Final = "points:spend"


@strawberry.input
class RedeemRewardInput:
    reward: strawberry.ID
    idempotency_key: IdempotencyKey


@strawberry.type
class RewardRedeemed(Posted):
    voucher: Voucher


RedeemRewardResult = Annotated[
    RewardRedeemed
    | InsufficientBalance
    | OutOfStock
    | LimitReached
    | NotEligible
    | NotFound
    | IdempotencyMismatch
    | InvalidInput,
    strawberry.union("RedeemRewardResult"),
]


@strawberry.input(description="Give an unused voucher back; points return to the lots they came from.")
class CancelVoucherInput:
    voucher: strawberry.ID
    idempotency_key: IdempotencyKey


@strawberry.type
class VoucherCancelled(Posted):
    voucher: Voucher


CancelVoucherResult = Annotated[
    VoucherCancelled | WrongState | NotFound | NotEligible | IdempotencyMismatch | InvalidInput,
    strawberry.union("CancelVoucherResult"),
]


@strawberry.type
class RedemptionMutation:
    @strawberry.field
    async def redeem_reward(
        self, info: Info, wanted: Annotated[RedeemRewardInput, strawberry.argument(name="input")]
    ) -> RedeemRewardResult:
        require_member(info)
        member = await own_record(info)
        return await _redeem(info.context, wanted, member, REDEEM, fingerprint_of(REDEEM, plain(wanted)))

    @described("Spend points on a reward for the member at the till. scope: points:spend")
    async def redeem_reward_for(
        self,
        info: Info,
        by: Annotated[MemberLookup, strawberry.argument(name="member")],
        wanted: Annotated[RedeemRewardInput, strawberry.argument(name="input")],
    ) -> RedeemRewardResult:
        return await _redeem_for(info, by, wanted)

    @strawberry.field
    async def cancel_voucher(
        self, info: Info, wanted: Annotated[CancelVoucherInput, strawberry.argument(name="input")]
    ) -> CancelVoucherResult:
        require_member(info)
        return await _cancel(info, wanted)


async def _redeem_for(info: Info, by: MemberLookup, wanted: RedeemRewardInput) -> RedeemRewardResult:
    """As the member would, if he stands there or let the partner do it (SEMANTICS §9.2)."""
    context, client_id = info.context, require_partner(info).client_id
    ledger, actor = context.wallet.ledger, context.caller.actor
    fingerprint = fingerprint_of(REDEEM_FOR, {"member": plain(by), "input": plain(wanted)})
    (member,) = await find_members(context, [by])
    may = member is not None and await may_take_value(
        context.wallet.store, member.id, client_id=client_id, scope=SPEND, now=context.now
    )
    if member is None or not may:
        kept = await ledger.kept(actor, wanted.idempotency_key, fingerprint)
        if kept is not None:
            return await _redeemed(kept, member, context)
        return told(no_member() if member is None else presence_needed(), RewardRedeemed)
    return await _redeem(context, wanted, member, REDEEM_FOR, fingerprint)


async def _redeem(
    context: Context, wanted: RedeemRewardInput, member: Member, operation: str, fingerprint: Fingerprint
) -> RedeemRewardResult:
    faults = Faults()
    faults.text("reward", wanted.reward)
    if (wrong := faults.problem) is not None:
        return told(wrong, RewardRedeemed)
    ledger, store = context.wallet.ledger, context.wallet.store
    await joined(ledger, member)
    command = Command(
        member=member.id,
        actor=context.caller.actor,
        key=wanted.idempotency_key,
        operation=operation,
        fingerprint=fingerprint,
        decide=partial(decide_redemption, str(wanted.reward)),
        check=lambda programme, _now: check_redemption(wanted.reward, programme),
    )
    reward = ledger.programme.rewards.get(wanted.reward)
    if reward is None or reward.stock is None:
        return await _redeemed(await ledger.commit(command), member, context)
    await open_stock(store, reward.id)
    outcome = await commit_jointly(
        ledger, command, reserve=reserve_stock(store, reward.id, reward.stock), queues=[f"reward {reward.id}"]
    )
    return await _redeemed(outcome, member, context)


async def _redeemed(outcome: Outcome, member: Member | None, context: Context) -> RedeemRewardResult:
    if not isinstance(outcome.decided, Entry):
        return told(outcome.decided, RewardRedeemed)
    await catch_up(outcome, context)
    (issued,) = outcome.decided.changes.vouchers
    voucher = await voucher_now(issued.id, member, context)
    return await answer(outcome, member, context, RewardRedeemed, extra=lambda _: {"voucher": voucher})


async def _cancel(info: Info, wanted: CancelVoucherInput) -> CancelVoucherResult:
    context = info.context
    ledger, store, identifier = context.wallet.ledger, context.wallet.store, str(wanted.voucher)
    member = await own_record(info)
    issued = (await vouchers_by_id(store, [identifier], now=context.now)).get(identifier)
    command = Command(
        member=member.id,
        actor=context.caller.actor,
        key=wanted.idempotency_key,
        operation=CANCEL,
        fingerprint=fingerprint_of(CANCEL, plain(wanted)),
        decide=partial(decide_cancellation, Cancellation(voucher=identifier)),
        load=partial(load_past, identifier),
    )
    if issued is not None and issued.member == member.id and issued.voucher.is_limited:
        reward = issued.voucher.reward
        assert reward is not None, identifier
        outcome = await commit_jointly(
            ledger, command, reserve=return_stock(store, reward), queues=[f"reward {reward}"]
        )
    else:
        outcome = await ledger.commit(command)
    if not isinstance(outcome.decided, Entry):
        return told(outcome.decided, VoucherCancelled)
    await catch_up(outcome, context)
    voucher = await voucher_now(identifier, member, context)
    return await answer(outcome, member, context, VoucherCancelled, extra=lambda _: {"voucher": voucher})
