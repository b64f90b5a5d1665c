"""Denials: access tokens that no longer hold though their time is not over, known to every process within seconds.

Access tokens are verified without a look-up. What ends early (a session, a grant, a member, one token) is denied by
its name for as long as a token may live; every process reads the few names that there are, at most every ten seconds.
A denial is written before what it ends is taken away, so that no death in between leaves a token that holds.
"""

import asyncio
import math
import time
from datetime import UTC, datetime, timedelta
from typing import Final

from domain.partners.signing_key import TOKEN_LIFE
from domain.store.connection import Store

READ_EVERY_SECONDS: Final = 10.0
_LASTS: Final = TOKEN_LIFE + timedelta(minutes=5)
_SWEPT_AFTER: Final = timedelta(days=1)


def of_session(identifier: str) -> str:
    """The tokens of that session, of a phone or of an app's stay."""
    return f"session|{identifier}"


def of_grant(identifier: str) -> str:
    """The tokens that a partner was given by that grant, see :mod:`domain.members.grant`."""
    return f"grant|{identifier}"


def of_member(member: str) -> str:
    """Every token that speaks for the member."""
    return f"member|{member}"


def of_token(identifier: str) -> str:
    """The one token of that `jti`."""
    return f"token|{identifier}"


async def deny(store: Store, name: str, *, now: datetime) -> None:
    """No token of that name holds from now on. May be repeated."""
    await store.denials.update_one(
        {"_id": name},
        {"$max": {"until": now + _LASTS}, "$set": {"kept_until": datetime.now(UTC) + _SWEPT_AFTER}},
        upsert=True,
    )


class Denials:
    """What this process knows of denials, at most ten seconds old by the machine's clock."""

    def __init__(self, store: Store) -> None:
        self._denials = store.denials
        self._known: frozenset[str] = frozenset()
        self._read_at = -math.inf
        self._forgotten = 0
        self._reading = asyncio.Lock()

    async def denied(self, names: frozenset[str], now: datetime) -> bool:
        """Whether tokens of any of these names do not hold at `now`."""
        if time.monotonic() - self._read_at >= READ_EVERY_SECONDS:
            await self._read(now)
        return not self._known.isdisjoint(names)

    def forget(self) -> None:
        """Read again before the next answer: this process has denied something."""
        self._forgotten += 1
        self._read_at = -math.inf

    async def _read(self, now: datetime) -> None:
        async with self._reading:
            if time.monotonic() - self._read_at < READ_EVERY_SECONDS:
                return
            asked_at, forgotten = time.monotonic(), self._forgotten
            found = self._denials.find({"until": {"$gt": now}}, {"_id": True})
            self._known = frozenset([document["_id"] async for document in found])
            if forgotten == self._forgotten:
                # Else something was denied meanwhile, which this reading may have missed.
                self._read_at = asked_at
