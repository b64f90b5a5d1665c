"""A claim: what must be owned across members before an entry is posted (DESIGN §2).

A receipt belongs to one member, and a key of a caller who speaks for many belongs to one attempt. A claim is
an insert that travels ahead of the journal's; its owner is the member and key that stand in it. A claim whose
owner was refused, or was used for another receipt, is free; one whose decision never came, because its
caller died, is taken over after :data:`ABANDONED` by whoever asks next, after a look into the journal.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any

from pymongo import UpdateOne
from pymongo.errors import BulkWriteError

from domain.ledger.command import RECEIPT_OWNERS, Command, claim_of_key, claim_of_receipt
from domain.ledger.entry import Decision, Entry
from domain.ledger.journal import Journal

ABANDONED = timedelta(seconds=60)
"""Twice what is well past the commit's deadline and the driver's time-outs: whoever finds his own claim older than half
of it claims anew, so that nobody takes it over while he commits."""

_DUPLICATE_KEY = 11000
_FREE = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True, kw_only=True)
class Claimed:
    """What became of a command's claims; all of them are its own unless something is said here.

    `is_blocked` while another owner may still decide; `duplicate_of` is the entry that owns the receipt; `used_by`
    is what was decided under the key for another member; `is_used_elsewhere` for a key whose operation posts nothing.
    """

    is_blocked: bool = False
    duplicate_of: str | None = None
    used_by: Decision | None = None
    is_used_elsewhere: bool = False

    @property
    def is_hopeless(self) -> bool:
        """Whether the command's key is used up, so that nothing that it claims can become its own."""
        return self.used_by is not None or self.is_used_elsewhere


async def claim_all(journal: Journal, commands: Sequence[Command]) -> list[Claimed]:
    """Claim for each command; of two commands that want the same, the first goes on and the other is blocked."""
    wanted: dict[str, int] = {}
    results = [Claimed() for _ in commands]
    for index, command in enumerate(commands):
        for claim in command.claims:
            if wanted.setdefault(claim, index) != index:
                results[index] = Claimed(is_blocked=True)
    if not wanted:
        return results
    documents: list[dict[str, Any]] = [
        {"_id": claim, "member": commands[index].member, "key": commands[index].stored_key, "at": _real_now()}
        for claim, index in wanted.items()
    ]
    try:
        await journal.store.claims.insert_many(documents, ordered=False)
    except BulkWriteError as error:
        taken = {documents[failure["index"]]["_id"] for failure in duplicates_in(error)}
        for index, contested in await _contest(journal, commands, {claim: wanted[claim] for claim in taken}):
            results[index] = _worse(results[index], contested)
        hopeless = {index for index, result in enumerate(results) if result.is_hopeless}
        made = [one for one in documents if one["_id"] not in taken and wanted[one["_id"]] in hopeless]
        if made:
            await journal.store.claims.delete_many({"$or": made})
    return results


async def release(journal: Journal, commands: Sequence[Command]) -> None:
    """Free what commands that came to no decision own, so that another key or member can have it at once."""
    writes = [
        UpdateOne({"_id": claim, "member": command.member, "key": command.stored_key}, {"$set": {"at": _FREE}})
        for command in commands
        for claim in command.claims
    ]
    if writes:
        await journal.store.claims.bulk_write(writes, ordered=False)


async def claim_on_key(journal: Journal, stored_key: str) -> Mapping[str, Any] | None:
    """The claim on a key; one whose attempt came to no decision is dropped, so that an enrolment can have the key."""
    claim = await journal.store.claims.find_one({"_id": claim_of_key(stored_key)})
    if claim is None or "enrolled" in claim or not _is_abandoned(claim):
        return claim
    if await journal.decided([(claim["member"], claim["key"])]):
        return claim
    await journal.store.claims.delete_one({name: claim[name] for name in ("_id", "member", "key", "at")})
    return None


def owned_receipt(entry: Entry) -> str | None:
    """The claim on the receipt number that the entry owns; None when it owns none."""
    if entry.receipt is None or entry.kind not in RECEIPT_OWNERS:
        return None
    return claim_of_receipt(entry.kind, entry.actor, entry.receipt)


def duplicates_in(error: BulkWriteError) -> list[Mapping[str, Any]]:
    """The duplicate key failures of a bulk write; any other failure is raised on."""
    failures: list[Mapping[str, Any]] = error.details["writeErrors"]
    if error.details.get("writeConcernErrors") or any(one["code"] != _DUPLICATE_KEY for one in failures):
        raise error
    return failures


async def _contest(
    journal: Journal, commands: Sequence[Command], taken: Mapping[str, int]
) -> list[tuple[int, Claimed]]:
    others: list[dict[str, Any]] = []
    free: list[dict[str, Any]] = []
    async for claim in journal.store.claims.find({"_id": {"$in": list(taken)}}):
        if (claim["member"], claim["key"]) != _owner(commands[taken[claim["_id"]]]):
            others.append(claim)
        elif _is_older(claim, ABANDONED / 2):
            free.append(claim)
    decided = await journal.decided((claim["member"], claim["key"]) for claim in others)
    results: list[tuple[int, Claimed]] = []
    for claim in others:
        index = taken[claim["_id"]]
        contested = _judge(commands[index], claim, decided.get((claim["member"], claim["key"])))
        if contested is None:
            free.append(claim)
        else:
            results.append((index, contested))
    hopeless = {index for index, contested in results if contested.is_hopeless}
    for claim in free:
        index = taken[claim["_id"]]
        if index not in hopeless:
            results.append((index, Claimed(is_blocked=not await _take_over(journal, claim, commands[index]))))
    return results


def _judge(command: Command, claim: Mapping[str, Any], found: Decision | None) -> Claimed | None:
    """What another's claim means for the command; None when the claim is free to take over."""
    if "enrolled" in claim:
        return Claimed(is_used_elsewhere=True)
    if claim["_id"] == claim_of_key(command.stored_key) and found is not None:
        return Claimed(used_by=found)
    if isinstance(found, Entry) and claim["_id"] == owned_receipt(found):
        return Claimed(duplicate_of=found.id)
    return None if found is not None or _is_abandoned(claim) else Claimed(is_blocked=True)


def _is_abandoned(claim: Mapping[str, Any]) -> bool:
    return _is_older(claim, ABANDONED)


def _is_older(claim: Mapping[str, Any], age: timedelta) -> bool:
    return bool(claim["at"] < _real_now() - age)


async def _take_over(journal: Journal, claim: Mapping[str, Any], command: Command) -> bool:
    result = await journal.store.claims.update_one(
        {name: claim[name] for name in ("_id", "member", "key", "at")},
        {"$set": {"member": command.member, "key": command.stored_key, "at": _real_now()}},
    )
    return result.modified_count == 1


def _owner(command: Command) -> tuple[str, str]:
    return command.member, command.stored_key


def _worse(one: Claimed, other: Claimed) -> Claimed:
    """Both findings on one command: a used key outweighs a recorded receipt, which outweighs waiting."""
    return replace(
        one,
        is_blocked=one.is_blocked or other.is_blocked,
        duplicate_of=one.duplicate_of or other.duplicate_of,
        used_by=one.used_by or other.used_by,
        is_used_elsewhere=one.is_used_elsewhere or other.is_used_elsewhere,
    )


def _real_now() -> datetime:
    """Claims are abandoned by real time, which a sandbox's clock does not move."""
    return datetime.now(UTC)
