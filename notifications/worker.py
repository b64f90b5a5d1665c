"""The worker: follows the journal, does what falls due, and runs cascades, in the slots that it holds.

Any number of worker processes share the 64 slots by leases (DESIGN §3). Within its slots a worker does what is due
(:mod:`notifications.due`, :mod:`notifications.cascades`), repairs wallets that are behind their journal, and sums
accounts and reports. All of it is idempotent, so that doing it twice, or being killed in the middle, changes nothing.
A failure of the database is waited out, a wallet that cannot be settled is set aside for a while, and neither ends
the worker.
"""

import asyncio
import os
import secrets
import socket
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from datetime import datetime
from typing import Final

import structlog
from pymongo.errors import PyMongoError
from pymongo.read_concern import ReadConcern

from domain.ledger.accounts import SlotLost, following
from domain.ledger.commit import Ledger
from domain.ledger.outcome import Unavailable
from domain.members.erasure import finish_erasures
from domain.payments import due as payments
from domain.payments.provider import Provider
from domain.reports.counting import Counting
from domain.store.clock import Clock
from domain.store.connection import Store
from domain.store.slots import LEASE_SECONDS, Leases
from notifications import cascades
from notifications.due import BATCH, due_wallets, settle_wallets, work_birthdays, work_payments
from notifications.hearing import hear_journal
from notifications.office import Office

LONGEST_SLEEP_SECONDS: Final = 1.0
BACKOFF_SECONDS: Final = (0.1, 0.2, 0.5, 1.0, 2.0)
"""Waits after one failure, two failures …; the last one repeats."""
SET_ASIDE_SECONDS: Final = 60.0
MAX_SET_ASIDE: Final = 1_000
STOP_SECONDS: Final = 10.0
MESSAGE_SLEEP_SECONDS: Final = 0.2
CATCH_UP_SECONDS: Final = 0.2
"""How long a wallet may be behind an entry that arrived before it is taken for left behind."""

ERASURES_SECONDS: Final = 60.0
"""An erasure that a death cut short waits at most so long; no rule depends on it: the person was taken out first."""

log = structlog.get_logger(__name__)


class Worker:
    """One worker of one process; :meth:`run` it as a task, and :meth:`stop` it.

    `ledger` runs by `clock`. `name` is unlike every other living worker's. Without a payment `provider` it leaves
    all that has to do with one alone, and without an `office` all messages.
    """

    def __init__(
        self,
        store: Store,
        clock: Clock,
        ledger: Ledger,
        *,
        provider: Provider | None = None,
        name: str | None = None,
        office: Office | None = None,
        lease_seconds: float = LEASE_SECONDS,
    ) -> None:
        self.name = name or f"{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(4)}"
        self._store = store
        self._clock = clock
        self._ledger = ledger
        self._provider = provider
        self._office = office
        self._leases = Leases(store, self.name, lease_seconds=lease_seconds)
        self._counting = Counting(store, ledger.programmes)
        self._beat_seconds = lease_seconds * 0.3
        self._stopping = asyncio.Event()
        self._aside: dict[str, float] = {}

    @property
    def slots(self) -> frozenset[int]:
        """The slots that it holds now."""
        return frozenset(self._leases.held)

    async def run(self) -> None:
        """Works until :meth:`stop`, then finishes what it is at, within 10 seconds, and gives its slots back."""
        log.info("worker.started", worker=self.name)
        steps: dict[str, Callable[[], Awaitable[float]]] = {
            "beat": self._beat,
            "due": self._settle_due,
            "journal": self._follow,
            "payments": self._work_payments,
            "birthdays": self._keep_birthdays,
            "erasures": self._finish_erasures,
            "cascades": self._run_cascades,
        }
        loops = [asyncio.create_task(self._repeat(name, step), name=f"worker-{name}") for name, step in steps.items()]
        try:
            await self._stopping.wait()
            await asyncio.wait(loops, timeout=STOP_SECONDS)
        finally:
            for loop in loops:
                loop.cancel()
            await asyncio.gather(*loops, return_exceptions=True)
            with suppress(PyMongoError):
                await self._leases.release()
            log.info("worker.stopped", worker=self.name)

    def stop(self) -> None:
        """Asks :meth:`run` to end."""
        self._stopping.set()

    async def _repeat(self, name: str, step: Callable[[], Awaitable[float]]) -> None:
        """Steps until it is to stop; a step says after how many seconds the next one is wanted."""
        failures = 0
        while not self._stopping.is_set():
            try:
                pause = await step()
                failures = 0
            except (PyMongoError, Unavailable) as error:
                pause = BACKOFF_SECONDS[min(failures, len(BACKOFF_SECONDS) - 1)]
                failures += 1
                log.warning("worker.waits", worker=self.name, step=name, error=type(error).__name__, failures=failures)
            except Exception:  # the worker must live on
                pause = BACKOFF_SECONDS[-1]
                failures += 1
                log.exception("worker.failed", worker=self.name, step=name, failures=failures)
            await self._sleep(pause)

    async def _sleep(self, seconds: float) -> None:
        with suppress(TimeoutError):
            await asyncio.wait_for(self._stopping.wait(), max(seconds, 0))

    async def _beat(self) -> float:
        await self._leases.acquire()
        return self._beat_seconds

    async def _settle_due(self) -> float:
        slots = self.slots
        if not slots:
            return min(self._beat_seconds, LONGEST_SLEEP_SECONDS) / 4
        await self._clock.refresh()
        now = self._clock.now()
        due = await due_wallets(self._store, slots, until=now, but=self._set_aside())
        if due:
            await self._settle([wallet["_id"] for wallet in due])
            return 0.0
        return await self._until_due(slots, now)

    async def _finish_erasures(self) -> float:
        await finish_erasures(self._ledger, self.slots)
        return ERASURES_SECONDS

    async def _follow(self) -> float:
        """Repairs and counts what arrives, in this order, for as long as the slots stay the same."""
        held = dict(self._leases.held)
        if not held:
            return self._beat_seconds / 4
        with suppress(SlotLost):
            async with following(self._store, held, catch_up=self._repair_all, beside=self._counting) as journal:
                while self._leases.held == held and not self._stopping.is_set():
                    arrived = await journal.arrived()
                    await self._repair(arrived.heads)
                    await self._look_at(arrived.heads)
                    await journal.count(arrived)
        return self._beat_seconds / 20

    async def _repair(self, heads: Mapping[str, int]) -> None:
        """Brings stored wallets up to the entries that arrived: whoever posted those may have died at once."""
        behind = await _behind(self._store, heads) if heads else {}
        if behind:
            await asyncio.sleep(CATCH_UP_SECONDS)
            behind = await _behind(self._store, behind)
        if behind:
            log.info("worker.repairs", worker=self.name, wallets=len(behind))
            await self._settle(list(behind))

    async def _repair_all(self, slots: Sequence[int]) -> None:
        """The same for all members of slots whose journal nobody followed, or not lately."""
        cursor = await self._store.journal.aggregate(
            [
                {"$match": {"slot": {"$in": list(slots)}, "seq": {"$exists": True}}},
                {"$group": {"_id": "$member", "seq": {"$max": "$seq"}}},
            ],
            allowDiskUse=True,
        )
        async with cursor:
            while heads := await cursor.to_list(BATCH):
                await self._repair({head["_id"]: head["seq"] for head in heads})
                await self._look_at([head["_id"] for head in heads])

    async def _look_at(self, members: Collection[str]) -> None:
        """What the entries that arrived ask of the payment provider, before they are counted and not seen again."""
        if self._provider is not None and members:
            await payments.look_at(self._ledger, self._provider, members)
        if self._office is not None and members:
            await hear_journal(self._office, members, now=self._clock.now())

    async def _work_payments(self) -> float:
        slots = self.slots
        if self._provider is None or not slots:
            return LONGEST_SLEEP_SECONDS
        await self._clock.refresh()
        done = await work_payments(self._ledger, self._provider, slots, now=self._clock.now())
        return 0.0 if done else LONGEST_SLEEP_SECONDS / 2

    async def _keep_birthdays(self) -> float:
        slots = self.slots
        await self._clock.refresh()
        if not slots:
            return LONGEST_SLEEP_SECONDS / 2
        kept = await work_birthdays(self._ledger, slots, office=self._office, now=self._clock.now())
        return 0.0 if kept else LONGEST_SLEEP_SECONDS / 2

    async def _run_cascades(self) -> float:
        """Signals, dates and due runs of the slots."""
        slots = self.slots
        if self._office is None or not slots:
            return MESSAGE_SLEEP_SECONDS
        await self._clock.refresh()
        done = await cascades.work(self._office, slots, now=self._clock.now(), but=self._set_aside())
        return 0.0 if done else MESSAGE_SLEEP_SECONDS

    async def _until_due(self, slots: Iterable[int], now: datetime) -> float:
        waiting = await due_wallets(self._store, slots, until=None, but=self._set_aside(), limit=1)
        if not waiting:
            return LONGEST_SLEEP_SECONDS
        seconds: float = (waiting[0]["next_due_at"] - now).total_seconds()
        return min(seconds, LONGEST_SLEEP_SECONDS)

    async def _settle(self, members: list[str]) -> None:
        """Settles them together, or one by one when one of them cannot be, which is then set aside."""
        try:
            await settle_wallets(self._ledger, members)
        except Unavailable:
            raise
        except Exception:  # noqa: BLE001 -- which of them it was is found out next
            for member in members:
                await self._settle_alone(member)

    async def _settle_alone(self, member: str) -> None:
        try:
            await settle_wallets(self._ledger, [member])
        except Unavailable:
            raise
        except Exception as error:  # noqa: BLE001 -- the ledger has logged it; here it is about the others
            self._aside[member] = asyncio.get_running_loop().time() + SET_ASIDE_SECONDS
            log.warning("worker.wallet_set_aside", member=member, error=repr(error), seconds=SET_ASIDE_SECONDS)

    def _set_aside(self) -> list[str]:
        now = asyncio.get_running_loop().time()
        self._aside = {member: until for member, until in self._aside.items() if until > now}
        return list(self._aside)[-MAX_SET_ASIDE:]


async def _behind(store: Store, heads: Mapping[str, int]) -> dict[str, int]:
    """Those of the members whose wallet, as the majority has it, is behind that sequence."""
    wallets = store.wallets.with_options(read_concern=ReadConcern("majority"))
    cursor = wallets.find({"_id": {"$in": list(heads)}}, {"seq": 1})
    stored = {wallet["_id"]: wallet["seq"] async for wallet in cursor}
    return {member: head for member, head in heads.items() if stored.get(member, 0) < head}
