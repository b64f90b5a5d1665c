"""The collections of the database, and their indexes: what must be unique, and how things are found.

`prepare` makes all of them and is run before any traffic, by every process that starts: making what exists is
free. An index that exists under the same name with other keys or options stops the start, because
the rules that it was to hold would not be held.
"""

import asyncio
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final

from pymongo import ASCENDING
from pymongo.asynchronous.database import AsyncDatabase
from pymongo.errors import CollectionInvalid, OperationFailure

WALLETS: Final = "wallets"
JOURNAL: Final = "journal"
CLAIMS: Final = "claims"
MEMBERS: Final = "members"
SESSIONS: Final = "sessions"
PARTNERS: Final = "partners"
PROGRAMMES: Final = "programmes"
SIGNING_KEYS: Final = "signing_keys"
LEASES: Final = "leases"
CLOCK: Final = "clock"
ACCOUNTS: Final = "accounts"
DAY_SUMS: Final = "day_sums"
MEMBER_DAYS: Final = "member_days"
VOUCHERS: Final = "vouchers"
STOCK: Final = "stock"
TOP_UPS: Final = "top_ups"
TOP_UP_REFUNDS: Final = "top_up_refunds"
PAYERS: Final = "payers"
PROVIDER_EVENTS: Final = "provider_events"
SANDBOX_PAYMENTS: Final = "sandbox_payments"
CODES: Final = "codes"
PRESENCES: Final = "presences"
WRONG_CODES: Final = "wrong_codes"
GRANTS: Final = "grants"
AUTHORIZATIONS: Final = "authorizations"
ASSERTIONS: Final = "assertions"
DENIALS: Final = "denials"
FEEDBACK: Final = "feedback"
SIGNALS: Final = "signals"
RUNS: Final = "runs"
RECIPIENTS: Final = "recipients"
DELIVERIES: Final = "deliveries"
CASCADE_STATES: Final = "cascade_states"
DEVICES: Final = "devices"
INBOX: Final = "inbox"
TRANSITIONS: Final = "transitions"
BUCKETS: Final = "buckets"
PERSISTED_DOCUMENTS: Final = "persisted_documents"

ALL: Final = (
    WALLETS,  # one per member: the fold of that member's journal
    JOURNAL,  # one per decided command: the truth
    CLAIMS,  # one per receipt, and per key of a caller who speaks for many: which member and key it belongs to
    MEMBERS,  # one per person, with what finds him: references, identities, referral code
    SESSIONS,  # one per sign-in on a phone, and per code that a partner app traded
    PARTNERS,  # one per partner app, with the HMACs of its secrets
    PROGRAMMES,  # one per published version
    SIGNING_KEYS,  # the pairs that sign access tokens, their private halves sealed
    LEASES,  # one per slot, and one per living worker
    CLOCK,  # the hand on a sandbox's clock
    ACCOUNTS,  # one per slot: the programme's side of all postings, and up to where the journal was summed
    DAY_SUMS,  # one per slot and programme's day, and month: what reports add up, and up to where it was counted
    MEMBER_DAYS,  # one per member who bought or rose: the days of his purchases, and his tiers in turn, for reports
    VOUCHERS,  # every voucher as the journal has it: looked up by code, listed by member
    STOCK,  # one per limited reward: how many were issued and not given back
    TOP_UPS,  # one per top-up through the payment provider, made before its intent
    TOP_UP_REFUNDS,  # one per TOP_UP_REFUND entry: how far its refund is at the provider
    PAYERS,  # one per member who pays: the provider's name of him, his saved method, his auto top-up
    PROVIDER_EVENTS,  # one per event of the provider: what came of it; those set aside wait for staff
    SANDBOX_PAYMENTS,  # what a sandbox's own payment provider holds; empty everywhere else
    CODES,  # one per code on a member's screen, by its digits
    PRESENCES,  # one per member and partner: when the member last showed his code there
    WRONG_CODES,  # one per client and kind of code: when it last tried codes that do not exist
    GRANTS,  # one per member and partner: the scopes that the member gave it
    AUTHORIZATIONS,  # one per authorization code, by its hash
    ASSERTIONS,  # one per assertion by which a partner app proved itself: it works once
    DENIALS,  # one per session, grant, member or token whose access tokens ended before their time
    FEEDBACK,  # one per member and what it is about: an entry, or a day
    RUNS,  # one per cascade, member and signal
    RECIPIENTS,  # one per member: how far his signals were heard, the next date, the places taken of caps
    DELIVERIES,  # one per message that a step sent
    CASCADE_STATES,  # one per cascade that was switched, and "*" for all of them
    SIGNALS,  # one per thing that happened to a member and stands in no entry, for the cascades
    DEVICES,  # one per installation of the app: where push messages to its member go
    INBOX,  # one per message to a member
    TRANSITIONS,  # one per member and place where a cascade cools down: which transition counted last
    BUCKETS,  # one per caller of late: what he may still ask for; gone ten minutes after
    PERSISTED_DOCUMENTS,  # GraphQL documents that clients registered by their hash
)

_INDEX_CONFLICTS: Final = {85, 86}  # IndexOptionsConflict, IndexKeySpecsConflict
_COLLECTION_EXISTS: Final = 48


class IndexConflict(Exception):  # noqa: N818 -- says what is the case
    """An index of the database is not what this program needs; nothing was started."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Index:
    """An index by its name, ascending on `keys`; `where` is the filter of a partial one.

    With `cleans_up` the server removes a document some time after the instant in its only key has passed, by
    the server's own clock: never a rule, only a broom.
    """

    name: str
    keys: tuple[str, ...]
    unique: bool = False
    where: Mapping[str, Any] | None = None
    cleans_up: bool = False

    def specification(self) -> dict[str, Any]:
        """As the command createIndexes wants it."""
        options: dict[str, Any] = {"unique": True} if self.unique else {}
        if self.where is not None:
            options["partialFilterExpression"] = dict(self.where)
        if self.cleans_up:
            options["expireAfterSeconds"] = 0
        return {"name": self.name, "key": dict.fromkeys(self.keys, ASCENDING), **options}


_KEPT_UNTIL: Final = (Index(name="kept_until", keys=("kept_until",), cleans_up=True),)

INDEXES: Final[Mapping[str, tuple[Index, ...]]] = {
    JOURNAL: (
        # The lock of a commit: whoever is second with a number reloads and decides again. A refusal has none.
        Index(name="member_seq", keys=("member", "seq"), unique=True, where={"seq": {"$exists": True}}),
        # The idempotency of a command, success and refusal alike.
        Index(name="member_key", keys=("member", "key"), unique=True),
        # What was taken back of an entry already.
        Index(name="member_reverses", keys=("member", "reverses"), where={"reverses": {"$exists": True}}),
        # Reports and the programme's accounts read by time.
        Index(name="posted_at", keys=("posted_at",)),
    ),
    WALLETS: (
        # What a worker takes next of its slots. Wallets with nothing due leave the field out.
        Index(name="slot_due", keys=("slot", "next_due_at"), where={"next_due_at": {"$exists": True}}),
    ),
    VOUCHERS: (
        # A till shows a code. Codes are 55 random bits: unique in practice, and the index says so if not.
        Index(name="code", keys=("code",), unique=True),
        # A member's vouchers, in the order of issue.
        Index(name="member_issued", keys=("member", "issued_at", "_id")),
    ),
    TOP_UPS: (
        # The idempotency of startTopUp, success and refusal alike.
        Index(name="member_key", keys=("member", "key"), unique=True),
        # What open top-ups reserve.
        Index(name="member_state", keys=("member", "state")),
        # What a worker takes next: an open top-up's end, a charge to be tried.
        Index(name="slot_due", keys=("slot", "due_at"), where={"due_at": {"$exists": True}}),
        # An event of the provider names its intent.
        Index(name="intent", keys=("intent",), where={"intent": {"$exists": True}}),
    ),
    PAYERS: (
        # Who must be told that his automatic top-up stopped.
        Index(name="slot_untold", keys=("slot",), where={"untold": True}),
    ),
    TOP_UP_REFUNDS: (
        Index(name="slot_due", keys=("slot", "due_at"), where={"due_at": {"$exists": True}}),
        Index(name="intent", keys=("intent",)),
    ),
    PROVIDER_EVENTS: (
        # What staff must look at.
        Index(name="outcome_at", keys=("outcome", "at")),
    ),
    SANDBOX_PAYMENTS: (
        # Events that were not sent yet, in order.
        Index(name="unsent", keys=("unsent_at",), where={"unsent_at": {"$exists": True}}),
        Index(name="kind_created", keys=("kind", "created_at")),
    ),
    MEMBERS: (
        # A partner's own reference, "<client_id>:<reference>", names one member.
        Index(name="references", keys=("references",), unique=True, where={"references": {"$exists": True}}),
        # An identity, "<issuer>|<subject>", is one member: of two first sign-ins at once the second finds the first.
        Index(name="subjects", keys=("subjects",), unique=True, where={"subjects": {"$exists": True}}),
        # A friend brings a referral code.
        Index(name="referral_code", keys=("referral_code",), unique=True, where={"referral_code": {"$exists": True}}),
        # At whose birthday a worker looks next, of its slots.
        Index(
            name="slot_birthday",
            keys=("slot", "birthday_due_at"),
            where={"birthday_due_at": {"$exists": True}},
        ),
        # Erasures that were cut short.
        Index(name="slot_erasing", keys=("slot", "erasing.at"), where={"erasing": {"$exists": True}}),
        # How many a member has invited.
        Index(name="referrer", keys=("referrer",), where={"referrer": {"$exists": True}}),
    ),
    SESSIONS: (
        # A member's phones, the last used first.
        Index(name="member_used", keys=("member", "used_at")),
        *_KEPT_UNTIL,
    ),
    FEEDBACK: (
        # All that a member said.
        Index(name="member_at", keys=("member", "at")),
    ),
    RUNS: (
        # What a worker takes next of its slots; runs that are over leave the field out.
        Index(name="slot_due", keys=("slot", "due_at"), where={"due_at": {"$exists": True}}),
        # What a worker takes off screens, of its slots.
        Index(name="slot_recall", keys=("slot", "recall_at"), where={"recall_at": {"$exists": True}}),
        # A member's runs: the live ones that signals move, the due ones, and all, newest first, for staff.
        Index(name="member_state", keys=("member", "state", "due_at")),
        Index(name="member_started", keys=("member", "started_at")),
        # Those whose steps are done and whose goal may still come.
        Index(name="member_goal", keys=("member", "goal_until"), where={"goal_until": {"$exists": True}}),
        # A cascade's runs over a time, for its report.
        Index(name="cascade_started", keys=("cascade", "started_at")),
        # What a worker takes next while some cascades are paused; and what a switch ends.
        Index(name="cascade_due", keys=("cascade", "slot", "due_at"), where={"due_at": {"$exists": True}}),
    ),
    RECIPIENTS: (
        # The next date of the members of a worker's slots.
        Index(name="slot_due", keys=("slot", "due_at"), where={"due_at": {"$exists": True}}),
        # Who had a setback and waits for another turn.
        Index(name="slot_retry", keys=("slot", "retry_at"), where={"retry_at": {"$exists": True}}),
        # Whose dates are armed for an older version of the programme.
        Index(name="slot_version", keys=("slot", "version")),
    ),
    DELIVERIES: (
        # All that was sent to a member.
        Index(name="member_created", keys=("member", "created_at")),
        # What a cascade sent over a time.
        Index(name="cascade_created", keys=("cascade", "created_at")),
    ),
    SIGNALS: (
        # What a worker takes next of its slots: what was not heard.
        Index(name="slot_pending", keys=("slot", "at"), where={"pending": True}),
        # What is forgotten of a member who withdraws, or goes.
        Index(name="member_event", keys=("member", "event")),
        *_KEPT_UNTIL,
    ),
    DEVICES: (
        # An endpoint belongs to the member who registered it last.
        Index(name="endpoint", keys=("kind", "value"), unique=True),
        # A member's devices, the last seen first.
        Index(name="member_seen", keys=("member", "last_seen_at", "_id")),
        *_KEPT_UNTIL,
    ),
    INBOX: (
        # A member's messages in their order.
        Index(name="member_sent", keys=("member", "sent_at", "_id")),
        # Those that he has not read, to count and to list.
        Index(name="member_unread", keys=("member", "unread", "sent_at", "_id"), where={"unread": True}),
        *_KEPT_UNTIL,
    ),
    TRANSITIONS: (
        # What is forgotten of a member who withdraws, or goes.
        Index(name="member", keys=("member",)),
        *_KEPT_UNTIL,
    ),
    GRANTS: (
        # The apps that a member let in.
        Index(name="member_granted", keys=("member", "granted_at")),
    ),
    AUTHORIZATIONS: (
        # What goes when the member takes the grant back.
        Index(name="member_client", keys=("member", "client")),
        *_KEPT_UNTIL,
    ),
    ASSERTIONS: _KEPT_UNTIL,
    DENIALS: (
        # What every process reads every few seconds.
        Index(name="until", keys=("until",)),
        *_KEPT_UNTIL,
    ),
    CODES: (
        # What goes when the member does.
        Index(name="member", keys=("member",)),
        *_KEPT_UNTIL,
    ),
    PRESENCES: (
        Index(name="member", keys=("member",)),
        *_KEPT_UNTIL,
    ),
    CLAIMS: (Index(name="member", keys=("member",)),),
    WRONG_CODES: _KEPT_UNTIL,
    BUCKETS: _KEPT_UNTIL,
    PERSISTED_DOCUMENTS: _KEPT_UNTIL,
}


async def prepare(database: AsyncDatabase[dict[str, Any]]) -> None:
    """Makes the collections and indexes that do not exist yet; any number of processes may do so at once.

    Raises IndexConflict when an index exists with other keys or options.
    """
    existing = set(await database.list_collection_names())
    await asyncio.gather(*(_make(database, name, exists=name in existing) for name in ALL))


async def _make(database: AsyncDatabase[dict[str, Any]], name: str, *, exists: bool) -> None:
    indexes = INDEXES.get(name, ())
    if not indexes:
        if not exists:
            await _make_empty(database, name)
        return
    try:
        # A majority, not all: an index is made while one of three members is away, and by a set of one alike.
        await database.command(
            "createIndexes",
            name,
            indexes=[index.specification() for index in indexes],
            commitQuorum="majority",
            writeConcern={"w": "majority"},
        )
    except OperationFailure as error:
        if error.code not in _INDEX_CONFLICTS:
            raise
        raise IndexConflict(
            f"The collection {database.name}.{name} has an index that is not what this version needs: "
            f"{(error.details or {}).get('errmsg', error)} Drop that index and start again."
        ) from error


async def _make_empty(database: AsyncDatabase[dict[str, Any]], name: str) -> None:
    with suppress(CollectionInvalid):
        try:
            await database.create_collection(name, check_exists=False)
        except OperationFailure as error:
            if error.code != _COLLECTION_EXISTS:
                raise
