"""Moving a sandbox's clock: everything that falls due on the way is done, in order, before the move ends (DESIGN §4).

Any number of callers and workers may run at once, since all that is done is idempotent.

    Stalled     something stays due, however often it is done
"""

import asyncio
from collections.abc import Collection
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from domain.ledger.commit import Ledger
from domain.ledger.due import SYSTEM
from domain.ledger.entry import EntryKind
from domain.members.erasure import finish_erasures
from domain.payments.provider import Provider
from domain.store.clock import ClockMovedBack, SandboxClock
from domain.store.connection import Store
from domain.store.slots import SLOTS
from notifications import cascades
from notifications.agenda import MESSAGES, VALUE, Agenda, Kind, agenda
from notifications.due import due_wallets, settle_wallets, work_birthdays, work_payments
from notifications.due_runs import due_members, earliest_run
from notifications.hearing import hear_again, hear_stale
from notifications.office import Office

MAX_STALLED: Final = 20
MAX_STALLED_MESSAGES: Final = 1_000


class Stalled(Exception):  # noqa: N818 -- says what is the case
    """Something stays due however often it is done: `due_at` is when, `members` are some of those it is of."""

    def __init__(self, due_at: datetime, members: Collection[str]) -> None:
        self.due_at = due_at
        self.members = tuple(members)
        super().__init__(f"{len(self.members)} stay due since {due_at.isoformat()}: {self.members[:3]}")


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
                await cascades.hear_told(office, range(SLOTS), now=now)
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
            members = [wallet["_id"] for wallet in await due_wallets(self.store, range(SLOTS), until=at)]
            self._note((at, members))
            if self.stalled > MAX_STALLED:
                raise Stalled(at, members)
        await _move(self.clock, at)
        match kind:
            case Kind.BIRTHDAY:
                await work_birthdays(self.ledger, range(SLOTS), office=self.office, now=self.clock.now())
            case Kind.PAYMENT:
                assert self.provider is not None
                await work_payments(self.ledger, self.provider, range(SLOTS), now=self.clock.now())
            case _:
                await settle_wallets(self.ledger, members)

    def _note(self, done: object) -> None:
        self.stalled = self.stalled + 1 if done == self.before else 0
        self.before = done


async def _move(clock: SandboxClock, to: datetime) -> None:
    if to > clock.now():
        with suppress(ClockMovedBack):
            await clock.move_to(to)
