"""Payments at the till from the member's money: authorize, capture, void, refund.

A hold goes by the id of its HOLD entry and a payment taken at once by that of its CHARGE entry; what was captured may
be refunded by the id of its CAPTURE entry, too. A partner knows only its own. Taking value needs the member there, or
his grant (SEMANTICS §9.2). The rules are in domain.commands.payment.
"""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Annotated, Any, Final, TypeVar

import strawberry

from api.access import PartnerCaller
from api.context import Context, Info, require_partner
from api.described import described
from api.entries import EntryMoney, Pocket, entry_money
from api.faults import Faults, given, plain
from api.members import MemberLookup, find_members, no_member
from api.money import Money, MoneyInput, money
from api.posted import Posted, answer, answer_kept
from api.problems import (
    IdempotencyMismatch,
    InsufficientBalance,
    InvalidInput,
    LimitReached,
    NotEligible,
    NotFound,
    WrongState,
    told,
)
from api.scalars import Decimal, IdempotencyKey
from api.stranger import require_discretion
from domain.commands.payment import (
    Capture,
    Payment,
    PaymentHistory,
    Refund,
    captured_minor,
    check_amount,
    check_payment,
    decide_capture,
    decide_payment,
    decide_refund,
    decide_void,
    drawn_parts,
    load_hold,
    load_payment,
    payment_currency,
    released_minor,
)
from domain.ledger.command import Command, Fingerprint, fingerprint_of
from domain.ledger.draft import Situation
from domain.ledger.entry import Entry, EntryKind
from domain.ledger.journal import Journal
from domain.ledger.outcome import Outcome
from domain.ledger.wallet import Wallet
from domain.members.enrolment import joined
from domain.members.presence import may_take_value, presence_needed
from domain.problems import NotFound as Missing
from domain.problems import Problem

AUTHORIZE: Final = "authorizePayment"
CAPTURE: Final = "capturePayment"
VOID: Final = "voidPayment"
REFUND: Final = "refundPayment"
SCOPE: Final = "prepaid:charge"
ALONE: Final = (Pocket.PREPAID,)
"""What pays when no tender is named."""

_P = TypeVar("_P", bound=Posted)


@strawberry.input(description="`tender` is the order in which pockets are drawn; PREPAID alone when left out.")
class AuthorizePaymentInput:
    member: MemberLookup
    amount: MoneyInput
    tender: list[Pocket] | None = strawberry.UNSET
    receipt: str | None = strawberry.UNSET
    capture: bool = False
    idempotency_key: IdempotencyKey


@strawberry.type
class PaymentAuthorized(Posted):
    hold: strawberry.ID
    captured: bool
    parts: list[EntryMoney]


AuthorizePaymentResult = Annotated[
    PaymentAuthorized
    | InsufficientBalance
    | NotEligible
    | NotFound
    | LimitReached
    | IdempotencyMismatch
    | InvalidInput,
    strawberry.union("AuthorizePaymentResult"),
]


@strawberry.input
class CapturePaymentInput:
    hold: strawberry.ID
    amount: Decimal | None = strawberry.UNSET
    idempotency_key: IdempotencyKey


@strawberry.type
class PaymentCaptured(Posted):
    captured: Money
    released: Money


CapturePaymentResult = Annotated[
    PaymentCaptured | WrongState | NotFound | IdempotencyMismatch | InvalidInput,
    strawberry.union("CapturePaymentResult"),
]


@strawberry.input
class VoidPaymentInput:
    hold: strawberry.ID
    idempotency_key: IdempotencyKey


@strawberry.type
class PaymentVoided(Posted):
    pass


VoidPaymentResult = Annotated[
    PaymentVoided | WrongState | NotFound | IdempotencyMismatch | InvalidInput,
    strawberry.union("VoidPaymentResult"),
]


@strawberry.input
class RefundPaymentInput:
    payment: strawberry.ID
    amount: Decimal | None = strawberry.UNSET
    idempotency_key: IdempotencyKey


@strawberry.type
class PaymentRefunded(Posted):
    refunded: Money


RefundPaymentResult = Annotated[
    PaymentRefunded | WrongState | NotFound | LimitReached | IdempotencyMismatch | InvalidInput,
    strawberry.union("RefundPaymentResult"),
]


@strawberry.type
class PaymentMutation:
    @described("Hold money for a payment. scope: prepaid:charge")
    async def authorize_payment(
        self, info: Info, wanted: Annotated[AuthorizePaymentInput, strawberry.argument(name="input")]
    ) -> AuthorizePaymentResult:
        return await _authorize(info.context, require_partner(info), wanted)

    @described(
        "Take all or part of a hold, once; the rest is let go. Cannot fail for lack of money. scope: prepaid:charge"
    )
    async def capture_payment(
        self, info: Info, wanted: Annotated[CapturePaymentInput, strawberry.argument(name="input")]
    ) -> CapturePaymentResult:
        partner, amount = require_partner(info), given(wanted.amount)
        done = await _on_payment(
            info,
            partner,
            _Step(
                operation=CAPTURE,
                key=wanted.idempotency_key,
                fingerprint=fingerprint_of(CAPTURE, plain(wanted)),
                payment=wanted.hold,
                what="hold",
                amount=amount,
                decide=lambda minor, situation: decide_capture(
                    Capture(merchant=partner.client_id, hold=wanted.hold, amount_minor=minor), situation
                ),
            ),
        )
        return await _answered(done, info.context, PaymentCaptured, extra=_captured)

    @described("scope: prepaid:charge")
    async def void_payment(
        self, info: Info, wanted: Annotated[VoidPaymentInput, strawberry.argument(name="input")]
    ) -> VoidPaymentResult:
        partner = require_partner(info)
        done = await _on_payment(
            info,
            partner,
            _Step(
                operation=VOID,
                key=wanted.idempotency_key,
                fingerprint=fingerprint_of(VOID, plain(wanted)),
                payment=wanted.hold,
                what="hold",
                decide=lambda _minor, situation: decide_void(wanted.hold, partner.client_id, situation),
            ),
        )
        return await _answered(done, info.context, PaymentVoided)

    @described("scope: prepaid:charge")
    async def refund_payment(
        self, info: Info, wanted: Annotated[RefundPaymentInput, strawberry.argument(name="input")]
    ) -> RefundPaymentResult:
        partner, amount = require_partner(info), given(wanted.amount)
        done = await _on_payment(
            info,
            partner,
            _Step(
                operation=REFUND,
                key=wanted.idempotency_key,
                fingerprint=fingerprint_of(REFUND, plain(wanted)),
                payment=wanted.payment,
                what="payment",
                amount=amount,
                decide=lambda minor, situation: decide_refund(
                    Refund(merchant=partner.client_id, payment=wanted.payment, amount_minor=minor), situation
                ),
                load=load_payment,
            ),
        )
        return await _answered(done, info.context, PaymentRefunded, extra=_refunded)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Step:
    """What a partner asks of a payment that it began; `decide` is given the amount in minor units, or None."""

    operation: str
    key: str
    fingerprint: Fingerprint
    payment: str
    what: str
    amount: str | None = None
    decide: Callable[[int | None, Situation], Entry | Problem]
    load: Callable[[str, Journal, Wallet], Awaitable[PaymentHistory]] = load_hold


async def _authorize(context: Context, partner: PartnerCaller, wanted: AuthorizePaymentInput) -> AuthorizePaymentResult:
    ledger, fingerprint = context.wallet.ledger, fingerprint_of(AUTHORIZE, {"tender": ALONE, **plain(wanted)})
    (member,) = await find_members(context, [wanted.member])
    may = member is not None and await may_take_value(
        context.wallet.store, member.id, client_id=partner.client_id, scope=SCOPE, now=context.now
    )
    if member is None or not may:
        return await answer_kept(
            no_member() if member is None else presence_needed(),
            context,
            PaymentAuthorized,
            key=wanted.idempotency_key,
            fingerprint=fingerprint,
            extra=_authorized,
        )
    payment = _read(wanted, partner)
    if isinstance(payment, Problem):
        return told(payment, PaymentAuthorized)
    await joined(ledger, member)
    command = Command(
        member=member.id,
        actor=partner.actor,
        key=wanted.idempotency_key,
        operation=AUTHORIZE,
        fingerprint=fingerprint,
        decide=partial(decide_payment, payment),
        check=lambda programme, _now: check_payment(payment, programme),
    )
    return await answer(await ledger.commit(command), member, context, PaymentAuthorized, extra=_authorized)


def _read(wanted: AuthorizePaymentInput, partner: PartnerCaller) -> Payment | Problem:
    """The payment that was asked for, or everything in it that cannot be read."""
    faults, tender, receipt = Faults(), given(wanted.tender), given(wanted.receipt)
    amount_minor = faults.minor("amount.amount", wanted.amount.amount, wanted.amount.currency)
    if receipt is not None:
        faults.text("receipt", receipt)
    if (wrong := faults.problem) is not None:
        return wrong
    return Payment(
        merchant=partner.client_id,
        amount_minor=amount_minor,
        currency=wanted.amount.currency,
        pockets=tuple(pocket.value.lower() for pocket in (ALONE if tender is None else tender)),
        receipt=receipt,
        at_once=wanted.capture,
    )


async def _on_payment(info: Info, partner: PartnerCaller, step: _Step) -> Outcome | Problem:
    """Commit the step; a payment that is not this partner's is not there."""
    ledger = info.context.wallet.ledger
    begun = await ledger.journal.entry(step.payment)
    if begun is not None and begun.kind is EntryKind.CAPTURE and step.operation == REFUND:
        assert begun.reverses is not None, begun.id
        begun = await ledger.journal.entry(begun.reverses)
    if begun is None or not _is_own(begun, partner):
        kept = await ledger.kept(partner.actor, step.key, step.fingerprint)
        return kept or Missing(message=f"You have no {step.what} {step.payment[:60]}.", what=step.what)
    await require_discretion(info, begun.member)
    faults, amount_minor = Faults(), None
    if step.amount is not None:
        amount_minor = faults.minor("amount", step.amount, payment_currency(begun))
    if (wrong := faults.problem) is not None:
        return wrong
    return await ledger.commit(
        Command(
            member=begun.member,
            actor=partner.actor,
            key=step.key,
            operation=step.operation,
            fingerprint=step.fingerprint,
            decide=partial(step.decide, amount_minor),
            check=lambda _programme, _now: check_amount(amount_minor),
            load=partial(step.load, begun.id),
        )
    )


def _is_own(begun: Entry, partner: PartnerCaller) -> bool:
    """Whether the partner began that payment; a delegated token reaches the member who let the app in, and no other."""
    is_payment = begun.kind in {EntryKind.HOLD, EntryKind.CHARGE} and begun.actor == partner.actor
    return is_payment and partner.member_id in {None, begun.member}


async def _answered(
    done: Outcome | Problem,
    context: Context,
    kind: type[_P],
    *,
    extra: Callable[[Entry], Mapping[str, Any]] | None = None,
) -> _P:
    if isinstance(done, Problem):
        return told(done, kind)
    return await answer(done, None, context, kind, extra=extra)


def _authorized(begun: Entry) -> Mapping[str, Any]:
    return {
        "hold": strawberry.ID(begun.id),
        "captured": begun.kind is EntryKind.CHARGE,
        "parts": [entry_money(part.asset, part.amount) for part in drawn_parts(begun)],
    }


def _captured(capture: Entry) -> Mapping[str, Any]:
    currency = payment_currency(capture)
    return {
        "captured": money(captured_minor(capture), currency),
        "released": money(released_minor(capture), currency),
    }


def _refunded(refund: Entry) -> Mapping[str, Any]:
    return {"refunded": money(sum(one.amount for one in refund.postings), payment_currency(refund))}
