"""Stripe, through its own library; no other file imports it.

One asynchronous client per process, with a limit on every wait; the library repeats a call that got no answer with
the same idempotency key. Stripe learns nothing of a member but his opaque id. Its address is a setting, so that a
stand-in can take its place. A webhook is verified by the library, which takes the machine's clock for the five
minutes: what signs is outside of a sandbox's time.
"""

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from datetime import UTC, datetime
from typing import Any, Final, TypeVar

import stripe
import structlog

from domain.payments.provider import (
    TOLERANCE_SECONDS,
    Declined,
    EventKind,
    Intent,
    IntentStatus,
    IntentWanted,
    ProviderEvent,
    ProviderRefund,
    ProviderUnavailable,
    RefundStatus,
    SignatureInvalid,
)
from domain.settings import Settings

TIMEOUT_SECONDS: Final = 10.0
RETRIES: Final = 2
PAGE: Final = 100
MAX_PAGES: Final = 10_000

_HUNDREDTHS: Final = frozenset({"ISK", "UGX"})
"""Without decimals in ISO 4217, counted in hundredths by Stripe (docs.stripe.com/currencies#special-cases)."""

_INTENT_STATUS: Final[Mapping[str, IntentStatus]] = {
    "succeeded": IntentStatus.SUCCEEDED,
    "processing": IntentStatus.PROCESSING,
    "canceled": IntentStatus.CANCELLED,
}
_REFUND_STATUS: Final[Mapping[str, RefundStatus]] = {
    "succeeded": RefundStatus.SUCCEEDED,
    "failed": RefundStatus.FAILED,
    "canceled": RefundStatus.FAILED,
}
_INTENT_EVENTS: Final[Mapping[str, EventKind]] = {
    "payment_intent.succeeded": EventKind.SUCCEEDED,
    "payment_intent.payment_failed": EventKind.FAILED,
    "payment_intent.canceled": EventKind.CANCELLED,
}
_REFUND_EVENTS: Final = frozenset({"refund.created", "refund.updated", "refund.failed", "charge.refund.updated"})

_T = TypeVar("_T")

log = structlog.get_logger(__name__)


class StripeProvider:
    """The provider over Stripe's API. Belongs to the event loop that it is used on; close it at the end."""

    name = "stripe"

    def __init__(self, settings: Settings) -> None:
        assert settings.stripe_key is not None
        assert settings.stripe_webhook_secret is not None
        self._secret = settings.stripe_webhook_secret
        self._http = stripe.HTTPXClient(timeout=TIMEOUT_SECONDS)
        self._client = stripe.StripeClient(
            settings.stripe_key,
            base_addresses={"api": settings.stripe_url},
            max_network_retries=RETRIES,
            http_client=self._http,
        )

    async def customer(self, member: str, *, key: str) -> str:
        made = await _answered(
            lambda: self._client.v1.customers.create_async({"metadata": {"member": member}}, {"idempotency_key": key})
        )
        return made.id

    async def intent(self, wanted: IntentWanted, *, key: str) -> Intent:
        asked: Any = _wanted(wanted)
        if wanted.saves_method:
            asked["payment_method_options"] = {"card": {"setup_future_usage": "off_session"}}
        return _intent(
            await _answered(lambda: self._client.v1.payment_intents.create_async(asked, {"idempotency_key": key}))
        )

    async def charge_saved(self, wanted: IntentWanted, *, method: str, key: str) -> Intent:
        asked: Any = {**_wanted(wanted), "payment_method": method, "confirm": True, "off_session": True}
        intent = _intent(
            await _answered(lambda: self._client.v1.payment_intents.create_async(asked, {"idempotency_key": key}))
        )
        if intent.status in {IntentStatus.SUCCEEDED, IntentStatus.PROCESSING}:
            return intent
        await self.cancel(intent.id)
        raise Declined("authentication_required")

    async def find_intent(self, identifier: str) -> Intent | None:
        try:
            found = await _answered(lambda: self._client.v1.payment_intents.retrieve_async(identifier))
        except _Refused as error:
            if error.status == 404:  # noqa: PLR2004 -- HTTP
                return None
            raise
        return _intent(found)

    async def cancel(self, identifier: str) -> Intent:
        try:
            return _intent(await _answered(lambda: self._client.v1.payment_intents.cancel_async(identifier)))
        except _Refused:
            intent = await self.find_intent(identifier)
            if intent is None or intent.status is IntentStatus.OPEN:
                raise
            return intent

    async def refund(self, intent: str, amount_minor: int, currency: str, *, entry: str, key: str) -> ProviderRefund:
        amount = _counted(amount_minor, currency)
        try:
            made = await _answered(
                lambda: self._client.v1.refunds.create_async(
                    {"payment_intent": intent, "amount": amount, "metadata": {"entry": entry}},
                    {"idempotency_key": key},
                )
            )
        except _Refused as error:
            raise Declined(error.reason) from error
        return _refund(made)

    async def find_refund(self, intent: str, *, entry: str) -> ProviderRefund | None:
        async for made in _pages(self._client.v1.refunds.list_async, {"payment_intent": intent}):
            refund = _refund(made)
            if refund.entry == entry:
                return refund
        return None

    async def succeeded(self, *, since: datetime, until: datetime) -> AsyncIterator[Intent]:
        async for made in _pages(self._client.v1.payment_intents.list_async, {"created": _span(since, until)}):
            intent = _intent(made)
            if intent.status is IntentStatus.SUCCEEDED:
                yield intent

    async def refunds(self, *, since: datetime, until: datetime) -> AsyncIterator[ProviderRefund]:
        async for made in _pages(self._client.v1.refunds.list_async, {"created": _span(since, until)}):
            refund = _refund(made)
            if refund.status is not RefundStatus.FAILED:
                yield refund

    def event(self, body: bytes, signature: str | None) -> ProviderEvent:
        try:
            event = self._client.construct_event(body, signature, self._secret, TOLERANCE_SECONDS)
            return event_of(event.to_dict())
        except (stripe.SignatureVerificationError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise SignatureInvalid(type(error).__name__) from error

    async def close(self) -> None:
        await self._http.close_async()  # type: ignore[no-untyped-call]


class _Refused(ProviderUnavailable):
    """Stripe understood, and will not; asking again is of use only once something else has changed."""

    def __init__(self, reason: str, status: int) -> None:
        self.reason = reason
        self.status = status
        super().__init__(reason)


def event_of(event: Mapping[str, Any]) -> ProviderEvent:
    """A verified event of Stripe as ours. Raises KeyError and its like for what has not an event's shape."""
    kind, about = str(event["type"]), event["data"]["object"]
    identifier = str(event["id"])
    if kind in _INTENT_EVENTS:
        return ProviderEvent(id=identifier, kind=_INTENT_EVENTS[kind], type=kind, intent=_intent(about))
    if kind in _REFUND_EVENTS:
        return ProviderEvent(id=identifier, kind=EventKind.REFUND, type=kind, refund=_refund(about))
    if kind in {"charge.refunded", "charge.dispute.created"}:
        refunded = kind == "charge.refunded"
        return ProviderEvent(
            id=identifier,
            kind=EventKind.CHARGE_REFUNDED if refunded else EventKind.DISPUTE,
            type=kind,
            charged_intent=_id(_of(about, "payment_intent")),
            refunded_minor=_uncounted(about["amount_refunded"], about["currency"].upper()) if refunded else 0,
        )
    return ProviderEvent(id=identifier, kind=EventKind.OTHER, type=kind)


async def _answered(call: Callable[[], Awaitable[_T]]) -> _T:
    """What Stripe answered; its errors as ours."""
    try:
        return await call()
    except stripe.CardError as error:
        raise Declined(error.code or "card_declined") from error
    except stripe.InvalidRequestError as error:
        log.warning("stripe.refused", code=error.code, param=error.param, status=error.http_status)
        raise _Refused(error.code or "invalid_request", error.http_status or 0) from error
    except stripe.StripeError as error:
        log.warning("stripe.unavailable", error=type(error).__name__, code=error.code, status=error.http_status)
        raise ProviderUnavailable(type(error).__name__) from error


async def _pages(listed: Callable[[Any], Awaitable[Any]], asked: Mapping[str, Any]) -> AsyncIterator[Any]:
    """All objects of a list, a page at a time."""
    after: dict[str, str] = {}
    for _ in range(MAX_PAGES):
        wanted = {**asked, **after, "limit": PAGE}
        page = await _answered(lambda wanted=wanted: listed(wanted))  # type: ignore[misc]  # a default, not an argument
        for each in page.data:
            yield each
        if not page.has_more or not page.data:
            return
        after = {"starting_after": page.data[-1].id}
    raise AssertionError(f"more than {MAX_PAGES} pages")


def _wanted(wanted: IntentWanted) -> dict[str, Any]:
    return {
        "amount": _counted(wanted.amount_minor, wanted.currency),
        "currency": wanted.currency.lower(),
        "customer": wanted.customer,
        "metadata": {"top_up": wanted.top_up, "attempt": str(wanted.attempt)},
    }


def _intent(made: Any) -> Intent:
    metadata, status = _of(made, "metadata") or {}, _INTENT_STATUS.get(made["status"], IntentStatus.OPEN)
    currency, received = made["currency"].upper(), _of(made, "amount_received")
    amount = received if status is IntentStatus.SUCCEEDED and received is not None else made["amount"]
    attempt = str(_of(metadata, "attempt") or "1")
    return Intent(
        id=made["id"],
        status=status,
        amount_minor=_uncounted(amount, currency),
        currency=currency,
        created_at=_instant(made["created"]),
        client_secret=_of(made, "client_secret"),
        method=_id(_of(made, "payment_method")),
        top_up=_of(metadata, "top_up"),
        attempt=int(attempt) if attempt.isdecimal() else 1,
    )


def _refund(made: Any) -> ProviderRefund:
    currency = made["currency"].upper()
    return ProviderRefund(
        id=made["id"],
        status=_REFUND_STATUS.get(made["status"], RefundStatus.PENDING),
        intent=_id(_of(made, "payment_intent")),
        amount_minor=_uncounted(made["amount"], currency),
        currency=currency,
        created_at=_instant(made["created"]),
        entry=_of(_of(made, "metadata") or {}, "entry"),
    )


def _of(made: Any, name: str) -> Any:
    return made[name] if name in made else None  # noqa: SIM401 -- Stripe's objects have no get


def _id(value: Any) -> str | None:
    """A reference, which may have been expanded."""
    return value if value is None or isinstance(value, str) else str(value["id"])


def _instant(seconds: int) -> datetime:
    return datetime.fromtimestamp(int(seconds), UTC)


def _span(since: datetime, until: datetime) -> dict[str, int]:
    return {"gte": int(since.timestamp()), "lt": int(until.timestamp())}


def _counted(minor: int, currency: str) -> int:
    return minor * 100 if currency in _HUNDREDTHS else minor


def _uncounted(amount: int, currency: str) -> int:
    if currency not in _HUNDREDTHS:
        return int(amount)
    whole, rest = divmod(int(amount), 100)
    assert rest == 0, (amount, currency)
    return whole
