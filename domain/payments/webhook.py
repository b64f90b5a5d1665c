"""What the provider's events do: a success posts its TOP_UP entry, once per intent, whatever comes when and how often.

The entry's key is the intent's id, so that a second delivery, another event of the same intent, or a process that
died in between changes nothing. An event that does not fit what we asked for is set aside for staff and posts
nothing (SEMANTICS §6.3); the provider is told all is well, since sending it again would not help.
"""

from dataclasses import dataclass
from enum import StrEnum
from functools import partial
from typing import Final

import structlog
from pymongo.errors import DuplicateKeyError

from domain.commands.top_up import TopUp, decide_top_up
from domain.ledger.command import Command, fingerprint_of
from domain.ledger.commit import Ledger
from domain.ledger.entry import Entry
from domain.members.enrolment import joined
from domain.members.member import member_by_id
from domain.money import to_decimal
from domain.payments.auto_top_up import charge_failed
from domain.payments.payer import save_method
from domain.payments.provider import EventKind, Intent, Provider, ProviderEvent, RefundStatus
from domain.payments.refund import note_refund, refunded_of
from domain.payments.sandbox import SandboxProvider
from domain.payments.top_up import CLEARING, StartedTopUp, TopUpState, end, find_top_up, note_declined, top_up_from
from domain.store.codec import to_bson
from domain.store.connection import Store

OPERATION: Final = "topUpByProvider"

log = structlog.get_logger(__name__)


class Outcome(StrEnum):
    POSTED = "POSTED"
    NOTED = "NOTED"
    SET_ASIDE = "SET_ASIDE"


@dataclass(frozen=True, slots=True, kw_only=True)
class Taken:
    """What came of an event; `reason` is why it was set aside, `entry` what it posted."""

    outcome: Outcome
    reason: str | None = None
    entry: str | None = None


_NOTED: Final = Taken(outcome=Outcome.NOTED)


async def receive(ledger: Ledger, provider: Provider, body: bytes, signature: str | None) -> Taken:
    """Verify a webhook and do what it asks for. Raises SignatureInvalid, and Unavailable: then it is to come again."""
    event = provider.event(body, signature)
    known = await ledger.store.provider_events.find_one({"_id": event.id})
    if known is not None:
        return Taken(outcome=Outcome(known["outcome"]), reason=known.get("reason"), entry=known.get("entry"))
    taken = await _take(ledger, provider, event)
    await _record(ledger, event, taken)
    return taken


async def hand_over(ledger: Ledger, provider: Provider, *, about: str | None = None) -> None:
    """Deliver what a sandbox's provider has to say (about one intent or refund); others deliver by themselves."""
    if not isinstance(provider, SandboxProvider):
        return
    for identifier, body, signature in await provider.unsent(only=about):
        await receive(ledger, provider, body, signature)
        await provider.sent(identifier)


def provider_actor(provider: str) -> str:
    """Who posts what the provider's webhooks say."""
    return f"psp:{provider}"


async def _take(ledger: Ledger, provider: Provider, event: ProviderEvent) -> Taken:
    match event.kind:
        case EventKind.SUCCEEDED | EventKind.FAILED | EventKind.CANCELLED:
            assert event.intent is not None, event
            return await _take_intent(ledger, provider, event.kind, event.intent)
        case EventKind.REFUND:
            assert event.refund is not None, event
            known = await note_refund(ledger.store, event.refund)
            if not known:
                return _aside("UNKNOWN_REFUND")
            return _aside("REFUND_FAILED") if event.refund.status is RefundStatus.FAILED else _NOTED
        case EventKind.CHARGE_REFUNDED:
            ours = await refunded_of(ledger.store, event.charged_intent or "")
            return _NOTED if event.refunded_minor <= ours else _aside("UNKNOWN_REFUND")
        case EventKind.DISPUTE:
            return _aside("DISPUTE")
        case EventKind.OTHER:
            return _NOTED


async def _take_intent(ledger: Ledger, provider: Provider, kind: EventKind, intent: Intent) -> Taken:
    top_up = await _top_up_of(ledger.store, intent)
    if top_up is None:
        return _aside("UNKNOWN_INTENT") if kind is EventKind.SUCCEEDED else _NOTED
    if kind is not EventKind.SUCCEEDED:
        return await _fail(ledger, top_up, kind, intent)
    if top_up.provider != provider.name or not await _is_its(ledger.store, top_up, intent):
        return await _put_aside(ledger.store, top_up, "OTHER_INTENT")
    if (intent.amount_minor, intent.currency) != (top_up.amount_minor, top_up.currency):
        return await _put_aside(ledger.store, top_up, "OTHER_AMOUNT")
    return await _post(ledger, top_up, intent)


async def _post(ledger: Ledger, top_up: StartedTopUp, intent: Intent) -> Taken:
    member = await member_by_id(ledger.store, top_up.member)
    if member is None:
        return await _put_aside(ledger.store, top_up, "NO_MEMBER")
    member = await joined(ledger, member)
    wanted = TopUp(
        member=member,
        source=CLEARING,
        amount_minor=intent.amount_minor,
        currency=intent.currency,
        instrument=intent.method or intent.id,
        is_paid=True,
    )
    given = {
        "intent": intent.id,
        "amount": {"amount": to_decimal(intent.amount_minor, intent.currency), "currency": intent.currency},
    }
    outcome = await ledger.commit(
        Command(
            member=member.id,
            actor=provider_actor(top_up.provider),
            key=intent.id,
            operation=OPERATION,
            fingerprint=fingerprint_of(OPERATION, given),
            decide=partial(decide_top_up, wanted),
        )
    )
    if not isinstance(outcome.decided, Entry):
        return await _put_aside(ledger.store, top_up, outcome.decided.code)
    if top_up.saves_method and intent.method is not None:
        await save_method(ledger.store, member.id, intent.method)
    await end(ledger.store, top_up.id, TopUpState.SUCCEEDED, posted=outcome.decided.id)
    return Taken(outcome=Outcome.POSTED, entry=outcome.decided.id)


async def _fail(ledger: Ledger, top_up: StartedTopUp, kind: EventKind, intent: Intent) -> Taken:
    """A failure frees the headroom; whoever pays with another card after it is credited all the same."""
    if top_up.entry is None and kind is EventKind.FAILED:
        await note_declined(ledger.store, top_up.id)
    elif top_up.entry is None:
        await end(ledger.store, top_up.id, TopUpState.CANCELLED)
    elif kind is EventKind.FAILED:
        await charge_failed(ledger, top_up, attempt=intent.attempt, reason="payment_failed")
    return _NOTED


async def _top_up_of(store: Store, intent: Intent) -> StartedTopUp | None:
    """The top-up that the intent says it is for, else the one that knows it."""
    if intent.top_up is not None and (found := await find_top_up(store, intent.top_up)) is not None:
        return found
    document = await store.top_ups.find_one({"intent": intent.id})
    return None if document is None else top_up_from(document)


async def _is_its(store: Store, top_up: StartedTopUp, intent: Intent) -> bool:
    """Whether the intent is the top-up's; one that came before we could note it is noted now."""
    if top_up.intent is None:
        await store.top_ups.update_one({"_id": top_up.id, "intent": None}, {"$set": {"intent": intent.id}})
        found = await find_top_up(store, top_up.id)
        assert found is not None, top_up.id
        return found.intent == intent.id
    return top_up.intent == intent.id


async def _put_aside(store: Store, top_up: StartedTopUp, reason: str) -> Taken:
    await end(store, top_up.id, TopUpState.SET_ASIDE, reason=reason)
    return _aside(reason)


def _aside(reason: str) -> Taken:
    return Taken(outcome=Outcome.SET_ASIDE, reason=reason)


async def _record(ledger: Ledger, event: ProviderEvent, taken: Taken) -> None:
    """Keep what came of it; of two deliveries at once both did the same."""
    about = event.intent or event.refund
    document = {
        "_id": event.id,
        "type": event.type,
        "at": ledger.now(),
        "outcome": taken.outcome.value,
        "reason": taken.reason,
        "entry": taken.entry,
        "about": event.charged_intent if about is None else about.id,
        "amount_minor": event.refunded_minor if about is None else about.amount_minor,
        "currency": None if about is None else about.currency,
    }
    if taken.outcome is Outcome.SET_ASIDE:
        log.warning("webhook.set_aside", about=event.id, type=event.type, reason=taken.reason)
    try:
        await ledger.store.provider_events.insert_one(
            to_bson({name: value for name, value in document.items() if value is not None})
        )
    except DuplicateKeyError:
        return
