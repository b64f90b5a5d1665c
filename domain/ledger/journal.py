"""Reading the journal: entries by id, by key, by what they reverse, and what came after a sequence.

Nothing here writes: that is for batches (:mod:`domain.ledger.batch`) and the joint commit
(:mod:`domain.ledger.joint`).
"""

import asyncio
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from pymongo.asynchronous.collection import AsyncCollection
from pymongo.read_concern import ReadConcern

from domain.ledger.bonus import entry_of_bonus
from domain.ledger.entry import Decision, Entry, EntryKind, decided_from, entry_from, member_of_entry
from domain.ledger.voucher import VoucherStatus
from domain.ledger.wallet import Wallet, fold, wallet_from
from domain.store.connection import Store

MOST_DIGITS = 18
"""Of a sequence: what 64 bits hold."""

MAX_FOLD = 10_000
"""No wallet is further behind its journal than this in one read; an assertion guards it."""


@dataclass(frozen=True, slots=True)
class Journal:
    """The journal of one store, for reading."""

    store: Store

    async def entry(self, identifier: str) -> Entry | None:
        """The entry of that id, or None."""
        document = await self.store.journal.find_one({"_id": identifier, "seq": {"$exists": True}})
        return None if document is None else entry_from(document)

    async def wallet(self, member: str) -> Wallet:
        """The member's wallet as the journal has it, whether or not the stored total has caught up."""
        document, newest = await asyncio.gather(
            self.store.wallets.find_one({"_id": member}),
            self.store.journal.find_one({"member": member, "seq": {"$exists": True}}, {"seq": 1}, sort=[("seq", -1)]),
        )
        wallet = Wallet(member=member) if document is None else wallet_from(document)
        if newest is None or newest["seq"] <= wallet.sequence:
            return wallet
        return fold(wallet, (await self.after({member: wallet.sequence})).get(member, ()))

    async def after(self, sequences: Mapping[str, int]) -> dict[str, list[Entry]]:
        """For each member, the entries after the given sequence, in order; members without any are left out."""
        if not sequences:
            return {}
        wanted = [{"member": member, "seq": {"$gt": sequence}} for member, sequence in sequences.items()]
        found: dict[str, list[Entry]] = {}
        async for document in self.store.journal.find({"$or": wanted}).sort([("member", 1), ("seq", 1)]):
            found.setdefault(document["member"], []).append(entry_from(document))
            assert len(found[document["member"]]) <= MAX_FOLD, document["member"]
        return found

    @property
    def _acknowledged(self) -> AsyncCollection[dict[str, Any]]:
        """What a failover cannot take back: an outcome that is answered from reading alone must stand."""
        return self.store.journal.with_options(read_concern=ReadConcern("majority"))

    async def decided(self, keys: Iterable[tuple[str, str]]) -> dict[tuple[str, str], Decision]:
        """What was decided under each (member, stored key); pairs without a decision are left out."""
        wanted = [{"member": member, "key": key} for member, key in keys]
        if not wanted:
            return {}
        cursor = self._acknowledged.find({"$or": wanted})
        return {(document["member"], document["key"]): decided_from(document) async for document in cursor}

    async def reversals(self, entry: Entry) -> list[Entry]:
        """The entries that reverse this one, in order."""
        cursor = self.store.journal.find({"member": entry.member, "reverses": entry.id}).sort("seq", 1)
        return [entry_from(document) async for document in cursor]

    async def of_kind(self, member: str, kind: EntryKind, *, after: int) -> list[Entry]:
        """The member's entries of that kind after a sequence, in order."""
        wanted = {"member": member, "seq": {"$gt": after}, "kind": kind.value}
        return [entry_from(document) async for document in self.store.journal.find(wanted).sort("seq", 1)]

    async def ending_bonus(self, member: str, bonus: str) -> Entry | None:
        """The entry that claimed, expired or cancelled the bonus, or None. It stands after the one that granted it."""
        granted = entry_of_bonus(bonus) or ""
        if member_of_entry(granted) != member or len(granted) > len(member) + MOST_DIGITS:
            return None
        _, _, sequence = granted.rpartition(".")
        wanted = {"member": member, "seq": {"$gt": int(sequence)}, "changes.ended_bonuses": bonus}
        document = await self.store.journal.find_one(wanted)
        return None if document is None else entry_from(document)

    async def ended_voucher(self, member: str, voucher: str) -> VoucherStatus | None:
        """How the voucher ended last, or None. One that was used and came back may have ended more than once."""
        wanted = {"member": member, "seq": {"$exists": True}, "changes.ended_vouchers.id": voucher}
        document = await self.store.journal.find_one(wanted, sort=[("seq", -1)])
        if document is None:
            return None
        ends = {end.id: end.status for end in entry_from(document).changes.ended_vouchers}
        return ends[voucher]

    async def vouchers_used_on(self, purchase: Entry) -> list[Entry]:
        """The VOUCHER_USED entries of the same partner on the purchase's receipt."""
        wanted = {
            "member": purchase.member,
            "seq": {"$exists": True},
            "kind": EntryKind.VOUCHER_USED.value,
            "receipt": purchase.receipt,
            "actor": purchase.actor,
        }
        return [entry_from(document) async for document in self.store.journal.find(wanted).sort("seq", 1)]

    async def forgiving(self, member: str, expiries: Iterable[str]) -> list[Entry]:
        """The returns that counted on what these EXPIRE entries took away already."""
        wanted = {"member": member, "returned.forgiven.entry": {"$in": list(expiries)}}
        return [entry_from(document) async for document in self.store.journal.find(wanted).sort("seq", 1)]
