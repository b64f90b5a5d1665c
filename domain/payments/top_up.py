"""A top-up through the payment provider: begun by the member, or by a payment that left too little (SEMANTICS §6.3).

Its document is written before its intent exists and reserves the headroom; the intent is made with the document's
id as the key, so that dying between the two loses nothing and makes nothing twice. Whatever reserves was decided
on a version of the payer and is written in one transaction with the next one. Money is posted by the provider's
webhook alone (domain.payments.webhook).
"""

import secrets
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any, Final

import pymongo
from bson.int64 import Int64
from pymongo.asynchronous.client_session import AsyncClientSession
from pymongo.errors import DuplicateKeyError, PyMongoError
from pymongo.read_concern import ReadConcern
from pymongo.write_concern import WriteConcern

from domain.commands.top_up import TopUp, check_top_up, limit_problem
from domain.ledger.command import Command, Fingerprint, mismatch
from domain.ledger.commit import Ledger
from domain.ledger.entry import Begun, Refusal, begun_document, refusal_document
from domain.ledger.joint import commit_jointly
from domain.ledger.outcome import Outcome, Unavailable
from domain.ledger.wallet import standing
from domain.members.member import Member
from domain.payments.payer import customer_of, move_on, payer_of
from domain.payments.provider import Intent, IntentStatus, IntentWanted, Provider
from domain.payments.reservations import OPEN, reserved_minor
from domain.problems import IdempotencyMismatch, LimitReached, Problem, problem_document, problem_from
from domain.store.codec import to_bson
from domain.store.connection import Store
from domain.store.slots import slot_of

CLEARING: Final = "psp/clearing"
OPERATION: Final = "startTopUp"
OPEN_FOR: Final = timedelta(hours=1)
"""How long the member may take; then the intent is cancelled, and the headroom is free."""
ATTEMPTS: Final = 50
TRANSACTION_SECONDS: Final = 5.0


class TopUpState(StrEnum):
    """OPEN reserves headroom. All others are over; only FAILED and CANCELLED may still turn out to be paid."""

    OPEN = OPEN
    SUCCEEDED = "SUCCEEDED"
    FAILED = "FAILED"
    CANCELLED = "CANCELLED"
    REFUSED = "REFUSED"
    SET_ASIDE = "SET_ASIDE"


@dataclass(frozen=True, slots=True, kw_only=True)
class StartedTopUp:
    """`key` is the caller's, or that of the entry that it was begun for (`entry`). `attempt` counts charges, from 1.

    `due_at` is when a worker looks at it next, None when it need not. `tried_at` is when the charge of this attempt
    was first asked for, by the machine's clock, after which the provider forgets keys.
    """

    id: str
    member: str
    provider: str
    state: TopUpState
    amount_minor: int
    currency: str
    key: str
    fingerprint: Fingerprint
    created_at: datetime
    due_at: datetime | None = None
    saves_method: bool = False
    intent: str | None = None
    entry: str | None = None
    attempt: int = 1
    tried_at: datetime | None = None
    problem: Problem | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Started:
    """`intent` has its client secret, which is never stored here."""

    top_up: StartedTopUp
    intent: Intent
    replayed: bool


async def start_top_up(
    ledger: Ledger,
    provider: Provider,
    member: Member,
    *,
    amount_minor: int,
    currency: str,
    saves_method: bool,
    actor: str,
    key: str,
    fingerprint: Fingerprint,
) -> Started | Problem:
    """Begin a top-up, or tell what was decided under the key before.

    Raises ProviderUnavailable and Unavailable; the same key goes on from where it was.
    """
    wanted = TopUp(member=member, source=CLEARING, amount_minor=amount_minor, currency=currency)
    fresh = StartedTopUp(
        id=f"tu_{secrets.token_urlsafe(12)}",
        member=member.id,
        provider=provider.name,
        state=TopUpState.OPEN,
        amount_minor=amount_minor,
        currency=currency,
        key=key,
        fingerprint=fingerprint,
        created_at=ledger.now(),
        due_at=ledger.now() + OPEN_FOR,
        saves_method=saves_method,
    )
    if (elsewhere := await _used_elsewhere(ledger, fresh, actor)) is not None:
        return elsewhere
    if await find_by_key(ledger.store, member.id, key) is None:
        problem = check_top_up(wanted, ledger.programme)
        if problem is not None:
            return problem
        await close_declined(ledger, provider, member.id, amount_minor=amount_minor, currency=currency)
    top_up = await reserve(ledger, fresh, actor=actor)
    if isinstance(top_up, IdempotencyMismatch):
        return top_up
    if top_up.fingerprint.digest != fingerprint.digest:
        return mismatch(top_up.fingerprint, fingerprint)
    if top_up.problem is not None:
        return top_up.problem
    intent = await intent_of(ledger.store, provider, top_up)
    return Started(top_up=top_up, intent=intent, replayed=top_up.id != fresh.id)


async def top_up_at_till(ledger: Ledger, top_up: TopUp, command: Command) -> Outcome:
    """Commit the command of a till's top-up, whose decision takes what is reserved as its `evidence`.

    It moves the payer on in one transaction with its entry, so that it and a top-up through the provider that is
    begun at the same moment cannot both pass a limit. Raises Unavailable.
    """
    store, member = ledger.store, command.member
    await payer_of(store, member)

    async def reserved(session: AsyncClientSession) -> int:
        await move_on(store, member, session)
        return await reserved_minor(store, member, top_up.currency, declined=True, session=session)

    return await commit_jointly(ledger, command, prepare=reserved, queues=[f"member {member}"])


async def reserve(
    ledger: Ledger, fresh: StartedTopUp, *, actor: str | None = None
) -> StartedTopUp | IdempotencyMismatch:
    """What was decided of that top-up: kept now, open or refused by a limit, or under the same key before.

    The key is the `actor`'s, so that no other command of his can have it; a top-up begun for an entry has none.
    """
    store = ledger.store
    for _ in range(ATTEMPTS):
        if (known := await find_by_key(store, fresh.member, fresh.key)) is not None:
            return known
        payer = await payer_of(store, fresh.member)
        problem = await _limit(ledger, fresh)
        decided = fresh
        if problem is not None:
            decided = replace(fresh, state=TopUpState.REFUSED, problem=problem, due_at=None)
        if await _keep(store, decided, version=payer.version, actor=actor):
            return decided
        if actor is not None and (elsewhere := await _used_elsewhere(ledger, fresh, actor)) is not None:
            return elsewhere
    raise Unavailable("Too much is happening in this wallet at once. Send it again, with the same key.")


async def intent_of(store: Store, provider: Provider, top_up: StartedTopUp) -> Intent:
    """The intent of a member's own top-up, with its client secret; made if it was not. Raises ProviderUnavailable."""
    if top_up.intent is not None:
        found = await provider.find_intent(top_up.intent)
        assert found is not None, top_up.intent
        return found
    customer = await customer_of(store, provider, await payer_of(store, top_up.member))
    intent = await provider.intent(wanted_of(top_up, customer), key=top_up.id)
    await store.top_ups.update_one({"_id": top_up.id, "intent": None}, {"$set": {"intent": intent.id}})
    return intent


async def close_overdue(store: Store, provider: Provider, top_up: StartedTopUp, *, now: datetime) -> None:
    """End a top-up whose time is over: its intent is cancelled first, so that it cannot be paid past the limits.

    One that turns out to be paid, or about to be, waits for its webhook. Raises ProviderUnavailable.
    """
    intent = await provider.cancel((await intent_of(store, provider, top_up)).id)
    if intent.status is IntentStatus.CANCELLED:
        await end(store, top_up.id, TopUpState.CANCELLED)
    else:
        await look_again(store, top_up, at=now + OPEN_FOR)


async def close_declined(ledger: Ledger, provider: Provider, member: str, *, amount_minor: int, currency: str) -> None:
    """Cancel the intents of the member's own top-ups that were declined, before their headroom goes to another one.

    Otherwise they could be paid with other cards beside it, past every limit. One that turns out to be paid reserves
    again until its webhook comes. A top-up that would be refused cancels nothing. Raises ProviderUnavailable.
    """
    store, now = ledger.store, ledger.now()
    wanted = {"member": member, "state": TopUpState.FAILED.value, "entry": {"$exists": False}}
    declined = await store.top_ups.find(wanted).to_list()
    if not declined or await _headroom(ledger, member, amount_minor, currency=currency) is not None:
        return
    for found in declined:
        top_up = top_up_from(found)
        intent = await provider.cancel((await intent_of(store, provider, top_up)).id)
        if intent.status is IntentStatus.CANCELLED:
            await end(store, top_up.id, TopUpState.CANCELLED)
        else:
            await store.top_ups.update_one(
                {"_id": top_up.id, "state": TopUpState.FAILED.value},
                {"$set": to_bson({"state": OPEN, "due_at": now + OPEN_FOR})},
            )


async def note_declined(store: Store, identifier: str) -> None:
    """A card was declined: nothing is reserved any more, and another card may pay until the top-up's time is over."""
    await store.top_ups.update_one({"_id": identifier, "state": OPEN}, {"$set": {"state": TopUpState.FAILED.value}})


async def end(store: Store, identifier: str, state: TopUpState, **more: Any) -> bool:
    """Close an open top-up; whether it was open.

    Money that came closes one that had ended otherwise, too, and a cancellation one that was declined.
    """
    ended: dict[str, Any] = {"_id": identifier, "state": OPEN}
    if state is TopUpState.CANCELLED:
        ended = {"_id": identifier, "state": {"$in": [OPEN, TopUpState.FAILED.value]}}
    if state is TopUpState.SUCCEEDED:
        ended = {"_id": identifier}
    result = await store.top_ups.update_one(
        ended, {"$set": to_bson({"state": state.value, **more}), "$unset": {"due_at": ""}}
    )
    return bool(result.modified_count)


async def look_again(store: Store, top_up: StartedTopUp, *, at: datetime) -> None:
    """Have a worker look at a top-up that waits then."""
    await store.top_ups.update_one({"_id": top_up.id, "due_at": top_up.due_at}, {"$set": to_bson({"due_at": at})})


async def find_by_key(store: Store, member: str, key: str) -> StartedTopUp | None:
    found = await store.top_ups.find_one({"member": member, "key": key})
    return None if found is None else top_up_from(found)


async def find_top_up(store: Store, identifier: str) -> StartedTopUp | None:
    found = await store.top_ups.find_one({"_id": identifier})
    return None if found is None else top_up_from(found)


def wanted_of(top_up: StartedTopUp, customer: str) -> IntentWanted:
    """What the provider is asked for."""
    return IntentWanted(
        top_up=top_up.id,
        amount_minor=top_up.amount_minor,
        currency=top_up.currency,
        customer=customer,
        saves_method=top_up.saves_method,
        attempt=top_up.attempt,
    )


def top_up_document(top_up: StartedTopUp) -> dict[str, Any]:
    """The top-up as stored: what is None is left out."""
    document: dict[str, Any] = {
        "_id": top_up.id,
        "member": top_up.member,
        "slot": slot_of(top_up.member),
        "provider": top_up.provider,
        "state": top_up.state.value,
        "amount_minor": top_up.amount_minor,
        "currency": top_up.currency,
        "key": top_up.key,
        "fingerprint": top_up.fingerprint.digest,
        "leaves": top_up.fingerprint.leaves,
        "created_at": top_up.created_at,
        "saves_method": top_up.saves_method,
        "attempt": top_up.attempt,
    }
    for name in ("due_at", "intent", "entry", "tried_at"):
        if (value := getattr(top_up, name)) is not None:
            document[name] = value
    if top_up.problem is not None:
        document["problem"] = problem_document(top_up.problem)
    return document


def top_up_from(found: Mapping[str, Any]) -> StartedTopUp:
    """The top-up that :func:`top_up_document` wrote."""
    problem = found.get("problem")
    return StartedTopUp(
        id=found["_id"],
        member=found["member"],
        provider=found["provider"],
        state=TopUpState(found["state"]),
        amount_minor=found["amount_minor"],
        currency=found["currency"],
        key=found["key"],
        fingerprint=Fingerprint(digest=found["fingerprint"], leaves=found["leaves"]),
        created_at=found["created_at"],
        due_at=found.get("due_at"),
        saves_method=found["saves_method"],
        intent=found.get("intent"),
        entry=found.get("entry"),
        attempt=found["attempt"],
        tried_at=found.get("tried_at"),
        problem=None if problem is None else problem_from(problem),
    )


async def _limit(ledger: Ledger, fresh: StartedTopUp) -> Problem | None:
    """The limit that it would pass; of those begun for payments, there is one at a time."""
    if fresh.entry is not None:
        under_way = {"member": fresh.member, "state": OPEN, "entry": {"$exists": True}}
        if await ledger.store.top_ups.find_one(under_way) is not None:
            return LimitReached(message="One is under way already.", limit="auto_top_up", headroom="0")
    return await _headroom(ledger, fresh.member, fresh.amount_minor, currency=fresh.currency, declined=True)


async def _headroom(
    ledger: Ledger, member: str, amount_minor: int, *, currency: str, declined: bool = False
) -> LimitReached | None:
    """The limit that so much more would pass; what is reserved is read before the wallet."""
    reserved = await reserved_minor(ledger.store, member, currency, declined=declined)
    wallet, now = await ledger.journal.wallet(member), ledger.now()
    stands = standing(wallet, f"prepaid/{currency}", now)
    return limit_problem(
        ledger.programme,
        wallet,
        amount_minor,
        now=now,
        held_minor=stands.available + stands.held,
        reserved_minor=reserved,
    )


class _Outrun(Exception):  # noqa: N818 -- a step of the writing, never seen outside
    """Somebody else reserved meanwhile."""


async def _keep(store: Store, top_up: StartedTopUp, *, version: int, actor: str | None) -> bool:
    """Write it if the payer's version is still that one; False when it is to be decided anew. Raises Unavailable.

    The journal is told of it under the actor's key, which unique (member, key) gives to one command alone.

    A process that is killed in the middle of the transaction leaves it to the server, which ends it before long;
    until then nobody else reserves for this member.
    """

    async def write(session: AsyncClientSession) -> None:
        moved = await store.payers.update_one(
            {"_id": top_up.member, "version": version}, {"$inc": {"version": Int64(1)}}, session=session
        )
        if not moved.matched_count:
            raise _Outrun
        await store.top_ups.insert_one(to_bson(top_up_document(top_up)), session=session)
        if actor is not None:
            await store.journal.insert_one(_decision_document(top_up, actor), session=session)

    try:
        with pymongo.timeout(TRANSACTION_SECONDS):
            async with store.client.start_session() as session:
                await session.with_transaction(
                    write, read_concern=ReadConcern("snapshot"), write_concern=WriteConcern("majority", j=True)
                )
    except (_Outrun, DuplicateKeyError):
        return False
    except PyMongoError as error:
        raise Unavailable("The database did not answer. Send it again, with the same key.") from error
    return True


def _decision_document(top_up: StartedTopUp, actor: str) -> dict[str, Any]:
    key, at = f"{actor}|{top_up.key}", top_up.created_at
    if top_up.problem is None:
        return begun_document(
            Begun(member=top_up.member, posted_at=at, actor=actor, key=key, operation=OPERATION, top_up=top_up.id)
        )
    return refusal_document(
        Refusal(
            member=top_up.member,
            posted_at=at,
            actor=actor,
            key=key,
            operation=OPERATION,
            fingerprint=top_up.fingerprint.digest,
            leaves=top_up.fingerprint.leaves,
            problem=top_up.problem,
        )
    )


async def _used_elsewhere(ledger: Ledger, fresh: StartedTopUp, actor: str) -> IdempotencyMismatch | None:
    """The refusal if the caller used the key for another command."""
    decided = await ledger.journal.decided([(fresh.member, f"{actor}|{fresh.key}")])
    for found in decided.values():
        if not isinstance(found, Begun) and found.operation != OPERATION:
            return mismatch(Fingerprint(digest=found.fingerprint, leaves=found.leaves), fresh.fingerprint)
    return None
