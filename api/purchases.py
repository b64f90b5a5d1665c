"""Purchases and returns: receipts from the till to the ledger, and what came of them.

A mutation parses, calls and returns; the rules are in domain.commands.purchase and domain.commands.return_.
"""

import asyncio
from datetime import datetime
from functools import partial
from typing import Annotated, Any, Final

import strawberry

from api.access import PartnerCaller
from api.context import Context, Info
from api.described import described
from api.edge.errors import InvalidValue
from api.entries import Explanation, explanations
from api.faults import Faults, given, plain
from api.members import MemberLookup, find_members, locale_of, no_member
from api.money import Money, MoneyInput, money
from api.posted import Posted, answer, answer_kept
from api.problems import (
    DuplicateReceipt,
    IdempotencyMismatch,
    InsufficientBalance,
    InvalidInput,
    LimitReached,
    NotEligible,
    NotFound,
    WrongState,
    told,
)
from api.scalars import Decimal, IdempotencyKey, Long
from api.stranger import require_discretion
from domain.commands.purchase import Receipt, check_receipt, decide_purchase, load_ended_vouchers
from domain.commands.return_ import PurchaseReturn, check_return, decide_return, load_history
from domain.ledger.command import Command, Fingerprint, fingerprint_of
from domain.ledger.entry import Entry, EntryKind
from domain.ledger.voucher import normal_code
from domain.members.enrolment import joined
from domain.members.member import Member
from domain.problems import InsufficientBalance as InsufficientCashback
from domain.problems import NotEligible as VoucherUnfit
from domain.problems import NotFound as Missing
from domain.problems import Problem, invalid
from domain.problems import WrongState as VoucherState
from domain.programme.earning import Line

MOST_AT_ONCE: Final = 100
MOST_LINES: Final = 500
MOST_CODES: Final = 20
MOST_OF_A_LINE: Final = 1_000_000
RECORD: Final = "recordPurchase"
RETURN: Final = "returnPurchase"


@strawberry.input
class PurchaseLineInput:
    sku: str
    category: str | None = strawberry.UNSET
    brand: str | None = strawberry.UNSET
    quantity: int = 1
    amount: Decimal


@strawberry.input(
    description=(
        "`total` is what the member paid after discounts and before cashback or prepaid; "
        "lines, when given, must add up to it."
    )
)
class PurchaseInput:
    member: MemberLookup
    receipt: str
    total: MoneyInput
    occurred_at: datetime | None = strawberry.UNSET
    place: strawberry.ID | None = strawberry.UNSET
    lines: list[PurchaseLineInput] | None = strawberry.UNSET
    voucher_codes: list[str] | None = strawberry.UNSET
    paid_with_cashback: MoneyInput | None = strawberry.UNSET
    idempotency_key: IdempotencyKey


@strawberry.type
class PurchaseRecorded(Posted):
    pass


RecordPurchaseResult = Annotated[
    PurchaseRecorded
    | DuplicateReceipt
    | NotFound
    | NotEligible
    | WrongState
    | InsufficientBalance
    | IdempotencyMismatch
    | InvalidInput,
    strawberry.union("RecordPurchaseResult"),
]


@strawberry.type
class PurchasePreview:
    points: Long
    cashback: Money | None
    explanation: list[Explanation]


PurchasePreviewResult = Annotated[PurchasePreview | NotFound | InvalidInput, strawberry.union("PurchasePreviewResult")]


@strawberry.input(description="`amount` is the part of the purchase given back; null means all that is left of it.")
class ReturnInput:
    purchase: strawberry.ID
    amount: Decimal | None = strawberry.UNSET
    occurred_at: datetime | None = strawberry.UNSET
    idempotency_key: IdempotencyKey


@strawberry.type
class PurchaseReturned(Posted):
    pass


ReturnPurchaseResult = Annotated[
    PurchaseReturned | WrongState | NotFound | LimitReached | IdempotencyMismatch | InvalidInput,
    strawberry.union("ReturnPurchaseResult"),
]


@strawberry.type
class PurchaseQuery:
    @described(
        "What a purchase would earn now, without recording it. Equal to what recordPurchase would then post. "
        "scope: activity:write, staff:programme"
    )
    async def preview_purchase(
        self, info: Info, purchase: Annotated[PurchaseInput, strawberry.argument(name="input")]
    ) -> PurchasePreviewResult:
        return await _preview(info.context, purchase)


@strawberry.type
class PurchaseMutation:
    @described("scope: activity:write")
    async def record_purchase(
        self, info: Info, purchase: Annotated[PurchaseInput, strawberry.argument(name="input")]
    ) -> RecordPurchaseResult:
        (member,) = await find_members(info.context, [purchase.member])
        return await _record(info.context, purchase, member)

    @described(
        "Up to 100 at once, each with its own key and its own outcome, in the order given. scope: activity:write"
    )
    async def record_purchases(self, info: Info, inputs: list[PurchaseInput]) -> list[RecordPurchaseResult]:
        if len(inputs) > MOST_AT_ONCE:
            raise InvalidValue(f"inputs has {len(inputs)} purchases; at most {MOST_AT_ONCE} are allowed at once.")
        members = await find_members(info.context, [purchase.member for purchase in inputs])
        return await asyncio.gather(
            *(_record(info.context, purchase, member) for purchase, member in zip(inputs, members, strict=True))
        )

    @described("scope: activity:write")
    async def return_purchase(
        self, info: Info, wanted: Annotated[ReturnInput, strawberry.argument(name="input")]
    ) -> ReturnPurchaseResult:
        return await _return(info, wanted)


async def _record(context: Context, purchase: PurchaseInput, member: Member | None) -> RecordPurchaseResult:
    """Record one purchase. All that wait at this moment share one group commit."""
    ledger = context.wallet.ledger
    fingerprint = _fingerprint(purchase)
    if member is None:
        return await answer_kept(
            no_member(), context, PurchaseRecorded, key=purchase.idempotency_key, fingerprint=fingerprint
        )
    receipt = read_receipt(purchase, member, context)
    if isinstance(receipt, Problem):
        return told(receipt, PurchaseRecorded)
    await joined(ledger, member)
    outcome = await ledger.commit(_command(purchase, receipt, context, fingerprint))
    return await answer(outcome, member, context, PurchaseRecorded)


async def _preview(context: Context, purchase: PurchaseInput) -> PurchasePreviewResult:
    (member,) = await find_members(context, [purchase.member])
    receipt = no_member() if member is None else read_receipt(purchase, member, context)
    if isinstance(receipt, Problem):
        return told(receipt, PurchasePreview)
    command = _command(purchase, receipt, context, _fingerprint(purchase))
    decided = await context.wallet.ledger.preview(command)
    if isinstance(decided, InsufficientCashback):
        decided = invalid("paidWithCashback.amount", decided.message)
    if isinstance(decided, VoucherState | VoucherUnfit):
        decided = invalid("voucherCodes", decided.message)
    if not isinstance(decided, Entry):
        return told(decided, PurchasePreview)
    assert decided.purchase is not None, decided
    programme = await context.wallet.programmes.at(decided.programme_version)
    cashback_minor = sum(row.cashback_minor for row in decided.explanation)
    return PurchasePreview(
        points=Long(sum(row.points for row in decided.explanation)),
        cashback=money(cashback_minor, programme.currency) if cashback_minor else None,
        explanation=explanations(decided, programme, locale_of(receipt.member, context)),
    )


async def _return(info: Info, wanted: ReturnInput) -> ReturnPurchaseResult:
    context = info.context
    ledger, actor = context.wallet.ledger, context.caller.actor
    fingerprint = fingerprint_of(RETURN, plain(wanted))
    bought = await ledger.journal.entry(wanted.purchase)
    if bought is None or not _is_own(bought, context):
        unknown = Missing(message=f"You recorded no purchase {wanted.purchase[:60]}.", what="purchase")
        return await answer_kept(
            unknown, context, PurchaseReturned, key=wanted.idempotency_key, fingerprint=fingerprint
        )
    await require_discretion(info, bought.member)
    assert bought.purchase is not None, bought.id
    faults, amount = Faults(), given(wanted.amount)
    purchase_return = PurchaseReturn(
        purchase=bought.id,
        amount_minor=None if amount is None else faults.minor("amount", amount, bought.purchase.currency),
        occurred_at=given(wanted.occurred_at),
    )
    if (wrong := faults.problem) is not None:
        return told(wrong, PurchaseReturned)
    command = Command(
        member=bought.member,
        actor=actor,
        key=wanted.idempotency_key,
        operation=RETURN,
        fingerprint=fingerprint,
        decide=partial(decide_return, purchase_return),
        check=lambda _programme, now: check_return(purchase_return, now),
        load=partial(load_history, purchase_return),
    )
    return await answer(await ledger.commit(command), None, context, PurchaseReturned)


def _is_own(entry: Entry, context: Context) -> bool:
    """Whether it is a purchase that the caller recorded; a delegated token reaches those of its member alone."""
    caller = context.caller
    delegated_by = caller.member_id if isinstance(caller, PartnerCaller) else None
    is_recorded = entry.kind is EntryKind.PURCHASE and entry.actor == caller.actor
    return is_recorded and delegated_by in (None, entry.member)


def read_receipt(purchase: PurchaseInput, member: Member, context: Context) -> Receipt | Problem:
    """The receipt that was sent, or everything in it that cannot be read."""
    faults, currency = Faults(), purchase.total.currency
    cashback, lines = given(purchase.paid_with_cashback), given(purchase.lines) or []
    faults.text("receipt", purchase.receipt)
    total_minor = faults.minor("total.amount", purchase.total.amount, currency)
    paid_minor = 0
    if cashback is not None:
        paid_minor = faults.minor("paidWithCashback.amount", cashback.amount, cashback.currency)
        if cashback.currency != currency:
            faults.add("paidWithCashback.currency", f"The total is in {currency}; it must be the same.")
    if len(lines) > MOST_LINES:
        faults.add("lines", f"There are {len(lines)} lines; at most {MOST_LINES} are allowed.")
    read = tuple(_line(f"lines.{at}", line, currency, faults) for at, line in enumerate(lines[:MOST_LINES]))
    codes = _voucher_codes(given(purchase.voucher_codes) or [], faults)
    if (wrong := faults.problem) is not None:
        return wrong
    caller = context.caller
    return Receipt(
        member=member,
        merchant=caller.client_id if isinstance(caller, PartnerCaller) else "staff",
        number=purchase.receipt,
        total_minor=total_minor,
        currency=currency,
        occurred_at=given(purchase.occurred_at),
        place=given(purchase.place),
        lines=read,
        paid_cashback_minor=paid_minor,
        voucher_codes=codes,
    )


def _fingerprint(purchase: PurchaseInput) -> Fingerprint:
    """Of the whole input, a code counting as the voucher's that it is, however it was typed."""
    asked: dict[str, Any] = plain(purchase)
    if (sent := given(purchase.voucher_codes)) is not None:
        asked["voucherCodes"] = [normal_code(code) or code for code in sent]
    return fingerprint_of(RECORD, asked)


def _voucher_codes(sent: list[str], faults: Faults) -> tuple[str, ...]:
    """The codes as stored. One of a wrong form stays as it was sent: it is no voucher of anybody's."""
    if len(sent) > MOST_CODES:
        faults.add("voucherCodes", f"There are {len(sent)} codes; at most {MOST_CODES} are allowed.")
        return ()
    codes = tuple(normal_code(faults.text(f"voucherCodes.{at}", code)) or code for at, code in enumerate(sent))
    for at, code in enumerate(codes):
        if code in codes[:at]:
            faults.add(f"voucherCodes.{at}", "It is given twice. A voucher can be used once.")
    return codes


def _line(path: str, line: PurchaseLineInput, currency: str, faults: Faults) -> Line:
    category, brand = given(line.category), given(line.brand)
    faults.text(f"{path}.sku", line.sku)
    if category is not None:
        faults.text(f"{path}.category", category)
    if brand is not None:
        faults.text(f"{path}.brand", brand)
    if not 0 <= line.quantity <= MOST_OF_A_LINE:
        faults.add(f"{path}.quantity", f"It is {line.quantity}; 0 to {MOST_OF_A_LINE} are allowed.")
    amount_minor = faults.minor(f"{path}.amount", line.amount, currency)
    if amount_minor < 0:
        faults.add(f"{path}.amount", "It is below zero. Take a discount off the line that it is for.")
    return Line(sku=line.sku, category=category, brand=brand, quantity=line.quantity, amount_minor=amount_minor)


def _command(purchase: PurchaseInput, receipt: Receipt, context: Context, fingerprint: Fingerprint) -> Command:
    return Command(
        member=receipt.member.id,
        actor=context.caller.actor,
        key=purchase.idempotency_key,
        operation=RECORD,
        fingerprint=fingerprint,
        decide=partial(decide_purchase, receipt),
        check=partial(check_receipt, receipt),
        load=partial(load_ended_vouchers, receipt) if receipt.voucher_codes else None,
        receipt=receipt.number,
    )
