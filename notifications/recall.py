"""A recall: a push that may still be on a screen after its run's goal is taken off it (SEMANTICS §10.5).

What is to be recalled stands on the run, in the write that ended it or noted its last message, and goes from there
once every phone was told. So whoever dies in between is followed by a worker who finds it by `recall_at`, which is by
the server's real time. A message that was being sent when the goal came is left until its sender has an answer, or its
claim has run out: a recall must not come before what it recalls.
"""

import asyncio
from collections.abc import Iterable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from domain.store.codec import to_bson
from notifications.channel import Channel, Fate
from notifications.delivery import ATTEMPTING, Delivery, delivery_of
from notifications.office import Office
from notifications.run import RunState

BATCH: Final = 200
MAX_TRIES: Final = 20
RETRY: Final = timedelta(seconds=10)
RARELY: Final = timedelta(hours=1)
"""The wait after a try doubles until it is so long."""


async def recall_due(office: Office, slots: Iterable[int], *, now: datetime) -> int:
    """Recalls what runs of the slots left on screens; how many runs it was."""
    wanted = {"slot": {"$in": sorted(slots)}, "recall_at": {"$lte": datetime.now(UTC)}}
    found = office.store.runs.find(wanted, {"_id": True}).sort("recall_at", 1).limit(BATCH)
    runs = [document["_id"] async for document in found]
    await asyncio.gather(*(recall_of(office, run, now=now) for run in runs))
    return len(runs)


async def recall_of(office: Office, run: str, *, now: datetime) -> None:
    """Recalls what the run left on screens, as far as it is time to. What cannot be told now is told later."""
    wanted = {"_id": run, "recall_at": {"$lte": datetime.now(UTC)}}
    document = await office.store.runs.find_one(wanted, {"recall": True})
    if document is None:
        return
    deliveries: list[str] = document["recall"]
    are_off = await asyncio.gather(*(_recall(office, run, delivery, now=now) for delivery in deliveries))
    done = [delivery for delivery, is_off in zip(deliveries, are_off, strict=True) if is_off]
    left = {"$setDifference": ["$recall", done]}
    tries = {"$add": [{"$ifNull": ["$recall_tries", 0]}, 1]}
    is_over = {"$or": [{"$eq": ["$recall", []]}, {"$gte": ["$recall_tries", MAX_TRIES]}]}
    doubled = {"$multiply": [_ms(RETRY), {"$pow": [2, {"$subtract": ["$recall_tries", 1]}]}]}
    again_at = {"$add": ["$$NOW", {"$toLong": {"$min": [doubled, _ms(RARELY)]}}]}
    await office.store.runs.update_one(
        {"_id": run, "recall": {"$exists": True}},
        [
            {"$set": {"recall": left, "recall_tries": tries}},
            {"$set": {"recall_at": {"$cond": [is_over, "$$REMOVE", again_at]}}},
            {
                "$set": {
                    name: {"$cond": [{"$eq": ["$recall", []]}, "$$REMOVE", f"${name}"]}
                    for name in ("recall_tries", "recall")
                }
            },
        ],
    )


def _ms(length: timedelta) -> int:
    return int(length.total_seconds() * 1000)


async def note_sent(office: Office, run: str, delivery: Delivery, *, reason: str, now: datetime) -> None:
    """Notes on a run that was ended or moved during its send that the message went; after a goal it is recalled."""
    event = {"at": now, "what": "sent", "step": delivery.step, "reason": reason, "delivery": delivery.id}
    is_goal = {"$eq": ["$state", RunState.GOAL_REACHED.value]}
    recalled: dict[str, Any] = {
        "recall": {"$setUnion": [{"$ifNull": ["$recall", []]}, [delivery.id]]},
        "recall_at": "$$NOW",
    }
    is_named = {"history": {"$elemMatch": {"delivery": delivery.id, "what": {"$regex": "^sent"}}}}
    await office.store.runs.update_one(
        {"_id": run, "$nor": [is_named]},
        [
            {
                "$set": {
                    "history": {"$concatArrays": ["$history", [{"$literal": to_bson(event)}]]},
                    "revision": {"$add": ["$revision", 1]},
                    **{name: {"$cond": [is_goal, value, f"${name}"]} for name, value in recalled.items()},
                }
            }
        ],
    )


async def _recall(office: Office, run: str, identifier: str, *, now: datetime) -> bool:
    """Whether the message is on no screen, as far as phones can be told."""
    delivery = await delivery_of(office.store, identifier)
    if delivery is None or not delivery.may_have_come or delivery.recalled_at is not None:
        return True
    if any(attempt.state == ATTEMPTING for attempt in delivery.attempts.values()):
        await note_sent(office, run, delivery, reason="ambiguous", now=now)
    carrier = office.carriers.get(delivery.channel)
    if carrier is None or delivery.channel is not Channel.PUSH or now >= delivery.message.expires_at:
        return True
    silent = replace(delivery.message, recalls=True)
    came = [attempt.endpoint for attempt in delivery.attempts.values() if attempt.may_have_come]
    told = await asyncio.gather(*(carrier.send(silent, endpoint, now=now) for endpoint in came))
    if any(outcome.fate in {Fate.RETRY, Fate.AMBIGUOUS} for outcome in told):
        return False
    await office.store.deliveries.update_one({"_id": identifier}, {"$set": {"recalled_at": now}})
    return True
