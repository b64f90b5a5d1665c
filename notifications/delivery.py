"""A delivery: one logical message of a step, from before its first attempt to what the phone reported about it.

Its id is the message's everywhere: in the inbox, as tag and collapse id on the phone, in reports. It is stored before
the first attempt and after each answer, endpoint by endpoint, so whoever comes after a crash knows what may have been
sent. Beside it stands what was said, for the attempts that are still to come.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any, Final

from pymongo import UpdateOne

from domain.store.codec import to_bson
from domain.store.connection import Store
from domain.store.slots import slot_of
from notifications.channel import Channel, Endpoint, EndpointKind, Fate, Message, MessageCategory, Outcome, Platform
from notifications.run import awaited, run_from
from notifications.signal import Signal, emit

ATTEMPTING: Final = "ATTEMPTING"
OPENED: Final = "delivery.opened"


class DeliveryEvent(StrEnum):
    """The contract's enumeration: what the phone did with a message. OPENED alone is a reaction."""

    RECEIVED = "RECEIVED"
    DISPLAYED = "DISPLAYED"
    OPENED = "OPENED"
    DISMISSED = "DISMISSED"


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """How far the message is at one endpoint: ATTEMPTING until an answer is stored, then its fate."""

    endpoint: Endpoint
    state: str
    reason: str | None = None
    retry_at: datetime | None = None
    tries: int = 0

    @property
    def is_open(self) -> bool:
        """Whether it may be tried again."""
        return self.state in {ATTEMPTING, Fate.RETRY, Fate.AMBIGUOUS}

    @property
    def may_have_come(self) -> bool:
        """Whether the message may be at the endpoint."""
        return self.state in {ATTEMPTING, Fate.ACCEPTED, Fate.AMBIGUOUS}


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivery:
    """`attempts` are by endpoint id, all of them on one channel."""

    message: Message
    member: str
    run: str
    cascade: str
    step: int
    template: str
    channel: Channel
    created_at: datetime
    attempts: Mapping[str, Attempt] = field(default_factory=dict)
    recalled_at: datetime | None = None

    @property
    def id(self) -> str:
        return self.message.delivery_id

    @property
    def may_have_come(self) -> bool:
        """Whether the member may have it on a screen."""
        return any(attempt.may_have_come for attempt in self.attempts.values())


async def delivery_of(store: Store, identifier: str) -> Delivery | None:
    """The delivery of that id, whosever it is."""
    document = await store.deliveries.find_one({"_id": identifier})
    return None if document is None else delivery_from(document)


async def deliveries_by_id(store: Store, identifiers: Collection[str]) -> list[Delivery]:
    """Those of the deliveries that there are, whosever they are."""
    found = store.deliveries.find({"_id": {"$in": list(identifiers)}})
    return [delivery_from(document) async for document in found]


async def keep_delivery(store: Store, delivery: Delivery) -> None:
    """Stores it as it is, but for what the phone reported."""
    document = delivery_document(delivery)
    del document["_id"]
    await store.delivery_writes.write(UpdateOne({"_id": delivery.id}, {"$set": to_bson(document)}, upsert=True))


async def take_delivery_report(
    store: Store, member: str, identifier: str, event: DeliveryEvent, *, told_at: datetime, now: datetime
) -> bool | None:
    """Notes what the phone did with the member's message; whether it came late, None when there is no such message.

    The first report of a kind counts, at the server's time. Late is what comes when the run is over, or has waited
    for it and gone on since. Source: SEMANTICS §10.6.
    """
    document = await store.deliveries.find_one({"_id": identifier, "member": member}, {"run": True})
    if document is None:
        return None
    run = await store.runs.find_one({"_id": document["run"]})
    late = run is None or identifier not in awaited(run_from(run))
    noted = {f"reports.{event.value}": {"at": now, "told_at": told_at, "late": late}}
    await store.deliveries.update_one(
        {"_id": identifier, f"reports.{event.value}": {"$exists": False}}, {"$set": to_bson(noted)}
    )
    if event is DeliveryEvent.OPENED:
        await emit(
            store,
            Signal(id=f"opened:{identifier}", member=member, event=OPENED, at=now, facts={"delivery": identifier}),
        )
    return late


def delivery_document(delivery: Delivery) -> dict[str, Any]:
    """The delivery as stored."""
    message = delivery.message
    document: dict[str, Any] = {
        "_id": delivery.id,
        "member": delivery.member,
        "slot": slot_of(delivery.member),
        "run": delivery.run,
        "cascade": delivery.cascade,
        "step": delivery.step,
        "template": delivery.template,
        "channel": delivery.channel.value,
        "created_at": delivery.created_at,
        "message": {
            "category": message.category.value,
            "title": message.title,
            "body": message.body,
            "link": message.link,
            "image_url": message.image_url,
            "label": message.label,
            "expires_at": message.expires_at,
        },
        "attempts": [_attempt_document(attempt) for attempt in delivery.attempts.values()],
    }
    if delivery.recalled_at is not None:
        document["recalled_at"] = delivery.recalled_at
    return document


def delivery_from(document: Mapping[str, Any]) -> Delivery:
    """The delivery that :func:`delivery_document` wrote."""
    message = document["message"]
    attempts = [_attempt_from(attempt) for attempt in document["attempts"]]
    return Delivery(
        message=Message(
            **{**message, "category": MessageCategory(message["category"]), "delivery_id": document["_id"]}
        ),
        member=document["member"],
        run=document["run"],
        cascade=document["cascade"],
        step=document["step"],
        template=document["template"],
        channel=Channel(document["channel"]),
        created_at=document["created_at"],
        attempts={attempt.endpoint.id: attempt for attempt in attempts},
        recalled_at=document.get("recalled_at"),
    )


def answered(attempt: Attempt, outcome: Outcome) -> Attempt:
    """The attempt after the carrier's answer."""
    return Attempt(
        endpoint=attempt.endpoint,
        state=outcome.fate.value,
        reason=outcome.reason,
        retry_at=outcome.retry_at,
        tries=attempt.tries if outcome.asked else attempt.tries - 1,
    )


def _attempt_document(attempt: Attempt) -> dict[str, Any]:
    endpoint = attempt.endpoint
    document = {
        "endpoint": endpoint.id,
        "kind": endpoint.kind.value,
        "value": endpoint.value,
        "platform": None if endpoint.platform is None else endpoint.platform.value,
        "registration": endpoint.registration,
        "state": str(attempt.state),
        "reason": attempt.reason,
        "retry_at": attempt.retry_at,
        "tries": attempt.tries,
    }
    return {name: value for name, value in document.items() if value is not None}


def _attempt_from(document: Mapping[str, Any]) -> Attempt:
    platform = document.get("platform")
    return Attempt(
        endpoint=Endpoint(
            id=document["endpoint"],
            kind=EndpointKind(document["kind"]),
            value=document["value"],
            platform=None if platform is None else Platform(platform),
            registration=document.get("registration"),
        ),
        state=document["state"],
        reason=document.get("reason"),
        retry_at=document.get("retry_at"),
        tries=document["tries"],
    )
