"""Headroom that open top-ups reserve (SEMANTICS §6.3).

An open top-up may still bring its money, so limits count it as if it had come. It is counted until the provider
says how it ended: one whose time is over can still be paid for as long as its intent was not cancelled.
"""

from typing import Any

from pymongo.asynchronous.client_session import AsyncClientSession

from domain.store.connection import Store

OPEN = "OPEN"
FAILED = "FAILED"


async def reserved_minor(
    store: Store, member: str, currency: str, *, declined: bool = False, session: AsyncClientSession | None = None
) -> int:
    """What the member's open top-ups through the provider may still bring of that currency, in minor units.

    With `declined` also what he may still pay with another card, for whoever has not cancelled that.

    Read it before the wallet, or in the snapshot of one `session`: a top-up that is posted in between is then counted
    twice and never not at all.
    """
    wanted: dict[str, Any] = {"member": member, "state": OPEN, "currency": currency}
    if declined:
        own = {"state": FAILED, "entry": {"$exists": False}}
        wanted = {"member": member, "currency": currency, "$or": [{"state": OPEN}, own]}
    pipeline: list[dict[str, Any]] = [
        {"$match": wanted},
        {"$group": {"_id": None, "reserved": {"$sum": "$amount_minor"}}},
    ]
    cursor = await store.top_ups.aggregate(pipeline, session=session)
    found = await cursor.to_list(1)
    return int(found[0]["reserved"]) if found else 0
