"""Joining: the first entry of every wallet, with what the programme gives for it."""

from domain.commands.happening import event_happening
from domain.ledger.command import Command, fingerprint_of
from domain.ledger.draft import Draft, Situation
from domain.ledger.due import SYSTEM
from domain.ledger.entry import Changes, Entry, EntryKind
from domain.ledger.referral import Referral
from domain.members.member import Member, member_facts
from domain.programme.earning import earn_event

JOIN_KEY = "join"
JOINED = "joined"


def joining(member: Member) -> Command:
    """The command that makes the member's wallet; its key makes it happen once."""
    return Command(
        member=member.id,
        actor=SYSTEM,
        key=JOIN_KEY,
        operation=JOIN_KEY,
        fingerprint=fingerprint_of(JOIN_KEY, {}),
        decide=lambda situation: decide_joining(member, situation),
    )


def decide_joining(member: Member, situation: Situation) -> Entry:
    """The JOIN entry, with the awards of the event `joined`."""
    programme, wallet = situation.programme, situation.wallet
    draft = Draft(situation, EntryKind.JOIN, member.joined_at)
    facts = member_facts(member, wallet, programme, at=situation.now)
    earned = earn_event(programme, JOINED, occurred_at=member.joined_at, member=facts, usage=wallet.usage)
    draft.give(earned)
    draft.advance(event_happening(situation, member, facts, event=JOINED, occurred_at=member.joined_at))
    return draft.entry(
        changes=Changes(
            joined_at=member.joined_at,
            lifetime_points=earned.points,
            idle_until=draft.idle_until() if draft.postings else {},
            usage=earned.used,
            referral=None if member.referrer is None else Referral(referrer=member.referrer),
        ),
        explanation=earned.rows,
    )
