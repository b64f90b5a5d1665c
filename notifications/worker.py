"""The worker: posts what falls due, keeps birthdays and what is summed and repaired, and has the provider pay.

Any number of worker processes share the 64 slots by leases (DESIGN §3). Within its slots a worker settles the
wallets that are due and follows the journal. All of it is idempotent, so that doing it twice, or being killed
in the middle, changes nothing. A failure of the database is waited out, a wallet that cannot be settled is set
aside for a while, and neither ends the worker.
"""

import asyncio
import os
import secrets
import socket
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

import structlog
from pymongo.errors import PyMongoError
from pymongo.read_concern import ReadConcern

from domain.commands.referral import reward_referrals
from domain.ledger.accounts import SlotLost, following
from domain.ledger.commit import Ledger
from domain.ledger.due import SYSTEM
from domain.ledger.entry import EntryKind
from domain.ledger.outcome import Unavailable
from domain.members.birthday import keep_birthdays
from domain.members.erasure import finish_erasures
from domain.payments import due as payments
from domain.payments.provider import Provider
from domain.reports.counting import Counting
from domain.store.clock import Clock, ClockMovedBack, SandboxClock
from domain.store.connection import Store
from domain.store.slots import LEASE_SECONDS, SLOTS, Leases
from notifications import cascades
from notifications.agenda import MESSAGES, VALUE, Agenda, Kind, agenda
from notifications.hearing import hear_again, hear_journal, hear_stale
from notifications.notices import tell_stopped
from notifications.office import Office
from notifications.sending import due_members, earliest_run

BATCH: Final = 200
LONGEST_SLEEP_SECONDS: Final = 1.0
BACKOFF_SECONDS: Final = (0.1, 0.2, 0.5, 1.0, 2.0)
"""Waits after one failure, two failures …; the last one repeats."""
SET_ASIDE_SECONDS: Final = 60.0
MAX_SET_ASIDE: Final = 1_000
STOP_SECONDS: Final = 10.0
MAX_STALLED: Final = 20
MAX_STALLED_MESSAGES: Final = 1_000
MESSAGE_SLEEP_SECONDS: Final = 0.2
CATCH_UP_SECONDS: Final = 0.2
"""How long a wallet may be behind an entry that arrived before it is taken for left behind."""

log = structlog.get_logger(__name__)


ERASURES_SECONDS: Final = 60.0
"""What a death cut short waits at most so long; no rule turns on it, for the person was taken out first."""


class Stalled(Exception):  # noqa: N818 -- says what is the case
    """Wallets stay due however often they are settled: `due_at` is when, `members` are some of them."""

    def __init__(self, due_at: datetime, members: Collection[str]) -> None:
        self.due_at = due_at
        self.members = tuple(members)
        super().__init__(f"{len(self.members)} wallets stay due since {due_at.isoformat()}: {self.members[:3]}")


async def advance(
    store: Store,
    clock: SandboxClock,
    ledger: Ledger,
    to: datetime,
    *,
    provider: Provider | None = None,
    office: Office | None = None,
) -> int:
    """Moves the sandbox's clock forward to `to`, doing all that falls due on the way, in order.

    Returns how many entries were posted on the way because they fell due, whoever posted them. `ledger` runs by
    `clock`. Any number of callers and workers may run at once. Raises ClockMovedBack when `to` lies before now,
    Unavailable when the database does not answer (part of the way may be done; the same call goes on from
    there), and Stalled.
    """
    await clock.refresh()
    began_at = clock.now()
    if to < began_at:
        raise ClockMovedBack(began_at, to)
    way = _Way(store=store, clock=clock, ledger=ledger, to=to, provider=provider, office=office)
    while await way.go_on():
        pass
    posted = {"$gte": began_at}
    done, _ = await asyncio.gather(
        store.journal.count_documents(
            {"posted_at": posted, "actor": SYSTEM, "kind": {"$exists": True, "$ne": EntryKind.JOIN.value}}
        ),
        _move(clock, to),
    )
    return done


@dataclass(slots=True, kw_only=True)
class _Way:
    """A sandbox's clock on its way to `to`, from one thing that falls due to the next.

    `before` is what was done last, and `stalled` how often that was in a row.
    """

    store: Store
    clock: SandboxClock
    ledger: Ledger
    to: datetime
    provider: Provider | None
    office: Office | None
    before: object = None
    stalled: int = 0

    async def go_on(self) -> bool:
        """Moves to what comes next and does it; False when nothing more comes.

        Of one instant, value comes before messages, which tell of it.
        """
        ahead = await self._ahead()
        if Kind.ERASURE in ahead:
            await finish_erasures(self.ledger, range(SLOTS))
        told_at = min((ahead[kind] for kind in (Kind.DATE, Kind.RUN) if kind in ahead), default=None)
        due = {kind: ahead[kind] for kind in (Kind.BIRTHDAY, Kind.PAYMENT, Kind.WALLET) if kind in ahead}
        kind = min(due, key=due.__getitem__, default=None)
        if self.office is not None and told_at is not None and (kind is None or told_at < due[kind]):
            await self._tell(self.office, ahead, told_at)
        elif kind is None:
            return False
        else:
            await self._settle(kind, due[kind])
        return True

    async def _ahead(self) -> Agenda:
        """What comes, after all that was posted and told is heard."""
        office = self.office
        if office is None:
            return await self._asked(VALUE)
        now = self.clock.now()
        heard, ahead = await asyncio.gather(cascades.hear_posted(office, now=now), self._asked(VALUE | MESSAGES))
        while heard or not {Kind.SIGNAL, Kind.RECALL, Kind.STALE, Kind.UP_AGAIN}.isdisjoint(ahead):
            heard = 0
            if Kind.SIGNAL in ahead or Kind.RECALL in ahead:
                await cascades.catch_up(office, range(SLOTS), now=now)
            if Kind.STALE in ahead:
                await hear_stale(office, range(SLOTS), now=now)
            if Kind.UP_AGAIN in ahead:
                await hear_again(office, range(SLOTS), now=now)
            ahead = await self._asked(VALUE | MESSAGES)
        if Kind.RUN in ahead and Kind.PAUSE in ahead:
            run_at = await earliest_run(office, range(SLOTS), until=self.to)
            del ahead[Kind.RUN]
            ahead |= {} if run_at is None else {Kind.RUN: run_at}
        return ahead

    async def _asked(self, kinds: frozenset[Kind]) -> Agenda:
        wanted = kinds - {Kind.PAYMENT} if self.provider is None else kinds
        version = self.ledger.programmes.current.version
        return await agenda(self.store, range(SLOTS), until=self.to, version=version, kinds=wanted)

    async def _tell(self, office: Office, ahead: Agenda, at: datetime) -> None:
        self._note(at)
        if self.stalled > MAX_STALLED_MESSAGES:
            raise Stalled(at, await due_members(office, range(SLOTS), until=at))
        await _move(self.clock, at)
        await cascades.do(office, range(SLOTS), ahead, now=self.clock.now())

    async def _settle(self, kind: Kind, at: datetime) -> None:
        members: list[str] = []
        if kind is Kind.WALLET:
            members = [wallet["_id"] for wallet in await _due(self.store, range(SLOTS), until=at)]
            self._note((at, members))
            if self.stalled > MAX_STALLED:
                raise Stalled(at, members)
        await _move(self.clock, at)
        match kind:
            case Kind.BIRTHDAY:
                await _keep_birthdays(self.ledger, range(SLOTS), office=self.office, now=self.clock.now())
            case Kind.PAYMENT:
                assert self.provider is not None
                await _work_payments(self.ledger, self.provider, range(SLOTS), now=self.clock.now())
            case _:
                await _do_due(self.ledger, members)

    def _note(self, done: object) -> None:
        self.stalled = self.stalled + 1 if done == self.before else 0
        self.before = done


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
        due = await _due(self._store, slots, until=now, but=self._set_aside())
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
        done = await _work_payments(self._ledger, self._provider, slots, now=self._clock.now())
        return 0.0 if done else LONGEST_SLEEP_SECONDS / 2

    async def _keep_birthdays(self) -> float:
        slots = self.slots
        await self._clock.refresh()
        if not slots:
            return LONGEST_SLEEP_SECONDS / 2
        kept = await _keep_birthdays(self._ledger, slots, office=self._office, now=self._clock.now())
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
        waiting = await _due(self._store, slots, until=None, but=self._set_aside(), limit=1)
        if not waiting:
            return LONGEST_SLEEP_SECONDS
        seconds: float = (waiting[0]["next_due_at"] - now).total_seconds()
        return min(seconds, LONGEST_SLEEP_SECONDS)

    async def _settle(self, members: list[str]) -> None:
        """Settles them together, or one by one when one of them cannot be, which is then set aside."""
        try:
            await _do_due(self._ledger, members)
        except Unavailable:
            raise
        except Exception:  # noqa: BLE001 -- which of them it was is found out next
            for member in members:
                await self._settle_alone(member)

    async def _settle_alone(self, member: str) -> None:
        try:
            await _do_due(self._ledger, [member])
        except Unavailable:
            raise
        except Exception as error:  # noqa: BLE001 -- the ledger has logged it; here it is about the others
            self._aside[member] = asyncio.get_running_loop().time() + SET_ASIDE_SECONDS
            log.warning("worker.wallet_set_aside", member=member, error=repr(error), seconds=SET_ASIDE_SECONDS)

    def _set_aside(self) -> list[str]:
        now = asyncio.get_running_loop().time()
        self._aside = {member: until for member, until in self._aside.items() if until > now}
        return list(self._aside)[-MAX_SET_ASIDE:]


async def _work_payments(ledger: Ledger, provider: Provider, slots: Collection[int], *, now: datetime) -> int:
    """What is due at the provider, and what the member must know of it."""
    done = await payments.work_due(ledger, provider, slots, now=now)
    return done + await tell_stopped(ledger.store, ledger.programme, slots, now=now)


async def _keep_birthdays(ledger: Ledger, slots: Iterable[int], *, office: Office | None, now: datetime) -> int:
    """The awards that are due; members whose birthday or zone changed are among them, so their dates are armed anew."""
    slots = list(slots)
    due = {"slot": {"$in": sorted(slots)}, "birthday_due_at": {"$lte": now}}
    members = [each["_id"] async for each in ledger.store.members.find(due, {"_id": True}).limit(BATCH)]
    kept = await keep_birthdays(ledger, slots, now=now)
    if office is not None and members:
        await hear_journal(office, members, now=now, anew=True)
    return kept


async def _move(clock: SandboxClock, to: datetime) -> None:
    if to > clock.now():
        with suppress(ClockMovedBack):
            await clock.move_to(to)


async def _do_due(ledger: Ledger, members: Collection[str]) -> None:
    """Posts what is due on the wallets, and rewards the referrals of which their members are the friends."""
    await ledger.settle(members)
    await reward_referrals(ledger, members)


async def _behind(store: Store, heads: Mapping[str, int]) -> dict[str, int]:
    """Those of the members whose wallet, as the majority has it, is behind that sequence."""
    wallets = store.wallets.with_options(read_concern=ReadConcern("majority"))
    cursor = wallets.find({"_id": {"$in": list(heads)}}, {"seq": 1})
    stored = {wallet["_id"]: wallet["seq"] async for wallet in cursor}
    return {member: head for member, head in heads.items() if stored.get(member, 0) < head}


async def _due(
    store: Store, slots: Iterable[int], *, until: datetime | None, but: Collection[str] = (), limit: int = BATCH
) -> list[dict[str, Any]]:
    """The wallets of the slots that are due (by `until`, if given), the earliest first."""
    wanted: dict[str, Any] = {"slot": {"$in": sorted(slots)}, "next_due_at": {"$exists": True}}
    if until is not None:
        wanted["next_due_at"] = {"$exists": True, "$lte": until}
    if but:
        wanted["_id"] = {"$nin": list(but)}
    cursor = store.wallets.find(wanted, {"next_due_at": 1}).sort("next_due_at", 1).limit(limit)
    return await cursor.to_list()
