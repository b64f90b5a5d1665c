"""Top-ups with cash or card that a till has taken. The rules are in domain.commands.top_up."""

from contextlib import suppress
from functools import partial
from typing import Annotated, Final

import strawberry

from api.access import PartnerCaller
from api.context import Context, Info, require_partner
from api.described import described
from api.faults import Faults, plain
from api.members import MemberLookup, find_members, no_member
from api.money import MoneyInput
from api.posted import Posted, answer, answer_kept
from api.problems import DuplicateReceipt, IdempotencyMismatch, InvalidInput, LimitReached, NotFound, told
from api.scalars import IdempotencyKey
from domain.commands.top_up import TopUp, check_top_up, decide_top_up
from domain.ledger.command import Command, fingerprint_of
from domain.ledger.entry import EntryKind
from domain.members.enrolment import joined
from domain.members.member import Member
from domain.payments.provider import ProviderUnavailable
from domain.payments.top_up import close_declined, top_up_at_till
from domain.problems import Problem

TOP_UP: Final = "topUpAtTill"


@strawberry.input
class TillTopUpInput:
    member: MemberLookup
    amount: MoneyInput
    receipt: str
    idempotency_key: IdempotencyKey


@strawberry.type
class ToppedUp(Posted):
    pass


TillTopUpResult = Annotated[
    ToppedUp | LimitReached | NotFound | DuplicateReceipt | IdempotencyMismatch | InvalidInput,
    strawberry.union("TillTopUpResult"),
]


@strawberry.type
class TillTopUpMutation:
    @described("Cash or card taken at the till. scope: prepaid:topup")
    async def top_up_at_till(
        self, info: Info, wanted: Annotated[TillTopUpInput, strawberry.argument(name="input")]
    ) -> TillTopUpResult:
        return await _top_up(info.context, require_partner(info), wanted)


async def _top_up(context: Context, partner: PartnerCaller, wanted: TillTopUpInput) -> TillTopUpResult:
    ledger, fingerprint = context.wallet.ledger, fingerprint_of(TOP_UP, plain(wanted))
    (member,) = await find_members(context, [wanted.member])
    if member is None:
        return await answer_kept(no_member(), context, ToppedUp, key=wanted.idempotency_key, fingerprint=fingerprint)
    top_up = _read(wanted, member, partner)
    if isinstance(top_up, Problem):
        return told(top_up, ToppedUp)
    await joined(ledger, member)
    await _close_declined(top_up, context)
    command = Command(
        member=member.id,
        actor=partner.actor,
        key=wanted.idempotency_key,
        operation=TOP_UP,
        fingerprint=fingerprint,
        decide=partial(decide_top_up, top_up),
        check=lambda programme, _now: check_top_up(top_up, programme),
        receipt=top_up.receipt,
        receipt_of=EntryKind.TOP_UP,
    )
    return await answer(await top_up_at_till(ledger, top_up, command), member, context, ToppedUp)


async def _close_declined(top_up: TopUp, context: Context) -> None:
    """Cash goes before a card that was declined; what cannot be cancelled now stays reserved."""
    services = context.wallet
    if services.provider is not None:
        with suppress(ProviderUnavailable):
            await close_declined(
                services.ledger,
                services.provider,
                top_up.member.id,
                amount_minor=top_up.amount_minor,
                currency=top_up.currency,
            )


def _read(wanted: TillTopUpInput, member: Member, partner: PartnerCaller) -> TopUp | Problem:
    """The top-up that was asked for, or everything in it that cannot be read."""
    faults = Faults()
    amount_minor = faults.minor("amount.amount", wanted.amount.amount, wanted.amount.currency)
    faults.text("receipt", wanted.receipt)
    if (wrong := faults.problem) is not None:
        return wrong
    return TopUp(
        member=member,
        source=f"till/{partner.client_id}",
        amount_minor=amount_minor,
        currency=wanted.amount.currency,
        receipt=wanted.receipt,
    )
