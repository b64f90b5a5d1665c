"""A batch: commands that wait at the same moment, committed together, each with its own outcome (DESIGN §2).

One find of the wallets, one unordered insert into the journal, one bulk write of the wallets. The insert is the
commit. Unique (member, seq) is the lock and unique (member, key) the idempotency; whoever is second is decided
again, in a later batch. A refusal takes no sequence, so before it is kept the journal is looked at once more: a "no"
is never given on a wallet that is behind.
"""

import asyncio
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import structlog
from pymongo import ReplaceOne
from pymongo.asynchronous.collection import AsyncCollection
from pymongo.errors import BulkWriteError
from pymongo.write_concern import WriteConcern

from domain.ledger.claim import claim_all, duplicates_in, release
from domain.ledger.command import Command, duplicate_receipt, refusal_of, situation_of, used_elsewhere
from domain.ledger.due import due_entries
from domain.ledger.entry import Entry, Refusal, entry_document, refusal_document
from domain.ledger.journal import Journal
from domain.ledger.outcome import Outcome, Unavailable, replay, replayed
from domain.ledger.projection import voucher_writes
from domain.ledger.wallet import Wallet, apply, wallet_document, wallet_from
from domain.problems import Problem
from domain.programme.programme import Programme

log = structlog.get_logger(__name__)


@dataclass(slots=True, eq=False)
class Attempt:
    """A command on its way, or (without a command) the wish to post what is due on a wallet."""

    member: str
    command: Command | None
    future: asyncio.Future[Outcome | None]
    deadline: float
    checked: bool = False
    claimed: bool = False
    seek: bool = False
    duplicate_of: str | None = None
    evidence: Any = None

    def resolve(self, outcome: Outcome | None) -> None:
        if not self.future.done():
            self.future.set_result(outcome)

    def fail(self, error: Exception) -> None:
        if not self.future.done():
            self.future.set_exception(error)


@dataclass(slots=True)
class _Chain:
    """One member's part of a batch: the entries to post in order, and the wallet after each of them."""

    wallets: list[Wallet]
    entries: list[Entry] = field(default_factory=list)
    owners: list[Attempt | None] = field(default_factory=list)
    refused: list[tuple[Attempt, Refusal, int]] = field(default_factory=list)
    touched: list[Attempt] = field(default_factory=list)
    inserted: int = 0

    @property
    def wallet(self) -> Wallet:
        return self.wallets[-1]

    def push(self, entry: Entry, owner: Attempt | None) -> None:
        self.wallets.append(apply(self.wallet, entry))
        self.entries.append(entry)
        self.owners.append(owner)


class Batch:
    """One group commit. `run` returns the attempts to be decided again; after `give_up_at` it inserts nothing."""

    def __init__(
        self, journal: Journal, attempts: list[Attempt], *, programme: Programme, now: datetime, give_up_at: float
    ) -> None:
        self.journal = journal
        self.store = journal.store
        self.wallets = journal.store.wallets.with_options(write_concern=WriteConcern(1))
        self.attempts = attempts
        self.programme = programme
        self.now = now
        self.give_up_at = give_up_at
        self.again: list[Attempt] = []
        self.unkept: list[tuple[Attempt, Problem]] = []
        self.followers: list[tuple[Attempt, Attempt]] = []
        self.behind: set[str] = set()
        self.caught_up: list[tuple[Wallet, Entry]] = []

    async def run(self) -> list[Attempt]:
        attempts = self._without_followers()
        attempts = self._check(attempts)
        wallets, attempts = await self._read(attempts)
        chains = await self._decide(attempts, wallets)
        if time.monotonic() > self.give_up_at:
            raise Unavailable("It took too long. Send it again, with the same key.")
        await self._insert(chains)
        await asyncio.gather(self._keep_refusals(chains), self._write_wallets(chains))
        self._answer(chains)
        await self._answer_unkept()
        self._answer_followers()
        return self.again

    def _without_followers(self) -> list[Attempt]:
        """Of several attempts with one key of one member, the first leads; the others get its outcome."""
        leaders: dict[tuple[str, str], Attempt] = {}
        attempts: list[Attempt] = []
        for attempt in self.attempts:
            if attempt.command is None:
                attempts.append(attempt)
                continue
            leader = leaders.setdefault((attempt.member, attempt.command.stored_key), attempt)
            if leader is attempt:
                attempts.append(attempt)
            else:
                self.followers.append((attempt, leader))
        return attempts

    def _check(self, attempts: list[Attempt]) -> list[Attempt]:
        sound: list[Attempt] = []
        for attempt in attempts:
            command = attempt.command
            if command is None or command.check is None or attempt.checked:
                sound.append(attempt)
            elif (problem := command.check(self.programme, self.now)) is not None:
                self.unkept.append((attempt, problem))
            else:
                attempt.checked = True
                sound.append(attempt)
        return sound

    async def _read(self, attempts: list[Attempt]) -> tuple[dict[str, Wallet], list[Attempt]]:
        """The wallets, with the claims made and the outcomes of known keys answered."""
        members = list({attempt.member for attempt in attempts})
        stale = {attempt.member for attempt in attempts if attempt.seek}
        wallets, blocked, decided = await asyncio.gather(
            self._wallets(members, stale),
            self._claim([attempt for attempt in attempts if attempt.command is not None and not attempt.claimed]),
            self.journal.decided(
                (attempt.member, attempt.command.stored_key)
                for attempt in attempts
                if attempt.seek and attempt.command is not None
            ),
        )
        left: list[Attempt] = []
        for attempt in attempts:
            command = attempt.command
            found = None if command is None else decided.get((attempt.member, command.stored_key))
            if attempt.future.done():
                continue
            if found is not None and command is not None:
                attempt.resolve(replayed(found, command.fingerprint, wallets[attempt.member]))
            elif attempt in blocked:
                self.again.append(attempt)
            else:
                left.append(attempt)
        return wallets, left

    async def _wallets(self, members: list[str], stale: set[str]) -> dict[str, Wallet]:
        wallets: dict[str, Wallet] = {}
        async for document in self.wallets.find({"_id": {"$in": members}}):
            wallets[document["_id"]] = wallet_from(document)
        behind = {
            member: wallets[member].sequence if member in wallets else 0
            for member in members
            if member in stale or member not in wallets
        }
        newer = await self.journal.after(behind)
        self.behind.update(newer)
        for member in behind:
            wallet = wallets.get(member, Wallet(member=member))
            for entry in newer.get(member, ()):
                self.caught_up.append((wallet, entry))
                wallet = apply(wallet, entry)
            wallets[member] = wallet
        return wallets

    async def _claim(self, attempts: list[Attempt]) -> set[Attempt]:
        """Claims what the commands must own; the attempts that must wait for another claim's owner."""
        commands = [attempt.command for attempt in attempts if attempt.command is not None]
        blocked: set[Attempt] = set()
        for attempt, claimed in zip(attempts, await claim_all(self.journal, commands), strict=True):
            attempt.claimed = not claimed.is_blocked
            attempt.duplicate_of = claimed.duplicate_of
            if claimed.is_blocked:
                blocked.add(attempt)
            elif claimed.used_by is not None:
                assert attempt.command is not None
                attempt.resolve(await replay(self.journal, claimed.used_by, attempt.command.fingerprint))
            elif claimed.is_used_elsewhere:
                wallet = await self.journal.wallet(attempt.member)
                attempt.resolve(Outcome(decided=used_elsewhere(), wallet=wallet, replayed=False))
        return blocked

    async def _decide(self, attempts: list[Attempt], wallets: Mapping[str, Wallet]) -> dict[str, _Chain]:
        chains: dict[str, _Chain] = {}
        readers: set[str] = set()
        ready: list[Attempt] = []
        for attempt in attempts:
            fresh = attempt.member not in chains
            if fresh:
                try:
                    chains[attempt.member] = self._settled(wallets[attempt.member])
                except Exception as error:  # one broken wallet must not harm its neighbours
                    log.exception("settle.broken", member=attempt.member)
                    attempt.fail(error)
                    continue
            command = attempt.command
            if command is not None and command.load is not None:
                if not fresh or chains[attempt.member].entries:
                    self.again.append(attempt)
                    continue
                readers.add(attempt.member)
            elif attempt.member in readers:
                self.again.append(attempt)
                continue
            ready.append(attempt)
        await asyncio.gather(*(self._load(attempt, wallets) for attempt in ready))
        for attempt in ready:
            chain = chains[attempt.member]
            if attempt.command is None:
                chain.touched.append(attempt)
                continue
            try:
                self._decide_one(attempt, attempt.command, chain)
            except Exception as error:  # one broken decision must not harm its neighbours
                log.exception("decide.broken", operation=attempt.command.operation)
                attempt.fail(error)
        return chains

    def _settled(self, wallet: Wallet) -> _Chain:
        chain = _Chain(wallets=[wallet])
        for entry in due_entries(wallet, self.programme, now=self.now):
            chain.push(entry, None)
        return chain

    async def _load(self, attempt: Attempt, wallets: Mapping[str, Wallet]) -> None:
        if attempt.command is not None and attempt.command.load is not None:
            attempt.evidence = await attempt.command.load(self.journal, wallets[attempt.member])

    def _decide_one(self, attempt: Attempt, command: Command, chain: _Chain) -> None:
        if attempt.duplicate_of is not None:
            decided: Entry | Problem = duplicate_receipt(command, attempt.duplicate_of)
        else:
            decided = command.decide(
                situation_of(command, chain.wallet, self.programme, now=self.now, evidence=attempt.evidence)
            )
        if isinstance(decided, Entry):
            chain.push(decided, attempt)
        elif decided.kept:
            chain.refused.append((attempt, refusal_of(command, decided, self.now), len(chain.entries)))
        else:
            self.unkept.append((attempt, decided))

    async def _insert(self, chains: Mapping[str, _Chain]) -> None:
        """Insert the entries: all first and only ones in one unordered command, longer chains each in order.

        A later entry of a chain stands on the one before it, so it must not be tried when that one failed.
        """
        single = [chain for chain in chains.values() if len(chain.entries) == 1]
        longer = [chain for chain in chains.values() if len(chain.entries) > 1]
        await asyncio.gather(self._insert_single(single), *(self._insert_chain(chain) for chain in longer))

    async def _insert_single(self, chains: Sequence[_Chain]) -> None:
        if not chains:
            return
        failed: set[int] = set()
        try:
            await self.store.journal.insert_many([entry_document(chain.entries[0]) for chain in chains], ordered=False)
        except BulkWriteError as error:
            failed = {failure["index"] for failure in duplicates_in(error)}
        for index, chain in enumerate(chains):
            chain.inserted = int(index not in failed)

    async def _insert_chain(self, chain: _Chain) -> None:
        try:
            await self.store.journal.insert_many([entry_document(entry) for entry in chain.entries], ordered=True)
            chain.inserted = len(chain.entries)
        except BulkWriteError as error:
            (failure,) = duplicates_in(error)
            chain.inserted = failure["index"]

    async def _keep_refusals(self, chains: Mapping[str, _Chain]) -> None:
        unproven = {
            member: chain.wallets[0].sequence
            for member, chain in chains.items()
            if chain.refused and not chain.inserted
        }
        newer = await self.journal.after(unproven)
        standing: list[tuple[Attempt, Refusal, Wallet]] = []
        for member, chain in chains.items():
            for attempt, refusal, position in chain.refused:
                if member in newer or position > chain.inserted:
                    self._retry(attempt)
                else:
                    standing.append((attempt, refusal, chain.wallets[chain.inserted]))
        if not standing:
            return
        failed: set[int] = set()
        try:
            await self.store.journal.insert_many(
                [refusal_document(refusal) for _, refusal, _ in standing], ordered=False
            )
        except BulkWriteError as error:
            failed = {failure["index"] for failure in duplicates_in(error)}
        for index, (attempt, refusal, wallet) in enumerate(standing):
            if index in failed:
                self._retry(attempt)
            else:
                attempt.resolve(Outcome(decided=refusal.problem, wallet=wallet, replayed=False))

    async def _write_wallets(self, chains: Mapping[str, _Chain]) -> None:
        """The totals after what was inserted, and those that were found behind, never over a later one.

        The journal is the truth, so w:1 will do.
        """
        writes = [
            ReplaceOne(
                {"_id": member, "seq": {"$lt": chain.wallets[chain.inserted].sequence}},
                wallet_document(chain.wallets[chain.inserted]),
                upsert=True,
            )
            for member, chain in chains.items()
            if chain.inserted or member in self.behind
        ]
        if not writes:
            return
        await self._write_over(self.store.vouchers, self._voucher_writes(chains))
        await self._write_over(self.wallets, writes)

    def _voucher_writes(self, chains: Mapping[str, _Chain]) -> list[ReplaceOne[dict[str, Any]]]:
        posted = voucher_writes(
            step
            for chain in chains.values()
            for step in zip(chain.wallets, chain.entries[: chain.inserted], strict=False)
        )
        return voucher_writes(self.caught_up) + posted

    @staticmethod
    async def _write_over(
        collection: AsyncCollection[dict[str, Any]], writes: list[ReplaceOne[dict[str, Any]]]
    ) -> None:
        """Replace what is older; what is newer already makes an upsert fail as a duplicate, and stays."""
        if not writes:
            return
        try:
            await collection.bulk_write(writes, ordered=False)
        except BulkWriteError as error:
            duplicates_in(error)

    def _answer(self, chains: Mapping[str, _Chain]) -> None:
        for chain in chains.values():
            for index, attempt in enumerate(chain.owners):
                if attempt is None:
                    continue
                if index < chain.inserted:
                    outcome = Outcome(decided=chain.entries[index], wallet=chain.wallets[index + 1], replayed=False)
                    attempt.resolve(outcome)
                else:
                    self._retry(attempt)
            for attempt in chain.touched:
                if chain.inserted < len(chain.entries):
                    self._retry(attempt)
                else:
                    attempt.resolve(None)

    async def _answer_unkept(self) -> None:
        """What is not kept is answered only when nothing was decided under the key before (SEMANTICS §1.2)."""
        if not self.unkept:
            return
        keys = [(attempt.member, _key(attempt)) for attempt, _ in self.unkept]
        decided = await self.journal.decided(keys)
        await release(
            self.journal,
            [
                attempt.command
                for attempt, _ in self.unkept
                if attempt.command is not None and attempt.claimed and (attempt.member, _key(attempt)) not in decided
            ],
        )
        for attempt, problem in self.unkept:
            assert attempt.command is not None
            found = decided.get((attempt.member, _key(attempt)))
            wallet = await self.journal.wallet(attempt.member)
            if found is not None:
                attempt.resolve(replayed(found, attempt.command.fingerprint, wallet))
            else:
                attempt.resolve(Outcome(decided=problem, wallet=wallet, replayed=False))

    def _answer_followers(self) -> None:
        for attempt, leader in self.followers:
            if not leader.future.done() or leader.future.cancelled():
                self.again.append(attempt)
                continue
            error = leader.future.exception()
            if error is not None:
                self.again.append(attempt)
                continue
            outcome = leader.future.result()
            assert outcome is not None
            assert attempt.command is not None
            assert leader.command is not None
            if attempt.command.fingerprint.digest == leader.command.fingerprint.digest:
                replayed = isinstance(outcome.decided, Entry) or outcome.decided.kept
                attempt.resolve(Outcome(decided=outcome.decided, wallet=outcome.wallet, replayed=replayed))
            else:
                self._retry(attempt)

    def _retry(self, attempt: Attempt) -> None:
        attempt.seek = True
        self.again.append(attempt)


def _key(attempt: Attempt) -> str:
    assert attempt.command is not None
    return attempt.command.stored_key
