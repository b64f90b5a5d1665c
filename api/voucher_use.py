"""Using a voucher at a till: its code is looked up, then used on a receipt, once.

A client that shows five wrong codes within a minute is slowed down, over all processes and by the one clock
(SEMANTICS §5.5). A code in a purchase is not counted: it works for the member of that purchase alone.
"""

from datetime import datetime
from functools import partial
from typing import Annotated, Final

import strawberry

from api.access import PartnerCaller
from api.context import Context, Info
from api.described import described
from api.edge.errors import ExposedError
from api.faults import Faults, plain
from api.members import locale_of, voucher_now
from api.posted import Posted, answer, catch_up
from api.problems import IdempotencyMismatch, InvalidInput, LimitReached, NotFound, WrongState, told
from api.scalars import IdempotencyKey
from api.stranger import require_discretion
from api.vouchers import Voucher, voucher_type
from domain.commands.redemption import decide_use, load_past
from domain.ledger.command import Command, fingerprint_of
from domain.ledger.entry import Entry
from domain.ledger.issued import Issued, voucher_by_code
from domain.ledger.outcome import Outcome
from domain.ledger.voucher import normal_code
from domain.members.member import member_by_id
from domain.members.wrong_code import note_wrong_code, slowed_until
from domain.problems import LimitReached as Limit
from domain.problems import NotFound as Missing
from domain.store.codec import format_instant

USE: Final = "useVoucher"
KIND: Final = "voucher"
MOST_WRONG: Final = 5


@strawberry.input
class UseVoucherInput:
    code: str
    receipt: str
    idempotency_key: IdempotencyKey


@strawberry.type
class VoucherUsed(Posted):
    voucher: Voucher


UseVoucherResult = Annotated[
    VoucherUsed | WrongState | NotFound | LimitReached | IdempotencyMismatch | InvalidInput,
    strawberry.union("UseVoucherResult"),
]


@strawberry.type
class VoucherQuery:
    @described("Look at a voucher before using it. scope: vouchers:use")
    async def voucher(self, info: Info, code: str) -> Voucher | None:
        context = info.context
        found = await _look(context, code)
        if isinstance(found, datetime):
            raise _slowed(found, context)
        if found is None:
            return None
        member = await member_by_id(context.wallet.store, found.member)
        assert member is not None, "a voucher of nobody"
        return voucher_type(found, context.wallet.programmes.current, locale_of(member, context))


@strawberry.type
class VoucherMutation:
    @described("scope: vouchers:use")
    async def use_voucher(
        self, info: Info, wanted: Annotated[UseVoucherInput, strawberry.argument(name="input")]
    ) -> UseVoucherResult:
        return await _use(info, wanted)


async def _use(info: Info, wanted: UseVoucherInput) -> UseVoucherResult:
    """Whoever holds the code may use it: the partner need not be linked to the member."""
    context, faults = info.context, Faults()
    faults.text("code", wanted.code)
    faults.text("receipt", wanted.receipt)
    if (wrong := faults.problem) is not None:
        return told(wrong, VoucherUsed)
    ledger, actor = context.wallet.ledger, context.caller.actor
    fingerprint = fingerprint_of(USE, {**plain(wanted), "code": normal_code(wanted.code) or wanted.code})
    found = await _look(context, wanted.code)
    if not isinstance(found, Issued):
        kept = await ledger.kept(actor, wanted.idempotency_key, fingerprint)
        if kept is not None:
            return await _used(kept, context)
        if found is None:
            return told(Missing(message="There is no voucher with this code.", what="voucher"), VoucherUsed)
        slowed = Limit(
            message=f"There were {MOST_WRONG} wrong codes within a minute. Wait before trying another.",
            limit="wrong_codes",
            headroom="0",
            resets_at=found,
        )
        return told(slowed, VoucherUsed)
    await require_discretion(info, found.member)
    identifier = found.voucher.id
    command = Command(
        member=found.member,
        actor=actor,
        key=wanted.idempotency_key,
        operation=USE,
        fingerprint=fingerprint,
        decide=partial(decide_use, identifier, wanted.receipt),
        load=partial(load_past, identifier),
    )
    return await _used(await ledger.commit(command), context)


async def _used(outcome: Outcome, context: Context) -> UseVoucherResult:
    if not isinstance(outcome.decided, Entry):
        return told(outcome.decided, VoucherUsed)
    await catch_up(outcome, context)
    (end,) = outcome.decided.changes.ended_vouchers
    member = await member_by_id(context.wallet.store, outcome.decided.member)
    voucher = await voucher_now(end.id, member, context)
    return await answer(outcome, member, context, VoucherUsed, extra=lambda _: {"voucher": voucher})


async def _look(context: Context, text: str) -> Issued | datetime | None:
    """The voucher of that code; None for a wrong one, which is noted; or until when the client must wait."""
    store, client = context.wallet.store, context.caller.actor
    until = await slowed_until(store, client, kind=KIND, most=MOST_WRONG, now=context.now)
    if until is not None:
        return until
    code = normal_code(text)
    found = None if code is None else await voucher_by_code(store, code, now=context.now)
    delegated_by = context.caller.member_id if isinstance(context.caller, PartnerCaller) else None
    if found is not None and delegated_by not in {None, found.member}:
        found = None
    if found is None:
        await note_wrong_code(store, client, kind=KIND, now=context.now)
    return found


def _slowed(until: datetime, context: Context) -> ExposedError:
    seconds = max(1, -(-int((until - context.now).total_seconds() * 1000) // 1000))
    return ExposedError(
        f"There were {MOST_WRONG} wrong codes within a minute. Wait {seconds} s before trying another.",
        code="LIMIT_REACHED",
        details={"retryAfterSeconds": seconds, "resetsAt": format_instant(until)},
    )
