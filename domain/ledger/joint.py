"""The joint commit: documents that must agree, kept together or not at all.

A gift is an entry in each of two wallets; a reward with limited stock is an entry and a count; money taken at a
till is an entry within limits that card top-ups under way share. These, and only these, go through a transaction
(DESIGN §2): snapshot reads, majority writes, a few seconds in all. A duplicate key inside it ends it: what stands is
read again and decided again.
"""

import asyncio
from collections.abc import Awaitable, Callable, Collection, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from weakref import WeakValueDictionary

import pymongo
from pymongo import ReplaceOne
from pymongo.asynchronous.client_session import AsyncClientSession
from pymongo.errors import BulkWriteError, DuplicateKeyError, PyMongoError
from pymongo.read_concern import ReadConcern
from pymongo.write_concern import WriteConcern

from domain.ledger.claim import claim_all, release
from domain.ledger.command import Command, duplicate_receipt, refusal_of, situation_of, used_elsewhere
from domain.ledger.commit import DEADLINE_SECONDS, RETRY_SECONDS, Ledger
from domain.ledger.due import due_entries
from domain.ledger.entry import Entry, entry_document, entry_from, refusal_document
from domain.ledger.outcome import Outcome, Unavailable, replay
from domain.ledger.projection import voucher_writes
from domain.ledger.wallet import Wallet, apply, wallet_document, wallet_from
from domain.problems import Problem
from domain.programme.programme import Programme
from domain.store.connection import Store

Prepare = Callable[[AsyncClientSession], Awaitable[Any]]
"""Locks the other document inside the transaction and reads what `decide` needs of it: its `evidence`."""

Reserve = Callable[[AsyncClientSession, Entry], Awaitable[Problem | None]]
"""Changes the other document inside the transaction, or says why it cannot; then nothing of it is kept."""

Step = tuple[Wallet, Entry]
"""An entry and the wallet just before it."""

Follow = Callable[[Entry, Wallet], Command]
"""The command on the other wallet that follows from the first entry, and from the wallet just before that."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Joined:
    """What goes with the command."""

    prepare: Prepare | None = None
    reserve: Reserve | None = None
    follow: Follow | None = None
    others: Sequence[str] = ()


@dataclass(slots=True, kw_only=True)
class _Scene:
    """What one transaction has read and is to write: the wallets after what was `posted`, which each step begins."""

    programme: Programme
    now: datetime
    wallets: dict[str, Wallet]
    missed: Sequence[Step]
    posted: list[Step] = field(default_factory=list)

    def post(self, entry: Entry) -> Wallet:
        """The member's wallet after the entry, which is to be inserted."""
        before = self.wallets[entry.member]
        self.posted.append((before, entry))
        self.wallets[entry.member] = apply(before, entry)
        return self.wallets[entry.member]

    @property
    def changed(self) -> list[str]:
        """The members to whose wallets something was posted, each once."""
        return list(dict.fromkeys(entry.member for _, entry in self.posted))


@dataclass(slots=True)
class _Pending:
    """What one run of the transaction came to: the first entry with the wallet after it, or a problem."""

    decided: Entry | Problem
    wallet: Wallet


class _Unsettled(Exception):  # noqa: N818  -- ends a transaction, to be run again
    pass


class _Refused(Exception):  # noqa: N818  -- ends a transaction without a trace
    def __init__(self, problem: Problem, wallet: Wallet) -> None:
        super().__init__(problem.code)
        self.problem = problem
        self.wallet = wallet


async def commit_jointly(
    ledger: Ledger,
    command: Command,
    *,
    prepare: Prepare | None = None,
    reserve: Reserve | None = None,
    follow: Follow | None = None,
    others: Sequence[str] = (),
    queues: Collection[str] = (),
) -> Outcome:
    """Commit the command together with what `prepare` and `reserve` change and what `follow` asks of another wallet.

    `others` are the members to whose wallets that is, so that all are read at once. Keys, claims, loads, refusals and
    replays are as with :meth:`Ledger.commit`; the caller's key is the first command's. Commands that share one of the
    `queues` go one after another in this process, so that they need not fight over a document. Raises
    :class:`Unavailable`.
    """
    also = _Joined(prepare=prepare, reserve=reserve, follow=follow, others=others)
    locks = [_queues.setdefault((id(ledger), queue), asyncio.Lock()) for queue in sorted(set(queues))]
    try:
        with pymongo.timeout(DEADLINE_SECONDS):
            async with asyncio.timeout(DEADLINE_SECONDS), AsyncExitStack() as held:
                for lock in locks:
                    await held.enter_async_context(lock)
                return await _until_decided(ledger, command, also)
    except TimeoutError:
        raise Unavailable("It took too long. Send it again, with the same key.") from None
    except PyMongoError as error:
        raise Unavailable("The database did not answer. Send it again, with the same key.") from error


_ALONE = _Joined()

_queues: WeakValueDictionary[tuple[int, str], asyncio.Lock] = WeakValueDictionary()


async def _until_decided(ledger: Ledger, command: Command, also: _Joined) -> Outcome:
    while True:
        outcome = await _known(ledger, command)
        if outcome is None:
            outcome = await _attempt(ledger, command, also)
        if outcome is not None:
            return outcome
        await asyncio.sleep(RETRY_SECONDS)


async def _known(ledger: Ledger, command: Command) -> Outcome | None:
    """What the key was decided to before, or what is wrong with the input; None if it is still to be decided."""
    decided = await ledger.journal.decided([(command.member, command.stored_key)])
    for found in decided.values():
        return await replay(ledger.journal, found, command.fingerprint)
    problem = None if command.check is None else command.check(ledger.programme, ledger.now())
    if problem is None:
        (claimed,) = await claim_all(ledger.journal, [command])
        while claimed.is_blocked:
            await asyncio.sleep(RETRY_SECONDS)
            (claimed,) = await claim_all(ledger.journal, [command])
        if claimed.used_by is not None:
            return await replay(ledger.journal, claimed.used_by, command.fingerprint)
        problem = used_elsewhere() if claimed.is_used_elsewhere else None
        if problem is None and claimed.duplicate_of is not None:
            duplicate = duplicate_receipt(command, claimed.duplicate_of)
            refused = _Refused(duplicate, await ledger.journal.wallet(command.member))
            return await _keep(ledger, command, refused, ledger.now())
    if problem is None:
        return None
    return Outcome(decided=problem, wallet=await ledger.journal.wallet(command.member), replayed=False)


async def _attempt(ledger: Ledger, command: Command, also: _Joined) -> Outcome | None:
    """One run of the transaction; None when it must be run again."""
    programme, now = ledger.programme, ledger.now()

    async def work(session: AsyncClientSession) -> _Pending:
        evidence = None if also.prepare is None else await also.prepare(session)
        scene = await _read(ledger.store, session, [command.member, *also.others], programme, now)
        pending = await _decide(ledger, session, scene, command, evidence=evidence, also=also)
        await _write(ledger.store, session, scene)
        return pending

    try:
        async with ledger.store.client.start_session() as session:
            pending = await session.with_transaction(
                work, read_concern=ReadConcern("snapshot"), write_concern=WriteConcern("majority", j=True)
            )
    except _Unsettled:
        await ledger.settle([command.member, *also.others])
        return None
    except _Refused as refused:
        if not refused.problem.kept:
            await release(ledger.journal, [command])
            return Outcome(decided=refused.problem, wallet=refused.wallet, replayed=False)
        return await _keep(ledger, command, refused, now)
    except (DuplicateKeyError, BulkWriteError):
        return None
    return Outcome(decided=pending.decided, wallet=pending.wallet, replayed=False)


async def _read(
    store: Store, session: AsyncClientSession, members: Sequence[str], programme: Programme, now: datetime
) -> _Scene:
    """The members' wallets as the snapshot has them, with the entries for what is due on them."""
    wallets = {member: Wallet(member=member) for member in members}
    async for document in store.wallets.find({"_id": {"$in": list(wallets)}}, session=session):
        wallets[document["_id"]] = wallet_from(document)
    newer = [{"member": member, "seq": {"$gt": wallet.sequence}} for member, wallet in wallets.items()]
    missed: list[Step] = []
    async for document in store.journal.find({"$or": newer}, session=session).sort([("member", 1), ("seq", 1)]):
        entry = entry_from(document)
        missed.append((wallets[entry.member], entry))
        wallets[entry.member] = apply(*missed[-1])
    scene = _Scene(programme=programme, now=now, wallets=wallets, missed=missed)
    for member in members:
        for entry in due_entries(wallets[member], programme, now=now):
            scene.post(entry)
    return scene


async def _decide(
    ledger: Ledger,
    session: AsyncClientSession,
    scene: _Scene,
    command: Command,
    *,
    evidence: Any = None,
    also: _Joined,
) -> _Pending:
    wallet = scene.wallets[command.member]
    if command.load is not None:
        if scene.posted:
            raise _Unsettled
        evidence = await command.load(ledger.journal, wallet)
    decided = command.decide(situation_of(command, wallet, scene.programme, now=scene.now, evidence=evidence))
    if not isinstance(decided, Entry):
        raise _Refused(decided, wallet)
    if also.reserve is not None and (problem := await also.reserve(session, decided)) is not None:
        raise _Refused(problem, wallet)
    after = scene.post(decided)
    if also.follow is not None:
        await _decide(ledger, session, scene, also.follow(decided, wallet), evidence=decided, also=_ALONE)
    return _Pending(decided, after)


async def _write(store: Store, session: AsyncClientSession, scene: _Scene) -> None:
    """Insert the entries and write what follows from them, and from those that were missed before."""
    await store.journal.insert_many([entry_document(entry) for _, entry in scene.posted], session=session)
    if writes := voucher_writes([*scene.missed, *scene.posted]):
        await store.vouchers.bulk_write(writes, session=session)
    await store.wallets.bulk_write(
        [ReplaceOne({"_id": member}, wallet_document(scene.wallets[member]), upsert=True) for member in scene.changed],
        session=session,
    )


async def _keep(ledger: Ledger, command: Command, refused: _Refused, now: datetime) -> Outcome | None:
    """Keep the refusal; None when the key was decided meanwhile. It was read from a snapshot with the journal in it."""
    try:
        await ledger.store.journal.insert_one(refusal_document(refusal_of(command, refused.problem, now)))
    except DuplicateKeyError:
        return None
    return Outcome(decided=refused.problem, wallet=refused.wallet, replayed=False)
