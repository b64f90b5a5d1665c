"""Cascades at work: everything to be heard and sent at one instant, in order, for workers and for the clock.

Signals first, so that a goal comes before the send that it forbids, and recalls; then dates; then runs that are due,
whose first steps may be due at the same instant. What of it there is stands on the agenda
(:mod:`notifications.agenda`).
"""

from collections.abc import Collection, Iterable
from datetime import datetime, timedelta
from typing import Any, Final

from pymongo import WriteConcern

from domain.store.codec import to_bson
from domain.store.collections import RECIPIENTS
from notifications.agenda import MESSAGES, Agenda, Kind, agenda
from notifications.due_runs import due_members, send_due
from notifications.hearing import hear_again, hear_dates, hear_journal, hear_stale, hear_stored
from notifications.office import Office
from notifications.recall import recall_due

OVERLAP: Final = timedelta(seconds=2)
"""Entries are stored a little after the instant that they carry."""
KEEP_AFTER: Final = 100
"""The mark is stored when the journals of so many members were looked through since it was."""
_HEARD: Final = "heard"
_UNSAFE: Final = WriteConcern(w=1, j=False)
"""An older mark than the last one only has the journal looked through again."""
BATCH: Final = 500


async def work(office: Office, slots: Iterable[int], *, now: datetime, but: Collection[str] = ()) -> int:
    """Does what there is to be done now, one batch of each kind; how much it was."""
    slots = list(slots)
    ahead = await agenda(office.store, slots, until=now, version=office.programmes.current.version, kinds=MESSAGES)
    return await do(office, slots, ahead, now=now, but=but)


async def do(office: Office, slots: Iterable[int], ahead: Agenda, *, now: datetime, but: Collection[str] = ()) -> int:
    """The same if the agenda is known; what comes of its signals and dates is done too."""
    slots, heard = list(slots), 0
    if Kind.SIGNAL in ahead:
        heard += await hear_stored(office, slots, now=now)
    if heard or Kind.RECALL in ahead:
        heard += await recall_due(office, slots, now=now)
    if (at := ahead.get(Kind.DATE)) is not None and at <= now:
        heard += await hear_dates(office, slots, now=now)
    elif Kind.STALE in ahead:
        heard += await hear_stale(office, slots, now=now)
    if Kind.UP_AGAIN in ahead:
        heard += await hear_again(office, slots, now=now)
    if not heard and ((at := ahead.get(Kind.RUN)) is None or at > now):
        return heard
    known = await office.read_switches()
    members = await due_members(office, slots, until=now, but=but, known=known)
    return heard + await send_due(office, members, now=now)


async def hear_told(office: Office, slots: Iterable[int], *, now: datetime) -> None:
    """Hears the stored signals up to now, and takes off screens what they, or somebody else, had recalled."""
    slots = list(slots)
    while await hear_stored(office, slots, now=now) + await recall_due(office, slots, now=now):
        pass


async def hear_posted(office: Office, *, now: datetime) -> int:
    """Hears all that was posted up to now; of how many members it was.

    How far the journal was heard is known by the instant of posting, so that nothing is looked through twice.
    """
    mark, marks = office.mark, office.store.clock
    if mark.heard_at is None and (document := await marks.find_one({"_id": _HEARD})) is not None:
        mark.heard_at = document["posted_at"]
    since: dict[str, Any] = {} if mark.heard_at is None else {"$gte": mark.heard_at - OVERLAP}
    posted = await office.store.journal.aggregate(
        [
            {"$match": {"posted_at": {"$exists": True, **since}, "seq": {"$exists": True}}},
            {"$group": {"_id": "$member", "sequence": {"$max": "$seq"}}},
            {"$lookup": {"from": RECIPIENTS, "localField": "_id", "foreignField": "_id", "as": "heard"}},
            {"$project": {"behind": {"$gt": ["$sequence", {"$ifNull": [{"$first": "$heard.sequence"}, 0]}]}}},
        ],
        allowDiskUse=True,
    )
    done = 0
    async with posted:
        while heads := await posted.to_list(BATCH):
            behind = [head["_id"] for head in heads if head["behind"]]
            await hear_journal(office, behind, now=now)
            done += len(behind)
            mark.looked += len(heads)
    mark.heard_at = now if mark.heard_at is None else max(now, mark.heard_at)
    if mark.looked >= KEEP_AFTER:
        mark.looked = 0
        kept = to_bson({"posted_at": mark.heard_at})
        await marks.with_options(write_concern=_UNSAFE).update_one({"_id": _HEARD}, {"$max": kept}, upsert=True)
    return done
