"""What an entry of the journal means to cascades: an event named by its kind, with its own facts (SEMANTICS §10.1)."""

from typing import Any

from domain.commands.activity import FEEDBACK
from domain.ledger.entry import Entry, EntryKind
from domain.ledger.posting import POINTS
from notifications.signal import Signal


def signal_of(entry: Entry) -> Signal:
    """The entry as a signal: its id is the entry's, its instant that of the posting."""
    facts: dict[str, Any] = {
        "entry": {
            "kind": entry.kind.value,
            "points": entry.points,
            "cashback_minor": sum(entry.moved(asset) for asset in _assets(entry, "cashback/")),
            "amount_minor": _amount_minor(entry),
        },
        "sequence": entry.sequence,
    }
    if entry.place is not None:
        facts["place"] = entry.place
    return Signal(id=entry.id, member=entry.member, event=event_of(entry), at=entry.posted_at, facts=facts)


def event_of(entry: Entry) -> str:
    """The name that cascades know the entry's kind by."""
    if entry.kind is EntryKind.JOIN:
        return "joined"
    if entry.kind is EntryKind.ACTIVITY and entry.operation == FEEDBACK:
        return FEEDBACK
    if entry.kind is EntryKind.ACTIVITY:
        return f"activity.{entry.activity}"
    return entry.kind.value.lower()


def journal_query(event: str) -> dict[str, Any] | None:
    """What finds the entries of that event in the journal; None when it is no entry's."""
    if event.startswith("activity."):
        return {"kind": EntryKind.ACTIVITY.value, "activity": event.removeprefix("activity.")}
    if event == FEEDBACK:
        return {"kind": EntryKind.ACTIVITY.value, "operation": FEEDBACK}
    kind = "JOIN" if event == "joined" else event.upper()
    return {"kind": kind} if kind in EntryKind.__members__ else None


def _assets(entry: Entry, prefix: str) -> set[str]:
    return {posting.asset for posting in entry.postings if posting.asset.startswith(prefix)}


def _amount_minor(entry: Entry) -> int:
    if entry.purchase is not None:
        return entry.purchase.total_minor
    if entry.returned is not None:
        return entry.returned.amount_minor
    return sum(entry.moved(asset) for asset in {posting.asset for posting in entry.postings} - {POINTS})
