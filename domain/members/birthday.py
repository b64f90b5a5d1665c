"""Birthdays: when the next one is to be kept, and the programme's award, once per year and member (SEMANTICS §9.1).

A member with a birthday carries `birthday_due_at`: the instant at which a worker is to look at him next. Whoever
writes a birthday or a zone sets it to that very instant, in the same write, and the worker works out the rest; so
nothing is lost with a process, and no member is ever searched for. A birthday is kept from the first instant of its
day in the member's zone.
"""

from collections.abc import Iterable
from datetime import date, datetime, timedelta
from typing import Final

import structlog
from pymongo.errors import PyMongoError

from domain.commands.birthday import birthday_award
from domain.ledger.commit import Ledger
from domain.ledger.expiry import local_date, start_of_day
from domain.ledger.outcome import Unavailable
from domain.members.enrolment import joined
from domain.members.member import celebrated, member_from, zone_of
from domain.store.connection import Document

BATCH: Final = 50
PUT_OFF: Final = timedelta(hours=1)

log = structlog.get_logger(__name__)


def next_birthday(birthday: date, first: date) -> date:
    """The first day, not before `first`, on which the birthday is kept."""
    this_year = celebrated(birthday, first.year)
    return this_year if this_year >= first else celebrated(birthday, first.year + 1)


async def keep_birthdays(ledger: Ledger, slots: Iterable[int], *, now: datetime) -> int:
    """Give the awards that are due in the slots, and say when to look again; how many members were looked at.

    Idempotent, whoever does the same at once: the award's key is the year's. Raises Unavailable. A member whose wallet
    is broken is put off, so that the others have theirs.
    """
    wanted = {"slot": {"$in": sorted(slots)}, "birthday_due_at": {"$lte": now}}
    due = await ledger.store.members.find(wanted).sort("birthday_due_at", 1).limit(BATCH).to_list()
    for document in due:
        try:
            again_at = await _kept(ledger, document, now=now)
        except (PyMongoError, Unavailable):
            raise
        except Exception:
            log.exception("birthday.put_off", member=document["_id"])
            again_at = now + PUT_OFF
        update = {"$unset": {"birthday_due_at": ""}} if again_at is None else {"$set": {"birthday_due_at": again_at}}
        looked_at = {"_id": document["_id"], "birthday_due_at": document["birthday_due_at"]}
        await ledger.store.members.update_one(looked_at, update)
    return len(due)


async def _kept(ledger: Ledger, document: Document, *, now: datetime) -> datetime | None:
    """When to look again, the award of the first birthday since it was due being given; None without a birthday."""
    member = member_from(document)
    if member.profile.birthday is None:
        return None
    zone = zone_of(member, ledger.programme)
    day = next_birthday(member.profile.birthday, local_date(document["birthday_due_at"], zone))
    if start_of_day(day, zone) > now:
        return start_of_day(day, zone)
    command = birthday_award(member, day, zone=zone, programme=ledger.programme)
    if command is not None:
        await joined(ledger, member)
        await ledger.commit(command)
    return start_of_day(next_birthday(member.profile.birthday, day + timedelta(days=1)), zone)
