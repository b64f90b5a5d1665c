"""What commands tell the mechanisms of a programme: one happening for each command that is an event."""

from collections.abc import Mapping
from datetime import date, datetime
from typing import Any

from domain.ledger.draft import Situation
from domain.ledger.entry import Entry
from domain.ledger.visit import VisitChange
from domain.members.member import Member, stays, zone_of
from domain.programme.earning import PurchaseEvent, event_facts, line_facts, purchase_facts
from domain.programme.facts import MemberFacts
from domain.programme.mechanism import RETURN, Happening, Undone
from domain.programme.stays import settled_in


def purchase_happening(
    situation: Situation, member: Member, facts: MemberFacts, *, event: PurchaseEvent, visit: VisitChange
) -> Happening:
    """A purchase, before its entry; `visit` is what it does to the member's visits."""
    wallet, programme = situation.wallet, situation.programme
    latest_at = wallet.purchased_at
    return Happening(
        event="purchase",
        programme=programme,
        member=facts,
        occurred_at=event.occurred_at,
        now=situation.now,
        zone=zone_of(member, programme),
        stays=stays(member, programme),
        facts=purchase_facts(programme, event, facts),
        place=event.place,
        region=event.region,
        lines=line_facts(event.lines),
        total_minor=event.total_minor,
        visit=visit,
        counters={
            "visits": wallet.visits + visit.added,
            "purchases": wallet.purchases + 1,
            "spend": wallet.spend_minor + event.total_minor,
        },
        latest_at=event.occurred_at if latest_at is None else max(latest_at, event.occurred_at),
        usage=wallet.usage,
    )


def event_happening(
    situation: Situation,
    member: Member,
    facts: MemberFacts,
    *,
    event: str,
    occurred_at: datetime,
    attributes: Mapping[str, Any] | None = None,
    amount_minor: int = 0,
    place: str | None = None,
) -> Happening:
    """Any other event, by the name that earning rules have for it; `amount_minor` is that of a top-up."""
    wallet, programme = situation.wallet, situation.programme
    return Happening(
        event=event,
        programme=programme,
        member=facts,
        occurred_at=occurred_at,
        now=situation.now,
        zone=zone_of(member, programme),
        stays=stays(member, programme),
        facts=event_facts(event, facts, attributes=attributes, amount_minor=amount_minor),
        place=place,
        region=None if place is None else programme.places[place].region,
        total_minor=amount_minor,
        counters={"visits": wallet.visits, "purchases": wallet.purchases, "spend": wallet.spend_minor},
        latest_at=wallet.purchased_at,
        usage=wallet.usage,
    )


def return_happening(
    situation: Situation, bought: Entry, *, occurred_at: datetime, before_minor: int, now_minor: int
) -> Happening:
    """A return of `now_minor` of the purchase, of which `before_minor` went back before. No condition sees it."""
    wallet, programme = situation.wallet, situation.programme
    assert bought.purchase is not None, bought.id
    return Happening(
        event=RETURN,
        programme=programme,
        member=MemberFacts(id=wallet.member),
        occurred_at=occurred_at,
        now=situation.now,
        zone=programme.zone,
        stays=settled_in(programme.zone),
        place=bought.place,
        counters={
            "visits": wallet.visits,
            "purchases": wallet.purchases,
            "spend": wallet.spend_minor - now_minor,
        },
        latest_at=wallet.purchased_at,
        undone=Undone(
            marks=bought.marks,
            states=bought.changes.progress,
            occurred_at=bought.occurred_at,
            day=date.fromisoformat(bought.purchase.day),
            total_minor=bought.purchase.total_minor,
            before_minor=before_minor,
            now_minor=now_minor,
        ),
    )
