"""A trail: one member's journal as the audit follows it, with every hash and every wallet derived anew.

It is given the entries one by one, and notes on the way what differs. Pure: the audit reads, and says what was found.
"""

import hashlib
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import orjson

from domain.ledger.accounts import Account
from domain.ledger.claim import owned_receipt
from domain.ledger.command import claim_of_key
from domain.ledger.entry import GENESIS, Entry, EntryKind, entry_from, entry_id
from domain.ledger.posting import AVAILABLE, HELD, OWED, PENDING
from domain.ledger.wallet import Wallet, apply, assets_of, balances, wallet_from
from domain.store.slots import slot_of

_UNHASHED: Final = ("_id", "slot", "hash", "note")
_CANONICAL: Final = orjson.OPT_SORT_KEYS | orjson.OPT_UTC_Z
MALFORMED: Final = (KeyError, ValueError, TypeError, AttributeError, AssertionError)


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """`what` differs; `member` and `entry` say where, None where it concerns all."""

    member: str | None
    entry: str | None
    what: str


@dataclass(slots=True)
class Trail:
    """One member's journal on its way past: the running total, and what differs so far."""

    member: str
    stored: Mapping[str, Any] | None
    is_joined: bool
    wallet: Wallet = field(init=False)
    slot: int = field(init=False)
    entries: int = 0
    is_broken: bool = False
    has_join: bool = False
    head: str = GENESIS
    sums: Counter[Account] = field(default_factory=Counter)
    claims: dict[str, tuple[str, str]] = field(default_factory=dict)
    differences: list[Difference] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.wallet = Wallet(member=self.member)
        self.slot = slot_of(self.member)

    def differ(self, entry: str | None, what: str) -> None:
        self.differences.append(Difference(member=self.member, entry=entry, what=what))

    def follow(self, document: Mapping[str, Any]) -> None:
        """The next entry of the member's."""
        identifier, sequence = document["_id"], document["seq"]
        self.entries += 1
        if document.get("hash") != _derived_hash(document):
            self.differ(identifier, "its hash is not that of its content")
        if identifier != entry_id(self.member, sequence) or document.get("slot") != self.slot:
            self.differ(identifier, "its id or slot is not its member's and sequence's")
        if self.is_broken:
            return
        try:
            entry = entry_from(document)
        except MALFORMED as error:
            self.differ(identifier, f"it cannot be read: {error!r}")
            self.is_broken = True
            return
        if entry.sequence != self.wallet.sequence + 1:
            self.differ(identifier, f"the entry before it is number {self.wallet.sequence}; there is a gap")
            self.is_broken = True
        elif entry.previous_hash != self.head:
            self.differ(identifier, "it does not stand on the hash of the entry before it")
            self.is_broken = True
        else:
            self._apply(entry)
        self._note(entry)

    def finish(self) -> None:
        """What can be said when the member's last entry has passed."""
        if not self.entries:
            if self.stored is not None:
                self.differ(None, "there is a wallet without a journal")
        elif self.stored is not None and self.stored["seq"] > self.wallet.sequence and not self.is_broken:
            self.differ(None, f"the wallet is at {self.stored['seq']}, its journal ends at {self.wallet.sequence}")
        if self.is_joined and not self.has_join:
            self.differ(None, "the member joined, but there is no JOIN entry")
        if not self.is_broken:
            self._balance()

    @property
    def is_behind(self) -> bool:
        return self.entries > 0 and (self.stored is None or self.stored["seq"] < self.wallet.sequence)

    def _apply(self, entry: Entry) -> None:
        try:
            self.wallet = wallet = apply(self.wallet, entry)
            self.head = entry.hash
            effective = balances(wallet, entry.posted_at)
        except MALFORMED as error:
            self.differ(entry.id, f"it cannot be applied to the wallet before it: {error!r}")
            self.is_broken = True
            return
        if any(lot.remaining <= 0 for lot in wallet.lots) or any(owed < 0 for owed in wallet.owed.values()):
            self.differ(entry.id, "it leaves a lot or a debt below zero")
        if effective != entry.balances:
            self.differ(entry.id, f"it says that it left {entry.balances}; it left {effective}")
        if self.stored is not None and self.stored["seq"] == wallet.sequence:
            self._compare(entry.id, self.stored)

    def _compare(self, identifier: str, stored: Mapping[str, Any]) -> None:
        try:
            kept = wallet_from(stored)
        except MALFORMED as error:
            self.differ(identifier, f"the stored wallet cannot be read: {error!r}")
            return
        if kept != self.wallet:
            names = [name for name in Wallet.__slots__ if getattr(kept, name) != getattr(self.wallet, name)]
            self.differ(identifier, f"the stored wallet differs from its journal in {', '.join(names)}")

    def _note(self, entry: Entry) -> None:
        if entry.note is not None and entry.note.digest != entry.note_digest:
            self.differ(entry.id, "its note is not the one that was sealed")
        self.has_join = self.has_join or entry.kind is EntryKind.JOIN
        for posting in entry.postings:
            self.sums[posting.source, posting.asset] -= posting.amount
            self.sums[posting.destination, posting.asset] += posting.amount
        if entry.actor.startswith(("partner:", "staff:")):
            self.claims[claim_of_key(entry.key)] = (entry.id, entry.key)
        if (receipt := owned_receipt(entry)) is not None:
            if receipt in self.claims:
                self.differ(entry.id, f"{self.claims[receipt][0]} has the same receipt {entry.receipt}")
            self.claims[receipt] = (entry.id, entry.key)

    def _balance(self) -> None:
        held_parts = [part for hold in self.wallet.holds.values() for part in hold.parts]
        for asset in assets_of(self.wallet) | {asset for _, asset in self.sums}:
            lots = [lot for lot in self.wallet.lots if lot.asset == asset]
            for account, held in (
                (AVAILABLE, sum(lot.remaining for lot in lots if lot.key.pending_until is None)),
                (PENDING, sum(lot.remaining for lot in lots if lot.key.pending_until is not None)),
                (HELD, sum(part.amount for part in held_parts if part.asset == asset)),
                (OWED, -self.wallet.owed.get(asset, 0)),
            ):
                if self.sums[account, asset] != held:
                    moved = self.sums[account, asset]
                    self.differ(None, f"postings left {moved} of {asset} on {account}, the wallet has {held}")


def _derived_hash(document: Mapping[str, Any]) -> str:
    """The hash of a stored entry, from the definition: SHA-256 over the previous hash and the canonical entry."""
    part = {name: value for name, value in document.items() if name not in _UNHASHED}
    digest = hashlib.sha256(str(part.get("prev_hash")).encode())
    try:
        digest.update(orjson.dumps(part, option=_CANONICAL))
    except orjson.JSONEncodeError:
        return ""
    return digest.hexdigest()
