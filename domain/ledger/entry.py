"""An entry: what one command did to one wallet, written once and never changed.

The journal holds one document per command that was decided: an entry, or a refusal, or that a top-up was
begun, whose money comes later. An entry carries all that the fold needs, the rule by rule explanation, and a
hash over itself and the entry before it. Free text is kept beside the hashed part and bound to it by a salted
digest, so that it can be erased later without breaking the chain (SEMANTICS §9.5).
"""

import hashlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import date, datetime
from enum import StrEnum
from typing import Any

import orjson

from domain.ledger.bonus import Bonus, bonus_document, bonus_from
from domain.ledger.hold import Hold, hold_document, hold_from
from domain.ledger.lot import LotKey, lot_key_document, lot_key_from
from domain.ledger.plan import RunningPlan, plan_document, plan_from
from domain.ledger.posting import AVAILABLE, POINTS, Posting, is_members, posting_document, posting_from
from domain.ledger.referral import Referral, referral_document, referral_from
from domain.ledger.voucher import (
    Voucher,
    VoucherEnd,
    voucher_document,
    voucher_end_document,
    voucher_end_from,
    voucher_from,
)
from domain.problems import Problem, problem_document, problem_from
from domain.programme.earning import ExplanationRow, UsageChange
from domain.programme.mechanism import Progress, ProgressChanges
from domain.programme.tiers import TierState
from domain.store.slots import slot_of

GENESIS = "0" * 64
"""The previous hash of a member's first entry."""


class EntryKind(StrEnum):
    """What happened; the contract's enumeration."""

    PURCHASE = "PURCHASE"
    RETURN = "RETURN"
    ACTIVITY = "ACTIVITY"
    JOIN = "JOIN"
    REDEEM = "REDEEM"
    VOUCHER_USED = "VOUCHER_USED"
    VOUCHER_CANCELLED = "VOUCHER_CANCELLED"
    CONVERT = "CONVERT"
    DONATE = "DONATE"
    GIFT_SENT = "GIFT_SENT"
    GIFT_RECEIVED = "GIFT_RECEIVED"
    TOP_UP = "TOP_UP"
    TOP_UP_REFUND = "TOP_UP_REFUND"
    HOLD = "HOLD"
    CAPTURE = "CAPTURE"
    VOID = "VOID"
    CHARGE = "CHARGE"
    CHARGE_REFUND = "CHARGE_REFUND"
    BONUS_CLAIM = "BONUS_CLAIM"
    EXPIRE = "EXPIRE"
    MATURE = "MATURE"
    REVIEW = "REVIEW"
    PLAN = "PLAN"
    ADJUST = "ADJUST"
    REFERRAL = "REFERRAL"


@dataclass(frozen=True, slots=True, kw_only=True)
class Changes:
    """What an entry changes beside value. Everything left out stays as it was.

    `idle_until` gives, per asset under the inactivity policy, its new expiry. `metric` adds to the day buckets of
    what can be the tier's metric. `usage_from` and `metric_from` drop what belongs to earlier programme's days, which
    nothing can need any more. `vouchers`, `bonuses` and `hold` are new; the ended ones are named by id. `plan` and
    `referral` are as they are from now on; `ended_plan` is the id of one that lapsed. `progress` are the states of
    mechanisms from now on, by section and key, None for one that ended.
    """

    joined_at: datetime | None = None
    purchases: int = 0
    visits: int = 0
    spend_minor: int = 0
    purchased_at: datetime | None = None
    lifetime_points: int = 0
    idle_until: Mapping[str, datetime] = field(default_factory=dict)
    usage: tuple[UsageChange, ...] = ()
    metric: Mapping[str, int] = field(default_factory=dict)
    tier: TierState | None = None
    usage_from: str | None = None
    metric_from: str | None = None
    vouchers: tuple[Voucher, ...] = ()
    ended_vouchers: tuple[VoucherEnd, ...] = ()
    bonuses: tuple[Bonus, ...] = ()
    ended_bonuses: tuple[str, ...] = ()
    hold: Hold | None = None
    ended_hold: str | None = None
    plan: RunningPlan | None = None
    ended_plan: str | None = None
    referral: Referral | None = None
    progress: ProgressChanges = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Purchase:
    """What a return must know of the purchase: its total, its awards, and the cashback that paid for it.

    `points` and `cashback_minor` are the awards; `paid_cashback_minor` was taken from the wallet.
    """

    total_minor: int
    currency: str
    day: str
    points: int
    cashback_minor: int
    paid_cashback_minor: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Forgiven:
    """How much of what an EXPIRE entry took out of a lot a return did not take again (SEMANTICS §4.2)."""

    entry: str
    asset: str
    lot: LotKey
    amount: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Return:
    """What a return gave back and took back, so that the next one counts on from it (SEMANTICS §4.1).

    `points` and `cashback_minor` are the part of the award settled by this return, with what had expired
    already (`forgiven`) counted in. `restored_minor` is cashback given back.
    """

    amount_minor: int
    points: int
    cashback_minor: int
    restored_minor: int
    forgiven: tuple[Forgiven, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Balances:
    """What is available of each asset, in its own unit; assets at zero are left out."""

    points: int = 0
    money: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Note:
    """Free text that a person wrote; it can be erased, its digest stays."""

    text: str
    salt: str

    @property
    def digest(self) -> str:
        """SHA-256 over salt and text, hexadecimal."""
        return hashlib.sha256(f"{self.salt}|{self.text}".encode()).hexdigest()


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One line of the journal. `sequence` is 1, 2, 3 … per member; `activity` is the type of an ACTIVITY entry.

    `marks` are what mechanisms awarded by it, by section and key (:mod:`domain.programme.mechanism`).
    """

    member: str
    sequence: int
    kind: EntryKind
    occurred_at: datetime
    posted_at: datetime
    actor: str
    key: str
    operation: str
    fingerprint: str
    leaves: str
    programme_version: int
    previous_hash: str
    postings: tuple[Posting, ...] = ()
    changes: Changes = field(default_factory=Changes)
    explanation: tuple[ExplanationRow, ...] = ()
    balances: Balances = field(default_factory=Balances)
    place: str | None = None
    receipt: str | None = None
    reverses: str | None = None
    purchase: Purchase | None = None
    returned: Return | None = None
    note: Note | None = None
    note_digest: str | None = None
    activity: str | None = None
    marks: Progress = field(default_factory=dict)
    hash: str = ""

    def __post_init__(self) -> None:
        """An entry made without a hash is sealed: see :func:`hash_of`."""
        if not self.hash:
            object.__setattr__(self, "hash", hash_of(self))

    @property
    def id(self) -> str:
        """The entry's id: the member's and the sequence."""
        return entry_id(self.member, self.sequence)

    def moved(self, asset: str) -> int:
        """What the member gained (or lost, below zero) of an asset, whatever its state; in its own unit."""
        total = 0
        for posting in self.postings:
            if posting.asset == asset:
                total += posting.amount * (is_members(posting.destination) - is_members(posting.source))
        return total

    def became_available(self, asset: str) -> int:
        """What the entry added to (or took from) what the member can spend of an asset."""
        total = 0
        for posting in self.postings:
            if posting.asset == asset:
                total += posting.amount * ((posting.destination == AVAILABLE) - (posting.source == AVAILABLE))
        return total

    @property
    def points(self) -> int:
        """Points gained or lost, signed from the member's side."""
        return self.moved(POINTS)


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """A decision against a command, kept under its key as an entry is."""

    member: str
    posted_at: datetime
    actor: str
    key: str
    operation: str
    fingerprint: str
    leaves: str
    problem: Problem


@dataclass(frozen=True, slots=True, kw_only=True)
class Begun:
    """A top-up that was begun, kept under its key as an entry is: money comes later, and under another key."""

    member: str
    posted_at: datetime
    actor: str
    key: str
    operation: str
    top_up: str


Decision = Entry | Refusal | Begun
"""What the journal holds under a key."""


def entry_id(member: str, sequence: int) -> str:
    """The id of a member's n-th entry; the member stands in it, so that it is found on the member's shard."""
    return f"{member}.{sequence}"


def member_of_entry(identifier: str) -> str | None:
    """The member whose entry the id names, or None if it is not an entry's id."""
    member, dot, sequence = identifier.rpartition(".")
    return member if dot and sequence.isascii() and sequence.isdigit() else None


def hash_of(entry: Entry) -> str:
    """SHA-256 over the previous hash and the canonical entry, hexadecimal.

    Canonical is the stored document without `hash`, `note` and `slot`, as JSON with sorted keys, instants in
    RFC 3339 UTC.
    """
    digest = hashlib.sha256(entry.previous_hash.encode())
    digest.update(orjson.dumps(_hashed_part(entry), option=_OPTIONS))
    return digest.hexdigest()


def is_intact(entry: Entry) -> bool:
    """Whether the entry, and the text beside it if it still stands, is as it was sealed."""
    if entry.note is not None and entry.note.digest != entry.note_digest:
        return False
    return entry.hash == hash_of(entry)


def entry_document(entry: Entry) -> dict[str, Any]:
    """The entry as the journal stores it."""
    document = _hashed_part(entry)
    document["_id"] = entry.id
    document["slot"] = slot_of(entry.member)
    document["hash"] = entry.hash
    if entry.note is not None:
        document["note"] = {"text": entry.note.text, "salt": entry.note.salt}
    return document


def refusal_document(refusal: Refusal) -> dict[str, Any]:
    """The refusal as the journal stores it: no sequence, no hash."""
    return {
        **_decided_part(refusal),
        "fingerprint": refusal.fingerprint,
        "leaves": refusal.leaves,
        "problem": problem_document(refusal.problem),
    }


def begun_document(begun: Begun) -> dict[str, Any]:
    """The beginning of a top-up as the journal stores it: no sequence, no hash."""
    return {**_decided_part(begun), "top_up": begun.top_up}


def tier_document(tier: TierState) -> dict[str, Any]:
    """The tier as entries and wallets store it."""
    return {**_plain(tier), "since_on": tier.since_on.isoformat()}


def tier_from(document: Mapping[str, Any]) -> TierState:
    """The tier that :func:`tier_document` wrote."""
    return TierState(**{**document, "since_on": date.fromisoformat(document["since_on"])})


def decided_from(document: Mapping[str, Any]) -> Decision:
    """What the journal holds under a key: an entry, a refusal, or the beginning of a top-up."""
    shared = {name: document[name] for name in ("member", "posted_at", "actor", "key", "operation")}
    if "top_up" in document:
        return Begun(**shared, top_up=document["top_up"])
    if "problem" in document:
        return Refusal(
            **shared,
            fingerprint=document["fingerprint"],
            leaves=document["leaves"],
            problem=problem_from(document["problem"]),
        )
    return entry_from(document)


def entry_from(document: Mapping[str, Any]) -> Entry:
    """The entry that :func:`entry_document` wrote."""
    note = document.get("note")
    purchase, returned = document.get("purchase"), document.get("returned")
    return Entry(
        member=document["member"],
        sequence=document["seq"],
        kind=EntryKind(document["kind"]),
        occurred_at=document["occurred_at"],
        posted_at=document["posted_at"],
        actor=document["actor"],
        key=document["key"],
        operation=document["operation"],
        fingerprint=document["fingerprint"],
        leaves=document["leaves"],
        programme_version=document["programme_version"],
        previous_hash=document["prev_hash"],
        postings=tuple(posting_from(posting) for posting in document["postings"]),
        changes=_changes_from(document.get("changes", {})),
        explanation=tuple(
            ExplanationRow(
                rule=row["rule"],
                step=row["step"],
                points=row.get("points", 0),
                cashback_minor=row.get("cashback_minor", 0),
            )
            for row in document["explanation"]
        ),
        balances=Balances(**document["balances"]),
        place=document.get("place"),
        receipt=document.get("receipt"),
        reverses=document.get("reverses"),
        purchase=None if purchase is None else Purchase(**purchase),
        returned=None if returned is None else _return_from(returned),
        note=None if note is None else Note(text=note["text"], salt=note["salt"]),
        note_digest=document.get("note_digest"),
        activity=document.get("activity"),
        marks=document.get("marks", {}),
        hash=document["hash"],
    )


def _decided_part(decision: Refusal | Begun) -> dict[str, Any]:
    return {
        "_id": f"{decision.member}|{decision.key}",
        "member": decision.member,
        "slot": slot_of(decision.member),
        "posted_at": decision.posted_at,
        "actor": decision.actor,
        "key": decision.key,
        "operation": decision.operation,
    }


def _return_from(document: Mapping[str, Any]) -> Return:
    forgiven = (Forgiven(**{**each, "lot": lot_key_from(each["lot"])}) for each in document["forgiven"])
    return Return(**{**document, "forgiven": tuple(forgiven)})


def _plain(value: Any) -> dict[str, Any]:
    return {name: getattr(value, name) for name in value.__slots__}


def _same(value: Any) -> Any:
    return value


def _all(store: Callable[[Any], Any]) -> Callable[[Iterable[Any]], list[Any]]:
    return lambda values: [store(value) for value in values]


def _each(read: Callable[[Any], Any]) -> Callable[[Iterable[Any]], tuple[Any, ...]]:
    return lambda documents: tuple(read(document) for document in documents)


_AS_IT_IS = (_same, _same)

_OPTIONS = orjson.OPT_SORT_KEYS | orjson.OPT_UTC_Z


def _hashed_part(entry: Entry) -> dict[str, Any]:
    document: dict[str, Any] = {
        "member": entry.member,
        "seq": entry.sequence,
        "kind": entry.kind.value,
        "occurred_at": entry.occurred_at,
        "posted_at": entry.posted_at,
        "actor": entry.actor,
        "key": entry.key,
        "operation": entry.operation,
        "fingerprint": entry.fingerprint,
        "leaves": entry.leaves,
        "programme_version": entry.programme_version,
        "prev_hash": entry.previous_hash,
        "postings": [posting_document(posting) for posting in entry.postings],
        "explanation": [_row_document(row) for row in entry.explanation],
        "balances": _balances_document(entry.balances),
    }
    for name in ("place", "receipt", "reverses", "note_digest", "activity"):
        if (value := getattr(entry, name)) is not None:
            document[name] = value
    if entry.marks:
        document["marks"] = _nested(entry.marks)
    if changes := _changes_document(entry.changes):
        document["changes"] = changes
    if entry.purchase is not None:
        document["purchase"] = _plain(entry.purchase)
    if entry.returned is not None:
        document["returned"] = {
            **_plain(entry.returned),
            "forgiven": [{**_plain(each), "lot": lot_key_document(each.lot)} for each in entry.returned.forgiven],
        }
    return document


def _nested(progress: ProgressChanges) -> dict[str, Any]:
    return {
        section: {key: dict(state) if isinstance(state, Mapping) else state for key, state in states.items()}
        for section, states in progress.items()
    }


def _row_document(row: ExplanationRow) -> dict[str, Any]:
    document: dict[str, Any] = {"rule": row.rule, "step": row.step}
    if row.points:
        document["points"] = row.points
    if row.cashback_minor:
        document["cashback_minor"] = row.cashback_minor
    return document


def _balances_document(balances: Balances) -> dict[str, Any]:
    return {"points": balances.points, "money": dict(balances.money)}


_CHANGE_CODECS: Mapping[str, tuple[Callable[[Any], Any], Callable[[Any], Any]]] = {
    "idle_until": (dict, dict),
    "metric": (dict, dict),
    "usage": (_all(_plain), _each(lambda document: UsageChange(**document))),
    "tier": (tier_document, tier_from),
    "vouchers": (_all(voucher_document), _each(voucher_from)),
    "ended_vouchers": (_all(voucher_end_document), _each(voucher_end_from)),
    "bonuses": (_all(bonus_document), _each(bonus_from)),
    "ended_bonuses": (list, tuple),
    "hold": (hold_document, hold_from),
    "plan": (plan_document, plan_from),
    "referral": (referral_document, referral_from),
    "progress": (_nested, _same),
}
"""How each change that is no plain value is stored, and read again."""


def _changes_document(changes: Changes) -> dict[str, Any]:
    document: dict[str, Any] = {}
    for name in Changes.__slots__:
        if value := getattr(changes, name):
            store, _ = _CHANGE_CODECS.get(name, _AS_IT_IS)
            document[name] = store(value)
    return document


def _changes_from(document: Mapping[str, Any]) -> Changes:
    return Changes(**{name: _CHANGE_CODECS.get(name, _AS_IT_IS)[1](value) for name, value in document.items()})
