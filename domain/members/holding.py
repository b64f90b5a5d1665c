"""What is held on a member, collection by collection: how it is found, shown to him, and what erasing does to it.

Every collection of the database stands here, those that hold nothing on members too, so that a new one cannot be
forgotten when a member asks for his data or to be forgotten (SEMANTICS §9.5). A test compares the two lists.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from domain.store import collections


class OnErasure(StrEnum):
    """DELETE removes the documents, CLEAR takes `cleared` out of them, KEEP leaves what says nothing of a person."""

    DELETE = "DELETE"
    CLEAR = "CLEAR"
    KEEP = "KEEP"


@dataclass(frozen=True, slots=True, kw_only=True)
class Holding:
    """The documents of one collection whose `by` is the member's id.

    `hidden` fields are secrets, or mean nothing outside of this server, and are not shown. `why` is for what is kept.
    """

    on_erasure: OnErasure
    by: str = "member"
    shown: bool = True
    hidden: tuple[str, ...] = ()
    cleared: tuple[str, ...] = ()
    why: str = ""


def _deleted(*, by: str = "member", shown: bool = True, hidden: tuple[str, ...] = ()) -> Holding:
    return Holding(on_erasure=OnErasure.DELETE, by=by, shown=shown, hidden=(*hidden, *_OURS))


def _kept(why: str, *, by: str = "member", shown: bool = True, hidden: tuple[str, ...] = ()) -> Holding:
    return Holding(on_erasure=OnErasure.KEEP, by=by, shown=shown, hidden=(*hidden, *_OURS), why=why)


def _cleared(*cleared: str, by: str = "member", shown: bool = True, hidden: tuple[str, ...] = ()) -> Holding:
    return Holding(on_erasure=OnErasure.CLEAR, by=by, shown=shown, hidden=(*hidden, *_OURS), cleared=cleared)


_OURS: Final = ("slot", "kept_until")
_LEDGER: Final = "value under the opaque id, as the books must show it"

HOLDINGS: Final[Mapping[str, Holding | None]] = {
    collections.MEMBERS: _cleared(
        "profile",
        "zones",
        "subjects",
        "references",
        "linked",
        "tags",
        "enrolled_by",
        "referral_code",
        "consents",
        "preferences",
        "birthday_due_at",
        by="_id",
    ),
    collections.WALLETS: _kept(_LEDGER, by="_id"),
    collections.JOURNAL: _cleared("note"),
    collections.CLAIMS: _cleared("enrolled.leaves", shown=False),
    collections.VOUCHERS: _kept(_LEDGER),
    collections.MEMBER_DAYS: _kept("days and amounts under the opaque id, for reports", by="_id"),
    collections.TOP_UPS: _kept(_LEDGER),
    collections.TOP_UP_REFUNDS: _kept(_LEDGER),
    collections.PAYERS: _cleared("customer", "method", "auto", by="_id"),
    collections.SESSIONS: _deleted(hidden=("token_hmac",)),
    collections.GRANTS: _deleted(hidden=("nonce",)),
    collections.AUTHORIZATIONS: _deleted(shown=False),
    collections.CODES: _deleted(shown=False),
    collections.PRESENCES: _deleted(),
    collections.FEEDBACK: _deleted(),
    collections.SIGNALS: _deleted(),
    collections.DEVICES: _deleted(),
    collections.INBOX: _deleted(),
    collections.TRANSITIONS: _deleted(),
    collections.RUNS: _deleted(hidden=("revision", "claim", "claimed_until")),
    collections.RECIPIENTS: _deleted(by="_id", hidden=("revision", "version")),
    collections.DELIVERIES: _deleted(hidden=("attempts",)),
    collections.PARTNERS: None,
    collections.CASCADE_STATES: None,
    collections.PROGRAMMES: None,
    collections.SIGNING_KEYS: None,
    collections.LEASES: None,
    collections.CLOCK: None,
    collections.ACCOUNTS: None,
    collections.DAY_SUMS: None,
    collections.STOCK: None,
    collections.PROVIDER_EVENTS: None,
    collections.SANDBOX_PAYMENTS: None,
    collections.WRONG_CODES: None,
    collections.ASSERTIONS: None,
    collections.DENIALS: None,
    collections.BUCKETS: None,
    collections.PERSISTED_DOCUMENTS: None,
}
"""None for a collection that holds nothing on any member, or nothing but his opaque id for a short while."""
