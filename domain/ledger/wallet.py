"""The wallet: the running total of one member's journal, and how to read it at an instant.

`wallet == fold(apply, journal)`: a wallet may be thrown away and rebuilt at any time. What is read from it
is effective at the instant of reading: an expired lot or a matured amount counts as such even before its
entry is posted (DESIGN §2, SEMANTICS §2.4).
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import date, datetime
from functools import reduce
from typing import Any, TypeVar

from domain.ledger.bonus import Bonus, bonus_document, bonus_from
from domain.ledger.entry import GENESIS, Balances, Entry, tier_document, tier_from
from domain.ledger.hold import Hold, hold_document, hold_from, with_lapsed
from domain.ledger.lot import (
    NEVER,
    Lot,
    LotKey,
    add,
    expiry_of,
    is_spendable,
    lot_document,
    lot_from,
    spending_order,
    take,
)
from domain.ledger.plan import RunningPlan, plan_document, plan_from
from domain.ledger.posting import AVAILABLE, HELD, OWED, PENDING, POINTS, Posting, is_members
from domain.ledger.referral import Referral, referral_document, referral_from
from domain.ledger.visit import with_purchase
from domain.ledger.voucher import Voucher, voucher_document, voucher_from
from domain.programme.earning import NOTHING_USED, UsageChange, Used
from domain.programme.mechanism import Progress
from domain.programme.mechanisms import progressed
from domain.programme.period import is_past
from domain.programme.tiers import TierState
from domain.store.slots import slot_of

_Held = TypeVar("_Held", Voucher, Bonus, Hold)


@dataclass(frozen=True, slots=True, kw_only=True)
class Wallet:
    """The fold of the entries 1 … `sequence`; `head` is the hash of the last of them.

    `owed` and `idle_until` are per asset, `usage` per rule and period, `metric` per programme's day and measure.
    Vouchers, bonuses and holds are the open ones, by id. `progress` are the states of mechanisms, by section and key.
    `recent_purchases` are when the latest of them occurred, in order: they say what is a visit.
    """

    member: str
    sequence: int = 0
    head: str = GENESIS
    lots: tuple[Lot, ...] = ()
    owed: Mapping[str, int] = field(default_factory=dict)
    idle_until: Mapping[str, datetime] = field(default_factory=dict)
    usage: Mapping[str, Mapping[str, Used]] = field(default_factory=dict)
    metric: Mapping[str, int] = field(default_factory=dict)
    tier: TierState | None = None
    joined_at: datetime | None = None
    purchases: int = 0
    visits: int = 0
    spend_minor: int = 0
    purchased_at: datetime | None = None
    recent_purchases: tuple[datetime, ...] = ()
    lifetime_points: int = 0
    vouchers: Mapping[str, Voucher] = field(default_factory=dict)
    bonuses: Mapping[str, Bonus] = field(default_factory=dict)
    holds: Mapping[str, Hold] = field(default_factory=dict)
    plan: RunningPlan | None = None
    referral: Referral | None = None
    progress: Progress = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """What a wallet holds of one asset at one instant, in the asset's unit.

    `expiring` is what is available and will expire: amount and first instant at which it is gone, soonest first.
    """

    available: int
    pending: int
    held: int
    owed: int
    expiring: tuple[tuple[int, datetime], ...]


def apply(wallet: Wallet, entry: Entry) -> Wallet:
    """The wallet after the entry. Pure; entries must come in their sequence, each on the hash before it."""
    assert entry.member == wallet.member, (entry.id, wallet.member)
    assert entry.sequence == wallet.sequence + 1, (entry.id, wallet.sequence)
    assert entry.previous_hash == wallet.head, entry.id
    lots, owed = _moved(wallet.lots, wallet.owed, entry)
    changes = entry.changes
    return replace(
        wallet,
        sequence=entry.sequence,
        head=entry.hash,
        lots=lots,
        owed=owed,
        idle_until={**wallet.idle_until, **changes.idle_until} if changes.idle_until else wallet.idle_until,
        usage=_used(wallet.usage, changes.usage, changes.usage_from),
        metric=_measured(wallet.metric, changes.metric, changes.metric_from),
        tier=changes.tier or wallet.tier,
        joined_at=wallet.joined_at or changes.joined_at,
        purchases=wallet.purchases + changes.purchases,
        visits=wallet.visits + changes.visits,
        spend_minor=wallet.spend_minor + changes.spend_minor,
        purchased_at=_latest(wallet.purchased_at, changes.purchased_at),
        recent_purchases=(
            wallet.recent_purchases
            if changes.purchased_at is None
            else with_purchase(wallet.recent_purchases, changes.purchased_at)
        ),
        lifetime_points=wallet.lifetime_points + changes.lifetime_points,
        vouchers=_changed(wallet.vouchers, changes.vouchers, [end.id for end in changes.ended_vouchers]),
        bonuses=_changed(wallet.bonuses, changes.bonuses, changes.ended_bonuses),
        holds=_changed(
            _lapsed(wallet, entry),
            () if changes.hold is None else (changes.hold,),
            () if changes.ended_hold is None else (changes.ended_hold,),
        ),
        plan=None if changes.ended_plan is not None else changes.plan or wallet.plan,
        referral=changes.referral or wallet.referral,
        progress=progressed(wallet.progress, changes.progress),
    )


def fold(wallet: Wallet, entries: Iterable[Entry]) -> Wallet:
    """The wallet after all the entries, in order."""
    return reduce(apply, entries, wallet)


def standing(wallet: Wallet, asset: str, at: datetime) -> Standing:
    """What the wallet holds of the asset at that instant, swept or not."""
    lots = [lot for lot in wallet.lots if lot.asset == asset]
    pending = sum(lot.remaining for lot in lots if lot.key.pending_until is not None and lot.key.pending_until > at)
    ended = [hold for hold in wallet.holds.values() if hold.expires_at <= at]
    held = sum(part.amount for hold in wallet.holds.values() for part in hold.parts if part.asset == asset)
    released = [(hold.expires_at, lot) for hold in ended for lot in _released(hold, asset)]
    matured = [(until, lot) for lot in lots if (until := lot.key.pending_until) is not None and until <= at]
    arrived, owed = _after_debt([*released, *matured], wallet.owed.get(asset, 0))
    present = [*(lot for lot in lots if lot.key.pending_until is None), *arrived]
    spendable = [lot for lot in present if is_spendable(lot, at=at, idle_until=wallet.idle_until)]
    assert not (owed and spendable), wallet.member
    return Standing(
        available=sum(lot.remaining for lot in spendable),
        pending=pending,
        held=held - sum(lot.remaining for _, lot in released),
        owed=owed,
        expiring=_expiring(spendable, wallet.idle_until),
    )


def available(wallet: Wallet, asset: str, at: datetime) -> int:
    """What can be spent of the asset at that instant: `standing(…).available`, without the rest of it."""
    if wallet.holds or wallet.owed:
        return standing(wallet, asset, at).available
    return sum(
        lot.remaining
        for lot in wallet.lots
        if lot.asset == asset and is_spendable(lot, at=at, idle_until=wallet.idle_until)
    )


def assets_of(wallet: Wallet) -> set[str]:
    """Every asset that the wallet holds or owes."""
    held = {part.asset for hold in wallet.holds.values() for part in hold.parts}
    return {lot.asset for lot in wallet.lots} | {asset for asset, amount in wallet.owed.items() if amount} | held


def balances(wallet: Wallet, at: datetime) -> Balances:
    """What is available of each asset at that instant."""
    money: dict[str, int] = {}
    for asset in sorted(assets_of(wallet) - {POINTS}):
        if amount := available(wallet, asset, at):
            money[asset] = amount
    return Balances(points=available(wallet, POINTS, at), money=money)


def next_due_at(wallet: Wallet) -> datetime | None:
    """The earliest instant at which an entry falls due: a maturity, an expiry, a review, a plan's end (DESIGN §3)."""
    instants = [due_of(lot, wallet.idle_until) for lot in wallet.lots]
    if wallet.tier is not None and wallet.tier.valid_until is not None:
        instants.append(wallet.tier.valid_until)
    if wallet.plan is not None:
        instants.append(wallet.plan.paid_until)
    instants += [hold.expires_at for hold in wallet.holds.values()]
    instants += [bonus.expires_at for bonus in wallet.bonuses.values()]
    instants += [voucher.expires_at for voucher in wallet.vouchers.values() if voucher.expires_at is not None]
    earliest = min(instants, default=NEVER)
    return None if earliest == NEVER else earliest


def next_work_at(wallet: Wallet) -> datetime | None:
    """The earliest instant at which a worker has something to do for the wallet: an entry due on it, or a referral."""
    purchase = None if wallet.referral is None else wallet.referral.first
    instants = [next_due_at(wallet), None if purchase is None else purchase.final_at]
    return min((at for at in instants if at is not None), default=None)


def due_of(lot: Lot, idle_until: Mapping[str, datetime]) -> datetime:
    """When something falls due for the lot: its maturity while it is pending, else its expiry."""
    return lot.key.pending_until or expiry_of(lot, idle_until)


def wallet_document(wallet: Wallet) -> dict[str, Any]:
    """The wallet as stored."""
    document: dict[str, Any] = {
        "_id": wallet.member,
        "slot": slot_of(wallet.member),
        "seq": wallet.sequence,
        "head": wallet.head,
        "lots": [lot_document(lot) for lot in wallet.lots],
        "owed": dict(wallet.owed),
        "idle_until": dict(wallet.idle_until),
        "usage": {
            rule: {period: [used.count, used.amount, used.cashback_minor] for period, used in periods.items()}
            for rule, periods in wallet.usage.items()
        },
        "metric": dict(wallet.metric),
        "joined_at": wallet.joined_at,
        "purchases": wallet.purchases,
        "visits": wallet.visits,
        "spend_minor": wallet.spend_minor,
        "purchased_at": wallet.purchased_at,
        "lifetime_points": wallet.lifetime_points,
    }
    if wallet.tier is not None:
        document["tier"] = tier_document(wallet.tier)
    if wallet.vouchers:
        document["vouchers"] = [voucher_document(voucher) for voucher in wallet.vouchers.values()]
    if wallet.bonuses:
        document["bonuses"] = [bonus_document(bonus) for bonus in wallet.bonuses.values()]
    if wallet.holds:
        document["holds"] = [hold_document(hold) for hold in wallet.holds.values()]
    if wallet.plan is not None:
        document["plan"] = plan_document(wallet.plan)
    if wallet.referral is not None:
        document["referral"] = referral_document(wallet.referral)
    if wallet.recent_purchases:
        document["recent_purchases"] = list(wallet.recent_purchases)
    if wallet.progress:
        document["progress"] = {section: dict(states) for section, states in wallet.progress.items()}
    if (due := next_work_at(wallet)) is not None:
        document["next_due_at"] = due
    return document


def wallet_from(document: Mapping[str, Any]) -> Wallet:
    """The wallet that :func:`wallet_document` wrote."""
    tier, plan, referral = document.get("tier"), document.get("plan"), document.get("referral")
    return Wallet(
        member=document["_id"],
        sequence=document["seq"],
        head=document["head"],
        lots=tuple(lot_from(lot) for lot in document["lots"]),
        owed=document["owed"],
        idle_until=document["idle_until"],
        usage={
            rule: {period: _used_from(*used) for period, used in periods.items()}
            for rule, periods in document["usage"].items()
        },
        metric=document["metric"],
        tier=None if tier is None else tier_from(tier),
        joined_at=document["joined_at"],
        purchases=document["purchases"],
        visits=document["visits"],
        spend_minor=document["spend_minor"],
        purchased_at=document["purchased_at"],
        lifetime_points=document["lifetime_points"],
        vouchers={one["id"]: voucher_from(one) for one in document.get("vouchers", ())},
        bonuses={one["id"]: bonus_from(one) for one in document.get("bonuses", ())},
        holds={one["id"]: hold_from(one) for one in document.get("holds", ())},
        plan=None if plan is None else plan_from(plan),
        referral=None if referral is None else referral_from(referral),
        recent_purchases=tuple(document.get("recent_purchases", ())),
        progress=document.get("progress", {}),
    )


def _moved(lots: tuple[Lot, ...], owed: Mapping[str, int], entry: Entry) -> tuple[tuple[Lot, ...], Mapping[str, int]]:
    debts = dict(owed)
    for posting in entry.postings:
        earned_at = entry.occurred_at
        if posting.source == OWED:
            debts[posting.asset] = debts.get(posting.asset, 0) + posting.amount
        elif is_members(posting.source) and posting.source != HELD:
            assert posting.from_lot is not None, posting
            earned_at = _lot(lots, posting.asset, posting.from_lot).earned_at
            lots = take(lots, posting.asset, posting.from_lot, posting.amount)
        if posting.destination == OWED:
            debts[posting.asset] = debts.get(posting.asset, 0) - posting.amount
            assert debts[posting.asset] >= 0, posting
        elif is_members(posting.destination) and posting.destination != HELD:
            lots = add(lots, _arrived(posting, earned_at))
    return lots, {asset: amount for asset, amount in debts.items() if amount}


def _lot(lots: tuple[Lot, ...], asset: str, key: LotKey) -> Lot:
    for lot in lots:
        if lot.asset == asset and lot.key == key:
            return lot
    raise AssertionError(f"no lot {key} of {asset}")


def _arrived(posting: Posting, earned_at: datetime) -> Lot:
    assert posting.to_lot is not None, posting
    assert posting.destination == (AVAILABLE if posting.to_lot.pending_until is None else PENDING), posting
    return Lot(asset=posting.asset, key=posting.to_lot, remaining=posting.amount, earned_at=earned_at)


def _used_from(count: int, amount: int, cashback_minor: int = 0) -> Used:
    return Used(count=count, amount=amount, cashback_minor=cashback_minor)


def _used(
    usage: Mapping[str, Mapping[str, Used]], changes: tuple[UsageChange, ...], since: str | None
) -> Mapping[str, Mapping[str, Used]]:
    if not changes and since is None:
        return usage
    oldest = date.min if since is None else date.fromisoformat(since)
    result = {
        rule: {period: used for period, used in periods.items() if not is_past(period, oldest)}
        for rule, periods in usage.items()
    }
    for change in changes:
        periods = result.setdefault(change.rule, {})
        periods[change.period] = periods.get(change.period, NOTHING_USED).plus(change)
    return {rule: periods for rule, periods in result.items() if periods}


def _measured(metric: Mapping[str, int], changes: Mapping[str, int], since: str | None) -> Mapping[str, int]:
    if not changes and since is None:
        return metric
    result = {day: amount for day, amount in metric.items() if since is None or day >= since}
    for day, amount in changes.items():
        result[day] = result.get(day, 0) + amount
    return {day: amount for day, amount in result.items() if amount}


def _released(hold: Hold, asset: str) -> list[Lot]:
    """The lots that an expired hold gives back, as they were."""
    return [
        Lot(asset=asset, key=allocation.key, remaining=allocation.amount, earned_at=hold.created_at)
        for part in hold.parts
        if part.asset == asset
        for allocation in part.taken
    ]


def _lapsed(wallet: Wallet, entry: Entry) -> Mapping[str, Hold]:
    """The open holds before an entry that gives new idle dates: what lapsed by then keeps the date it had."""
    if not (wallet.holds and entry.changes.idle_until):
        return wallet.holds
    return {name: with_lapsed(hold, wallet.idle_until, at=entry.posted_at) for name, hold in wallet.holds.items()}


def _changed(open_ones: Mapping[str, _Held], new: Iterable[_Held], ended: Iterable[str]) -> Mapping[str, _Held]:
    if not new and not ended:
        return open_ones
    result = {**open_ones, **{one.id: one for one in new}}
    for identifier in ended:
        del result[identifier]
    return result


def _after_debt(arrivals: Iterable[tuple[datetime, Lot]], owed: int) -> tuple[list[Lot], int]:
    """What is left of lots that became spendable at those instants once they paid what was owed then, in order."""
    left: list[Lot] = []
    for _, lot in sorted(arrivals, key=lambda arrival: arrival[0]):
        paid = min(owed, lot.remaining)
        owed -= paid
        if lot.remaining > paid:
            left.append(replace(lot, remaining=lot.remaining - paid))
    return left, owed


def _expiring(spendable: list[Lot], idle_until: Mapping[str, datetime]) -> tuple[tuple[int, datetime], ...]:
    expiring: dict[datetime, int] = {}
    for lot in spending_order(spendable, idle_until=idle_until):
        expires_at = expiry_of(lot, idle_until)
        if expires_at != NEVER:
            expiring[expires_at] = expiring.get(expires_at, 0) + lot.remaining
    return tuple((amount, at) for at, amount in expiring.items())


def _latest(one: datetime | None, other: datetime | None) -> datetime | None:
    return max(one, other) if one is not None and other is not None else one or other
