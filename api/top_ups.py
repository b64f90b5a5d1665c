"""Top-ups through the payment provider: begun by the member, made automatic, and given back by staff.

`startTopUp` answers with what the provider's SDK on the phone needs; the money comes by the provider's webhook
(api.edge.webhooks). The rules are in domain.payments and domain.commands.top_up.
"""

from functools import partial
from typing import Annotated, Final

import strawberry

from api.context import Context, Info, require_member
from api.described import described
from api.edge.errors import Unavailable
from api.faults import Faults, given, plain
from api.members import own_record
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
from api.wallet import AutoTopUp, auto_top_up_type
from domain.commands.top_up_refund import (
    TopUpRefund,
    check_top_up_refund,
    decide_top_up_refund,
    load_top_up,
    prepaid_of,
)
from domain.ledger.command import Command, fingerprint_of
from domain.ledger.entry import Entry as JournalEntry
from domain.ledger.entry import EntryKind
from domain.ledger.posting import currency_of, pocket_of
from domain.members.enrolment import joined
from domain.payments.auto_top_up import set_auto_top_up
from domain.payments.payer import AutoTopUp as AutoTopUpSetting
from domain.payments.provider import ProviderUnavailable
from domain.payments.refund import ensure_refund
from domain.payments.top_up import CLEARING, OPERATION, start_top_up
from domain.problems import NotEligible as NotEligibleNow
from domain.problems import NotFound as Missing
from domain.problems import Problem

REFUND: Final = "refundTopUp"


@strawberry.input
class StartTopUpInput:
    amount: MoneyInput
    save_payment_method: bool = False
    idempotency_key: IdempotencyKey


@strawberry.type
class TopUpStarted:
    top_up: strawberry.ID
    provider: str
    client_secret: str
    amount: Money
    replayed: bool


StartTopUpResult = Annotated[
    TopUpStarted | LimitReached | IdempotencyMismatch | InvalidInput | NotEligible,
    strawberry.union("StartTopUpResult"),
]


@strawberry.input
class AutoTopUpInput:
    below: MoneyInput
    amount: MoneyInput
    enabled: bool


SetAutoTopUpResult = Annotated[AutoTopUp | InvalidInput | NotEligible, strawberry.union("SetAutoTopUpResult")]


@strawberry.input(description="`topUp` is the TOP_UP entry's id; `amount` null means all that is left of it.")
class RefundTopUpInput:
    top_up: strawberry.ID = strawberry.field(description="The entry of the top-up.")
    amount: Decimal | None = strawberry.UNSET
    idempotency_key: IdempotencyKey


@strawberry.type(description="The money has left the wallet; the provider is asked until it has paid it back.")
class TopUpRefunded(Posted):
    refunded: Money


RefundTopUpResult = Annotated[
    TopUpRefunded | WrongState | NotFound | LimitReached | InsufficientBalance | IdempotencyMismatch | InvalidInput,
    strawberry.union("RefundTopUpResult"),
]


@strawberry.type
class TopUpMutation:
    @described(
        "Begin a top-up: the payment provider's client secret goes to its SDK on the phone, "
        "and its webhook posts the money."
    )
    async def start_top_up(
        self, info: Info, wanted: Annotated[StartTopUpInput, strawberry.argument(name="input")]
    ) -> StartTopUpResult:
        return await _start(info, wanted)

    @strawberry.field
    async def set_auto_top_up(
        self, info: Info, wanted: Annotated[AutoTopUpInput, strawberry.argument(name="input")]
    ) -> SetAutoTopUpResult:
        return await _set_auto(info, wanted)

    @described(
        "Give unspent paid money of a top-up back to the card that it came from, and to no other. scope: staff:refunds"
    )
    async def refund_top_up(
        self, info: Info, wanted: Annotated[RefundTopUpInput, strawberry.argument(name="input")]
    ) -> RefundTopUpResult:
        return await _refund(info.context, wanted)


async def _start(info: Info, wanted: StartTopUpInput) -> StartTopUpResult:
    services, caller = info.context.wallet, require_member(info)
    faults, currency = Faults(), wanted.amount.currency
    amount_minor = faults.minor("amount.amount", wanted.amount.amount, currency)
    if (wrong := faults.problem) is not None:
        return told(wrong, TopUpStarted)
    if services.provider is None:
        return told(_no_provider(), TopUpStarted)
    member = await joined(services.ledger, await own_record(info))
    try:
        started = await start_top_up(
            services.ledger,
            services.provider,
            member,
            amount_minor=amount_minor,
            currency=currency,
            saves_method=wanted.save_payment_method,
            actor=caller.actor,
            key=wanted.idempotency_key,
            fingerprint=fingerprint_of(OPERATION, plain(wanted)),
        )
    except ProviderUnavailable:
        raise Unavailable("The payment provider does not answer. Try again with the same key.") from None
    if isinstance(started, Problem):
        return told(started, TopUpStarted)
    assert started.intent.client_secret is not None, started.top_up.id
    return TopUpStarted(
        top_up=strawberry.ID(started.top_up.id),
        provider=started.top_up.provider,
        client_secret=started.intent.client_secret,
        amount=money(started.top_up.amount_minor, started.top_up.currency),
        replayed=started.replayed,
    )


async def _set_auto(info: Info, wanted: AutoTopUpInput) -> SetAutoTopUpResult:
    services, faults = info.context.wallet, Faults()
    below, amount = wanted.below, wanted.amount
    auto = AutoTopUpSetting(
        below_minor=faults.minor("below.amount", below.amount, below.currency),
        amount_minor=faults.minor("amount.amount", amount.amount, amount.currency),
        currency=amount.currency,
        enabled=wanted.enabled,
    )
    if below.currency != amount.currency:
        faults.add("below.currency", f"The amount is in {amount.currency}; it must be the same.")
    if (wrong := faults.problem) is not None:
        return told(wrong, AutoTopUp)
    if services.provider is None:
        return told(_no_provider(), AutoTopUp)
    decided = await set_auto_top_up(services.ledger, require_member(info).member_id, auto)
    return told(decided, AutoTopUp) if isinstance(decided, Problem) else auto_top_up_type(decided)


async def _refund(context: Context, wanted: RefundTopUpInput) -> RefundTopUpResult:
    ledger, actor = context.wallet.ledger, context.caller.actor
    fingerprint = fingerprint_of(REFUND, plain(wanted))
    top_up = await ledger.journal.entry(wanted.top_up)
    asset = None if top_up is None else prepaid_of(top_up, CLEARING)
    if top_up is None or asset is None or top_up.kind is not EntryKind.TOP_UP:
        unknown = f"There is no top-up {wanted.top_up[:60]} that a card paid for."
        return await answer_kept(
            Missing(message=unknown, what="topUp"),
            context,
            TopUpRefunded,
            key=wanted.idempotency_key,
            fingerprint=fingerprint,
            extra=_refunded,
        )
    faults, amount = Faults(), given(wanted.amount)
    refund = TopUpRefund(
        top_up=top_up.id,
        source=CLEARING,
        amount_minor=None if amount is None else faults.minor("amount", amount, currency_of(asset)),
    )
    if (wrong := faults.problem) is not None:
        return told(wrong, TopUpRefunded)
    command = Command(
        member=top_up.member,
        actor=actor,
        key=wanted.idempotency_key,
        operation=REFUND,
        fingerprint=fingerprint,
        decide=partial(decide_top_up_refund, refund),
        check=lambda _programme, _now: check_top_up_refund(refund),
        load=partial(load_top_up, refund),
    )
    outcome = await ledger.commit(command)
    if isinstance(outcome.decided, JournalEntry):
        await ensure_refund(context.wallet.store, outcome.decided, now=ledger.now())
    return await answer(outcome, None, context, TopUpRefunded, extra=_refunded)


def _refunded(entry: JournalEntry) -> dict[str, Money]:
    (asset,) = {posting.asset for posting in entry.postings if pocket_of(posting.asset) == "prepaid"}
    return {"refunded": money(-entry.moved(asset), currency_of(asset))}


def _no_provider() -> NotEligibleNow:
    return NotEligibleNow(message="Topping up by card is not offered here.", reason="NO_PROVIDER")
