"""A return takes back what a purchase had earned, by the award that was stored and never by today's rules.

Returns of one purchase count on from each other: after `r` of `t` in all, floor(award × (t − r) ÷ t) is
kept (SEMANTICS §4).
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import datetime
from itertools import product

from domain.commands.happening import return_happening
from domain.commands.purchase import MAX_AHEAD
from domain.ledger.bonus import entry_of_bonus
from domain.ledger.draft import Draft, Situation
from domain.ledger.entry import Changes, Entry, EntryKind, Forgiven, Purchase, Return
from domain.ledger.journal import Journal
from domain.ledger.lot import Allocation, LotKey
from domain.ledger.posting import AVAILABLE, CASHBACK_AWARDS, POINT_AWARDS, POINTS, is_members
from domain.ledger.referral import with_return
from domain.ledger.voucher import Voucher, VoucherEnd, VoucherStatus, entry_of_voucher
from domain.ledger.wallet import Wallet
from domain.money import to_decimal
from domain.problems import LimitReached, NotFound, Problem, WrongState, invalid
from domain.programme.earning import ExplanationRow
from domain.programme.tiers import measured


@dataclass(frozen=True, slots=True, kw_only=True)
class PurchaseReturn:
    """`purchase` is the entry's id; `amount_minor` is None for all that is left of it."""

    purchase: str
    amount_minor: int | None
    occurred_at: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class History:
    """What the journal says of the purchase: its returns, the expiries since, and the returns that forgave those."""

    purchase: Entry | None
    returns: tuple[Entry, ...] = ()
    paid_with: tuple[Voucher, ...] = ()
    expiries: tuple[Entry, ...] = ()
    forgiving: tuple[Entry, ...] = ()


async def load_history(wanted: PurchaseReturn, journal: Journal, wallet: Wallet) -> History:
    """Read the purchase and what happened to it.

    Expiries are read only when its lots are gone, or of the one kind that comes anew after it expired.
    """
    purchase = await journal.entry(wanted.purchase)
    if purchase is None or purchase.member != wallet.member:
        return History(purchase=None)
    returns = tuple(await journal.reversals(purchase))
    expiries: list[Entry] = []
    lots = {(lot.asset, lot.key) for lot in wallet.lots}
    own = [(asset, key) for asset in _assets(purchase) for key in _own_lots(purchase, asset)]
    if any(key.idle or (asset, key) not in lots for asset, key in own):
        expiries = await journal.of_kind(wallet.member, EntryKind.EXPIRE, after=purchase.sequence)
    forgiving = await journal.forgiving(wallet.member, [entry.id for entry in expiries]) if expiries else []
    return History(
        purchase=purchase,
        returns=returns,
        paid_with=await _vouchers_that_paid(purchase, journal, wallet),
        expiries=tuple(expiries),
        forgiving=tuple(forgiving),
    )


async def _vouchers_that_paid(purchase: Entry, journal: Journal, wallet: Wallet) -> tuple[Voucher, ...]:
    """The vouchers used in the purchase, or on its receipt by the same partner, as they were issued.

    One that the purchase of another receipt awarded does not come back once too little is left of that one: it
    would have been cancelled, had it not been used (SEMANTICS §4.4).
    """
    paid: list[Voucher] = []
    for entry in (purchase, *await journal.vouchers_used_on(purchase)):
        for end in entry.changes.ended_vouchers:
            issuing_id = entry_of_voucher(end.id)
            issuing = None if issuing_id is None else await journal.entry(issuing_id)
            assert issuing is not None, end.id
            (voucher,) = (voucher for voucher in issuing.changes.vouchers if voucher.id == end.id)
            if end.id not in wallet.vouchers and await _is_still_earned(voucher, issuing, journal):
                paid.append(voucher)
    return tuple(paid)


async def _is_still_earned(voucher: Voucher, issuing: Entry, journal: Journal) -> bool:
    if voucher.keeps_from_minor is None or issuing.purchase is None:
        return True
    returns = [entry.returned.amount_minor for entry in await journal.reversals(issuing) if entry.returned is not None]
    return issuing.purchase.total_minor - sum(returns) >= voucher.keeps_from_minor


def check_return(wanted: PurchaseReturn, now: datetime) -> Problem | None:
    """What is wrong with it whatever was bought."""
    if wanted.amount_minor is not None and wanted.amount_minor <= 0:
        return invalid("amount", "A return must be more than zero. Leave it out to return all that is left.")
    if wanted.occurred_at is not None and wanted.occurred_at > now + MAX_AHEAD:
        return invalid("occurredAt", "It is more than 5 minutes in the future.")
    return None


def decide_return(wanted: PurchaseReturn, situation: Situation) -> Entry | Problem:
    """Take back, give back, or say what is left of the purchase (SEMANTICS §4.1 to §4.5)."""
    history: History = situation.evidence
    bought = history.purchase
    if bought is None or bought.purchase is None or bought.actor != situation.actor:
        return NotFound(message=f"You recorded no purchase {wanted.purchase}.", what="purchase")
    # A till's clock may be a few minutes ahead: its purchase is returned at that instant at the earliest.
    purchase, occurred_at = bought.purchase, wanted.occurred_at or max(situation.now, bought.occurred_at)
    before = [entry.returned for entry in history.returns if entry.returned is not None]
    left = purchase.total_minor - sum(one.amount_minor for one in before)
    amount = left if wanted.amount_minor is None else wanted.amount_minor
    if problem := _refused(bought, purchase, left=left, amount=amount, occurred_at=occurred_at):
        return problem

    draft = Draft(situation, EntryKind.RETURN, occurred_at)
    cashback = f"cashback/{purchase.currency}"
    remains = left - amount
    points = _due_back(purchase.points, purchase.total_minor, remains, sum(one.points for one in before))
    money = _due_back(purchase.cashback_minor, purchase.total_minor, remains, sum(one.cashback_minor for one in before))
    forgiven = [
        *_take_back(draft, history, bought, POINTS, points, destination=POINT_AWARDS),
        *_take_back(draft, history, bought, cashback, money, destination=CASHBACK_AWARDS),
    ]
    restored = _give_back(draft, bought, purchase, returned=purchase.total_minor - remains, before=before)
    draft.advance(
        return_happening(
            situation,
            bought,
            occurred_at=occurred_at,
            before_minor=purchase.total_minor - left,
            now_minor=amount,
        )
    )
    row = ExplanationRow(
        rule="return",
        step="return",
        points=-points + sum(one.amount for one in forgiven if one.asset == POINTS),
        cashback_minor=-money + sum(one.amount for one in forgiven if one.asset == cashback),
    )
    return draft.entry(
        changes=replace(
            _changes(situation, bought, purchase, amount=amount, points=points, full=remains == 0),
            vouchers=tuple(draft.revived(voucher) for voucher in history.paid_with) if remains == 0 else (),
            referral=with_return(situation.wallet.referral, bought.id, remains_minor=remains, now=situation.now),
            ended_vouchers=tuple(
                VoucherEnd(id=voucher.id, status=VoucherStatus.CANCELLED)
                for voucher in situation.wallet.vouchers.values()
                if entry_of_voucher(voucher.id) == bought.id and (voucher.keeps_from_minor or 0) > remains
            ),
            ended_bonuses=tuple(
                bonus.id
                for bonus in situation.wallet.bonuses.values()
                if entry_of_bonus(bonus.id) == bought.id and (bonus.keeps_from_minor or 0) > remains
            ),
        ),
        explanation=(row,),
        place=bought.place,
        receipt=bought.receipt,
        reverses=bought.id,
        returned=Return(
            amount_minor=amount,
            points=points,
            cashback_minor=money,
            restored_minor=restored,
            forgiven=tuple(forgiven),
        ),
    )


def _refused(bought: Entry, purchase: Purchase, *, left: int, amount: int, occurred_at: datetime) -> Problem | None:
    if occurred_at < bought.occurred_at:
        return invalid("occurredAt", "It is before the purchase.")
    if left == 0:
        return WrongState(message="All of this purchase has been returned already.", state="RETURNED")
    if amount > left:
        headroom = to_decimal(left, purchase.currency)
        return LimitReached(
            message=f"Only {headroom} {purchase.currency} of this purchase is left to return.",
            limit="purchase",
            headroom=headroom,
        )
    return None


def _due_back(award: int, total: int, remains: int, before: int) -> int:
    return award - award * remains // total - before


def _take_back(
    draft: Draft, history: History, bought: Entry, asset: str, amount: int, *, destination: str
) -> list[Forgiven]:
    """Take `amount` less what expired of the purchase's own lots, and say what was forgiven for that."""
    own = _own_lots(bought, asset)
    forgiven: list[Forgiven] = []
    for expiry, key in product(history.expiries, own):
        expired = sum(one.amount for one in expiry.postings if one.asset == asset and one.from_lot == key)
        used = sum(
            one.amount
            for entry in history.forgiving
            if entry.returned is not None
            for one in entry.returned.forgiven
            if (one.entry, one.asset, one.lot) == (expiry.id, asset, key)
        )
        if (part := min(amount, expired - used)) > 0:
            forgiven.append(Forgiven(entry=expiry.id, asset=asset, lot=key, amount=part))
            amount -= part
    if amount:
        draft.recover(asset, amount, destination=destination, own=own)
    return forgiven


def _give_back(draft: Draft, bought: Entry, purchase: Purchase, *, returned: int, before: Iterable[Return]) -> int:
    """Cashback that paid comes back in proportion, all of it on a full return (SEMANTICS §4.3)."""
    restored = sum(one.restored_minor for one in before)
    amount = purchase.paid_cashback_minor * returned // purchase.total_minor - restored
    if amount:
        asset = f"cashback/{purchase.currency}"
        paid = [posting for posting in bought.postings if posting.asset == asset and posting.source == AVAILABLE]
        taken = [
            Allocation(key=posting.from_lot, amount=posting.amount) for posting in paid if posting.from_lot is not None
        ]
        draft.restore(asset, taken, amount, before=restored, source=paid[0].destination)
    return amount


def _own_lots(bought: Entry, asset: str) -> tuple[LotKey, ...]:
    """The lots the purchase's award went into: while pending, then as they are once matured."""
    keys: dict[LotKey, None] = {}
    for posting in bought.postings:
        if posting.asset == asset and posting.to_lot is not None and is_members(posting.destination):
            keys[posting.to_lot] = None
            keys[posting.to_lot._replace(pending_until=None)] = None
    return tuple(keys)


def _assets(bought: Entry) -> set[str]:
    return {posting.asset for posting in bought.postings}


def _changes(
    situation: Situation, bought: Entry, purchase: Purchase, *, amount: int, points: int, full: bool
) -> Changes:
    visits = max(0, bought.changes.visits) if full else 0
    fallen = measured(purchase.day, points=-points, spend_minor=-amount, visits=-visits)
    return Changes(
        spend_minor=-amount,
        lifetime_points=-points,
        metric={key: less for key, less in fallen.items() if key in situation.wallet.metric},
    )
