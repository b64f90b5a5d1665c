"""A command: what somebody asks of one wallet, once.

The envelope names the member, the caller and the caller's key; inside it a pure `decide` turns the state
of the wallet into an entry or a problem. The key belongs to the caller and names one attempt; the
fingerprint covers the operation's name and its whole input (SEMANTICS §1).
"""

import hashlib
import secrets
import zlib
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final

import orjson

from domain.ledger.draft import Situation
from domain.ledger.entry import Entry, EntryKind, Refusal
from domain.ledger.journal import Journal
from domain.ledger.wallet import Wallet
from domain.problems import DuplicateReceipt, IdempotencyMismatch, Problem
from domain.programme.programme import Programme


@dataclass(frozen=True, slots=True, kw_only=True)
class Fingerprint:
    """`digest` is equal for equal inputs; `leaves` (``path=checksum`` lines) tells where two inputs differ."""

    digest: str
    leaves: str


Decide = Callable[[Situation], Entry | Problem]
"""Pure: the settled wallet and what was read for it, in; an entry or a problem, out."""

Check = Callable[[Programme, datetime], Problem | None]
"""Pure: what is wrong with the input whatever the wallet holds. Runs before anything is claimed."""

Load = Callable[[Journal, Wallet], Awaitable[Any]]
"""Reads from the journal what `decide` needs beside the wallet. It runs after the wallet was read, so the
lock on the wallet's sequence catches whatever it missed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """One attempt of one caller on one wallet.

    `actor` is the caller (``partner:<client>``, ``member:<id>``, ``staff:<subject>``, ``system``); `receipt`
    is the partner's receipt number that the entry will own among those of `receipt_of`, if any: a purchase and a
    top-up may stand on one receipt. `seed` is what codes are drawn from.
    """

    member: str
    actor: str
    key: str
    operation: str
    fingerprint: Fingerprint
    decide: Decide
    check: Check | None = None
    load: Load | None = None
    receipt: str | None = None
    receipt_of: EntryKind = EntryKind.PURCHASE
    seed: bytes = field(default_factory=lambda: secrets.token_bytes(16), repr=False)

    @property
    def stored_key(self) -> str:
        """The key within its caller, as the journal keeps it."""
        return f"{self.actor}|{self.key}"

    @property
    def claims(self) -> tuple[str, ...]:
        """What this command must own before its entry is posted, beyond the member's own documents.

        A caller who speaks for many members owns his keys across them, and his receipts (SEMANTICS §1.5).
        """
        claims: list[str] = []
        if self.actor.startswith(("partner:", "staff:")):
            claims.append(claim_of_key(self.stored_key))
        if self.receipt is not None:
            claims.append(claim_of_receipt(self.receipt_of, self.actor, self.receipt))
        return tuple(claims)


def situation_of(
    command: Command, wallet: Wallet, programme: Programme, *, now: datetime, evidence: Any = None
) -> Situation:
    """What the command is decided on: the settled wallet, and what its `load` read."""
    return Situation(
        wallet=wallet,
        programme=programme,
        now=now,
        actor=command.actor,
        key=command.stored_key,
        operation=command.operation,
        fingerprint=command.fingerprint.digest,
        leaves=command.fingerprint.leaves,
        seed=command.seed,
        evidence=evidence,
    )


def refusal_of(command: Command, problem: Problem, now: datetime) -> Refusal:
    """The decision against the command, as it is kept."""
    return Refusal(
        member=command.member,
        posted_at=now,
        actor=command.actor,
        key=command.stored_key,
        operation=command.operation,
        fingerprint=command.fingerprint.digest,
        leaves=command.fingerprint.leaves,
        problem=problem,
    )


def claim_of_key(stored_key: str) -> str:
    """The id of the claim on a key of a caller who speaks for many members."""
    return f"key|{stored_key}"


def claim_of_receipt(kind: EntryKind, actor: str, receipt: str) -> str:
    """The id of the claim on a caller's receipt number by an entry of that kind, one of :data:`RECEIPT_OWNERS`."""
    return f"{RECEIPT_OWNERS[kind]}|{actor}|{receipt}"


RECEIPT_OWNERS: Final[Mapping[EntryKind, str]] = {EntryKind.PURCHASE: "receipt", EntryKind.TOP_UP: "top-up"}
"""The entries that own a receipt number, each kind among its own; all others only mention one."""


def fingerprint_of(operation: str, given: Mapping[str, Any]) -> Fingerprint:
    """The fingerprint of an operation's input: nested mappings and lists of JSON values.

    Absent and null are the same, and the idempotency key itself is left out.
    """
    leaves: list[tuple[str, bytes]] = []
    for name, value in given.items():
        if name != "idempotencyKey":
            _add_leaves(leaves, "".join(name.split()), value)
    leaves.sort()
    digest = hashlib.sha256(operation.encode())
    lines: list[str] = []
    for path, text in leaves:
        digest.update(b"\n%b=%b" % (path.encode(), text))
        lines.append(f"{path}={zlib.crc32(text):08x}")
    return Fingerprint(digest=digest.hexdigest(), leaves="\n".join(lines))


def mismatch(stored: Fingerprint, given: Fingerprint) -> IdempotencyMismatch:
    """The key was used with another input: names the paths at which the two differ (SEMANTICS §1.2)."""
    differs = differing_paths(stored, given)
    return IdempotencyMismatch(
        message=f"The key was used before with another input; it differs at {', '.join(differs)}. Use a new key.",
        differs=differs,
    )


def used_elsewhere() -> IdempotencyMismatch:
    """The key was used for another operation, whose input stands outside the journal."""
    return IdempotencyMismatch(
        message="The key was used before for another operation. Use a new key.", differs=("operation",)
    )


def duplicate_receipt(command: Command, first_entry: str) -> DuplicateReceipt:
    """The refusal of a receipt that an entry owns already (SEMANTICS §1.5)."""
    return DuplicateReceipt(
        message=f"Receipt {command.receipt} is recorded already, as entry {first_entry}.", first_entry=first_entry
    )


def differing_paths(one: Fingerprint, other: Fingerprint) -> tuple[str, ...]:
    """The input paths at which two inputs differ, sorted; ``operation`` when only that does."""
    ours, theirs = (dict(line.rsplit("=", 1) for line in side.leaves.splitlines()) for side in (one, other))
    paths = {path for path in ours.keys() | theirs.keys() if ours.get(path) != theirs.get(path)}
    return tuple(sorted(paths)) or ("operation",)


def _add_leaves(leaves: list[tuple[str, bytes]], path: str, value: Any) -> None:
    if value is None:
        return
    if isinstance(value, Mapping):
        for name, inner in value.items():
            _add_leaves(leaves, f"{path}.{''.join(str(name).split())}", inner)
    elif isinstance(value, list | tuple):
        for index, inner in enumerate(value):
            _add_leaves(leaves, f"{path}.{index}", inner)
    else:
        leaves.append((path, orjson.dumps(value, option=orjson.OPT_UTC_Z)))
