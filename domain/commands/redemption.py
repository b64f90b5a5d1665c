"""Spending points on a reward: the points go and the voucher comes in one entry (SEMANTICS §5.1 to §5.3).

A reward with limited stock is reserved in the same transaction as the entry, so it is never oversold. A piece
comes back to the stock with a voucher that is cancelled, not with one that expires: what it stood for (a seat, a
basket) was kept for the member until then.
"""

from dataclasses import dataclass, replace
from datetime import date, datetime
from enum import StrEnum

from pymongo.asynchronous.client_session import AsyncClientSession

from domain.ledger.draft import Draft, Situation
from domain.ledger.due import REDEEMED
from domain.ledger.entry import Changes, Entry, EntryKind, member_of_entry
from domain.ledger.expiry import local_date, start_of_day
from domain.ledger.joint import Reserve
from domain.ledger.journal import Journal
from domain.ledger.posting import POINTS
from domain.ledger.voucher import VoucherEnd, VoucherStatus, entry_of_voucher
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Past:
    """What the journal says of a voucher: the entry that issued it, and how it ended, None while it is open."""

    issuing: Entry
    ended: VoucherStatus | None


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
    draft.issue(
        reward.voucher,
        reward=reward.id,
        paid=taken,
        returns_points=reward.if_expired == "return",
        is_limited=reward.stock is not None,
    )
    return draft.entry(changes=Changes(idle_until=draft.idle_until(), usage=_usage(reward, draft.today)))


def reserve_stock(store: Store, reward_id: str, stock: int) -> Reserve:
    """Takes one piece of a reward of which there are `stock` in all, or answers OUT_OF_STOCK."""

    async def reserve(session: AsyncClientSession, _: Entry) -> Problem | None:
        taken = await store.stock.update_one(
            {"_id": reward_id, "issued": {"$lt": stock}}, {"$inc": {"issued": 1}}, session=session
        )
        if taken.modified_count:
            return None
        return OutOfStock(message="This reward is out of stock.", reward=reward_id)

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

    It counts no more towards the limits that it was counted in when it was issued. `evidence` is what
    :func:`load_past` read.
    """
    voucher, past = situation.wallet.vouchers.get(wanted.voucher), situation.evidence
    if voucher is None:
        return _not_open(wanted.voucher, past)
    assert isinstance(past, Past), voucher.id
    if not voucher.paid:
        return NotEligible(message="This voucher was given, not bought with points.", reason="NOT_REDEEMED")
    draft = Draft(situation, EntryKind.VOUCHER_CANCELLED, situation.now)
    cost = sum(allocation.amount for allocation in voucher.paid)
    draft.restore(POINTS, voucher.paid, cost, before=0, source=REDEEMED)
    return draft.entry(
        changes=Changes(
            ended_vouchers=(VoucherEnd(id=voucher.id, status=VoucherStatus.CANCELLED),),
            usage=tuple(replace(counted, count=-counted.count) for counted in past.issuing.changes.usage),
        ),
        reverses=entry_of_voucher(voucher.id),
    )


def decide_use(voucher_id: str, receipt: str, situation: Situation) -> Entry | Problem:
    """The voucher is used on a receipt. `evidence` is what :func:`load_past` read."""
    voucher = situation.wallet.vouchers.get(voucher_id)
    if voucher is None:
        return _not_open(voucher_id, situation.evidence)
    draft = Draft(situation, EntryKind.VOUCHER_USED, situation.now)
    end = VoucherEnd(id=voucher.id, status=VoucherStatus.USED, receipt=receipt)
    return draft.entry(changes=Changes(ended_vouchers=(end,)), receipt=receipt)


async def load_past(voucher_id: str, journal: Journal, wallet: Wallet) -> Past | None:
    """What became of a voucher of the wallet's member; None if it is not one of his vouchers."""
    issuing_id = entry_of_voucher(voucher_id)
    if issuing_id is None or member_of_entry(issuing_id) != wallet.member:
        return None
    issuing = await journal.entry(issuing_id)
    if issuing is None or voucher_id not in {voucher.id for voucher in issuing.changes.vouchers}:
        return None
    if voucher_id in wallet.vouchers:
        return Past(issuing=issuing, ended=None)
    return Past(issuing=issuing, ended=await journal.ended_voucher(wallet.member, voucher_id))


def _not_open(voucher_id: str, past: Past | None) -> Problem:
    if past is None or past.ended is None:
        return NotFound(message=f"The member has no voucher {voucher_id[:60]}.", what="voucher")
    return WrongState(message=f"The voucher is {past.ended.lower()}.", state=past.ended.value)


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
    return NotEligible(message=_why_not(reward, block), reason=block.value)


def _why_not(reward: Reward, block: RewardBlock) -> str:
    valid = reward.valid
    match block:
        case RewardBlock.NOT_YET:
            assert valid is not None, reward.id
            return f"This reward can be had from {valid.from_} on."
        case RewardBlock.ENDED:
            assert valid is not None, reward.id
            return f"This reward could be had until {valid.until}; it is no longer offered."
        case RewardBlock.TIER_TOO_LOW:
            return f"This reward is for members of the tier {reward.tier} or a higher one."
        case _:
            raise AssertionError(block)


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


def _usage(reward: Reward, on: date) -> tuple[UsageChange, ...]:
    if reward.limit is None:
        return ()
    return (UsageChange(rule=_rule(reward), period=period_key(reward.limit.per, on), count=1, amount=0),)


def _rule(reward: Reward) -> str:
    return f"reward:{reward.id}"
