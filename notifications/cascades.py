"""Cascades at work: everything that is to be heard and sent at one instant, in order, for workers and for the clock.

Signals first, so that a goal comes before the send that it forbids, and recalls; then dates; then runs that are due,
whose first steps may be due at the same instant. A sandbox's clock asks when the next of it is (:func:`earliest`),
moves there and has it done (:func:`work`) before it goes on.
"""

import asyncio
from collections.abc import Collection, Iterable
from datetime import datetime, timedelta
from typing import Any, Final

from pymongo import WriteConcern

from domain.store.codec import to_bson
from notifications.hearing import earliest_date, hear_dates, hear_journal, hear_stored
from notifications.office import Office
from notifications.recall import recall_due
from notifications.sending import due_members, earliest_run, send_due

__all__ = ("catch_up", "due_members", "earliest", "send_due", "work")

OVERLAP: Final = timedelta(seconds=2)
"""Entries are stored a little after the instant that they carry."""
_HEARD: Final = "heard"
_UNSAFE: Final = WriteConcern(w=1, j=False)
"""An older mark than the last one only has the journal looked through again."""
BATCH: Final = 500


async def earliest(office: Office, slots: Iterable[int], *, until: datetime) -> datetime | None:
    """The earliest instant not after `until` at which a date comes or a run is due."""
    slots = list(slots)
    found = await asyncio.gather(earliest_date(office, slots, until=until), earliest_run(office, slots, until=until))
    return min((at for at in found if at is not None), default=None)


async def work(office: Office, slots: Iterable[int], *, now: datetime, but: Collection[str] = ()) -> int:
    """Does what there is to be done now, one batch of each kind; how much it was."""
    slots = list(slots)
    done = await hear_stored(office, slots, now=now)
    done += await recall_due(office, slots, now=now)
    done += await hear_dates(office, slots, now=now)
    members = await due_members(office, slots, until=now, but=but)
    return done + await send_due(office, members, now=now)


async def catch_up(office: Office, slots: Iterable[int], *, now: datetime) -> int:
    """Hears all that was posted and told up to now, for a clock that is about to move; how much it was.

    How far the journal was heard is kept by the instant of posting, so that nothing is looked through twice.
    """
    slots = list(slots)
    document = await office.store.clock.find_one({"_id": _HEARD})
    since: dict[str, Any] = {} if document is None else {"$gte": document["posted_at"] - OVERLAP}
    posted = await office.store.journal.aggregate(
        [
            {"$match": {"posted_at": {"$exists": True, **since}, "seq": {"$exists": True}}},
            {"$group": {"_id": "$member", "sequence": {"$max": "$seq"}}},
        ],
        allowDiskUse=True,
    )
    done = 0
    async with posted:
        while heads := await posted.to_list(BATCH):
            done += await _hear_unheard(office, {head["_id"]: head["sequence"] for head in heads}, now=now)
    if document is None or now - document["posted_at"] > OVERLAP:
        marks = office.store.clock.with_options(write_concern=_UNSAFE)
        await marks.update_one({"_id": _HEARD}, {"$max": to_bson({"posted_at": now})}, upsert=True)
    while heard := await hear_stored(office, slots, now=now) + await recall_due(office, slots, now=now):
        done += heard
    return done


async def _hear_unheard(office: Office, heads: dict[str, int], *, now: datetime) -> int:
    known = office.store.recipients.find({"_id": {"$in": list(heads)}}, {"sequence": True})
    heard = {document["_id"]: document["sequence"] async for document in known}
    behind = [member for member, sequence in heads.items() if heard.get(member, 0) < sequence]
    await hear_journal(office, behind, now=now)
    return len(behind)
