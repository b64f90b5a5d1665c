"""Feedback: a rating and words, of a purchase or of the whole. The words are personal data and stay out of the journal.

A feedback has no key of its caller, so what it is about makes its id: a member has one feedback for each entry, and
one for each of the programme's days for all else. Said again, as by a double tap, it is the same one with the last
words, and it is rewarded once.
"""

import hashlib
from dataclasses import dataclass
from datetime import date, datetime

from domain.store.connection import Store


@dataclass(frozen=True, slots=True, kw_only=True)
class Feedback:
    """`rating` is 1 to 5; `entry` is the id of an entry of the member's own, None for feedback on the whole."""

    member: str
    rating: int
    text: str | None
    entry: str | None
    at: datetime


def feedback_id(member: str, *, entry: str | None, on: date) -> str:
    """The id of the member's feedback on that entry, or else of that programme's day: 128 bits, hexadecimal."""
    about = on.isoformat() if entry is None else f"entry {entry}"
    return hashlib.sha256(f"{member}\0{about}".encode()).hexdigest()[:32]


async def keep_feedback(store: Store, identifier: str, feedback: Feedback) -> None:
    """Keep it in place of what was said under that id before."""
    document = {
        "member": feedback.member,
        "rating": feedback.rating,
        "text": feedback.text,
        "entry": feedback.entry,
        "at": feedback.at,
    }
    told = {name: value for name, value in document.items() if value is not None}
    await store.feedback.replace_one({"_id": identifier}, told, upsert=True)
