"""Assertions: a partner app proves itself by a signed statement that works once (RFC 7523 §3, `jti`)."""

import hashlib
from datetime import datetime, timedelta

from pymongo.errors import DuplicateKeyError

from domain.store.connection import Store


async def use_assertion(store: Store, client_id: str, identifier: str, *, until: datetime) -> bool:
    """Whether that assertion of the client was not used before; now it is. Of two callers at once one is told True.

    `until` is when it stops to hold, by the machine's clock; it is remembered for a while longer.
    """
    name = hashlib.sha256(f"{client_id}\0{identifier}".encode()).hexdigest()
    try:
        await store.assertions.insert_one({"_id": name, "kept_until": until + timedelta(hours=1)})
    except DuplicateKeyError:
        return False
    return True
