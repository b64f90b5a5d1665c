"""What every effectful part of the cascades is given: the store, the clock, the programme, the carriers.

One per process and event loop. What is decided about one member is decided by one task of the process at a time;
across processes the revisions of runs and recipients see to it.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime
from secrets import token_hex
from typing import Any, Final
from weakref import WeakValueDictionary

from domain.ledger.due import as_settled
from domain.ledger.wallet import Wallet
from domain.members.account import accounts_of
from domain.members.member import Member, member_facts
from domain.programme.cascade import CompiledCascade
from domain.programme.cel import Facts
from domain.programme.programme import Programme
from domain.programme.published import Programmes, UnknownVersion
from domain.store.clock import Clock
from domain.store.codec import to_bson
from domain.store.connection import Store
from notifications.channel import Carrier, Channel
from notifications.control import Switches, switches
from notifications.engine import NO_ENTRY
from notifications.run import Run, RunState, run_document

SWITCHES_SECONDS: Final = 0.3
"""A switch works within a second: a send for which they were read longer ago has them read again."""
CLAIM_SECONDS: Final = 20.0
"""For so long, by the server's real time, nobody else takes over a send that was claimed."""


async def all_done(tasks: Iterable[Awaitable[object]]) -> None:
    """Awaits all; a failure is raised when the others are done."""
    for outcome in await asyncio.gather(*tasks, return_exceptions=True):
        if isinstance(outcome, BaseException):
            raise outcome


def _nowhere(_point: str) -> None:
    """Nothing is done at the points that a test may stop at."""


@dataclass(slots=True, kw_only=True)
class Mark:
    """Until when the journal was heard for a sandbox's clock, by the instant of posting.

    `looked` is how many members' journals were looked through since that was stored.
    """

    heard_at: datetime | None = None
    looked: int = 0


@dataclass(slots=True, kw_only=True)
class SeenSwitches:
    """The switches as this process read them last, and when, by its own clock."""

    switches: Switches
    read_at: float

    @property
    def are_fresh(self) -> bool:
        return time.monotonic() - self.read_at <= SWITCHES_SECONDS


@dataclass(frozen=True, slots=True, kw_only=True)
class Office:
    """`at` is called at each point between two effects, by the point's name; `by` is this process's word for itself."""

    store: Store
    clock: Clock
    programmes: Programmes
    carriers: Mapping[Channel, Carrier] = field(default_factory=dict)
    claim_seconds: float = CLAIM_SECONDS
    at: Callable[[str], None] = _nowhere
    by: str = field(default_factory=lambda: token_hex(8))
    mark: Mark = field(default_factory=Mark)
    seen: SeenSwitches = field(default_factory=lambda: SeenSwitches(switches=Switches(), read_at=-SWITCHES_SECONDS))
    locks: WeakValueDictionary[str, asyncio.Lock] = field(default_factory=WeakValueDictionary)

    @asynccontextmanager
    async def alone_with(self, member: str) -> AsyncIterator[None]:
        """What is done inside is the only thing that this process does about the member's cascades."""
        lock = self.locks.get(member)
        if lock is None:
            lock = self.locks[member] = asyncio.Lock()
        async with lock:
            yield

    def is_busy_with(self, member: str) -> bool:
        """Whether somebody of this process is alone with the member now."""
        lock = self.locks.get(member)
        return lock is not None and lock.locked()

    async def switches(self) -> Switches:
        """The switches as they stand now, or stood a moment ago: what hundreds of sends ask for is read once."""
        if not self.seen.are_fresh:
            await self.read_switches()
        return self.seen.switches

    async def read_switches(self) -> Switches:
        """The switches as they stand now."""
        read_at = time.monotonic()
        self.seen.switches, self.seen.read_at = await switches(self.store), read_at
        return self.seen.switches

    async def cascade_of(self, run: Run) -> CompiledCascade | None:
        """The cascade as the run knows it: that of its own version. None when that is lost."""
        try:
            programme = await self.programmes.at(run.version)
        except UnknownVersion:
            return None
        return programme.cascades.get(run.cascade)


_FORGOTTEN: Final = frozenset({"erased_at", "erasing"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Party:
    """A member with his wallet as if all that is due were posted; `stored` is his document."""

    member: Member
    stored: Mapping[str, Any]
    wallet: Wallet
    programme: Programme
    now: datetime

    def facts(self, signal_facts: Mapping[str, object]) -> Facts:
        """What conditions of a cascade see, with the entry of its trigger."""
        entry = signal_facts.get("entry", NO_ENTRY)
        assert isinstance(entry, Mapping), entry
        member = member_facts(self.member, self.wallet, self.programme, at=self.now).as_facts()
        return {"member": {**member, "segments": tuple(sorted(self.segments(member)))}, "entry": entry}

    def segments(self, member: Mapping[str, object]) -> frozenset[str]:
        """The segments that the member is in now."""
        conditions = self.programme.conditions
        return frozenset(
            segment.id
            for segment in self.programme.definition.segments
            if conditions["segments", segment.id, "when"].holds({"member": member})
        )


async def party_of(office: Office, member: str, *, now: datetime) -> Party | None:
    """The member as he stands now; None if he no longer exists, or is being forgotten."""
    return (await parties_of(office, [member], now=now)).get(member)


async def parties_of(office: Office, members: Iterable[str], *, now: datetime) -> dict[str, Party]:
    """The members as they stand now, by id; those who no longer exist, or are being forgotten, are left out."""
    programme = office.programmes.current
    return {
        member: Party(
            member=account.member,
            stored=account.stored,
            wallet=as_settled(account.wallet, programme, now),
            programme=programme,
            now=now,
        )
        for member, account in (await accounts_of(office.store, members)).items()
        if _FORGOTTEN.isdisjoint(account.stored)
    }


async def store_run(office: Office, run: Run) -> bool:
    """Stores the run over the revision that it was read at; False when it was written since, or is over.

    A claim that it keeps is whose it was, for as long as it was. What it is to recall is found by `recall_at`: now, or
    if a message among them was being sent, once the claim of that has run out.
    """
    document = to_bson(run_document(replace(run, revision=run.revision + 1)))
    query = {"_id": run.id, "revision": run.revision, "state": RunState.WAITING.value}
    if run.claim is not None:
        more: dict[str, Any] = {"claimed_until": "$claimed_until"}
    elif run.recall:
        is_under_way = {"$in": ["$claim.delivery", list(run.recall)]}
        more = {"recall_at": {"$cond": [is_under_way, {"$max": ["$claimed_until", "$$NOW"]}, "$$NOW"]}}
    else:
        return (await office.store.runs.replace_one(query, document)).matched_count == 1
    written = {"$mergeObjects": [{"$literal": document}, more]}
    return (await office.store.runs.update_one(query, [{"$replaceWith": written}])).matched_count == 1


async def claim_run(office: Office, run: Run, *, only_if_left: bool = False) -> bool:
    """Stores the run with its claim, which is this process's for `claim_seconds` by the server's clock.

    The same write holds only while the run waits and nobody moved it: no goal came. With `only_if_left` it holds only
    once the claim that was there has run out.
    """
    document = to_bson(run_document(replace(run, revision=run.revision + 1)))
    query: dict[str, Any] = {"_id": run.id, "revision": run.revision, "state": RunState.WAITING.value}
    if only_if_left:
        query["$expr"] = {"$lte": ["$claimed_until", "$$NOW"]}
    until = {"claimed_until": {"$add": ["$$NOW", int(office.claim_seconds * 1000)]}}
    claimed = await office.store.runs.update_one(
        query, [{"$replaceWith": {"$mergeObjects": [{"$literal": document}, until]}}]
    )
    return claimed.matched_count == 1
