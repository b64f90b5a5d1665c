"""Token buckets, one per caller, that hold across all processes and cost no request a write.

A process leases tokens of a caller out of the store, at most once a second, and counts what is spent in memory;
a second later it settles: what was not spent goes back, and who is still active leases anew. Of several active
processes each leases its share of what is there. Tokens that are out are not refilled, so the bucket never gives
more than its capacity at once; a process that dies with a lease loses it. A caller whom this process does not
know yet has a tenth of his capacity on credit, which the lease that is under way then pays for, so that he need not
wait for it. All times are the server's and the machine's own: a sandbox's clock has no part in it.
"""

import asyncio
import secrets
import time
from collections import OrderedDict
from collections.abc import Collection
from contextlib import suppress
from contextvars import Context
from dataclasses import dataclass, field
from math import ceil
from typing import Any, Final

import structlog
from pymongo import UpdateOne, WriteConcern
from pymongo.errors import PyMongoError

from domain.store.connection import Document, Store

LEASE_SECONDS: Final = 1.0
HELD_MS: Final = 3_000
"""How long tokens count as being out when nobody settles."""
KEPT_MS: Final = 600_000
CREDIT_SHARE: Final = 10
MAX_ACCOUNTS: Final = 20_000
MAX_SETTLED_AT_ONCE: Final = 500

_LOG: Final = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Allowance:
    """A bucket of `capacity` tokens, refilled by so many a second."""

    capacity: int
    refill_per_second: int

    def __post_init__(self) -> None:
        assert self.capacity > 0, self.capacity
        assert self.refill_per_second > 0, self.refill_per_second


@dataclass(slots=True, kw_only=True, eq=False)
class _Account:
    """What this process knows of one caller. `left` may be spent now; `level` is what the store has beside it."""

    key: str
    allowance: Allowance
    left: float
    level: float = 0.0
    spent: float = 0.0
    leased: bool = False
    known: bool = False
    used: bool = False
    leased_at: float = float("-inf")
    settling: asyncio.Event | None = field(default=None)

    @property
    def credit(self) -> float:
        return self.allowance.capacity / CREDIT_SHARE

    @property
    def may_lease(self) -> bool:
        return time.monotonic() - self.leased_at >= LEASE_SECONDS


class Buckets:
    """The buckets of one store, for one process; :meth:`close` it at the end."""

    def __init__(self, store: Store) -> None:
        self._documents = store.buckets.with_options(write_concern=WriteConcern(w=1))
        self._process = secrets.token_hex(8)
        self._accounts: OrderedDict[str, _Account] = OrderedDict()
        self._wanted: dict[str, _Account] = {}
        self._wake = asyncio.Event()
        self._runner: asyncio.Task[None] | None = None

    async def charge(self, key: str, allowance: Allowance, *, cost: int) -> int:
        """Takes `cost` tokens out of the caller's bucket: 0 when they were there.

        Otherwise nothing is taken, and the answer is after how many whole seconds they will be there.
        """
        account = self._account(key, allowance)
        while not self._has(account, cost):
            if account.settling is None and account.may_lease:
                self._want(account)
            if account.settling is None:
                return self._wait_seconds(account, cost)
            await account.settling.wait()
        self._spend(account, cost)
        return 0

    def debit(self, key: str, allowance: Allowance, *, cost: int) -> None:
        """Takes tokens that were spent already, whether they are there or not: the bucket may owe."""
        self._spend(self._account(key, allowance), cost)

    async def close(self) -> None:
        """Gives back what is leased."""
        if self._runner is not None:
            self._runner.cancel()
            await asyncio.gather(self._runner, return_exceptions=True)
            self._runner = None
            for account in self._accounts.values():
                account.used = False
            await self._settle([each for each in self._accounts.values() if each.leased or each.spent])
        self._release(self._accounts.values())

    def _account(self, key: str, allowance: Allowance) -> _Account:
        account = self._accounts.get(key)
        if account is None:
            account = _Account(key=key, allowance=allowance, left=allowance.capacity / CREDIT_SHARE)
            self._accounts[key] = account
            self._forget_oldest()
        else:
            self._accounts.move_to_end(key)
            account.allowance = allowance
        return account

    def _forget_oldest(self) -> None:
        while len(self._accounts) > MAX_ACCOUNTS:
            oldest = next(iter(self._accounts.values()))
            if oldest.leased or oldest.spent or oldest.settling is not None:
                return
            del self._accounts[oldest.key]

    @staticmethod
    def _has(account: _Account, cost: int) -> bool:
        """One operation of whatever cost is on credit; what the lease then finds missing is owed."""
        return account.left >= cost or (not account.known and not account.spent)

    @staticmethod
    def _wait_seconds(account: _Account, cost: int) -> int:
        missing = cost - max(account.left, 0.0) - account.level
        until_lease = account.leased_at + LEASE_SECONDS - time.monotonic()
        return max(1, ceil(until_lease), ceil(missing / account.allowance.refill_per_second))

    def _spend(self, account: _Account, cost: int) -> None:
        account.left -= cost
        account.spent += cost
        account.used = True
        if not account.leased and account.settling is None and account.may_lease:
            self._want(account)

    def _want(self, account: _Account) -> None:
        account.settling, account.used = asyncio.Event(), True
        self._wanted[account.key] = account
        self._wake.set()
        if self._runner is None:
            # A context of its own: it outlives the request that is the first to want tokens, and its deadline.
            self._runner = asyncio.get_running_loop().create_task(self._run(), name="buckets", context=Context())

    async def _run(self) -> None:
        swept_at, task = time.monotonic(), asyncio.current_task()
        assert task is not None
        # The driver may swallow a cancellation while it puts a connection away: the task remembers it.
        while not task.cancelling():
            pause = swept_at + LEASE_SECONDS - time.monotonic()
            if pause > 0 and not self._wake.is_set():
                with suppress(TimeoutError):
                    async with asyncio.timeout(pause if self._unsettled else None):
                        await self._wake.wait()
            self._wake.clear()
            due = list(self._wanted.values())
            self._wanted.clear()
            now = time.monotonic()
            if now - swept_at >= LEASE_SECONDS:
                swept_at = now
                due.extend(self._to_sweep(now))
            for begin in range(0, len(due), MAX_SETTLED_AT_ONCE):
                await self._settle(due[begin : begin + MAX_SETTLED_AT_ONCE])

    @property
    def _unsettled(self) -> bool:
        return any(each.leased or each.spent for each in reversed(self._accounts.values()))

    def _to_sweep(self, now: float) -> list[_Account]:
        """The accounts that hold tokens, or owe some, since the last settlement, a second ago or more."""
        found = [
            each
            for each in self._accounts.values()
            if each.settling is None and (each.leased or each.spent) and now - each.leased_at >= LEASE_SECONDS
        ]
        for account in found:
            account.settling = asyncio.Event()
        return found

    async def _settle(self, accounts: Collection[_Account]) -> None:
        """Gives back what was not spent and, for active callers, leases anew; what fails is spent by this process."""
        if not accounts:
            return
        told = {each.key: (each.spent, each.used) for each in accounts}
        now = time.monotonic()
        for account in accounts:
            account.used = False
        try:
            await self._documents.bulk_write(
                [
                    UpdateOne(
                        {"_id": each.key},
                        _settlement(each.allowance, self._process, spent=told[each.key][0], lease=told[each.key][1]),
                        upsert=True,
                    )
                    for each in accounts
                ],
                ordered=False,
            )
            found = {each["_id"]: each async for each in self._documents.find({"_id": {"$in": list(told)}})}
        except PyMongoError as error:
            _LOG.warning("buckets.not_settled", error=type(error).__name__, callers=len(accounts))
            for account in accounts:
                account.leased, account.left, account.leased_at = False, account.credit, now
        else:
            for account in accounts:
                spent, lease = told[account.key]
                self._learn(account, found.get(account.key), spent=spent)
                if lease:
                    account.leased_at = now
        finally:
            self._release(accounts)

    def _learn(self, account: _Account, document: Document | None, *, spent: float) -> None:
        document = document or {"level": 0.0, "holders": []}
        tokens = [each["tokens"] for each in document["holders"] if each["by"] == self._process]
        account.known = True
        account.leased = bool(tokens)
        account.spent -= spent
        account.level = document["level"]
        granted = sum(tokens) if account.leased else max(0.0, min(account.credit, account.level))
        if account.leased and len(document["holders"]) > 1:
            # The other processes give back what they do not need within a second; until then this is on credit.
            granted = max(granted, account.credit if account.level + granted >= 0 else 0.0)
        account.left = granted - account.spent

    @staticmethod
    def _release(accounts: Collection[_Account]) -> None:
        for account in accounts:
            if account.settling is not None:
                account.settling.set()
                account.settling = None


def _settlement(allowance: Allowance, process: str, *, spent: float, lease: bool) -> list[dict[str, Any]]:
    """The update that settles what `process` spent, gives back the rest of its lease, and leases its share anew."""
    capacity, per_ms = float(allowance.capacity), allowance.refill_per_second / 1000
    live = {
        "$filter": {"input": {"$ifNull": ["$holders", []]}, "as": "held", "cond": {"$gt": ["$$held.until", "$$NOW"]}}
    }
    others = {"$filter": {"input": "$live", "as": "held", "cond": {"$ne": ["$$held.by", process]}}}
    refilled = {
        "$max": [
            "$level",
            {
                "$min": [
                    {"$subtract": [capacity, {"$sum": "$live.tokens"}]},
                    {"$add": ["$level", {"$multiply": [per_ms, {"$subtract": ["$$NOW", "$at"]}]}]},
                ]
            },
        ]
    }
    given_back = {"$subtract": [{"$sum": "$live.tokens"}, {"$sum": "$others.tokens"}]}
    share = {"$floor": {"$divide": [{"$max": [0.0, "$level"]}, {"$add": [1, {"$size": "$others"}]}]}}
    held = [{"by": process, "tokens": "$share", "until": {"$add": ["$$NOW", HELD_MS]}}] if lease else []
    return [
        {"$set": {"live": live, "level": {"$ifNull": ["$level", capacity]}, "at": {"$ifNull": ["$at", "$$NOW"]}}},
        {"$set": {"others": others, "level": refilled}},
        {"$set": {"level": {"$max": [-capacity, {"$add": ["$level", given_back, -spent]}]}}},
        {"$set": {"share": share if lease else 0.0}},
        {
            "$set": {
                "level": {"$subtract": ["$level", "$share"]},
                "holders": {"$concatArrays": ["$others", held]},
                "at": "$$NOW",
                "kept_until": {"$add": ["$$NOW", KEPT_MS]},
            }
        },
        {"$unset": ["live", "others", "share"]},
    ]
