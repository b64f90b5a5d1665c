"""Payments out of prepaid money and cashback: authorize, then capture or void; or charge at once; and refund.

Tender is drawn in the order asked. What each pocket gave is recorded by lot, and a refund goes back to the
same lots, the last part first, never above what each gave (SEMANTICS §2.7, §6.5).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from domain.ledger.draft import Draft, Situation
from domain.ledger.entry import Changes, Entry, EntryKind, entry_id
from domain.ledger.expiry import Period, add_period
from domain.ledger.hold import HeldPart, Hold
from domain.ledger.journal import Journal
from domain.ledger.lot import Allocation
from domain.ledger.posting import AVAILABLE, HELD, OWED, currency_of, is_members
from domain.ledger.wallet import Wallet
from domain.money import to_decimal
from domain.problems import InsufficientBalance, LimitReached, NotFound, Problem, WrongState, invalid
from domain.programme.programme import Programme


@dataclass(frozen=True, slots=True, kw_only=True)
class Payment:
    """`amount_minor` from the `pockets` (`prepaid`, `cashback`) in order, to the partner `merchant` (client id)."""

    merchant: str
    amount_minor: int
    currency: str
    pockets: tuple[str, ...] = ("prepaid",)
    receipt: str | None = None
    at_once: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Capture:
    """`amount_minor` of the hold, None for all of it; the rest is let go."""

    merchant: str
    hold: str
    amount_minor: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Refund:
    """`amount_minor` of the payment (a hold's or a charge's id), None for all that is left of it."""

    merchant: str
    payment: str
    amount_minor: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class PaymentHistory:
    """What the journal says of a payment: how it began, what ended its hold, and its refunds."""

    begun: Entry | None
    ended: Entry | None = None
    refunds: tuple[Entry, ...] = ()


def check_payment(payment: Payment, programme: Programme) -> Problem | None:
    """What is wrong with it whatever the wallet holds."""
    if payment.currency != programme.currency:
        return invalid("amount.currency", f"The programme's currency is {programme.currency}.")
    if payment.amount_minor <= 0:
        return invalid("amount.amount", "A payment must be more than zero.")
    if not payment.pockets or len(set(payment.pockets)) < len(payment.pockets):
        return invalid("tender", "Name each pocket once, or leave it out for PREPAID alone.")
    if set(payment.pockets) - {"prepaid", "cashback"}:
        return invalid("tender", "Only PREPAID and CASHBACK can pay; a bonus must be claimed first.")
    return None


def check_amount(amount_minor: int | None) -> Problem | None:
    """Whether an optional amount is above zero."""
    return None if amount_minor is None or amount_minor > 0 else invalid("amount", "It must be more than zero.")


def decide_payment(payment: Payment, situation: Situation) -> Entry | Problem:
    """The HOLD entry, or the CHARGE entry of a payment taken at once."""
    draft = Draft(situation, EntryKind.CHARGE if payment.at_once else EntryKind.HOLD, situation.now)
    parts = _drawn(payment, draft)
    if isinstance(parts, InsufficientBalance):
        return parts
    if payment.at_once:
        for asset, amount in parts:
            draft.spend(asset, amount, destination=merchant_account(payment.merchant))
        return draft.entry(changes=Changes(idle_until=draft.idle_until()), receipt=payment.receipt)
    hold = Hold(
        id=entry_id(situation.wallet.member, situation.wallet.sequence + 1),
        partner=payment.merchant,
        currency=payment.currency,
        parts=tuple(draft.hold(asset, amount) for asset, amount in parts),
        created_at=situation.now,
        expires_at=_ends_at(situation.programme, situation.now),
        receipt=payment.receipt,
    )
    return draft.entry(changes=Changes(hold=hold), receipt=payment.receipt)


async def load_payment(payment: str, journal: Journal, wallet: Wallet) -> PaymentHistory:
    """Read how the payment began, what ended its hold, and its refunds."""
    begun = await journal.entry(payment)
    if begun is None or begun.member != wallet.member or begun.kind not in {EntryKind.HOLD, EntryKind.CHARGE}:
        return PaymentHistory(begun=None)
    later = await journal.reversals(begun)
    ended = [entry for entry in later if entry.kind in {EntryKind.CAPTURE, EntryKind.VOID}]
    return PaymentHistory(
        begun=begun,
        ended=ended[0] if ended else None,
        refunds=tuple(entry for entry in later if entry.kind is EntryKind.CHARGE_REFUND),
    )


async def load_hold(hold: str, journal: Journal, wallet: Wallet) -> PaymentHistory:
    """As :func:`load_payment`; nothing is read for a hold that is open, of which the wallet says all."""
    return PaymentHistory(begun=None) if hold in wallet.holds else await load_payment(hold, journal, wallet)


def decide_capture(capture: Capture, situation: Situation) -> Entry | Problem:
    """The CAPTURE entry: cannot fail for lack of money. `evidence` is the payment's history."""
    hold = situation.wallet.holds.get(capture.hold)
    if hold is None or hold.partner != capture.merchant:
        return _not_open(capture.hold, capture.merchant, situation)
    captured = hold.amount if capture.amount_minor is None else capture.amount_minor
    if captured > hold.amount:
        held = to_decimal(hold.amount, hold.currency)
        return invalid("amount", f"Only {held} {hold.currency} is held; capture that or less.")
    draft = Draft(situation, EntryKind.CAPTURE, situation.now)
    draft.end_hold(hold, captured, destination=merchant_account(hold.partner))
    changes = Changes(ended_hold=hold.id, idle_until=draft.idle_until())
    return draft.entry(changes=changes, reverses=hold.id, receipt=hold.receipt)


def decide_void(hold_id: str, merchant: str, situation: Situation) -> Entry | Problem:
    """The VOID entry: all of the hold is let go. `evidence` is the payment's history."""
    hold = situation.wallet.holds.get(hold_id)
    if hold is None or hold.partner != merchant:
        return _not_open(hold_id, merchant, situation)
    draft = Draft(situation, EntryKind.VOID, situation.now)
    draft.end_hold(hold, 0, destination=merchant_account(hold.partner))
    return draft.entry(changes=Changes(ended_hold=hold.id), reverses=hold.id, receipt=hold.receipt)


def decide_refund(refund: Refund, situation: Situation) -> Entry | Problem:
    """The CHARGE_REFUND entry: back to the pockets that paid, the last first. `evidence` is the payment's history."""
    history: PaymentHistory = situation.evidence
    begun = history.begun
    if begun is None or begun.actor != f"partner:{refund.merchant}":
        return NotFound(message=f"You took no payment {refund.payment}.", what="payment")
    parts = paid_parts(begun, history.ended)
    if not parts:
        state = "HELD" if history.ended is None else _state_of_void(history.ended, begun)
        return WrongState(message="The payment was not captured, so there is nothing to refund.", state=state)
    refunded = {part.asset: refunded_minor(history.refunds, part.asset) for part in parts}
    left = sum(part.amount for part in parts) - sum(refunded.values())
    amount = left if refund.amount_minor is None else refund.amount_minor
    if left == 0:
        return WrongState(message="All of this payment has been refunded already.", state="REFUNDED")
    if amount > left:
        headroom = to_decimal(left, situation.programme.currency)
        return LimitReached(
            message=f"Only {headroom} of this payment is left to refund.", limit="payment", headroom=headroom
        )
    draft = Draft(situation, EntryKind.CHARGE_REFUND, situation.now)
    for part in reversed(parts):
        back = min(amount, part.amount - refunded[part.asset])
        if back:
            source = merchant_account(refund.merchant)
            draft.restore(part.asset, part.taken, back, before=refunded[part.asset], source=source)
            amount -= back
    changes = Changes(idle_until=draft.idle_until(missing_only=True))
    return draft.entry(changes=changes, reverses=begun.id, receipt=begun.receipt)


def drawn_parts(begun: Entry) -> tuple[HeldPart, ...]:
    """What a payment took of each pocket when it began, in tender order, by lot; never empty."""
    if begun.kind is EntryKind.CHARGE:
        return _parts_of_charge(begun)
    assert begun.changes.hold is not None, begun.id
    return begun.changes.hold.parts


def captured_minor(capture: Entry) -> int:
    """What a CAPTURE entry took of its hold in all, in minor units."""
    return sum(one.amount for one in capture.postings if one.source == HELD and not is_members(one.destination))


def released_minor(capture: Entry) -> int:
    """What a CAPTURE entry let go of its hold in all, in minor units."""
    return sum(one.amount for one in capture.postings if one.source == HELD and is_members(one.destination))


def payment_currency(entry: Entry) -> str:
    """The currency of an entry of a payment, from its beginning to its last refund."""
    return currency_of(entry.postings[0].asset)


def paid_parts(begun: Entry, ended: Entry | None) -> tuple[HeldPart, ...]:
    """What a payment finally took of each pocket, in tender order, by lot; empty when nothing was taken."""
    if begun.kind is EntryKind.CHARGE:
        return drawn_parts(begun)
    if ended is None or ended.kind is not EntryKind.CAPTURE:
        return ()
    parts: list[HeldPart] = []
    for part in drawn_parts(begun):
        captured = sum(
            posting.amount
            for posting in ended.postings
            if posting.asset == part.asset and not is_members(posting.destination)
        )
        if captured:
            parts.append(HeldPart(asset=part.asset, taken=_first(part.taken, captured)))
    return tuple(parts)


def refunded_minor(refunds: Sequence[Entry], asset: str) -> int:
    """What the refunds gave back of an asset in all."""
    return sum(
        posting.amount
        for entry in refunds
        for posting in entry.postings
        if posting.asset == asset and posting.destination in {AVAILABLE, OWED}
    )


def merchant_account(client_id: str) -> str:
    """The account of a partner that is paid with a member's value."""
    return f"merchant/{client_id}"


def _drawn(payment: Payment, draft: Draft) -> list[tuple[str, int]] | InsufficientBalance:
    """How much of each asset pays, in tender order."""
    left, available, parts = payment.amount_minor, 0, []
    for pocket in payment.pockets:
        asset = f"{pocket}/{payment.currency}"
        of_pocket = draft.available(asset)
        available += of_pocket
        if part := min(left, of_pocket):
            parts.append((asset, part))
            left -= part
    if not left:
        return parts
    shown, required = (to_decimal(minor, payment.currency) for minor in (available, payment.amount_minor))
    return InsufficientBalance(
        message=f"The payment takes {required}; only {shown} is available.",
        asset="+".join(f"{pocket}/{payment.currency}" for pocket in payment.pockets),
        available=shown,
        required=required,
    )


def _parts_of_charge(charge: Entry) -> tuple[HeldPart, ...]:
    taken: dict[str, list[Allocation]] = {}
    for posting in charge.postings:
        if posting.source == AVAILABLE and posting.from_lot is not None:
            taken.setdefault(posting.asset, []).append(Allocation(key=posting.from_lot, amount=posting.amount))
    return tuple(HeldPart(asset=asset, taken=tuple(allocations)) for asset, allocations in taken.items())


def _first(taken: tuple[Allocation, ...], amount: int) -> tuple[Allocation, ...]:
    """The first allocations that make up the amount."""
    result: list[Allocation] = []
    for allocation in taken:
        if part := min(amount, allocation.amount):
            result.append(Allocation(key=allocation.key, amount=part))
            amount -= part
    return tuple(result)


def _ends_at(programme: Programme, now: datetime) -> datetime:
    """When a hold made now ends: days are 24 hours whatever the clocks do, months are the calendar's."""
    period = programme.definition.prepaid.hold_expires
    ends_at = now + timedelta(days=period.days, seconds=period.seconds)
    if not (period.years or period.months):
        return ends_at
    local = ends_at.astimezone(programme.zone)
    day = add_period(local.date(), Period(years=period.years, months=period.months))
    return datetime.combine(day, local.time(), tzinfo=programme.zone).astimezone(UTC)


def _not_open(hold_id: str, merchant: str, situation: Situation) -> Problem:
    """Why a hold cannot be captured or voided: not this partner's, or ended before."""
    history: PaymentHistory = situation.evidence
    begun, ended = history.begun, history.ended
    if begun is None or begun.actor != f"partner:{merchant}":
        return NotFound(message=f"You have no hold {hold_id}.", what="hold")
    if begun.kind is EntryKind.CHARGE:
        return WrongState(message="The payment was captured when it was authorized.", state="CAPTURED")
    if ended is not None and ended.kind is EntryKind.CAPTURE:
        return WrongState(message="The hold was captured already.", state="CAPTURED")
    if ended is not None and _state_of_void(ended, begun) == "VOID":
        return WrongState(message="The hold was voided already.", state="VOID")
    return WrongState(message="The hold's time is over; the money went back.", state="EXPIRED")


def _state_of_void(ended: Entry, begun: Entry) -> str:
    """Whether the partner let the hold go, or its time was over."""
    return "VOID" if ended.actor == begun.actor else "EXPIRED"
