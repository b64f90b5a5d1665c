"""Export: everything that is held on a member, as one document for him to take away (SEMANTICS §9.5)."""

from datetime import datetime
from typing import Any, Final

from domain.members.holding import HOLDINGS, Holding
from domain.store.codec import format_instant
from domain.store.connection import Store

MAX_DOCUMENTS: Final = 20_000
"""Of one collection; a member with more is told which were cut, and asks staff for the rest."""


async def export_of(store: Store, member: str, *, now: datetime) -> dict[str, Any]:
    """By collection, what `HOLDINGS` shows of it, as JSON values; instants are RFC 3339, amounts in minor units."""
    data: dict[str, Any] = {}
    cut: list[str] = []
    for name, holding in HOLDINGS.items():
        if holding is None or not holding.shown:
            continue
        found = store.database[name].find({holding.by: member}).sort("_id", 1).limit(MAX_DOCUMENTS + 1)
        documents = [_shown(document, holding) async for document in found]
        if len(documents) > MAX_DOCUMENTS:
            cut.append(name)
        data[name] = documents[:MAX_DOCUMENTS]
    return {"member": member, "exportedAt": format_instant(now), "cut": cut, "data": data}


def _shown(document: dict[str, Any], holding: Holding) -> dict[str, Any]:
    return {
        "id" if name == "_id" else name: _json(value) for name, value in document.items() if name not in holding.hidden
    }


def _json(value: Any) -> Any:
    match value:
        case datetime():
            return format_instant(value)
        case dict():
            return {str(name): _json(each) for name, each in value.items()}
        case list():
            return [_json(each) for each in value]
        case bytes():
            return value.hex()
        case str() | int() | float() | None:
            return value
        case _:
            return str(value)
