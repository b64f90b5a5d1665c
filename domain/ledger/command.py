"""A command: what somebody asks of one wallet, once.

The envelope names the member, the caller and the caller's key; inside it a pure `decide` turns the state
of the wallet into an entry or a problem. The key belongs to the caller and names one attempt; the
fingerprint covers the operation's name and its whole input (SEMANTICS §1).
"""

import hashlib
import secrets
import zlib
from collections.abc import Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import orjson

from domain.ledger.draft import Situation
from domain.ledger.entry import Entry
from domain.ledger.journal import Journal
from domain.ledger.wallet import Wallet
from domain.problems import IdempotencyMismatch, Problem
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
    is the partner's receipt number that the entry will own, if any. `seed` is what codes are drawn from.
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
            claims.append(f"receipt|{self.actor}|{self.receipt}")
        return tuple(claims)


def claim_of_key(stored_key: str) -> str:
    """The id of the claim on a key of a caller who speaks for many members."""
    return f"key|{stored_key}"


def fingerprint_of(operation: str, given: Mapping[str, Any]) -> Fingerprint:
    """The fingerprint of an operation's input: nested mappings and lists of JSON values.

    Absent and null are the same, and the idempotency key itself is left out.
    """
    leaves = sorted(_leaves("", {name: value for name, value in given.items() if name != "idempotencyKey"}))
    body = orjson.dumps([operation, leaves])
    return Fingerprint(
        digest=hashlib.sha256(body).hexdigest(),
        leaves="\n".join(f"{path}={zlib.crc32(text.encode()):08x}" for path, text in leaves),
    )


def mismatch(stored: Fingerprint, given: Fingerprint) -> IdempotencyMismatch:
    """The key was used with another input: names the paths at which the two differ (SEMANTICS §1.2)."""
    differs = differing_paths(stored, given)
    return IdempotencyMismatch(
        message=f"The key was used before with another input; it differs at {', '.join(differs)}. Use a new key.",
        differs=differs,
    )


def used_elsewhere(command: Command) -> IdempotencyMismatch:
    """The key was used for another operation, whose decision stands outside the journal."""
    return IdempotencyMismatch(
        message=f"The key was used before for another operation than {command.operation}. Use a new key.",
        differs=("operation",),
    )


def differing_paths(one: Fingerprint, other: Fingerprint) -> tuple[str, ...]:
    """The input paths at which two inputs differ, sorted; ``operation`` when only that does."""
    ours, theirs = (dict(line.rsplit("=", 1) for line in side.leaves.splitlines()) for side in (one, other))
    paths = {path for path in ours.keys() | theirs.keys() if ours.get(path) != theirs.get(path)}
    return tuple(sorted(paths)) or ("operation",)


def _leaves(path: str, value: Any) -> Iterator[tuple[str, str]]:
    if value is None:
        return
    if isinstance(value, Mapping):
        for name, inner in value.items():
            step = "".join(str(name).split())
            yield from _leaves(f"{path}.{step}" if path else step, inner)
    elif isinstance(value, list | tuple):
        for index, inner in enumerate(value):
            yield from _leaves(f"{path}.{index}", inner)
    else:
        yield path, orjson.dumps(value, option=orjson.OPT_UTC_Z).decode()
