"""Wrong codes: a client that tries codes that do not exist is slowed down (SEMANTICS §5.5, §9.2).

Codes that a person can say aloud can be guessed, given enough tries. After `most` wrong ones of a kind within
a minute a client's codes of that kind are not looked at until the first of them is a minute old. Counted in
the database, so that it holds over all processes; by the one clock.
"""

from datetime import UTC, datetime, timedelta
from typing import Final

from domain.store.connection import Store

WINDOW: Final = timedelta(minutes=1)
MOST_KEPT: Final = 100
_KEPT_FOR: Final = timedelta(hours=1)


async def slowed_until(store: Store, client: str, *, kind: str, most: int, now: datetime) -> datetime | None:
    """When codes of that kind are looked at again for that client; None when they are now."""
    document = await store.wrong_codes.find_one({"_id": _id(client, kind)})
    tried_at: list[datetime] = [] if document is None else document["tried_at"][-most:]
    if len(tried_at) < most or tried_at[0] <= now - WINDOW:
        return None
    return tried_at[0] + WINDOW


async def note_wrong_code(store: Store, client: str, *, kind: str, now: datetime) -> None:
    """One more code of that kind that does not exist, tried by that client."""
    await store.wrong_codes.update_one(
        {"_id": _id(client, kind)},
        {
            "$push": {"tried_at": {"$each": [now], "$slice": -MOST_KEPT}},
            "$set": {"kept_until": datetime.now(UTC) + _KEPT_FOR},
        },
        upsert=True,
    )


def _id(client: str, kind: str) -> str:
    return f"{kind}|{client}"
