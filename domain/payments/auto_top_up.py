"""Automatic top-up: when a payment leaves less than `below`, the saved method is charged (SEMANTICS §6.4).

The payment's entry is the key: its top-up has an id made from it, however often the entry is looked at. A charge
that is declined is tried again after a while, under the next attempt's key and only once the one before is known
to have failed; after three the automatic top-up stops, and the member is told. The money is posted by the
provider's webhook, as with every top-up.
"""

from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Final

import structlog

from domain.ledger.command import fingerprint_of
from domain.ledger.commit import Ledger
from domain.ledger.entry import Entry, EntryKind
from domain.ledger.wallet import standing
from domain.money import to_decimal, to_minor
from domain.payments.payer import AutoTopUp, Payer, customer_of, find_payer, payer_of, set_auto, stop_auto
from domain.payments.provider import Declined, IntentStatus, Provider, ProviderUnavailable
from domain.payments.reservations import OPEN
from domain.payments.top_up import StartedTopUp, TopUpState, close_declined, end, look_again, reserve, wanted_of
from domain.problems import FieldProblem, InvalidInput, NotEligible, Problem
from domain.programme.programme import Programme
from domain.store.codec import to_bson

PAYMENTS: Final = frozenset({EntryKind.HOLD, EntryKind.CAPTURE, EntryKind.CHARGE})
WAITS: Final = (timedelta(hours=1), timedelta(hours=24))
"""After the first and the second failure; after the third it stops."""
WEBHOOK_WAIT: Final = timedelta(hours=1)
KEYS_LIVE: Final = timedelta(hours=20)
"""The provider remembers a key for a day (docs.stripe.com/api/idempotent_requests); after that nobody charges again."""

log = structlog.get_logger(__name__)


def check_auto(auto: AutoTopUp, programme: Programme) -> InvalidInput | None:
    """What is wrong with the setting under the programme's limits (SEMANTICS §6.2)."""
    limits, currency = programme.definition.prepaid.limits, programme.currency
    found: list[FieldProblem] = []
    if auto.currency != currency:
        found.append(FieldProblem(path="amount.currency", message=f"The programme's currency is {currency}."))
    if auto.below_minor <= 0:
        found.append(FieldProblem(path="below.amount", message="It must be more than zero."))
    if auto.amount_minor <= 0:
        found.append(FieldProblem(path="amount.amount", message="It must be more than zero."))
    if not found:
        if limits.top_up_min is not None and auto.amount_minor < to_minor(limits.top_up_min, currency):
            found.append(FieldProblem(path="amount.amount", message=f"A top-up must be at least {limits.top_up_min}."))
        if limits.top_up_max is not None and auto.amount_minor > to_minor(limits.top_up_max, currency):
            found.append(FieldProblem(path="amount.amount", message=f"A top-up must be at most {limits.top_up_max}."))
        if limits.balance_max is not None:
            most = to_minor(limits.balance_max, currency) - auto.amount_minor
            if auto.below_minor > most:
                message = f"With this amount it can be at most {to_decimal(max(0, most), currency)}."
                found.append(FieldProblem(path="below.amount", message=message))
    if not found:
        return None
    paths = ", ".join(dict.fromkeys(each.path for each in found))
    return InvalidInput(message=f"The input is invalid; see {paths}.", fields=tuple(found))


async def set_auto_top_up(ledger: Ledger, member: str, auto: AutoTopUp) -> AutoTopUp | Problem:
    """The member's setting from now on. Turning it on takes a saved method, which a top-up can leave behind."""
    if (problem := check_auto(auto, ledger.programme)) is not None:
        return problem
    payer = await payer_of(ledger.store, member)
    if auto.enabled and payer.method is None:
        return NotEligible(
            message="There is no saved payment method. Top up once with savePaymentMethod.",
            reason="NO_SAVED_METHOD",
        )
    await set_auto(ledger.store, member, auto)
    return auto


def is_payment(entry: Entry, asset: str) -> bool:
    """Whether the entry is of a payment that the asset paid, wholly or in part."""
    return entry.kind in PAYMENTS and any(posting.asset == asset for posting in entry.postings)


async def consider(ledger: Ledger, provider: Provider, payer: Payer, entry: Entry) -> StartedTopUp | None:
    """Begin the top-up that a payment's entry calls for, if it does; the same one however often it is asked."""
    auto = payer.auto
    if auto is None or not auto.enabled or payer.method is None:
        return None
    asset, now = f"prepaid/{auto.currency}", ledger.now()
    if not is_payment(entry, asset):
        return None
    wallet = await ledger.journal.wallet(payer.member)
    left = max(entry.balances.money.get(asset, 0), standing(wallet, asset, now).available)
    if left >= auto.below_minor:
        return None
    with suppress(ProviderUnavailable):
        await close_declined(ledger, provider, payer.member, amount_minor=auto.amount_minor, currency=auto.currency)
    amount = {"amount": to_decimal(auto.amount_minor, auto.currency), "currency": auto.currency}
    decided = await reserve(
        ledger,
        StartedTopUp(
            id=f"auto.{entry.id}",
            member=payer.member,
            provider=provider.name,
            state=TopUpState.OPEN,
            amount_minor=auto.amount_minor,
            currency=auto.currency,
            key=f"auto|{entry.id}",
            fingerprint=fingerprint_of("autoTopUp", {"entry": entry.id, "amount": amount}),
            created_at=now,
            due_at=now,
            entry=entry.id,
        ),
    )
    assert isinstance(decided, StartedTopUp), entry.id
    if decided.problem is not None:
        log.info("auto_top_up.refused", member=payer.member, entry=entry.id, problem=decided.problem.code)
    return decided


async def charge(ledger: Ledger, provider: Provider, top_up: StartedTopUp) -> None:
    """Charge the saved method, once per attempt. Raises ProviderUnavailable: then it is to be called again."""
    store, now = ledger.store, ledger.now()
    payer = await find_payer(store, top_up.member)
    assert payer is not None, top_up.id
    if top_up.intent is not None:
        intent = await provider.find_intent(top_up.intent)
        if intent is None or intent.status in {IntentStatus.OPEN, IntentStatus.CANCELLED}:
            await charge_failed(ledger, top_up, attempt=top_up.attempt, reason="not_paid")
        else:
            await look_again(store, top_up, at=now + WEBHOOK_WAIT)
        return
    if top_up.tried_at is None:
        if payer.method is None or payer.auto is None or not payer.auto.enabled:
            await end(store, top_up.id, TopUpState.CANCELLED)
            return
        await store.top_ups.update_one(
            {"_id": top_up.id, "attempt": top_up.attempt, "tried_at": None},
            {"$set": to_bson({"tried_at": datetime.now(UTC), "method": payer.method})},
        )
    elif datetime.now(UTC) - top_up.tried_at > KEYS_LIVE:
        log.error("auto_top_up.set_aside", member=payer.member, top_up=top_up.id)
        await end(store, top_up.id, TopUpState.SET_ASIDE, reason="NO_ANSWER")
        return
    document = await store.top_ups.find_one({"_id": top_up.id})
    assert document is not None, top_up.id
    wanted = wanted_of(top_up, await customer_of(store, provider, payer))
    try:
        intent = await provider.charge_saved(wanted, method=document["method"], key=f"{top_up.id}.{top_up.attempt}")
    except Declined as declined:
        await charge_failed(ledger, top_up, attempt=top_up.attempt, reason=declined.reason)
        return
    await store.top_ups.update_one(
        {"_id": top_up.id, "attempt": top_up.attempt, "state": OPEN},
        {"$set": to_bson({"intent": intent.id, "due_at": now + WEBHOOK_WAIT})},
    )


async def charge_failed(ledger: Ledger, top_up: StartedTopUp, *, attempt: int, reason: str) -> None:
    """Try again later, or stop after the third. A failure that was counted already changes nothing."""
    if top_up.state is not TopUpState.OPEN or top_up.attempt != attempt:
        return
    store, now = ledger.store, ledger.now()
    this = {"_id": top_up.id, "state": OPEN, "attempt": attempt}
    if attempt <= len(WAITS):
        later = {"attempt": attempt + 1, "due_at": now + WAITS[attempt - 1], "reason": reason}
        await store.top_ups.update_one(
            this, {"$set": to_bson(later), "$unset": {"intent": "", "tried_at": "", "method": ""}}
        )
        log.info("auto_top_up.failed", member=top_up.member, top_up=top_up.id, attempt=attempt, reason=reason)
        return
    stopped = await stop_auto(store, top_up.member, reason=reason, now=now)
    await store.top_ups.update_one(
        this, {"$set": {"state": TopUpState.FAILED.value, "reason": reason}, "$unset": {"due_at": ""}}
    )
    if stopped:
        log.warning("auto_top_up.stopped", member=top_up.member, top_up=top_up.id, reason=reason)
