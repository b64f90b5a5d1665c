"""What falls due on a wallet: pending value that matures, value that expires, a tier's review, a plan's renewal.

One entry stands for all that falls due of one kind at one instant. Its key is made of kind, instant and
sequence, so any number of workers, and any command that finds the wallet unsettled, post it once (DESIGN §3).
"""

from dataclasses import replace
from datetime import UTC, datetime

from domain.ledger.bonus import Bonus
from domain.ledger.draft import Draft, Situation, policy_of
from domain.ledger.entry import Changes, Entry, EntryKind
from domain.ledger.expiry import expires_at, local_date
from domain.ledger.hold import Hold
from domain.ledger.lot import NEVER, Lot
from domain.ledger.plan import RunningPlan, renewed
from domain.ledger.posting import POINTS
from domain.ledger.voucher import Voucher, VoucherEnd, VoucherStatus
from domain.ledger.wallet import Wallet, apply, due_of, fold, next_due_at
from domain.money import to_minor
from domain.programme.programme import Programme
from domain.programme.tiers import review
from domain.store.codec import format_instant

SYSTEM = "system"
EXPIRED = "programme/expired"
REDEEMED = "programme/redeemed"
PLANS = "programme/plans"

FOR_GOOD = datetime(9999, 1, 1, tzinfo=UTC)

MAX_DUES = 1_000
"""No wallet has more falling due in one go; what is left goes with the next."""


def due_entries(wallet: Wallet, programme: Programme, *, now: datetime) -> list[Entry]:
    """The entries for all that has fallen due by `now`, in order, at most :data:`MAX_DUES` of them."""
    entries: list[Entry] = []
    while len(entries) < MAX_DUES:
        due_at = next_due_at(wallet)
        if due_at is None or due_at > now:
            break
        entries.append(settle_next(wallet, due_at, programme, now=now))
        wallet = apply(wallet, entries[-1])
    return entries


def as_settled(wallet: Wallet, programme: Programme, now: datetime) -> Wallet:
    """The wallet as if all that has fallen due were posted: what a reader is shown (SEMANTICS §2.4)."""
    due_at = next_due_at(wallet)
    return wallet if due_at is None or due_at > now else fold(wallet, due_entries(wallet, programme, now=now))


def settle_next(wallet: Wallet, due_at: datetime, programme: Programme, *, now: datetime) -> Entry:
    """The entry for the first that falls due at that instant: a hold, expiries, maturities, a plan, the tier."""
    for hold in wallet.holds.values():
        if hold.expires_at == due_at:
            return _void(wallet, hold, programme, now)
    due = [lot for lot in wallet.lots if due_of(lot, wallet.idle_until) == due_at]
    expiring = [lot for lot in due if lot.key.pending_until is None]
    vouchers = [voucher for voucher in wallet.vouchers.values() if voucher.expires_at == due_at]
    bonuses = [bonus for bonus in wallet.bonuses.values() if bonus.expires_at == due_at]
    if expiring or vouchers or bonuses:
        return _expire(wallet, due_at, programme, now, lots=expiring, vouchers=vouchers, bonuses=bonuses)
    if due:
        draft = _draft(wallet, EntryKind.MATURE, due_at, programme, now)
        for lot in due:
            draft.mature(lot)
        return draft.entry(changes=Changes(idle_until=_idle_from(wallet, due, due_at, programme)))
    if wallet.plan is not None and wallet.plan.paid_until == due_at:
        return _renew(wallet, wallet.plan, programme, now)
    return _review(wallet, due_at, programme, now)


def _idle_from(wallet: Wallet, lots: list[Lot], due_at: datetime, programme: Programme) -> dict[str, datetime]:
    """New idle dates for assets that had gone idle before this value of theirs matured (SEMANTICS §2.6).

    Under a policy of today that never ends, the value lasts for good.
    """
    result: dict[str, datetime] = {}
    for lot in lots:
        if lot.key.idle and wallet.idle_until.get(lot.asset, NEVER) <= due_at:
            policy = policy_of(programme, lot.asset).expiry
            gone_at = expires_at(policy, local_date(due_at, programme.zone), zone=programme.zone)
            result[lot.asset] = FOR_GOOD if gone_at is None else gone_at
    return result


def _void(wallet: Wallet, hold: Hold, programme: Programme, now: datetime) -> Entry:
    draft = _draft(wallet, EntryKind.VOID, hold.expires_at, programme, now)
    draft.end_hold(hold, 0, destination=EXPIRED)
    return draft.entry(changes=Changes(ended_hold=hold.id), reverses=hold.id)


def _expire(
    wallet: Wallet,
    due_at: datetime,
    programme: Programme,
    now: datetime,
    *,
    lots: list[Lot],
    vouchers: list[Voucher],
    bonuses: list[Bonus],
) -> Entry:
    draft = _draft(wallet, EntryKind.EXPIRE, due_at, programme, now)
    for lot in lots:
        draft.take(lot, lot.remaining, destination=EXPIRED)
    for voucher in vouchers:
        if voucher.returns_points and voucher.paid:
            amount = sum(allocation.amount for allocation in voucher.paid)
            draft.restore(POINTS, voucher.paid, amount, before=0, source=REDEEMED, at=due_at)
    return draft.entry(
        changes=Changes(
            ended_vouchers=tuple(VoucherEnd(id=voucher.id, status=VoucherStatus.EXPIRED) for voucher in vouchers),
            ended_bonuses=tuple(bonus.id for bonus in bonuses),
        )
    )


def _renew(wallet: Wallet, running: RunningPlan, programme: Programme, now: datetime) -> Entry:
    """One more period at the price of today, or the end: the member left, it is not offered, or too little money."""
    draft = _draft(wallet, EntryKind.PLAN, running.paid_until, programme, now)
    plan, prepaid = programme.plans.get(running.plan), f"prepaid/{programme.currency}"
    price_minor = 0 if plan is None else to_minor(plan.price, programme.currency)
    if plan is None or not running.renews or draft.available(prepaid) < price_minor:
        return draft.entry(changes=Changes(ended_plan=running.plan))
    draft.spend(prepaid, price_minor, destination=PLANS)
    return draft.entry(
        changes=Changes(
            plan=renewed(running, plan.period, zone=programme.zone),
            idle_until=draft.idle_until(at=running.paid_until),
        )
    )


def _review(wallet: Wallet, due_at: datetime, programme: Programme, now: datetime) -> Entry:
    tier, tiers = wallet.tier, programme.tiers
    assert tier is not None, (wallet.member, due_at)
    assert tier.valid_until == due_at, (wallet.member, due_at)
    if tiers is None:
        reviewed = replace(tier, valid_until=None)
    else:
        reviewed = review(tiers, tier, buckets=wallet.metric, zone=programme.zone)
    return _draft(wallet, EntryKind.REVIEW, due_at, programme, now).entry(changes=Changes(tier=reviewed))


def _draft(wallet: Wallet, kind: EntryKind, due_at: datetime, programme: Programme, now: datetime) -> Draft:
    key = f"{SYSTEM}|{kind.value.lower()} {format_instant(due_at)} {wallet.sequence + 1}"
    situation = Situation(
        wallet=wallet,
        programme=programme,
        now=now,
        actor=SYSTEM,
        key=key,
        operation=kind.value.lower(),
        fingerprint="",
        leaves="",
    )
    return Draft(situation, kind, due_at)
