"""The ledger: takes commands and commits those that wait together, in batches (:mod:`domain.ledger.batch`).

Whoever comes second for a wallet or a key is decided again, within a bounded time. Dying between journal and wallet
loses nothing: the next reader folds the rest in.
"""

import asyncio
import contextvars
import time
from collections.abc import Iterable
from datetime import datetime

import structlog
from pymongo.errors import PyMongoError

from domain.ledger.batch import Attempt, Batch
from domain.ledger.command import Command, Fingerprint, claim_of_key, situation_of
from domain.ledger.due import due_entries
from domain.ledger.entry import Entry
from domain.ledger.journal import Journal
from domain.ledger.outcome import Outcome, Unavailable, replay
from domain.ledger.wallet import fold
from domain.problems import Problem
from domain.programme.programme import Programme
from domain.programme.published import Programmes
from domain.store.clock import Clock
from domain.store.connection import Store

DEADLINE_SECONDS = 10.0
MAX_BATCH = 256
MAX_WAITING = 10_000
RETRY_SECONDS = 0.02

log = structlog.get_logger(__name__)


class Ledger:
    """Commits commands to one store. One per process; :meth:`close` it at the end."""

    def __init__(self, store: Store, clock: Clock, programmes: Programmes) -> None:
        self.store = store
        self.journal = Journal(store)
        self._clock = clock
        self._programmes = programmes
        self._waiting: list[Attempt] = []
        self._wake = asyncio.Event()
        self._runner: asyncio.Task[None] | None = None

    @property
    def programmes(self) -> Programmes:
        """The programme in force, and the versions before it."""
        return self._programmes

    @property
    def programme(self) -> Programme:
        """The programme in force."""
        return self._programmes.current

    def now(self) -> datetime:
        """The instant, of the one clock."""
        return self._clock.now()

    async def commit(self, command: Command) -> Outcome:
        """Decide the command on its wallet and keep the decision. Raises :class:`Unavailable`."""
        outcome = await self._enqueue(command.member, command)
        assert outcome is not None
        return outcome

    async def preview(self, command: Command) -> Entry | Problem:
        """What committing the command now would decide, without keeping anything (SEMANTICS §3.8)."""
        programme, now = self.programme, self.now()
        if command.check is not None and (problem := command.check(programme, now)) is not None:
            return problem
        wallet = await self.journal.wallet(command.member)
        wallet = fold(wallet, due_entries(wallet, programme, now=now))
        evidence = None if command.load is None else await command.load(self.journal, wallet)
        return command.decide(situation_of(command, wallet, programme, now=now, evidence=evidence))

    async def settle(self, members: Iterable[str]) -> int:
        """Post what has fallen due on the members' wallets, and bring the stored ones up to the journal.

        Returns how many wallets were settled. Idempotent, whoever else does the same at once.
        """
        done = await asyncio.gather(*(self._enqueue(member, None) for member in members))
        return len(done)

    async def kept(self, actor: str, key: str, fingerprint: Fingerprint) -> Outcome | None:
        """What was decided under a caller's key before, whoever the member was; None when nothing was.

        For calls whose member cannot be found (any more): SEMANTICS §9.2.
        """
        stored_key = f"{actor}|{key}"
        claim = await self.store.claims.find_one({"_id": claim_of_key(stored_key)})
        if claim is None:
            return None
        decided = await self.journal.decided([(claim["member"], stored_key)])
        for found in decided.values():
            return await replay(self.journal, found, fingerprint)
        return None

    async def close(self) -> None:
        """Stop committing. What still waits fails with :class:`Unavailable`."""
        if self._runner is not None:
            self._runner.cancel()
            await asyncio.gather(self._runner, return_exceptions=True)
            self._runner = None
        for attempt in self._waiting:
            attempt.fail(Unavailable("The ledger is closing."))
        self._waiting.clear()

    async def _enqueue(self, member: str, command: Command | None) -> Outcome | None:
        if len(self._waiting) >= MAX_WAITING:
            raise Unavailable("Too many commands wait. Send it again, with the same key.")
        if self._runner is None:
            # A context of its own: it outlives the request that is the first to commit, and its deadline.
            self._runner = asyncio.get_running_loop().create_task(
                self._run(), name="ledger-commit", context=contextvars.Context()
            )
        future: asyncio.Future[Outcome | None] = asyncio.get_running_loop().create_future()
        deadline = time.monotonic() + DEADLINE_SECONDS
        self._waiting.append(Attempt(member, command, future, deadline, seek=command is None))
        self._wake.set()
        return await future

    async def _run(self) -> None:
        while True:
            await self._wake.wait()
            await _let_callers_in()
            batch, self._waiting = self._waiting[:MAX_BATCH], self._waiting[MAX_BATCH:]
            if not self._waiting:
                self._wake.clear()
            try:
                again = await self._batch(batch).run()
            except Exception as error:  # noqa: BLE001  -- the callers get it; the committer must live on
                _fail(batch, error)
            except asyncio.CancelledError:
                _fail(batch, Unavailable("The ledger is closing."))
                raise
            else:
                await self._requeue(again, progress=len(again) < len(batch))

    def _batch(self, attempts: list[Attempt]) -> "Batch":
        give_up_at = time.monotonic() + DEADLINE_SECONDS
        return Batch(self.journal, attempts, programme=self.programme, now=self.now(), give_up_at=give_up_at)

    async def _requeue(self, again: list[Attempt], *, progress: bool) -> None:
        now = time.monotonic()
        for attempt in again:
            if attempt.deadline < now:
                attempt.fail(Unavailable("It took too long. Send it again, with the same key."))
        self._waiting[:0] = [attempt for attempt in again if not attempt.future.done()]
        if self._waiting:
            self._wake.set()
            if not progress:
                await asyncio.sleep(RETRY_SECONDS)


def _fail(batch: Iterable[Attempt], error: Exception) -> None:
    """Whoever still waits for the batch is told; what the database did not answer may have happened or not."""
    if isinstance(error, PyMongoError):
        log.warning("commit.failed", error=type(error).__name__)
        error = Unavailable("The database did not answer. Send it again, with the same key.")
    elif not isinstance(error, Unavailable):
        log.error("commit.broken", exc_info=error)
    for attempt in batch:
        attempt.fail(error)


async def _let_callers_in() -> None:
    """Two turns of the loop: who was just answered gets to ask again, and shares the batch."""
    await asyncio.sleep(0)
    await asyncio.sleep(0)
