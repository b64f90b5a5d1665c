"""A setback: a member, or one of his runs, whose turn failed is set aside with an alarm and taken up again later.

He harms no other and is not lost: until when he is left alone stands in the store, by the server's real time, grows
with each setback, and goes when a turn succeeds. A failure of the database is nobody's setback; it is raised. The log
has the lines of code and none of the values, which are the member's and may be long.
"""

from collections.abc import AsyncIterator, Collection, Iterable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from traceback import format_exc
from typing import Any, Final

import structlog
from pymongo.errors import PyMongoError, WriteError

from domain.ledger.outcome import Unavailable
from domain.store.codec import to_bson
from domain.store.connection import Store
from domain.store.slots import slot_of
from notifications.alarm import alarm
from notifications.recipient import EMPTY
from notifications.run import Run, RunEvent, RunState, event_document

FIRST_SECONDS: Final = 10
LONGEST_SECONDS: Final = 3_600
MAX_ASIDE: Final = 1_000

_LOG: Final = structlog.get_logger(__name__)


@asynccontextmanager
async def member_on_record(store: Store, member: str, *, doing: str) -> AsyncIterator[None]:
    """What raises inside sets the member aside, and is raised no further."""
    try:
        yield
    except Exception as error:
        if is_outage(error):
            raise
        _LOG.error("member_set_aside", member=member, doing=doing, traceback=format_exc())
        alarm("member_set_aside", doing=doing, error=type(error).__name__)
        await store.recipients.update_one({"_id": member}, [{"$set": _new(member)}, *_later("retry_at")], upsert=True)


@asynccontextmanager
async def run_on_record(store: Store, run: Run, *, now: datetime) -> AsyncIterator[None]:
    """What raises inside sets the run aside and stands in its history, and is raised no further."""
    try:
        yield
    except Exception as error:
        if is_outage(error):
            raise
        _LOG.error("run_set_aside", run=run.id, traceback=format_exc())
        alarm("run_set_aside", cascade=run.cascade, step=run.step, error=type(error).__name__)
        event = event_document(RunEvent(at=now, what="failed", step=run.step, reason=type(error).__name__))
        is_first = {"$eq": [{"$ifNull": ["$failures", 0]}, 0]}
        noted = {"$concatArrays": ["$history", {"$cond": [is_first, [{"$literal": to_bson(event)}], []]}]}
        await store.runs.update_one(
            {"_id": run.id, "state": RunState.WAITING.value},
            [{"$set": {"history": noted, "revision": {"$add": ["$revision", 1]}}}, *_later("aside_until")],
        )


async def members_aside(store: Store, slots: Iterable[int]) -> list[str]:
    """Members of the slots who are to be left alone now."""
    found = store.recipients.find({"slot": {"$in": sorted(slots)}, "retry_at": {"$gt": datetime.now(UTC)}})
    return [document["_id"] async for document in found.limit(MAX_ASIDE)]


async def aside_among(store: Store, members: Collection[str]) -> frozenset[str]:
    """Those of the members who are to be left alone now."""
    found = store.recipients.find({"_id": {"$in": list(members)}, "retry_at": {"$gt": datetime.now(UTC)}})
    return frozenset([document["_id"] async for document in found])


async def members_up_again(store: Store, slots: Iterable[int], *, limit: int) -> list[str]:
    """Members of the slots who were left alone for long enough."""
    found = store.recipients.find({"slot": {"$in": sorted(slots)}, "retry_at": {"$lte": datetime.now(UTC)}})
    return [document["_id"] async for document in found.sort("retry_at", 1).limit(limit)]


def not_aside() -> dict[str, Any]:
    """What keeps the runs that are to be left alone now out of a query."""
    return {"aside_until": {"$not": {"$gt": datetime.now(UTC)}}}


def is_outage(error: Exception) -> bool:
    """Whether it is the database's, and not of what was to be written."""
    return isinstance(error, Unavailable) or (isinstance(error, PyMongoError) and not isinstance(error, WriteError))


def _later(name: str) -> list[dict[str, Any]]:
    """One more setback, and how long to wait: 10 seconds, then twice as long each time, up to an hour."""
    doubled = {"$multiply": [FIRST_SECONDS, {"$pow": [2, {"$subtract": ["$failures", 1]}]}]}
    seconds = {"$min": [doubled, LONGEST_SECONDS]}
    return [
        {"$set": {"failures": {"$add": [{"$ifNull": ["$failures", 0]}, 1]}}},
        {"$set": {name: {"$add": ["$$NOW", {"$toLong": {"$multiply": [seconds, 1_000]}}]}}},
    ]


def _new(member: str) -> dict[str, Any]:
    """The fields of a recipient who was never stored."""
    kept = {name: {"$ifNull": [f"${name}", {"$literal": value}]} for name, value in EMPTY.items()}
    return {"slot": slot_of(member), **kept}
