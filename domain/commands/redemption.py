"""Spending points on a reward: the points go and the voucher comes in one entry (SEMANTICS §5.1 to §5.3).

A reward with limited stock is reserved in the same transaction as the entry, so it is never oversold.
"""

from dataclasses import dataclass
from datetime import date, datetime
from enum import StrEnum

from pymongo.asynchronous.client_session import AsyncClientSession

from domain.ledger.draft import Draft, Situation
from domain.ledger.due import REDEEMED
from domain.ledger.entry import Changes, Entry, EntryKind
from domain.ledger.expiry import local_date, start_of_day
from domain.ledger.joint import Reserve
from domain.ledger.posting import POINTS
from domain.ledger.voucher import Voucher, VoucherEnd, VoucherStatus, entry_of_voucher
from domain.ledger.wallet import Wallet, standing
from domain.problems import LimitReached, NotEligible, NotFound, OutOfStock, Problem, WrongState
from domain.programme.earning import UsageChange
from domain.programme.format import Reward
from domain.programme.period import next_start, period_key
from domain.programme.programme import Programme
from domain.programme.tiers import held
from domain.store.connection import Store


class RewardBlock(StrEnum):
    """Why a member cannot have a reward now; the contract's enumeration."""

    NOT_ENOUGH_POINTS = "NOT_ENOUGH_POINTS"
    OUT_OF_STOCK = "OUT_OF_STOCK"
    LIMIT_REACHED = "LIMIT_REACHED"
    TIER_TOO_LOW = "TIER_TOO_LOW"
    NOT_YET = "NOT_YET"
    ENDED = "ENDED"


@dataclass(frozen=True, slots=True, kw_only=True)
class Cancellation:
    """An unused voucher that the member gives back."""

    voucher: str


def check_redemption(reward: str, programme: Programme) -> Problem | None:
    """Whether the programme has the reward."""
    if reward in programme.rewards:
        return None
    return NotFound(message=f"The programme has no reward {reward!r}.", what="reward")


def block_of(
    reward: Reward, programme: Programme, wallet: Wallet, *, at: datetime, stock_left: int | None
) -> RewardBlock | None:
    """The first reason why the member cannot have the reward at that instant, None when he can.

    `stock_left` is None when the reward is not limited.
    """
    today = local_date(at, programme.zone)
    if reward.valid is not None and reward.valid.from_ is not None and today < reward.valid.from_:
        return RewardBlock.NOT_YET
    if reward.valid is not None and reward.valid.until is not None and today >= reward.valid.until:
        return RewardBlock.ENDED
    if not _is_tier_enough(reward, programme, wallet):
        return RewardBlock.TIER_TOO_LOW
    if stock_left is not None and stock_left <= 0:
        return RewardBlock.OUT_OF_STOCK
    if _is_limit_reached(reward, wallet, today):
        return RewardBlock.LIMIT_REACHED
    if standing(wallet, POINTS, at).available < reward.cost:
        return RewardBlock.NOT_ENOUGH_POINTS
    return None


def decide_redemption(reward_id: str, situation: Situation) -> Entry | Problem:
    """The REDEEM entry with its voucher, or why not; stock is the transaction's business."""
    reward = situation.programme.rewards[reward_id]
    draft = Draft(situation, EntryKind.REDEEM, situation.now)
    if problem := _refused(reward, draft):
        return problem
    taken = draft.spend(POINTS, reward.cost, destination=REDEEMED)
    draft.issue(reward.voucher, reward=reward.id, paid=taken, returns_points=reward.if_expired == "return")
    return draft.entry(changes=Changes(idle_until=draft.idle_until(), usage=_usage(reward, draft.today, count=1)))


def reserve_stock(store: Store, reward_id: str, stock: int) -> Reserve:
    """Takes one piece of a reward of which there are `stock` in all, or answers OUT_OF_STOCK."""

    async def reserve(session: AsyncClientSession, _: Entry) -> Problem | None:
        taken = await store.stock.update_one(
            {"_id": reward_id, "issued": {"$lt": stock}}, {"$inc": {"issued": 1}}, session=session
        )
        if taken.modified_count:
            return None
        return OutOfStock(message="The last one is gone.", reward=reward_id)

    return reserve


def return_stock(store: Store, reward_id: str) -> Reserve:
    """Gives one piece of a limited reward back."""

    async def reserve(session: AsyncClientSession, _: Entry) -> Problem | None:
        await store.stock.update_one(
            {"_id": reward_id, "issued": {"$gt": 0}}, {"$inc": {"issued": -1}}, session=session
        )
        return None

    return reserve


async def open_stock(store: Store, reward_id: str) -> None:
    """Makes the count of a limited reward, if it is not there yet; to be awaited before its first reservation."""
    await store.stock.update_one({"_id": reward_id}, {"$setOnInsert": {"issued": 0}}, upsert=True)


async def stock_left(store: Store, programme: Programme) -> dict[str, int]:
    """How many are left of each limited reward."""
    limited = {reward.id: reward.stock for reward in programme.rewards.values() if reward.stock is not None}
    issued = {count["_id"]: count["issued"] async for count in store.stock.find({"_id": {"$in": list(limited)}})}
    return {reward: max(0, stock - issued.get(reward, 0)) for reward, stock in limited.items()}


def decide_cancellation(wanted: Cancellation, situation: Situation) -> Entry | Problem:
    """Points go back to the lots they came from, last taken first, and the voucher ends (SEMANTICS §5.3).

    `evidence` is the voucher's end, if it ended, as :func:`ended_status` reads it.
    """
    voucher = situation.wallet.vouchers.get(wanted.voucher)
    if voucher is None:
        return _not_open(wanted.voucher, situation.evidence)
    if not voucher.paid:
        return NotEligible(message="This voucher was given, not bought with points.", reason="NOT_REDEEMED")
    draft = Draft(situation, EntryKind.VOUCHER_CANCELLED, situation.now)
    cost = sum(allocation.amount for allocation in voucher.paid)
    draft.restore(POINTS, voucher.paid, cost, before=0, source=REDEEMED)
    reward = situation.programme.rewards.get(voucher.reward or "")
    issued_on = date.fromisoformat(voucher.issued_on)
    return draft.entry(
        changes=Changes(
            ended_vouchers=(VoucherEnd(id=voucher.id, status=VoucherStatus.CANCELLED),),
            usage=() if reward is None else _usage(reward, issued_on, count=-1),
        ),
        reverses=entry_of_voucher(voucher.id),
    )


def decide_use(voucher_id: str, receipt: str, situation: Situation) -> Entry | Problem:
    """The voucher is used on a receipt; `evidence` is how it ended, if it did."""
    voucher: Voucher | None = situation.wallet.vouchers.get(voucher_id)
    if voucher is None:
        return _not_open(voucher_id, situation.evidence)
    draft = Draft(situation, EntryKind.VOUCHER_USED, situation.now)
    end = VoucherEnd(id=voucher.id, status=VoucherStatus.USED, receipt=receipt)
    return draft.entry(changes=Changes(ended_vouchers=(end,)), receipt=receipt)


async def ended_status(store: Store, voucher_id: str, member: str) -> VoucherStatus | None:
    """How a voucher of the member ended; None when it is not known or not ended."""
    document = await store.vouchers.find_one({"_id": voucher_id, "member": member})
    if document is None or document["status"] == VoucherStatus.ACTIVE.value:
        return None
    return VoucherStatus(document["status"])


def _not_open(voucher_id: str, ended: VoucherStatus | None) -> Problem:
    if ended is None:
        return NotFound(message=f"The member has no voucher {voucher_id}.", what="voucher")
    return WrongState(message=f"The voucher is {ended.lower()}.", state=ended.value)


def _refused(reward: Reward, draft: Draft) -> Problem | None:
    programme, wallet, now = draft.situation.programme, draft.situation.wallet, draft.situation.now
    block = block_of(reward, programme, wallet, at=now, stock_left=None)
    if block is None:
        return None
    if block is RewardBlock.NOT_ENOUGH_POINTS:
        return draft.shortage(POINTS, reward.cost)
    if block is RewardBlock.LIMIT_REACHED:
        assert reward.limit is not None, reward.id
        resets_on = next_start(reward.limit.per, draft.today)
        return LimitReached(
            message=f"At most {reward.limit.count} of this reward per {reward.limit.per}.",
            limit=reward.id,
            headroom="0",
            resets_at=None if resets_on is None else start_of_day(resets_on, programme.zone),
        )
    return NotEligible(message="The member cannot have this reward now.", reason=block.value)


def _is_tier_enough(reward: Reward, programme: Programme, wallet: Wallet) -> bool:
    if reward.tier is None or programme.tiers is None:
        return True
    ranks = {level.id: rank for rank, level in enumerate(programme.tiers.levels)}
    return ranks[held(programme.tiers, wallet.tier).id] >= ranks[reward.tier]


def _is_limit_reached(reward: Reward, wallet: Wallet, today: date) -> bool:
    if reward.limit is None:
        return False
    used = wallet.usage.get(_rule(reward), {}).get(period_key(reward.limit.per, today))
    return used is not None and used.count >= reward.limit.count


def _usage(reward: Reward, on: date, *, count: int) -> tuple[UsageChange, ...]:
    if reward.limit is None:
        return ()
    return (UsageChange(rule=_rule(reward), period=period_key(reward.limit.per, on), count=count, amount=0),)


def _rule(reward: Reward) -> str:
    return f"reward:{reward.id}"
