"""A purchase: what a receipt earns, and the cashback that paid for part of it (SEMANTICS §3).

The preview is the same decision without the commit.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from fractions import Fraction
from math import ceil

from domain.commands.happening import purchase_happening
from domain.ledger.draft import Draft, Situation
from domain.ledger.entry import Changes, Entry, EntryKind, Purchase, entry_id
from domain.ledger.expiry import local_date
from domain.ledger.journal import Journal
from domain.ledger.referral import with_purchase
from domain.ledger.visit import visit_change
from domain.ledger.voucher import VoucherEnd, VoucherStatus
from domain.ledger.wallet import Wallet
from domain.members.member import Member, member_facts
from domain.money import to_decimal, to_minor
from domain.problems import FieldProblem, InvalidInput, NotEligible, NotFound, Problem, WrongState
from domain.programme.earning import Earnings, Line, PurchaseEvent, earn_purchase
from domain.programme.programme import Programme
from domain.programme.tiers import after_metric, first_day, measured

MAX_AHEAD = timedelta(minutes=5)
"""How far in the future a till's clock may be (SEMANTICS §3.1)."""

WHOLE = 100
"""Per cent."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Receipt:
    """What the till sent. `occurred_at` is None for now; `lines` is empty or sums to `total_minor`.

    `merchant` is the partner's client id: it is paid `paid_cashback_minor` out of the member's cashback. The codes
    are normal ones (:func:`domain.ledger.voucher.normal_code`), each once.
    """

    member: Member
    merchant: str
    number: str
    total_minor: int
    currency: str
    occurred_at: datetime | None = None
    place: str | None = None
    lines: tuple[Line, ...] = ()
    paid_cashback_minor: int = 0
    voucher_codes: tuple[str, ...] = ()


def check_receipt(receipt: Receipt, programme: Programme, now: datetime) -> Problem | None:
    """Everything that is wrong with the receipt whatever the wallet holds, all at once; nothing is claimed then."""
    problems = [*_amount_problems(receipt, programme), *date_problems(receipt.occurred_at, programme, now)]
    if problems:
        paths = ", ".join(problem.path for problem in problems)
        return InvalidInput(message=f"The purchase is invalid; see {paths}.", fields=tuple(problems))
    if receipt.place is not None and receipt.place not in programme.places:
        return NotFound(message=f"The programme has no place {receipt.place!r}.", what="place")
    return None


def decide_purchase(receipt: Receipt, situation: Situation) -> Entry | Problem:
    """The entry: cashback taken first, then what the rules give, by the tier held just before it (§3.3)."""
    programme, wallet, now = situation.programme, situation.wallet, situation.now
    occurred_at = receipt.occurred_at or now
    draft = Draft(situation, EntryKind.PURCHASE, occurred_at)
    cashback = f"cashback/{receipt.currency}"
    if problem := _pay_with_cashback(draft, receipt, cashback) or _vouchers_problem(receipt, situation):
        return problem
    event, facts = _event(receipt, programme, occurred_at), member_facts(receipt.member, wallet, programme, at=now)
    visit = visit_change(wallet.recent_purchases, occurred_at)
    happening = purchase_happening(situation, receipt.member, facts, event=event, visit=visit)
    earned = earn_purchase(programme, event, member=facts, usage=wallet.usage, facts=happening.facts)
    draft.give(earned)
    draft.advance(happening)
    return draft.entry(
        changes=_changes(draft, receipt, earned, occurred_at=occurred_at, day=happening.day, visits=visit.added),
        explanation=earned.rows,
        place=receipt.place,
        receipt=receipt.number,
        purchase=Purchase(
            total_minor=receipt.total_minor,
            currency=receipt.currency,
            day=happening.day.isoformat(),
            points=earned.points,
            cashback_minor=earned.cashback_minor,
            paid_cashback_minor=receipt.paid_cashback_minor,
        ),
    )


def _amount_problems(receipt: Receipt, programme: Programme) -> list[FieldProblem]:
    problems: list[FieldProblem] = []
    if receipt.currency != programme.currency:
        problems.append(
            FieldProblem(path="total.currency", message=f"The programme's currency is {programme.currency}.")
        )
    if receipt.total_minor <= 0:
        problems.append(FieldProblem(path="total.amount", message="A purchase must be more than zero."))
    lines_minor = sum(line.amount_minor for line in receipt.lines)
    if receipt.lines and lines_minor != receipt.total_minor:
        added, total = (to_decimal(minor, receipt.currency) for minor in (lines_minor, receipt.total_minor))
        message = f"The lines add up to {added}, the total is {total}. Send lines that add up, or none."
        problems.append(FieldProblem(path="lines", message=message))
    if not 0 <= receipt.paid_cashback_minor <= max(0, receipt.total_minor):
        problems.append(FieldProblem(path="paidWithCashback.amount", message="It must be between zero and the total."))
    return problems


def date_problems(occurred_at: datetime | None, programme: Programme, now: datetime) -> list[FieldProblem]:
    """What is wrong with when a purchase or an activity occurred, None being now (SEMANTICS §3.1)."""
    if occurred_at is None:
        return []
    if occurred_at > now + MAX_AHEAD:
        return [FieldProblem(path="occurredAt", message="It is more than 5 minutes in the future.")]
    if occurred_at < now - timedelta(days=programme.late_days):
        message = f"It is more than {programme.late_days} days ago; the programme takes nothing older."
        return [FieldProblem(path="occurredAt", message=message)]
    return []


def _pay_with_cashback(draft: Draft, receipt: Receipt, asset: str) -> Problem | None:
    paid_minor = receipt.paid_cashback_minor
    if not paid_minor:
        return None
    if shortage := draft.shortage(asset, paid_minor):
        return shortage
    draft.spend(asset, paid_minor, destination=f"merchant/{receipt.merchant}")
    return None


def _vouchers_problem(receipt: Receipt, situation: Situation) -> Problem | None:
    """Why a voucher cannot be used on this purchase, if one cannot: all are used, or none is."""
    open_ones = {voucher.code: voucher for voucher in situation.wallet.vouchers.values()}
    ended: Mapping[str, VoucherStatus] = situation.evidence or {}
    used = [open_ones[code].definition for code in receipt.voucher_codes if code in open_ones]
    before_minor = before_discounts(receipt, used, situation.programme)
    for index, code in enumerate(receipt.voucher_codes):
        voucher = open_ones.get(code)
        if voucher is None and code in ended:
            return WrongState(message=f"The voucher {code} is {ended[code].lower()}.", state=ended[code].value)
        if voucher is None:
            return NotFound(message=f"The member has no voucher {code} (voucherCodes.{index}).", what="voucher")
        if before_minor < minimum_spend(voucher.definition, situation.programme):
            return NotEligible(message=f"The purchase is too small for the voucher {code}.", reason="MINIMUM_SPEND")
        if voucher.sku is not None and receipt.lines and all(line.sku != voucher.sku for line in receipt.lines):
            return NotEligible(message=f"The voucher {code} is for the item {voucher.sku}.", reason="OTHER_ITEM")
    return None


def minimum_spend(kind: str, programme: Programme) -> int:
    """The least that must be bought, before the discount, to use a voucher of that kind; in minor units."""
    discount = programme.vouchers[kind].discount if kind in programme.vouchers else None
    if discount is None or discount.minimum_spend is None:
        return 0
    return to_minor(discount.minimum_spend, programme.currency)


def before_discounts(receipt: Receipt, kinds: Iterable[str], programme: Programme) -> int:
    """The most that the purchase can have been before the discounts of those vouchers, in minor units.

    The total sent is what was paid after them. In which order the till took them off, and how it rounded a
    percentage, it does not say.
    """
    amounts_minor, kept = 0, Fraction(1)
    for kind in kinds:
        discount = programme.vouchers[kind].discount if kind in programme.vouchers else None
        if discount is not None and discount.amount is not None:
            amounts_minor += to_minor(discount.amount, programme.currency)
        if discount is not None and discount.percent is not None and discount.percent < WHOLE:
            kept *= 1 - discount.percent / WHOLE
    after_minor = receipt.total_minor + amounts_minor
    return after_minor if kept == 1 else ceil((after_minor + 1) / kept) - 1


async def load_ended_vouchers(receipt: Receipt, journal: Journal, wallet: Wallet) -> Mapping[str, VoucherStatus]:
    """The codes on the receipt that are vouchers of this member which have ended, with how."""
    if not receipt.voucher_codes:
        return {}
    ended: dict[str, VoucherStatus] = {}
    wanted = {"code": {"$in": list(receipt.voucher_codes)}, "member": wallet.member}
    async for voucher in journal.store.vouchers.find(wanted, {"code": 1}):
        if voucher["_id"] not in wallet.vouchers:
            status = await journal.ended_voucher(wallet.member, voucher["_id"])
            if status is not None:
                ended[voucher["code"]] = status
    return ended


def _event(receipt: Receipt, programme: Programme, occurred_at: datetime) -> PurchaseEvent:
    return PurchaseEvent(
        total_minor=receipt.total_minor,
        eligible_minor=receipt.total_minor - receipt.paid_cashback_minor,
        occurred_at=occurred_at,
        place=receipt.place,
        region=None if receipt.place is None else programme.places[receipt.place].region,
        lines=receipt.lines,
    )


def _changes(
    draft: Draft, receipt: Receipt, earned: Earnings, *, occurred_at: datetime, day: date, visits: int
) -> Changes:
    situation = draft.situation
    programme, wallet = situation.programme, situation.wallet
    today = local_date(situation.now, programme.zone)
    metric: Mapping[str, int] = {}
    tier, metric_from = None, None
    if programme.tiers is not None:
        first = first_day(programme.tiers, today)
        if day >= first:
            on = day.isoformat()
            metric = measured(on, points=earned.points, spend_minor=receipt.total_minor, visits=visits)
        buckets = {
            **wallet.metric,
            **{key: wallet.metric.get(key, 0) + value for key, value in metric.items()},
        }
        tier = after_metric(programme.tiers, wallet.tier, buckets=buckets, on=today, zone=programme.zone)
        metric_from = first.isoformat() if any(key < first.isoformat() for key in wallet.metric) else None
    return Changes(
        purchases=1,
        visits=visits,
        spend_minor=receipt.total_minor,
        purchased_at=occurred_at,
        lifetime_points=earned.points,
        idle_until=draft.idle_until() if draft.postings else {},
        usage=earned.used,
        ended_vouchers=tuple(
            VoucherEnd(id=voucher.id, status=VoucherStatus.USED, receipt=receipt.number)
            for voucher in wallet.vouchers.values()
            if voucher.code in receipt.voucher_codes
        ),
        metric=metric,
        tier=tier,
        metric_from=metric_from,
        referral=with_purchase(
            wallet.referral,
            programme,
            entry_id(wallet.member, wallet.sequence + 1),
            total_minor=receipt.total_minor,
            occurred_at=occurred_at,
        ),
    )
