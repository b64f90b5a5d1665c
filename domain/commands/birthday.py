"""The birthday award: the event `birthday` of a programme, on the day on which the member's birthday is kept."""

from datetime import date
from functools import partial
from typing import Final
from zoneinfo import ZoneInfo

from domain.commands.activity import Activity, activity_entry, earned_by, gives_nothing, nothing_given
from domain.ledger.command import Command, fingerprint_of
from domain.ledger.draft import Situation
from domain.ledger.due import SYSTEM
from domain.ledger.entry import Entry
from domain.ledger.expiry import start_of_day
from domain.members.member import Member
from domain.problems import Problem
from domain.programme.mechanisms import is_listened_to
from domain.programme.programme import Programme

BIRTHDAY: Final = "birthday"


def birthday_award(member: Member, day: date, *, zone: ZoneInfo, programme: Programme) -> Command | None:
    """The command that gives the award of that day; None if the programme does nothing on birthdays.

    Its key is the year's: whatever the birthday is changed to, there is one award in it (SEMANTICS §9.1).
    """
    if BIRTHDAY not in programme.rules and not is_listened_to(programme.definition, BIRTHDAY):
        return None
    kept = Activity(member=member, type=BIRTHDAY, reporter="member", occurred_at=start_of_day(day, zone))
    return Command(
        member=member.id,
        actor=SYSTEM,
        key=f"{BIRTHDAY} {day.year}",
        operation=BIRTHDAY,
        fingerprint=fingerprint_of(BIRTHDAY, {"year": day.year}),
        decide=partial(decide_birthday, kept),
    )


def birthday_key(year: int) -> str:
    """The key under which the journal keeps the year's award."""
    return f"{SYSTEM}|{BIRTHDAY} {year}"


def decide_birthday(kept: Activity, situation: Situation) -> Entry | Problem:
    """The ACTIVITY entry with the awards of the event; a refusal where the member gets nothing."""
    earned = earned_by(kept, BIRTHDAY, situation)
    if gives_nothing(earned) and not is_listened_to(situation.programme.definition, BIRTHDAY):
        return nothing_given(BIRTHDAY)
    return activity_entry(kept, BIRTHDAY, earned, situation)
