"""Whether a partner is still welcome, known to every process within half a minute.

Access tokens are verified without a look-up, so a disabled partner's would live on until they expire. This
asks the database once per partner and half minute, and so stops them within a minute (SEMANTICS §9.6).
"""

import math
import time
from collections import OrderedDict
from typing import Final

from domain.partners.partner import allowance_from
from domain.store.buckets import Allowance
from domain.store.connection import Store

KNOWN_FOR_SECONDS: Final = 30.0
KNOWN_PARTNERS: Final = 10_000


class Standing:
    """What this process knows about partners, at most half a minute old by the machine's clock."""

    def __init__(self, store: Store) -> None:
        self._partners = store.partners
        self._known: OrderedDict[str, tuple[float, bool, Allowance | None]] = OrderedDict()
        self._forgotten = 0

    async def welcome(self, client_id: str) -> bool:
        """True for a partner that exists and is not disabled."""
        known = self._known.get(client_id)
        if known is not None and time.monotonic() - known[0] < KNOWN_FOR_SECONDS:
            return known[1]
        asked_at, forgotten = time.monotonic(), self._forgotten
        document = await self._partners.find_one({"_id": client_id}, {"disabled": True, "allowance": True})
        welcome = document is not None and not document["disabled"]
        if forgotten != self._forgotten:
            # This process changed a partner meanwhile, which may be this one: what was read serves this once.
            asked_at = -math.inf
        self._known[client_id] = (asked_at, welcome, allowance_from(document or {}))
        self._known.move_to_end(client_id)
        if len(self._known) > KNOWN_PARTNERS:
            self._known.popitem(last=False)
        return welcome

    def allowance(self, client_id: str) -> Allowance | None:
        """The bucket that was set for a partner who was just welcome; None for the one that all have."""
        known = self._known.get(client_id)
        return None if known is None else known[2]

    def forget(self, client_id: str) -> None:
        """Ask the database again, for what is known of this partner is known to be old."""
        self._forgotten += 1
        self._known.pop(client_id, None)
