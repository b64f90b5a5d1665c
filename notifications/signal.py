"""A signal: something that happened to a member and may start, move or end cascades (SEMANTICS §10.1).

Entries of the journal are signals by themselves. What stands in no entry (a transition, a report about a delivery,
an inbox item read, a consent withdrawn) is stored here, by an id that makes it happen once.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from pymongo.errors import DuplicateKeyError

from domain.store.codec import to_bson
from domain.store.connection import Store
from domain.store.slots import slot_of


@dataclass(frozen=True, slots=True, kw_only=True)
class Signal:
    """`event` is what cascades name, such as `place.dwell`; `at` is the server's time; `facts` are its own.

    Facts hold ids and plain values, never coordinates and never text that a person wrote.
    """

    id: str
    member: str
    event: str
    at: datetime
    facts: Mapping[str, Any] = field(default_factory=dict)


async def emit(store: Store, signal: Signal, *, kept_for: timedelta | None = None) -> bool:
    """Stores the signal, majority and journaled; False when one of this id had come before.

    With `kept_for` it is swept away after that, by real time: it says what should not be known for longer.
    """
    document = {
        "_id": signal.id,
        "member": signal.member,
        "slot": slot_of(signal.member),
        "event": signal.event,
        "at": signal.at,
        "facts": dict(signal.facts),
        "pending": True,
        **({} if kept_for is None else {"kept_until": datetime.now(UTC) + kept_for}),
    }
    try:
        await store.signals.insert_one(to_bson(document))
    except DuplicateKeyError:
        return False
    return True


def signal_from(document: Mapping[str, Any]) -> Signal:
    """The signal that :func:`emit` stored."""
    return Signal(
        id=document["_id"],
        member=document["member"],
        event=document["event"],
        at=document["at"],
        facts=document["facts"],
    )
