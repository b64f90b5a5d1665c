"""A payment provider for a sandbox: no network, no card, all of the rest as with a real one.

The app does with the client secret what the provider's SDK would do, through `sandboxConfirmTopUp`, and says which
card the member holds; the event that follows is signed and goes the way of every webhook. What the provider holds
is in the database, so that all processes of the sandbox see the same. A saved method that fails when the member
is away is there too. Events that could not be handed over are sent again by the worker.
"""

import hmac
import time
from collections.abc import AsyncIterator, Mapping
from enum import StrEnum
from hashlib import sha256
from typing import Any, Final

import orjson
from pymongo import ReturnDocument

from domain.derived_key import derive_key
from domain.payments.provider import (
    TOLERANCE_SECONDS,
    Declined,
    EventKind,
    Intent,
    IntentStatus,
    IntentWanted,
    ProviderEvent,
    ProviderRefund,
    RefundStatus,
    SignatureInvalid,
)
from domain.settings import Settings
from domain.store.clock import Clock
from domain.store.codec import epoch_ms, from_epoch_ms, to_bson
from domain.store.connection import Document, Store

MOST_SENT: Final = 100


class SandboxCard(StrEnum):
    """What the member pays with. `FAILS_LATER` pays now, and is declined when it is charged as a saved card."""

    GOOD = "GOOD"
    DECLINED = "DECLINED"
    FAILS_LATER = "FAILS_LATER"


class SecretUnknown(Exception):  # noqa: N818 -- says what is the case
    """No intent has that client secret."""


class SandboxProvider:
    """The provider of one sandbox; any number of processes may have one."""

    name = "sandbox"

    def __init__(self, store: Store, clock: Clock, settings: Settings) -> None:
        self._held = store.sandbox_payments
        self._clock = clock
        self._key = derive_key(settings.secret, "sandbox-payments")

    async def customer(self, member: str, *, key: str) -> str:
        del member
        return f"cus_sandbox_{_digest(key)}"

    async def intent(self, wanted: IntentWanted, *, key: str) -> Intent:
        return _intent(await self._make(wanted, key=key, status=IntentStatus.OPEN))

    async def charge_saved(self, wanted: IntentWanted, *, method: str, key: str) -> Intent:
        declined = method.endswith(SandboxCard.FAILS_LATER.value)
        status = IntentStatus.CANCELLED if declined else IntentStatus.SUCCEEDED
        intent = _intent(await self._make(wanted, key=key, status=status, method=method))
        if intent.status is not IntentStatus.SUCCEEDED:
            raise Declined("card_declined")
        return intent

    async def find_intent(self, identifier: str) -> Intent | None:
        found = await self._held.find_one({"_id": identifier, "kind": "intent"})
        return None if found is None else _intent(found)

    async def cancel(self, identifier: str) -> Intent:
        changed = await self._change(identifier, EventKind.CANCELLED, status=IntentStatus.CANCELLED)
        return _intent(changed)

    async def refund(self, intent: str, amount_minor: int, currency: str, *, entry: str, key: str) -> ProviderRefund:
        fresh = {
            "kind": "refund",
            "status": RefundStatus.SUCCEEDED.value,
            "intent": intent,
            "amount_minor": amount_minor,
            "currency": currency,
            "created_at": self._clock.now(),
            "entry": entry,
            "event": EventKind.REFUND.value,
            "unsent_at": self._clock.now(),
        }
        return _refund(await self._insert(f"re_sandbox_{_digest(key)}", fresh))

    async def find_refund(self, intent: str, *, entry: str) -> ProviderRefund | None:
        found = await self._held.find_one({"kind": "refund", "intent": intent, "entry": entry})
        return None if found is None else _refund(found)

    async def succeeded(self, *, since: Any, until: Any) -> AsyncIterator[Intent]:
        wanted = {"kind": "intent", "created_at": {"$gte": since, "$lt": until}, "status": IntentStatus.SUCCEEDED.value}
        async for found in self._held.find(wanted):
            yield _intent(found)

    async def refunds(self, *, since: Any, until: Any) -> AsyncIterator[ProviderRefund]:
        async for found in self._held.find({"kind": "refund", "created_at": {"$gte": since, "$lt": until}}):
            yield _refund(found)

    async def confirm(self, client_secret: str, card: SandboxCard) -> Intent:
        """What the SDK on the phone does. Raises SecretUnknown. A settled intent stays as it is."""
        found = await self._held.find_one({"_id": client_secret.partition("_secret_")[0], "kind": "intent"})
        if found is None or not hmac.compare_digest(found["client_secret"], client_secret):
            raise SecretUnknown
        if card is SandboxCard.DECLINED:
            return _intent(await self._change(found["_id"], EventKind.FAILED))
        return _intent(
            await self._change(
                found["_id"],
                EventKind.SUCCEEDED,
                status=IntentStatus.SUCCEEDED,
                method=f"pm_sandbox_{card.value}",
            )
        )

    async def unsent(self, *, only: str | None = None) -> list[tuple[str, bytes, str]]:
        """Events to hand over: the id of what they are about, the body and its signature.

        `only` those about one intent or refund. Take them off the list with `sent`.
        """
        wanted: dict[str, Any] = {"unsent_at": {"$exists": True}}
        if only is not None:
            wanted["_id"] = only
        found = await self._held.find(wanted).sort("unsent_at", 1).limit(MOST_SENT).to_list()
        return [(each["_id"], *self.signed(_event_body(each))) for each in found]

    async def sent(self, about: str) -> None:
        """The last event about it was taken."""
        await self._held.update_one({"_id": about}, {"$unset": {"unsent_at": ""}})

    def signed(self, content: Mapping[str, Any], *, at: float | None = None) -> tuple[bytes, str]:
        """A webhook's body and signature; `at` is Unix time, by default the machine's now."""
        body, stamp = orjson.dumps(content), str(int(time.time() if at is None else at))
        return body, f"t={stamp},v1={self._mac(stamp, body)}"

    def event(self, body: bytes, signature: str | None) -> ProviderEvent:
        parts = dict(part.split("=", 1) for part in (signature or "").split(",") if "=" in part)
        stamp, mac = parts.get("t", ""), parts.get("v1", "")
        if not stamp.isdecimal() or not hmac.compare_digest(self._mac(stamp, body).encode(), mac.encode()):
            raise SignatureInvalid("signature")
        if int(stamp) < time.time() - TOLERANCE_SECONDS:
            raise SignatureInvalid("timestamp")
        try:
            return _event(orjson.loads(body))
        except (orjson.JSONDecodeError, AttributeError) as error:
            raise SignatureInvalid("shape") from error

    async def close(self) -> None:
        """Nothing of its own is open."""

    def _mac(self, stamp: str, body: bytes) -> str:
        return hmac.new(self._key, f"{stamp}.".encode() + body, "sha256").hexdigest()

    async def _make(
        self, wanted: IntentWanted, *, key: str, status: IntentStatus, method: str | None = None
    ) -> Document:
        identifier = f"pi_sandbox_{_digest(key)}"
        now = self._clock.now()
        fresh: dict[str, Any] = {
            "kind": "intent",
            "status": status.value,
            "amount_minor": wanted.amount_minor,
            "currency": wanted.currency,
            "created_at": now,
            "client_secret": f"{identifier}_secret_{hmac.new(self._key, key.encode(), 'sha256').hexdigest()[:24]}",
            "top_up": wanted.top_up,
            "attempt": wanted.attempt,
        }
        if method is not None:
            event = EventKind.SUCCEEDED if status is IntentStatus.SUCCEEDED else EventKind.FAILED
            fresh |= {"method": method, "event": event.value, "unsent_at": now}
        return await self._insert(identifier, fresh)

    async def _insert(self, identifier: str, fresh: Mapping[str, Any]) -> Document:
        made = await self._held.find_one_and_update(
            {"_id": identifier}, {"$setOnInsert": to_bson(fresh)}, upsert=True, return_document=ReturnDocument.AFTER
        )
        assert made is not None, identifier
        return made

    async def _change(self, identifier: str, event: EventKind, **values: str) -> Document:
        """An open intent with those values and an event to be sent; any other as it stands."""
        changed = await self._held.find_one_and_update(
            {"_id": identifier, "status": IntentStatus.OPEN.value},
            {
                "$set": to_bson({**values, "event": event.value, "unsent_at": self._clock.now()}),
                "$inc": to_bson({"events": 1}),
            },
            return_document=ReturnDocument.AFTER,
        )
        changed = changed or await self._held.find_one({"_id": identifier})
        assert changed is not None, identifier
        return changed


def _digest(key: str) -> str:
    return sha256(key.encode()).hexdigest()[:20]


def _intent(held: Mapping[str, Any]) -> Intent:
    return Intent(
        id=held["_id"],
        status=IntentStatus(held["status"]),
        amount_minor=held["amount_minor"],
        currency=held["currency"],
        created_at=held["created_at"],
        client_secret=held.get("client_secret"),
        method=held.get("method"),
        top_up=held.get("top_up"),
        attempt=held.get("attempt", 1),
    )


def _refund(held: Mapping[str, Any]) -> ProviderRefund:
    return ProviderRefund(
        id=held["_id"],
        status=RefundStatus(held["status"]),
        intent=held["intent"],
        amount_minor=held["amount_minor"],
        currency=held["currency"],
        created_at=held["created_at"],
        entry=held.get("entry"),
    )


def _event_body(held: Mapping[str, Any]) -> dict[str, Any]:
    about = {name: value for name, value in held.items() if name not in {"unsent_at", "client_secret", "event"}}
    about["created_at"] = epoch_ms(held["created_at"])
    return {"id": f"evt_{held['_id']}_{held.get('events', 0)}", "kind": held["event"], "about": about}


def _event(body: Any) -> ProviderEvent:
    try:
        kind, about = EventKind(body["kind"]), body["about"]
        about["created_at"] = from_epoch_ms(about["created_at"])
        is_refund = kind is EventKind.REFUND
        return ProviderEvent(
            id=body["id"],
            kind=kind,
            type=f"sandbox.{kind.value.lower()}",
            intent=None if is_refund else _intent(about),
            refund=_refund(about) if is_refund else None,
        )
    except (KeyError, TypeError, ValueError) as error:
        raise SignatureInvalid("shape") from error
